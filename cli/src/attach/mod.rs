//! Staying with a job until it ends: its output to ours, our input and signals to it, its exit code for ours.
//!
//! ```text
//!            start                finish              end of the logs
//!   Waiting ───────► Running ───────────────► Ended ─────────────────► exit code
//!      └───────────────── fatal exception ──────┘
//! ```
//!
//! One stream carries the job's event log and its output, so what is printed has the job's own order.
//! `output.rs` prints, `input.rs` feeds, `terminal.rs` is about a job that has our terminal for its own.

mod input;
mod output;
mod terminal;

pub use input::{Wish, read_stdin, wish};
pub use output::{Decoder, Printer, Stream};
pub use terminal::{Raw, window};

use crate::events;
use crate::face::Face;
use crate::failure::{FAILED, Failure};
use crate::out::{self, Script};
use crate::{signals, submission, when};
use flurm_client::{Client, job};
use flurm_jobspec::Jobspec;
use flurm_types::{Entry, JobId, Timestamp};
use flurm_wire::job::{Log, Watch};
use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

/// How to stay with a job.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Begin lines of output with the task's rank.
    pub label: bool,
    /// Show events of the job on standard error.
    pub show_events: bool,
    /// Show events of its execution as well.
    pub show_exec: bool,
    /// Leave after this event.
    pub wait_event: Option<String>,
    /// Only the last lines of what was printed before we came.
    pub tail: Option<usize>,
    /// Send nothing: no input, no signals.
    pub read_only: bool,
    /// Signals to us are for the job, which is ours. A job that we only look at does not hear of them.
    pub forwards: bool,
    /// One Ctrl-C cancels a job that has not started.
    pub cancels_waiting: bool,
    /// Ranks that get our standard input.
    pub stdin: Option<String>,
    /// Say on the terminal what a waiting job waits for.
    pub show_status: bool,
}

/// Two interrupts within this time cancel the job.
const INTERRUPTS_WITHIN: Duration = Duration::from_secs(2);

/// A job that starts within this time needs no word about its waiting.
const WAITING_SAID_AFTER: Duration = Duration::from_secs(2);

/// Prints what the job prints, until it is over; gives its exit code. Without `hands` signals are not for the job.
pub async fn attach(
    face: &Face,
    client: &Client,
    id: JobId,
    options: &Options,
    mut hands: Option<Hands>,
) -> Result<u8, Failure> {
    let mut logs = vec![Log::Eventlog, Log::Output];
    let waits_for_exec = options.wait_event.as_deref().is_some_and(|e| events::event(e).0 == Log::Exec);
    if options.show_exec || waits_for_exec {
        logs.push(Log::Exec);
    }
    let mut entries = job::watch(client, &Watch { id, logs, follow: true, paced: true }).await?;
    let interactive = options.stdin.is_some() && !options.read_only && is_interactive(client, id).await?;
    let mut session = Session::new(face, client, id, options);
    session.interactive = interactive;
    if let Some(hands) = hands.as_mut().filter(|_| interactive) {
        hands.hear(heard(options.forwards, true, true))?;
    }
    let mut clock = tokio::time::interval(Duration::from_secs(1));
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            batch = entries.next() => {
                let Some(batch) = batch? else { break };
                let mut left = false;
                for (log, entry) in &batch.entries {
                    left |= session.entry(*log, entry)?;
                }
                session.printer.flush()?;
                if left {
                    return Ok(0);
                }
            }
            signal = next_signal(&mut hands) => {
                if let Some(code) = session.signal(signal).await? {
                    return Ok(code);
                }
            }
            () = session.left.notified() => {
                session.raw = None;
                session.say_detached();
                return Ok(0);
            }
            _ = clock.tick(), if session.shows_status() => session.status()?,
        }
    }
    session.printer.finish()?;
    let code = session.end()?;
    match &options.wait_event {
        None => Ok(code),
        Some(event) => {
            crate::say!("{}: event `{event}` never came", face.prefix("job"));
            Ok(FAILED)
        }
    }
}

/// Does somebody type here, at a job that has a terminal for that?
async fn is_interactive(client: &Client, id: JobId) -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        return Ok(false);
    }
    let found = job::lookup(client, id, &["jobspec"]).await?;
    let jobspec = found.first().and_then(|text| Jobspec::parse(text).ok());
    Ok(jobspec.is_some_and(|jobspec| submission::is_interactive(&jobspec)))
}

/// Where the job is, as we have seen.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
enum Phase {
    Waiting,
    Running,
    Ended,
}

struct Session<'a> {
    face: &'a Face,
    client: &'a Client,
    id: JobId,
    name: String,
    options: &'a Options,
    printer: Printer,
    phase: Phase,
    first: Option<Timestamp>,
    status: Option<i32>,
    fatal: bool,
    interrupted: Option<Instant>,
    begun: Instant,
    status_shown: bool,
    waits_for: &'static str,
    /// The job has a terminal, and we are at one.
    interactive: bool,
    raw: Option<Raw>,
    /// Somebody has typed that the job is to be left alone.
    left: Arc<Notify>,
}

impl<'a> Session<'a> {
    fn new(face: &'a Face, client: &'a Client, id: JobId, options: &'a Options) -> Session<'a> {
        Session {
            face,
            client,
            id,
            name: Script::of_locale().id(id),
            options,
            printer: Printer::new(options.label, options.tail).called(face),
            phase: Phase::Waiting,
            first: None,
            status: None,
            fatal: false,
            interrupted: None,
            begun: Instant::now(),
            status_shown: false,
            waits_for: "dependencies",
            interactive: false,
            raw: None,
            left: Arc::default(),
        }
    }

    /// Takes one entry; true when it is the one to leave after.
    fn entry(&mut self, log: Log, entry: &Entry) -> Result<bool, Failure> {
        match log {
            Log::Output => self.printer.entry(entry)?,
            Log::Input => {}
            Log::Eventlog => {
                if self.options.show_events {
                    self.show("job", entry)?;
                }
                self.event(entry)?;
            }
            Log::Exec => {
                if self.options.show_exec {
                    self.show("exec", entry)?;
                }
            }
        }
        let awaited = self.options.wait_event.as_deref().map(events::event);
        Ok(awaited == Some((log, entry.name.as_str())))
    }

    fn event(&mut self, entry: &Entry) -> Result<(), Failure> {
        match entry.name.as_str() {
            "start" => {
                self.clear_status()?;
                if self.phase == Phase::Waiting
                    && let Some(ranks) = self.options.stdin.as_ref().filter(|_| !self.options.read_only)
                {
                    if self.interactive {
                        self.raw = Some(Raw::enter()?);
                        let (client, left) = (self.client.clone(), Arc::clone(&self.left));
                        tokio::spawn(input::type_in(client, self.id, left));
                    } else {
                        tokio::spawn(input::feed(self.client.clone(), self.id, ranks.clone()));
                    }
                }
                self.phase = Phase::Running;
            }
            "finish" => {
                self.phase = Phase::Ended;
                // All that it has printed has come.
                self.raw = None;
                let status = events::number(entry, "status").unwrap_or(0);
                self.status = i32::try_from(status).ok();
            }
            "exception" => self.exception(entry)?,
            "depend" => self.waits_for = "resources",
            "alloc" => self.waits_for = "its shells",
            _ => {}
        }
        Ok(())
    }

    fn exception(&mut self, entry: &Entry) -> Result<(), Failure> {
        self.clear_status()?;
        self.printer.end_line();
        self.printer.flush()?;
        let severity = events::number(entry, "severity").unwrap_or(0);
        // On a raw terminal our line would begin where the cursor is.
        let raw = self.raw.take();
        let kind = events::text(entry, "type").unwrap_or("unknown");
        let note = events::text(entry, "note").unwrap_or("");
        let line = format!("job.exception: {}: type={kind} severity={severity} {note}", self.name);
        crate::say!("{}", line.trim_end());
        if severity == 0 {
            self.fatal = true;
            // An exception before the start may know better than 1 what the exit code is.
            if self.status.is_none() {
                self.status = events::number(entry, "wait_status").and_then(|s| i32::try_from(s).ok());
            }
        } else if raw.is_some() {
            drop(raw);
            self.raw = Some(Raw::enter()?);
        }
        Ok(())
    }

    fn show(&mut self, log: &str, entry: &Entry) -> Result<(), Failure> {
        self.clear_status()?;
        self.printer.flush()?;
        let first = *self.first.get_or_insert(entry.timestamp);
        let at = entry.timestamp.secs_since(first);
        crate::say!("{at:.3}s: {log}.{}{}", entry.name, events::context(entry));
        Ok(())
    }

    /// What to do about a signal to us; a code to leave the job alone and end with it.
    async fn signal(&mut self, signal: SignalKind) -> Result<Option<u8>, Failure> {
        if signal == SignalKind::window_change() {
            if let Some(window) = window().filter(|_| self.raw.is_some()) {
                input::resize(self.client, self.id, window).await;
            }
            return Ok(None);
        }
        // We only look, and catch it to give the terminal back.
        if self.interactive && !self.options.forwards && ![SignalKind::interrupt(), stop()].contains(&signal)
        {
            self.raw = None;
            self.say_detached();
            return Ok(u8::try_from(128 + signal.as_raw_value()).ok());
        }
        if signal == stop() {
            if self.interrupted.is_some_and(|at| at.elapsed() < INTERRUPTS_WITHIN) {
                self.say_detached();
                return Ok(Some(0));
            }
            let raw = self.raw.take().is_some();
            // What the terminal asked for, and would have got without us listening.
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::STOP)
                .map_err(|e| Failure::new(format!("cannot stop: {e}")))?;
            if raw {
                self.raw = Some(Raw::enter()?);
                if let Some(window) = window() {
                    input::resize(self.client, self.id, window).await;
                }
            }
            return Ok(None);
        }
        if signal == SignalKind::interrupt() {
            if self.options.cancels_waiting && self.phase == Phase::Waiting {
                self.cancel("interrupted by ctrl-C").await?;
                return Ok(None);
            }
            if self.interrupted.is_none_or(|at| at.elapsed() > INTERRUPTS_WITHIN) {
                self.interrupted = Some(Instant::now());
                crate::say!(
                    "{}: one more ctrl-C within 2s to cancel, or ctrl-Z to detach",
                    self.face.prefix("job")
                );
                return Ok(None);
            }
            self.cancel("interrupted by ctrl-C").await?;
            return Ok(None);
        }
        match self.phase {
            Phase::Waiting => {
                self.cancel(&format!("{} was told to end", self.face.name)).await?;
            }
            Phase::Running => {
                // A job that has ended meanwhile needs no signal.
                // A shell at a terminal does not end by SIGTERM, but when the terminal hangs up.
                let ends = self.interactive && signal == SignalKind::terminate();
                let signal = if ends { SignalKind::hangup() } else { signal };
                drop(job::kill(self.client, &[self.id], signal.as_raw_value()).await?);
            }
            Phase::Ended => {}
        }
        Ok(None)
    }

    fn say_detached(&self) {
        crate::say!("{}: detached; {} goes on", self.face.prefix("job"), self.name);
    }

    async fn cancel(&self, note: &str) -> Result<(), Failure> {
        // That it has ended already is no failure: its end is what was wanted.
        drop(job::raise(self.client, &[self.id], "cancel", 0, note).await?);
        Ok(())
    }

    fn shows_status(&self) -> bool {
        self.options.show_status && self.phase == Phase::Waiting
    }

    /// A line that is drawn anew each second on a terminal, and said once elsewhere.
    fn status(&mut self) -> Result<(), Failure> {
        if self.begun.elapsed() < WAITING_SAID_AFTER {
            return Ok(());
        }
        let (prefix, name) = (self.face.prefix("job"), &self.name);
        if std::io::stderr().is_terminal() {
            let since = when::hms(self.begun.elapsed().as_secs_f64());
            let line = format!("\r\x1b[K{prefix}: {name} waiting for {} {since}", self.waits_for);
            std::io::stderr().write_all(line.as_bytes())?;
        } else if !self.status_shown {
            crate::say!("{prefix}: {name} waiting for {}", self.waits_for);
        }
        self.status_shown = true;
        Ok(())
    }

    fn clear_status(&mut self) -> Result<(), Failure> {
        if std::mem::take(&mut self.status_shown) && std::io::stderr().is_terminal() {
            std::io::stderr().write_all(b"\r\x1b[K")?;
        }
        Ok(())
    }

    /// Says how the job ended, if it did not end well.
    fn end(mut self) -> Result<u8, Failure> {
        self.clear_status()?;
        self.raw = None;
        let prefix = self.face.prefix("job");
        let code = match self.status {
            None => return Ok(FAILED),
            Some(status) => out::exit_code(status),
        };
        if code != 0 {
            self.printer.end_line();
            self.printer.flush()?;
        }
        if let Some(signum) = flurm_types::signal_of(code.into()) {
            crate::say!("{prefix}: task(s) {}", signals::describe(signum));
        } else if code != 0 {
            crate::say!("{prefix}: task(s) exited with exit code {code}");
        }
        // A job that was ended failed, whatever its tasks made of the signal; and who has not got all did.
        Ok(if code == 0 && (self.fatal || self.printer.has_lost()) { FAILED } else { code })
    }
}

/// Signals that are not for us but for the job.
pub struct Hands {
    signals: Vec<(SignalKind, Signal)>,
}

/// Ctrl-Z.
fn stop() -> SignalKind {
    SignalKind::from_raw(libc::SIGTSTP)
}

impl Hands {
    /// Begins to listen. Whoever submits a job listens before that: an interrupt in between would leave the job behind.
    pub fn new(forwards: bool) -> Result<Hands, Failure> {
        let mut hands = Hands { signals: Vec::new() };
        hands.hear(heard(forwards, std::io::stdin().is_terminal(), false))?;
        Ok(hands)
    }

    fn hear(&mut self, kinds: Vec<SignalKind>) -> Result<(), Failure> {
        for kind in kinds {
            if self.signals.iter().all(|(heard, _)| *heard != kind) {
                self.signals.push((kind, signal(kind)?));
            }
        }
        Ok(())
    }
}

/// The signals that do not simply end us. Who only looks at a job is ended by all but those of the keyboard, and
/// the job goes on.
fn heard(forwards: bool, terminal: bool, interactive: bool) -> Vec<SignalKind> {
    let mut kinds = vec![SignalKind::interrupt()];
    if forwards || interactive {
        kinds.extend([SignalKind::terminate(), SignalKind::hangup()]);
    }
    if interactive {
        kinds.extend([SignalKind::window_change(), SignalKind::quit()]);
    }
    if forwards || interactive {
        kinds.extend([SignalKind::alarm(), SignalKind::user_defined1(), SignalKind::user_defined2()]);
    }
    if terminal {
        kinds.push(stop());
    }
    kinds
}

async fn next_signal(hands: &mut Option<Hands>) -> SignalKind {
    let Some(hands) = hands else { return std::future::pending().await };
    std::future::poll_fn(|cx| {
        for (kind, signal) in &mut hands.signals {
            if signal.poll_recv(cx).is_ready() {
                return std::task::Poll::Ready(*kind);
            }
        }
        std::task::Poll::Pending
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_only_looks_at_a_job_keeps_its_signals() {
        assert_eq!(heard(false, true, false), [SignalKind::interrupt(), stop()]);
        let ours = heard(true, false, false);
        assert!(ours.contains(&SignalKind::terminate()) && ours.contains(&SignalKind::hangup()));
        assert!(!ours.contains(&stop()), "without a terminal there is no ctrl-Z");
        let typed = heard(false, true, true);
        for signal in
            [SignalKind::terminate(), SignalKind::quit(), SignalKind::user_defined1(), SignalKind::alarm()]
        {
            assert!(typed.contains(&signal), "a raw terminal must be given back: {signal:?}");
        }
    }
}
