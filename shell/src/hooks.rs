//! Programs of the user's on each node of a job: one before its tasks, one after.
//!
//! ```text
//! prolog --0--> all nodes have had theirs --> tasks --> gone --> epilog --> the job's end is reported
//!    `--otherwise: the job fails with type `prolog`---------------^  `--otherwise: a note in its eventlog
//! ```
//!
//! A hook is a family of its own: what it leaves behind is ended before anything else happens. An epilog runs wherever
//! the job has come to, also after a prolog that has failed, since that may have done half of its work.

use crate::collective::Collected;
use crate::end::Field;
use crate::env::Block;
use crate::jobs::Job;
use crate::launch::{Launched, Work};
use crate::shell::{For, Key, Owner, Shell, Timer};
use crate::wrap;
use flurm_types::exit_code;
use flurm_wire::exec::What;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// All nodes meet in this collective before tasks start.
pub(crate) const NAME: &str = flurm_wire::exec::PROLOG;

/// One that runs.
#[derive(Debug)]
pub(crate) struct Hook {
    key: Key,
    kind: Kind,
    program: String,
    end_at: Option<Instant>,
    late: bool,
    status: Option<i32>,
    /// Why it could not be started.
    failed: Option<String>,
}

#[derive(Copy, Clone, Debug, Eq, PartialEq)]
enum Kind {
    Prolog,
    Epilog,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Prolog => "prolog",
            Kind::Epilog => "epilog",
        }
    }
}

impl Hook {
    /// What is to be said of its end; nothing when all is well.
    fn problem(&self, host: &str, limit_s: Option<f64>) -> Option<String> {
        let what = match (&self.failed, self.late, self.status) {
            (Some(why), ..) => format!("cannot be started: {why}"),
            (None, true, _) => format!("took longer than {} s", limit_s.unwrap_or_default()),
            (None, false, Some(0)) => return None,
            (None, false, status) => wrap::said(status.unwrap_or(libc::SIGKILL)),
        };
        Some(format!("{} {} on {host} {what}", self.kind.name(), self.program))
    }
}

impl Shell {
    /// Runs the job's prolog, or starts its tasks if it has none.
    pub(crate) fn prolog(&mut self, key: Key) {
        let Some(job) = self.jobs.get(&key) else { return };
        let Some(program) = job.plan.options.hooks.prolog.clone() else { return self.launch(key) };
        if !self.start_hook(key, Kind::Prolog, &program) {
            self.prolog_failed(key, "too many jobs run here".to_owned());
        }
    }

    /// Runs the job's epilog, if one is due; true while it has not ended.
    pub(crate) fn epilog(&mut self, key: Key) -> bool {
        let leaving = self.is_leaving();
        let Some(job) = self.jobs.get_mut(&key) else { return false };
        if !std::mem::take(&mut job.epilog_due) || leaving {
            return false;
        }
        let Some(program) = job.plan.options.hooks.epilog.clone() else { return false };
        // The tasks' pipes are at their end; the epilog's have just begun.
        job.room.call.take_back();
        self.timers.retain(|(_, of, timer)| (*of, *timer) != (key, Timer::Linger));
        self.start_hook(key, Kind::Epilog, &program)
    }

    fn start_hook(&mut self, key: Key, kind: Kind, program: &str) -> bool {
        let Some(job) = self.jobs.get(&key) else { return false };
        let (plan, base) = (Arc::clone(&job.plan), Arc::clone(&job.base));
        let program = plan.with_tags(None, |tags| tags.render_known(program));
        let limit = plan.options.hooks.timeout_s.and_then(|secs| Duration::try_from_secs_f64(secs).ok());
        let mut variables = Block::default();
        variables.push("FLURM_HOOK", kind.name());
        if kind == Kind::Epilog {
            variables.push("FLURM_JOB_EXIT_CODE", &exit_code(job.status).to_string());
        }
        let prepares = kind == Kind::Prolog;
        let Some((field, tag)) = self.families.found() else { return false };
        let work = Work::Hook { plan, base, program: program.clone(), variables, prepares };
        self.order(For::Hook(field), tag, work);
        let end_at = limit.and_then(|limit| Instant::now().checked_add(limit));
        self.timers.extend(end_at.map(|at| (at, key, Timer::Hook)));
        let hook = Hook { key, kind, program, end_at, late: false, status: None, failed: None };
        self.hooks.insert(field, hook);
        if let Some(job) = self.jobs.get_mut(&key) {
            job.hook = Some(field);
        }
        true
    }

    pub(crate) fn hook_launched(&mut self, field: Field, launched: Launched) {
        let Some(hook) = self.hooks.get_mut(&field) else { return };
        let key = hook.key;
        hook.failed = launched.failure.map(|failure| failure.note);
        let pids = launched.children.iter().map(|child| child.pid);
        self.families.started(field, pids, &launched.ended);
        let Some(job) = self.jobs.get_mut(&key) else { return };
        // Its output is that of the first task here.
        let task = job.plan.tasks.first().copied().unwrap_or(0);
        let mut unheard = None;
        for child in launched.children {
            self.owners.insert(child.pid, Owner::Hook(field));
            for outlet in child.outputs {
                let read = job.read(key, task, outlet.stream, outlet.pipe, self.events.clone());
                unheard = read.err().or(unheard);
            }
        }
        if let Some(note) = unheard {
            self.output_lost(key, note);
        }
        // It has been told to end before it was there.
        if !self.waits_to_launch(key) && self.hooks.get(&field).is_some_and(|hook| hook.kind == Kind::Prolog)
        {
            let grace = self.jobs.get(&key).map_or(Duration::ZERO, Job::grace);
            self.families.end(field, Instant::now(), grace);
        }
    }

    pub(crate) fn hook_exited(&mut self, field: Field, status: i32) {
        if let Some(hook) = self.hooks.get_mut(&field) {
            hook.status = Some(status);
        }
    }

    pub(crate) fn hook_late(&mut self, key: Key, now: Instant) {
        let Some(job) = self.jobs.get(&key) else { return };
        let (Some(field), grace) = (job.hook, job.grace()) else { return };
        if let Some(hook) = self.hooks.get_mut(&field).filter(|hook| hook.end_at.is_some_and(|at| at <= now))
        {
            hook.late |= hook.status.is_none();
            self.families.end(field, now, grace);
        }
    }

    /// Nothing is left of it.
    pub(crate) fn hook_over(&mut self, hook: Hook, now: Instant) {
        let key = hook.key;
        let waits = self.waits_to_launch(key);
        let Some(job) = self.jobs.get_mut(&key) else { return };
        job.hook = None;
        let problem = hook.problem(&job.plan.node.host, job.plan.options.hooks.timeout_s);
        let meets = job.plan.nnodes > 1 && !job.plan.tasks.is_empty();
        let streams = job.streams;
        match (hook.kind, problem) {
            // One that was ended with its job has failed nothing.
            (Kind::Prolog, _) if !waits => {}
            (Kind::Prolog, Some(note)) => self.prolog_failed(key, note),
            (Kind::Prolog, None) if meets => self.collect(key, NAME.to_owned(), &[]),
            (Kind::Prolog, None) => self.launch(key),
            (Kind::Epilog, None) => {}
            (Kind::Epilog, Some(note)) => {
                self.outbox.push(key, What::Warning { kind: "epilog".into(), severity: 3, note }, 0);
            }
        }
        if streams > 0 && hook.kind == Kind::Epilog {
            self.linger(key, now);
        }
        self.finish(key);
    }

    pub(crate) fn all_prologs_over(&mut self, key: Key, result: Collected) {
        match result {
            Ok(_) => self.launch(key),
            // Where a prolog failed the job has been failed, and this one is told to end. But it may be that nobody was heard.
            Err(error) if self.waits_to_launch(key) => {
                self.prolog_failed(key, format!("not all prologs have been heard of: {error}"));
            }
            Err(error) => tracing::info!(job = %key.0.f58(), error, "tasks are not started"),
        }
    }

    fn prolog_failed(&mut self, key: Key, note: String) {
        let status = 1 << 8;
        self.outbox.push(key, What::Failed { kind: NAME.into(), note, status }, 0);
        self.abandon(key, status);
    }
}
