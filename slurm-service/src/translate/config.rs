//! The configuration as `scontrol show config` prints it: what is so here, and *not set* for what Slurm alone has.

use crate::conf::{Auth, CLUSTER, Conf};
use crate::world::JOB_AGE_MIN;
use flurm_slurm_protocol::structures::CtlConf;
use flurm_slurm_protocol::{INFINITE, NO_VAL, NO_VAL16, Text, Version, constants as c};

/// Indices of an array are below this.
const ARRAY_MAX: u32 = 1_000_000;

pub fn record(conf: &Conf, version: Version, started: i64, now: i64, next_job: u32) -> CtlConf {
    let text = |text: &str| Text::from(text);
    let auth = if conf.auth == Auth::None { "none" } else { "munge" };
    let socket = match &conf.auth {
        Auth::Munge { socket } => socket.as_ref().map(|socket| format!("socket={}", socket.display())),
        Auth::None => None,
    };
    CtlConf {
        last_update: now,
        accounting_storage_host: Text::from(conf.accounting.map(|at| at.ip().to_string())),
        accounting_storage_port: conf.accounting.map_or(0, |at| at.port()),
        accounting_storage_tres: text("cpu,mem,energy,node,billing,fs/disk,vmem,pages"),
        accounting_storage_type: text(match conf.accounting {
            Some(_) => "accounting_storage/slurmdbd",
            None => "accounting_storage/none",
        }),
        authtype: Text::from(format!("auth/{auth}")),
        authinfo: Text::from(socket),
        boot_time: started,
        cluster_name: text(CLUSTER),
        control_addr: vec![Text::from(conf.controller.ip().to_string())],
        control_machine: vec![text(&conf.controller_host)],
        cpu_freq_def: NO_VAL,
        cred_type: Text::from(format!("cred/{auth}")),
        enforce_part_limits: 1,
        epilog_msg_time: 0,
        first_job_id: 1,
        hash_plugin: text("hash/k12"),
        hash_val: NO_VAL,
        job_acct_gather_type: text("jobacct_gather/linux"),
        job_comp_type: text("jobcomp/none"),
        job_requeue: 0,
        kill_wait: 5,
        launch_type: text("launch/slurm"),
        mail_prog: text("/bin/true"),
        max_array_sz: ARRAY_MAX,
        max_job_cnt: 4_000_000,
        max_job_id: c::MAX_JOB_ID,
        max_node_cnt: u32::try_from(conf.nodes.len()).unwrap_or(u32::MAX),
        max_step_cnt: 40_000,
        max_tasks_per_node: 65_533,
        min_job_age: JOB_AGE_MIN.as_secs() as u32,
        mpi_default: text(conf.mpi),
        msg_timeout: 10,
        next_job_id: next_job,
        over_time_limit: 0,
        preempt_type: text("preempt/none"),
        priority_type: text("priority/multifactor"),
        proctrack_type: text("proctrack/linuxproc"),
        propagate_rlimits: text("ALL"),
        ret2service: 2,
        schedtype: text("sched/builtin"),
        select_type: text("select/cons_tres"),
        select_type_param: c::CR_CORE as u16,
        slurm_user_id: conf.uid,
        slurm_user_name: text(&conf.owner),
        slurmd_user_id: conf.uid,
        slurmd_user_name: text(&conf.owner),
        slurmctld_port: u32::from(conf.controller.port()),
        slurmctld_port_count: 1,
        slurmctld_timeout: 120,
        slurmd_timeout: 300,
        suspend_time: INFINITE,
        switch_type: text("switch/none"),
        task_plugin: text("task/none"),
        tcp_timeout: 2,
        tmp_fs: text("/tmp"),
        topology_plugin: text("topology/none"),
        tree_width: 65_533,
        unkillable_timeout: 60,
        version: text(version.release()),
        batch_start_timeout: 10,
        complete_wait: 0,
        def_mem_per_cpu: 0,
        eio_timeout: 60,
        fs_dampening_factor: 1,
        group_time: 600,
        slurmctld_syslog_debug: NO_VAL16,
        slurmd_syslog_debug: NO_VAL16,
        resume_timeout: 60,
        suspend_timeout: 30,
        ..CtlConf::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flurm_slurm_protocol::Body;

    #[test]
    fn versions_until_25_11_have_it_as_it_is() {
        for version in Version::all() {
            let body = Body::ResponseBuildInfoUntil44(Box::default());
            assert_eq!(body.number(version).is_some(), version < Version::LAST, "{version}");
        }
    }
}
