//! Answers that go on: the ends of jobs (`await`), their logs (`watch`), all events (`journal`).
//!
//! Nobody's answers are queued here. A stream is a position in what is kept anyway, and a batch takes it
//! forward by a page at most; so one that follows a gigabyte costs as much as one that follows nothing.
//!
//! Where output is kept in a file, a stream asks for a piece of it and goes on when that has been read.

use super::guest::{Came, Guest, lost, said};
use super::spill::Spill;
use super::{Jobs, exec_log, no_such_job};
use crate::cx::{Cx, asker};
use crate::door::Output;
use flurm_job_manager::{Job, Manager, QUEUE};
use flurm_types::{Entry, Fsd, JobId, JobState};
use flurm_wire::fact::{GuestLog, JobFact};
use flurm_wire::job::{Await, Awaited, AwaitedJob, Journal, JournalBatch, JournalEvent, Log, Taken, Watch};
use flurm_wire::shell::Flow;
use flurm_wire::{Address, Message, WireError};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// Bytes that a batch adds to one stream, about.
const PAGE_LEN: usize = 256 << 10;
/// Jobs in one answer of `await`.
const AWAITED_MAX: usize = 1024;
/// What an event counts as on a page.
const EVENT_LEN: usize = 160;

/// Bytes of output that is not kept and that wait for who follows a job; above it, its tasks wait.
const PASSING_BYTES_MAX: usize = 1 << 20;
/// Answers of a paced stream that may be on their way.
const PAGES_OUT_MAX: u32 = 4;
/// For how long a follower may have tasks wait without taking anything.
const FOLLOWER_MS_DEFAULT: u64 = 60_000;

type Key = (Address, u64);

#[derive(Debug, Default)]
pub(super) struct Streams {
    streams: BTreeMap<Key, Stream>,
    /// Who follows a job.
    followers: BTreeMap<JobId, BTreeSet<Key>>,
    journals: BTreeSet<Key>,
    /// Streams that may have something to send.
    ready: BTreeSet<Key>,
}

#[derive(Debug)]
struct Stream {
    asker: Message,
    kind: Kind,
    /// Answers that have not been acknowledged, of a paced stream.
    out: u32,
    /// Since when it could have taken one and has not.
    full_since_ms: Option<u64>,
    /// Where the piece of the job's file begins that it waits for.
    reads: Option<u64>,
}

impl Stream {
    fn is_paced(&self) -> bool {
        matches!(&self.kind, Kind::Watch { watch, .. } if watch.paced)
    }

    /// How many entries of output that is not kept it has, if it is to get them all.
    fn passed(&self) -> Option<u64> {
        match &self.kind {
            Kind::Watch { watch, at }
                if watch.paced && watch.follow && watch.logs.contains(&Log::Output) && !at.left_behind =>
            {
                Some(at.passing)
            }
            Kind::Await { .. } | Kind::Watch { .. } | Kind::Journal { .. } => None,
        }
    }
}

#[derive(Debug)]
enum Kind {
    Await { waits: BTreeSet<JobId>, event: String, over: BTreeMap<JobId, AwaitedJob> },
    Watch { watch: Watch, at: Position },
    Journal { at: usize, caught_up: bool },
}

/// How far the logs of a job have been read.
#[derive(Debug, Default)]
struct Position {
    /// Index in the order of entries, and how many of that run have been read.
    run: usize,
    of_run: u32,
    events: usize,
    /// Bytes, by [`GuestLog`].
    bytes: [usize; 3],
    /// Entries that are not kept.
    passing: u64,
    /// It was too slow for some of those, and has not been told yet.
    left_behind: bool,
    spill: Spill,
}

impl Streams {
    pub fn cancel(&mut self, src: Address, tag: u64) {
        self.close((src, tag));
    }

    /// One more answer has been used.
    pub fn taken(&mut self, src: Address, tag: u64) {
        let key = (src, tag);
        if let Some(stream) = self.streams.get_mut(&key) {
            stream.out = stream.out.saturating_sub(1);
            stream.full_since_ms = None;
            self.ready.insert(key);
        }
    }

    /// How much output that is not kept all have who follow it; none when nobody does.
    pub fn passed(&self, id: JobId) -> Option<u64> {
        let keys = self.followers.get(&id)?;
        keys.iter().filter_map(|key| self.streams.get(key)?.passed()).min()
    }

    /// Who follows a job and has taken nothing for that long no longer counts, if it lacks some of so many entries that
    /// are not kept. True if there was somebody; else, when there may be.
    fn leave_behind(&mut self, id: JobId, now_ms: u64, limit_ms: u64, entries: u64) -> (bool, Option<u64>) {
        let (mut any, mut next) = (false, None);
        for key in self.followers.get(&id).into_iter().flatten() {
            let Some(stream) = self.streams.get_mut(key) else { continue };
            let lacks = stream.passed().is_some_and(|passed| passed < entries);
            let Some(since) = stream.full_since_ms.filter(|_| lacks) else { continue };
            let due = since.saturating_add(limit_ms);
            if due > now_ms {
                next = next.into_iter().chain([due]).min();
            } else if let Kind::Watch { at, .. } = &mut stream.kind {
                (at.left_behind, any) = (true, true);
            }
        }
        (any, next)
    }

    /// A piece of a job's file has been read, or why it cannot be.
    pub fn spill_read(&mut self, id: JobId, offset: u64, bytes: &Result<Vec<u8>, String>) {
        for key in self.followers.get(&id).into_iter().flatten() {
            let Some(stream) = self.streams.get_mut(key) else { continue };
            if let Kind::Watch { at, .. } = &mut stream.kind
                && stream.reads.take_if(|reads| *reads == offset).is_some()
            {
                at.spill.take(bytes);
                self.ready.insert(*key);
            }
        }
    }

    /// The job is no longer known: its streams end.
    pub fn forget(&mut self, id: JobId) {
        self.ready.extend(self.followers.get(&id).into_iter().flatten());
    }

    /// A fact has been added to the logs.
    pub fn note(&mut self, fact: &JobFact, manager: &Manager) {
        if !fact.events.is_empty() {
            self.ready.extend(&self.journals);
        }
        let Some(keys) = self.followers.get(&fact.id) else { return };
        let Some(job) = manager.job(fact.id) else { return };
        let ended = job.state() == JobState::Inactive;
        for key in keys {
            let Some(stream) = self.streams.get_mut(key) else { continue };
            if let Kind::Await { waits, event, over } = &mut stream.kind {
                let seen = fact.events.iter().any(|e| e.name == *event);
                if !seen && !ended {
                    continue;
                }
                // Written down now: it may have been purged before it is sent.
                if waits.remove(&fact.id) {
                    over.insert(fact.id, awaited(job, seen));
                }
            }
            self.ready.insert(*key);
        }
    }

    fn open(&mut self, m: &Message, kind: Kind) {
        let key = (m.src, m.tag);
        match &kind {
            Kind::Await { waits, .. } => {
                for id in waits {
                    self.followers.entry(*id).or_default().insert(key);
                }
            }
            Kind::Watch { watch, .. } => {
                self.followers.entry(watch.id).or_default().insert(key);
            }
            Kind::Journal { .. } => {
                self.journals.insert(key);
            }
        }
        self.streams.insert(key, Stream { asker: asker(m), kind, out: 0, full_since_ms: None, reads: None });
        self.ready.insert(key);
    }

    fn close(&mut self, key: Key) {
        self.ready.remove(&key);
        self.journals.remove(&key);
        let Some(stream) = self.streams.remove(&key) else { return };
        match stream.kind {
            Kind::Await { waits, over, .. } => {
                waits.into_iter().chain(over.into_keys()).for_each(|id| self.unfollow(id, key));
            }
            Kind::Watch { watch, .. } => self.unfollow(watch.id, key),
            Kind::Journal { .. } => {}
        }
    }

    fn unfollow(&mut self, id: JobId, key: Key) {
        if let Some(keys) = self.followers.get_mut(&id) {
            keys.remove(&key);
            if keys.is_empty() {
                self.followers.remove(&id);
            }
        }
    }
}

/// What a page brought a stream to.
#[derive(Copy, Clone, Eq, PartialEq)]
enum Then {
    /// There is more already.
    More,
    /// All that there is for now.
    Wait,
    /// The next piece of the file is needed: so many bytes.
    Read(usize),
    End,
}

/// [`flurm_wire::job::Watched`] out of what is kept, without parsing it.
#[derive(Serialize)]
struct Page<'a> {
    entries: Vec<(Log, Line<'a>)>,
}

enum Line<'a> {
    Event(Entry),
    Kept(Cow<'a, str>),
}

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Line::Event(entry) => entry.serialize(serializer),
            Line::Kept(text) => {
                serde_json::from_str::<&RawValue>(text).expect("we wrote it as JSON").serialize(serializer)
            }
        }
    }
}

impl Position {
    fn page<'a>(&mut self, watch: &Watch, job: &Job, guest: Option<&'a Guest>) -> (Page<'a>, Then) {
        let mut page = Page { entries: Vec::new() };
        let mut len = 0;
        let tells_exec = watch.logs.contains(&Log::Exec);
        // Unpacked once a page.
        let mut texts: [Option<Cow<'a, str>>; 3] = [None, None, None];
        // A job without logs of its tasks has had only events.
        let only = [(Came::Kept(Log::Eventlog), u32::try_from(job.len()).unwrap_or(u32::MAX))];
        let order = guest.map_or(&only[..], |guest| &guest.order);
        while let Some((came, count)) = order.get(self.run) {
            if self.of_run == *count {
                // The last run may yet grow.
                if self.run + 1 == order.len() {
                    break;
                }
                (self.run, self.of_run) = (self.run + 1, 0);
                continue;
            }
            if len >= PAGE_LEN {
                return (page, Then::More);
            }
            let log = match came {
                Came::Kept(log) => *log,
                Came::Spilled | Came::Cut | Came::Passing => Log::Output,
            };
            let wanted = watch.logs.contains(&log);
            if *came == Came::Passing {
                let line = guest.filter(|_| wanted).and_then(|guest| guest.passing(self.passing));
                if let Some(line) = line {
                    len += line.len();
                    page.entries.push((log, Line::Kept(line.into())));
                } else if wanted {
                    self.say_left_behind(job, &mut page);
                }
                // What has gone before we came has gone together.
                let passed = guest.map_or(0, Guest::passed).saturating_sub(self.passing);
                let left = count - self.of_run;
                let step = match (wanted, line) {
                    (false, _) => left,
                    (true, Some(_)) => 1,
                    (true, None) => left.min(u32::try_from(passed).unwrap_or(u32::MAX)).max(1),
                };
                (self.of_run, self.passing) = (self.of_run + step, self.passing + u64::from(step));
                continue;
            }
            if *came == Came::Spilled && wanted {
                match self.spill.next() {
                    Ok(Some(line)) => {
                        len += line.len();
                        page.entries.push((log, Line::Kept(line.to_owned().into())));
                        self.of_run += 1;
                    }
                    Ok(None) => {
                        // Behind the last record may be what a leader has written that was killed before it could say so:
                        // others write there again.
                        let there = guest.map_or(0, Guest::spilled_len).saturating_sub(self.spill.offset());
                        let len = self.spill.wants().min(usize::try_from(there).unwrap_or(usize::MAX));
                        if len > 0 {
                            return (page, Then::Read(len));
                        }
                        self.spill.take(&Ok(Vec::new()));
                    }
                    Err(why) => {
                        if let Some(why) = why {
                            let text = format!("output that was kept in a file cannot be read: {why}");
                            let entry = lost(job.t_last(), &text);
                            page.entries.push((log, Line::Event(entry)));
                        }
                        self.of_run = *count;
                    }
                }
                continue;
            }
            match log {
                Log::Eventlog if !wanted && !tells_exec => {
                    self.events += (count - self.of_run) as usize;
                    self.of_run = *count;
                }
                Log::Eventlog => {
                    if let Some(entry) = job.entries(self.events).next() {
                        let exec = if tells_exec { exec_log::of_event(job, &entry) } else { Vec::new() };
                        page.entries.extend(exec.into_iter().map(|entry| (Log::Exec, Line::Event(entry))));
                        page.entries.extend(wanted.then_some((Log::Eventlog, Line::Event(entry))));
                    }
                    (self.events, self.of_run) = (self.events + 1, self.of_run + 1);
                    len += EVENT_LEN;
                }
                // Nobody reads it in this stream, so where it is does not matter.
                Log::Exec | Log::Output | Log::Input if !wanted => self.of_run = *count,
                Log::Exec | Log::Output | Log::Input => {
                    let guest = guest.expect("only it has such entries");
                    let kind = match log {
                        Log::Exec => GuestLog::Exec,
                        Log::Output => GuestLog::Output,
                        Log::Input | Log::Eventlog => GuestLog::Input,
                    };
                    let at = &mut self.bytes[kind as usize];
                    let line: Cow<'a, str> =
                        match texts[kind as usize].get_or_insert_with(|| guest.text(kind)) {
                            Cow::Borrowed(text) => Cow::Borrowed(first_line(&text[*at..])),
                            Cow::Owned(text) => Cow::Owned(first_line(&text[*at..]).to_owned()),
                        };
                    *at += line.len() + 1;
                    self.of_run += 1;
                    // Who gets all that follows has no need to hear that it is not kept.
                    if *came == Came::Cut && guest.is_passing() && guest.passed() == 0 {
                        continue;
                    }
                    len += line.len();
                    page.entries.push((log, Line::Kept(line)));
                }
            }
        }
        // What its shells have dropped meanwhile has no place in the order.
        self.say_left_behind(job, &mut page);
        let over = !watch.follow || job.state() == JobState::Inactive;
        (page, if over { Then::End } else { Then::Wait })
    }

    fn say_left_behind(&mut self, job: &Job, page: &mut Page) {
        if std::mem::take(&mut self.left_behind) {
            let text = "output is missing here: it was not kept, and this reader was too slow for it";
            page.entries.push((Log::Output, Line::Event(lost(job.t_last(), text))));
        }
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().expect("counted when it was kept")
}

impl Jobs {
    pub(super) fn follow_jobs(&mut self, cx: &mut Cx, m: &Message) -> Result<(), WireError> {
        let Await { ids, event } = m.body()?;
        let event = event.unwrap_or_else(|| "clean".to_owned());
        let (mut waits, mut over) = (BTreeSet::new(), BTreeMap::new());
        for id in ids {
            let job = self.manager.job(id).ok_or_else(|| no_such_job(id))?;
            let seen = job.has(&event);
            if seen || job.state() == JobState::Inactive {
                over.insert(id, awaited(job, seen));
            } else {
                waits.insert(id);
            }
        }
        if waits.is_empty() && over.is_empty() {
            cx.respond(m, &Awaited { jobs: Vec::new() });
        } else {
            self.streams.open(m, Kind::Await { waits, event, over });
        }
        Ok(())
    }

    pub(super) fn follow_logs(&mut self, m: &Message) -> Result<(), WireError> {
        let watch: Watch = m.body()?;
        self.manager.job(watch.id).ok_or_else(|| no_such_job(watch.id))?;
        self.streams.open(m, Kind::Watch { watch, at: Position::default() });
        Ok(())
    }

    pub(super) fn follow_journal(&mut self, m: &Message) -> Result<(), WireError> {
        let Journal { from } = m.body()?;
        let at = usize::try_from(from).unwrap_or(usize::MAX);
        self.streams.open(m, Kind::Journal { at, caught_up: false });
        Ok(())
    }

    pub(super) fn pages_taken(&mut self, m: &Message) -> Result<(), WireError> {
        let Taken { tag } = m.body()?;
        self.streams.taken(m.src, tag);
        Ok(())
    }

    /// Lets output go that is not kept and that all have who follow it, and has tasks wait for the slowest of them, but
    /// not for ever.
    pub(super) fn pass_output(&mut self, cx: &mut Cx) {
        for id in std::mem::take(&mut self.full) {
            let mut left = 0;
            while let Some(guest) = self.guests.get_mut(&id) {
                let passed = self.streams.passed(id);
                guest.forget_passing(passed);
                left = guest.passing_bytes();
                let entries = guest.all_passing();
                let flow = self.set_flow(cx, id, |before| match passed {
                    None => Flow::Drop,
                    Some(_) if left > PASSING_BYTES_MAX => Flow::Wait,
                    Some(_) if left > PASSING_BYTES_MAX / 2 => before,
                    Some(_) => Flow::Pass,
                });
                let Some(limit_ms) = follower_ms_max(cx).filter(|_| flow == Some(Flow::Wait)) else { break };
                let (any, next) = self.streams.leave_behind(id, cx.now.mono_ms, limit_ms, entries);
                next.into_iter().for_each(|due| cx.wake_at(due));
                if !any {
                    break;
                }
            }
            let active = self.manager.job(id).is_some_and(|job| job.state() != JobState::Inactive);
            if active || left > 0 {
                self.full.insert(id);
            }
        }
    }

    /// A piece of a job's file has been read.
    pub fn spill_read(&mut self, id: JobId, offset: u64, bytes: &Result<Vec<u8>, String>) {
        self.streams.spill_read(id, offset, bytes);
    }

    /// Output of a job could not be written to its file: no more of it is kept.
    pub fn spill_failed(&mut self, cx: &mut Cx, id: JobId, why: &str) {
        if self.guests.get(&id).is_some_and(|guest| !guest.is_full()) {
            let text = format!("output is not kept from about here on: {why}");
            self.add_guest(id, GuestLog::Output, said(cx.now.wall, &text));
        }
    }

    /// Takes every stream forward by a page.
    pub(super) fn flush_streams(&mut self, cx: &mut Cx) {
        for key in std::mem::take(&mut self.streams.ready) {
            // Taken out, so that it and everything it reads can be held at once.
            let Some(mut stream) = self.streams.streams.remove(&key) else { continue };
            if stream.out >= PAGES_OUT_MAX || stream.reads.is_some() {
                // It goes on when one of them is taken, or what it needs has been read.
                self.streams.streams.insert(key, stream);
                continue;
            }
            let paced = stream.is_paced();
            let then = match &mut stream.kind {
                Kind::Await { waits, over, .. } => {
                    let mut jobs = Vec::new();
                    while jobs.len() < AWAITED_MAX
                        && let Some((id, job)) = over.pop_first()
                    {
                        jobs.push(job);
                        self.streams.unfollow(id, key);
                    }
                    let then = match (over.is_empty(), waits.is_empty()) {
                        (false, _) => Then::More,
                        (true, false) => Then::Wait,
                        (true, true) => Then::End,
                    };
                    let empty = jobs.is_empty();
                    answer(cx, &stream.asker, &Awaited { jobs }, empty, then);
                    then
                }
                Kind::Watch { watch, at } => {
                    let Some(job) = self.manager.job(watch.id) else {
                        // It has been purged: what was sent is not all that there was.
                        cx.refuse(&stream.asker, no_such_job(watch.id));
                        self.streams.unfollow(watch.id, key);
                        continue;
                    };
                    let guest = self.guests.get(&watch.id).map(|guest| &**guest);
                    let (page, then) = at.page(watch, job, guest);
                    let empty = page.entries.is_empty();
                    answer(cx, &stream.asker, &page, empty, then);
                    stream.out += u32::from(paced && !empty);
                    if stream.out >= PAGES_OUT_MAX {
                        stream.full_since_ms = Some(cx.now.mono_ms);
                    }
                    if let Then::Read(len) = then {
                        let (id, offset) = (watch.id, at.spill.offset());
                        stream.reads = Some(offset);
                        cx.act(Output::ReadSpill { id, offset, len });
                    }
                    then
                }
                Kind::Journal { at, caught_up } => {
                    let (batch, then) = self.journal_page(at, caught_up);
                    let empty = batch.events.is_empty() && !batch.caught_up;
                    answer(cx, &stream.asker, &batch, empty, then);
                    then
                }
            };
            self.streams.streams.insert(key, stream);
            match then {
                Then::More => {
                    self.streams.ready.insert(key);
                    cx.wake_at(cx.now.mono_ms);
                }
                Then::Wait | Then::Read(_) => {}
                Then::End => self.streams.close(key),
            }
        }
    }

    fn journal_page(&self, at: &mut usize, caught_up: &mut bool) -> (JournalBatch, Then) {
        let mut batch = JournalBatch { events: Vec::new(), caught_up: false };
        let mut len = 0;
        while let Some((id, first, count)) = self.journal.get(*at) {
            if len >= PAGE_LEN {
                return (batch, Then::More);
            }
            let index = *at as u64;
            *at += 1;
            let Some(job) = self.manager.job(*id).filter(|_| *id != QUEUE) else { continue };
            for entry in job.entries(*first as usize).take(*count as usize) {
                let jobspec = (entry.name == "submit").then(|| job.text().jobspec.to_string());
                let r = if entry.name == "alloc" { job.r_json() } else { None };
                len +=
                    EVENT_LEN + jobspec.as_ref().map_or(0, String::len) + r.as_ref().map_or(0, String::len);
                let raw = |text| RawValue::from_string(text).expect("we wrote it as JSON");
                let (jobspec, r) = (jobspec.map(raw), r.map(raw));
                batch.events.push(JournalEvent { index, id: *id, entry, jobspec, r });
            }
        }
        batch.caught_up = !std::mem::replace(caught_up, true);
        (batch, Then::Wait)
    }
}

/// None: as long as it likes.
fn follower_ms_max(cx: &Cx) -> Option<u64> {
    let timeout =
        cx.config.attributes.get("broker.follower-timeout").and_then(|text| text.parse::<Fsd>().ok());
    match timeout {
        None => Some(FOLLOWER_MS_DEFAULT),
        Some(fsd) if fsd.is_infinite() || fsd == Fsd::ZERO => None,
        Some(fsd) => Some((fsd.as_secs() * 1000.0) as u64),
    }
}

fn answer<B: Serialize>(cx: &mut Cx, asker: &Message, body: &B, empty: bool, then: Then) {
    match (then, empty) {
        (Then::End, true) => cx.respond_end(asker),
        (Then::End, false) => cx.respond(asker, body),
        (Then::More | Then::Wait | Then::Read(_), false) => cx.respond_more(asker, body),
        (Then::More | Then::Wait | Then::Read(_), true) => {}
    }
}

fn awaited(job: &Job, seen: bool) -> AwaitedJob {
    AwaitedJob {
        id: job.id(),
        seen,
        state: job.state(),
        status: job.status(),
        result: job.result(),
        exception: job.exception().cloned(),
    }
}
