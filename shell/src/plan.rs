//! What this rank does for a job: which tasks, with which cores, files and variables. Pure.

use crate::cpu::{self, Mask};
use crate::env::{Base, Block, GPU_LISTS};
use crate::spec::{Count, Spec, SpecError};
use crate::template::{Node, Tags};
use flurm_types::{Fsd, Idset, JobId, R, RNode, TaskMap};
use serde_json::Value;

/// What a shell knows besides the job.
#[derive(Debug, Clone)]
pub struct Place {
    pub rank: u32,
    pub uri: String,
    /// This instance's own id in the instance around it.
    pub enclosing_id: Option<String>,
    /// Private directories of jobs are made in here.
    pub rundir: String,
    pub instance_level: u32,
}

#[derive(Debug, Clone)]
pub struct Plan {
    pub id: JobId,
    pub name: String,
    pub ntasks: u32,
    pub nnodes: usize,
    /// Of this rank among the job's.
    pub node_index: u32,
    pub node: RNode,
    pub nodelist: String,
    pub lowest_rank: u32,
    pub map: TaskMap,
    /// Global ranks of the tasks here, ascending.
    pub tasks: Vec<u32>,
    pub command: Vec<String>,
    pub cwd: String,
    pub tmpdir: String,
    pub options: Options,
    variables: Block,
}

/// Shell options that change something here.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    pub stdout: Sink,
    pub stderr: Sink,
    pub stdin: Source,
    pub append: bool,
    /// Whole lines only go out together.
    pub lines: [bool; 2],
    pub output_bytes_max: u64,
    pub cpus: Spread,
    pub gpus: Spread,
    pub pmi: bool,
    pub exit_on_error: bool,
    pub exit_timeout_s: Option<f64>,
    /// Signal and seconds before the end of the job's time.
    pub warning: Option<(i32, f64)>,
    /// Name and soft limit; none is "unlimited".
    pub limits: Vec<(String, Option<u64>)>,
    pub oom_adjust: Option<i32>,
}

/// Where output goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sink {
    /// The job's `guest.output`.
    Log,
    File {
        template: String,
        label: bool,
    },
}

/// Where input comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    Nothing,
    Service,
    File(String),
}

/// How cores or GPUs are shared out to the tasks of a rank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spread {
    Off,
    /// Every task may use all.
    All,
    PerTask,
    /// Given by the user, in task order.
    Map(Vec<Idset>),
}

/// Output that one job may leave in the instance; files have no such limit.
pub const OUTPUT_BYTES_MAX: u64 = 10 << 20;

/// The signal of `--signal` when none is named, and the seconds before the end, as Flux has them.
const WARNING: (i32, f64) = (libc::SIGUSR1, 60.0);

#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    #[error(transparent)]
    Spec(#[from] SpecError),
    #[error("rank {0} is not part of this job")]
    NotOurs(u32),
    #[error("shell option `{name}`: {rule}")]
    Option { name: String, rule: String },
    #[error("shell option `{0}` is not known here")]
    UnknownOption(String),
}

fn bad<T>(name: &str, rule: impl Into<String>) -> Result<T, PlanError> {
    Err(PlanError::Option { name: name.to_owned(), rule: rule.into() })
}

/// # Errors
/// The jobspec asks for something this shell cannot do.
pub fn plan(id: JobId, spec: Spec, r: &R, place: &Place) -> Result<Plan, PlanError> {
    let at = r.nodes.iter().position(|node| node.rank == place.rank);
    let at = at.ok_or(PlanError::NotOurs(place.rank))?;
    let node = r.nodes[at].clone();
    let options = options(&spec)?;
    let counts = counts(&spec, r);
    let ntasks = counts.iter().sum();
    let map = task_map(&spec, &counts)?;
    let tasks = if r.nodes.len() == 1 {
        (0..ntasks).collect()
    } else {
        map.nodes().get(at).map(|set| set.iter().collect()).unwrap_or_default()
    };
    let mut plan = Plan {
        id,
        name: spec.name,
        ntasks,
        nnodes: r.nodes.len(),
        node_index: at as u32,
        nodelist: r.hostlist().to_string(),
        lowest_rank: r.nodes[0].rank,
        map,
        tasks,
        command: spec.command,
        cwd: if spec.cwd.is_empty() { "/".to_owned() } else { spec.cwd },
        tmpdir: format!("{}/job-{}", place.rundir, id.f58_plain()),
        options,
        variables: Block::default(),
        node,
    };
    plan.variables = job_variables(&plan, &counts, spec.cores_per_slot, place);
    Ok(plan)
}

/// Tasks by node of R.
fn counts(spec: &Spec, r: &R) -> Vec<u32> {
    let cores = |node: &RNode| node.cores.len() as u32;
    match spec.count {
        Count::PerNode(n) => vec![n; r.nodes.len()],
        Count::PerCore(n) => r.nodes.iter().map(|node| cores(node).saturating_mul(n)).collect(),
        Count::PerSlot(n) => slots(spec, r).into_iter().map(|slots| slots.saturating_mul(n)).collect(),
        Count::Total(total) => spread(total, &slots(spec, r)),
    }
}

/// Slots by node of R. Whole nodes may hold more cores than the slots need, so cores are asked last.
fn slots(spec: &Spec, r: &R) -> Vec<u32> {
    if let Some(n) = spec.slots_per_node {
        return vec![n; r.nodes.len()];
    }
    let by_cores = r.nodes.iter().map(|node| node.cores.len() as u32 / spec.cores_per_slot.max(1));
    let by_cores: Vec<u32> = by_cores.map(|slots| slots.max(1)).collect();
    match r.nslots {
        Some(n) if n != by_cores.iter().sum::<u32>() => spread(n, &by_cores),
        _ => by_cores,
    }
}

/// `total` tasks over nodes with so many slots, as evenly as the slots allow. More tasks than slots fill all
/// slots equally first.
fn spread(total: u32, slots: &[u32]) -> Vec<u32> {
    let all: u32 = slots.iter().sum::<u32>().max(1);
    let mut counts: Vec<u32> = slots.iter().map(|n| n * (total / all)).collect();
    let mut left = total % all;
    let mut room = slots.to_vec();
    while left > 0 {
        let before = left;
        for (count, room) in counts.iter_mut().zip(&mut room) {
            if left > 0 && *room > 0 {
                (*count, *room, left) = (*count + 1, *room - 1, left - 1);
            }
        }
        if left == before {
            // Nobody has room: only with no slots at all.
            break;
        }
    }
    counts
}

fn task_map(spec: &Spec, counts: &[u32]) -> Result<TaskMap, PlanError> {
    let scheme = text(spec, "taskmap.scheme")?.unwrap_or("block");
    let value = text(spec, "taskmap.value")?.unwrap_or("");
    match scheme {
        "block" => Ok(TaskMap::block(counts)),
        "cyclic" => match value.is_empty().then_some(1).or_else(|| value.parse().ok()) {
            Some(stride) if stride > 0 => Ok(TaskMap::cyclic(counts, stride)),
            _ => bad("taskmap", format!("cyclic takes a number of tasks, not `{value}`")),
        },
        "manual" => {
            let map: TaskMap = match value.parse() {
                Ok(map) => map,
                Err(e) => return bad("taskmap", e.to_string()),
            };
            let ntasks: u64 = counts.iter().map(|n| u64::from(*n)).sum();
            if map.ntasks() != ntasks || map.nnodes() as usize > counts.len() {
                return bad(
                    "taskmap",
                    format!("`{value}` is not a map of {ntasks} tasks on {} nodes", counts.len()),
                );
            }
            Ok(map)
        }
        _ => bad("taskmap", format!("no scheme `{scheme}` (block, cyclic, manual)")),
    }
}

/// Known words. A typing error must not look like an option that works.
const KNOWN: [&str; 18] = [
    "verbose",
    "cpu-affinity",
    "gpu-affinity",
    "exit-timeout",
    "exit-on-error",
    "signal",
    "output",
    "input",
    "mpi",
    "pmi",
    "pmi-simple",
    "taskmap",
    "rlimit",
    "oom",
    "per-resource",
    "nosetpgrp",
    "userrc",
    "flux-env",
];

/// Known, but beyond us.
const REFUSED: [&str; 2] = ["nosetpgrp", "userrc"];

fn options(spec: &Spec) -> Result<Options, PlanError> {
    for name in spec.options.keys() {
        let top = name.split('.').next().unwrap_or(name);
        if !KNOWN.contains(&top) || REFUSED.contains(&top) {
            return Err(PlanError::UnknownOption(name.clone()));
        }
    }
    let stdout = sink(spec, "stdout")?.unwrap_or(Sink::Log);
    let stderr = sink(spec, "stderr")?.unwrap_or_else(|| stdout.clone());
    let stdin = match text(spec, "input.stdin.type")? {
        None | Some("none") => Source::Nothing,
        Some("service") => Source::Service,
        Some("file") => match text(spec, "input.stdin.path")? {
            Some(path) => Source::File(path.to_owned()),
            None => return bad("input.stdin.type", "file needs input.stdin.path"),
        },
        Some(other) => return bad("input.stdin.type", format!("`{other}` is not service or file")),
    };
    let append = match text(spec, "output.mode")? {
        None | Some("truncate") => false,
        Some("append") => true,
        Some(other) => return bad("output.mode", format!("`{other}` is not truncate or append")),
    };
    let gpus = spread_option(spec, "gpu-affinity")?.unwrap_or(if spec.gpus_per_slot > 0 {
        Spread::PerTask
    } else {
        Spread::All
    });
    Ok(Options {
        stdin,
        append,
        lines: [lines(spec, "stdout")?, lines(spec, "stderr")?],
        output_bytes_max: size(spec, "output.limit")?.unwrap_or(OUTPUT_BYTES_MAX),
        cpus: spread_option(spec, "cpu-affinity")?.unwrap_or(Spread::All),
        gpus,
        pmi: pmi(spec)?,
        exit_on_error: flag(spec, "exit-on-error"),
        exit_timeout_s: exit_timeout(spec)?,
        warning: warning(spec),
        limits: limits(spec)?,
        oom_adjust: find(spec, "oom.adjust").and_then(Value::as_i64).map(|n| n.clamp(-1000, 1000) as i32),
        stdout,
        stderr,
    })
}

/// An option by its dotted name, however deep the client has nested it.
fn find<'a>(spec: &'a Spec, name: &str) -> Option<&'a Value> {
    if let Some(value) = spec.options.get(name) {
        return Some(value);
    }
    let mut parts = name.split('.');
    let first = spec.options.get(parts.next()?)?;
    parts.try_fold(first, |value, part| value.get(part))
}

fn text<'a>(spec: &'a Spec, name: &str) -> Result<Option<&'a str>, PlanError> {
    match find(spec, name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => bad(name, format!("`{other}` is not a string")),
    }
}

/// `-o name` means 1.
fn flag(spec: &Spec, name: &str) -> bool {
    match find(spec, name) {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::Number(n)) => n.as_i64() != Some(0),
        Some(Value::String(s)) => s != "0" && s != "false",
        Some(_) => true,
    }
}

fn sink(spec: &Spec, stream: &str) -> Result<Option<Sink>, PlanError> {
    let kind = format!("output.{stream}.type");
    match text(spec, &kind)? {
        None if find(spec, &format!("output.{stream}.path")).is_none() => Ok(None),
        Some("kvs" | "term" | "none") => Ok(Some(Sink::Log)),
        None | Some("file") => {
            let path = format!("output.{stream}.path");
            let Some(template) = text(spec, &path)? else {
                return bad(&kind, format!("file needs {path}"));
            };
            let label = flag(spec, &format!("output.{stream}.label"));
            Ok(Some(Sink::File { template: template.to_owned(), label }))
        }
        Some(other) => bad(&kind, format!("`{other}` is not kvs or file")),
    }
}

fn lines(spec: &Spec, stream: &str) -> Result<bool, PlanError> {
    let name = format!("output.{stream}.buffer.type");
    match text(spec, &name)? {
        None | Some("line") => Ok(true),
        Some("none") => Ok(false),
        Some(other) => bad(&name, format!("`{other}` is not line or none")),
    }
}

/// A number of bytes, maybe with a binary suffix.
fn size(spec: &Spec, name: &str) -> Result<Option<u64>, PlanError> {
    let value = match find(spec, name) {
        None => return Ok(None),
        Some(value) => value,
    };
    let parsed = match value {
        Value::Number(n) => n.as_u64(),
        Value::String(s) => {
            let digits = s.trim_end_matches(|c: char| c.is_ascii_alphabetic());
            let shift = match s[digits.len()..].to_ascii_uppercase().as_str() {
                "" | "B" => Some(0),
                "K" | "KB" => Some(10),
                "M" | "MB" => Some(20),
                "G" | "GB" => Some(30),
                _ => None,
            };
            digits.parse::<u64>().ok().zip(shift).and_then(|(n, shift)| n.checked_mul(1 << shift))
        }
        _ => None,
    };
    match parsed {
        Some(bytes) => Ok(Some(bytes)),
        None => bad(name, format!("`{value}` is not a size like 10M")),
    }
}

fn spread_option(spec: &Spec, name: &str) -> Result<Option<Spread>, PlanError> {
    let word = match find(spec, name) {
        None => return Ok(None),
        Some(Value::Number(_)) => "on",
        Some(Value::String(word)) => word,
        Some(other) => return bad(name, format!("`{other}` is not a word")),
    };
    Ok(Some(match word {
        "on" | "1" | "" => Spread::All,
        "off" | "0" => Spread::Off,
        "per-task" => Spread::PerTask,
        _ => match word.strip_prefix("map:") {
            Some(map) => Spread::Map(
                map.split(';')
                    .map(|part| Idset::parse_relaxed(part).or_else(|e| bad(name, e.to_string())))
                    .collect::<Result<_, _>>()?,
            ),
            None => return bad(name, format!("`{word}` is not on, off, per-task or map:LIST;LIST")),
        },
    }))
}

/// A lone task hardly ever speaks PMI, and a socket for each of ten thousand small jobs is not free. So one task
/// gets PMI only when it starts an instance or when it is asked for.
fn pmi(spec: &Spec) -> Result<bool, PlanError> {
    match text(spec, "pmi")? {
        Some("off" | "none") => return Ok(false),
        Some(list) => {
            if let Some(word) = list.split(',').find(|word| !["simple", "pmi1", "pmi2"].contains(word)) {
                return bad("pmi", format!("`{word}` is not simple or off"));
            }
            return Ok(true);
        }
        None => {}
    }
    let program = spec.command[0].rsplit('/').next().unwrap_or_default();
    let lone = matches!(spec.count, Count::Total(1) | Count::PerSlot(1) | Count::PerNode(1));
    Ok(!lone || find(spec, "mpi").is_some() || program == "flurm" || program == "flux")
}

fn exit_timeout(spec: &Spec) -> Result<Option<f64>, PlanError> {
    match find(spec, "exit-timeout") {
        None => Ok(None),
        Some(Value::Number(n)) => Ok(n.as_f64()),
        Some(Value::String(s)) if s == "none" => Ok(None),
        Some(Value::String(s)) => match s.parse::<Fsd>() {
            Ok(fsd) => Ok(Some(fsd.as_secs())),
            Err(e) => bad("exit-timeout", e.to_string()),
        },
        Some(other) => bad("exit-timeout", format!("`{other}` is not a duration or none")),
    }
}

fn warning(spec: &Spec) -> Option<(i32, f64)> {
    find(spec, "signal")?;
    let signum = find(spec, "signal.signum").and_then(Value::as_i64).and_then(|n| i32::try_from(n).ok());
    let left = find(spec, "signal.timeleft").and_then(Value::as_f64);
    Some((signum.unwrap_or(WARNING.0), left.unwrap_or(WARNING.1)))
}

fn limits(spec: &Spec) -> Result<Vec<(String, Option<u64>)>, PlanError> {
    let Some(limits) = find(spec, "rlimit") else { return Ok(Vec::new()) };
    let Value::Object(limits) = limits else { return bad("rlimit", "is a set of names and values") };
    let one = |(name, value): (&String, &Value)| match value {
        Value::String(s) if s == "unlimited" || s == "infinity" => Ok((name.clone(), None)),
        Value::Number(n) => match n.as_i64() {
            Some(-1) => Ok((name.clone(), None)),
            Some(n) if n >= 0 => Ok((name.clone(), Some(n.unsigned_abs()))),
            _ => bad(name, format!("`{n}` is not a limit")),
        },
        Value::String(s) if s.parse::<u64>().is_ok() => Ok((name.clone(), s.parse().ok())),
        other => bad(name, format!("`{other}` is not a limit")),
    };
    limits.iter().map(one).collect()
}

/// What all tasks of this rank are told. `SLURM_JOBID`, `SLURM_NODELIST` and `SLURM_STEP_ID` are left out on purpose:
/// MPI libraries that see them call the outer `srun`.
fn job_variables(plan: &Plan, counts: &[u32], cores_per_slot: u32, place: &Place) -> Block {
    let mut block = Block::default();
    let dec = plan.id.0.to_string();
    let (ntasks, nnodes) = (plan.ntasks.to_string(), plan.nnodes.to_string());
    let f58 = plan.id.f58();
    let path = plan.id.encode(flurm_types::Encoding::Kvs);
    for (name, value) in [
        ("URI", place.uri.as_str()),
        ("JOB_ID", &f58),
        ("JOB_ID_PATH", &path),
        ("JOB_SIZE", &ntasks),
        ("JOB_NNODES", &nnodes),
        ("JOB_TMPDIR", &plan.tmpdir),
        // Jobs have no namespace of their own; their keys go where the user's go.
        ("KVS_NAMESPACE", "primary"),
    ] {
        for prefix in ["FLUX_", "FLURM_"] {
            block.push(&format!("{prefix}{name}"), value);
        }
    }
    if let Some(id) = &place.enclosing_id {
        block.push("FLUX_ENCLOSING_ID", id);
        block.push("FLURM_ENCLOSING_ID", id);
    }
    let node = plan.node_index.to_string();
    let cpus = plan.node.cores.len().to_string();
    let per_task = cores_per_slot.max(1).to_string();
    for (name, value) in [
        ("SLURM_JOB_ID", dec.as_str()),
        ("SLURM_JOB_NAME", &plan.name),
        ("SLURM_JOB_NODELIST", &plan.nodelist),
        ("SLURM_JOB_NUM_NODES", &nnodes),
        ("SLURM_NNODES", &nnodes),
        ("SLURM_NTASKS", &ntasks),
        ("SLURM_NPROCS", &ntasks),
        ("SLURM_TASKS_PER_NODE", &tasks_per_node(counts)),
        ("SLURM_NODEID", &node),
        ("SLURM_CPUS_ON_NODE", &cpus),
        ("SLURM_CPUS_PER_TASK", &per_task),
        ("SLURM_SUBMIT_DIR", &plan.cwd),
        ("SLURMD_NODENAME", &plan.node.host),
    ] {
        block.push(name, value);
    }
    block
}

/// `4(x2),3`, Slurm's form of a list with repetitions.
fn tasks_per_node(counts: &[u32]) -> String {
    let runs = counts.chunk_by(|a, b| a == b).map(|run| match run.len() {
        1 => run[0].to_string(),
        n => format!("{}(x{n})", run[0]),
    });
    runs.collect::<Vec<_>>().join(",")
}

impl Plan {
    pub fn job_variables(&self) -> &Block {
        &self.variables
    }

    /// What one task is told beyond that.
    pub fn task_variables(&self, local: usize, base: &Base) -> Block {
        let mut block = Block::default();
        let (rank, index) = (self.tasks[local].to_string(), local.to_string());
        for (name, value) in [
            ("FLUX_TASK_RANK", &rank),
            ("FLURM_TASK_RANK", &rank),
            ("FLUX_TASK_LOCAL_ID", &index),
            ("FLURM_TASK_LOCAL_ID", &index),
            ("SLURM_PROCID", &rank),
            ("SLURM_LOCALID", &index),
        ] {
            block.push(name, value);
        }
        self.gpu_variables(local, base, &mut block);
        if !base.templated.is_empty() {
            self.with_tags(Some(local), |tags| {
                for (name, value) in &base.templated {
                    block.push(name, &tags.render_known(value));
                }
            });
        }
        block
    }

    /// All three vendors read the same numbers under different names. A job that was given no GPU is kept from
    /// those of others the way Flux does it.
    fn gpu_variables(&self, local: usize, base: &Base, block: &mut Block) {
        let gpus = match &self.options.gpus {
            Spread::Off => {
                base.gpus.iter().for_each(|(name, value)| block.push(name, value));
                return;
            }
            Spread::All => self.node.gpus.clone(),
            Spread::PerTask if self.node.gpus.len() >= self.tasks.len() => {
                cpu::share(&self.node.gpus, local, self.tasks.len())
            }
            Spread::PerTask => self.node.gpus.clone(),
            Spread::Map(sets) => sets.get(local % sets.len().max(1)).cloned().unwrap_or_default(),
        };
        if gpus.is_empty() {
            block.push("CUDA_VISIBLE_DEVICES", "-1");
            return;
        }
        let list = gpus.iter().map(|gpu| gpu.to_string()).collect::<Vec<_>>().join(",");
        for name in GPU_LISTS {
            block.push(name, &list);
        }
        block.push("CUDA_DEVICE_ORDER", "PCI_BUS_ID");
    }

    /// The CPUs of one task; none: as the shell itself.
    pub fn mask(&self, local: usize, cores: &cpu::Cores) -> Option<Mask> {
        match &self.options.cpus {
            Spread::Off => None,
            Spread::All => cores.mask(&self.node.cores),
            Spread::PerTask => cores.mask(&cpu::share(&self.node.cores, local, self.tasks.len())),
            Spread::Map(sets) => Mask::of(sets.get(local % sets.len().max(1))?),
        }
    }

    /// Calls back with what tags mean for this job, or for one task of it.
    pub fn with_tags<T>(&self, local: Option<usize>, then: impl FnOnce(Tags<'_>) -> T) -> T {
        let (cores, gpus) = (self.node.cores.to_string(), self.node.gpus.to_string());
        then(Tags {
            id: self.id,
            name: &self.name,
            nnodes: self.nnodes,
            ntasks: self.ntasks,
            node: Node {
                id: self.node_index,
                name: &self.node.host,
                rank: self.node.rank,
                cores: &cores,
                gpus: &gpus,
                ncores: self.node.cores.len(),
            },
            tmpdir: &self.tmpdir,
            task: local.map(|local| (self.tasks[local], local as u32)),
        })
    }

    /// Does any word of the command differ from task to task?
    pub fn command_of(&self, local: usize) -> Vec<String> {
        if !self.command.iter().any(|word| word.contains("{{")) {
            return self.command.clone();
        }
        self.with_tags(Some(local), |tags| self.command.iter().map(|word| tags.render_known(word)).collect())
    }
}

#[cfg(test)]
mod tests;
