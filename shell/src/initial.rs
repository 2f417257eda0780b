//! The initial program: what an instance on this rank was started for.
//!
//! It is nobody's job. The broker of rank 0 asks for it once, and is told its status until it has understood:
//!
//! ```text
//! None -> Starting -> Running -> Exited -> Told
//! ```

use crate::end::{Exit, Field, GRACE_MS};
use crate::env;
use crate::launch::{Launched, Work};
use crate::shell::{Event, For, Owner, REPEAT, RETRY, Shell};
use flurm_client::Client;
use flurm_wire::Dest;
use flurm_wire::shell::{InitialExited, KillInitial, StartInitial};
use std::time::{Duration, Instant};

#[derive(Debug)]
pub(crate) enum Initial {
    None,
    /// A signal that came before the program was there.
    Starting {
        field: Field,
        signum: Option<i32>,
    },
    Running {
        field: Field,
    },
    /// To be told to the broker.
    Exited {
        status: i32,
        sending: bool,
    },
    Told,
}

impl Shell {
    pub(crate) fn start_initial(&mut self, start: StartInitial) {
        if !matches!(self.initial, Initial::None) || self.is_leaving() {
            return;
        }
        let (Some(place), Some((field, tag))) = (self.place.clone(), self.families.found()) else { return };
        self.initial = Initial::Starting { field, signum: None };
        let base = env::plain(&start.environment, &place.uri, place.slurm_conf.as_deref());
        self.order(For::Initial, tag, Work::Initial { command: start.command, cwd: start.cwd, base });
    }

    pub(crate) fn initial_launched(&mut self, launched: Launched) {
        let Initial::Starting { field, signum } = self.initial else { return };
        let pids = launched.children.iter().map(|child| child.pid);
        self.families.started(field, pids, &launched.ended);
        match launched.failure {
            Some(failure) => {
                // Nobody else would tell the user, who looks at this very terminal.
                eprintln!("error: start the initial program: {}", failure.note);
                self.initial = Initial::Exited { status: failure.status, sending: false };
            }
            None => {
                self.initial = Initial::Running { field };
                self.owners.extend(launched.children.iter().map(|child| (child.pid, Owner::Initial)));
                if let Some(signum) = signum {
                    self.families.signal(field, signum);
                }
            }
        }
    }

    pub(crate) fn kill_initial(&mut self, kill: &KillInitial) {
        match &mut self.initial {
            Initial::Starting { signum, .. } => *signum = Some(kill.signum),
            Initial::Running { field } => {
                self.families.signal(*field, kill.signum);
                if kill.end {
                    self.families.end(*field, Instant::now(), Duration::from_millis(GRACE_MS));
                }
            }
            Initial::None | Initial::Exited { .. } | Initial::Told => {}
        }
    }

    pub(crate) fn initial_exited(&mut self, exit: Exit) {
        let terminal = std::io::stdin();
        // The terminal is the broker's again, if it was lent to the program at all.
        if rustix::termios::tcgetpgrp(&terminal).is_ok_and(|group| group.as_raw_pid() == exit.pid) {
            // It may have been hung up just now.
            let _ = rustix::termios::tcsetpgrp(&terminal, rustix::process::getpgrp());
        }
        self.initial = Initial::Exited { status: exit.status, sending: false };
    }

    pub(crate) fn tell_initial(&mut self, client: &Client) {
        let Initial::Exited { status, sending } = &mut self.initial else { return };
        if *sending {
            return;
        }
        *sending = true;
        let (client, events, exited) =
            (client.clone(), self.events.clone(), InitialExited { status: *status });
        tokio::spawn(async move {
            let answer = tokio::time::timeout(REPEAT, client.call(Dest::Local, &exited)).await;
            // The shell may be leaving.
            let _ = events.send(Event::InitialSent(matches!(answer, Ok(Ok(_)))));
        });
    }

    pub(crate) fn initial_told(&mut self, told: bool) {
        let Initial::Exited { sending, .. } = &mut self.initial else { return };
        *sending = false;
        if told {
            self.initial = Initial::Told;
        } else {
            self.retry_at = Some(Instant::now() + RETRY);
        }
    }
}
