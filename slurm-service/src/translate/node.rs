//! Ranks as nodes.

use crate::conf::{Conf, Node};
use flurm_slurm_protocol::structures::{ExtSensorsData, NodeInfo, PowerMgmtData, SelectNodeinfo};
use flurm_slurm_protocol::{Double, NO_VAL, NO_VAL64, Text, Version, constants as c};
use flurm_wire::resource::StatusInfo;

/// `select/cons_tres`, as Slurm numbers its plugins.
pub const SELECT_CONS_TRES: u32 = 109;

/// All of them, by rank.
pub fn all(conf: &Conf, status: &StatusInfo, started: i64, version: Version) -> Vec<NodeInfo> {
    let one =
        |(rank, node)| one(conf, u32::try_from(rank).unwrap_or(u32::MAX), node, status, started, version);
    conf.nodes.iter().enumerate().map(one).collect()
}

fn one(conf: &Conf, rank: u32, node: &Node, status: &StatusInfo, started: i64, version: Version) -> NodeInfo {
    let taken = status.allocated.node(rank);
    let cores = taken.map_or(0, |taken| taken.cores.len() as u32);
    let gpus = taken.map_or(0, |taken| taken.gpus.len() as u32);
    let drained = status.drained.iter().find(|drained| drained.ranks.contains(rank));
    let narrow = |number: u32| u16::try_from(number).unwrap_or(u16::MAX);
    let taken_tres = if cores == 0 {
        String::new()
    } else {
        let gpus = if gpus > 0 { format!(",gres/gpu={gpus}") } else { String::new() };
        format!("cpu={cores}{gpus}")
    };
    let reason = drained.map(|drained| drained.reason.clone()).or_else(|| {
        let lost = !status.online.contains(rank);
        lost.then(|| "not responding".to_owned())
    });
    let features = (!node.properties.is_empty()).then(|| node.properties.join(","));
    NodeInfo {
        name: Text::from(node.name.as_str()),
        node_hostname: Text::from(node.host.as_str()),
        node_addr: Text::from(node.address.map_or_else(|| node.host.clone(), |at| at.ip().to_string())),
        cert_flags: Some(0),
        port: node.address.map_or(0, |at| at.port()),
        next_state: NO_VAL,
        node_state: state(rank, node, status, cores, drained.is_some()),
        version: Text::from(version.release()),
        cpus: narrow(node.cores),
        boards: 1,
        sockets: narrow(node.sockets.max(1)),
        cores: narrow(node.cores_per_socket()),
        threads: 1,
        real_memory: node.memory_mib.max(1),
        tmp_disk: 0,
        owner: NO_VAL,
        cpu_bind: 0,
        cpus_efctv: narrow(node.cores),
        cpu_load: NO_VAL,
        free_mem: NO_VAL64,
        weight: 1,
        res_cores_per_gpu: Some(0),
        reason_uid: if reason.is_some() { conf.uid } else { NO_VAL },
        reason_time: drained.map_or(0, |drained| drained.since.as_secs_f64() as i64),
        suspend_time: Some(NO_VAL),
        boot_time: started,
        last_busy: started,
        slurmd_start_time: started,
        select_nodeinfo: Some(Box::new(SelectNodeinfo {
            plugin_id: SELECT_CONS_TRES,
            alloc_cpus: narrow(cores),
            alloc_memory: 0,
            tres_alloc_fmt_str: Text::from(taken_tres.as_str()),
            tres_alloc_weighted: Double::new(f64::from(cores)),
        })),
        alloc_cpus: Some(narrow(cores)),
        alloc_memory: Some(0),
        alloc_tres_fmt_str: Text::from(taken_tres),
        arch: Text::from(std::env::consts::ARCH),
        os: Text::from("Linux"),
        features_act: Text::from(features.clone()),
        features: Text::from(features),
        gres: Text::from((node.gpus > 0).then(|| format!("gpu:{}", node.gpus))),
        gres_used: Text::from((node.gpus > 0).then(|| format!("gpu:{gpus}"))),
        reason: Text::from(reason),
        ext_sensors: Some(Box::new(ExtSensorsData {
            consumed_energy: NO_VAL64,
            temperature: NO_VAL,
            energy_update_time: 0,
            current_watts: NO_VAL,
        })),
        power: Some(Box::new(PowerMgmtData { cap_watts: NO_VAL })),
        tres_fmt_str: Text::from(
            super::partition::tres(node.cores, node.memory_mib, 0, node.gpus).replace(",node=0", ""),
        ),
        core_spec_cnt: 0,
        mem_spec_limit: 0,
        energy: flurm_slurm_protocol::structures::AcctGatherEnergy {
            ave_watts: NO_VAL,
            current_watts: NO_VAL,
            ..Default::default()
        },
        ..NodeInfo::default()
    }
}

fn state(rank: u32, node: &Node, status: &StatusInfo, cores: u32, drained: bool) -> u32 {
    let base = if !status.online.contains(rank) {
        return c::NODE_STATE_DOWN | c::NODE_STATE_NO_RESPOND;
    } else if cores == 0 {
        c::NODE_STATE_IDLE
    } else if cores >= node.cores {
        c::NODE_STATE_ALLOCATED
    } else {
        c::NODE_STATE_MIXED
    };
    if drained { base | c::NODE_STATE_DRAIN } else { base }
}
