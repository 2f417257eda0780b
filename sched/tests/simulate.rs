//! Traces that are read, and the figures of their runs.

use flurm_sched::simulate::{Report, Trace, run};
use flurm_sched::{Config, Limits, Policy, QueueConfig};
use flurm_types::{Idset, R, RNode};

fn machine(nodes: u32) -> R {
    R::from_nodes((0..nodes).map(|rank| RNode {
        rank,
        host: format!("n{rank}"),
        cores: (0..2).collect(),
        gpus: Idset::new(),
    }))
}

const SWF: &str =
    "; MaxJobs: 4\n1 0 -1 100 4 -1 -1 -1 -1 -1 1\n2 10 -1 50 8 -1 -1 -1 -1 -1 1\n3 20 -1 40 4\n4 30 -1 0 4\n";

#[test]
fn a_trace_gives_the_figures_that_follow_from_it() {
    let trace = Trace::parse(SWF).unwrap();
    assert_eq!(trace.jobs.len(), 3, "who has no run time is left out");
    let with = |policy| run(&trace, &machine(4), &Config { policy, ..Config::default() }, |_| ());
    let (fcfs, easy) = (with(Policy::Fcfs).report(), with(Policy::Easy).report());
    // Job 2 waits for all cores; job 3 passes it only where that is allowed.
    assert_eq!((fcfs.makespan_s, fcfs.wait_mean_s, fcfs.wait_max_s), (190.0, (90.0 + 130.0) / 3.0, 130.0));
    assert_eq!((easy.makespan_s, easy.wait_mean_s, easy.wait_p95_s), (150.0, 30.0, 90.0));
    assert_eq!(easy.utilisation, (400.0 + 400.0 + 160.0) / (8.0 * 150.0));
    assert!(easy.bounded_slowdown_mean < fcfs.bounded_slowdown_mean);
    let table = Report::table(&[("fcfs".to_owned(), fcfs), ("easy".to_owned(), easy)]);
    assert_eq!(table.lines().count(), 3);
    let run = with(Policy::Easy);
    assert_eq!(run.to_csv().lines().nth(2), Some("2,10,100,150,90,8,4,\"0-3\""));
}

/// A trace of so many jobs of a core each, of two queues if wanted, that come and run for a second each.
fn many(jobs: usize, queues: &[&str]) -> Trace {
    let line = |n: usize| {
        let queue =
            queues.get(n % queues.len().max(1)).map(|q| format!(",\"queue\":\"{q}\"")).unwrap_or_default();
        format!("{{\"submit\":{n},\"runtime\":1,\"ntasks\":1{queue}}}\n")
    };
    Trace::parse(&(0..jobs).map(line).collect::<String>()).unwrap()
}

#[test]
fn pictures_have_axes_a_legend_and_a_size_with_a_bound() {
    let svg =
        |trace: &Trace, title: &str| run(trace, &machine(4), &Config::default(), |_| ()).to_svg(trace, title);
    let few = svg(&many(100, &["short", "a<b"]), "a & b");
    for part in [
        "<svg ",
        ">a &amp; b</text>",
        ">short</text>",
        ">a&lt;b</text>",
        ">n3</text>",
        ">100%</text>",
        "time since the first submission (s)",
        "<title>job 7: submitted at 6 s, ran from 6 s to 7 s</title>",
    ] {
        assert!(few.contains(part), "{part}");
    }
    assert_eq!(few.matches("<title>").count(), 100);
    assert!(few.ends_with("</svg>\n"));
    let alone = svg(&many(3, &[]), "");
    assert_eq!(alone.matches("hsl(").count(), 3, "each job its colour, and no legend");
    // A path of each colour, then cells.
    let day = svg(&many(10_000, &["x", "y"]), "");
    assert!(!day.contains("<title>") && day.contains("(min)") && day.len() < 500_000, "{}", day.len());
    let crowd = svg(&many(60_000, &["x", "y"]), "");
    assert!(crowd.contains("(h)") && crowd.len() < 500_000, "{}", crowd.len());
}

#[test]
fn lines_of_json_may_say_more() {
    let text = r#"
{"submit": 0, "runtime": 10, "ntasks": 2, "duration": 60, "queue": "short"}
{"submit": 1, "runtime": 10, "nodes": 2, "priority": 20}
{"submit": 1, "runtime": 10, "ntasks": 9}
{"submit": 1, "runtime": 10, "ntasks": 1, "duration": 600, "queue": "short", "placement": "high"}
"#;
    let trace = Trace::parse(text).unwrap();
    let limits = Limits { duration_s_max: Some(60.0), ..Limits::default() };
    let queues = [("short".to_owned(), QueueConfig { limits, ..QueueConfig::default() })].into();
    let config = Config { policy: Policy::Conservative, queues, ..Config::default() };
    let run = run(&trace, &machine(4), &config, |_| ());
    let ran: Vec<bool> = run.outcomes.iter().map(|job| job.ran.is_some()).collect();
    assert_eq!(ran, [true, true, false, false], "one is too large, one asks for too long");
    for (bad, said) in [
        ("{\"submit\": 0}", "read trace at line 1: `runtime` is missing"),
        ("; x\n\n1 2 x 4 5", "read trace at line 3: `x` is not a number"),
        ("1 2 3", "read trace at line 1: expected 5 fields at least, found 3"),
        ("{\"submit\":0,\"runtime\":1,\"cores\":1}", "read trace at line 1: unknown key `cores`"),
    ] {
        assert_eq!(Trace::parse(bad).unwrap_err().to_string(), said);
    }
}
