//! Queues as partitions.

use crate::conf::{Conf, Node, PARTITION};
use flurm_slurm_protocol::structures::PartitionInfo;
use flurm_slurm_protocol::{Bits, INFINITE, NO_VAL, NO_VAL16, Text, constants as c};
use flurm_types::Hostlist;
use flurm_wire::job::{QueueInfo, QueueStatus};

/// All of them, the default one first; an instance without queues has one with a name of ours.
pub fn all(conf: &Conf, queues: &QueueStatus) -> Vec<PartitionInfo> {
    let several = queues.queues.len() > 1;
    queues.queues.iter().map(|queue| one(conf, queue, several)).collect()
}

/// What Slurm's commands call a queue.
pub fn name(queue: &str) -> &str {
    if queue.is_empty() { PARTITION } else { queue }
}

/// Minutes, rounded up: Slurm has no shorter limit.
pub fn minutes(seconds: Option<f64>, none: u32) -> u32 {
    match seconds {
        Some(seconds) if seconds.is_finite() && seconds > 0.0 => (seconds / 60.0).ceil() as u32,
        _ => none,
    }
}

fn one(conf: &Conf, queue: &QueueInfo, several: bool) -> PartitionInfo {
    let has = |rank: usize| {
        queue.name.is_empty() || u32::try_from(rank).is_ok_and(|rank| queue.ranks.contains(rank))
    };
    let nodes: Vec<(usize, &Node)> = conf.nodes.iter().enumerate().filter(|(rank, _)| has(*rank)).collect();
    let cores: u32 = nodes.iter().map(|(_, node)| node.cores).sum();
    let gpus: u32 = nodes.iter().map(|(_, node)| node.gpus).sum();
    let memory: u64 = nodes.iter().map(|(_, node)| node.memory_mib).sum();
    let count = u32::try_from(nodes.len()).unwrap_or(u32::MAX);
    let hosts: Hostlist = nodes.iter().map(|(_, node)| node.name.clone()).collect();
    let ranks = nodes.iter().filter_map(|(rank, _)| u32::try_from(*rank).ok());
    let up = match (queue.enabled, queue.started) {
        (true, true) => c::PARTITION_UP,
        (false, true) => c::PARTITION_DRAIN,
        (true, false) => c::PARTITION_DOWN,
        (false, false) => c::PARTITION_INACTIVE,
    };
    let length = u32::try_from(conf.nodes.len()).unwrap_or(u32::MAX);
    PartitionInfo {
        name: Text::from(name(&queue.name)),
        cpu_bind: 0,
        grace_time: 0,
        max_time: minutes(queue.duration_max, INFINITE),
        default_time: minutes(queue.duration, NO_VAL),
        max_nodes: queue.max.nnodes.unwrap_or(INFINITE),
        min_nodes: queue.min.nnodes.unwrap_or(0),
        total_nodes: count,
        total_cpus: cores,
        max_cpus_per_node: INFINITE,
        max_cpus_per_socket: Some(INFINITE),
        flags: if queue.default || !several { c::PART_FLAG_DEFAULT } else { 0 },
        max_share: 1,
        over_time_limit: NO_VAL16,
        preempt_mode: NO_VAL16,
        priority_job_factor: u16::try_from(queue.priority.max(1)).unwrap_or(u16::MAX),
        priority_tier: 1,
        state_up: up as u16,
        resume_timeout: NO_VAL16,
        suspend_timeout: NO_VAL16,
        suspend_time: NO_VAL,
        nodes: Text::from(hosts.to_string()),
        node_inx: Bits::new(length, ranks),
        tres_fmt_str: Text::from(tres(cores, memory, count, gpus)),
        ..PartitionInfo::default()
    }
}

/// In the largest unit that leaves a whole number.
fn size(mib: u64) -> String {
    let mut units = ["M", "G", "T", "P"].into_iter();
    let (mut amount, mut unit) = (mib, units.next());
    while let Some(larger) = units.next().filter(|_| amount > 0 && amount % 1024 == 0) {
        (amount, unit) = (amount / 1024, Some(larger));
    }
    format!("{amount}{}", unit.unwrap_or_default())
}

/// Slurm's list of what something has or takes.
pub fn tres(cores: u32, memory_mib: u64, nodes: u32, gpus: u32) -> String {
    let mut text = format!("cpu={cores}");
    if memory_mib > 0 {
        text.push_str(&format!(",mem={}", size(memory_mib)));
    }
    text.push_str(&format!(",node={nodes},billing={cores}"));
    if gpus > 0 {
        text.push_str(&format!(",gres/gpu={gpus}"));
    }
    text
}
