//! Jobs within a job at the leader: shells hear of them as of others, schedulers and lists do not.

use super::*;
use flurm_types::R;
use flurm_wire::job::{List, Lookup};

/// A job on two nodes, and one within it on the second.
fn both(w: &mut World) -> [JobId; 2] {
    let outer = w.submit(2);
    let lookup = Lookup { id: outer, keys: vec!["R".to_owned()] };
    let r = R::parse(&w.call(&lookup).expect("it has R").values[0]).expect("R").restrict(&1.into());
    let inner = w.submit_with(1, json!({"within": outer, "alloc-bypass": {"R": r}}));
    let heard = w.heard();
    assert_eq!(
        heard,
        [format!("0: start {outer}"), format!("1: start {outer}"), format!("1: start {inner}")]
    );
    (0..=1).for_each(|rank| w.started(outer, rank));
    w.started(inner, 1);
    [outer, inner]
}

fn listed(w: &mut World, list: &List) -> Vec<JobId> {
    w.call(list).expect("listed").jobs.iter().map(|job| job.id).collect()
}

#[test]
fn it_is_started_on_its_ranks_and_listed_when_asked_for() {
    let mut w = World::new();
    let [outer, inner] = both(&mut w);
    assert_eq!(w.events(inner), "submit validate depend priority alloc start");
    assert_eq!(listed(&mut w, &List::default()), [outer]);
    assert_eq!(listed(&mut w, &List { steps: true, ..List::default() }), [inner, outer]);
    assert_eq!(listed(&mut w, &List { within: Some(outer), ..List::default() }), [inner]);
    assert_eq!(listed(&mut w, &List { ids: vec![inner], ..List::default() }), [inner]);
    w.gone(inner, 1, 3 << 8);
    assert_eq!(w.end_of(inner, "start finish release free clean"), Some(JobResult::Failed));
    // The scheduler believes no node to be free.
    let next = w.submit(1);
    assert_eq!((w.events(next).as_str(), w.heard().len()), ("submit validate depend priority", 0));
    (0..=1).for_each(|rank| w.gone(outer, rank, 0));
    assert!(w.events(next).ends_with("alloc"));
    assert_same(&w.jobs, &World::resume(w.log.clone()).jobs);
}

#[test]
fn the_other_is_not_over_before_it_is() {
    let mut w = World::new();
    let [outer, inner] = both(&mut w);
    (0..=1).for_each(|rank| w.gone(outer, rank, 0));
    assert_eq!(w.heard(), [format!("1: end {inner}")]);
    assert_eq!(w.end_of(outer, "finish release"), None);
    // Whoever leads next knows no less.
    let mut next = World::resume(w.log.clone());
    next.lead();
    next.seqs = w.seqs;
    assert_eq!(next.heard(), [format!("1: end {inner}")]);
    next.gone(inner, 1, 15);
    assert_eq!(next.end_of(inner, "exception finish release free clean"), Some(JobResult::Canceled));
    assert_eq!(next.end_of(outer, "release release free clean"), Some(JobResult::Completed));
}

#[test]
fn a_node_that_is_lost_takes_both() {
    let mut w = World::new();
    let [outer, inner] = both(&mut w);
    w.step(|jobs, cx| jobs.rank_lost(cx, Rank(1)));
    assert!(w.events(inner).ends_with("finish release free clean"), "{}", w.events(inner));
    w.gone(outer, 0, 15);
    assert_eq!(w.end_of(outer, "release free clean"), Some(JobResult::Failed));
    assert_same(&w.jobs, &World::resume(w.log.clone()).jobs);
}

#[test]
fn a_node_that_is_lost_ends_a_job_of_slurms_that_has_no_task_there() {
    // Slurm's commands run a script on the first node, and srun's steps on the others.
    for (system, ends) in [(json!({"slurm": {"kind": "batch"}}), true), (json!({}), false)] {
        let mut w = World::new();
        let id = w.submit_with(2, system);
        w.started(id, 0);
        w.report(id, 1, What::Started { time: Timestamp(1), pids: Vec::new() });
        w.gone(id, 1, 0);
        w.heard();
        // Whoever leads next knows it as well.
        let mut next = World::resume(w.log.clone());
        next.lead();
        next.seqs = w.seqs;
        next.heard();
        next.step(|jobs, cx| jobs.rank_lost(cx, Rank(1)));
        let exception = next.jobs.manager.job(id).and_then(|job| job.exception()).map(|e| e.kind.clone());
        assert_eq!(exception.as_deref(), ends.then_some("node-failure"));
        let heard: &[String] = if ends { &[format!("0: end {id}")] } else { &[] };
        assert_eq!(next.heard(), heard);
        next.gone(id, 0, 15);
        let log = next.events(id);
        assert!(log.ends_with("clean"), "{log}");
    }
}
