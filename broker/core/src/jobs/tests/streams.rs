//! What readers of a job's logs get: from memory, from its file, as it passes, and when it is purged.

use super::*;
use flurm_wire::Dest;
use flurm_wire::shell::{Flow, FlowHere};

#[test]
fn who_says_much_is_read_from_a_file_also_by_another_leader() {
    let mut w = World::new();
    let id = w.submit(1);
    w.started(id, 0);
    let watch = |follow| job::Watch { id, logs: vec![Log::Eventlog, Log::Output], follow, paced: false };
    let following = w.ask(&watch(true));
    let mut said = String::new();
    for n in 0..40 {
        let piece = format!("{n} ").repeat(20_000);
        w.output(id, 0, &piece);
        said.push_str(&piece);
    }
    w.gone(id, 0, 0);
    let read = |w: &mut World, tag: u64| {
        while w.said.iter().rfind(|m| m.tag == tag).is_some_and(|m| m.more) {
            w.step(|_, _| {});
        }
        let longest = w.said.iter().filter_map(|m| m.payload.as_ref()).map(|p| p.get().len()).max();
        assert!(longest.expect("some") < 1 << 20, "pages, not heaps");
        w.answers::<Watched>(tag).into_iter().flat_map(|page| page.entries).collect::<Vec<_>>()
    };
    let text = |entries: &[(Log, Entry)]| {
        let data = |entry: &Entry| Some(entry.context.as_ref()?.get("data")?.as_str()?.to_owned());
        entries.iter().filter_map(|(_, entry)| data(entry)).collect::<String>()
    };
    let live = read(&mut w, following);
    assert!(text(&live) == said);
    assert_eq!(live.last().expect("some").1.name, "clean");
    let guest = &w.jobs.guests[&id];
    assert!(guest.text(GuestLog::Output).len() < 400_000, "a share is here");
    let mut again = World::resume(w.log.clone());
    assert_same(&w.jobs, &again.jobs);
    again.files = w.files.clone();
    again.lead();
    let tag = again.ask(&watch(false));
    assert!(text(&read(&mut again, tag)) == said);
    // What is damaged is said, once, and the rest goes on.
    let file = again.files.get_mut(&id).expect("a file");
    file.truncate(file.len() / 2);
    let tag = again.ask(&watch(false));
    let entries = read(&mut again, tag);
    assert!(said.starts_with(&text(&entries)));
    assert_eq!(entries.iter().filter(|(_, entry)| entry.name == "log").count(), 1);
    assert_eq!(entries.last().expect("some").1.name, "clean");
}

#[test]
fn what_no_record_speaks_of_is_not_read_from_the_file_of_a_job() {
    let mut w = World::new();
    let id = w.submit(1);
    w.started(id, 0);
    let piece = |n: u32| format!("{n} ").repeat(20_000);
    for n in 0..20 {
        w.output(id, 0, &piece(n));
    }
    // A leader was killed after it had written and before the record was: the shell says the same again, and other
    // things with it.
    let mut again = World { seqs: w.seqs.clone(), files: w.files.clone(), ..World::resume(w.log.clone()) };
    let long = w.files[&id].len();
    w.output(id, 0, &piece(20));
    again.files.get_mut(&id).expect("a file").extend_from_slice(&w.files[&id][long..]);
    again.lead();
    let watch = job::Watch { id, logs: vec![Log::Output], follow: true, paced: false };
    let tag = again.ask(&watch);
    let read_all = |w: &mut World| (0..20).for_each(|_| w.step(|_, _| {}));
    read_all(&mut again);
    for n in 20..25 {
        again.output(id, 0, &format!("{}{}", piece(n), piece(n)));
        read_all(&mut again);
    }
    let entries = again.answers::<Watched>(tag).into_iter().flat_map(|page| page.entries);
    let (data, other): (Vec<Entry>, Vec<Entry>) =
        entries.map(|(_, entry)| entry).partition(|entry| entry.name == "data");
    assert_eq!(other.len(), 1, "a header, and no complaint");
    let text: String =
        data.iter().filter_map(|entry| entry.context.as_ref()?.get("data")?.as_str()).collect();
    assert!(text == (0..20).map(piece).chain((20..25).map(|n| piece(n) + &piece(n))).collect::<String>());
}

#[test]
fn output_that_cannot_be_written_is_not_kept_any_more() {
    let mut w = World::new();
    let id = w.submit(1);
    w.started(id, 0);
    for _ in 0..4 {
        w.output(id, 0, &"x".repeat(100_000));
    }
    w.files.clear();
    w.step(|jobs, cx| jobs.spill_failed(cx, id, "no space"));
    w.output(id, 0, "more");
    w.gone(id, 0, 0);
    let tag = w.ask(&job::Watch { id, logs: vec![Log::Output], follow: false, paced: false });
    let pages: Vec<Watched> = w.answers(tag);
    let said: Vec<String> = pages
        .into_iter()
        .flat_map(|page| page.entries)
        .filter_map(|(_, entry)| Some(entry.context?.get("message")?.as_str()?.to_owned()))
        .collect();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].contains("cannot be read") && said[1].contains("no space"), "{said:?}");
}

#[test]
fn who_follows_gets_what_is_not_kept_and_sets_the_pace() {
    let mut w = World::new();
    let id = w.submit_with(1, json!({"shell": {"options": {"output.limit": "10M"}}}));
    w.started(id, 0);
    let watch = job::Watch { id, logs: vec![Log::Output], follow: true, paced: true };
    let watched = w.ask(&watch);
    let data = |w: &World, tag| {
        let entries = w.answers::<Watched>(tag).into_iter().flat_map(|page| page.entries);
        entries.filter(|(_, entry)| entry.name == "data").count()
    };
    let flows = |w: &mut World| {
        let told = std::mem::take(&mut w.told);
        told.iter()
            .filter(|(_, m)| m.topic == FlowHere::NAME)
            .map(|(_, m)| m.body::<FlowHere>().expect("ours").flow)
            .collect::<Vec<_>>()
    };
    let take = |w: &mut World, tag| {
        let before = w.tag;
        w.ask(&job::Taken { tag });
        w.tag = before + 1;
    };
    let piece = "x".repeat(1 << 20);
    for _ in 0..13 {
        w.output(id, 0, &piece);
    }
    // One page is the header, the others are one piece each, from the file; four of them are out.
    assert_eq!(data(&w, watched), 3);
    assert_eq!(flows(&mut w), [Flow::Wait]);
    for _ in 0..10 {
        take(&mut w, watched);
        w.step(|_, _| {});
    }
    assert_eq!(data(&w, watched), 13);
    assert_eq!(flows(&mut w), [Flow::Pass]);
    let named = |w: &World, tag, name: &str| {
        let entries = w.answers::<Watched>(tag).into_iter().flat_map(|page| page.entries);
        entries.filter(|(_, entry)| entry.name == name).count()
    };
    assert_eq!(named(&w, watched, "log"), 0, "it has all");
    // The next one comes too late for what has passed; without anybody it is dropped.
    w.step(|jobs, _| jobs.cancel(Address { rank: Rank(1), client: ClientId(7) }, watched));
    assert_eq!(flows(&mut w), [Flow::Drop]);
    let late = w.ask(&watch);
    for _ in 0..13 {
        take(&mut w, late);
        w.step(|_, _| {});
    }
    assert_eq!((data(&w, late), named(&w, late, "log")), (10, 1));
    assert_eq!(flows(&mut w), [Flow::Pass]);
    assert_same(&w.jobs, &World::resume(w.log.clone()).jobs);
}

#[test]
fn who_follows_and_stops_reading_does_not_stop_the_job_for_ever() {
    let mut w = World::new();
    let id = w.submit_with(1, json!({"shell": {"options": {"output.limit": "64k"}}}));
    w.started(id, 0);
    let watch = job::Watch { id, logs: vec![Log::Output], follow: true, paced: true };
    let (slow, quick) = (w.ask(&watch), w.ask(&watch));
    let entries = |w: &World, tag| {
        let pages = w.answers::<Watched>(tag).into_iter();
        pages.flat_map(|page| page.entries).map(|(_, entry)| entry).collect::<Vec<_>>()
    };
    let data = |w: &World, tag| entries(w, tag).iter().filter(|entry| entry.name == "data").count();
    let flows = |w: &mut World| {
        let told = std::mem::take(&mut w.told);
        let flows = told.iter().filter(|(_, m)| m.topic == FlowHere::NAME);
        flows.map(|(_, m)| m.body::<FlowHere>().expect("ours").flow).collect::<Vec<_>>()
    };
    let take = |w: &mut World, tag, times| {
        for _ in 0..times {
            w.ask(&job::Taken { tag });
        }
    };
    let say = |w: &mut World, times| {
        for _ in 0..times {
            w.output(id, 0, &"x".repeat(300_000));
            take(w, quick, 2);
        }
    };
    say(&mut w, 12);
    let waits_since = w.now_ms;
    assert_eq!((flows(&mut w), data(&w, quick)), (vec![Flow::Wait], 13), "the quick one has all");
    let had = data(&w, slow);
    assert!(had < 6);
    // It has a minute from when it took the last one.
    w.now_ms = waits_since + 40_000;
    w.step(|_, _| {});
    assert_eq!(flows(&mut w), []);
    let due = *w.wakes.range(w.now_ms..).next().expect("somebody looks at it again");
    assert!(due < waits_since + 60_000);
    w.now_ms = due;
    w.step(|_, _| {});
    assert_eq!(flows(&mut w), [Flow::Pass]);
    say(&mut w, 12);
    assert_eq!((flows(&mut w), data(&w, quick)), (vec![], 25));
    // When it reads again it hears of it once, and has all that comes then.
    take(&mut w, slow, 8);
    say(&mut w, 2);
    take(&mut w, slow, 8);
    let all = entries(&w, slow);
    let lost = |entry: &&Entry| entry.context.as_ref().is_some_and(|context| context.get("lost").is_some());
    assert_eq!((all.iter().filter(lost).count(), data(&w, slow)), (1, had + 2));
    // Where nobody else is, the rest is dropped by the shells.
    w.step(|jobs, _| jobs.cancel(Address { rank: Rank(1), client: ClientId(7) }, quick));
    say(&mut w, 12);
    assert_eq!(flows(&mut w), [Flow::Wait]);
    w.now_ms += 60_000;
    w.step(|_, _| {});
    assert_eq!(flows(&mut w), [Flow::Drop]);
    w.gone(id, 0, 0);
    take(&mut w, slow, 8);
    assert_eq!(entries(&w, slow).iter().filter(lost).count(), 2);
    assert!(w.said.iter().rfind(|m| m.tag == slow).is_some_and(|m| !m.more));
    assert_same(&w.jobs, &World::resume(w.log.clone()).jobs);
}

#[test]
fn who_follows_a_job_hears_that_it_has_been_purged() {
    let mut w = World::new();
    let id = w.submit(2);
    w.started(id, 0);
    w.started(id, 1);
    for _ in 0..20 {
        w.output(id, 0, &"x".repeat(100_000));
    }
    let purge = |id| Purge { ids: vec![id], age_limit: None, num_limit: None, batch: 1, dry_run: false };
    let watched = w.ask(&job::Watch { id, logs: vec![Log::Output], follow: true, paced: false });
    w.gone(id, 0, 0);
    w.gone(id, 1, 0);
    w.call(&purge(id)).expect("purged");
    let last = w.said.iter().rfind(|m| m.tag == watched).expect("an answer");
    let error = last.error.as_ref().expect("it has not had all");
    assert_eq!(error.code, ErrorCode::NotFound);

    // One that ends and is purged before anybody could be told.
    w.call(&job::Queue::from(job::QueueAct::Stop { reason: String::new() })).expect("stopped");
    let waits = w.submit(1);
    let awaited = w.ask(&job::Await { ids: vec![waits], event: Some("finish".into()) });
    let client = Address { rank: Rank(1), client: ClientId(7) };
    let raise = job::Raise { ids: vec![waits], kind: "cancel".into(), severity: 0, note: String::new() };
    let requests = [
        Message::request(client, Dest::Leader, 0, &raise),
        Message::request(client, Dest::Leader, 0, &purge(waits)),
    ];
    w.step(|jobs, cx| {
        jobs.request(cx, &requests[0]);
        jobs.request(cx, &requests[1]);
    });
    assert!(w.jobs.manager.job(waits).is_none());
    let answers: Vec<Awaited> = w.answers(awaited);
    assert_eq!((answers.len(), answers[0].jobs[0].seen), (1, false));
}
