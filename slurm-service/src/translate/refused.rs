//! Options that mean something which is not here: each is refused by name, with Slurm's own number where it has one.

use super::number::{given, given_u16};
use super::refusal::Refusal;
use super::site::Site;
use flurm_slurm_protocol::structures::{JobDescMsg, LaunchTasksRequestMsg};
use flurm_slurm_protocol::{NO_VAL, Text, constants, errors};

fn said(text: &Text) -> bool {
    text.get().is_some_and(|text| !text.is_empty())
}

/// Words that are not UTF-8 have no place in a jobspec, and another word is not what was asked for.
fn bytes(what: &str, text: &Text) -> Result<(), Refusal> {
    match text.is_null() || text.as_str().is_some() {
        true => Ok(()),
        false => Err(Refusal::new(
            errors::ESLURM_NOT_SUPPORTED,
            format!("{what} `{}` is not UTF-8: a job here cannot have it", text.lossy()),
        )),
    }
}

/// Arguments and variables, which go to a script as they are or not at all.
pub fn bytes_of_script(desc: &JobDescMsg) -> Result<(), Refusal> {
    desc.argv.iter().try_for_each(|word| bytes("the argument", word))?;
    desc.environment.iter().try_for_each(|pair| bytes("the variable", pair))
}

/// Where the job is, and what it reads and writes.
pub fn bytes_of_paths(desc: &JobDescMsg) -> Result<(), Refusal> {
    bytes("the working directory", &desc.work_dir)?;
    for file in [&desc.std_in, &desc.std_out, &desc.std_err] {
        bytes("the file name", file)?;
    }
    Ok(())
}

/// The same for what `srun` launches.
pub fn bytes_of_step(asked: &LaunchTasksRequestMsg) -> Result<(), Refusal> {
    asked.argv.iter().try_for_each(|word| bytes("the argument", word))?;
    asked.env.iter().try_for_each(|pair| bytes("the variable", pair))?;
    bytes("the working directory", &asked.cwd)?;
    for file in [&asked.ifname, &asked.ofname, &asked.efname] {
        bytes("the file name", file)?;
    }
    Ok(())
}

/// The first option that cannot be honoured.
pub fn check(desc: &JobDescMsg, site: &Site) -> Result<(), Refusal> {
    use errors::*;
    let owner = &site.owner;
    let clusters =
        desc.clusters.as_str().is_some_and(|list| list.split(',').any(|name| name != site.cluster));
    let frequency = [desc.cpu_freq_min, desc.cpu_freq_max, desc.cpu_freq_gov].iter().any(|f| *f != NO_VAL);
    for (is_asked, code, text) in [
        (
            given(desc.user_id).is_some_and(|uid| uid != owner.uid),
            ESLURM_USER_ID_MISSING,
            "--uid: jobs here are their owner's",
        ),
        (
            given(desc.group_id).is_some_and(|gid| gid != owner.gid),
            ESLURM_GROUP_ID_MISSING,
            "--gid: jobs here have the group that the instance has",
        ),
        (clusters, ESLURM_INVALID_CLUSTER_NAME, "--clusters: there is one cluster here"),
        (
            said(&desc.cluster_features),
            ESLURM_INVALID_CLUSTER_FEATURE,
            "--cluster-constraint: there is one cluster here",
        ),
        (said(&desc.container), ESLURM_CONTAINER_NOT_CONFIGURED, "--container: start it in the script"),
        (
            said(&desc.burst_buffer),
            ESLURM_INVALID_BURST_BUFFER_REQUEST,
            "--bb: there are no burst buffers here",
        ),
        (said(&desc.licenses), ESLURM_INVALID_LICENSES, "--licenses: there are none here"),
        (said(&desc.reservation), ESLURM_RESERVATION_INVALID, "--reservation: there are none here"),
        (
            said(&desc.mcs_label) || desc.shared == 3,
            ESLURM_INVALID_MCS_LABEL,
            "--mcs-label, --exclusive=mcs: nodes have no labels here",
        ),
        (said(&desc.prefer), ESLURM_INVALID_PREFER, "--prefer: a feature is demanded here (-C) or it is not"),
        (
            given(desc.pn_min_tmp_disk).is_some_and(|mib| mib > 0),
            ESLURM_REQUESTED_NODE_CONFIG_UNAVAILABLE,
            "--tmp: nobody knows how much disk a node has",
        ),
        (desc.mail_type != 0, ESLURM_NOT_SUPPORTED, "--mail-type: nobody sends mail here (NONE is fine)"),
        (desc.kill_on_node_fail == 0, ESLURM_NOT_SUPPORTED, "--no-kill: a lost node ends the jobs on it"),
        (desc.contiguous == 1, ESLURM_NOT_SUPPORTED, "--contiguous: nodes have no order here"),
        (given(desc.req_switch).is_some(), ESLURM_NOT_SUPPORTED, "--switches: they are not known here"),
        (
            given_u16(desc.core_spec).is_some_and(|n| n & 0x7fff > 0),
            ESLURM_NOT_SUPPORTED,
            "--core-spec, --thread-spec: no cores are set apart here",
        ),
        (desc.reboot == 1, ESLURM_NOT_SUPPORTED, "--reboot: nodes are not ours to reboot"),
        (
            desc.power_flags.is_some_and(|flags| flags != 0),
            ESLURM_NOT_SUPPORTED,
            "--power: it is not managed",
        ),
        (
            !matches!(desc.profile, 0 | 1 | NO_VAL),
            ESLURM_NOT_SUPPORTED,
            "--profile: nothing is sampled here (none is fine)",
        ),
        (frequency, ESLURM_NOT_SUPPORTED, "--cpu-freq: clocks are not set here"),
        (said(&desc.tres_freq), ESLURM_NOT_SUPPORTED, "--gpu-freq: clocks are not set here"),
        (said(&desc.network), ESLURM_NOT_SUPPORTED, "--network: the network is not ours to set up"),
        (said(&desc.acctg_freq), ESLURM_NOT_SUPPORTED, "--acctg-freq: usage is sampled every two seconds"),
        (desc.x11 != 0, ESLURM_NOT_SUPPORTED, "--x11: displays are not forwarded"),
        (
            desc.bitflags & u64::from(constants::GRES_ENFORCE_BIND) != 0,
            ESLURM_NOT_SUPPORTED,
            "--gres-flags=enforce-binding: cores and GPUs of a node are chosen apart",
        ),
        (
            desc.bitflags & u64::from(constants::NO_KILL_INV_DEP) != 0,
            ESLURM_NOT_SUPPORTED,
            "--kill-on-invalid-dep=no: a job whose dependency can never be met is ended here",
        ),
        (
            desc.oom_kill_step.is_some_and(|step| given_u16(step).is_some_and(|step| step != 0)),
            ESLURM_NOT_SUPPORTED,
            "--oom-kill-step: the kernel ends single processes here",
        ),
        (
            desc.segment_size.is_some_and(|size| given_u16(size).is_some_and(|size| size != 0)),
            ESLURM_NOT_SUPPORTED,
            "--segment: switches are not known here",
        ),
        (
            desc.deadline != 0,
            ESLURM_NOT_SUPPORTED,
            "--deadline: a job waits until it starts or is cancelled; --time and --begin are kept",
        ),
    ] {
        if is_asked {
            return Err(Refusal::new(code, text));
        }
    }
    Ok(())
}
