//! The environment of a batch job: what the client sent, apart from Slurm's own variables, which are made anew.
//!
//! `sbatch` sends its whole environment. Where it ran in a job, that has this job's `SLURM_*`, and in an instance within a
//! job of Slurm perhaps the outer one's; so of these only those are believed that the rest of the request bears out.

use super::number::{given, given_u16};
use super::pattern;
use super::site::{Owner, Site};
use flurm_slurm_protocol::structures::JobDescMsg;
use flurm_slurm_protocol::{NO_VAL64, Text, constants};
use flurm_types::Environment;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// What is taken out of an environment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Split {
    /// What tasks get as it is.
    pub environment: Environment,
    /// `SLURM_*` that follow from the request.
    pub slurm: BTreeMap<String, String>,
    /// Soft limits by the names of the shell option.
    pub limits: Map<String, Value>,
    pub umask: Option<String>,
    /// The script is to run as after a login.
    pub login: bool,
}

/// Input variables of `srun`, which people set in scripts that submit.
const OF_SRUN: [&str; 12] = [
    "SLURM_CPU_BIND",
    "SLURM_EXACT",
    "SLURM_EXIT_ERROR",
    "SLURM_EXIT_IMMEDIATE",
    "SLURM_KILL_BAD_EXIT",
    "SLURM_LABELIO",
    "SLURM_MPI_TYPE",
    "SLURM_OVERLAP",
    "SLURM_PTY_WIN_COL",
    "SLURM_TASK_EPILOG",
    "SLURM_TASK_PROLOG",
    "SLURM_UNBUFFEREDIO",
];

/// Limits by Slurm's names and by those of the shell option.
const LIMITS: [(&str, &str); 10] = [
    ("CPU", "cpu"),
    ("FSIZE", "fsize"),
    ("DATA", "data"),
    ("STACK", "stack"),
    ("CORE", "core"),
    ("RSS", "rss"),
    ("NPROC", "nproc"),
    ("NOFILE", "nofile"),
    ("MEMLOCK", "memlock"),
    ("AS", "as"),
];

/// Takes the environment of a message apart.
pub fn split(desc: &JobDescMsg, site: &Site, partition: &str) -> Split {
    let pairs = desc.environment.iter().filter_map(Text::as_str).filter_map(|pair| pair.split_once('='));
    let sent: BTreeMap<&str, &str> = pairs.filter(|(name, _)| !name.is_empty()).collect();
    let mut split = Split { slurm: told(desc, site, partition, &sent), ..Split::default() };
    for (name, value) in &sent {
        if !is_slurms(name) {
            split.environment.insert((*name).to_owned(), Some(pattern::word(value)));
        }
    }
    split.environment.insert("ENVIRONMENT".to_owned(), Some("BATCH".to_owned()));
    for (theirs, ours) in LIMITS {
        let Some(value) = sent.get(format!("SLURM_RLIMIT_{theirs}").as_str()) else { continue };
        let number = value.trim_start_matches('U').parse::<u64>().unwrap_or(u64::MAX);
        let limit = if number == u64::MAX { Value::from(-1) } else { Value::from(number) };
        split.limits.insert(ours.to_owned(), limit);
    }
    split.umask = sent.get("SLURM_UMASK").map(|mask| (*mask).to_owned());
    // `--export=ALL,A=1` sets the variable as well, although all is there.
    let exported = sent.get("SLURM_EXPORT_ENV").copied().unwrap_or_default();
    split.login = sent.contains_key("SLURM_GET_USER_ENV") && !exported.split(',').any(|word| word == "ALL");
    if split.login {
        complete(&mut split.environment, &site.owner);
    }
    split.environment.entry("TMPDIR".to_owned()).or_insert_with(|| Some("/tmp".to_owned()));
    split
}

fn is_slurms(name: &str) -> bool {
    name.starts_with("SLURM_") || name.starts_with("SLURMD_") || name == "ENVIRONMENT"
}

/// What a login starts from.
fn complete(environment: &mut Environment, owner: &Owner) {
    for (name, value) in [
        ("HOME", owner.home.as_str()),
        ("USER", &owner.name),
        ("LOGNAME", &owner.name),
        ("SHELL", &owner.shell),
        ("PATH", "/usr/local/bin:/usr/bin:/bin"),
    ] {
        environment.entry(name.to_owned()).or_insert_with(|| Some(value.to_owned()));
    }
}

/// The variables that Slurm sets for a batch script because of what was asked for.
fn told(
    desc: &JobDescMsg,
    site: &Site,
    partition: &str,
    sent: &BTreeMap<&str, &str>,
) -> BTreeMap<String, String> {
    let mut told = BTreeMap::new();
    let mut tell = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            told.insert(name.to_owned(), value);
        }
    };
    let text = |text: &Text| text.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let number = |number: u16| given_u16(number).filter(|n| *n > 0).map(|n| n.to_string());
    let owner = &site.owner;
    tell("SLURM_CLUSTER_NAME", Some(site.cluster.clone()));
    tell("SLURM_JOB_PARTITION", Some(partition.to_owned()));
    tell("SLURM_JOB_USER", Some(owner.name.clone()));
    tell("SLURM_JOB_UID", Some(owner.uid.to_string()));
    tell("SLURM_JOB_GID", Some(owner.gid.to_string()));
    tell("SLURM_JOB_ACCOUNT", text(&desc.account));
    tell("SLURM_JOB_QOS", text(&desc.qos));
    tell("SLURM_JOB_DEPENDENCY", text(&desc.dependency));
    for name in ["SLURM_NTASKS", "SLURM_NPROCS"] {
        tell(name, given(desc.num_tasks).map(|n| n.to_string()));
    }
    tell("SLURM_CPUS_PER_TASK", number(desc.cpus_per_task));
    tell("SLURM_NTASKS_PER_NODE", number(desc.ntasks_per_node));
    tell("SLURM_NTASKS_PER_SOCKET", number(desc.ntasks_per_socket));
    tell("SLURM_NTASKS_PER_CORE", number(desc.ntasks_per_core));
    tell("SLURM_NTASKS_PER_GPU", number(desc.ntasks_per_tres));
    tell("SLURM_THREADS_PER_CORE", number(desc.threads_per_core));
    if desc.pn_min_memory != NO_VAL64 {
        let mib = desc.pn_min_memory & !constants::MEM_PER_CPU;
        let per_cpu = desc.pn_min_memory & constants::MEM_PER_CPU != 0;
        let name = if per_cpu { "SLURM_MEM_PER_CPU" } else { "SLURM_MEM_PER_NODE" };
        tell(name, Some(mib.to_string()));
    }
    // As typed, which is what the client has put there: `a100:2`.
    for (name, of) in [
        ("SLURM_GPUS", &desc.tres_per_job),
        ("SLURM_GPUS_PER_SOCKET", &desc.tres_per_socket),
        ("SLURM_GPUS_PER_TASK", &desc.tres_per_task),
        ("SLURM_CPUS_PER_GPU", &desc.cpus_per_tres),
        ("SLURM_MEM_PER_GPU", &desc.mem_per_tres),
    ] {
        tell(name, text(of).map(|list| gpus(&list)));
    }
    if !desc.tres_per_node.is_null() {
        tell("SLURM_GPUS_PER_NODE", sent.get("SLURM_GPUS_PER_NODE").map(|n| (*n).to_owned()));
    }
    let mode = match u32::from(desc.open_mode) {
        constants::OPEN_MODE_APPEND => Some("a"),
        constants::OPEN_MODE_TRUNCATE => Some("t"),
        _ => None,
    };
    tell("SLURM_OPEN_MODE", mode.map(str::to_owned));
    // What has no field of its own, or one that says less.
    for (name, is_so) in [
        ("SLURM_SUBMIT_DIR", true),
        ("SLURM_SUBMIT_HOST", true),
        ("SLURM_PRIO_PROCESS", true),
        ("SLURM_EXPORT_ENV", true),
        ("SLURM_DISTRIBUTION", desc.task_dist != constants::SLURM_DIST_UNKNOWN),
        ("SLURM_DIST_PLANESIZE", given_u16(desc.plane_size).is_some()),
        ("SLURM_HINT", given_u16(desc.threads_per_core).is_some()),
        ("SLURM_GPU_BIND", !desc.tres_bind.is_null()),
        ("SLURM_MEM_BIND", desc.mem_bind_type != 0),
        ("SLURM_MEM_BIND_TYPE", desc.mem_bind_type != 0),
        ("SLURM_MEM_BIND_VERBOSE", desc.mem_bind_type != 0),
    ] {
        if is_so {
            tell(name, sent.get(name).map(|value| (*value).to_owned()));
        }
    }
    // In a task of another step they are its, and not what anybody has set.
    if !sent.contains_key("SLURM_STEP_ID") {
        for name in OF_SRUN {
            tell(name, sent.get(name).map(|value| (*value).to_owned()));
        }
    }
    told
}

/// `gres:gpu:a100:2` as it was typed: `a100:2`.
fn gpus(list: &str) -> String {
    let words: Vec<&str> = list.split([':', '/']).filter(|word| !matches!(*word, "gres" | "gpu")).collect();
    words.join(":")
}
