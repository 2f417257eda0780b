//! Requests of real clients as jobs of ours: each option of `sbatch` is honoured or refused, there is no third case.

#[path = "../../slurm-protocol/tests/frames/mod.rs"]
mod frames;

use flurm_jobspec::Jobspec;
use flurm_slurm_protocol::structures::JobDescMsg;
use flurm_slurm_protocol::{Body, INFINITE, Limits, Message, Text, Version, constants, errors};
use flurm_slurm_service::translate::options::{self, Fate};
use flurm_slurm_service::translate::site::{Owner, Site, SiteNode, Target};
use flurm_slurm_service::translate::submit;
use flurm_types::JobId;
use serde_json::{Value, json};
use std::path::Path;

fn node(rank: u32, properties: &[&str]) -> SiteNode {
    SiteNode {
        rank,
        name: format!("lab{}", rank + 1),
        host: "lab".into(),
        cores: 8,
        sockets: 2,
        gpus: 4,
        memory: Some(16000),
        properties: properties.iter().map(|name| (*name).to_owned()).collect(),
    }
}

fn site() -> Site {
    Site {
        cluster: "flurm".into(),
        nodes: vec![node(0, &["fa", "a100"]), node(1, &["fa"]), node(2, &[]), node(3, &[])],
        partitions: [("main", None), ("short", Some("short"))]
            .map(|(name, queue)| (name.to_owned(), queue.map(str::to_owned)))
            .into(),
        default_partition: "main".into(),
        memory: false,
        owner: Owner {
            uid: 1001,
            gid: 1001,
            name: "me".into(),
            home: "/home/me".into(),
            shell: "/bin/bash".into(),
        },
    }
}

/// Job 5; jobs 7 to 9, an array of three.
fn find(number: u32) -> Vec<Target> {
    match number {
        5 => vec![Target { id: JobId(50), index: None }],
        7 => (0..3).map(|n| Target { id: JobId(70 + u64::from(n)), index: Some(n) }).collect(),
        _ => Vec::new(),
    }
}

/// What `sbatch` of 22.05 sends for a script without options.
fn plain() -> JobDescMsg {
    let frames = frames::of("22.05.8");
    let mut found =
        frames.iter().filter(|frame| frame.name == "REQUEST_SUBMIT_BATCH_JOB").filter_map(|frame| {
            let message = Message::read(&frame.bytes, &Limits::default()).expect("a real frame");
            let Body::RequestSubmitBatchJob(desc) = message.body else { panic!("{}", frame.name) };
            let alone = desc.array_inx.is_null() && desc.dependency.is_null() && desc.partition.is_null();
            (alone && desc.priority == flurm_slurm_protocol::NO_VAL && desc.argv.is_empty()).then_some(desc)
        });
    let mut desc = *found.next().expect("a plain one was captured");
    (desc.user_id, desc.group_id) = (1001, 1001);
    desc
}

fn jobspec(desc: &JobDescMsg, site: &Site) -> Result<Value, u32> {
    let mould = submit::batch(desc, site, &find).map_err(|refusal| {
        assert!(!refusal.text.is_empty());
        refusal.code
    })?;
    let index = mould.indices().and_then(|indices| indices.ids.first());
    let job = mould.job(index, None);
    let read = Jobspec::parse_with_environment(job.jobspec.get(), job.environment.clone());
    read.unwrap_or_else(|error| panic!("{error}: {}", job.jobspec));
    let mut jobspec: Value = serde_json::from_str(job.jobspec.get()).unwrap();
    jobspec["urgency"] = job.urgency.into();
    jobspec["environment"] = serde_json::to_value(&*job.environment).unwrap();
    Ok(jobspec)
}

enum Wanted {
    At(&'static str, Value),
    /// Slurm's variable for the script.
    Told(&'static str, &'static str),
    Code(u32),
}

use Wanted::{At, Code, Told};

type Case = (&'static str, fn(&mut JobDescMsg), Wanted);

const SYSTEM: &str = "/attributes/system";

fn set_env(desc: &mut JobDescMsg, pairs: &[&str]) {
    desc.environment.extend(pairs.iter().map(|pair| Text::from(*pair)));
}

/// What the client sends for an option, as seen from 22.05, and what comes of it.
fn cases() -> Vec<Case> {
    use errors::*;
    vec![
        ("-a", |d| d.array_inx = "2-9:2%5".into(), At("/array/throttle", json!(5))),
        ("-a", |d| d.array_inx = "2-9:2%5".into(), At("/array/index", json!(2))),
        ("-a", |d| d.array_inx = "0-9:0".into(), Code(ESLURM_INVALID_ARRAY)),
        ("-A", |d| d.account = "acc".into(), At("/bank", json!("acc"))),
        ("-A", |d| d.account = "acc".into(), Told("SLURM_JOB_ACCOUNT", "acc")),
        ("--acctg-freq", |d| d.acctg_freq = "5".into(), Code(ESLURM_NOT_SUPPORTED)),
        ("--batch", |d| d.batch_features = "fa".into(), Code(ESLURM_BATCH_CONSTRAINT)),
        (
            "--batch",
            |d| (d.batch_features, d.features) = ("fa".into(), "fa".into()),
            At("/constraints/properties/0", json!("fa")),
        ),
        ("--bb", |d| d.burst_buffer = "x".into(), Code(ESLURM_INVALID_BURST_BUFFER_REQUEST)),
        ("--bbf", |d| d.burst_buffer = "x".into(), Code(ESLURM_INVALID_BURST_BUFFER_REQUEST)),
        ("-b", |d| d.begin_time = 1_795_313_832, At("/dependencies/0/value", json!("1795313832"))),
        ("-D", |d| d.work_dir = "/var".into(), At("/cwd", json!("/var"))),
        ("--cluster-constraint", |d| d.cluster_features = "a".into(), Code(ESLURM_INVALID_CLUSTER_FEATURE)),
        ("-M", |d| d.clusters = "x".into(), Code(ESLURM_INVALID_CLUSTER_NAME)),
        ("--comment", |d| d.comment = "hi".into(), At("/slurm/comment", json!("hi"))),
        ("-C", |d| d.features = "fa&!a100".into(), At("/constraints/and/0/properties/0", json!("fa"))),
        ("-C", |d| d.features = "nope".into(), Code(ESLURM_INVALID_FEATURE)),
        ("-C", |d| d.features = "[fa|a100]".into(), Code(ESLURM_INVALID_FEATURE)),
        ("--container", |d| d.container = "/x".into(), Code(ESLURM_CONTAINER_NOT_CONFIGURED)),
        ("--contiguous", |d| d.contiguous = 1, Code(ESLURM_NOT_SUPPORTED)),
        ("-S", |d| d.core_spec = 2, Code(ESLURM_NOT_SUPPORTED)),
        ("--cores-per-socket", |d| d.cores_per_socket = 4, At("/slurm/cores-per-socket", json!(4))),
        ("--cores-per-socket", |d| d.cores_per_socket = 5, Code(ESLURM_REQUESTED_NODE_CONFIG_UNAVAILABLE)),
        ("--cpu-freq", |d| d.cpu_freq_max = 2_147_483_651, Code(ESLURM_NOT_SUPPORTED)),
        ("-c", |d| d.cpus_per_task = 3, At("/resources/0/with/0/count", json!(3))),
        ("-c", |d| d.cpus_per_task = 3, Told("SLURM_CPUS_PER_TASK", "3")),
        ("-c", |d| d.cpus_per_task = 9, Code(ESLURM_REQUESTED_NODE_CONFIG_UNAVAILABLE)),
        (
            "--cpus-per-gpu",
            |d| (d.cpus_per_tres, d.tres_per_job) = ("gres:gpu:3".into(), "gres:gpu:2".into()),
            At("/resources/0/with/0/with/0/count", json!(6)),
        ),
        ("--deadline", |d| d.deadline = 1_795_317_372, Code(ESLURM_NOT_SUPPORTED)),
        ("--delay-boot", |d| d.delay_boot = 300, At("/cwd", json!("/home/sptest"))),
        ("-d", |d| d.dependency = "afterok:5".into(), At("/dependencies/0/scheme", json!("afterok"))),
        ("-d", |d| d.dependency = "afterok:6".into(), Code(ESLURM_DEPENDENCY)),
        ("-d", |d| d.dependency = "afterok:5".into(), Told("SLURM_JOB_DEPENDENCY", "afterok:5")),
        (
            "-m",
            |d| {
                d.task_dist = 1;
                set_env(d, &["SLURM_DISTRIBUTION=cyclic"]);
            },
            Told("SLURM_DISTRIBUTION", "cyclic"),
        ),
        (
            "-e",
            |d| d.std_err = "/x/e.%j".into(),
            At("/shell/options/output/stderr/path", json!("/x/e.{{number}}")),
        ),
        ("--exclusive", |d| d.shared = 0, At("/resources/0/exclusive", json!(true))),
        ("--exclusive", |d| d.shared = 2, At("/slurm/shared", json!(2))),
        ("--exclusive", |d| d.shared = 3, Code(ESLURM_INVALID_MCS_LABEL)),
        ("-x", |d| d.exc_nodes = "lab2".into(), At("/constraints/not/0/ranks/0", json!("1"))),
        ("-x", |d| d.exc_nodes = "nope".into(), Code(ESLURM_INVALID_NODE_NAME)),
        (
            "--export",
            |d| {
                d.environment = ["A=1", "SLURM_EXPORT_ENV=A=1", "SLURM_GET_USER_ENV=1"].map(Text::from).into()
            },
            At("/environment/A", json!("1")),
        ),
        (
            "--export",
            |d| {
                d.environment = ["A=1", "SLURM_EXPORT_ENV=A=1", "SLURM_GET_USER_ENV=1"].map(Text::from).into()
            },
            At("/tasks/0/command/1", json!("-l")),
        ),
        (
            "--export",
            |d| set_env(d, &["SLURM_EXPORT_ENV=ALL,B=2", "B=2", "SLURM_GET_USER_ENV=1"]),
            At("/tasks/0/command/0", json!("{{tmpdir}}/slurm_script")),
        ),
        ("--export-file", |d| d.environment = vec!["Q=1".into()], At("/environment/Q", json!("1"))),
        (
            "-B",
            |d| (d.sockets_per_node, d.cores_per_socket, d.threads_per_core) = (2, 4, 1),
            At("/slurm/sockets-per-node", json!(2)),
        ),
        (
            "--get-user-env",
            |d| set_env(d, &["SLURM_GET_USER_ENV=1"]),
            At("/tasks/0/command/0", json!("/bin/bash")),
        ),
        ("--gid", |d| d.group_id = 7, Code(ESLURM_GROUP_ID_MISSING)),
        (
            "--gpu-bind",
            |d| {
                d.tres_bind = "gpu:closest".into();
                set_env(d, &["SLURM_GPU_BIND=closest"]);
            },
            Told("SLURM_GPU_BIND", "closest"),
        ),
        ("--gpu-freq", |d| d.tres_freq = "gpu:high".into(), Code(ESLURM_NOT_SUPPORTED)),
        ("-G", |d| d.tres_per_job = "gres:gpu:2".into(), At("/resources/0/with/0/with/1/count", json!(2))),
        ("-G", |d| d.tres_per_job = "gres:gpu:2".into(), Told("SLURM_GPUS", "2")),
        ("-G", |d| d.tres_per_job = "gres:gpu:a100:2".into(), At("/constraints/ranks/0", json!("0"))),
        ("-G", |d| d.tres_per_job = "gres:gpu:v100:2".into(), Code(ESLURM_INVALID_GRES)),
        // Six GPUs are on no single node, so each has a slot of its own.
        ("-G", |d| d.tres_per_job = "gres:gpu:6".into(), At("/resources/0/count", json!(6))),
        (
            "--gpus-per-node",
            |d| (d.tres_per_node, d.min_nodes, d.max_nodes) = ("gres:gpu:2".into(), 2, 2),
            At("/resources/0/with/0/with/1/count", json!(2)),
        ),
        (
            "--gpus-per-socket",
            |d| (d.tres_per_socket, d.sockets_per_node) = ("gres:gpu:2".into(), 2),
            At("/resources/0/with/0/with/1/count", json!(4)),
        ),
        (
            "--gpus-per-task",
            |d| (d.tres_per_task, d.num_tasks) = ("gres:gpu:1".into(), 3),
            At("/resources/0/count", json!(3)),
        ),
        (
            "--gres",
            |d| d.tres_per_node = "gres:gpu:3".into(),
            At("/resources/0/with/0/with/1/count", json!(3)),
        ),
        ("--gres", |d| d.tres_per_node = "gres:mps:3".into(), Code(ESLURM_INVALID_GRES)),
        ("--gres", |d| d.tres_per_node = "gres:gpu:5".into(), Code(ESLURM_REQUESTED_NODE_CONFIG_UNAVAILABLE)),
        ("--gres-flags=disable-binding", |d| d.bitflags |= 524_288, At("/cwd", json!("/home/sptest"))),
        ("--gres-flags=enforce-binding", |d| d.bitflags |= 16, Code(ESLURM_NOT_SUPPORTED)),
        (
            "--hint",
            |d| {
                d.threads_per_core = 1;
                set_env(d, &["SLURM_HINT=nomultithread"]);
            },
            Told("SLURM_HINT", "nomultithread"),
        ),
        ("-H", |d| d.priority = 0, At("!urgency", json!(0))),
        ("-i", |d| d.std_in = "/x/in".into(), At("/shell/options/input/stdin/path", json!("/x/in"))),
        ("-J", |d| d.name = "nm".into(), At("/job/name", json!("nm"))),
        ("--kill-on-invalid-dep=yes", |d| d.bitflags |= 1, At("/cwd", json!("/home/sptest"))),
        ("--kill-on-invalid-dep=no", |d| d.bitflags |= 2, Code(ESLURM_NOT_SUPPORTED)),
        ("-L", |d| d.licenses = "mat:2".into(), Code(ESLURM_INVALID_LICENSES)),
        ("--mail-type=NONE", |d| d.mail_type = 0, At("/cwd", json!("/home/sptest"))),
        ("--mail-type=TYPE", |d| d.mail_type = 2, Code(ESLURM_NOT_SUPPORTED)),
        ("--mail-user", |d| d.mail_user = "me".into(), At("/slurm/mail-user", json!("me"))),
        ("--mcs-label", |d| d.mcs_label = "x".into(), Code(ESLURM_INVALID_MCS_LABEL)),
        ("--mem", |d| d.pn_min_memory = 100, At("/shell/options/memory-watchdog", json!(100 << 20))),
        ("--mem", |d| d.pn_min_memory = 100, Told("SLURM_MEM_PER_NODE", "100")),
        ("--mem", |d| d.pn_min_memory = 16001, Code(ESLURM_REQUESTED_NODE_CONFIG_UNAVAILABLE)),
        (
            "--mem-bind",
            |d| {
                d.mem_bind_type = 32;
                set_env(d, &["SLURM_MEM_BIND=local"]);
            },
            Told("SLURM_MEM_BIND", "local"),
        ),
        (
            "--mem-per-cpu",
            |d| (d.pn_min_memory, d.cpus_per_task) = (constants::MEM_PER_CPU | 50, 2),
            At("/shell/options/memory-watchdog", json!(100 << 20)),
        ),
        ("--mem-per-cpu", |d| d.pn_min_memory = constants::MEM_PER_CPU | 50, Told("SLURM_MEM_PER_CPU", "50")),
        (
            "--mem-per-gpu",
            |d| (d.mem_per_tres, d.tres_per_job) = ("gres:gpu:10".into(), "gres:gpu:2".into()),
            At("/shell/options/memory-watchdog", json!(20 << 20)),
        ),
        ("--mincpus", |d| d.pn_min_cpus = 4, At("/resources/0/with/0/with/0/count", json!(4))),
        ("--network", |d| d.network = "x".into(), Code(ESLURM_NOT_SUPPORTED)),
        ("--nice", |d| d.nice = 2_147_483_748, At("!urgency", json!(13))),
        ("--nice", |d| d.nice = 2_147_483_643, At("!urgency", json!(17))),
        ("-k", |d| d.kill_on_node_fail = 0, Code(ESLURM_NOT_SUPPORTED)),
        ("--no-requeue", |d| d.requeue = 0, At("/slurm/requeue", json!(false))),
        ("-F", |d| (d.req_nodes, d.min_nodes) = ("lab2".into(), 1), At("/constraints/ranks/0", json!("1"))),
        ("-w", |d| (d.req_nodes, d.min_nodes) = ("lab[2-3]".into(), 2), At("/resources/0/count", json!(2))),
        (
            "-w",
            |d| (d.req_nodes, d.min_nodes, d.max_nodes) = ("lab2".into(), 2, 2),
            Code(ESLURM_INVALID_NODE_COUNT),
        ),
        ("-w", |d| d.req_nodes = "nope".into(), Code(ESLURM_INVALID_NODE_NAME)),
        ("-N", |d| (d.min_nodes, d.max_nodes) = (2, 2), At("/resources/0/count", json!(2))),
        ("-N", |d| (d.min_nodes, d.max_nodes) = (2, 3), At("/resources/0/count", json!("2-3"))),
        // Thirty tasks are no less than four nodes.
        ("-N", |d| (d.min_nodes, d.max_nodes, d.num_tasks) = (1, 4, 30), At("/resources/0/count", json!(4))),
        ("-N", |d| (d.min_nodes, d.max_nodes) = (9, 9), Code(ESLURM_REQUESTED_NODE_CONFIG_UNAVAILABLE)),
        ("-n", |d| d.num_tasks = 4, At("/resources/0/count", json!(4))),
        ("-n", |d| d.num_tasks = 4, Told("SLURM_NTASKS", "4")),
        ("-n", |d| d.num_tasks = 33, Code(ESLURM_REQUESTED_NODE_CONFIG_UNAVAILABLE)),
        ("--ntasks-per-core=1", |d| d.ntasks_per_core = 1, Told("SLURM_NTASKS_PER_CORE", "1")),
        ("--ntasks-per-core=N", |d| d.ntasks_per_core = 2, Code(ESLURM_REQUESTED_NODE_CONFIG_UNAVAILABLE)),
        ("--ntasks-per-gpu", |d| d.ntasks_per_tres = 2, Told("SLURM_NTASKS_PER_GPU", "2")),
        (
            "--ntasks-per-node",
            |d| (d.num_tasks, d.ntasks_per_node) = (4, 2),
            At("/resources/0/count", json!(2)),
        ),
        (
            "--ntasks-per-node",
            |d| (d.num_tasks, d.ntasks_per_node) = (4, 2),
            At("/resources/0/with/0/with/0/count", json!(2)),
        ),
        (
            "--ntasks-per-socket",
            |d| (d.num_tasks, d.ntasks_per_socket) = (4, 2),
            At("/resources/0/with/0/count", json!(2)),
        ),
        ("--open-mode", |d| d.open_mode = 1, At("/shell/options/output/mode", json!("append"))),
        ("--open-mode", |d| d.open_mode = 1, Told("SLURM_OPEN_MODE", "a")),
        (
            "-o",
            |d| d.std_out = "/x/%x.%4j".into(),
            At("/shell/options/output/stdout/path", json!("/x/wrap.{{number.4}}")),
        ),
        ("-O", |d| (d.overcommit, d.num_tasks) = (1, 8), At("/resources/0/with/0/count", json!(1))),
        ("-O", |d| (d.overcommit, d.num_tasks) = (1, 8), At("/resources/0/count", json!(1))),
        ("-s", |d| d.shared = 1, At("/slurm/shared", json!(1))),
        ("-p", |d| d.partition = "short".into(), At("/queue", json!("short"))),
        ("-p", |d| d.partition = "main".into(), Told("SLURM_JOB_PARTITION", "main")),
        ("-p", |d| d.partition = "nope".into(), Code(ESLURM_INVALID_PARTITION_NAME)),
        ("--power", |d| d.power_flags = Some(1), Code(ESLURM_NOT_SUPPORTED)),
        ("--prefer", |d| d.prefer = "fa".into(), Code(ESLURM_INVALID_PREFER)),
        ("--priority", |d| d.priority = 5, At("!urgency", json!(5))),
        ("--priority", |d| d.priority = 4_294_967_293, At("!urgency", json!(31))),
        ("--profile=none", |d| d.profile = 1, At("/cwd", json!("/home/sptest"))),
        ("--profile=TYPE", |d| d.profile = INFINITE, Code(ESLURM_NOT_SUPPORTED)),
        (
            "--propagate",
            |d| d.environment = vec!["SLURM_RLIMIT_STACK=U8388608".into()],
            At("/shell/options/rlimit", json!({ "stack": 8_388_608 })),
        ),
        ("-q", |d| d.qos = "high".into(), Told("SLURM_JOB_QOS", "high")),
        ("--reboot", |d| d.reboot = 1, Code(ESLURM_NOT_SUPPORTED)),
        ("--requeue", |d| d.requeue = 1, At("/slurm/requeue", json!(true))),
        ("--reservation", |d| d.reservation = "r".into(), Code(ESLURM_RESERVATION_INVALID)),
        (
            "--signal=B:SIGNAL@SECONDS",
            |d| (d.warn_flags, d.warn_signal, d.warn_time) = (1, 10, 30),
            At("/shell/options/signal", json!({ "signum": 10, "timeleft": 30.0, "alone": true })),
        ),
        (
            "--signal=SIGNAL@SECONDS",
            |d| (d.warn_signal, d.warn_time) = (10, 30),
            At("/slurm/step-signal", json!([10, 30])),
        ),
        ("--sockets-per-node", |d| d.sockets_per_node = 2, At("/slurm/sockets-per-node", json!(2))),
        ("--sockets-per-node", |d| d.sockets_per_node = 3, Code(ESLURM_REQUESTED_NODE_CONFIG_UNAVAILABLE)),
        (
            "--spread-job",
            |d| (d.bitflags, d.num_tasks) = (d.bitflags | 256, 3),
            At("/resources/0/count", json!(3)),
        ),
        ("--switches", |d| d.req_switch = 2, Code(ESLURM_NOT_SUPPORTED)),
        ("--thread-spec", |d| d.core_spec = 32770, Code(ESLURM_NOT_SUPPORTED)),
        ("--threads-per-core=1", |d| d.threads_per_core = 1, Told("SLURM_THREADS_PER_CORE", "1")),
        ("--threads-per-core=N", |d| d.threads_per_core = 2, Code(ESLURM_REQUESTED_NODE_CONFIG_UNAVAILABLE)),
        ("-t", |d| d.time_limit = 30, At("/duration", json!(1800.0))),
        ("-t", |d| d.time_limit = INFINITE, At("/duration", json!("inf"))),
        ("--time-min", |d| d.time_min = 5, At("/slurm/time-min", json!(5))),
        ("--tmp", |d| d.pn_min_tmp_disk = 5, Code(ESLURM_REQUESTED_NODE_CONFIG_UNAVAILABLE)),
        ("--uid", |d| d.user_id = 7, Code(ESLURM_USER_ID_MISSING)),
        (
            "--use-min-nodes",
            |d| {
                (d.min_nodes, d.max_nodes, d.bitflags) =
                    (2, 3, d.bitflags | u64::from(constants::USE_MIN_NODES))
            },
            At("/resources/0/count", json!(2)),
        ),
        ("--wckey", |d| d.wckey = "w".into(), At("/slurm/wckey", json!("w"))),
    ]
}

/// `-a, --array=X` is known as `-a`; an option that stands there twice is known by its value as well.
fn is_named(option: &str, case: &str) -> bool {
    option == case
        || option.split(", ").any(|word| word == case || word.split('=').next() == Some(case))
        || option.split(", ").next() == Some(case)
}

#[test]
fn every_option_is_honoured_or_refused() {
    let site = site();
    let cases = cases();
    for (option, change, wanted) in &cases {
        let mut desc = plain();
        change(&mut desc);
        let found = jobspec(&desc, &site);
        match (wanted, found) {
            (Code(code), found) => assert_eq!(found.err(), Some(*code), "{option}"),
            (At(_, value), Ok(found)) if matches!(wanted, At("!urgency", _)) => {
                assert_eq!(found["urgency"], *value, "{option}");
            }
            (At(at, value), Ok(found)) => {
                let top = ["/resources", "/tasks", "/environment"].iter().any(|top| at.starts_with(top));
                let at = if top { (*at).to_owned() } else { format!("{SYSTEM}{at}") };
                assert_eq!(found.pointer(&at), Some(value), "{option}: {at} in {found:#}");
            }
            (Told(name, value), Ok(found)) => {
                let told = &found["attributes"]["system"]["slurm"]["environment"];
                assert_eq!(told[name], json!(value), "{option}");
            }
            (_, Err(code)) => panic!("{option}: refused with {code}"),
        }
    }
    let plain_one = jobspec(&plain(), &site).unwrap();
    for (option, fate) in options::table() {
        let mut mine = cases.iter().filter(|(name, ..)| is_named(option, name)).peekable();
        match fate {
            Fate::Clients => assert!(mine.peek().is_none(), "{option} is the client's alone"),
            Fate::Refused(code, why) => {
                assert!(!why.is_empty(), "{option}");
                let is_it =
                    |n: &u32, version| errors::explain(*n, version).is_some_and(|(name, _)| name == code);
                let number = (1..20_000)
                    .find(|n| is_it(n, Version::LAST))
                    .or_else(|| (1..20_000).find(|n| is_it(n, Version::FIRST)));
                let number = number.unwrap_or_else(|| panic!("{option}: {code} is no error of Slurm's"));
                assert!(
                    mine.any(|(.., wanted)| matches!(wanted, Code(n) if *n == number)),
                    "{option} {code}"
                );
            }
            Fate::Becomes(_) => {
                let seen = mine.any(|(.., wanted)| !matches!(wanted, Code(_)));
                assert!(seen, "{option}: nobody has looked what becomes of it");
            }
        }
    }
    assert_eq!(plain_one.pointer("/resources/0/count"), Some(&json!(1)));
}

#[test]
fn the_page_shows_every_option() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/slurm-options.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&file, options::page()).expect("docs are ours");
    }
    let page = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        page == options::page(),
        "docs/slurm-options.md is behind: UPDATE_DOCS=1 cargo test -p flurm-slurm-service the_page"
    );
}

#[test]
fn requests_of_eight_releases_become_jobs_with_their_script_to_the_byte() {
    let mut site = site();
    // Clusters of the captures allow what ours does not have; what is refused there is asserted above.
    let mut jobs = 0;
    for release in frames::releases() {
        for frame in frames::of(&release) {
            let limits = Limits::default();
            if !["REQUEST_SUBMIT_BATCH_JOB", "REQUEST_RESOURCE_ALLOCATION"].contains(&frame.name.as_str()) {
                continue;
            }
            let message = Message::read(&frame.bytes, &limits).expect("a real frame");
            assert_eq!((frame.framing, frame.version), (frames::Framing::Message, message.version));
            let (desc, is_batch) = match message.body {
                Body::RequestSubmitBatchJob(desc) => (desc, true),
                Body::RequestResourceAllocation(desc) => (desc, false),
                other => panic!("{other:?}"),
            };
            (site.owner.uid, site.owner.gid) = (desc.user_id, desc.group_id);
            let found = match is_batch {
                true => submit::batch(&desc, &site, &|_| vec![Target { id: JobId(50), index: None }]),
                false => submit::allocation(&desc, &site, &find),
            };
            let mould = match found {
                Ok(mould) => mould,
                Err(refusal) => {
                    let known = [
                        errors::ESLURM_NOT_SUPPORTED,
                        errors::ESLURM_INVALID_LICENSES,
                        errors::ESLURM_INVALID_PARTITION_NAME,
                        errors::ESLURM_REQUESTED_NODE_CONFIG_UNAVAILABLE,
                        errors::ESLURM_CONTAINER_NOT_CONFIGURED,
                    ];
                    assert!(
                        known.contains(&refusal.code),
                        "{release}: {refusal:?} {}",
                        desc.submit_line.lossy()
                    );
                    continue;
                }
            };
            let job = mould.job(mould.indices().and_then(|indices| indices.ids.first()), None);
            let read = Jobspec::parse_with_environment(job.jobspec.get(), job.environment.clone());
            let read = read.unwrap_or_else(|error| panic!("{release}: {error}: {}", job.jobspec));
            if is_batch {
                let script = read.attributes().files[submit::SCRIPT].bytes().expect("a file").into_owned();
                assert_eq!(Some(script.as_slice()), desc.script.get(), "{release}");
                let leaked: Vec<_> =
                    job.environment.keys().filter(|name| name.starts_with("SLURM")).collect();
                assert!(leaked.is_empty(), "{release}: {leaked:?}");
            }
            jobs += 1;
        }
    }
    assert!(jobs > 60, "{jobs}");
}

#[test]
fn the_outer_jobs_variables_are_not_believed() {
    let mut desc = plain();
    set_env(
        &mut desc,
        &[
            "SLURM_NTASKS=640",
            "SLURM_JOB_ID=99",
            "SLURM_STEP_ID=0",
            "SLURM_MPI_TYPE=pmi2",
            "SLURM_CONF=/outer",
        ],
    );
    let found = jobspec(&desc, &site()).unwrap();
    let told = &found["attributes"]["system"]["slurm"]["environment"];
    for name in ["SLURM_NTASKS", "SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_MPI_TYPE", "SLURM_CONF"] {
        assert!(told.get(name).is_none() && found["environment"].get(name).is_none(), "{name}");
    }
    let mut desc = plain();
    set_env(&mut desc, &["SLURM_MPI_TYPE=pmix"]);
    let found = jobspec(&desc, &site()).unwrap();
    assert_eq!(found["attributes"]["system"]["slurm"]["environment"]["SLURM_MPI_TYPE"], "pmix");
}

#[test]
fn words_are_no_templates_and_no_other_words() {
    let mut desc = plain();
    desc.argv = ["s.sh", "{{id}}", "${A}"].map(Text::from).to_vec();
    desc.std_out = "/x/{{id}}-%j".into();
    set_env(&mut desc, &["T={{name}}", "SLURM_UMASK=0022"]);
    let found = jobspec(&desc, &site()).unwrap();
    let words = json!(["{{tmpdir}}/slurm_script", "{{brace}}{{brace}}id}}", "${A}"]);
    assert_eq!(found["tasks"][0]["command"], words);
    let options = &found["attributes"]["system"]["shell"]["options"];
    assert_eq!(options["output"]["stdout"]["path"], "/x/{{brace}}{{brace}}id}}-{{number}}");
    assert_eq!(found["environment"]["T"], "{{brace}}{{brace}}name}}");
    // The instance may have another one.
    assert_eq!(options["umask"], "0022");

    let odd = || Text::new(b"A=a\xffb");
    let changes: [fn(&mut JobDescMsg, Text); 6] = [
        |d, odd| d.environment.push(odd),
        |d, odd| d.argv = vec!["s.sh".into(), odd],
        |d, odd| d.work_dir = odd,
        |d, odd| d.std_in = odd,
        |d, odd| d.std_out = odd,
        |d, odd| d.std_err = odd,
    ];
    for (n, change) in changes.into_iter().enumerate() {
        let mut desc = plain();
        change(&mut desc, odd());
        let refusal = submit::batch(&desc, &site(), &find).unwrap_err();
        assert_eq!(refusal.code, errors::ESLURM_NOT_SUPPORTED, "{n}");
        assert!(refusal.text.contains("A=a") && refusal.text.contains("not UTF-8"), "{}", refusal.text);
    }
}

#[test]
fn the_first_job_of_an_array_tells_what_the_others_are_made_of() {
    let mut desc = plain();
    desc.array_inx = "0-6:2%3".into();
    desc.dependency = "aftercorr:7,afterany:5".into();
    (desc.std_in, desc.std_out, desc.std_err) = ("in.%a".into(), "%A_%a{{id}}".into(), "/e/%3a".into());
    (desc.begin_time, desc.open_mode, desc.partition) = (1_795_313_832, 1, "short".into());
    set_env(&mut desc, &["X={{1", "SLURM_UMASK=0077"]);
    let mut mould = submit::batch(&desc, &site(), &find).unwrap();
    mould.part.array_mark = Some("mark".into());
    let first = mould.job(Some(0), None);
    let document = serde_json::from_str(first.jobspec.get()).unwrap();
    let again =
        submit::Mould::again(document, (*first.environment).clone(), first.urgency, "me", &find).unwrap();
    assert_eq!(again.indices(), mould.indices());
    for index in [2, 6] {
        let (one, other) = (mould.job(Some(index), Some(JobId(9))), again.job(Some(index), Some(JobId(9))));
        let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        assert_eq!(read(other.jobspec.get()), read(one.jobspec.get()));
        assert_eq!((other.environment, other.urgency), (one.environment, one.urgency));
    }
    let document = serde_json::from_str(first.jobspec.get()).unwrap();
    let none = submit::Mould::again(document, (*first.environment).clone(), 16, "me", &|_| Vec::new());
    assert_eq!(none.unwrap_err().code, errors::ESLURM_DEPENDENCY);
}

#[test]
fn jobs_of_an_array_differ_in_what_is_theirs() {
    let mut desc = plain();
    desc.array_inx = "0-2".into();
    desc.dependency = "aftercorr:7".into();
    let mould = submit::batch(&desc, &site(), &find).unwrap();
    for index in [0, 2] {
        let job = mould.job(Some(index), Some(JobId(1000)));
        let jobspec: Value = serde_json::from_str(job.jobspec.get()).unwrap();
        let system = &jobspec["attributes"]["system"];
        assert_eq!(
            system["array"],
            json!({ "id": 1000, "index": index, "count": 3, "min": 0, "max": 2, "step": 1 })
        );
        let path = system["shell"]["options"]["output"]["stdout"]["path"].as_str().unwrap();
        assert!(path.ends_with(&format!("/slurm-{{{{array.number}}}}_{index}.out")), "{path}");
        let target = JobId(70 + u64::from(index)).to_string();
        assert_eq!(system["dependencies"], json!([{ "scheme": "afterok-one", "value": target }]));
    }
}
