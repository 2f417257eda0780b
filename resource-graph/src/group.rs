//! Groups: jobs that start together on the same nodes, where nobody else is, each with an equal part of each socket.
//!
//! Until it starts, a group is to everybody else a job that wants whole nodes, so there is one resource set to find,
//! promise and compare. Which core is whose is worked out at the start, and is a function of the nodes.

use crate::{
    Graph,
    allowed::Filter,
    ask::{Ask, Refusal},
    cosched::{self, Sharing},
    counts::Counts,
    index::{Index, View},
    place::{self, Field},
    policy, say,
    totals::Totals,
};
use flurm_jobspec::{Group, Jobspec};
use flurm_types::{Idset, R, RNode, Timestamp, counted};
use std::{cell::Cell, cmp::Reverse, sync::Arc};

/// What starts at once or not at all.
#[derive(Debug, Copy, Clone)]
pub enum Unit<'a> {
    /// One job.
    Job(&'a Jobspec),
    /// All jobs of a co-scheduling group; two at least.
    Group(&'a [Arc<Jobspec>]),
}

impl<'a> From<&'a Jobspec> for Unit<'a> {
    fn from(jobspec: &'a Jobspec) -> Unit<'a> {
        Unit::Job(jobspec)
    }
}

impl<'a> From<&'a Arc<Jobspec>> for Unit<'a> {
    fn from(jobspec: &'a Arc<Jobspec>) -> Unit<'a> {
        Unit::Job(jobspec)
    }
}

impl<'a> From<&'a Arc<[Arc<Jobspec>]>> for Unit<'a> {
    fn from(jobs: &'a Arc<[Arc<Jobspec>]>) -> Unit<'a> {
        match &**jobs {
            [one] => Unit::Job(one),
            jobs => Unit::Group(jobs),
        }
    }
}

impl<'a> Unit<'a> {
    /// Its jobs.
    pub fn jobs(self) -> impl Iterator<Item = &'a Jobspec> {
        let (one, several) = match self {
            Unit::Job(job) => (Some(job), &[][..]),
            Unit::Group(jobs) => (None, jobs),
        };
        one.into_iter().chain(several.iter().map(|job| &**job))
    }

    /// Seconds until the last of its jobs is over; 0 if one of them has no limit.
    #[must_use]
    pub fn duration(self) -> f64 {
        let durations = || self.jobs().map(|job| job.attributes().duration);
        if durations().any(|duration| duration == 0.0) { 0.0 } else { durations().fold(0.0, f64::max) }
    }

    /// Of each socket it has one of so many parts: 1 unless it is willing to share.
    pub(crate) fn parts(self) -> u64 {
        let willing = self.jobs().next().and_then(|job| job.attributes().cosched.as_ref());
        match (self, willing) {
            (Unit::Job(_), Some(willing)) => willing.group.as_ref().map_or(2, |group| group.size.into()),
            // Its jobs have theirs together.
            (Unit::Group(_), _) | (_, None) => 1,
        }
    }

    fn group(self) -> Option<&'a Group> {
        self.jobs().next()?.attributes().cosched.as_ref()?.group.as_ref()
    }

    /// For texts.
    fn name(self) -> String {
        let name = self.group().map_or("", |group| &group.name);
        format!("the {} jobs of co-scheduling group {name}", self.jobs().count())
    }
}

impl Graph {
    /// What the jobs of a unit ask for.
    ///
    /// # Errors
    /// The first thing that is not understood, or that no group can have.
    pub(crate) fn asks<'a>(&self, unit: Unit<'a>, fresh: bool) -> Result<Vec<Ask<'a>>, String> {
        let ask = |job| Ok(Ask { fresh, ..Ask::of(job, self.placement, &Counts::default())? });
        let asks = unit.jobs().map(ask).collect::<Result<Vec<_>, String>>()?;
        let mut counts = asks.iter().filter_map(|ask| ask.nodes);
        if let Some(count) = counts.next()
            && let Some(other) = counts.find(|other| *other != count)
        {
            let name = unit.name();
            return Err(format!("{name} share their nodes, but one asks for {count} and one for {other}"));
        }
        Ok(asks)
    }

    /// Cores that a unit has at least wherever it is; 0 if that depends on the place.
    #[must_use]
    pub fn cores_at_least<'a>(&self, unit: impl Into<Unit<'a>>) -> u64 {
        let asks = |job| Ask::of(job, self.placement, &Counts::default());
        let cores = unit.into().jobs().map(|job| asks(job).map_or(0, |ask| ask.total().0));
        cores.fold(0, u64::saturating_add)
    }

    /// Cores and GPUs of all jobs together; none if that is not understood.
    pub(crate) fn total(&self, unit: Unit<'_>) -> Option<Totals> {
        unit.jobs().try_fold(Totals::default(), |sum, job| {
            let total = match Ask::of(job, self.placement, &Counts::default()) {
                Ok(ask) => Totals::new(ask.total()),
                Err(Refusal::Shape(_)) => self.general_total(job)?,
                Err(Refusal::Never(_)) => return None,
            };
            Some(sum.and(&total))
        })
    }

    /// What a unit gets out of what is free in an index: a job its part of nodes, a group whole ones.
    pub(crate) fn in_index(
        &self,
        unit: Unit<'_>,
        index: &Index,
        sharing: &Sharing,
        at: Timestamp,
        visited: &mut usize,
    ) -> Option<R> {
        match unit {
            Unit::Job(job) => self.most(job, index, sharing, at, visited),
            Unit::Group(_) => {
                let allowed = unit.jobs().map(|job| self.allowed(job, at)).collect();
                let nodes = self.group_nodes(unit, allowed, index, visited)?;
                let nodes = nodes.iter().map(|at| index.whole(at as usize)).collect();
                let mut r = R { starttime: at, ..self.described(nodes) };
                r.expiration = self.end_of(unit.duration(), at, &r.nodes);
                cosched::note(&mut r, "", unit.group());
                Some(r)
            }
        }
    }

    /// Positions of nodes where nobody is and all members have room; `each` is where each of them may be.
    ///
    /// The fewest that the largest member needs, if the others fit there, or the fewest of another one. On nodes that
    /// differ much that may fail although there is a way: then what each of them would choose, all together, or if their
    /// number is given, those with the most room for the members that do not give it.
    fn group_nodes(
        &self,
        unit: Unit<'_>,
        each: Vec<Filter<'_>>,
        index: &Index,
        visited: &mut usize,
    ) -> Option<Idset> {
        let visited = Cell::from_mut(visited);
        let (alone, asks) = (self.asks(unit, true).ok()?, self.asks(unit, false).ok()?);
        let mut allowed = each.into_iter().reduce(Filter::and)?;
        for ask in &alone {
            let field = Field { ask, index, view: View::Now, allowed: &allowed, visited };
            let with_room = field.with_room(ask.least()).map(|at| at as u32).collect();
            allowed = Filter::of(index.len(), &with_room);
        }
        let mut leads: Vec<&Ask<'_>> = alone.iter().collect();
        leads.sort_by_key(|ask| (ask.nodes.is_none(), Reverse(ask.total())));
        let count = leads.first()?.nodes;
        let mut all = Idset::new();
        for lead in leads.into_iter().filter(|lead| lead.nodes == count) {
            let field = Field { ask: lead, index, view: View::Now, allowed: &allowed, visited };
            let nodes = policy::choose(field)?;
            let nodes =
                nodes.iter().filter_map(|node| index.position(node.rank)).map(|at| at as u32).collect();
            if parts(&asks, index, &nodes, visited).is_some() {
                return Some(nodes);
            }
            all.union_with(&nodes);
        }
        if let Some(count) = count {
            let room = |at: usize| {
                let free = asks.iter().filter(|ask| ask.nodes.is_none());
                let rooms = free.map(|ask| {
                    let field = Field { ask, index, view: View::Now, allowed: &allowed, visited };
                    // In thousandths of what it needs.
                    u64::from(field.capacity(at)) * 1000 / u64::from(ask.pieces.max(1))
                });
                rooms.min().unwrap_or(0)
            };
            let mut by_room: Vec<usize> = allowed.positions(index.len()).collect();
            by_room.sort_by_cached_key(|at| (Reverse(room(*at)), *at));
            all = by_room.into_iter().take(count as usize).map(|at| at as u32).collect();
        }
        parts(&asks, index, &all, visited).map(|_| all)
    }

    /// Nodes that could serve a group if they were free and lasted for ever.
    fn group_somewhere(&self, unit: Unit<'_>, index: &Index, visited: &mut usize) -> Option<Idset> {
        let constraints = unit.jobs().map(|job| &job.attributes().constraints);
        let allowed = constraints.map(|constraint| self.names.allowed(constraint, index)).collect();
        self.group_nodes(unit, allowed, index, visited)
    }

    /// Could a group ever run here, all its members together? On these nodes.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn group_ever(
        &self,
        unit: Unit<'_>,
        now: Timestamp,
        visited: &mut usize,
    ) -> Result<Idset, String> {
        let (asks, index) = (self.asks(unit, true)?, self.index.all_free());
        let allowed = unit.jobs().map(|job| self.allowed(job, now)).collect();
        if let Some(nodes) = self.group_nodes(unit, allowed, &index, visited) {
            return Ok(nodes);
        }
        for ask in &asks {
            let allowed = self.names.allowed(ask.constraint, &index);
            let visited = Cell::from_mut(&mut *visited);
            let field = Field { ask, index: &index, view: View::Ever, allowed: &allowed, visited };
            if place::place(field).is_none() {
                return Err(format!("one of {}: {}", unit.name(), say::never(field)));
            }
        }
        let longest = unit.jobs().max_by(|a, b| a.attributes().duration.total_cmp(&b.attributes().duration));
        Err(match (self.group_somewhere(unit, &index, visited), longest) {
            (Some(_), Some(longest)) => self.too_long(longest, now),
            (Some(_), None) | (None, _) => {
                let (name, size) = (unit.name(), unit.jobs().count());
                format!("{name} do not fit on the same nodes, each with at most 1/{size} of each socket")
            }
        })
    }

    /// Why a group that fits does not fit now.
    pub(crate) fn group_shortage(&self, unit: Unit<'_>, now: Timestamp) -> String {
        let index = self.index.all_free();
        let allowed = || unit.jobs().map(|job| self.allowed(job, now));
        let needed = self.group_nodes(unit, allowed().collect(), &index, &mut 0);
        let needed = needed.map_or(0, |nodes| nodes.len() as u64);
        let all = allowed().reduce(Filter::and);
        let all = all.iter().flat_map(|all| all.positions(self.index.len()));
        let idle = all.filter(|at| self.index.is_idle(*at)).count();
        format!("{} wait for {} (now: {idle})", unit.name(), counted(needed, "idle node"))
    }

    /// What each job of a unit gets out of what was found for the unit, in their order. None if nodes have changed so
    /// much that it does not fit there any more.
    #[must_use]
    pub fn split<'a>(&self, unit: impl Into<Unit<'a>>, r: R) -> Option<Vec<R>> {
        let unit = unit.into();
        if let Unit::Job(_) = unit {
            return Some(vec![r]);
        }
        let asks = self.asks(unit, false).ok()?;
        let on = self.index.positions(&r.ranks());
        let parts = parts(&asks, &self.index, &on, &Cell::new(0))?;
        let each = unit.jobs().zip(&asks).zip(parts).map(|((job, ask), nodes)| {
            let (starttime, nslots) = (r.starttime, Some(ask.slots));
            let mut r = R { starttime, nslots, ..self.described(nodes) };
            r.expiration = self.end_of(job.attributes().duration, starttime, &r.nodes);
            if let Some(willing) = &job.attributes().cosched {
                cosched::note(&mut r, willing.class.as_deref().unwrap_or(""), willing.group.as_ref());
            }
            r
        });
        Some(each.collect())
    }
}

/// What each member gets on these nodes, if all of them fit there.
fn parts(asks: &[Ask<'_>], index: &Index, on: &Idset, visited: &Cell<usize>) -> Option<Vec<Vec<RNode>>> {
    let (mut index, allowed) = (index.clone(), Filter::of(index.len(), on));
    let each = asks.iter().map(|ask| {
        let field = Field { ask, index: &index, view: View::Now, allowed: &allowed, visited };
        let nodes = policy::over_all(field, on)?;
        index.set_parts_free(&nodes, false);
        Some(nodes)
    });
    each.collect()
}
