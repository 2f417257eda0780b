//! Tasks of an MPI program that never asked for PMI have run as so many programs of one task: that is said, once.

use crate::jobs::Job;
use crate::options::pmi::Ask;
use crate::shell::{Key, Shell};
use flurm_wire::exec::What;

impl Shell {
    /// A task of the job has asked for PMI.
    pub(crate) fn spoke(&mut self, key: Key) {
        if let Some(job) = self.jobs.get_mut(&key) {
            job.spoke = true;
        }
    }

    /// When all its tasks here have ended. The node of task 0 speaks for the job.
    pub(crate) fn look_for_singletons(&mut self, key: Key) {
        let Some(job) = self.jobs.get(&key) else { return };
        if let Some(note) = suspicion(job) {
            self.outbox.push(key, What::Warning { kind: "mpi".into(), severity: 3, note }, 0);
        }
    }
}

fn suspicion(job: &Job) -> Option<String> {
    let plan = &job.plan;
    // 126 and 127 are what it says that has never become a program, or lacks a library.
    let ended = libc::WIFEXITED(job.status) && libc::WEXITSTATUS(job.status) < 126;
    let ended_by_itself = !job.ending && !job.abandoned && ended;
    if plan.ntasks < 2 || job.spoke || !ended_by_itself || plan.tasks.first() != Some(&0) {
        return None;
    }
    let library = plan.program.get()?.library()?;
    let (n, offer) = (plan.ntasks, plan.options.pmi);
    let way_out = if offer.wire && offer.pmix != Ask::No {
        "try -o mpi=openmpi or -o mpi=mpich, or start it with the launcher of its MPI"
    } else {
        "leave out -o pmi=… and -o mpi=…, so that it is offered what it needs"
    };
    Some(format!(
        "these look like {n} singletons, each rank 0 of 1: the program is linked with {library}, and its MPI did not find PMI \
         ({way_out})"
    ))
}
