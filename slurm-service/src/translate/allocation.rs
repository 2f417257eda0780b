//! What a job was given, as `salloc` and `srun` are told.

use super::node::SELECT_CONS_TRES;
use super::part::Part;
use crate::conf::Conf;
use flurm_slurm_protocol::structures::{ResourceAllocationResponseMsg, SelectJobinfo, StepId};
use flurm_slurm_protocol::{INFINITE16, NO_VAL, Text, constants};
use flurm_types::{Hostlist, R, by_node};

/// A job without a step.
pub fn whole_job(number: u32) -> StepId {
    StepId { sluid: Some(0), job_id: number, step_id: NO_VAL, step_het_comp: NO_VAL }
}

/// Names in `slurm.conf` of the nodes of an R.
pub fn names(conf: &Conf, r: &R) -> Vec<String> {
    let name = |rank: u32, host: &str| match usize::try_from(rank).ok().and_then(|at| conf.nodes.get(at)) {
        Some(node) => node.name.clone(),
        None => host.to_owned(),
    };
    r.nodes.iter().map(|node| name(node.rank, &node.host)).collect()
}

/// So many equal numbers in a row, as Slurm packs lists by node.
pub fn runs(counts: &[u32]) -> (Vec<u16>, Vec<u32>) {
    let runs = counts.chunk_by(|a, b| a == b);
    runs.map(|run| (u16::try_from(run[0]).unwrap_or(u16::MAX), u32::try_from(run.len()).unwrap_or(u32::MAX)))
        .unzip()
}

/// Tasks of the job by node, as they fill its CPUs.
pub fn tasks(part: &Part, cpus: &[u32]) -> Vec<u32> {
    match part.ntasks_per_node {
        Some(each) => vec![each.into(); cpus.len()],
        None => by_node::tasks(part.ntasks, part.cpus_per_task, cpus),
    }
}

/// What is told of a job; nothing of nodes as long as it has none.
pub fn response(
    conf: &Conf,
    number: u32,
    partition: &str,
    part: &Part,
    r: Option<&R>,
) -> ResourceAllocationResponseMsg {
    let names = r.map(|r| names(conf, r)).unwrap_or_default();
    let cpus: Vec<u32> =
        r.map(|r| r.nodes.iter().map(|node| node.cores.len() as u32).collect()).unwrap_or_default();
    let (cpus_per_node, cpu_count_reps) = runs(&cpus);
    let hosts: Hostlist = names.iter().cloned().collect();
    let environment = match cpus.is_empty() {
        true => Vec::new(),
        false => vec![Text::from(format!("SLURM_TASKS_PER_NODE={}", by_node::runs(&tasks(part, &cpus))))],
    };
    let per_cpu = part.memory_per_cpu.map(|mib| mib | constants::MEM_PER_CPU);
    ResourceAllocationResponseMsg {
        account: Text::from(part.account.clone()),
        batch_host: Text::from(names.first().cloned()),
        environment,
        gid: Some(conf.gid),
        group_name: Text::from(conf.gid.to_string()),
        job_id: Some(number),
        node_cnt: u32::try_from(names.len()).unwrap_or(u32::MAX),
        has_node_addr: Some(0),
        node_list: Text::from((!names.is_empty()).then(|| hosts.to_string())),
        ntasks_per_board: 0,
        ntasks_per_core: part.ntasks_per_core.unwrap_or(INFINITE16),
        ntasks_per_tres: part.ntasks_per_tres.unwrap_or(0),
        ntasks_per_socket: part.ntasks_per_socket.unwrap_or(INFINITE16),
        num_cpu_groups: u32::try_from(cpus_per_node.len()).unwrap_or(u32::MAX),
        cpus_per_node: (!cpus_per_node.is_empty()).then_some(cpus_per_node),
        cpu_count_reps: (!cpu_count_reps.is_empty()).then_some(cpu_count_reps),
        partition: Text::from(partition),
        pn_min_memory: per_cpu.or(part.memory_per_node).unwrap_or(0),
        qos: Text::from(part.qos.clone().unwrap_or_else(|| "normal".to_owned())),
        select_jobinfo: Some(Box::new(SelectJobinfo { plugin_id: SELECT_CONS_TRES })),
        segment_size: Some(0),
        start_protocol_ver: Some(0),
        step_id: Some(Box::new(whole_job(number))),
        tres_per_node: Text::from(part.tres_per_node.clone()),
        tres_per_task: Text::from(part.tres_per_task.clone()),
        uid: Some(conf.uid),
        user_name: Text::from(conf.owner.as_str()),
        ..ResourceAllocationResponseMsg::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_numbers_in_a_row_are_counted() {
        assert_eq!(runs(&[2, 2, 1]), (vec![2, 1], vec![2, 1]));
        assert_eq!(runs(&[]), (vec![], vec![]));
        let part = Part { ntasks: 4, ntasks_per_node: Some(3), ..Part::default() };
        assert_eq!(tasks(&part, &[8, 8]), [3, 3]);
    }
}
