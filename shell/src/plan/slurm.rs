//! `SLURM_*` of tasks. Pure.
//!
//! A job that came by Slurm's own commands is told what Slurm tells a batch script: what follows from its request was
//! worked out when it was submitted and stands in its jobspec, and what it was given is added here. `srun` in its script
//! finds this instance, so it is told `SLURM_JOBID` and `SLURM_NODELIST` as well. Any other job is told what scripts look
//! for, without these two and `SLURM_STEP_ID`: MPI libraries that see them call an `srun`, which would be the outer one.

use super::{Plan, Told};
use crate::env::Block;
use flurm_jobspec::Attributes;
use flurm_types::{Hostlist, R, RNode, by_node};
use serde_json::Value;

pub(super) fn variables(plan: &Plan, told: &Told<'_>, attributes: &Attributes, r: &R, block: &mut Block) {
    if plan.options.slurm_environment {
        return of_step(plan, block);
    }
    let part = attributes.other_system.get("slurm").filter(|_| attributes.within.is_none());
    match part {
        Some(part) => of_slurm(plan, told, part, r, block),
        None => of_flurm(plan, told, attributes, block),
    }
    if let Some(array) = &attributes.array {
        block.push("SLURM_ARRAY_JOB_ID", &plan.numbers.array.to_string());
        for (name, number) in [
            ("SLURM_ARRAY_TASK_ID", Some(plan.numbers.copy.unwrap_or(array.index))),
            ("SLURM_ARRAY_TASK_COUNT", array.count),
            ("SLURM_ARRAY_TASK_MIN", array.min),
            ("SLURM_ARRAY_TASK_MAX", array.max),
            ("SLURM_ARRAY_TASK_STEP", array.step),
        ] {
            if let Some(number) = number {
                block.push(name, &number.to_string());
            }
        }
    }
}

/// What is not the same for all tasks of a step; the rest is in the environment that was submitted.
fn of_step(plan: &Plan, block: &mut Block) {
    let tasks: Vec<String> = plan.tasks.iter().map(u32::to_string).collect();
    block.push("SLURM_NODEID", &plan.node_index.to_string());
    block.push("SLURM_CPUS_ON_NODE", &plan.node.cores.len().to_string());
    block.push("SLURM_GTIDS", &tasks.join(","));
}

/// What Slurm's commands call the nodes of a job: by host, and with the rank behind it where the job has a host twice.
fn names(r: &R) -> Vec<String> {
    let alone = |host: &str| r.nodes.iter().filter(|node| node.host == host).count() == 1;
    let name = |node: &RNode| match alone(&node.host) {
        true => node.host.clone(),
        false => format!("{}-{}", node.host, node.rank),
    };
    r.nodes.iter().map(name).collect()
}

/// What both are told.
fn place(plan: &Plan, told: &Told<'_>, nodelist: &str, own: &str, block: &mut Block) {
    let nnodes = plan.nnodes.to_string();
    for (name, value) in [
        ("SLURM_JOB_ID", plan.numbers.job.to_string().as_str()),
        ("SLURM_JOB_NAME", &plan.name),
        ("SLURM_JOB_NODELIST", nodelist),
        ("SLURM_JOB_NUM_NODES", &nnodes),
        ("SLURM_NNODES", &nnodes),
        ("SLURM_JOB_CPUS_PER_NODE", &by_node::runs(told.cpus)),
        ("SLURM_NODEID", &plan.node_index.to_string()),
        ("SLURM_CPUS_ON_NODE", &plan.node.cores.len().to_string()),
        ("SLURMD_NODENAME", own),
    ] {
        block.push(name, value);
    }
}

fn of_flurm(plan: &Plan, told: &Told<'_>, attributes: &Attributes, block: &mut Block) {
    place(plan, told, &plan.nodelist, &plan.node.host, block);
    let asked = told.tasks.iter().sum::<u32>().to_string();
    for (name, value) in [
        ("SLURM_NTASKS", asked.as_str()),
        ("SLURM_NPROCS", &asked),
        ("SLURM_TASKS_PER_NODE", &by_node::runs(told.tasks)),
        ("SLURM_CPUS_PER_TASK", &told.slot.cores.max(1).to_string()),
        ("SLURM_SUBMIT_DIR", &plan.cwd),
    ] {
        block.push(name, value);
    }
    if let Some(each) = told.tasks.first().filter(|each| told.tasks.iter().all(|n| n == *each)) {
        block.push("SLURM_NTASKS_PER_NODE", &each.to_string());
    }
    if let Some(queue) = &attributes.queue {
        block.push("SLURM_JOB_PARTITION", queue);
    }
}

fn of_slurm(plan: &Plan, told: &Told<'_>, part: &Value, r: &R, block: &mut Block) {
    let names = names(r);
    let own = names.get(plan.node_index as usize).cloned().unwrap_or_default();
    let nodelist = names.into_iter().collect::<Hostlist>().to_string();
    place(plan, told, &nodelist, &own, block);
    let number = |key: &str| part.get(key).and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok());
    let tasks = match number("ntasks-per-node") {
        Some(each) => vec![each; told.cpus.len()],
        None => {
            by_node::tasks(number("ntasks").unwrap_or(1), number("cpus-per-task").unwrap_or(1), told.cpus)
        }
    };
    for (name, value) in [
        ("SLURM_JOBID", plan.numbers.job.to_string().as_str()),
        ("SLURM_NODELIST", &nodelist),
        ("SLURM_TASKS_PER_NODE", &by_node::runs(&tasks)),
        ("SLURM_GTIDS", "0"),
        ("SLURM_NODE_ALIASES", "(null)"),
        ("SLURM_TOPOLOGY_ADDR", &own),
        ("SLURM_TOPOLOGY_ADDR_PATTERN", "node"),
    ] {
        block.push(name, value);
    }
    if !plan.node.gpus.is_empty() {
        let ids: Vec<String> = plan.node.gpus.iter().map(|gpu| gpu.to_string()).collect();
        block.push("SLURM_JOB_GPUS", &ids.join(","));
        block.push("SLURM_GPUS_ON_NODE", &ids.len().to_string());
    }
    for (name, time) in [("SLURM_JOB_START_TIME", r.starttime), ("SLURM_JOB_END_TIME", r.expiration)] {
        let seconds = time.as_secs_f64() as u64;
        if seconds > 0 {
            block.push(name, &seconds.to_string());
        }
    }
    let asked = part.get("environment").and_then(Value::as_object);
    for (name, value) in asked.into_iter().flatten() {
        if let Some(value) = value.as_str() {
            block.push(name, value);
        }
    }
}
