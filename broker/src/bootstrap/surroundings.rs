//! Who started this process, and inside of what.

use super::slurm::{self, Job, Step};
use super::{Mistake, Vars, pmi};
use flurm_types::JobId;

/// Who says which rank of how many this is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Launcher {
    Slurm(Step),
    Pmi(pmi::Place),
    Single,
}

/// The instance that this process runs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parent {
    pub uri: String,
    /// None in its initial program, which has all that is there.
    pub task: Option<Task>,
}

/// The task of the parent's job that this process is, or descends from.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct Task {
    pub job: JobId,
    pub rank: u32,
    /// Tasks of the job.
    pub size: u32,
}

/// What the environment says, sorted out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surroundings {
    pub launcher: Launcher,
    /// The Slurm job whose nodes are ours; none below an instance that has taken them.
    pub job: Option<Job>,
    pub parent: Option<Parent>,
    /// This node's name.
    pub host: String,
}

impl Surroundings {
    /// `hostname` is what the node calls itself, if Slurm has no name for it.
    ///
    /// # Errors
    /// The sources contradict each other.
    pub fn find(vars: &Vars, hostname: &str) -> Result<Surroundings, Mistake> {
        let step = Step::find(vars)?;
        // A step of its own is stronger than what was left in the environment that it was submitted from.
        let parent = if step.is_none() { parent(vars) } else { None };
        let job = if parent.is_none() { Job::find(vars) } else { None };
        let host = job.as_ref().and_then(|_| slurm::host(vars)).unwrap_or_else(|| hostname.to_owned());
        let launcher = match (step, pmi::Place::find(vars)) {
            (Some(step), _) => Launcher::Slurm(step),
            (None, Some(place)) => Launcher::Pmi(place),
            (None, None) => Launcher::Single,
        };
        Ok(Surroundings { launcher, job, parent, host })
    }
}

fn parent(vars: &Vars) -> Option<Parent> {
    let uri = vars.get("FLURM_URI").filter(|uri| !uri.is_empty())?.clone();
    let number = |name: &str| vars.get(name)?.trim().parse().ok();
    let task = vars.get("FLURM_JOB_ID").and_then(|id| id.parse().ok()).map(|job| Task {
        job,
        rank: number("FLURM_TASK_RANK").unwrap_or(0),
        size: number("FLURM_JOB_SIZE").unwrap_or(1),
    });
    Some(Parent { uri, task })
}

#[cfg(test)]
mod tests {
    use super::super::slurm::tests::{step, vars};
    use super::*;

    fn find(vars: &Vars) -> Surroundings {
        Surroundings::find(vars, "own").unwrap()
    }

    fn with(mut all: Vars, more: &[(&str, &str)]) -> Vars {
        all.extend(vars(more));
        all
    }

    const PMI: [(&str, &str); 3] = [("PMI_FD", "9"), ("PMI_RANK", "1"), ("PMI_SIZE", "4")];

    #[test]
    fn a_step_of_slurm_comes_before_pmi() {
        let found = find(&with(step("1"), &PMI));
        assert!(matches!(&found.launcher, Launcher::Slurm(step) if step.rank == 1), "{found:?}");
        assert_eq!((found.host.as_str(), found.parent), ("c2", None));
        assert!(found.job.is_some());
    }

    #[test]
    fn pmi_alone_and_nothing_at_all_are_understood() {
        let found = find(&vars(&PMI));
        assert!(matches!(found.launcher, Launcher::Pmi(place) if place.rank == 1), "{found:?}");
        let found = find(&Vars::new());
        assert_eq!((found.launcher, found.host.as_str()), (Launcher::Single, "own"));
    }

    #[test]
    fn a_job_of_flurm_is_not_a_step_of_slurm() {
        let mut job = with(step("0"), &PMI);
        job.retain(|name, _| !name.contains("SRUN_COMM"));
        let task = [("FLURM_JOB_ID", "f2"), ("FLURM_JOB_SIZE", "4"), ("FLURM_TASK_RANK", "3")];
        let job = with(with(job, &task), &[("FLURM_URI", "local:///x")]);
        let found = find(&job);
        assert!(matches!(found.launcher, Launcher::Pmi(_)), "{found:?}");
        let task = Some(Task { job: JobId(1), rank: 3, size: 4 });
        assert_eq!(found.parent, Some(Parent { uri: "local:///x".into(), task }));
        assert_eq!(found.job, None);
    }

    #[test]
    fn an_initial_program_is_alone_in_a_step_that_is_taken() {
        let taken = with(
            step("0"),
            &[(slurm::OUTER_STEP, "stb-123.0-198.51.100.11-36473"), ("FLURM_URI", "local:///x")],
        );
        let found = find(&taken);
        assert_eq!((found.launcher, found.job), (Launcher::Single, None));
        assert_eq!(found.parent, Some(Parent { uri: "local:///x".into(), task: None }));
    }

    #[test]
    fn a_step_submitted_from_inside_an_instance_is_a_step() {
        let left = [("FLURM_URI", "local:///gone"), ("FLURM_JOB_ID", "f1"), (slurm::OUTER_STEP, "other")];
        let found = find(&with(step("2"), &left));
        assert!(matches!(found.launcher, Launcher::Slurm(_)), "{found:?}");
        assert_eq!(found.parent, None);
    }
}
