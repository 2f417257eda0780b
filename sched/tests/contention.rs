//! Mixes of jobs that slow each other down, under placements that keep them apart or put them together.

use flurm_jobspec::Placement;
use flurm_resource_graph::SlowDowns;
use flurm_sched::simulate::{Run, Trace, run, run_with};
use flurm_sched::{Config, Policy};
use flurm_types::{Idset, R, RNode, Socket, Topology};
use std::fmt::Write as _;

/// Nodes with two sockets of ten cores.
fn machine(nodes: u32) -> R {
    let node = |rank| RNode { rank, host: format!("n{rank}"), cores: (0..20).collect(), gpus: Idset::new() };
    let mut r = R::from_nodes((0..nodes).map(node));
    let socket = |cores: std::ops::Range<u32>| Socket { cores: cores.collect(), ..Socket::default() };
    for rank in 0..nodes {
        r.topology.insert(rank, Topology { sockets: [socket(0..10), socket(10..20)].into() });
    }
    r
}

/// As many jobs of each class, in turns, all there at the beginning.
fn mix(jobs: usize, classes: &[&str]) -> Trace {
    let mut state = 7_u64;
    let mut text = String::new();
    for n in 0..jobs {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let runtime = 600 + (state >> 33) % 1200;
        let class = classes[n % classes.len()];
        let ntasks = [10, 20, 40][(state >> 20) as usize % 3];
        writeln!(
            text,
            r#"{{"submit":0,"runtime":{runtime},"ntasks":{ntasks},"class":"{class}","duration":{}}}"#,
            runtime * 3
        )
        .unwrap();
    }
    Trace::parse(&text).unwrap()
}

fn play(trace: &Trace, placement: Placement, policy: Policy) -> Run {
    let config = Config { placement, policy, ..Config::default() };
    let run = run(trace, &machine(8), &config, |_| ());
    is_sound(&run);
    run
}

/// No core twice at the same time.
fn is_sound(run: &Run) {
    let ran: Vec<_> = run.outcomes.iter().map(|job| job.ran.as_ref().expect("it fits")).collect();
    for (n, one) in ran.iter().enumerate() {
        for other in &ran[..n] {
            assert!(one.start >= other.end || other.start >= one.end || one.r.is_disjoint(&other.r));
        }
    }
}

#[test]
fn pairs_of_compute_and_memory_beat_both_packing_and_spreading() {
    let trace = mix(60, &["compute", "memory"]);
    let makespan = |trace: &Trace, placement| play(trace, placement, Policy::Easy).report().makespan_s;
    let compact = makespan(&trace, Placement::Compact);
    let spread = makespan(&trace, Placement::Spread(Default::default()));
    let pairs = makespan(&trace.willing(), Placement::Compact);
    assert!(pairs < 0.95 * compact && pairs < 0.99 * spread, "{pairs} {compact} {spread}");
}

#[test]
fn with_memory_alone_nothing_is_gained() {
    let trace = mix(40, &["memory"]);
    let compact = play(&trace, Placement::Compact, Policy::Fcfs).report();
    let pairs = play(&trace.willing(), Placement::Compact, Policy::Fcfs).report();
    // A pair does 1/1.9 + 1/1.9 of the work of one alone on its sockets; packed tight, it is the same for one job.
    assert!((pairs.makespan_s / compact.makespan_s - 1.0).abs() < 0.15, "{pairs:?} {compact:?}");
    assert!(compact.stretch_mean > 1.8 && pairs.stretch_mean > 1.5 && pairs.stretch_mean < 1.9);
}

#[test]
fn a_scheduler_that_believes_what_is_not_so_makes_worse_pairs() {
    let trace = mix(60, &["compute", "memory"]).willing();
    let right = Config { policy: Policy::Easy, ..Config::default() };
    let mut wrong = right.clone();
    wrong.slowdowns.set("memory", "memory", 1.0);
    wrong.slowdowns.set("compute", "memory", 3.0);
    wrong.slowdowns.set("memory", "compute", 3.0);
    let truth = SlowDowns::default();
    let played = |config: &Config| run_with(&trace, &machine(8), config, &truth, |_| ()).report();
    let (right, wrong) = (played(&right), played(&wrong));
    assert!(right.makespan_s < wrong.makespan_s && right.stretch_mean < wrong.stretch_mean);
}

#[test]
fn the_same_mix_gives_the_same_bytes() {
    let trace = mix(30, &["compute", "memory", "io"]).willing();
    let twice = [(); 2].map(|()| play(&trace, Placement::Compact, Policy::Conservative).to_csv());
    assert_eq!(twice[0], twice[1]);
}

#[test]
fn who_is_slowed_down_too_much_is_cut_off() {
    let line = |class: &str| {
        format!(r#"{{"submit":0,"runtime":100,"ntasks":20,"class":"{class}","cosched":true,"duration":105}}"#)
    };
    let trace = Trace::parse(&format!("{}\n{}\n", line("compute"), line("memory"))).unwrap();
    let ran = run(&trace, &machine(2), &Config::default(), |_| ());
    let ends: Vec<(f64, bool)> = ran
        .outcomes
        .iter()
        .map(|job| job.ran.as_ref().unwrap())
        .map(|ran| (ran.end.secs_since(ran.start), ran.cut_off))
        .collect();
    assert_eq!(ends, [(105.0, true), (105.0, true)]);
    assert_eq!(ran.report().cut_off, 2);
}

#[test]
fn groups_start_together_in_every_policy() {
    let mut text = String::new();
    for n in 0..90 {
        let submit = n / 3 * 40;
        let member = match n % 5 {
            0 | 1 => format!(r#""ntasks":{},"group":"g{}:2""#, 6 + n % 7, n / 5),
            2 => r#""ntasks":20,"cosched":true,"class":"memory""#.to_owned(),
            3 => r#""ntasks":30"#.to_owned(),
            _ => r#""ntasks":8,"cosched":true,"class":"io""#.to_owned(),
        };
        let runtime = 100 + 37 * (n % 11);
        writeln!(text, r#"{{"submit":{submit},"runtime":{runtime},{member},"duration":1000}}"#).unwrap();
    }
    let trace = Trace::parse(&text).unwrap();
    for policy in [Policy::Fcfs, Policy::Sjf, Policy::Easy, Policy::Conservative, Policy::Hybrid { depth: 3 }]
    {
        let config = Config { policy, ..Config::default() };
        let run = run(&trace, &machine(4), &config, |_| ());
        is_sound(&run);
        let ran: Vec<_> = run.outcomes.iter().map(|job| job.ran.as_ref().unwrap()).collect();
        for n in (0..90).filter(|n| n % 5 == 0) {
            let (one, other) = (ran[n], ran[n + 1]);
            assert_eq!(one.start, other.start, "{policy}");
            let ranks = one.r.ranks().union(&other.r.ranks());
            for (m, third) in ran.iter().enumerate().filter(|(m, _)| *m != n && *m != n + 1) {
                let together = third.start < one.end.max(other.end) && one.start < third.end;
                assert!(!together || third.r.ranks().is_disjoint(&ranks), "{policy}: {m} with {n}");
            }
        }
        for (n, job) in run.outcomes.iter().enumerate() {
            if let Some(promised) = job.promised {
                assert!(ran[n].start <= promised, "{policy}: {n} was promised {promised:?}");
            }
            // Who is willing has only such beside him.
            let willing = |n: usize| trace.jobs[n].jobspec.attributes().cosched.is_some();
            for m in 0..n {
                let together = ran[n].start < ran[m].end && ran[m].start < ran[n].end;
                let met = together && !ran[n].r.ranks().is_disjoint(&ran[m].r.ranks());
                assert!(!met || willing(n) == willing(m), "{policy}: {n} and {m}");
            }
        }
    }
}
