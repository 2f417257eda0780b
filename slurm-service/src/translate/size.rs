//! The size of a job: from nodes, tasks, CPUs, memory and generic resources of a request to a jobspec's resources.
//!
//! A CPU is a core here. What is asked for by node becomes one slot in each node; tasks that may lie anywhere become slots
//! of their own, so that they fit wherever there is room.

use super::number::{given, given_u16};
use super::refusal::Refusal;
use super::site::{Site, SiteNode};
use flurm_slurm_protocol::structures::JobDescMsg;
use flurm_slurm_protocol::{NO_VAL64, constants, errors};
use flurm_types::{Constraint, Idset};
use serde_json::{Value, json};

/// What a size comes down to.
#[derive(Debug, Clone, PartialEq)]
pub struct Size {
    /// The jobspec's resources.
    pub resources: Value,
    /// What nodes must satisfy beyond what was asked for by name.
    pub constraint: Constraint,
    pub ntasks: u32,
    pub cpus_per_task: u32,
    /// Bytes on a node beyond which the job may be ended when memory is short.
    pub memory_watched: Option<u64>,
}

/// GPUs, by what they are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gpus {
    None,
    OfJob(u32),
    OfNode(u32),
    OfTask(u32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Memory {
    None,
    /// All that a node has.
    Whole,
    OfNode(u64),
    OfCpu(u64),
    OfGpu(u64),
}

/// What one node has to give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Need {
    cores: u32,
    gpus: u32,
    memory: u64,
}

struct Asked<'a> {
    nodes: Vec<&'a SiteNode>,
    /// Least and most nodes.
    range: Option<(u32, u32)>,
    ntasks: Option<u32>,
    cpus: u32,
    per_node: Option<u32>,
    per_socket: Option<u32>,
    cpus_min: u32,
    cpus_per_gpu: u32,
    gpus: Gpus,
    memory: Memory,
    exclusive: bool,
    overcommit: bool,
    spread: bool,
    /// The least count of nodes, where several would do.
    fewest: bool,
    shared_memory: bool,
}

/// Works out the size; `constraint` is what the request says of nodes otherwise, `hosts` how many it names.
pub fn size(desc: &JobDescMsg, site: &Site, constraint: &Constraint, hosts: u32) -> Result<Size, Refusal> {
    let fitting: Vec<&SiteNode> = site.nodes.iter().filter(|node| node.fits(constraint)).collect();
    let (gpus, of_type) = gpus(desc, site)?;
    let nodes: Vec<&SiteNode> = fitting
        .iter()
        .copied()
        .filter(|node| has_sockets(desc, node) && of_type.as_ref().is_none_or(|name| node.has(name)))
        .collect();
    if nodes.is_empty() {
        return Err(unavailable("no node here is like that"));
    }
    let mut narrowed = Constraint::True;
    if nodes.len() < fitting.len() {
        narrowed = Constraint::Ranks(nodes.iter().map(|node| node.rank).collect::<Idset>());
    }
    let asked = asked(desc, site, nodes, gpus, hosts)?;
    let (resources, ntasks, watched) =
        if asked.is_by_node() { asked.by_node()? } else { asked.anywhere()? };
    Ok(Size {
        resources,
        constraint: narrowed,
        ntasks,
        cpus_per_task: asked.cpus,
        memory_watched: watched.filter(|mib| *mib > 0).map(|mib| mib << 20),
    })
}

fn unavailable(text: impl Into<String>) -> Refusal {
    Refusal::new(errors::ESLURM_REQUESTED_NODE_CONFIG_UNAVAILABLE, text)
}

fn has_sockets(desc: &JobDescMsg, node: &SiteNode) -> bool {
    let sockets = node.sockets.max(1);
    given_u16(desc.sockets_per_node).is_none_or(|n| sockets >= n)
        && given_u16(desc.cores_per_socket).is_none_or(|n| node.cores / sockets >= n)
}

fn asked<'a>(
    desc: &JobDescMsg,
    site: &Site,
    nodes: Vec<&'a SiteNode>,
    gpus: Gpus,
    hosts: u32,
) -> Result<Asked<'a>, Refusal> {
    if let Some(threads @ 2..) = given_u16(desc.threads_per_core) {
        return Err(unavailable(format!("--threads-per-core={threads}: a core is one CPU here")));
    }
    if let Some(tasks @ 2..) = given_u16(desc.ntasks_per_core) {
        return Err(unavailable(format!("--ntasks-per-core={tasks}: a core is one CPU here")));
    }
    let least = given(desc.min_nodes).map(|n| n.max(hosts)).or((hosts > 0).then_some(hosts));
    let range = least.map(|least| (least, given(desc.max_nodes).unwrap_or(least).max(least)));
    if let Some((least, _)) = range.filter(|(least, _)| hosts > 0 && *least > hosts) {
        let text = format!("--nodelist: {hosts} named, {least} wanted: name them all");
        return Err(Refusal::new(errors::ESLURM_INVALID_NODE_COUNT, text));
    }
    let cpus = given_u16(desc.cpus_per_task).unwrap_or(1).max(1);
    let memory = match desc.pn_min_memory {
        NO_VAL64 => match amount(desc.mem_per_tres.as_str()).map_err(|text| bad_memory(&text))? {
            Some(mib) => Memory::OfGpu(mib.into()),
            None => Memory::None,
        },
        0 => Memory::Whole,
        mib if mib & constants::MEM_PER_CPU != 0 => Memory::OfCpu(mib & !constants::MEM_PER_CPU),
        mib => Memory::OfNode(mib),
    };
    Ok(Asked {
        nodes,
        range,
        ntasks: given(desc.num_tasks),
        cpus,
        per_node: given_u16(desc.ntasks_per_node).filter(|n| *n > 0),
        per_socket: given_u16(desc.ntasks_per_socket).filter(|n| *n > 0),
        cpus_min: given_u16(desc.pn_min_cpus).filter(|n| *n > cpus).unwrap_or(0),
        cpus_per_gpu: amount(desc.cpus_per_tres.as_str()).map_err(|text| bad_gres(&text))?.unwrap_or(0),
        gpus,
        memory,
        exclusive: desc.shared == 0,
        overcommit: desc.overcommit == 1,
        spread: desc.bitflags & u64::from(constants::SPREAD_JOB) != 0,
        fewest: desc.bitflags & u64::from(constants::USE_MIN_NODES) != 0,
        shared_memory: site.memory,
    })
}

fn bad_gres(text: &str) -> Refusal {
    Refusal::new(errors::ESLURM_INVALID_GRES, format!("`{text}`: GPUs are the only generic resource here"))
}

fn bad_memory(text: &str) -> Refusal {
    Refusal::new(errors::ESLURM_INVALID_TASK_MEMORY, format!("`{text}` is no amount of memory"))
}

/// The count in a list about GPUs alone, such as `gres:gpu:2`.
fn amount(list: Option<&str>) -> Result<Option<u32>, String> {
    let Some(list) = list.filter(|list| !list.is_empty()) else { return Ok(None) };
    match gres(list)? {
        Some((None, count)) => Ok(Some(count)),
        Some((Some(_), _)) => Err(list.to_owned()),
        None => Ok(None),
    }
}

/// One kind of GPUs and their count. `gres:gpu:a100:2`, `gres/gpu:2`, `gpu`, `gres:none`.
fn gres(list: &str) -> Result<Option<(Option<&str>, u32)>, String> {
    let bad = || list.to_owned();
    let mut found = None;
    for one in list.split(',').filter(|one| !one.is_empty()) {
        let words: Vec<&str> = one.split([':', '/']).filter(|word| *word != "gres").collect();
        let (kind, count) = match words.as_slice() {
            ["none"] => continue,
            ["gpu"] => (None, 1),
            ["gpu", word] => word.parse().map_or((Some(*word), 1), |count| (None, count)),
            ["gpu", kind, count] => (Some(*kind), count.parse().map_err(|_| bad())?),
            _ => return Err(bad()),
        };
        if count > 0 && found.replace((kind, count)).is_some() {
            return Err(bad());
        }
    }
    Ok(found)
}

/// GPUs as asked for, and a kind that they must be of: a property of nodes, since that is how kinds are known here.
fn gpus(desc: &JobDescMsg, site: &Site) -> Result<(Gpus, Option<String>), Refusal> {
    let sockets = given_u16(desc.sockets_per_node).unwrap_or(1);
    let mut found = (Gpus::None, None);
    let lists = [&desc.tres_per_job, &desc.tres_per_node, &desc.tres_per_socket, &desc.tres_per_task];
    for (at, list) in lists.into_iter().enumerate() {
        let list = list.as_str().unwrap_or_default();
        let Some((kind, count)) = gres(list).map_err(|text| bad_gres(&text))? else { continue };
        let gpus = match at {
            0 => Gpus::OfJob(count),
            1 => Gpus::OfNode(count),
            2 => Gpus::OfNode(count.saturating_mul(sockets)),
            _ => Gpus::OfTask(count),
        };
        if found.0 != Gpus::None {
            let text = format!("`{list}`: GPUs are counted in one way at a time");
            return Err(Refusal::new(errors::ESLURM_INVALID_GRES, text));
        }
        if let Some(kind) = kind.filter(|kind| !site.nodes.iter().any(|node| node.has(kind))) {
            let text = format!("`{list}`: no node has the property `{kind}`");
            return Err(Refusal::new(errors::ESLURM_INVALID_GRES, text));
        }
        found = (gpus, kind.map(str::to_owned));
    }
    Ok(found)
}

impl Asked<'_> {
    fn is_by_node(&self) -> bool {
        self.range.is_some()
            || self.exclusive
            || self.spread
            || self.per_node.is_some()
            || self.cpus_min > 0
            || matches!(self.gpus, Gpus::OfNode(_))
            || matches!(self.memory, Memory::OfNode(_) | Memory::Whole)
            || matches!(self.gpus, Gpus::OfJob(_)) && self.range_of_free().is_some()
    }

    /// The GPUs of a job lie on one node if there is one with so many.
    fn range_of_free(&self) -> Option<u32> {
        let need = self.need(1, self.ntasks.unwrap_or(1)).ok()?;
        self.has(1, need).then_some(1)
    }

    /// What each of so many nodes has to give.
    fn need(&self, nodes: u32, ntasks: u32) -> Result<Need, Refusal> {
        let tasks = ntasks.div_ceil(nodes.max(1));
        let gpus = match self.gpus {
            Gpus::None => 0,
            Gpus::OfNode(count) => count,
            Gpus::OfTask(count) => count.saturating_mul(tasks),
            Gpus::OfJob(count) if count.is_multiple_of(nodes) => count / nodes,
            Gpus::OfJob(count) => {
                let text = format!("{nodes} nodes cannot share {count} GPUs evenly");
                return Err(Refusal::new(errors::ESLURM_INVALID_GRES, text));
            }
        };
        let cores = if self.overcommit { 1 } else { tasks.saturating_mul(self.cpus) };
        let cores = cores.max(self.cpus_min).max(gpus.saturating_mul(self.cpus_per_gpu)).max(1);
        let memory = match self.memory {
            Memory::None => 0,
            Memory::Whole => self.nodes.iter().filter_map(|node| node.memory).min().unwrap_or(0),
            Memory::OfNode(mib) => mib,
            Memory::OfCpu(mib) => mib.saturating_mul(cores.into()),
            Memory::OfGpu(mib) => mib.saturating_mul(gpus.into()),
        };
        Ok(Need { cores, gpus, memory })
    }

    fn has(&self, nodes: u32, need: Need) -> bool {
        let able = self.nodes.iter().filter(|node| {
            node.cores >= need.cores
                && node.gpus >= need.gpus
                && node.memory.is_none_or(|memory| memory >= need.memory)
        });
        able.count() >= nodes as usize
    }

    /// As few nodes as will do, within what was asked for.
    fn by_node(&self) -> Result<(Value, u32, Option<u64>), Refusal> {
        let all = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        let (least, most) = self.range.unwrap_or((1, all));
        let (least, most) = (least.max(1), most.min(all.max(least)));
        let ntasks_of = |nodes: u32| match (self.ntasks, self.per_node) {
            (Some(ntasks), _) => ntasks,
            (None, per_node) => nodes.saturating_mul(per_node.unwrap_or(1)),
        };
        let room =
            |nodes: u32| self.per_node.is_none_or(|each| ntasks_of(nodes) <= nodes.saturating_mul(each));
        let mut refusal = None;
        let mut counts: Box<dyn Iterator<Item = u32>> = Box::new(least..=most);
        if self.spread && self.range.is_none() {
            counts = Box::new((1..=all.min(ntasks_of(all).max(1))).rev());
        }
        let found = counts.find_map(|nodes| match self.need(nodes, ntasks_of(nodes)) {
            Ok(need) if room(nodes) && self.has(nodes, need) => Some((nodes, need)),
            Ok(_) => None,
            Err(why) => {
                refusal = Some(why);
                None
            }
        });
        let Some((nodes, need)) = found else {
            return Err(refusal.unwrap_or_else(|| self.too_much(least, ntasks_of(least))));
        };
        let ntasks = ntasks_of(nodes);
        // Without a number of tasks any count in the range is as good, and more is better.
        let open = self.range.is_some() && self.ntasks.is_none() && !self.fewest && most > nodes;
        let count = if open { Value::from(format!("{nodes}-{most}")) } else { Value::from(nodes) };
        let inside = match self.per_socket {
            None => slots(1, need, self.memory_in_graph(need)),
            Some(each) => {
                let tasks = ntasks.div_ceil(nodes);
                let one = Need { cores: self.cpus, gpus: 0, memory: 0 };
                if need.gpus > 0 || need.memory > 0 && self.shared_memory {
                    let text = "--ntasks-per-socket: not together with GPUs or memory";
                    return Err(Refusal::new(errors::ESLURM_NOT_SUPPORTED, text));
                }
                json!({ "type": "socket", "count": tasks.div_ceil(each), "with": [slots(each.min(tasks), one, None)] })
            }
        };
        let mut node = json!({ "type": "node", "count": count, "with": [inside] });
        if self.exclusive {
            node["exclusive"] = Value::Bool(true);
        }
        Ok((json!([node]), ntasks, Some(need.memory)))
    }

    /// Tasks wherever there is room.
    fn anywhere(&self) -> Result<(Value, u32, Option<u64>), Refusal> {
        let ntasks = self.ntasks.unwrap_or(1).max(1);
        let cores = if self.overcommit { 1 } else { self.cpus };
        let (count, mut need) = match self.gpus {
            Gpus::OfJob(gpus) => {
                let cores = ntasks.saturating_mul(cores).div_ceil(gpus);
                (gpus, Need { cores: cores.max(self.cpus_per_gpu), gpus: 1, memory: 0 })
            }
            Gpus::OfTask(gpus) => {
                let cores = cores.max(gpus.saturating_mul(self.cpus_per_gpu));
                (ntasks, Need { cores, gpus, memory: 0 })
            }
            Gpus::None | Gpus::OfNode(_) => (ntasks, Need { cores, gpus: 0, memory: 0 }),
        };
        let count = if self.overcommit && need.gpus == 0 { 1 } else { count };
        need.memory = match self.memory {
            Memory::OfCpu(mib) => mib.saturating_mul(need.cores.into()),
            Memory::OfGpu(mib) => mib.saturating_mul(need.gpus.into()),
            Memory::None | Memory::Whole | Memory::OfNode(_) => 0,
        };
        let room: u64 = self.nodes.iter().map(|node| u64::from(room_for(node, need))).sum();
        if room < count.into() {
            return Err(self.too_much(1, ntasks));
        }
        let slots_of = |count| slots(count, need, self.memory_in_graph(need));
        let tree = match self.per_socket {
            None => slots_of(count),
            Some(each) => {
                json!({ "type": "socket", "count": count.div_ceil(each), "with": [slots_of(each.min(count))] })
            }
        };
        let most_here = self.nodes.iter().map(|node| room_for(node, need)).max().unwrap_or(0).min(count);
        Ok((json!([tree]), ntasks, Some(need.memory.saturating_mul(most_here.into()))))
    }

    fn memory_in_graph(&self, need: Need) -> Option<u64> {
        (self.shared_memory && need.memory > 0).then_some(need.memory)
    }

    fn too_much(&self, nodes: u32, ntasks: u32) -> Refusal {
        let largest = |of: fn(&SiteNode) -> u64| self.nodes.iter().map(|node| of(node)).max().unwrap_or(0);
        let mut text = format!(
            "{ntasks} tasks of {} CPUs on {nodes} nodes or more: {} such nodes are here, with up to {} CPUs",
            self.cpus,
            self.nodes.len(),
            largest(|node| node.cores.into())
        );
        if self.gpus != Gpus::None {
            text.push_str(&format!(", {} GPUs", largest(|node| node.gpus.into())));
        }
        if self.memory != Memory::None {
            text.push_str(&format!(", {} MiB", largest(|node| node.memory.unwrap_or(0))));
        }
        unavailable(text)
    }
}

fn room_for(node: &SiteNode, need: Need) -> u32 {
    let mut room = node.cores / need.cores.max(1);
    if let Some(by_gpus) = node.gpus.checked_div(need.gpus) {
        room = room.min(by_gpus);
    }
    if let Some(memory) = node.memory.filter(|_| need.memory > 0) {
        room = room.min(u32::try_from(memory / need.memory).unwrap_or(u32::MAX));
    }
    room
}

fn slots(count: u32, need: Need, memory: Option<u64>) -> Value {
    let mut with = vec![json!({ "type": "core", "count": need.cores })];
    if need.gpus > 0 {
        with.push(json!({ "type": "gpu", "count": need.gpus }));
    }
    if let Some(mib) = memory {
        with.push(json!({ "type": "memory", "count": mib, "unit": "MiB" }));
    }
    json!({ "type": "slot", "count": count, "label": "task", "with": with })
}
