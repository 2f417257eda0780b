//! What jobs do to each other, learnt from runs that are over: run time alone against run time beside a class.
//!
//! Only willing jobs are watched, since they have at most half of each socket, as the table of slow-downs means it;
//! members of groups are not. Like is compared with like: jobs of one class with the same name and number of cores; those
//! without a class are one, too. A run counts as alone, or as beside a class, if it was so for nine tenths of its time; others tell nothing, nor
//! do runs that are shorter than ten seconds or end with their time.
//!
//! The estimate for a pair of classes: for each kind of jobs that has three runs of both sorts at least, which differ by
//! a quarter at most among themselves, the median beside by the median alone; of these the mean, each weighted with the
//! number of its runs. Only the last eight runs of each sort are kept, so that the estimate follows a change.

use flurm_jobspec::Jobspec;
use flurm_resource_graph::{SlowDowns, class_of, group_of};
use flurm_types::{Idset, JobId, Now, R, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Runs of each sort that are kept.
const RUNS_MAX: usize = 8;

/// Runs of each sort without which nothing is concluded.
const RUNS_MIN: usize = 3;

/// Kinds of jobs that are kept; those that did not run for the longest time make room.
const KINDS_MAX: usize = 256;

/// How much the runs of a sort may differ, as a part of their median.
const SPREAD_MAX: f64 = 0.25;

/// The part of a run that must be of one sort.
const PURE_MIN: f64 = 0.9;

/// Shorter runs are mostly their beginning and end.
const SHORTEST_S: f64 = 10.0;

/// What was learnt is handed out to be kept after so long for each kind that is in it: at once where there are few, once
/// in a minute where it is long.
const NEWS_US: i64 = 250_000;

/// The format of what is handed out.
const VERSION: u32 = 1;

/// Jobs that are alike.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kind {
    class: String,
    name: String,
    cores: u64,
}

/// The last run times of a kind in seconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Runs {
    alone: Vec<f64>,
    /// By the class that was beside.
    beside: BTreeMap<String, Vec<f64>>,
    /// Higher for those that ran later.
    used: u64,
}

/// What is handed out.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    /// What follows from the runs, for people.
    #[serde(default)]
    pairs: Vec<Pair>,
    runs: Vec<(Kind, Runs)>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pair {
    class: String,
    beside: String,
    factor: f64,
    runs: usize,
}

/// A socket by its rank and its place there.
type Place = (u32, usize);

/// A willing job that runs.
#[derive(Debug)]
struct Watched {
    /// None if it is only watched as somebody's neighbour.
    kind: Option<Kind>,
    class: String,
    places: BTreeSet<Place>,
    begin: Timestamp,
    /// When its time is over; zero if never.
    until: Timestamp,
    /// Since when the neighbours are as they are.
    since: Timestamp,
    /// Seconds with these classes beside it.
    with: BTreeMap<BTreeSet<String>, f64>,
}

/// Watches runs, and knows what followed from those that are over.
#[derive(Debug, Default)]
pub(crate) struct Learner {
    running: BTreeMap<JobId, Watched>,
    places: BTreeMap<Place, BTreeSet<JobId>>,
    kinds: BTreeMap<Kind, Runs>,
    used: u64,
    changed: bool,
    told: Option<Timestamp>,
}

impl Learner {
    /// A job begins, or has begun before a restart: then nobody knows its jobspec, nor since when it ran with whom.
    pub(crate) fn begins(&mut self, id: JobId, jobspec: Option<&Jobspec>, r: &R, now: Now) {
        let Some(class) = class_of(r) else { return };
        let places: BTreeSet<Place> = places(r).collect();
        self.settle(id, &places, now.wall);
        let cores = r.ncores() as u64;
        let kind = jobspec.filter(|_| group_of(r).is_none());
        let kind = kind.map(|jobspec| Kind { class: class.to_owned(), name: jobspec.name(), cores });
        for place in &places {
            self.places.entry(*place).or_default().insert(id);
        }
        let (class, begin, until) = (class.to_owned(), now.wall, r.expiration);
        let with = BTreeMap::new();
        self.running.insert(id, Watched { kind, class, places, begin, until, since: begin, with });
    }

    /// A job leaves ranks. With the last of them its run is over. Tells whether something may have been learnt.
    pub(crate) fn leaves(&mut self, id: JobId, ranks: &Idset, now: Now) -> bool {
        let Some(job) = self.running.get(&id) else { return false };
        let left: BTreeSet<Place> =
            job.places.iter().filter(|(rank, _)| ranks.contains(*rank)).copied().collect();
        self.settle(id, &left, now.wall);
        for place in &left {
            if let Some(here) = self.places.get_mut(place) {
                here.remove(&id);
                if here.is_empty() {
                    self.places.remove(place);
                }
            }
        }
        let Some(job) = self.running.get_mut(&id) else { return false };
        job.places.retain(|place| !left.contains(place));
        if !job.places.is_empty() {
            // A run that ends in pieces has no clear length.
            job.kind = None;
            return false;
        }
        let job = self.running.remove(&id).expect("it was there a moment ago");
        self.is_over(job, now.wall)
    }

    /// The neighbours of a job that comes or goes on these sockets, and it itself, are with others from now on.
    fn settle(&mut self, id: JobId, places: &BTreeSet<Place>, now: Timestamp) {
        let here = places.iter().filter_map(|place| self.places.get(place)).flatten();
        let touched: BTreeSet<JobId> = here.copied().chain([id]).collect();
        for id in touched {
            let Some(job) = self.running.get(&id) else { continue };
            let others = job.places.iter().filter_map(|place| self.places.get(place)).flatten();
            let others: BTreeSet<String> = others
                .filter(|other| **other != id)
                .filter_map(|other| Some(self.running.get(other)?.class.clone()))
                .collect();
            let job = self.running.get_mut(&id).expect("it was there a moment ago");
            *job.with.entry(others).or_default() += now.secs_since(job.since);
            job.since = now;
        }
    }

    fn is_over(&mut self, job: Watched, now: Timestamp) -> bool {
        let length = now.secs_since(job.begin);
        let was_cut_off = !job.until.is_zero() && now >= job.until;
        let (Some(kind), false) = (job.kind, was_cut_off || length < SHORTEST_S) else { return false };
        let most = job.with.into_iter().max_by(|a, b| a.1.total_cmp(&b.1));
        let Some((with, _)) = most.filter(|(_, secs)| *secs >= PURE_MIN * length) else { return false };
        let mut with = with.into_iter();
        let (beside, more) = (with.next(), with.next());
        if more.is_some() {
            return false;
        }
        self.used += 1;
        let runs = self.kinds.entry(kind).or_default();
        runs.used = self.used;
        let list = match beside {
            None => &mut runs.alone,
            Some(class) => runs.beside.entry(class).or_default(),
        };
        list.push(length);
        if list.len() > RUNS_MAX {
            list.remove(0);
        }
        if self.kinds.len() > KINDS_MAX
            && let Some(oldest) = self.kinds.iter().min_by_key(|(_, runs)| runs.used)
        {
            let oldest = oldest.0.clone();
            self.kinds.remove(&oldest);
        }
        self.changed = true;
        true
    }

    /// What follows for pairs of classes.
    fn pairs(&self) -> Vec<Pair> {
        let mut sums: BTreeMap<(&str, &str), (f64, usize)> = BTreeMap::new();
        for (kind, runs) in &self.kinds {
            let Some(alone) = clear(&runs.alone) else { continue };
            for (beside, list) in &runs.beside {
                let Some(median) = clear(list) else { continue };
                let (sum, count) = sums.entry((&kind.class, beside)).or_default();
                let weight = list.len().min(runs.alone.len());
                *sum += weight as f64 * median / alone;
                *count += weight;
            }
        }
        let pair = |((class, beside), (sum, runs)): ((&str, &str), (f64, usize))| {
            let factor = (sum / runs as f64).max(1.0);
            Pair { class: class.to_owned(), beside: beside.to_owned(), factor, runs }
        };
        sums.into_iter().map(pair).collect()
    }

    /// Puts what was learnt into a table, in the place of what was learnt before.
    pub(crate) fn teach(&self, table: &mut SlowDowns) {
        table.unlearn();
        for Pair { class, beside, factor, .. } in self.pairs() {
            table.learn(&class, &beside, factor);
        }
    }

    /// When there is something to be kept.
    pub(crate) fn has_news_at(&self) -> Option<Timestamp> {
        let pause = NEWS_US.saturating_mul(self.kinds.len() as i64);
        let at = self.told.map_or(Timestamp::ZERO, |told| Timestamp(told.0.saturating_add(pause)));
        self.changed.then_some(at)
    }

    /// What is to be kept, if there is something new and it was not said a moment ago.
    pub(crate) fn news(&mut self, now: Now) -> Option<Value> {
        self.has_news_at().filter(|at| *at <= now.wall)?;
        (self.changed, self.told) = (false, Some(now.wall));
        let runs = self.kinds.iter().map(|(kind, runs)| (kind.clone(), runs.clone())).collect();
        let document = Document { version: VERSION, pairs: self.pairs(), runs };
        Some(serde_json::to_value(document).expect("texts and finite numbers"))
    }

    /// Takes back what was kept. Of what cannot be understood nothing is taken.
    pub(crate) fn restore(&mut self, kept: Value) {
        let Ok(document) = serde_json::from_value::<Document>(kept) else { return };
        let good = |secs: &f64| (SHORTEST_S..1e12).contains(secs);
        let is_good = |list: &[f64]| list.len() <= RUNS_MAX && list.iter().all(good);
        let kinds = document.runs.into_iter().take(KINDS_MAX);
        if document.version == VERSION {
            self.kinds = kinds
                .filter(|(_, runs)| is_good(&runs.alone) && runs.beside.values().all(|list| is_good(list)))
                .collect();
            self.used = self.kinds.values().map(|runs| runs.used).max().unwrap_or(0);
        }
    }
}

/// The sockets that a job is on, as far as its R knows of them; else its nodes.
fn places(r: &R) -> impl Iterator<Item = Place> {
    r.nodes.iter().flat_map(|node| {
        let sockets = r.topology.get(&node.rank).map_or(&[][..], |topology| &topology.sockets);
        let on = sockets.iter().enumerate().filter(|(_, socket)| !socket.cores.is_disjoint(&node.cores));
        let on: Vec<usize> = on.map(|(n, _)| n).collect();
        let on = if on.is_empty() { vec![0] } else { on };
        on.into_iter().map(|n| (node.rank, n))
    })
}

/// The median of run times, if there are enough of them that agree.
fn clear(list: &[f64]) -> Option<f64> {
    let mut sorted = list.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (least, most) = (sorted.first()?, sorted.last()?);
    let median = (sorted[(sorted.len() - 1) / 2] + sorted[sorted.len() / 2]) / 2.0;
    (sorted.len() >= RUNS_MIN && most - least <= SPREAD_MAX * median).then_some(median)
}
