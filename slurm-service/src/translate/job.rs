//! A job as `squeue` and `scontrol show job` see it.

use super::node::SELECT_CONS_TRES;
use super::part::{Kind, Part};
use super::update::REMARK;
use super::{partition, state};
use crate::conf::{CLUSTER, Conf};
use flurm_slurm_protocol::structures::{JobInfo, JobResources, MultiCoreData, SelectJobinfo, StepId};
use flurm_slurm_protocol::{
    Bits, Double, INFINITE, INFINITE16, NO_VAL, NO_VAL16, Text, Version, constants as c,
};
use flurm_types::{Hostlist, JobId, JobState, Timestamp};
use flurm_wire::job::JobRecord;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// *There is one*, before data of sockets and cores.
const MULTI_CORE: u8 = 0xff;

/// What is the same for all jobs of one answer.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'a> {
    pub conf: &'a Conf,
    pub version: Version,
    /// Who is meant by a dependency.
    pub numbers: &'a BTreeMap<JobId, u32>,
    /// Those that nobody is before.
    pub heads: &'a BTreeSet<JobId>,
}

/// One of them; `part` is what it has of Slurm's, if Slurm's commands have submitted it.
pub fn record(scene: &Scene<'_>, job: &JobRecord, part: Option<&Part>) -> JobInfo {
    let conf = scene.conf;
    let is_batch = part.is_some_and(|part| part.kind == Kind::Batch);
    let status = state::exit(job, part);
    let part = &now(job, part);
    let pending = job.state.is_pending();
    let narrow = |number: u32| u16::try_from(number).unwrap_or(u16::MAX);
    let hosts = hosts(conf, job);
    let name_of = |rank: u32| conf.nodes.get(rank as usize).map(|node| node.name.as_str());
    let gpus = 0;
    let memory: u64 = if pending {
        0
    } else {
        job.ranks.iter().filter_map(|rank| conf.nodes.get(rank as usize)).map(|node| node.memory_mib).sum()
    };
    let nodes = if job.nnodes > 0 { job.nnodes } else { least_nodes(conf, job.ncores) };
    let nodes = part.nodes_min.filter(|_| pending).unwrap_or(nodes);
    let tasks = part.ntasks.max(1);
    let per_task = if part.cpus_per_task > 0 { part.cpus_per_task } else { (job.ncores / tasks).max(1) };
    // Of a job that asks for whole nodes nobody knows before it has them.
    let cpus = if job.ncores > 0 { job.ncores } else { tasks.saturating_mul(per_task).max(nodes) };
    let asked = partition::tres(cpus, 0, nodes, gpus);
    let given = (!job.ranks.is_empty()).then(|| partition::tres(job.ncores, memory, nodes, gpus));
    let nice = c::NICE_OFFSET.saturating_add_signed(i32::try_from(part.nice.unwrap_or(0)).unwrap_or(0));
    let text = |text: &Option<String>| Text::from(text.as_deref());
    let (start, end) = span(job);
    let eligible = eligible(job, part);
    JobInfo {
        step_id: Some(Box::new(StepId {
            sluid: Some(0),
            job_id: job.number,
            step_id: NO_VAL,
            step_het_comp: NO_VAL,
        })),
        job_id: Some(job.number),
        account: Text::from(part.account.clone().or_else(|| some(&job.bank))),
        alloc_node: Text::from(part.alloc_host.clone().unwrap_or_else(|| conf.controller_host.clone())),
        alloc_sid: part.alloc_sid.unwrap_or(0),
        array_job_id: job.array.map_or(0, |array| array.number),
        array_task_id: job.array.map_or(NO_VAL, |array| array.index),
        array_max_tasks: job.array.and_then(|array| array.throttle).unwrap_or(0),
        batch_flag: u16::from(is_batch),
        batch_host: Text::from(job.ranks.first().and_then(name_of)),
        billable_tres: Double::new(f64::from(if pending { NO_VAL } else { job.ncores })),
        comment: text(&part.comment),
        cpus_per_tres: text(&part.cpus_per_tres),
        deadline: part.deadline.unwrap_or(0),
        derived_ec: status,
        exit_code: status,
        extra: text(&part.extra),
        user_id: job.userid,
        has_fed_origin_str: Some(false),
        fed_siblings_active: Some(0),
        fed_siblings_viable: Some(0),
        group_id: conf.gid,
        job_state: state::state(job),
        last_sched_eval: job.t_sched.map_or(0, seconds),
        mail_user: text(&part.mail_user),
        mem_per_tres: text(&part.memory_per_tres),
        name: Text::from(job.name.as_str()),
        priority: u32::try_from(job.priority.max(0)).unwrap_or(u32::MAX),
        state_reason: state::reason(job, scene.heads.contains(&job.id)),
        req_switch: 0,
        site_factor: c::NICE_OFFSET,
        start_protocol_ver: scene.version.to_wire(),
        power_flags: Some(0),
        show_flags: Some(0),
        time_min: part.time_min.unwrap_or(0),
        tres_bind: text(&part.tres_bind),
        tres_alloc_str: Text::from(given),
        tres_req_str: Text::from(asked),
        tres_per_job: text(&part.tres_per_job),
        tres_per_node: text(&part.tres_per_node),
        tres_per_socket: text(&part.tres_per_socket),
        tres_per_task: text(&part.tres_per_task),
        user_name: Text::from(conf.owner.as_str()),
        wckey: text(&part.wckey),
        time_limit: limit(job),
        nice: Some(nice),
        nice_2: Some(nice),
        submit_time: Some(seconds(job.t_submit)),
        eligible_time: Some(eligible),
        accrue_time: Some(eligible),
        start_time: start,
        end_time: end,
        nodes: Text::from((!hosts.is_empty()).then(|| hosts.to_string())),
        partition: Text::from(partition::name(&job.queue)),
        qos: text(&part.qos),
        job_resrcs: JobResources { nhosts: NO_VAL, ..JobResources::default() },
        node_inx: if job.ranks.is_empty() {
            Bits::NULL
        } else {
            Bits::new(u32::try_from(conf.nodes.len()).unwrap_or(u32::MAX), job.ranks.iter())
        },
        cluster: Text::from(CLUSTER),
        select_jobinfo: Some(Box::new(SelectJobinfo { plugin_id: SELECT_CONS_TRES })),
        features: text(&part.features),
        work_dir: Text::from(job.cwd.as_str()),
        dependency: Text::from(dependency(scene, job)),
        command: Text::from((!part.argv.is_empty()).then(|| part.argv.join(" "))),
        num_cpus: Some(cpus),
        num_cpus_2: Some(cpus),
        max_cpus: Some(0),
        num_nodes: Some(nodes),
        num_nodes_2: Some(nodes),
        max_nodes: Some(part.nodes_max.unwrap_or(0)),
        requeue: Some(u16::from(part.requeue.unwrap_or(false))),
        ntasks_per_node: Some(part.ntasks_per_node.unwrap_or(0)),
        ntasks_per_tres: Some(part.ntasks_per_tres.unwrap_or(0)),
        num_tasks: Some(tasks),
        shared: Some(part.shared.unwrap_or(NO_VAL16)),
        cpu_freq_min: Some(NO_VAL),
        cpu_freq_max: Some(NO_VAL),
        cpu_freq_gov: Some(NO_VAL),
        has_details: Some(true),
        segment_size: Some(0),
        submit_line: text(&part.submit_line),
        exclusive: Some(NO_VAL16),
        oversubscribe: Some(NO_VAL16),
        mem_update_delay: Some(NO_VAL16),
        mem_update_margin: Some(NO_VAL16),
        core_spec: NO_VAL16,
        cpus_per_task: narrow(per_task),
        pn_min_cpus: part.cpus_per_node_min.unwrap_or(narrow(per_task)),
        pn_min_memory: match (part.memory_per_node, part.memory_per_cpu) {
            (Some(mib), _) => mib,
            (None, Some(mib)) => mib | c::MEM_PER_CPU,
            (None, None) => 0,
        },
        oom_kill_step: Some(NO_VAL16),
        req_nodes: short(&part.req_nodes),
        exc_nodes: short(&part.exc_nodes),
        std_err: file(job, part.std_err.as_ref().or(part.std_out.as_ref())),
        std_in: file(job, part.std_in.as_ref()),
        std_out: file(job, part.std_out.as_ref()),
        mc_ptr: MultiCoreData {
            present: MULTI_CORE,
            boards_per_node: Some(0),
            sockets_per_board: Some(0),
            sockets_per_node: Some(part.sockets_per_node.unwrap_or(NO_VAL16)),
            cores_per_socket: Some(part.cores_per_socket.unwrap_or(NO_VAL16)),
            threads_per_core: Some(part.threads_per_core.unwrap_or(NO_VAL16)),
            ntasks_per_board: Some(0),
            ntasks_per_socket: Some(part.ntasks_per_socket.unwrap_or(INFINITE16)),
            ntasks_per_core: Some(part.ntasks_per_core.unwrap_or(INFINITE16)),
            plane_size: Some(0),
        },
        ..JobInfo::default()
    }
}

/// What it has of Slurm's, with what `scontrol update` has said since.
fn now<'a>(job: &JobRecord, part: Option<&'a Part>) -> Cow<'a, Part> {
    let plain = || Cow::Owned(Part { ntasks: job.ntasks, ..Part::default() });
    let part = part.map_or_else(plain, Cow::Borrowed);
    let user = job.annotations.as_ref().and_then(|said| said.get("user")?.as_object());
    let remarks =
        user.into_iter().flatten().filter_map(|(key, value)| Some((key.strip_prefix(REMARK)?, value)));
    let remarks: Vec<_> = remarks.collect();
    if remarks.is_empty() {
        return part;
    }
    let Ok(mut changed) = serde_json::to_value(&*part) else { return part };
    for (key, value) in remarks {
        changed[key] = value.clone();
    }
    // A remark that does not fit was somebody else's.
    serde_json::from_value(changed).map_or(part, Cow::Owned)
}

/// Its nodes by Slurm's names for them.
pub fn hosts(conf: &Conf, job: &JobRecord) -> Hostlist {
    let name = |rank: u32| conf.nodes.get(rank as usize).map(|node| node.name.clone());
    job.ranks.iter().filter_map(name).collect()
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn seconds(time: Timestamp) -> i64 {
    time.0.div_euclid(1_000_000)
}

/// Nodes that so many cores need at least.
fn least_nodes(conf: &Conf, cores: u32) -> u32 {
    let most = conf.nodes.iter().map(|node| node.cores).max().unwrap_or(1).max(1);
    cores.div_ceil(most).max(1)
}

/// Minutes.
fn limit(job: &JobRecord) -> u32 {
    let seconds = match job.t_run {
        // It may have been changed since it was asked for.
        Some(start) if !job.expiration.is_zero() => job.expiration.secs_since(start),
        _ => job.duration,
    };
    if !seconds.is_finite() || seconds <= 0.0 {
        return INFINITE;
    }
    // A start is a moment before the time begins to count.
    partition::minutes(Some(seconds - 1.0), 1)
}

/// Start and end, as far as they are known or foreseen; 0 is not.
fn span(job: &JobRecord) -> (i64, i64) {
    let over = matches!(job.state, JobState::Cleanup | JobState::Inactive);
    let end = job.t_cleanup.or(job.t_inactive).map_or(0, seconds);
    match (job.t_run.map(seconds), over) {
        (Some(start), true) => (start, end),
        (Some(start), false) => (start, if job.expiration.is_zero() { 0 } else { seconds(job.expiration) }),
        (None, true) => (end, end),
        (None, false) => (begin(job).or_else(|| state::estimate(job).map(seconds)).unwrap_or(0), 0),
    }
}

/// Names of nodes in their short form, however they were typed.
fn short(typed: &Option<String>) -> Text {
    let Some(typed) = typed else { return Text::NULL };
    typed.parse::<Hostlist>().map_or_else(|_| typed.clone(), |hosts| hosts.to_string()).into()
}

/// From when on it could have started.
fn eligible(job: &JobRecord, part: &Part) -> i64 {
    match job.t_priority.or(job.t_sched) {
        _ if job.urgency == 0 && job.t_run.is_none() => 0,
        Some(time) => seconds(time),
        None if job.dependencies.iter().any(|need| !need.starts_with("begin-time")) => 0,
        None => begin(job).or(part.begin).unwrap_or(0),
    }
}

/// What a job waits for that is to begin at a time.
fn begin(job: &JobRecord) -> Option<i64> {
    let time =
        job.dependencies.iter().find_map(|need| need.strip_prefix("begin-time=")?.parse::<f64>().ok())?;
    Some(seconds(Timestamp::from_secs_f64(time)))
}

/// What it still waits for, as Slurm writes it.
fn dependency(scene: &Scene<'_>, job: &JobRecord) -> Option<String> {
    let shown = |need: &String| {
        let (scheme, value) = need.split_once('=').unwrap_or((need.as_str(), ""));
        // Of an array's job it says so: here jobs are known by numbers of their own.
        match scheme.strip_suffix("-one").unwrap_or(scheme) {
            "singleton" => Some("singleton(unfulfilled)".to_owned()),
            scheme @ ("after" | "afterany" | "afterok" | "afternotok" | "afterexcept") => {
                let number = value.parse::<JobId>().ok().and_then(|id| scene.numbers.get(&id))?;
                Some(format!("{scheme}:{number}(unfulfilled)"))
            }
            _ => None,
        }
    };
    let shown: Vec<String> = job.dependencies.iter().filter_map(shown).collect();
    (!shown.is_empty()).then(|| shown.join(","))
}

/// A file name with the job's numbers in it; what differs by task or node stays.
fn file(job: &JobRecord, pattern: Option<&String>) -> Text {
    let Some(pattern) = pattern else { return Text::NULL };
    let array = job.array.map_or(job.number, |array| array.number);
    let index = job.array.map_or(NO_VAL, |array| array.index);
    Text::from(
        pattern
            .replace("%j", &job.number.to_string())
            .replace("%A", &array.to_string())
            .replace("%a", &index.to_string())
            .replace("%x", &job.name),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conf::{Auth, Node};
    use serde_json::{Value, json};

    fn conf() -> Conf {
        let node = |rank: u32| Node {
            name: format!("n{rank}"),
            host: format!("n{rank}"),
            address: None,
            sockets: 1,
            cores: 4,
            gpus: 0,
            memory_mib: 1000,
            properties: Vec::new(),
        };
        Conf {
            owner: "ann".to_owned(),
            uid: 7,
            gid: 8,
            auth: Auth::None,
            controller_host: "n0".to_owned(),
            controller: "127.0.0.1:1".parse().unwrap(),
            accounting: None,
            nodes: (0..3).map(node).collect(),
            partitions: vec!["batch".to_owned()],
            has_default: true,
            mpi: "pmi2",
        }
    }

    fn job(extra: &Value) -> JobRecord {
        let mut record = json!({
            "id": 4096, "number": 12, "userid": 7, "urgency": 16, "priority": 16, "t_submit": 100.0,
            "t_depend": 100.0, "state": "SCHED", "name": "x", "cwd": "/w", "ntasks": 2, "ncores": 2,
            "nnodes": 0, "duration": 90.0,
        });
        for (key, value) in extra.as_object().unwrap() {
            record[key] = value.clone();
        }
        serde_json::from_value(record).unwrap()
    }

    fn shown(extra: &Value) -> JobInfo {
        let (conf, job) = (conf(), job(extra));
        let numbers = [(JobId(1), 5)].into();
        let heads = state::heads([&job]);
        let scene = Scene { conf: &conf, version: Version::LAST, numbers: &numbers, heads: &heads };
        record(&scene, &job, None)
    }

    #[test]
    fn states_and_reasons_are_slurms() {
        let failed = |kind: &str| json!({ "type": kind, "severity": 0, "note": "" });
        let over = |result: &str| json!({ "state": "INACTIVE", "t_run": 110.0, "t_cleanup": 120.0, "result": result });
        let with = |mut record: Value, key: &str, value: Value| {
            record[key] = value;
            record
        };
        for (record, state, reason) in [
            (json!({}), c::JOB_PENDING, c::WAIT_RESOURCES),
            (json!({ "urgency": 0, "priority": 0 }), c::JOB_PENDING, c::WAIT_HELD_USER),
            (
                json!({ "state": "DEPEND", "dependencies": ["afterok=ƒ2"] }),
                c::JOB_PENDING,
                c::WAIT_DEPENDENCY,
            ),
            (
                json!({ "state": "DEPEND", "dependencies": ["begin-time=200.0"] }),
                c::JOB_PENDING,
                c::WAIT_TIME,
            ),
            (
                json!({ "annotations": { "sched": { "reason_pending": "queue is stopped" } } }),
                c::JOB_PENDING,
                c::WAIT_PART_DOWN,
            ),
            (json!({ "state": "RUN", "t_run": 110.0 }), c::JOB_RUNNING, c::WAIT_NO_REASON),
            (
                json!({ "state": "CLEANUP", "t_run": 110.0, "waitstatus": 0 }),
                c::JOB_COMPLETING | c::JOB_COMPLETE,
                0,
            ),
            (over("COMPLETED"), c::JOB_COMPLETE, 0),
            (over("CANCELED"), c::JOB_CANCELLED, 0),
            (over("TIMEOUT"), c::JOB_TIMEOUT, c::FAIL_TIMEOUT),
            (with(over("FAILED"), "waitstatus", json!(256)), c::JOB_FAILED, c::FAIL_EXIT_CODE),
            (with(over("FAILED"), "exception", failed("node-failure")), c::JOB_NODE_FAIL, c::FAIL_DOWN_NODE),
        ] {
            let info = shown(&record);
            assert_eq!((info.job_state, info.state_reason), (state, reason), "{record}");
        }
    }

    #[test]
    fn numbers_nodes_and_times_are_what_they_are() {
        let info = shown(
            &json!({ "state": "RUN", "t_run": 110.0, "expiration": 200.0, "ranks": "1-2", "nnodes": 2 }),
        );
        assert_eq!((info.job_id, info.time_limit, info.num_nodes), (Some(12), 2, Some(2)));
        assert_eq!(info.nodes, Text::from("n[1-2]"));
        assert_eq!(info.tres_alloc_str, Text::from("cpu=2,mem=2000M,node=2,billing=2"));
        assert_eq!((info.start_time, info.end_time), (110, 200));
        let info = shown(&json!({ "state": "DEPEND", "dependencies": ["afterok=ƒ2", "singleton"] }));
        assert_eq!(info.dependency, Text::from("afterok:5(unfulfilled),singleton(unfulfilled)"));
        let info = shown(&json!({ "state": "DEPEND", "dependencies": ["afternotok-one=ƒ2"] }));
        assert_eq!(info.dependency, Text::from("afternotok:5(unfulfilled)"));
        let array = json!({ "id": 1, "number": 5, "index": 3, "throttle": 2 });
        let info = shown(&json!({ "array": array }));
        assert_eq!((info.array_job_id, info.array_task_id, info.array_max_tasks), (5, 3, 2));
    }

    #[test]
    fn every_version_writes_it() {
        for version in Version::all() {
            let body = flurm_slurm_protocol::Body::ResponseJobInfo(Box::new(
                flurm_slurm_protocol::structures::JobInfoResponse {
                    record_count: 1,
                    job_ptr: vec![shown(&json!({}))],
                    ..Default::default()
                },
            ));
            let bytes = body.to_bytes(version).unwrap_or_else(|error| panic!("{version}: {error}"));
            assert!(bytes.len() > 100, "{version}");
        }
    }
}
