//! What this rank does for a job: which tasks, with which cores, files and variables. Pure.

use crate::binding::Binding;
use crate::cpu::Cores;
use crate::env::{Base, Block};
use crate::gpu::Vendors;
use crate::offer::Program;
use crate::options::{Context, OptionError, Options, Order, Sink, Watch};
use crate::spec::Spec;
use crate::template::{Node, Tags};
use crate::wrap;
use flurm_jobspec::{Archive, Attributes, Jobspec, Kind, Resource, TaskCount};
use flurm_types::{Hostlist, Idset, JobId, R, RNode, TaskMap};
use flurm_wire::archive::Instance;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// What a shell knows besides the job.
#[derive(Debug, Clone)]
pub struct Place {
    pub rank: u32,
    pub instance: Instance,
    pub uri: String,
    /// This instance's own id in the instance around it.
    pub enclosing_id: Option<String>,
    pub instance_level: u32,
    /// What Slurm's commands are to read, where somebody answers them.
    pub slurm_conf: Option<String>,
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
    /// To be written into `tmpdir`.
    pub files: Archive,
    pub options: Arc<Options>,
    /// Which one of many copies the job is.
    pub copy: Option<u32>,
    pub binding: Binding,
    /// Known once somebody has looked at it.
    pub program: OnceLock<Program>,
    /// Bytes beyond which the job may be ended when memory is short.
    pub memory_watched: Option<u64>,
    variables: Block,
    /// Another node of the job is called the same.
    has_twin: bool,
    /// The first job of the job's array; itself without one.
    array: JobId,
    numbers: Numbers,
}

/// What a job is called beside its id.
#[derive(Debug, Copy, Clone, Default)]
pub struct Numbers {
    /// Of a job whose jobspec is another copy's.
    pub copy: Option<u32>,
    /// Slurm's number of the job.
    pub job: u32,
    /// And of the array that it is of; 0 without one.
    pub array: u32,
}

#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    #[error("rank {0} is not part of this job")]
    NotOurs(u32),
    #[error("tasks per {0} cannot be counted here")]
    PerResource(Kind),
    #[error(transparent)]
    Option(#[from] OptionError),
}

/// `tmpdir` is the job's own directory on this node; `numbers` are what it is called elsewhere.
///
/// # Errors
/// The jobspec asks for something this shell cannot do.
pub fn plan(
    id: JobId,
    of: &Spec,
    numbers: Numbers,
    r: &R,
    place: &Place,
    tmpdir: &str,
) -> Result<Plan, PlanError> {
    let spec = &of.jobspec;
    let at = r.nodes.iter().position(|node| node.rank == place.rank);
    let at = at.ok_or(PlanError::NotOurs(place.rank))?;
    let slot = Slot::of(spec);
    let counts = counts(&spec.task_count(), &slot, r)?;
    let ntasks = counts.iter().sum();
    let context = Context { ntasks, gpus_per_slot: slot.gpus, command: spec.command() };
    let attributes = spec.attributes();
    let options = of.options(context)?;
    let map = task_map(&options.taskmap, &counts, r)?;
    let tasks: Vec<u32> = if r.nodes.len() == 1 {
        (0..ntasks).collect()
    } else {
        map.nodes().get(at).map(|set| set.iter().collect()).unwrap_or_default()
    };
    let asked = attributes.placement.is_some() || attributes.cosched.is_some();
    let topology = r.topology.get(&place.rank).map_or(&[][..], |topology| &topology.sockets);
    let binding = Binding::of(&options, &r.nodes[at], topology, tasks.len(), asked);
    let memory_watched = match options.memory {
        Watch::Off => None,
        Watch::Request => Some(slot.memory_bytes.saturating_mul(u64::from(slots(&slot, r)[at]))),
        Watch::Bytes(bytes) => Some(bytes),
    };
    let cwd = if attributes.cwd.is_empty() { "/" } else { &attributes.cwd };
    let mut plan = Plan {
        id,
        name: spec.name(),
        ntasks,
        nnodes: r.nodes.len(),
        node_index: at as u32,
        nodelist: r.hostlist().to_string(),
        lowest_rank: r.nodes[0].rank,
        map,
        tasks,
        command: spec.command().to_vec(),
        cwd: cwd.to_owned(),
        tmpdir: tmpdir.to_owned(),
        files: attributes.files.clone(),
        copy: numbers.copy.or(options.copy),
        options,
        binding,
        program: OnceLock::new(),
        memory_watched,
        variables: Block::default(),
        has_twin: r.nodes.iter().filter(|node| node.host == r.nodes[at].host).count() > 1,
        node: r.nodes[at].clone(),
        array: attributes.array.and_then(|array| array.id).unwrap_or(id),
        numbers,
    };
    // The tasks of a job that is an instance are its brokers; who starts programs in it asks for the slots.
    let told = if is_instance(spec) { self::counts(&spec.tasks()[0].count, &slot, r)? } else { counts };
    let cpus: Vec<u32> = r.nodes.iter().map(|node| node.cores.len() as u32).collect();
    plan.variables =
        job_variables(&plan, &Told { tasks: &told, cpus: &cpus, slot: &slot }, place, attributes, r);
    Ok(plan)
}

/// A job with one broker on each node, as `batch` and `alloc` make it.
fn is_instance(spec: &Jobspec) -> bool {
    let by_node = TaskCount::PerResource { kind: Kind::Node, count: 1 };
    let [program, start, ..] = spec.command() else { return false };
    let program = program.rsplit('/').next().unwrap_or_default();
    start == "start" && ["flurm", "flux"].contains(&program) && spec.task_count() == by_node
}

/// Which node of the job has which tasks, in the order of R.
///
/// # Errors
/// As [`plan`].
pub fn task_map_of(spec: &Jobspec, r: &R) -> Result<TaskMap, PlanError> {
    let slot = Slot::of(spec);
    let counts = counts(&spec.task_count(), &slot, r)?;
    let context = Context { ntasks: counts.iter().sum(), gpus_per_slot: slot.gpus, command: spec.command() };
    let options = Options::read(&spec.attributes().shell_options, context)?;
    Ok(task_map(&options.taskmap, &counts, r)?)
}

/// What one slot is, and where slots lie.
#[derive(Debug, Default)]
struct Slot {
    /// Slots on every node, when the request says so.
    per_node: Option<u32>,
    /// 0 when a slot is a whole node.
    cores: u32,
    gpus: u32,
    memory_bytes: u64,
}

impl Slot {
    fn of(spec: &Jobspec) -> Slot {
        let mut slot = Slot::default();
        spec.resources().iter().for_each(|resource| slot.find(resource, None));
        slot
    }

    /// `in_node` counts what is between a node and here. A range of counts says nothing: R decides.
    fn find(&mut self, resource: &Resource, in_node: Option<u32>) {
        let count = resource.count.fixed();
        let times = in_node.zip(count).map(|(m, n)| m.saturating_mul(n));
        match resource.kind {
            Kind::Slot => {
                self.per_node = times;
                resource.with.iter().for_each(|inner| self.inside(inner, 1));
            }
            Kind::Node => resource.with.iter().for_each(|inner| self.find(inner, Some(1))),
            Kind::Socket | Kind::Core | Kind::Gpu | Kind::Memory | Kind::Other(_) => {
                resource.with.iter().for_each(|inner| self.find(inner, times));
            }
        }
    }

    fn inside(&mut self, resource: &Resource, times: u32) {
        let times = times.saturating_mul(resource.count.min());
        match resource.kind {
            Kind::Core => self.cores = self.cores.saturating_add(times),
            Kind::Gpu => self.gpus = self.gpus.saturating_add(times),
            // A slot that is a whole node.
            Kind::Node => self.per_node = Some(1),
            Kind::Memory => {
                let unit = resource.unit.as_deref().and_then(|unit| unit.chars().next());
                let shift = match unit {
                    Some('K' | 'k') => 10,
                    Some('M' | 'm') => 20,
                    Some('T' | 't') => 40,
                    Some('B') => 0,
                    _ => 30,
                };
                self.memory_bytes = self.memory_bytes.saturating_add(u64::from(times) << shift);
            }
            Kind::Slot | Kind::Socket | Kind::Other(_) => {}
        }
        resource.with.iter().for_each(|inner| self.inside(inner, times));
    }
}

/// Tasks by node of R.
fn counts(count: &TaskCount, slot: &Slot, r: &R) -> Result<Vec<u32>, PlanError> {
    let each = |n: u32, of: fn(&RNode) -> usize| {
        r.nodes.iter().map(|node| (of(node) as u32).saturating_mul(n)).collect()
    };
    Ok(match count {
        TaskCount::PerSlot(n) => slots(slot, r).into_iter().map(|slots| slots.saturating_mul(*n)).collect(),
        TaskCount::Total(total) => spread(*total, &slots(slot, r)),
        TaskCount::PerResource { kind: Kind::Node, count } => each(*count, |_| 1),
        TaskCount::PerResource { kind: Kind::Core, count } => each(*count, |node| node.cores.len()),
        TaskCount::PerResource { kind: Kind::Gpu, count } => each(*count, |node| node.gpus.len()),
        TaskCount::PerResource { kind, .. } => return Err(PlanError::PerResource(kind.clone())),
    })
}

/// Slots by node of R. Whole nodes may hold more cores than the slots need, so cores are asked last.
fn slots(slot: &Slot, r: &R) -> Vec<u32> {
    if let Some(n) = slot.per_node {
        return vec![n; r.nodes.len()];
    }
    let by_cores = r.nodes.iter().map(|node| node.cores.len() as u32 / slot.cores.max(1));
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
    while left > 0 && room.iter().any(|room| *room > 0) {
        for (count, room) in counts.iter_mut().zip(&mut room) {
            if left > 0 && *room > 0 {
                (*count, *room, left) = (*count + 1, *room - 1, left - 1);
            }
        }
    }
    counts
}

fn task_map(order: &Order, counts: &[u32], r: &R) -> Result<TaskMap, OptionError> {
    match order {
        Order::Block => Ok(TaskMap::block(counts)),
        Order::Cyclic(stride) => Ok(TaskMap::cyclic(counts, *stride)),
        Order::Manual(map) => {
            let ntasks: u64 = counts.iter().map(|n| u64::from(*n)).sum();
            if map.ntasks() == ntasks && map.nnodes() as usize <= counts.len() {
                return Ok(map.clone());
            }
            let rule = format!("`{map}` is not a map of {ntasks} tasks on {} nodes", counts.len());
            Err(OptionError { name: "taskmap".into(), rule })
        }
        Order::Hosts(hosts) => {
            by_hosts(hosts, counts, r).map_err(|rule| OptionError { name: "taskmap".into(), rule })
        }
    }
}

/// Each name of the list gets the next task, over and over. What a node has been given is for so many tasks as the
/// job has there, so the list may say which, not how many.
fn by_hosts(hosts: &Hostlist, counts: &[u32], r: &R) -> Result<TaskMap, String> {
    let mut tasks = vec![Idset::new(); counts.len()];
    for (task, host) in (0..counts.iter().sum()).zip(hosts.iter().cycle()) {
        let at = r.nodes.iter().position(|node| node.host == *host);
        tasks[at.ok_or_else(|| format!("`{host}` is no node of this job ({})", r.hostlist()))?].insert(task);
    }
    let wrong =
        r.nodes.iter().zip(&tasks).zip(counts).find(|((_, tasks), count)| tasks.len() != **count as usize);
    if let Some(((node, tasks), count)) = wrong {
        return Err(format!("{} tasks for {}, where the job has {count}", tasks.len(), node.host));
    }
    TaskMap::from_nodes(&tasks).map_err(|e| e.to_string())
}

/// What Slurm's variables say of the job's size, by node where it is a list, and of its place among others.
struct Told<'a> {
    tasks: &'a [u32],
    cpus: &'a [u32],
    slot: &'a Slot,
}

/// What all tasks of this rank are told.
fn job_variables(plan: &Plan, told: &Told<'_>, place: &Place, attributes: &Attributes, r: &R) -> Block {
    let mut block = Block::default();
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
            block.push_as(prefix, name, value);
        }
    }
    if let Some(id) = &place.enclosing_id {
        block.push("FLUX_ENCLOSING_ID", id);
        block.push("FLURM_ENCLOSING_ID", id);
    }
    slurm::variables(plan, told, attributes, r, &mut block);
    if let Some(conf) = &place.slurm_conf {
        block.push("SLURM_CONF", conf);
    }
    block
}

impl Plan {
    pub fn job_variables(&self) -> &Block {
        &self.variables
    }

    /// May other nodes of the job be on this host as well? A node that is made up is not called as its host is.
    pub fn shares_host(&self, host: &str) -> bool {
        let short = |name: &'_ str| name.find('.').unwrap_or(name.len());
        let is_it = |node: &str| node[..short(node)] == host[..short(host)];
        self.nnodes > 1 && (self.has_twin || !is_it(&self.node.host))
    }

    /// Does another node of the job empty a file that this one writes to? All of them answer the same, by the name alone: who
    /// meets must not wait for one that does not come.
    pub fn shares_files(&self) -> bool {
        let sinks = [&self.options.stdout, &self.options.stderr];
        let is_shared = |template: &str| {
            let name = |number: u32, host: &'static str| {
                self.with_tags(Some(0), |mut tags| {
                    tags.node = Node { id: number, name: host, rank: number, ..tags.node };
                    tags.task = Some((number, 0));
                    tags.render(template)
                })
            };
            name(0, "a") == name(1, "b")
        };
        self.nnodes > 1
            && !self.options.append
            && !self.tasks.is_empty()
            && self.tasks.len() < self.ntasks as usize
            && sinks.iter().any(|sink| matches!(sink, Sink::File { template, .. } if is_shared(template)))
    }

    /// What one task is told beyond that. `vendors` is asked only where there are GPUs.
    pub fn task_variables(&self, local: usize, base: &Base, vendors: impl FnOnce() -> Vendors) -> Block {
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
        self.gpu_variables(local, base, vendors, &mut block);
        if !base.templated.is_empty() {
            self.with_tags(Some(local), |tags| {
                for (name, value) in &base.templated {
                    block.push(name, &tags.render_known(value));
                }
            });
        }
        block
    }

    /// A job that was given no GPU is kept from those of others the way Flux does it.
    fn gpu_variables(&self, local: usize, base: &Base, vendors: impl FnOnce() -> Vendors, block: &mut Block) {
        match self.binding.gpus(local) {
            None => base.gpus.iter().for_each(|(name, value)| block.push(name, value)),
            Some(gpus) if gpus.is_empty() => block.push("CUDA_VISIBLE_DEVICES", "-1"),
            Some(gpus) => vendors().show(gpus, block),
        }
    }

    /// What a task is bound to, if that is to be said.
    pub fn told_binding(&self, local: usize, cores: &Cores) -> Option<String> {
        let options = &self.options;
        (options.verbose > 0 || options.cpus.say || options.gpus.say).then(|| {
            let (task, host) = (self.tasks[local], &self.node.host);
            format!("flurm-shell: task {task} on {host}: {}\n", self.binding.describe(local, cores))
        })
    }

    /// The file for output of many jobs, if this one uses it.
    ///
    /// # Errors
    /// Its name has a tag that means nothing.
    pub fn archive(&self) -> Result<Option<PathBuf>, String> {
        let options = &self.options;
        let used = [&options.stdout, &options.stderr].into_iter().any(|sink| *sink == Sink::Archive);
        let Some(template) = options.archive.as_ref().filter(|_| used) else { return Ok(None) };
        let path = self.with_tags(None, |tags| tags.render(template));
        let path = path.map_err(|unknown| format!("output archive `{template}`: {unknown}"))?;
        Ok(Some(Path::new(&self.cwd).join(path)))
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
            copy: self.copy,
            array: self.array,
            number: self.numbers.job,
            array_number: self.numbers.array,
            task: local.map(|local| (self.tasks[local], local as u32)),
        })
    }

    /// The program of a task with its arguments.
    pub fn command_of(&self, local: usize) -> Vec<String> {
        if !self.command.iter().any(|word| word.contains("{{")) {
            return self.command.clone();
        }
        self.with_tags(Some(local), |tags| self.command.iter().map(|word| tags.render_known(word)).collect())
    }

    /// What is started for a task: its program, or a wrapper if the user has hooks around tasks.
    pub fn words_of(&self, local: usize) -> Vec<String> {
        let command = self.command_of(local);
        let hooks = &self.options.hooks;
        if hooks.task_prolog.is_none() && hooks.task_epilog.is_none() {
            return command;
        }
        self.with_tags(Some(local), |tags| wrap::command(hooks, &tags, command))
    }
}

mod slurm;
#[cfg(test)]
mod tests;
