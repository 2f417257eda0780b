//! Output that goes to files: what the job's log says of it, and what we say there ourselves.

use crate::collective::Collected;
use crate::files::rendered;
use crate::io::Last;
use crate::jobs::{Phase, worse};
use crate::launch::Opened;
use crate::options::Sink;
use crate::shell::{Event, For, Key, Shell, wall};
use flurm_wire::exec::What;
use flurm_wire::rexec::Stream;
use std::fs::File;
use std::io::{self, Write as _};
use std::sync::Arc;

/// Exit code 1, of a job whose tasks have none that is higher.
const LOST_STATUS: i32 = 1 << 8;

/// Nodes that write to one file meet in this collective once each has opened it.
pub(crate) const NAME: &str = "files";

impl Shell {
    /// Its files are open and empty here, and wait for those of the other nodes.
    pub(crate) fn files_opened(&mut self, key: Key, opened: Opened) {
        let Some(job) = self.jobs.get_mut(&key) else { return };
        if let Phase::Launching { ticket, .. } = &mut job.phase {
            *ticket = None;
            job.opened = Some(opened);
            self.collect(key, NAME.to_owned(), &[]);
        }
    }

    pub(crate) fn all_files_opened(&mut self, key: Key, result: Collected) {
        // None are left of one that was told to end.
        let Some(opened) = self.jobs.get_mut(&key).and_then(|job| job.opened.take()) else { return };
        match result {
            Ok(_) => {
                let number = self.ticket(For::Job(key));
                self.launchers.go_on(number, opened);
                if let Some(Phase::Launching { ticket, .. }) =
                    self.jobs.get_mut(&key).map(|job| &mut job.phase)
                {
                    *ticket = Some(number);
                }
            }
            // Whoever could not open them has said so; but it may be that nobody was heard.
            Err(error) => {
                let (status, note) = (1 << 8, format!("not all nodes have opened the output file: {error}"));
                self.outbox.push(key, What::Failed { kind: "exec".into(), note, status }, 0);
                self.abandon(key, status);
            }
        }
    }

    /// Says in the output where it has gone.
    pub(crate) fn redirects(&mut self, key: Key) {
        let Some(job) = self.jobs.get_mut(&key) else { return };
        let mut entries = Vec::new();
        let sinks = [(Stream::Stdout, &job.plan.options.stdout), (Stream::Stderr, &job.plan.options.stderr)];
        for (stream, sink) in sinks {
            let template = match (sink, &job.plan.options.archive) {
                (Sink::Archive, Some(path)) => {
                    let path = job.plan.with_tags(None, |tags| tags.render_known(path));
                    entries.extend(job.output.redirect(stream, &job.plan.tasks, &path, true, wall()));
                    continue;
                }
                (Sink::File { template, .. }, _) => template,
                (Sink::Log | Sink::Archive, _) => continue,
            };
            for local in 0..job.plan.tasks.len() {
                let path = job.plan.with_tags(Some(local), |tags| tags.render_known(template));
                let whole = job.plan.tasks.len() == 1 || template.contains("{{task");
                let tasks = if whole { &job.plan.tasks[local..=local] } else { &job.plan.tasks[..] };
                entries.extend(job.output.redirect(stream, tasks, &path, false, wall()));
                if !whole {
                    break;
                }
            }
        }
        if !entries.is_empty() {
            self.outbox.push(key, What::Output { entries }, 0);
        }
    }

    /// What its tasks have said is nowhere. They go on, since what they compute may still be had; but a job whose output is
    /// not there has not done what it should.
    pub(crate) fn output_lost(&mut self, key: Key, note: String) {
        if let Some(job) = self.jobs.get_mut(&key) {
            job.status = worse(job.status, LOST_STATUS);
        }
        self.outbox.push(key, What::Warning { kind: "output".into(), severity: 3, note }, 0);
    }

    /// Whoever finds nothing but the file of its errors finds there why the job was ended.
    pub(crate) fn say_why(&mut self, key: Key) {
        let Some(job) = self.jobs.get_mut(&key) else { return };
        let Sink::File { template, .. } = &job.plan.options.stderr else { return };
        if job.why.is_empty() || job.plan.node_index > 0 || job.plan.tasks.is_empty() || job.abandoned {
            return;
        }
        let Ok(path) = rendered(&job.plan, 0, template) else { return };
        let line = format!("flurm-shell: job.exception: {}\n", std::mem::take(&mut job.why));
        job.streams += 1;
        let (events, room) = (self.events.clone(), Arc::clone(&job.room));
        tokio::spawn(async move {
            let to = path.clone();
            // A file system may take its time.
            let writer = tokio::task::spawn_blocking(move || {
                File::options().append(true).open(&to)?.write_all(line.as_bytes())
            });
            let written = tokio::select! {
                written = writer => written.map_err(io::Error::other).flatten(),
                () = room.call.heard(Last::Now) => Err(io::Error::new(io::ErrorKind::TimedOut, "no answer")),
            };
            let problem = written.err().map(|e| format!("write to {path}: {e}"));
            // The shell may be leaving.
            let _ = events.send(Event::StreamEnd { key, problem });
        });
    }
}
