//! The environment of tasks: what the user submitted, without what an outer launcher left there, and what a task
//! of this job is to know of itself.
//!
//! Thousands of jobs share one submitted environment. It is turned into C strings once; a job and a task add
//! their own few on top.

use crate::filter::{self, Fate};
use flurm_types::Environment;
use std::borrow::Cow;
use std::ffi::{CString, c_char};
use std::sync::Mutex;

/// `NAME=VALUE` strings as `execve` takes them.
#[derive(Debug, Clone, Default)]
pub struct Block {
    text: Vec<u8>,
    starts: Vec<usize>,
}

impl Block {
    /// A value with a NUL in it cannot be passed to a program and is left out.
    pub fn push(&mut self, name: &str, value: &str) {
        self.push_as("", name, value);
    }

    /// The same under a name in two parts.
    pub fn push_as(&mut self, prefix: &str, name: &str, value: &str) {
        let parts = [prefix, name, "=", value].map(str::as_bytes);
        if parts.iter().any(|part| part.contains(&0)) {
            return;
        }
        self.starts.push(self.text.len());
        parts.iter().for_each(|part| self.text.extend_from_slice(part));
        self.text.push(0);
    }

    pub fn len(&self) -> usize {
        self.starts.len()
    }

    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// Valid as long as the block is neither changed nor dropped.
    pub fn pointers(&self) -> impl Iterator<Item = *const c_char> + '_ {
        self.starts.iter().map(|start| self.text[*start..].as_ptr().cast())
    }

    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.starts.iter().map(|start| {
            let rest = &self.text[*start..];
            let len = rest.iter().position(|b| *b == 0).unwrap_or(rest.len());
            std::str::from_utf8(&rest[..len]).expect("made of two strings")
        })
    }
}

/// What all jobs with one submitted environment share.
#[derive(Debug, Default)]
pub struct Base {
    pub block: Block,
    /// Where commands are looked for.
    pub path: Option<String>,
    /// Variables with a `{{tag}}`, which differ from job to job.
    pub templated: Vec<(String, String)>,
    /// What the submitter's process could see of GPUs. A task gets its own list, unless the user does not want one.
    pub gpus: Vec<(String, String)>,
    /// Names that no task inherits.
    pub removed: Vec<String>,
    /// Where the last command was found: bulk submissions run the same one again and again.
    found: Mutex<Option<(String, CString)>>,
}

impl Base {
    /// A variable that all these jobs have.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.block.iter().find_map(|variable| variable.strip_prefix(name)?.strip_prefix('='))
    }

    /// Remembers the program that `find` finds for this command, unless it depends on the directory of the job.
    ///
    /// # Errors
    /// Those of `find`.
    pub fn program<E>(&self, command: &str, find: impl FnOnce() -> Result<CString, E>) -> Result<CString, E> {
        let mut found = self.found.lock().expect("nothing panics while it holds the last command");
        if let Some((of, program)) = &*found
            && of == command
        {
            return Ok(program.clone());
        }
        let program = find()?;
        let fixed = self.path.as_ref().is_none_or(|path| path.split(':').all(|dir| dir.starts_with('/')));
        if fixed && !command.contains('/') {
            *found = Some((command.to_owned(), program.clone()));
        }
        Ok(program)
    }
}

/// Lists of visible GPUs: whatever a task gets, what its submitter saw is not it.
const GPU_LISTS: [&str; 5] = [
    "CUDA_VISIBLE_DEVICES",
    "ROCR_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "GPU_DEVICE_ORDINAL",
    "ZE_AFFINITY_MASK",
];

/// A Slurm job's own values go on under this name, for whoever must speak to the outer Slurm.
const OUTER: &str = "FLURM_OUTER_";

/// What [`crate::plan`] tells each task of a job whose other variables of Slurm are the submitter's.
pub const SLURM_OF_TASKS: [&str; 6] =
    ["SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID", "SLURM_GTIDS", "SLURM_CPUS_ON_NODE", "SLURM_CONF"];

/// Turns a submitted environment into what its jobs share; `exact`: Slurm's variables stay as they are.
pub fn base(environment: &Environment, exact: bool) -> Base {
    // Inside a job of ours the outer values have their new names already; SLURM_* are then the job's own.
    let renamed = environment.keys().any(|name| name.starts_with("FLURM_OUTER_SLURM"));
    let own_conf = own_conf(environment);
    let mut base = Base::default();
    for (name, value) in environment {
        let Some(value) = value else { continue };
        let slurm = exact && name.starts_with("SLURM") && !SLURM_OF_TASKS.contains(&name.as_str());
        let name = if !slurm && filter::fate(name) != Fate::Stays {
            base.removed.push(name.clone());
            let is_own = name == "SLURM_CONF" && own_conf.as_ref() == Some(value);
            if renamed || exact || is_own || !name.starts_with("SLURM") {
                continue;
            }
            Cow::Owned(format!("{OUTER}{name}"))
        } else {
            Cow::Borrowed(name.as_str())
        };
        if name == "PATH" {
            base.path = Some(value.clone());
        }
        if GPU_LISTS.contains(&&*name) || name == "CUDA_DEVICE_ORDER" {
            base.gpus.push((name.into_owned(), value.clone()));
        } else if value.contains("{{") {
            base.templated.push((name.into_owned(), value.clone()));
        } else {
            base.block.push(&name, value);
        }
    }
    base
}

/// Where the submitter's instance, which `FLURM_URI` names, has its configuration for Slurm's commands: that is nothing
/// of the cluster around it.
fn own_conf(environment: &Environment) -> Option<String> {
    let uri = environment.get("FLURM_URI")?.as_deref()?;
    let rundir = uri.strip_prefix("local://")?.strip_suffix("/local")?;
    Some(format!("{rundir}/{}", flurm_wire::slurm::CONF))
}

/// For programs that are no job's tasks (the initial program, `flurm exec`): as given, but with this instance's
/// address, and without the descriptors of a launcher that are not open here. Where Slurm's commands are answered, what
/// would lead them to the outer cluster has another name.
pub fn plain(environment: &Environment, uri: &str, slurm_conf: Option<&str>) -> Base {
    let renamed = environment.keys().any(|name| name.starts_with("FLURM_OUTER_SLURM"));
    let mut base = Base::default();
    for (name, value) in environment {
        let Some(value) = value else { continue };
        let of_job =
            ["FLUX_JOB_", "FLURM_JOB_", "FLUX_TASK_", "FLURM_TASK_"].iter().any(|p| name.starts_with(p));
        if of_job || filter::fate(name) == Fate::Launcher || name == "FLURM_URI" || name == "FLUX_URI" {
            continue;
        }
        if name == "PATH" {
            base.path = Some(value.clone());
        }
        if slurm_conf.is_some() && (name.starts_with("SLURM_") || name.starts_with("SLURMD_")) {
            if !renamed {
                base.block.push_as(OUTER, name, value);
            }
            continue;
        }
        base.block.push(name, value);
    }
    if let Some(conf) = slurm_conf {
        base.block.push("SLURM_CONF", conf);
    }
    base.block.push("FLURM_URI", uri);
    base.block.push("FLUX_URI", uri);
    base
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(list: &[(&str, &str)]) -> Environment {
        list.iter().map(|(n, v)| ((*n).to_owned(), Some((*v).to_owned()))).collect()
    }

    #[test]
    fn the_outer_launcher_leaves_only_its_slurm_values_under_another_name() {
        let outer = environment(&[
            ("HOME", "/h"),
            ("OMPI_COMM_WORLD_SIZE", "4"),
            ("OMPI_MCA_btl", "self,tcp"),
            ("PMI_FD", "7"),
            ("FLUX_JOB_CC", "3"),
            ("FLUX_JOB_ID", "x"),
            ("SLURM_JOB_ID", "12"),
            ("T", "{{id}}"),
            ("I_MPI_PMI_LIBRARY", "/usr/lib/libpmi.so"),
        ]);
        let base = base(&outer, false);
        let left: Vec<&str> = base.block.iter().collect();
        assert_eq!(
            left,
            ["FLUX_JOB_CC=3", "HOME=/h", "OMPI_MCA_btl=self,tcp", "FLURM_OUTER_SLURM_JOB_ID=12"]
        );
        assert_eq!(base.templated, [("T".to_owned(), "{{id}}".to_owned())]);
    }

    #[test]
    fn the_configuration_of_the_instance_itself_is_not_the_outer_one() {
        let submitted = |conf: &str| {
            let vars = [("FLURM_URI", "local:///run/x/0/local"), ("SLURM_CONF", conf)];
            let base = base(&environment(&vars), false);
            base.block.iter().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(submitted("/run/x/0/slurm/slurm.conf"), [] as [&str; 0]);
        assert_eq!(submitted("/etc/slurm.conf"), ["FLURM_OUTER_SLURM_CONF=/etc/slurm.conf"]);
    }

    #[test]
    fn a_job_submitted_by_a_job_keeps_the_outermost_values() {
        let inner =
            environment(&[("FLURM_OUTER_SLURM_JOB_ID", "12"), ("SLURM_JOB_ID", "1"), ("SLURM_PROCID", "0")]);
        assert_eq!(base(&inner, false).block.iter().collect::<Vec<_>>(), ["FLURM_OUTER_SLURM_JOB_ID=12"]);
    }
}
