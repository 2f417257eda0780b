//! The jobs of a leader in a world of two ranks whose shells are played by the test.

mod streams;
mod within;
mod world;

use super::*;
use flurm_types::{Entry, Environment, Idset, JobResult, Rank};
use flurm_wire::exec::{ShellReady, What};
use flurm_wire::job::{Awaited, Log, Purge, Watched};
use flurm_wire::kvs::Node;
use flurm_wire::shell::StartHere;
use flurm_wire::{ClientId, Topic};
use serde_json::json;
use world::*;

#[test]
fn a_job_is_submitted_started_on_its_ranks_and_finished() {
    let mut w = World::new();
    let id = w.submit(2);
    let awaited = w.ask(&job::Await { ids: vec![id], event: None });
    let logs = vec![Log::Eventlog, Log::Output];
    let watched = w.ask(&job::Watch { id, logs, follow: true, paced: false });
    let waited = w.ask(&job::WaitOne { id: None });
    assert_eq!(w.heard(), [format!("0: start {id}"), format!("1: start {id}")]);
    w.started(id, 0);
    assert_eq!(w.events(id), "submit validate depend priority alloc");
    w.started(id, 1);
    w.output(id, 0, "one\n");
    w.gone(id, 0, 0);
    assert!(w.events(id).ends_with("alloc start"));
    w.gone(id, 1, 3 << 8);
    assert_eq!(w.end_of(id, "alloc start finish release free clean"), Some(JobResult::Failed));
    assert!(w.heard().is_empty() && w.jobs.idle());

    let answers: Vec<Awaited> = w.answers(awaited);
    assert_eq!((answers.len(), answers[0].jobs[0].status), (1, Some(3 << 8)));
    let seen: Vec<String> = w
        .answers::<Watched>(watched)
        .into_iter()
        .flat_map(|page| page.entries)
        .map(|(log, entry)| if log == Log::Output { entry.name.to_uppercase() } else { entry.name })
        .collect();
    assert_eq!(
        seen.join(" "),
        "submit validate depend priority alloc start HEADER DATA finish release free clean"
    );
    assert!(w.said.iter().rfind(|m| m.tag == watched).is_some_and(|m| !m.more));
    assert_eq!(w.answers::<job::Waited>(waited)[0].errstr, "exited with code 3");
    assert!(w.call(&job::WaitOne { id: Some(id) }).is_err(), "a result is handed out once");
    assert!(w.jobs.lookup_kvs(&format!("{}.guest.output", id.encode(flurm_types::Encoding::Kvs))).is_some());
    assert_same(&w.jobs, &World::resume(w.log.clone()).jobs);
}

#[test]
fn a_result_is_handed_out_once_whoever_leads() {
    let mut w = World::new();
    let (had, kept) = (w.submit(1), w.submit(1));
    for (rank, id) in [(0, had), (1, kept)] {
        w.started(id, rank);
        w.gone(id, rank, 0);
    }
    w.call(&job::WaitOne { id: Some(had) }).expect("its result");
    let mut w = World { seqs: w.seqs.clone(), ..World::resume(w.log.clone()) };
    w.lead();
    assert!(w.call(&job::WaitOne { id: Some(had) }).is_err(), "somebody has it");
    assert_eq!(w.call(&job::WaitOne { id: None }).expect("the other one").id, kept);
    assert!(w.call(&job::WaitOne { id: None }).is_err());
    assert_same(&w.jobs, &World::resume(w.log.clone()).jobs);
}

#[test]
fn every_directory_of_the_jobs_in_the_kvs_can_be_read() {
    let mut w = World::new();
    let mut jobs = [w.submit(1), w.submit(1)].map(|id| id.encode(flurm_types::Encoding::Kvs));
    let (mut found, mut todo) = (Vec::new(), vec!["job".to_owned()]);
    while let Some(key) = todo.pop() {
        let Some(Node::Dir(names)) = w.jobs.lookup_kvs(&key) else { panic!("{key} cannot be read") };
        if key.split('.').count() == 5 {
            found.push(key);
        } else {
            todo.extend(names.iter().map(|(name, _)| format!("{key}.{name}")));
        }
    }
    found.sort();
    jobs.sort();
    assert_eq!(found, jobs);
    assert_eq!(w.jobs.lookup_kvs("job.ffff"), None);
}

#[test]
fn jobs_are_cancelled_while_they_wait_and_while_they_run() {
    let mut w = World::new();
    let (running, waiting) = (w.submit(2), w.submit(2));
    w.started(running, 0);
    w.heard();
    assert!(w.call(&job::Why { id: waiting }).is_ok());
    w.cancel(waiting);
    assert_eq!(w.end_of(waiting, "priority exception clean"), Some(JobResult::Canceled));
    assert_eq!(w.heard(), [] as [&str; 0]);
    w.cancel(running);
    assert_eq!(w.heard(), [format!("0: end {running}"), format!("1: end {running}")]);
    w.gone(running, 1, 15);
    let next = w.submit(1);
    assert_eq!(w.heard(), [format!("1: start {next}")], "what one rank released is used at once");
    w.gone(running, 0, 15);
    let end = "alloc exception release finish release free clean";
    assert_eq!(w.end_of(running, end), Some(JobResult::Canceled));
}

#[test]
fn a_lost_rank_fails_its_jobs_and_what_comes_back_with_it_is_ended() {
    let mut w = World::new();
    let id = w.submit(2);
    w.started(id, 0);
    w.started(id, 1);
    w.heard();
    w.step(|jobs, cx| {
        jobs.resources(cx, ResourceChange::Down(1.into()));
        jobs.rank_lost(cx, Rank(1));
    });
    assert_eq!(w.heard(), [format!("0: end {id}")]);
    let exception = w.jobs.manager.job(id).and_then(|job| job.exception()).expect("raised");
    assert_eq!(exception.note, "lost contact with node1 (rank 1)");
    w.gone(id, 0, 15);
    assert_eq!(w.end_of(id, "start exception release finish release free clean"), Some(JobResult::Failed));
    w.call(&ShellReady { rank: Rank(1), jobs: vec![(id, 0)] }).expect("answered");
    assert_eq!(w.heard(), [format!("1: end {id}")]);
}

#[test]
fn a_rank_that_comes_back_gets_no_job_before_its_old_ones_have_ended() {
    let mut w = World::new();
    let old = w.submit(2);
    w.started(old, 0);
    w.started(old, 1);
    let up = |jobs: &mut Jobs, cx: &mut Cx| jobs.resources(cx, ResourceChange::Up(1.into()));
    let lose = |jobs: &mut Jobs, cx: &mut Cx| {
        jobs.resources(cx, ResourceChange::Down(1.into()));
        jobs.rank_lost(cx, Rank(1));
    };
    w.step(lose);
    w.gone(old, 0, 15);
    let next = w.submit(2);
    w.step(up);
    w.heard();
    w.call(&ShellReady { rank: Rank(1), jobs: vec![(old, 0)] }).expect("answered");
    assert_eq!(w.heard(), [format!("1: end {old}")]);
    // It goes once more, and what it said is asked for again.
    w.step(lose);
    w.step(up);
    w.gone(old, 1, 15);
    assert_eq!(w.heard(), [] as [&str; 0]);
    w.call(&ShellReady { rank: Rank(1), jobs: vec![(old, 0)] }).expect("answered");
    w.heard();
    w.gone(old, 1, 15);
    assert_eq!(w.heard(), [format!("0: start {next}"), format!("1: start {next}")]);

    // A leader that comes back does not know who was given up.
    let mut w = World { seqs: w.seqs.clone(), ..World::resume(w.log.clone()) };
    w.jobs.expect_shells(&Idset::from_range(0..=1));
    w.lead();
    w.call(&ShellReady { rank: Rank(0), jobs: vec![(next, 0)] }).expect("answered");
    w.gone(next, 0, 0);
    w.gone(next, 1, 0);
    let last = w.submit(2);
    assert_eq!(w.heard(), [] as [&str; 0]);
    w.call(&ShellReady { rank: Rank(1), jobs: vec![] }).expect("answered");
    assert_eq!(w.heard(), [format!("0: start {last}"), format!("1: start {last}")]);
}

#[test]
fn a_shell_that_comes_back_is_made_to_agree() {
    let mut w = World::new();
    let id = w.submit(1);
    // The start went nowhere: nobody was there yet.
    w.heard();
    w.call(&ShellReady { rank: Rank(0), jobs: vec![] }).expect("answered");
    assert_eq!(w.heard(), [format!("0: start {id}")]);
    w.started(id, 0);
    w.call(&ShellReady { rank: Rank(0), jobs: vec![(id, 0)] }).expect("answered");
    assert_eq!(w.heard(), [] as [&str; 0]);
    // Another shell has taken its place.
    w.call(&ShellReady { rank: Rank(0), jobs: vec![] }).expect("answered");
    assert_eq!(w.end_of(id, "start exception finish release free clean"), Some(JobResult::Failed));
    let exception = w.jobs.manager.job(id).and_then(|job| job.exception()).expect("raised");
    assert_eq!((&*exception.kind, &*exception.note), ("exec", "shell on node0 died"));
    // A kill that may have been lost is repeated.
    let id = w.submit(1);
    w.cancel(id);
    assert_eq!(w.heard().len(), 2);
    w.call(&ShellReady { rank: Rank(0), jobs: vec![(id, 0)] }).expect("answered");
    assert_eq!(w.heard(), [format!("0: end {id}")]);
}

#[test]
fn a_program_that_is_not_there_is_said_with_its_exit_code() {
    let mut w = World::new();
    let id = w.submit(2);
    for rank in 0..2 {
        let note = "nope: No such file or directory".to_owned();
        w.report(id, rank, What::Failed { kind: "exec".into(), note, status: 127 << 8 });
        w.gone(id, rank, 127 << 8);
    }
    assert_eq!(w.end_of(id, "alloc exception release finish release free clean"), Some(JobResult::Failed));
    assert_eq!(w.jobs.manager.job(id).and_then(|job| job.status()), Some(127 << 8));
}

#[test]
fn a_message_that_is_repeated_submits_nothing_twice() {
    let mut w = World::new();
    let jobspecs = || vec![jobspec(1, json!({})), jobspec(5, json!({})), jobspec(2, json!({}))];
    let first = w.submit_as("same", jobspecs());
    assert_eq!(
        first[1].as_ref().expect_err("too many nodes").text,
        "this instance has 2 nodes, the job asks for 5"
    );
    assert_eq!(w.submit_as("same", jobspecs()), first);
    let mut after = World::resume(w.log.clone());
    after.lead();
    assert_eq!(after.submit_as("same", jobspecs()), first);
    let new = after.submit(1);
    assert!(first.iter().flatten().all(|id| *id < new));
}

#[test]
fn another_leader_goes_on_where_the_log_ends() {
    let mut w = World::new();
    let (id, waiting) = (w.submit(2), w.submit(1));
    w.started(id, 0);
    w.started(id, 1);
    w.output(id, 1, "kept");
    w.gone(id, 1, 7 << 8);
    let mut w = World { seqs: w.seqs.clone(), ..World::resume(w.log.clone()) };
    w.lead();
    assert_eq!(w.heard(), [] as [&str; 0]);
    w.call(&ShellReady { rank: Rank(1), jobs: vec![] }).expect("answered");
    assert!(w.events(id).ends_with("alloc start"), "rank 1 was done before");
    w.gone(id, 0, 0);
    assert_eq!(w.end_of(id, "start finish release free clean"), Some(JobResult::Failed));
    assert_eq!(w.heard(), [format!("0: start {waiting}")]);
    assert_same(&w.jobs, &World::resume(w.log.clone()).jobs);
}

#[test]
fn another_leader_hears_from_shells_what_was_started() {
    let mut w = World::new();
    let id = w.submit(2);
    let stdin = job::Stdin {
        id,
        ranks: "all".into(),
        data: "a".into(),
        base64: false,
        eof: true,
        typed: false,
        window: None,
    };
    w.ask(&stdin);
    w.started(id, 0);
    // Rank 1 has not heard of it when the leader changes.
    let mut w = World { seqs: w.seqs.clone(), ..World::resume(w.log.clone()) };
    w.lead();
    w.call(&ShellReady { rank: Rank(0), jobs: vec![(id, 0)] }).expect("answered");
    assert_eq!(w.heard(), [] as [&str; 0]);
    w.call(&ShellReady { rank: Rank(1), jobs: vec![] }).expect("answered");
    assert_eq!(w.heard(), [format!("1: start {id}"), "1: stdin \"a\"".into()]);
    w.started(id, 1);
    assert!(w.events(id).ends_with("alloc start"));
}

#[test]
fn another_leader_knows_output_that_is_repeated() {
    let mut w = World::new();
    let id = w.submit(2);
    w.started(id, 0);
    w.started(id, 1);
    w.output(id, 0, "once");
    let mut again = World::resume(w.log.clone());
    again.lead();
    // Nobody has told the shells that their reports have come: they repeat them from the first on.
    for rank in 0..2 {
        again.call(&ShellReady { rank: Rank(rank), jobs: vec![(id, 0)] }).expect("answered");
        again.started(id, rank);
    }
    again.output(id, 0, "once");
    again.output(id, 0, "more");
    again.output(id, 1, "else");
    for rank in 0..2 {
        again.gone(id, rank, 0);
    }
    let output = again.jobs.guests[&id].text(GuestLog::Output);
    for data in ["once", "more", "else"] {
        assert_eq!(output.matches(data).count(), 1, "{output}");
    }
    assert_eq!(again.end_of(id, "start finish release free clean"), Some(JobResult::Completed));
}

#[test]
fn another_leader_does_not_warn_again() {
    let mut w = World::new();
    let id = w.submit(1);
    let speak = |w: &mut World| {
        w.started(id, 0);
        w.report(id, 0, What::Warning { kind: "oom".into(), severity: 3, note: "close to its limit".into() });
    };
    speak(&mut w);
    let mut again = World::resume(w.log.clone());
    again.lead();
    again.call(&ShellReady { rank: Rank(0), jobs: vec![(id, 0)] }).expect("answered");
    speak(&mut again);
    again.gone(id, 0, 0);
    assert_eq!(again.end_of(id, "clean"), Some(JobResult::Completed));
    assert_eq!(again.events(id).matches("exception").count(), 1);
    assert_same(&again.jobs, &World::resume(again.log.clone()).jobs);
}

#[test]
fn another_leader_does_not_start_again_what_has_spoken() {
    let mut w = World::new();
    let id = w.submit(2);
    w.started(id, 0);
    w.output(id, 0, "once");
    let mut again = World::resume(w.log.clone());
    again.lead();
    again.call(&ShellReady { rank: Rank(0), jobs: vec![] }).expect("answered");
    assert_eq!(again.heard(), [format!("1: end {id}")]);
    let exception = again.jobs.manager.job(id).and_then(|job| job.exception()).expect("raised");
    assert_eq!((&*exception.kind, &*exception.note), ("exec", "shell on node0 died"));
}

#[test]
fn a_restarted_instance_fails_what_ran_and_keeps_what_waited() {
    let mut w = World::new();
    let (running, waiting) = (w.submit(2), w.submit(2));
    let queue = job::Queue::from(job::QueueAct::Disable { reason: "maintenance".into() });
    assert!(!w.call(&queue).expect("closed").enabled);
    let mut w = World::resume(w.log.clone());
    w.step(|jobs, cx| jobs.restart(cx));
    w.lead();
    assert_eq!(w.end_of(running, "alloc exception release free clean"), Some(JobResult::Failed));
    assert_eq!(w.events(waiting), "submit validate depend priority flux-restart priority alloc");
    assert_eq!(w.jobs.gates(&w.config.site), (false, true));
    assert_same(&w.jobs, &World::resume(w.log.clone()).jobs);
    w.step(|jobs, cx| jobs.stop(cx));
    assert_eq!(w.heard().len(), 4, "two starts, two ends");
    w.gone(waiting, 0, 15);
    w.gone(waiting, 1, 15);
    assert!(w.jobs.idle());
}

#[test]
fn input_waits_for_its_job_and_output_has_a_limit() {
    let mut w = World::new();
    let limited = json!({"shell": {"options": {"output.limit": "10M"}}});
    let (first, id) = (w.submit(2), w.submit_with(1, limited));
    let stdin = |data: &str| job::Stdin {
        id,
        ranks: "all".into(),
        data: data.into(),
        base64: false,
        eof: data.is_empty(),
        typed: false,
        window: None,
    };
    w.call(&stdin("a")).expect("kept");
    w.heard();
    w.cancel(first);
    w.gone(first, 0, 15);
    w.gone(first, 1, 15);
    // Answered when the shell has.
    w.ask(&stdin(""));
    let heard = w.heard();
    assert_eq!(heard[2..], [format!("0: start {id}"), "0: stdin \"a\"".into(), "0: stdin \"\"".into()]);

    let watched = w.ask(&job::Watch { id, logs: vec![Log::Output], follow: true, paced: false });
    let piece = "x".repeat(1 << 20);
    for _ in 0..12 {
        w.output(id, 0, &piece);
    }
    w.gone(id, 0, 0);
    while w.said.iter().rfind(|m| m.tag == watched).is_some_and(|m| m.more) {
        w.step(|_, _| {});
    }
    let entries: Vec<Entry> =
        w.answers::<Watched>(watched).into_iter().flat_map(|p| p.entries).map(|(_, e)| e).collect();
    let named = |name: &str| entries.iter().filter(|e| e.name == name).count();
    assert_eq!((named("header"), named("data"), named("log")), (1, 10, 1));
    let longest = w.said.iter().filter_map(|m| m.payload.as_ref()).map(|p| p.get().len()).max();
    assert!(longest.expect("some") < 2 << 20, "pages, not heaps");
    assert_same(&w.jobs, &World::resume(w.log.clone()).jobs);
}

#[test]
fn a_journal_tells_everything_once_and_then_goes_on() {
    let mut w = World::new();
    let first = w.submit(1);
    let journal = w.ask(&job::Journal { from: 0 });
    let second = w.submit(1);
    w.cancel(second);
    let batches: Vec<job::JournalBatch> = w.answers(journal);
    assert!(batches[0].caught_up && batches[1..].iter().all(|b| !b.caught_up));
    let events: Vec<_> = batches.into_iter().flat_map(|b| b.events).collect();
    assert!(events.is_sorted_by_key(|e| e.index));
    let names =
        |id| events.iter().filter(|e| e.id == id).map(|e| &*e.entry.name).collect::<Vec<_>>().join(" ");
    assert_eq!(names(first), w.events(first));
    assert_eq!(names(second), w.events(second));
    assert!(events[0].jobspec.is_some() && events.iter().any(|e| e.r.is_some()));
}

#[test]
fn starts_of_large_jobs_travel_in_messages_that_fit_into_a_frame() {
    let mut w = World::new();
    // They wait, so that all of them are started by one batch.
    w.call(&job::Queue::from(job::QueueAct::Stop { reason: String::new() })).expect("stopped");
    let file = "x".repeat(3 << 20);
    let large = |n| jobspec_of(1, 1, json!({"shell": {"options": {"x": file, "n": n}}}));
    let submitted = w.submit_as("large", (0..2 * CORES).map(large).collect());
    assert!(submitted.iter().all(Result::is_ok), "{submitted:?}");
    w.told.clear();
    w.call(&job::Queue::from(job::QueueAct::Start)).expect("started");
    let mut jobs = Vec::new();
    for (_, message) in &w.told {
        assert!(flurm_wire::frame::encode(message).len() < 9 << 20);
        let StartHere(start) = message.body().expect("a start");
        assert_eq!(start.environments.len(), 1);
        jobs.push(start.jobs.len());
    }
    assert_eq!(jobs, [2, 2, 2, 2]);

    let environments = vec![Arc::new(Environment::from([("A".to_owned(), Some("x".repeat(7 << 20)))]))];
    let submit = job::Submit { submit_id: "env".into(), environments, jobs: Vec::new() };
    let refused = w.call(&submit).expect_err("no program can have it");
    assert_eq!(refused.code, ErrorCode::TooBig);
}

#[test]
fn a_time_limit_raises_timeout() {
    let mut w = World::new();
    let id = w.submit_as("t", vec![jobspec(1, json!({"duration": 2.0}))]).remove(0).expect("fits");
    w.started(id, 0);
    w.heard();
    w.now_ms += 2000;
    w.step(|_, _| {});
    assert_eq!(w.heard(), [format!("0: end {id}")]);
    w.gone(id, 0, 15);
    assert_eq!(w.end_of(id, "exception finish release free clean"), Some(JobResult::Timeout));
    let list = job::List { results: vec![JobResult::Timeout], ..job::List::default() };
    assert_eq!(w.call(&list).expect("listed").jobs.len(), 1);
}

#[test]
fn a_group_that_is_gone_refuses_nobody() {
    let mut w = World::new();
    let of = |size: u32| vec![jobspec_of(1, 1, json!({"cosched": {"group": "g", "size": size}}))];
    let first = w.submit_as("a", of(2)).remove(0).expect("waits for another");
    assert!(w.submit_as("b", of(3)).remove(0).is_err());
    w.cancel(first);
    assert!(w.submit_as("c", of(3)).remove(0).is_ok());
}

#[test]
fn what_the_scheduler_learns_is_there_to_be_kept() {
    let willing = || json!({"cosched": {"class": "memory"}});
    let run = |w: &mut World, secs: u64| {
        let [Ok(id)] = w.submit_as("l", vec![jobspec_of(1, 2, willing())])[..] else { panic!("a job") };
        w.started(id, 0);
        w.now_ms += secs * 1000;
        assert_eq!(w.jobs.learnt(), None);
        w.gone(id, 0, 0);
        w.jobs.learnt().expect("a run is over")
    };
    let mut w = World::new();
    let learnt = run(&mut w, 20);
    // The next leader goes on where this one has ended.
    let mut next = World::new();
    next.step(|jobs, cx| jobs.remember(cx, learnt));
    let learnt = run(&mut next, 30);
    let alone = learnt["runs"][0][1]["alone"].as_array().expect("run times");
    let whole: Vec<Option<i64>> = alone.iter().map(|secs| secs.as_f64().map(|secs| secs as i64)).collect();
    assert_eq!(whole, [Some(20), Some(30)], "{learnt}");
}

#[test]
fn what_is_purged_is_forgotten_here_and_in_the_log() {
    let mut w = World::new();
    let ended = |w: &mut World| {
        let id = w.submit(1);
        w.started(id, 0);
        w.output(id, 0, "said");
        w.gone(id, 0, 0);
        id
    };
    let (old, young) = (ended(&mut w), ended(&mut w));
    let runs = w.submit(1);
    w.started(runs, 0);
    let purge = |ids: &[JobId], num_limit| Purge {
        ids: ids.to_vec(),
        age_limit: None,
        num_limit,
        batch: 10,
        dry_run: false,
    };
    assert!(w.call(&purge(&[], None)).is_err(), "nothing says which");
    assert!(w.call(&purge(&[old, runs], None)).is_err(), "one is not over");
    let purged = w.call(&purge(&[], Some(1))).expect("purged");
    assert_eq!((purged.jobs, purged.left), (1, 1));
    let resumed = World::resume(w.log.clone());
    assert_same(&w.jobs, &resumed.jobs);
    for jobs in [&w.jobs, &resumed.jobs] {
        assert!(jobs.manager.job(old).is_none() && !jobs.guests.contains_key(&old));
        assert_eq!(jobs.manager.jobs().map(|job| job.id()).collect::<Vec<_>>(), [young, runs]);
        assert_eq!((jobs.manager.stats().inactive, jobs.manager.stats().completed), (1, 1));
    }
    assert!(w.call(&purge(&[old], None)).is_err(), "it is not there");
}
