//! `scontrol update job`, `hold` and `release`: what is to become of a job that is there.

use super::number::{given, given_u16};
use super::part::Part;
use super::refusal::Refusal;
use super::site::Site;
use super::{feature, submit};
use flurm_slurm_protocol::structures::JobDescMsg;
use flurm_slurm_protocol::{INFINITE, NO_VAL, NO_VAL16, NO_VAL64, Text, constants, errors};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Before the key of a remark that a job has another value for something in [`Part`].
pub const REMARK: &str = "slurm.";

/// That a job was stopped by `scontrol suspend`.
pub const SUSPENDED: &str = "slurm.suspended";

/// What is to be done.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Changes {
    pub urgency: Option<u8>,
    /// What the job's request says now: keys of its jobspec.
    pub updates: BTreeMap<String, Value>,
    /// When it is to end, in seconds since 1970.
    pub end: Option<i64>,
    /// What is only shown.
    pub remarks: Map<String, Value>,
}

impl Changes {
    /// Only a job that waits can have them.
    pub fn are_for_waiting(&self) -> bool {
        self.urgency.is_some() || self.updates.keys().any(|key| key != DURATION)
    }
}

const DURATION: &str = "attributes.system.duration";

/// Reads a message in which most fields say nothing.
///
/// # Errors
/// A field that cannot be changed.
pub fn read(desc: &JobDescMsg, part: &Part, site: &Site) -> Result<Changes, Refusal> {
    check(desc)?;
    let text = |text: &Text| text.as_str().map(str::to_owned);
    let urgency = match desc.priority {
        NO_VAL => {
            given(desc.nice).map(|nice| submit::of_nice(i64::from(nice) - i64::from(constants::NICE_OFFSET)))
        }
        INFINITE => Some(part.nice.map_or_else(|| submit::of_nice(0), submit::of_nice)),
        priority => Some(submit::of_priority(priority)),
    };
    let mut changes = Changes { urgency, ..Changes::default() };
    let mut update = |key: &str, value: Value| {
        changes.updates.insert(format!("attributes.system.{key}"), value);
    };
    if desc.time_limit != NO_VAL {
        update("duration", submit::duration(desc.time_limit));
    }
    if let Some(name) = text(&desc.name) {
        update("job.name", name.into());
    }
    if let Some(name) = text(&desc.partition) {
        match site.partitions.get(&name) {
            Some(Some(queue)) => update("queue", queue.as_str().into()),
            Some(None) => {}
            None => {
                let text = format!("Partition={name}: there is no such queue");
                return Err(Refusal::new(errors::ESLURM_INVALID_PARTITION_NAME, text));
            }
        }
    }
    if !(desc.features.is_null() && desc.req_nodes.is_null() && desc.exc_nodes.is_null()) {
        let or = |new: &Text, old: &Option<String>| {
            if new.is_null() { Text::from(old.clone()) } else { new.clone() }
        };
        let whole = JobDescMsg {
            features: or(&desc.features, &part.features),
            req_nodes: or(&desc.req_nodes, &part.req_nodes),
            exc_nodes: or(&desc.exc_nodes, &part.exc_nodes),
            ..JobDescMsg::default()
        };
        update("constraints", feature::constraint(&whole, site)?.0.to_json());
    }
    changes.end = (desc.end_time > 0).then_some(desc.end_time);
    let mut remark = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            changes.remarks.insert(format!("{REMARK}{key}"), value);
        }
    };
    for (key, of) in [
        ("comment", &desc.comment),
        ("admin-comment", &desc.admin_comment),
        ("extra", &desc.extra),
        ("qos", &desc.qos),
        ("wckey", &desc.wckey),
        ("mail-user", &desc.mail_user),
        ("features", &desc.features),
        ("req-nodes", &desc.req_nodes),
        ("exc-nodes", &desc.exc_nodes),
    ] {
        remark(key, text(of).map(Value::from));
    }
    remark("requeue", given_u16(desc.requeue).map(|requeue| Value::from(requeue != 0)));
    remark("nice", given(desc.nice).map(|nice| (i64::from(nice) - i64::from(constants::NICE_OFFSET)).into()));
    Ok(changes)
}

/// The first field that is said and cannot be changed.
fn check(desc: &JobDescMsg) -> Result<(), Refusal> {
    let fixed = [
        ("Account", !desc.account.is_null()),
        ("ArrayTaskThrottle", !desc.array_inx.is_null()),
        ("BurstBuffer", !desc.burst_buffer.is_null()),
        ("Clusters", !desc.clusters.is_null()),
        ("ClusterFeatures", !desc.cluster_features.is_null()),
        ("Contiguous", desc.contiguous != NO_VAL16),
        ("CoreSpec", desc.core_spec != NO_VAL16),
        ("CPUsPerTask", desc.cpus_per_task != NO_VAL16),
        ("Deadline", desc.deadline != 0),
        ("Dependency", !desc.dependency.is_null()),
        ("StartTime", desc.begin_time != 0),
        ("Gres", !(desc.tres_per_node.is_null() && desc.tres_per_job.is_null())),
        ("Licenses", !desc.licenses.is_null()),
        ("MailType", desc.mail_type != NO_VAL16 && desc.mail_type != 0),
        ("MCS_label", !desc.mcs_label.is_null()),
        ("MinCPUsNode", desc.pn_min_cpus != NO_VAL16),
        ("MinMemoryNode", desc.pn_min_memory != NO_VAL64),
        ("MinTmpDiskNode", desc.pn_min_tmp_disk != NO_VAL),
        ("Network", !desc.network.is_null()),
        ("NumCPUs", desc.min_cpus != NO_VAL || desc.max_cpus != NO_VAL),
        ("NumNodes", desc.min_nodes != NO_VAL || desc.max_nodes != NO_VAL),
        ("NumTasks", desc.num_tasks != NO_VAL),
        ("OverSubscribe", desc.shared != NO_VAL16),
        ("Prefer", !desc.prefer.is_null()),
        ("ReservationName", !desc.reservation.is_null()),
        ("StdOut", !desc.std_out.is_null()),
        ("Switches", desc.req_switch != NO_VAL),
        ("TimeMin", desc.time_min != NO_VAL),
        ("UserID", desc.user_id != NO_VAL),
        ("WorkDir", !desc.work_dir.is_null()),
    ];
    match fixed.into_iter().find(|(_, is_said)| *is_said) {
        None => Ok(()),
        Some((name, _)) => {
            Err(Refusal::unsupported(name, "it stays as it was asked for; submit another job"))
        }
    }
}
