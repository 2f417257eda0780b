//! Jobs on the same socket slow each other down: how much of its work each has done, and when it will be over.
//!
//! The model is that of the table of slow-downs, which speaks of two jobs with half of a socket each. What a neighbour
//! adds to a run time grows with the cores that it has on the socket, so that a quarter of a socket adds half of what the
//! table says, and several neighbours add up. A job that has more than half of a socket is its own neighbour with the
//! rest, so packing a job tight is not free either. A job is as slow as on its slowest socket, since its tasks wait for
//! each other. All this is worked out anew whenever somebody comes or goes, for the work that is left.
//!
//! A trace's run times are those of jobs that have half of each of their sockets, alone. Jobs without a class neither
//! suffer nor hinder anybody.

use flurm_resource_graph::SlowDowns;
use flurm_types::{Idset, R, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// Work below this many seconds is rounding, for times are kept in microseconds.
const NOTHING_S: f64 = 1e-5;

/// A socket by its rank and its place there.
type Place = (u32, usize);

/// The jobs that run and when each of them will be over.
#[derive(Debug)]
pub(super) struct Contention {
    /// Names of classes, and what each suffers from each.
    classes: Vec<String>,
    added: Vec<Vec<f64>>,
    /// Cores of the sockets of each rank.
    layouts: BTreeMap<u32, Vec<Idset>>,
    sockets: BTreeMap<Place, Socket>,
    jobs: BTreeMap<usize, Going>,
    /// Whose neighbours have changed.
    touched: BTreeSet<usize>,
}

#[derive(Debug, Default)]
struct Socket {
    cores: f64,
    /// Class of each job that is there, and its cores.
    here: BTreeMap<usize, (usize, f64)>,
}

#[derive(Debug)]
struct Going {
    sockets: Vec<Place>,
    /// Work that was left at the time `since`, in seconds of running alone.
    left_s: f64,
    since: Timestamp,
    /// Run time by run time alone, from then on.
    factor: f64,
    /// When its time is over; the end of time if never.
    until: Timestamp,
    /// How often its end was said; only the last time counts.
    said: u32,
}

/// When a job will be over, as of now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End {
    pub(super) job: usize,
    pub(super) at: Timestamp,
    /// Tells it from what was said of the job before.
    pub(super) said: u32,
}

impl Contention {
    pub(super) fn new<'a>(
        inventory: &R,
        classes: impl Iterator<Item = &'a str>,
        table: &SlowDowns,
    ) -> Contention {
        let classes: Vec<String> =
            classes.collect::<BTreeSet<&str>>().into_iter().map(str::to_owned).collect();
        let row = |one: &String| classes.iter().map(|beside| table.of(one, beside) - 1.0).collect();
        let layouts = inventory.nodes.iter().map(|node| {
            let sockets = inventory.topology.get(&node.rank).map_or(&[][..], |topology| &topology.sockets);
            let sockets: Vec<Idset> = sockets.iter().map(|socket| socket.cores.clone()).collect();
            (node.rank, if sockets.is_empty() { vec![node.cores.clone()] } else { sockets })
        });
        Contention {
            added: classes.iter().map(row).collect(),
            layouts: layouts.collect(),
            classes,
            sockets: BTreeMap::new(),
            jobs: BTreeMap::new(),
            touched: BTreeSet::new(),
        }
    }

    /// A job begins with this work before it.
    pub(super) fn begins(&mut self, job: usize, class: Option<&str>, runtime_s: f64, r: &R) {
        let class = class.and_then(|class| self.classes.iter().position(|known| known == class));
        let mut sockets = Vec::new();
        for node in r.nodes.iter().filter(|_| class.is_some()) {
            let layout = self.layouts.get(&node.rank).map_or(&[][..], Vec::as_slice);
            for (n, all) in layout.iter().enumerate() {
                let own = all.intersection(&node.cores).len();
                if let (Some(class), true) = (class, own > 0) {
                    let socket = self.sockets.entry((node.rank, n)).or_default();
                    socket.cores = all.len() as f64;
                    self.touched.extend(socket.here.keys());
                    socket.here.insert(job, (class, own as f64));
                    sockets.push((node.rank, n));
                }
            }
        }
        let until = if r.expiration.is_zero() { Timestamp(i64::MAX) } else { r.expiration };
        let going = Going { sockets, left_s: runtime_s, since: r.starttime, factor: 1.0, until, said: 0 };
        self.jobs.insert(job, going);
        self.touched.insert(job);
    }

    /// Is this the time at which the job is over, as was said last?
    pub(super) fn is_over(&self, end: End) -> bool {
        self.jobs.get(&end.job).is_some_and(|going| going.said == end.said)
    }

    /// A job goes. Was its work done?
    pub(super) fn leaves(&mut self, job: usize, now: Timestamp) -> bool {
        let Some(mut going) = self.jobs.remove(&job) else { return false };
        going.work(now);
        for place in &going.sockets {
            if let Some(socket) = self.sockets.get_mut(place) {
                socket.here.remove(&job);
                self.touched.extend(socket.here.keys());
            }
        }
        self.touched.remove(&job);
        going.left_s < NOTHING_S
    }

    /// The ends that have changed since the last time.
    pub(super) fn ends(&mut self, now: Timestamp) -> Vec<End> {
        let mut ends = Vec::new();
        for job in std::mem::take(&mut self.touched) {
            let Some(going) = self.jobs.get(&job) else { continue };
            let slowest = going.sockets.iter().map(|place| self.factor(job, place)).fold(1.0, f64::max);
            if slowest == going.factor && going.said > 0 {
                continue;
            }
            let going = self.jobs.get_mut(&job).expect("it was there a moment ago");
            going.work(now);
            going.factor = slowest;
            going.said += 1;
            let done = now.checked_add_secs(going.left_s * slowest).unwrap_or(Timestamp(i64::MAX));
            ends.push(End { job, at: done.min(going.until), said: going.said });
        }
        ends
    }

    /// How much longer a job takes on a socket than alone on half of it.
    fn factor(&self, job: usize, place: &Place) -> f64 {
        let socket = &self.sockets[place];
        let half = (socket.cores / 2.0).max(0.5);
        let (own_class, own) = socket.here[&job];
        let added = |class: usize, cores: f64| self.added[own_class][class] * cores / half;
        let others = socket.here.iter().filter(|(other, _)| **other != job);
        let from_others: f64 = others.map(|(_, (class, cores))| added(*class, *cores)).sum();
        1.0 + from_others + added(own_class, (own - half).max(0.0))
    }
}

impl Going {
    /// What has been done up to now is done.
    fn work(&mut self, now: Timestamp) {
        self.left_s = (self.left_s - now.secs_since(self.since) / self.factor).max(0.0);
        self.since = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flurm_types::{RNode, Socket as Cores, Topology};

    /// One node with two sockets of four cores.
    fn machine() -> R {
        let node = RNode { rank: 0, host: "n0".to_owned(), cores: (0..8).collect(), gpus: Idset::new() };
        let mut r = R::from_nodes([node]);
        let socket = |cores: std::ops::Range<u32>| Cores { cores: cores.collect(), ..Cores::default() };
        r.topology.insert(0, Topology { sockets: [socket(0..4), socket(4..8)].into() });
        r
    }

    fn part(cores: &str) -> R {
        let cores = cores.parse().unwrap();
        R::from_nodes([RNode { rank: 0, host: "n0".to_owned(), cores, gpus: Idset::new() }])
    }

    fn secs(at: f64) -> Timestamp {
        Timestamp::from_secs_f64(at)
    }

    fn world() -> Contention {
        let mut table = SlowDowns::default();
        table.set("m", "m", 2.0);
        table.set("m", "c", 1.5);
        table.set("c", "m", 1.0);
        Contention::new(&machine(), ["m", "c"].into_iter(), &table)
    }

    fn at(ends: &[End]) -> Vec<(usize, f64)> {
        ends.iter().map(|end| (end.job, end.at.as_secs_f64())).collect()
    }

    #[test]
    fn what_is_left_takes_longer_while_somebody_is_beside() {
        let mut world = world();
        world.begins(1, Some("m"), 100.0, &part("0-1"));
        assert_eq!(at(&world.ends(secs(0.0))), [(1, 100.0)]);
        // On the other socket, so it does not matter.
        world.begins(2, Some("m"), 100.0, &R { starttime: secs(10.0), ..part("4-5") });
        assert_eq!(at(&world.ends(secs(10.0))), [(2, 110.0)]);
        // Half of the first one's work is done when it gets a neighbour, and the rest takes twice as long.
        world.begins(3, Some("m"), 20.0, &R { starttime: secs(50.0), ..part("2-3") });
        let ends = world.ends(secs(50.0));
        assert_eq!(at(&ends), [(1, 150.0), (3, 90.0)]);
        assert!(world.leaves(3, secs(90.0)));
        assert!(world.is_over(ends[0]));
        // 20 of the 50 seconds of work were done in the 40 seconds beside it.
        assert_eq!(at(&world.ends(secs(90.0))), [(1, 120.0)]);
        assert!(!world.is_over(ends[0]), "that was said before");
        assert!(!world.leaves(1, secs(119.0)), "one second of work is left");
    }

    #[test]
    fn who_has_a_whole_socket_is_in_his_own_way() {
        let mut world = world();
        world.begins(1, Some("m"), 100.0, &part("0-3"));
        world.begins(2, Some("m"), 100.0, &part("4-6"));
        world.begins(3, Some("c"), 100.0, &part("7"));
        world.begins(4, None, 100.0, &part("0-7"));
        // All of a socket; three quarters and a quarter of another class; nothing.
        assert_eq!(at(&world.ends(secs(0.0))), [(1, 200.0), (2, 175.0), (3, 100.0), (4, 100.0)]);
    }

    #[test]
    fn on_several_sockets_the_slowest_counts_and_time_is_over_when_it_is() {
        let mut world = world();
        let limited = R { expiration: secs(130.0), ..part("0-1,4-5") };
        world.begins(1, Some("m"), 100.0, &limited);
        world.begins(2, Some("c"), 100.0, &part("6-7"));
        assert_eq!(at(&world.ends(secs(0.0))), [(1, 130.0), (2, 100.0)]);
        assert!(!world.leaves(1, secs(130.0)));
    }
}
