//! Traces that are read, and the figures of their runs.

use flurm_sched::simulate::{Report, Trace, run};
use flurm_sched::{Config, Policy, QueueConfig, SlowDowns};
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
    assert_eq!((trace.jobs.len(), trace.never_ran), (3, 1), "who has no run time is left out");
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
    assert_eq!(run.to_csv().lines().nth(2), Some("2,10,100,150,90,8,4,\"0-3\",50,false"));
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
fn of_swf_what_concerns_scheduling_is_used() {
    // Asked for 8 processors and 2000 s, had 4; ran 1451 s after 30 s of waiting; program 7, queue 2.
    let text = "; a comment\n1 5 30 1451 4 -1 -1 8 2000 -1 1 3 1 7 2 -1 -1 -1\n2 9 10 60 2 -1 -1 -1 -1\n";
    let trace = Trace::parse(text).unwrap();
    let job = &trace.jobs[0];
    let attributes = job.jobspec.attributes();
    assert_eq!((job.runtime_s, job.waited_s, attributes.duration), (1451.0, Some(30.0), 2000.0));
    assert_eq!((attributes.queue.as_deref(), attributes.job_name.as_deref()), (Some("2"), Some("program7")));
    let sizes: Vec<u32> = trace.jobs.iter().map(|job| job.jobspec.request().unwrap().ntasks).collect();
    assert_eq!(sizes, [8, 2]);
    assert_eq!(trace.jobs[1].jobspec.attributes().duration, 60.0);
    // What has really happened, beside what would.
    let past = trace.report(8).unwrap();
    assert_eq!((past.jobs, past.wait_mean_s, past.makespan_s), (2, 20.0, 1481.0));
    assert_eq!(past.utilisation, (1451.0 * 8.0 + 60.0 * 2.0) / (1481.0 * 8.0));
    assert_eq!(Trace::parse("1 5 -1 10 4").unwrap().report(8), None);
}

#[test]
fn a_trace_is_written_in_few_words_where_they_say_all() {
    let text = r#"{"class":"io","cosched":true,"duration":60.0,"id":1,"name":"x","ntasks":4,"runtime":10.25,"submit":0.5,"wait":3.0}
{"cores_per_task":2,"duration":9.0,"group":"g:3","id":2,"ntasks":1,"priority":-3,"runtime":9.0,"submit":2.0}
{"duration":0.0,"exclusive":true,"id":3,"nodes":2,"placement":"high","queue":"q","runtime":1.0,"submit":2.0}
"#;
    let trace = Trace::parse(text).unwrap();
    assert_eq!(trace.to_json_lines(), text);
    // Here they do not.
    let text = r#"{"submit":0,"runtime":1,"ntasks":2,"constraint":"thin"}"#;
    let trace = Trace::parse(text).unwrap();
    assert!(trace.to_json_lines().contains(r#""jobspec":{"attributes":{"system":{"constraints""#));
    assert_eq!(Trace::parse(&trace.to_json_lines()), Ok(trace));
}

#[test]
fn lines_of_json_may_say_more() {
    let text = r#"
{"submit": 0, "runtime": 10, "ntasks": 2, "duration": 60, "queue": "short"}
{"submit": 1, "runtime": 10, "nodes": 2, "priority": 20}
{"submit": 1, "runtime": 10, "ntasks": 9}
{"submit": 1, "runtime": 10, "ntasks": 1, "duration": 600, "queue": "shut", "placement": "high"}
"#;
    let trace = Trace::parse(text).unwrap();
    let queue = |name: &str, stopped| (name.to_owned(), QueueConfig { stopped, ..QueueConfig::default() });
    let queues = [queue("short", false), queue("shut", true)].into();
    let config = Config { policy: Policy::Conservative, queues, ..Config::default() };
    let run = run(&trace, &machine(4), &config, |_| ());
    let ran: Vec<bool> = run.outcomes.iter().map(|job| job.ran.is_some()).collect();
    assert_eq!(ran, [true, true, false, false], "one is too large, one in a queue that is stopped");
    for (bad, said) in [
        ("{\"submit\": 0}", "read trace at line 1: `runtime` is missing"),
        ("; x\n\n1 2 x 4 5", "read trace at line 3: `x` is not a number"),
        ("1 2 3", "read trace at line 1: expected 5 fields at least, found 3"),
        ("{\"submit\":0,\"runtime\":1,\"cores\":1}", "read trace at line 1: unknown key `cores`"),
        ("{\"submit\":0,\"runtime\":1e99}", "read trace at line 1: `runtime` is not a number from 0 to 4e9"),
        (
            "\n{\"submit\":0,\"runtime\":1,\"class\":\"a b\"}",
            "read trace at line 2: `a b` is no class: up to 64 letters, digits, `_` and `-`",
        ),
        (
            "{\"submit\":0,\"runtime\":1,\"group\":\"g:1\"}",
            "read trace at line 1: a group is of 2 to 16 jobs, not of 1",
        ),
        (
            "{\"submit\":0,\"runtime\":1,\"group\":\"g\",\"cosched\":false}",
            "read trace at line 1: a job of a `group` is willing to share",
        ),
    ] {
        assert_eq!(Trace::parse(bad).unwrap_err().to_string(), said);
    }
}

#[test]
fn run_times_beside_others_are_not_those_of_jobs_alone() {
    let line = |beside: &str| format!(r#"{{"submit":0,"runtime":100,"ntasks":1,"class":"memory"{beside}}}"#);
    let slowdowns = SlowDowns::parse("[slowdown.memory]\nmemory = 2.0\n").unwrap();
    for (beside, alone_s) in
        [("", 100.0), (r#","beside":{"memory":1.0}"#, 50.0), (r#","beside":{"memory":0.5}"#, 75.0)]
    {
        let trace = Trace::parse(&line(beside)).unwrap();
        assert_eq!(Trace::parse(&trace.to_json_lines()).unwrap(), trace);
        let run =
            run(&trace, &machine(1), &Config { slowdowns: slowdowns.clone(), ..Config::default() }, |_| ());
        assert_eq!((run.outcomes[0].runtime_s, run.report().makespan_s), (alone_s, alone_s), "{beside}");
    }
    for beside in
        [r#","beside":{"memory":1.5}"#, r#","beside":{"memory":0.7,"io":0.7}"#, r#","beside":"memory""#]
    {
        assert!(Trace::parse(&line(beside)).is_err(), "{beside}");
    }
}

#[test]
fn who_is_turned_down_is_told_why() {
    let trace = Trace::parse("{\"submit\":0,\"runtime\":1,\"ntasks\":9}\n").unwrap();
    let run = run(&trace, &machine(2), &Config::default(), |_| ());
    let why = run.outcomes[0].refused.as_deref();
    assert_eq!(why, Some("this instance has 4 cores, the job asks for 9"));
}
