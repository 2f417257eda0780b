//! Backfilling against slow references: on random traces nobody is delayed by somebody who may not do that.

use flurm_jobspec::build::Builder;
use flurm_sched::simulate::{Job, Run, Trace, run};
use flurm_sched::{Config, Policy, QueueConfig};
use flurm_types::{Constraint, Idset, R, RNode, Timestamp};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A job of a random trace, in seconds and cores.
#[derive(Debug, Clone, Copy)]
struct Random {
    submit: u32,
    cores: u32,
    asked: u32,
    /// Not above what was asked for.
    runtime: u32,
}

fn trace(jobs: &[Random]) -> Trace {
    let job = |(number, job): (u64, &Random)| {
        let builder = Builder::new(vec!["x".to_owned()]).ntasks(job.cores).duration(job.asked.into());
        Job {
            number,
            submit: Timestamp::from_secs_f64(1.0 + f64::from(job.submit)),
            runtime_s: job.runtime.into(),
            priority: 16,
            waited_s: None,
            class: None,
            beside: BTreeMap::new(),
            jobspec: Arc::new(builder.build().unwrap()),
        }
    };
    Trace { jobs: (1..).zip(jobs).map(job).collect(), ..Trace::default() }
}

/// Nodes with so many cores each.
fn machine(nodes: u32, cores: u32) -> R {
    R::from_nodes((0..nodes).map(|rank| RNode {
        rank,
        host: format!("n{rank}"),
        cores: (0..cores).collect(),
        gpus: Idset::new(),
    }))
}

fn simulated(jobs: &[Random], inventory: &R, policy: Policy) -> Run {
    let run = run(&trace(jobs), inventory, &Config { policy, ..Config::default() }, |_| ());
    is_sound(&run);
    run
}

/// Nobody before he came, and no core twice at the same time.
fn is_sound(run: &Run) {
    let ran: Vec<_> = run.outcomes.iter().filter_map(|job| Some((job.submit, job.ran.as_ref()?))).collect();
    for (n, (submit, one)) in ran.iter().enumerate() {
        assert!(one.start >= *submit && one.r.is_subset(&run.inventory));
        for (_, other) in &ran[..n] {
            let together = one.start < other.end && other.start < one.end;
            assert!(!together || one.r.is_disjoint(&other.r));
        }
    }
}

/// Start times in seconds; none for those who never ran.
fn starts(run: &Run) -> Vec<Option<u32>> {
    let second = |at: Timestamp| (at.as_secs_f64() - 1.0) as u32;
    run.outcomes.iter().map(|job| job.ran.as_ref().map(|ran| second(ran.start))).collect()
}

fn random(most: u32) -> impl Strategy<Value = Vec<Random>> {
    let job = (0..6_u32, 1..=most, 1..20_u32, 0..20_u32).prop_map(|(gap, cores, asked, early)| Random {
        submit: gap,
        cores,
        asked,
        runtime: asked.saturating_sub(early / 2).max(1),
    });
    proptest::collection::vec(job, 1..24).prop_map(|mut jobs| {
        let mut at = 0;
        for job in &mut jobs {
            at += job.submit / 2;
            job.submit = at;
        }
        jobs
    })
}

/// First come, first served, or with backfilling around the first one that waits, on a number of equal cores. By
/// counting, second by second.
fn reference(jobs: &[Random], all: u32, backfill: bool) -> Vec<Option<u32>> {
    let mut start: Vec<Option<u32>> = vec![None; jobs.len()];
    let runs_here = |n: &usize| jobs[*n].cores <= all;
    let mut seconds = 0..;
    while (0..jobs.len()).filter(runs_here).any(|n| start[n].is_none()) {
        let now = seconds.next().expect("seconds do not end");
        let is_there =
            |n: usize, start: &[Option<u32>]| start[n].is_some_and(|at| now < at + jobs[n].runtime);
        let free = |start: &[Option<u32>]| {
            all - (0..jobs.len()).filter(|n| is_there(*n, start)).map(|n| jobs[n].cores).sum::<u32>()
        };
        let waiting: Vec<usize> = (0..jobs.len())
            .filter(|n| start[*n].is_none() && jobs[*n].submit <= now && runs_here(n))
            .collect();
        let mut waiting = waiting.into_iter();
        // Who fits at the front goes.
        let Some(head) = waiting.by_ref().find(|n| {
            let fits = jobs[*n].cores <= free(&start);
            if fits {
                start[*n] = Some(now);
            }
            !fits
        }) else {
            continue;
        };
        if !backfill {
            continue;
        }
        // The time when enough will have left, and how many cores the first one leaves over then.
        let left_by = |at: u32, start: &[Option<u32>]| {
            let gone = |n: &usize| is_there(*n, start) && start[*n].unwrap() + jobs[*n].asked <= at;
            free(start) + (0..jobs.len()).filter(gone).map(|n| jobs[n].cores).sum::<u32>()
        };
        let shadow = (now..).find(|at| left_by(*at, &start) >= jobs[head].cores).unwrap();
        let mut extra = left_by(shadow, &start) - jobs[head].cores;
        for n in waiting {
            let ends_before = now + jobs[n].asked <= shadow;
            if jobs[n].cores <= free(&start) && (ends_before || jobs[n].cores <= extra) {
                start[n] = Some(now);
                extra -= if ends_before { 0 } else { jobs[n].cores };
            }
        }
    }
    start
}

/// A job that is of more than cores: GPUs of each task, its queue, and whether only some nodes will do.
type Rich = (Random, u32, usize, bool);

fn rich() -> impl Strategy<Value = Vec<Rich>> {
    let one = |job| (Just(job), 0..2_u32, 0..3_usize, prop::bool::weighted(0.25));
    random(8).prop_flat_map(move |jobs| jobs.into_iter().map(one).collect::<Vec<_>>())
}

/// Two nodes of four with two GPUs each, two that are fast, and so many queues.
fn rich_run(jobs: &[Rich], policy: Policy, queues: usize) -> Run {
    let mut trace = trace(&jobs.iter().map(|(job, ..)| *job).collect::<Vec<_>>());
    for (job, (random, gpus, queue, fast)) in trace.jobs.iter_mut().zip(jobs) {
        let mut builder = Builder::new(vec!["x".to_owned()])
            .ntasks(random.cores)
            .duration(random.asked.into())
            .queue(format!("q{}", queue % queues));
        if *gpus > 0 && random.cores <= 2 {
            builder = builder.gpus_per_task(*gpus);
        }
        if *fast {
            builder = builder.constraint(Constraint::parse_query("fast").unwrap());
        }
        job.jobspec = Arc::new(builder.build().unwrap());
    }
    let mut inventory = machine(4, 4);
    inventory.nodes.iter_mut().take(2).for_each(|node| node.gpus = (0..2).collect());
    inventory.properties.insert("fast".to_owned(), (1..=2).collect());
    let queues = (0..queues).map(|n| (format!("q{n}"), QueueConfig::default())).collect();
    run(&trace, &inventory, &Config { policy, queues, ..Config::default() }, |_| ())
}

/// Whoever was promised a start had it by then.
fn promises_are_kept(run: &Run) {
    for job in &run.outcomes {
        if let (Some(ran), Some(promised)) = (&job.ran, job.promised) {
            assert!(ran.start <= promised, "{job:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn fcfs_and_easy_start_jobs_when_the_reference_does(jobs in random(9)) {
        for (policy, backfill) in [(Policy::Fcfs, false), (Policy::Easy, true)] {
            let run = simulated(&jobs, &machine(8, 1), policy);
            prop_assert_eq!(starts(&run), reference(&jobs, 8, backfill));
            promises_are_kept(&run);
        }
    }

    #[test]
    fn whoever_is_promised_a_start_has_it_by_then(jobs in random(12), depth in 1..6_u32) {
        for policy in [Policy::Easy, Policy::Conservative, Policy::Hybrid { depth }] {
            let run = simulated(&jobs, &machine(3, 4), policy);
            promises_are_kept(&run);
            prop_assert!(run.outcomes.iter().all(|job| job.ran.is_some()));
        }
    }

    #[test]
    fn under_conservative_who_comes_later_changes_nothing(jobs in random(12)) {
        // Only if everybody stays as long as he said: else those ahead move forward around those behind.
        let jobs: Vec<Random> = jobs.into_iter().map(|job| Random { runtime: job.asked, ..job }).collect();
        let all = starts(&simulated(&jobs, &machine(3, 4), Policy::Conservative));
        for n in [jobs.len() / 3, jobs.len() / 2, jobs.len() - 1] {
            let some = starts(&simulated(&jobs[..n], &machine(3, 4), Policy::Conservative));
            prop_assert_eq!(&all[..n], &some[..]);
        }
    }

    #[test]
    fn promises_are_kept_where_nodes_and_queues_differ(jobs in rich(), depth in 1..6_u32) {
        for policy in [Policy::Easy, Policy::Conservative, Policy::Hybrid { depth }] {
            // Under EASY the first of each queue is told when it starts by itself.
            let queues = if policy == Policy::Easy { 1 } else { 3 };
            let run = rich_run(&jobs, policy, queues);
            is_sound(&run);
            promises_are_kept(&run);
            prop_assert!(run.outcomes.iter().all(|job| job.ran.is_some()));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn the_same_trace_gives_the_same_bytes(jobs in rich(), depth in 1..6_u32) {
        let hybrid = Policy::Hybrid { depth };
        for policy in [Policy::Fcfs, Policy::Sjf, Policy::Easy, Policy::Conservative, hybrid] {
            let twice = [(); 2].map(|()| {
                let run = rich_run(&jobs, policy, 3);
                (run.to_csv(), run.to_svg(&Trace::default(), ""), run.report())
            });
            prop_assert_eq!(&twice[0], &twice[1]);
        }
    }
}
