//! Numbers by node, as Slurm's variables and messages have them.

/// `4(x2),3`: a list with repetitions.
#[must_use]
pub fn runs(counts: &[u32]) -> String {
    let runs = counts.chunk_by(|a, b| a == b).map(|run| match run.len() {
        1 => run[0].to_string(),
        n => format!("{}(x{n})", run[0]),
    });
    runs.collect::<Vec<_>>().join(",")
}

/// Where Slurm would start so many tasks of `cpus_per_task` on nodes with so many CPUs each: one on every node, then as
/// far as CPUs go, node after node, and what is more than that evenly.
#[must_use]
pub fn tasks(ntasks: u32, cpus_per_task: u32, cpus: &[u32]) -> Vec<u32> {
    let mut tasks = vec![1_u32; cpus.len()];
    let mut left = ntasks.saturating_sub(u32::try_from(cpus.len()).unwrap_or(u32::MAX));
    for (tasks, cpus) in tasks.iter_mut().zip(cpus) {
        let room = (cpus / cpus_per_task.max(1)).saturating_sub(*tasks);
        let more = left.min(room);
        (*tasks, left) = (*tasks + more, left - more);
    }
    let nodes = u32::try_from(tasks.len()).unwrap_or(u32::MAX).max(1);
    for (tasks, at) in tasks.iter_mut().zip(0..) {
        *tasks += left / nodes + u32::from(at < left % nodes);
    }
    tasks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_fill_cpus_and_every_node_has_one() {
        for (ntasks, cpus_per_task, cpus, wanted) in [
            (1, 1, &[1_u32] as &[u32], "1"),
            (4, 1, &[2, 2], "2(x2)"),
            (3, 1, &[2, 2], "2,1"),
            (2, 4, &[8], "2"),
            (5, 1, &[1, 1], "3,2"),
            (1, 1, &[4, 4], "1(x2)"),
            (7, 0, &[4, 4, 1], "4,2,1"),
            (3, 1, &[], ""),
        ] {
            assert_eq!(runs(&tasks(ntasks, cpus_per_task, cpus)), wanted);
        }
    }
}
