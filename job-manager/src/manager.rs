//! All jobs of an instance: state that events make, and the indexes that keep decisions cheap.

use crate::array::Crowd;
use crate::depend::{Course, Need};
use crate::event::{Brief, Event, Submit};
use crate::gates::{Count, Gates};
use crate::job::Job;
use crate::ledger::Ledger;
use crate::within::Inner;
use flurm_jobspec::Array;
use flurm_types::{Idset, JobId, JobResult, JobState, Timestamp};
use flurm_wire::job::JobStats;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::RangeInclusive;
use std::sync::Arc;

/// Submission messages whose repetition is still recognized. A client repeats within seconds, and this is
/// several seconds' worth of single submissions at full speed.
pub const BATCHES_MAX: usize = 16_384;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Manager {
    jobs: BTreeMap<JobId, Box<Job>>,
    active: BTreeSet<JobId>,
    /// The others, by their end.
    over: BTreeSet<(Timestamp, JobId)>,
    stats: JobStats,
    /// Of queues with names.
    counts: BTreeMap<Box<str>, Count>,
    gates: Gates,
    pub(crate) ledger: Ledger,
    /// Active jobs by name, for `singleton`.
    names: BTreeSet<(Arc<str>, JobId)>,
    /// Active jobs of arrays with a limit, by the arrays' first jobs.
    arrays: BTreeMap<JobId, Members>,
    /// How far all arrays are whose jobs are not all forgotten.
    crowds: BTreeMap<JobId, Crowd>,
    /// Jobs within others, by these.
    inner: BTreeMap<JobId, Inner>,
    /// Who waits for a job.
    waiters: BTreeMap<JobId, BTreeSet<JobId>>,
    /// Begin times and ends of time limits.
    timers: BTreeSet<(Timestamp, JobId)>,
    batches: BTreeMap<Arc<str>, Vec<(u32, JobId)>>,
    batch_order: VecDeque<Arc<str>>,
    /// Slurm's number of the last job that got one.
    number_last: u32,
}

/// Active jobs of one array. Those that do not wait for a place have one.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Members {
    pub active: BTreeSet<JobId>,
    pub waiting: BTreeSet<JobId>,
}

/// What the world owes a job. Derived from its state alone, so it may be asked for as often as one likes; a job
/// that no longer owes `Alloc` takes its question back.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Duty {
    /// Ask the scheduler.
    Alloc,
    /// Shells of these ranks are to run it.
    Start { ranks: Idset },
    /// Shells of these ranks are to end it, if they have not yet.
    End { ranks: Idset },
}

impl Manager {
    pub fn job(&self, id: JobId) -> Option<&Job> {
        self.jobs.get(&id).map(|job| &**job)
    }

    /// By id, which is by time of submission.
    pub fn jobs(&self) -> impl DoubleEndedIterator<Item = &Job> {
        self.jobs.values().map(|job| &**job)
    }

    pub fn jobs_within(&self, ids: RangeInclusive<JobId>) -> impl DoubleEndedIterator<Item = &Job> {
        self.jobs.range(ids).map(|(_, job)| &**job)
    }

    pub fn active(&self) -> impl DoubleEndedIterator<Item = &Job> {
        self.active.iter().filter_map(|id| self.job(*id))
    }

    pub fn active_within(&self, ids: RangeInclusive<JobId>) -> impl DoubleEndedIterator<Item = &Job> {
        self.active.range(ids).filter_map(|id| self.job(*id))
    }

    pub(crate) fn inner(&self, id: JobId) -> Option<&Inner> {
        self.inner.get(&id)
    }

    /// Active jobs within that one.
    pub fn within(&self, id: JobId) -> impl Iterator<Item = &Job> {
        self.inner(id).into_iter().flat_map(|inner| &inner.active).filter_map(|id| self.job(*id))
    }

    /// Ranks on which jobs within that one have not let go of what they were given.
    pub fn held_within(&self, id: JobId) -> Idset {
        self.within(id).fold(Idset::new(), |ranks, job| ranks.union(job.held()))
    }

    /// How many jobs there are, active or not, within others or not.
    pub fn known(&self) -> usize {
        self.jobs.len()
    }

    /// Jobs that are over with their ends, the oldest first; those within others are forgotten with these.
    pub fn over(&self) -> impl ExactSizeIterator<Item = (Timestamp, JobId)> {
        self.over.iter().copied()
    }

    pub fn stats(&self) -> &JobStats {
        &self.stats
    }

    /// Active jobs of that queue.
    pub fn count_of(&self, queue: &str) -> Count {
        self.counts.get(queue).copied().unwrap_or_default()
    }

    pub fn gates(&self) -> &Gates {
        &self.gates
    }

    /// Slurm's number of the next job.
    pub(crate) fn number_next(&self) -> u32 {
        self.number_last.saturating_add(1)
    }

    /// Slurm's number of the array that a job belongs to: that of its first job.
    pub fn array_number(&self, job: &Job) -> Option<u32> {
        let crowd = self.crowds.get(&job.array()?);
        // A log of a version that let the first job be forgotten first.
        Some(crowd.map(|crowd| crowd.number).filter(|number| *number != 0).unwrap_or(job.number()))
    }

    pub fn is_idle(&self) -> bool {
        self.active.is_empty()
    }

    /// The job that this place of this submission message has become.
    pub fn submitted(&self, batch: &str, index: u32) -> Option<JobId> {
        let jobs = self.batches.get(batch)?;
        jobs.iter().find(|(i, _)| *i == index).map(|(_, id)| *id)
    }

    /// When [`crate::Request::Tick`] is due.
    pub fn next_tick(&self) -> Option<Timestamp> {
        self.timers.first().map(|(time, _)| *time)
    }

    pub fn owed(&self, id: JobId) -> Vec<Duty> {
        let Some(job) = self.job(id) else { return Vec::new() };
        match job.state() {
            JobState::Sched if job.priority() > 0 => vec![Duty::Alloc],
            JobState::Run if !job.started() => vec![Duty::Start { ranks: job.held().clone() }],
            JobState::Cleanup if !job.held().is_empty() => vec![Duty::End { ranks: job.held().clone() }],
            JobState::New
            | JobState::Depend
            | JobState::Priority
            | JobState::Sched
            | JobState::Run
            | JobState::Cleanup
            | JobState::Inactive => Vec::new(),
        }
    }

    pub fn apply(&mut self, id: JobId, time: Timestamp, event: &Event) {
        match event {
            Event::Submit(submit) => self.add(id, submit),
            Event::Queue(gate) => self.gates.apply(gate),
            _ => {}
        }
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let (before, deadline, asked) = (job.state(), job.deadline(), job.brief().clone());
        if before == JobState::Inactive {
            // INACTIVE is final: `decide` says nothing after `clean` but this, and a log that does is not believed.
            if *event == Event::Purge {
                self.forget(id);
            }
            return;
        }
        let dropped = if ends_waiting(event) { std::mem::take(&mut job.needs) } else { Vec::new() };
        let starts = !job.started();
        job.apply(time, event);
        let starts = starts && job.started();
        let (array, course, end) = (job.array(), Course::from(&**job), job.t_last());
        let (after, result) = (job.state(), job.result());
        let brief = job.brief().clone();
        let later = job.deadline();
        if later != deadline {
            if let Some(deadline) = deadline {
                self.timers.remove(&(deadline, id));
            }
            self.timers.extend(later.map(|deadline| (deadline, id)));
        }
        if matches!(event, Event::JobspecUpdate(_)) {
            if asked.name != brief.name && brief.within.is_none() {
                self.names.remove(&(asked.name.clone(), id));
                self.names.insert((brief.name.clone(), id));
            }
            if asked.queue != brief.queue && brief.within.is_none() {
                self.count_queue(&asked.queue, before, JobState::New);
                self.count_queue(&brief.queue, JobState::New, before);
            }
        }
        for need in dropped {
            self.forget_need(id, need);
        }
        if starts || after == JobState::Inactive {
            // It ends where it becomes inactive, which it does once.
            if let Some(crowd) = array.and_then(|array| self.crowds.get_mut(&array)) {
                crowd.note(course);
            }
        }
        if brief.within.is_none() {
            self.count(before, after, result);
            self.count_queue(&brief.queue, before, after);
        }
        match event {
            Event::DependencyAdd(description) => {
                if let Some(need) = Need::of_description(description) {
                    self.note_need(id, need);
                }
            }
            Event::DependencyRemove(description) => {
                if let Some(need) = Need::of_description(description) {
                    self.forget_need(id, need);
                }
            }
            Event::Alloc(alloc) if brief.within.is_none() => self.ledger.take(id, &alloc.r),
            Event::Release(release) => self.ledger.give_back(id, &release.ranks),
            Event::Clean => {
                self.active.remove(&id);
                if let Some(inner) = brief.within.and_then(|outer| self.inner.get_mut(&outer)) {
                    inner.active.remove(&id);
                    inner.over.insert(id);
                    return;
                }
                self.over.insert((end, id));
                self.names.remove(&(brief.name.clone(), id));
                self.leave_array(id, &brief);
            }
            _ => {}
        }
    }

    fn add(&mut self, id: JobId, submit: &Submit) {
        if self.jobs.contains_key(&id) {
            return;
        }
        let number = if submit.number == 0 { self.number_next() } else { submit.number };
        self.number_last = self.number_last.max(number);
        self.jobs.insert(id, Box::new(Job::new(id, number, submit)));
        self.active.insert(id);
        match submit.asked.brief.within {
            Some(outer) => drop(self.inner.entry(outer).or_default().active.insert(id)),
            None => drop(self.names.insert((submit.asked.brief.name.clone(), id))),
        }
        if let Some(Array { id: first, throttle, count, .. }) = submit.asked.brief.array {
            let first = first.unwrap_or(id);
            self.crowds.entry(first).or_default().join(count, (first == id).then_some(number));
            if throttle.is_some() {
                self.arrays.entry(first).or_default().active.insert(id);
            }
        }
        if let Some(batch) = &submit.batch {
            if !self.batches.contains_key(&batch.id) {
                if self.batch_order.len() == BATCHES_MAX
                    && let Some(oldest) = self.batch_order.pop_front()
                {
                    self.batches.remove(&oldest);
                }
                self.batch_order.push_back(batch.id.clone());
            }
            self.batches.entry(batch.id.clone()).or_default().push((batch.index, id));
        }
    }

    /// Of a job that is over, nothing but this is left: those who waited for it know how it ended.
    fn forget(&mut self, id: JobId) {
        let Some(job) = self.jobs.remove(&id) else { return };
        if let Some(outer) = job.within() {
            if let Some(inner) = self.inner.get_mut(&outer) {
                inner.over.remove(&id);
                if inner.active.is_empty() && inner.over.is_empty() {
                    self.inner.remove(&outer);
                }
            }
            return;
        }
        self.over.remove(&(job.t_last(), id));
        if let Some(array) = job.array()
            && self.crowds.get_mut(&array).is_some_and(Crowd::forget)
        {
            self.crowds.remove(&array);
        }
        self.stats.inactive -= 1;
        if let Some(result) = job.result() {
            *self.stats.of_result(result) -= 1;
        }
    }

    fn note_need(&mut self, id: JobId, need: Need) {
        match need {
            Need::After(_, target) | Need::One(_, target) => {
                self.waiters.entry(target).or_default().insert(id);
            }
            Need::BeginTime(time) => {
                self.timers.insert((time, id));
            }
            Need::Singleton => {}
            Need::Place { array, .. } => {
                self.arrays.entry(array).or_default().waiting.insert(id);
            }
        }
    }

    fn leave_array(&mut self, id: JobId, brief: &Brief) {
        let Some(array) = &brief.array else { return };
        let first = array.id.unwrap_or(id);
        if let Some(members) = self.arrays.get_mut(&first) {
            members.active.remove(&id);
            if members.active.is_empty() {
                self.arrays.remove(&first);
            }
        }
    }

    fn forget_need(&mut self, id: JobId, need: Need) {
        match need {
            Need::After(_, target) | Need::One(_, target) => {
                let others = self.job(id).is_some_and(|j| j.needs.iter().any(|n| n.target() == Some(target)));
                if !others && let Some(waiters) = self.waiters.get_mut(&target) {
                    waiters.remove(&id);
                    if waiters.is_empty() {
                        self.waiters.remove(&target);
                    }
                }
            }
            Need::BeginTime(time) => {
                self.timers.remove(&(time, id));
            }
            Need::Singleton => {}
            Need::Place { array, .. } => {
                if let Some(members) = self.arrays.get_mut(&array) {
                    members.waiting.remove(&id);
                }
            }
        }
    }

    fn count(&mut self, before: JobState, after: JobState, result: Option<JobResult>) {
        if before == after {
            return;
        }
        if let Some(count) = self.stats.of_state(before) {
            *count -= 1;
        }
        self.stats.count(after, result);
    }

    fn count_queue(&mut self, queue: &str, before: JobState, after: JobState) {
        if queue.is_empty() || before == after {
            return;
        }
        if !self.counts.contains_key(queue) {
            self.counts.insert(queue.into(), Count::default());
        }
        let count = self.counts.get_mut(queue).expect("it was put there if it was missing");
        if let Some(counter) = counter_of(count, before) {
            *counter -= 1;
        }
        if let Some(counter) = counter_of(count, after) {
            *counter += 1;
        }
    }

    pub(crate) fn waiters(&self, id: JobId) -> impl Iterator<Item = &Job> {
        self.waiters.get(&id).into_iter().flatten().filter_map(|id| self.job(*id))
    }

    /// How far the array with this first job is.
    pub(crate) fn crowd(&self, array: JobId) -> Crowd {
        self.crowds.get(&array).copied().unwrap_or_default()
    }

    /// Who else is in the array with this first job, if it has a limit.
    pub(crate) fn members(&self, array: JobId) -> Option<&Members> {
        self.arrays.get(&array)
    }

    /// Active jobs of that name, oldest first.
    pub(crate) fn namesakes(&self, name: &Arc<str>) -> impl Iterator<Item = JobId> + '_ {
        self.names.range((name.clone(), JobId(0))..=(name.clone(), JobId(u64::MAX))).map(|(_, id)| *id)
    }

    pub(crate) fn due(&self, now: Timestamp) -> impl Iterator<Item = &Job> {
        self.timers.range(..=(now, JobId(u64::MAX))).filter_map(|(_, id)| self.job(*id))
    }
}

fn counter_of(count: &mut Count, state: JobState) -> Option<&mut u64> {
    match state {
        JobState::New | JobState::Inactive => None,
        JobState::Depend | JobState::Priority | JobState::Sched => Some(&mut count.pending),
        JobState::Run | JobState::Cleanup => Some(&mut count.running),
    }
}

/// From here on the job waits for nobody.
fn ends_waiting(event: &Event) -> bool {
    match event {
        Event::Exception(raised) => raised.is_fatal(),
        _ => false,
    }
}
