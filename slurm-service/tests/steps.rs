//! Steps between Slurm's messages and jobs within jobs: what `srun` asks for, what it is told in every release, what job it becomes.

use flurm_jobspec::Jobspec;
use flurm_slurm_protocol::structures::{JobStepCreateRequestMsg, LaunchTasksRequestMsg};
use flurm_slurm_protocol::{Body, Limits, Message, NO_VAL16, Text, Version};
use flurm_slurm_service::translate::step::{self, Owner, Record};
use flurm_types::{Idset, JobId, R, RNode, Spread};
use serde_json::json;

/// Two nodes of four cores.
fn r() -> R {
    R::from_nodes((0..2).map(|rank| RNode {
        rank,
        host: format!("n{rank}"),
        cores: Idset::from_range(0..=3),
        gpus: Idset::new(),
    }))
}

fn record() -> Record {
    Record {
        outer: JobId(77),
        job: 5,
        step: 3,
        name: "prog".into(),
        r: R { nslots: Some(3), ..r() }.to_value(),
        tids: vec![vec![0, 2], vec![1]],
        cores_per_task: 1,
        overlap: false,
        time_limit: 2,
        host: "n0".into(),
        port: 4711,
        address: None,
        protocol: 0,
        dist: 1,
        submit_line: Some("srun -n3 prog".into()),
        signal: Some((12, 30)),
    }
}

fn asked() -> JobStepCreateRequestMsg {
    JobStepCreateRequestMsg {
        min_nodes: 1,
        max_nodes: 2,
        num_tasks: 3,
        cpu_count: 3,
        relative: NO_VAL16,
        plane_size: NO_VAL16,
        task_dist: 8192,
        flags: 8,
        ..JobStepCreateRequestMsg::default()
    }
}

#[test]
fn what_srun_is_told_is_read_by_every_release() {
    let owner = Owner { uid: 7, gid: 8, name: "ann".into() };
    for version in Version::all() {
        for body in [
            Body::ResponseJobStepCreate(Box::new(step::created(
                &record(),
                &r(),
                "n[0-1]",
                &owner,
                "secret",
                9,
                version,
            ))),
            Body::ResponseStepLayout(Box::new(step::layout(&record(), "n[0-1]", version))),
            Body::ResponseJobSbcastCred(Box::new(step::broadcast(5, "n[0-1]", &owner, "secret", 9, version))),
        ] {
            let name = body.name();
            let frame = Message::new(version, body).write();
            let frame = frame.unwrap_or_else(|e| panic!("{name} in {version}: {e:?}"));
            let read = Message::read(&frame, &Limits::default());
            let read = read.unwrap_or_else(|e| panic!("{name} in {version}: {e:?}"));
            if let Body::ResponseJobStepCreate(told) = read.body {
                assert_eq!(told.step_layout.tids, Some(vec![vec![0, 2], vec![1]]), "{version}");
                let key = told.cred.sigp.map_or(told.cred.signature.lossy().into_owned(), |key| {
                    String::from_utf8_lossy(&key.0).into_owned()
                });
                assert_eq!(key, "secret", "{version}");
            }
        }
    }
}

#[test]
fn options_of_srun_say_what_a_step_wants() {
    let rank_of = |name: &str| name.strip_prefix('n')?.parse().ok();
    let want = |asked: &JobStepCreateRequestMsg| step::want(asked, rank_of);
    let plain = want(&asked()).unwrap();
    assert_eq!((plain.nodes, plain.tasks, plain.cores_per_task), ((1, 2), Some(3), 1));
    assert!(plain.whole_nodes && !plain.overlap && !plain.overcommit);
    let exact = want(&JobStepCreateRequestMsg { flags: 9, cpu_count: 6, ..asked() }).unwrap();
    assert!(!exact.whole_nodes && exact.cores_per_task == 2);
    assert!(want(&JobStepCreateRequestMsg { flags: 64, ..asked() }).unwrap().overlap);
    assert!(want(&JobStepCreateRequestMsg { flags: 4, ..asked() }).unwrap().overcommit);
    let placed = JobStepCreateRequestMsg {
        node_list: "n[0-1]".into(),
        exc_nodes: "n2".into(),
        relative: 1,
        tres_per_node: "gres:gpu:2".into(),
        ..asked()
    };
    let placed = want(&placed).unwrap();
    assert_eq!((placed.with, placed.without, placed.first), ("0-1".parse().unwrap(), 2.into(), 1));
    assert_eq!(placed.gpus_per_node, Some(2));
    let listed = JobStepCreateRequestMsg { task_dist: 3, node_list: "n1,n0,n1".into(), ..asked() };
    assert_eq!(want(&listed).unwrap().spread, Spread::Listed(vec![1, 0, 1]));
    assert!(want(&JobStepCreateRequestMsg { node_list: "nowhere".into(), ..asked() }).is_err());
    let elsewhere = JobStepCreateRequestMsg { exc_nodes: "nowhere".into(), ..asked() };
    assert!(want(&elsewhere).unwrap().without.is_empty());
}

#[test]
fn tasks_are_dealt_to_nodes_as_they_are_distributed() {
    let ranks: Idset = "0-1".parse().unwrap();
    for (dist, plane, expected) in [
        (8192, NO_VAL16, vec![vec![0, 1, 2], vec![3, 4]]),
        (2, NO_VAL16, vec![vec![0, 1, 2], vec![3, 4]]),
        (1, NO_VAL16, vec![vec![0, 2, 4], vec![1, 3]]),
        (4, 2, vec![vec![0, 1, 4], vec![2, 3]]),
    ] {
        assert_eq!(step::deal(&[3, 2], dist, plane, &[], &ranks), expected, "{dist}");
    }
    assert_eq!(step::deal(&[1, 2], 3, NO_VAL16, &[1, 0, 1], &ranks), [vec![1], vec![0, 2]]);
}

#[test]
fn a_launch_becomes_a_job_within_the_job() {
    let launch = LaunchTasksRequestMsg {
        argv: ["prog", "a b"].map(Text::from).to_vec(),
        env: [
            "X=1=2",
            "SLURM_UMASK=0027",
            "SLURM_RLIMIT_NOFILE=20000",
            "SLURM_MPI_TYPE=pmix_v4",
            "SLURM_JOB_ID=5",
        ]
        .map(Text::from)
        .to_vec(),
        cwd: "/work".into(),
        ofname: "out.%t".into(),
        ..LaunchTasksRequestMsg::default()
    };
    let job = |launch: &LaunchTasksRequestMsg| {
        step::jobspec(&record(), launch, "/bin/flurm", "{{node.name}}", "::1")
    };
    let (text, environment) = job(&launch).unwrap();
    let jobspec = Jobspec::parse(&text).unwrap();
    assert_eq!(jobspec.command(), ["prog", "a b"]);
    let attributes = jobspec.attributes();
    assert_eq!(attributes.within.as_ref().map(|within| within.id), Some(JobId(77)));
    assert_eq!((attributes.cwd.as_str(), attributes.duration), ("/work", 120.0));
    let value = |name: &str| environment.get(name).and_then(Option::as_deref);
    assert_eq!((value("X"), value("SLURM_JOB_ID")), (Some("1=2"), Some("5")));
    assert_eq!((value("SLURM_RLIMIT_NOFILE"), value("SLURM_SRUN_COMM_HOST")), (None, Some("::1")));
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    let options = &document["attributes"]["system"]["shell"]["options"];
    assert_eq!((&options["mpi"], &options["umask"]), (&json!("pmix"), &json!("0027")));
    assert_eq!(options["rlimit"]["nofile"], "20000");
    assert_eq!(options["signal"], json!({ "signum": 12, "timeleft": 30.0 }));
    assert_eq!(options["output"]["stdout"]["path"], "out.{{task.id}}");
    // Words that look like tags of ours are the user's, and words that no jobspec can have are refused.
    let braces = LaunchTasksRequestMsg {
        argv: ["prog", "{{id}}"].map(Text::from).to_vec(),
        env: vec!["T={{name}}".into()],
        ofname: "o.{{%3t.%s".into(),
        ..launch.clone()
    };
    let (braces, braced) = job(&braces).unwrap();
    assert_eq!(Jobspec::parse(&braces).unwrap().command()[1], "{{brace}}{{brace}}id}}");
    assert_eq!(braced["T"].as_deref(), Some("{{brace}}{{brace}}name}}"));
    assert!(braces.contains("o.{{brace}}{{brace}}{{task.id.3}}.3"), "{braces}");
    let odd = LaunchTasksRequestMsg { env: vec![Text::new(b"A=\xff")], ..launch.clone() };
    assert!(job(&odd).unwrap_err().contains("not UTF-8"));
    // What a service after this one knows of it.
    let known = step::known(&document, record().r).unwrap();
    assert_eq!((known.job, known.step, known.tids), (5, 3, record().tids));

    let other = LaunchTasksRequestMsg {
        flags: 2,
        argv: ["srun", "0-2 prog %t\n"].map(Text::from).to_vec(),
        env: vec!["SLURM_MPI_TYPE=cray_shasta".into()],
        ..LaunchTasksRequestMsg::default()
    };
    assert!(job(&other).unwrap_err().contains("`cray_shasta` is not served"));
    let (text, _) = job(&LaunchTasksRequestMsg { env: Vec::new(), ..other }).unwrap();
    let jobspec = Jobspec::parse(&text).unwrap();
    assert_eq!(jobspec.command()[..2], ["/bin/flurm", "multi-prog"]);
    assert_eq!(jobspec.attributes().files.len(), 1);
}
