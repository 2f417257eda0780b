//! Steps: what `srun` asks of the controller and of the node daemons as a job within a job.

use crate::translate::{pattern, refused};
use flurm_jobspec::build::Builder;
use flurm_slurm_protocol::structures::{
    Identity, JobSbcastCredMsg, JobStepCreateRequestMsg, JobStepCreateResponseMsg, LaunchTasksRequestMsg,
    SbcastCred, SelectJobinfo, SlurmCred, SlurmCredBody, StepId, StepLayout, SwitchStepinfo,
};
use flurm_slurm_protocol::{Bits, Bytes, NO_VAL, NO_VAL16, Text, Version};
use flurm_types::{Environment, Hostlist, Idset, JobId, R, Spread, TaskMap, Want};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::net::IpAddr;

/// How long a credential for broadcasts says that it is good.
const BROADCAST_SECS: i64 = 24 * 3600;

/// What a whole job is called where a step could be.
pub const NO_STEP: u32 = NO_VAL;

/// Flags of a request for a step.
mod asks {
    pub const EXCLUSIVE: u32 = 1;
    pub const OVERCOMMIT: u32 = 4;
    pub const WHOLE: u32 = 8;
    pub const OVERLAP: u32 = 64;
}

/// Distributions over nodes, the low bits of a word.
mod dist {
    pub const MASK: u32 = 0xf;
    pub const CYCLIC: u32 = 1;
    pub const BLOCK: u32 = 2;
    pub const ARBITRARY: u32 = 3;
    pub const PLANE: u32 = 4;
}

/// Flags of a launch.
mod launch {
    pub const MULTI_PROG: u32 = 2;
    pub const PTY: u32 = 4;
}

/// What the controller has decided about a step, until it is a job: kept in the store of the instance, where the node
/// daemon finds it that is told to launch it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// The job that it is within, and how Slurm's commands call both.
    pub outer: JobId,
    pub job: u32,
    pub step: u32,
    pub name: String,
    pub r: Value,
    /// Tasks of each node of R.
    pub tids: Vec<Vec<u32>>,
    pub cores_per_task: u32,
    /// Others may have the same cores.
    pub overlap: bool,
    /// Minutes; 0 is the job's.
    pub time_limit: u32,
    /// Slurm's words for who waits for it.
    pub host: String,
    pub port: u16,
    /// From where it came, and what it speaks.
    #[serde(default)]
    pub address: Option<IpAddr>,
    #[serde(default)]
    pub protocol: u16,
    /// As it came, to be told again.
    pub dist: u32,
    pub submit_line: Option<String>,
    /// Of the job, for its steps: a signal, and how many seconds before the end.
    #[serde(default)]
    pub signal: Option<(u16, u16)>,
}

/// Below this key are the records of steps that are no jobs yet.
pub const KEY: &str = "slurm.step";

pub fn key(job: u32, step: u32) -> String {
    format!("{KEY}.{job}.{step}")
}

/// The name under which tasks of a step are followed.
pub fn follow_name(job: u32, step: u32) -> String {
    format!("slurm.{job}.{step}")
}

/// What a step asks of a job that has these nodes, in the words of Slurm's names.
///
/// # Errors
/// A number of Slurm's.
pub fn want(asked: &JobStepCreateRequestMsg, rank_of: impl Fn(&str) -> Option<u32>) -> Result<Want, u32> {
    use flurm_slurm_protocol::errors;
    let given = |n: u32| (n != 0 && n != NO_VAL && n != u32::MAX).then_some(n);
    let bad = errors::ESLURM_INVALID_NODE_NAME;
    let hosts = |list: &Text| list.lossy().parse::<Hostlist>().map_err(|_| bad);
    let wanted: Vec<u32> =
        hosts(&asked.node_list)?.iter().map(|name| rank_of(name).ok_or(bad)).collect::<Result<_, _>>()?;
    // Those that the job was kept away from are none of its nodes.
    let unwanted: Idset = hosts(&asked.exc_nodes)?.iter().filter_map(|name| rank_of(name)).collect();
    let has = |flag: u32| asked.flags & flag != 0;
    let arbitrary = asked.task_dist & dist::MASK == dist::ARBITRARY;
    let tasks = given(asked.num_tasks);
    let cores_per_task = match (given(asked.cpu_count), tasks) {
        (Some(cpus), Some(tasks)) if !has(asks::OVERCOMMIT) => (cpus / tasks).max(1),
        _ => 1,
    };
    let spread = match asked.task_dist & dist::MASK {
        dist::CYCLIC | dist::PLANE => Spread::Even,
        dist::ARBITRARY => Spread::Listed(wanted.clone()),
        _ => Spread::Fill,
    };
    let gpus = gpus_per_node(&asked.tres_per_node).or_else(|| gpus_per_node(&asked.tres_per_step));
    Ok(Want {
        nodes: (given(asked.min_nodes).unwrap_or(1), given(asked.max_nodes).unwrap_or(u32::MAX)),
        tasks,
        per_node: None,
        cores_per_task,
        whole_nodes: has(asks::WHOLE) && !has(asks::EXCLUSIVE),
        overlap: has(asks::OVERLAP),
        overcommit: has(asks::OVERCOMMIT),
        spread,
        first: if asked.relative == NO_VAL16 { 0 } else { asked.relative.into() },
        with: if arbitrary { Idset::new() } else { wanted.into_iter().collect() },
        without: unwanted,
        gpus_per_node: gpus,
    })
}

/// `gres:gpu:2`, or with a type.
fn gpus_per_node(tres: &Text) -> Option<u32> {
    let tres = tres.lossy();
    let gpu = tres.split(',').find(|word| word.starts_with("gres:gpu") || word.starts_with("gres/gpu"))?;
    match gpu.rsplit(':').next()?.parse() {
        Ok(n) => Some(n),
        Err(_) => Some(1),
    }
}

/// Which task is on which node, by the nodes of R.
pub fn deal(counts: &[u32], task_dist: u32, plane: u16, listed: &[u32], ranks: &Idset) -> Vec<Vec<u32>> {
    let nodes = |map: &TaskMap| {
        let mut tids: Vec<Vec<u32>> = map.nodes().iter().map(|set| set.iter().collect()).collect();
        tids.resize(counts.len(), Vec::new());
        tids
    };
    match task_dist & dist::MASK {
        dist::CYCLIC => nodes(&TaskMap::cyclic(counts, 1)),
        dist::PLANE if plane != NO_VAL16 && plane > 0 => nodes(&TaskMap::cyclic(counts, plane.into())),
        dist::ARBITRARY => {
            let mut tids = vec![Vec::new(); counts.len()];
            for (task, rank) in (0..).zip(listed) {
                if ranks.contains(*rank) {
                    tids[ranks.position(*rank)].push(task);
                }
            }
            tids
        }
        _ => nodes(&TaskMap::block(counts)),
    }
}

/// The distribution that is told to who did not say.
pub fn told_dist(task_dist: u32) -> u32 {
    match task_dist & dist::MASK {
        0 => dist::BLOCK,
        known => known,
    }
}

/// Who a step belongs to, for its credential.
#[derive(Clone, Debug)]
pub struct Owner {
    pub uid: u32,
    pub gid: u32,
    pub name: String,
}

pub fn step_id(job: u32, step: u32, version: Version) -> StepId {
    let sluid = (version.number() >= 42).then_some(0);
    StepId { sluid, job_id: job, step_id: step, step_het_comp: NO_VAL }
}

pub fn layout(record: &Record, nodes: &str, version: Version) -> StepLayout {
    let tasks: usize = record.tids.iter().map(Vec::len).sum();
    let since = |number: u8| version.number() >= number;
    StepLayout {
        present: 1,
        front_end: Text::NULL,
        node_list: nodes.into(),
        node_cnt: Some(record.tids.len() as u32),
        start_protocol_ver: Some(version.to_wire()),
        task_cnt: Some(tasks as u32),
        task_dist: Some(told_dist(record.dist)),
        tids: Some(record.tids.clone()),
        cpt_compact_array: since(40).then(Vec::new),
        cpt_compact_reps: since(40).then(Vec::new),
        alias_addrs_net_cred: Text::NULL,
    }
}

/// What `srun` is told: it only hands the credential on, to node daemons that are ours. `signature`: what nobody else knows.
pub fn created(
    record: &Record,
    r: &R,
    nodes: &str,
    owner: &Owner,
    signature: &str,
    now: i64,
    version: Version,
) -> JobStepCreateResponseMsg {
    let number = version.number();
    let plugin = SwitchStepinfo { plugin_id: (number <= 39).then_some(100), data: None };
    JobStepCreateResponseMsg {
        def_cpu_bind_type: 0,
        resv_ports: Text::NULL,
        job_id: (39..=43).contains(&number).then_some(record.job),
        job_step_id: (number <= 43).then_some(record.step),
        step_id: (number >= 44).then(|| Box::new(step_id(record.job, record.step, version))),
        step_layout: layout(record, nodes, version),
        stepmgr: Text::NULL,
        has_cred: (number >= 45).then_some(true),
        cred: credential(record, r, nodes, owner, signature, now, version),
        select_jobinfo: (number <= 38).then(|| Box::new(SelectJobinfo { plugin_id: 109 })),
        switch_job: (number <= 40).then(|| Box::new(plugin.clone())),
        switch_step: (number == 41).then(|| Box::new(plugin)),
        use_protocol_ver: (number <= 43).then_some(version.to_wire()),
        state: (number >= 45).then_some(1),
    }
}

/// It parses, and its signature is the key of the step's streams: by nothing else does `srun` know a node daemon there.
fn credential(
    record: &Record,
    r: &R,
    nodes: &str,
    owner: &Owner,
    signature: &str,
    now: i64,
    version: Version,
) -> SlurmCred {
    let tasks: usize = record.tids.iter().map(Vec::len).sum();
    let id = step_id(record.job, record.step, version);
    let cores: Vec<u16> = r.nodes.iter().map(|node| node.cores.len() as u16).collect();
    let total: u32 = cores.iter().map(|n| u32::from(*n)).sum();
    let ones = vec![1; cores.len()];
    if version.number() >= 40 {
        let body = SlurmCredBody {
            step_id: id,
            id: Identity {
                uid: owner.uid,
                gid: owner.gid,
                pw_name: owner.name.as_str().into(),
                pw_gecos: "".into(),
                pw_dir: "/".into(),
                pw_shell: "/bin/sh".into(),
                gids: vec![owner.gid],
                gr_names: Vec::new(),
            },
            job_core_spec: NO_VAL16,
            step_hostlist: nodes.into(),
            ctime: now,
            tot_core_cnt: total,
            job_core_bitmap: Bits::NULL,
            step_core_bitmap: Bits::NULL,
            core_array_size: cores.len() as u16,
            cores_per_socket: Some(cores.clone()),
            sockets_per_node: Some(vec![1; cores.len()]),
            sock_core_rep_count: Some(ones.clone()),
            cpu_array_count: cores.len() as u32,
            cpu_array: Some(cores),
            cpu_array_reps: Some(ones),
            job_nhosts: record.tids.len() as u32,
            job_ntasks: tasks as u32,
            job_hostlist: nodes.into(),
            switch_step: (version.number() >= 42).then(Box::default),
            job_exclusive: (version.number() >= 45).then_some(0),
            ..SlurmCredBody::default()
        };
        return SlurmCred {
            credential: Some(Box::new(body)),
            signature: signature.into(),
            ..SlurmCred::default()
        };
    }
    SlurmCred {
        step_id: Some(Box::new(id)),
        uid: Some(owner.uid),
        gid: Some(owner.gid),
        pw_name: owner.name.as_str().into(),
        pw_gecos: "".into(),
        pw_dir: "/".into(),
        pw_shell: "/bin/sh".into(),
        gids: Some(vec![owner.gid]),
        gr_names: Some(Vec::new()),
        job_gres_list: Some(Box::default()),
        step_gres_list: Some(Box::default()),
        job_core_spec: Some(NO_VAL16),
        job_end_time: (version.number() == 39).then_some(0),
        job_oversubscribe: (version.number() == 39).then_some(0),
        job_restart_cnt: Some(0),
        job_start_time: (version.number() == 39).then_some(0),
        step_hostlist: nodes.into(),
        x11: Some(0),
        ctime: Some(now),
        tot_core_cnt: Some(total),
        core_array_size: Some(cores.len() as u16),
        cores_per_socket: Some(cores.clone()),
        sockets_per_node: Some(vec![1; cores.len()]),
        sock_core_rep_count: Some(ones.clone()),
        cpu_array_count: Some(cores.len() as u32),
        cpu_array: Some(cores),
        cpu_array_reps: Some(ones),
        job_nhosts: Some(record.tids.len() as u32),
        job_ntasks: Some(tasks as u32),
        job_hostlist: nodes.into(),
        job_mem_alloc_size: Some(0),
        step_mem_alloc_size: Some(0),
        sigp: Some(Bytes(signature.as_bytes().to_vec())),
        ..SlurmCred::default()
    }
}

/// What `sbcast` hands on to node daemons of ours, which ask who sends it and nothing else.
pub fn broadcast(
    job: u32,
    nodes: &str,
    owner: &Owner,
    signature: &str,
    now: i64,
    version: Version,
) -> JobSbcastCredMsg {
    let number = version.number();
    let (old, middle) = (number <= 39, (40..=43).contains(&number));
    let expires = now + BROADCAST_SECS;
    let identity = Identity {
        uid: owner.uid,
        gid: owner.gid,
        pw_name: owner.name.as_str().into(),
        gids: vec![owner.gid],
        ..Identity::default()
    };
    JobSbcastCredMsg {
        job_id: (number <= 43).then_some(job),
        node_list: nodes.into(),
        unused_node_cnt: (number <= 43).then_some(0),
        sbcast_cred: SbcastCred {
            arg_step_id: (number >= 44).then(|| Box::new(step_id(job, 0, version))),
            arg_id: (number >= 40).then(|| Box::new(identity)),
            ctime: now,
            expiration: old.then_some(expires),
            jobid: old.then_some(job),
            het_job_id: old.then_some(0),
            step_id: old.then_some(0),
            uid: old.then_some(owner.uid),
            gid: old.then_some(owner.gid),
            user_name: if old { owner.name.as_str().into() } else { Text::NULL },
            gids: old.then(|| vec![owner.gid]),
            nodes: if old { nodes.into() } else { Text::NULL },
            signature_until_39: old.then(|| Bytes(signature.as_bytes().to_vec())),
            arg_expiration: (number >= 40).then_some(expires),
            arg_job_id: middle.then_some(job),
            arg_het_job_id: (number >= 40).then_some(0),
            arg_step_id_until_43: middle.then_some(0),
            arg_nodes: if old { Text::NULL } else { nodes.into() },
            signature: if old { Text::NULL } else { signature.into() },
        },
    }
}

/// What of a launch is no plain command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// Task 0 has a terminal.
    pub pty: bool,
    /// Which program a task is, stands in a text.
    pub multi_prog: bool,
}

pub fn kind(asked: &LaunchTasksRequestMsg) -> Kind {
    let has = |flag: u32| asked.flags & flag != 0;
    Kind { pty: has(launch::PTY), multi_prog: has(launch::MULTI_PROG) }
}

/// The job that the step becomes, and its environment. `program`: our own, for what a plain command cannot do;
/// `node_name`: how tasks are told their node's name, with tags of the shell.
///
/// # Errors
/// Why it is no job, in one line.
pub fn jobspec(
    record: &Record,
    asked: &LaunchTasksRequestMsg,
    program: &str,
    node_name: &str,
    comm_host: &str,
) -> Result<(String, Environment), String> {
    refused::bytes_of_step(asked).map_err(|refusal| refusal.text)?;
    let words: Vec<String> = asked.argv.iter().map(|word| word.lossy().into_owned()).collect();
    let kind = kind(asked);
    let mut environment = Environment::new();
    let mut limits = serde_json::Map::new();
    let mut umask = None;
    let mut mpi = "none".to_owned();
    let mut size = (None, None);
    for line in &asked.env {
        let line = line.lossy();
        let Some((name, value)) = line.split_once('=') else { continue };
        if name.is_empty() {
            continue;
        }
        if let Some(limit) = name.strip_prefix("SLURM_RLIMIT_") {
            let value = if value == "18446744073709551615" { "unlimited".into() } else { value.into() };
            limits.insert(limit.to_lowercase(), value);
            continue;
        }
        match name {
            "SLURM_UMASK" => umask = Some(value.to_owned()),
            "SLURM_MPI_TYPE" => value.clone_into(&mut mpi),
            "SLURM_PTY_WIN_COL" => size.1 = value.parse::<u16>().ok(),
            "SLURM_PTY_WIN_ROW" => size.0 = value.parse::<u16>().ok(),
            _ => {}
        }
        environment.insert(name.to_owned(), Some(pattern::word(value)));
    }
    for (name, value) in [
        ("SLURMD_NODENAME", node_name),
        ("SLURM_TOPOLOGY_ADDR", node_name),
        ("SLURM_TOPOLOGY_ADDR_PATTERN", "node"),
        ("SLURM_SRUN_COMM_HOST", comm_host),
        ("SLURM_LAUNCH_NODE_IPADDR", comm_host),
    ] {
        environment.insert(name.to_owned(), Some(value.to_owned()));
    }
    let command = if kind.multi_prog {
        vec![program.to_owned(), "multi-prog".to_owned(), format!("{{{{tmpdir}}}}/{MULTI_PROG}")]
    } else {
        words.iter().map(|word| pattern::word(word)).collect()
    };
    let map: Vec<Idset> = record.tids.iter().map(|tids| tids.iter().copied().collect()).collect();
    let map = TaskMap::from_nodes(&map).map_err(|e| e.to_string())?;
    let pmi = match mpi.as_str() {
        "pmi2" | "pmix" | "none" => mpi.as_str(),
        other if other.starts_with("pmix") => "pmix",
        other => return Err(format!("the MPI type `{other}` is not served: there are none, pmi2 and pmix")),
    };
    let tasks = map.ntasks() as u32;
    let mut builder = Builder::new(command)
        .ntasks(tasks)
        .cores_per_task(record.cores_per_task.max(1))
        .setattr("system.within", &json!(record.outer))
        .setattr("system.alloc-bypass", &json!({"R": record.r}))
        .setattr("system.slurm", &json!({"step": about(record)}))
        .setattr("system.job.name", &json!(record.name))
        .setattr("system.duration", &json!(f64::from(record.time_limit) * 60.0))
        .shell_option("output.follow", json!(follow_name(record.job, record.step)))
        .shell_option("slurm-environment", json!(1))
        .shell_option("input.stdin.type", json!("service"))
        .shell_option("exit-timeout", json!("none"))
        .shell_option("taskmap.scheme", json!("manual"))
        .shell_option("taskmap.value", json!(map.to_string()))
        .shell_option("mpi", json!(pmi))
        .shell_option("rlimit", Value::Object(limits));
    let cwd = asked.cwd.lossy();
    if cwd.starts_with('/') {
        builder = builder.cwd(cwd);
    }
    if let Some((signum, left)) = record.signal {
        builder = builder.shell_option("signal", json!({ "signum": signum, "timeleft": f64::from(left) }));
    }
    if let Some(umask) = umask {
        builder = builder.shell_option("umask", json!(umask));
    }
    if kind.multi_prog {
        let text = words.get(1).cloned().unwrap_or_default();
        let file = json!({ MULTI_PROG: { "mode": 0o100_600, "data": text, "encoding": "utf-8" } });
        builder = builder.setattr("system.files", &file);
    }
    if kind.pty {
        let (rows, cols) = (size.0.unwrap_or(24), size.1.unwrap_or(80));
        builder = builder
            .shell_option("pty.ranks", json!("0"))
            .shell_option("pty.interactive", json!(1))
            .shell_option("pty.size", json!(format!("{rows}x{cols}")));
    }
    let user = environment.get("USER").cloned().flatten().unwrap_or_default();
    for (stream, name) in [("stdout", &asked.ofname), ("stderr", &asked.efname)] {
        if let Some(path) = file_of(name) {
            let path = file_name(path, record, &user);
            builder = builder
                .shell_option(&format!("output.{stream}.type"), json!("file"))
                .shell_option(&format!("output.{stream}.path"), json!(path));
        }
    }
    if let Some(path) = file_of(&asked.ifname) {
        builder = builder
            .shell_option("input.stdin.type", json!("file"))
            .shell_option("input.stdin.path", json!(file_name(path, record, &user)));
    }
    let jobspec = builder.build().map_err(|e| e.to_string())?;
    Ok((jobspec.to_json_without_environment(), environment))
}

/// The name of a file, as opposed to a task whose stream it is, and to nothing.
pub fn file_of(name: &Text) -> Option<&str> {
    name.as_str().filter(|name| !name.is_empty() && *name != "none" && one_task(name).is_none())
}

/// The only task whose stream it is.
pub fn one_task(name: &str) -> Option<u32> {
    name.parse().ok()
}

/// Of a step whose tasks are different programs.
const MULTI_PROG: &str = "multi-prog.conf";

/// A pattern of the step's own: its tasks and nodes are told apart.
fn file_name(path: &str, record: &Record, user: &str) -> String {
    let step = Some((record.job, record.step));
    pattern::template(path, pattern::Named { job: &record.name, user, index: None, step })
}

/// What the job keeps of it: all that a controller needs to know of it after a restart.
fn about(record: &Record) -> Value {
    let mut about = serde_json::to_value(record).expect("numbers and texts always serialize");
    if let Some(about) = about.as_object_mut() {
        about.remove("r");
    }
    about
}

/// The same, read again.
pub fn known(jobspec: &Value, r: Value) -> Option<Record> {
    let mut about = jobspec.pointer("/attributes/system/slurm/step")?.clone();
    about.as_object_mut()?.insert("r".to_owned(), r);
    serde_json::from_value(about).ok()
}
