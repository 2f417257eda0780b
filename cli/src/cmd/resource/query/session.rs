//! A query in progress: a graph, the jobs that hold or will hold parts of it, and a clock that goes on when told to.

use super::command::{Command, Graph as From, Match, Reader, Status, Wish};
use crate::failure::Failure;
use crate::inventory::Inventory;
use flurm_jobspec::{Jobspec, Placement};
use flurm_resource_graph::{Criteria, Found, Graph, Info, Mark, MatchOp, Plan, SlowDowns, amount};
use flurm_types::{Hostlist, Idset, JobId, R, RNode, Timestamp};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// What a command came to: lines for people, a value for programs.
#[derive(Debug, Default, PartialEq)]
pub struct Answer {
    pub lines: Vec<String>,
    pub value: Value,
    /// What it cost, for those who ask.
    pub cost: Option<String>,
    pub is_last: bool,
}

impl Answer {
    fn nothing() -> Answer {
        Answer { value: json!({}), ..Answer::default() }
    }

    fn line(line: impl Into<String>, value: Value) -> Answer {
        Answer { lines: vec![line.into()], value, ..Answer::default() }
    }
}

/// How a session begins.
#[derive(Debug, Default)]
pub struct Setup {
    pub placement: Placement,
    pub slowdowns: SlowDowns,
    /// Where files are that are named without a folder.
    pub folder: PathBuf,
}

/// Later than everything.
const FAR: Timestamp = Timestamp(i64::MAX);

/// A job of the session.
#[derive(Debug)]
struct Job {
    state: State,
    jobspec: Jobspec,
    r: R,
}

#[derive(Copy, Clone, Debug, Eq, PartialEq)]
enum State {
    Allocated,
    Reserved,
    Over,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            State::Allocated => "allocated",
            State::Reserved => "reserved",
            State::Over => "over",
        }
    }
}

#[derive(Debug)]
pub struct Session {
    setup: Setup,
    reader: Reader,
    vertices: u64,
    graph: Graph,
    jobs: BTreeMap<u64, Job>,
    now: Timestamp,
    /// What will be free when; none when something has happened that it does not know.
    plan: Option<Plan>,
    matches: usize,
    failed: usize,
    spent: Duration,
    longest: Duration,
}

impl Session {
    pub fn new(setup: Setup, inventory: &Inventory) -> Session {
        let mut session = Session {
            setup,
            reader: Reader::new(),
            vertices: 0,
            graph: Graph::from_r(&R::default()),
            jobs: BTreeMap::new(),
            now: Timestamp::ZERO,
            plan: None,
            matches: 0,
            failed: 0,
            spent: Duration::ZERO,
            longest: Duration::ZERO,
        };
        session.begin(inventory);
        session
    }

    /// Does what a line says; nothing for lines that say nothing.
    pub fn answer(&mut self, line: &str) -> Result<Option<Answer>, Failure> {
        if line.trim_start().starts_with('#') {
            return Ok(None);
        }
        self.reader.read(line)?.map(|command| self.run(command)).transpose()
    }

    fn run(&mut self, command: Command) -> Result<Answer, Failure> {
        match command {
            Command::Graph(from) => self.load(&from),
            Command::Match(what) => self.find_room(&what),
            Command::Cancel { id } => self.cancel(id, None),
            Command::PartialCancel { id, ranks } => self.cancel(id, Some(ranks)),
            Command::Find { criteria } => self.find(&criteria.join(" ")),
            Command::Info { what } => self.info(&what),
            Command::SetStatus { path, status } => self.set_status(&path, status),
            Command::SetProperty { path, property } => self.set_property(&path, &property, true),
            Command::UnsetProperty { path, property } => self.set_property(&path, &property, false),
            Command::Time { at: None } => {
                let now = seconds(self.now);
                Ok(Answer::line(now.to_string(), json!({ "time": now })))
            }
            Command::Time { at: Some(at) } => self.go_to(Timestamp::from_secs_f64(at)),
            Command::Tick { by: Some(by) } => {
                let at = self.now.checked_add_secs(by);
                self.go_to(at.ok_or_else(|| Failure::usage("that is too far ahead"))?)
            }
            Command::Tick { by: None } => match self.next_event() {
                Some((at, ..)) => self.go_to(at),
                None => {
                    Err(Failure::new("nothing will happen by itself: no job has an end or a reservation"))
                }
            },
            Command::List => Ok(self.list()),
            Command::Stat => Ok(self.stat()),
            Command::Help => {
                let lines = self.reader.help();
                Ok(Answer { value: json!({ "help": lines }), lines, ..Answer::default() })
            }
            Command::Quit => Ok(Answer { is_last: true, ..Answer::nothing() }),
        }
    }

    fn load(&mut self, from: &From) -> Result<Answer, Failure> {
        let inventory = match &from.file {
            Some(file) => Inventory::load_in(&self.setup.folder, file, from.format, "node0")?,
            None => Inventory::from_shape(from.sizes.shape()?),
        };
        self.begin(&inventory);
        Ok(Answer::nothing())
    }

    /// Everything anew, at time 0.
    fn begin(&mut self, inventory: &Inventory) {
        self.graph = inventory.graph();
        // An instance that has an end has as much time here as it had when it began.
        let R { starttime, expiration, .. } = inventory.r;
        let left = if expiration.is_zero() { 0.0 } else { expiration.secs_since(starttime) };
        self.graph.set_expiration(Timestamp::from_secs_f64(left));
        self.graph.set_placement(self.setup.placement);
        self.graph.set_slowdowns(self.setup.slowdowns.clone());
        self.vertices = inventory.vertices();
        (self.jobs, self.now, self.plan) = (BTreeMap::new(), Timestamp::ZERO, None);
        (self.matches, self.failed) = (0, 0);
        (self.spent, self.longest) = (Duration::ZERO, Duration::ZERO);
    }

    fn find_room(&mut self, what: &Match) -> Result<Answer, Failure> {
        if self.graph.inventory().is_empty() {
            return Err(Failure::new("there are no nodes yet")
                .hint("`graph FILE`, or sizes: `graph --nodes=4 --sockets=2 --cores=8`"));
        }
        let read = |wish: &Wish| wish.jobspec(&self.setup.folder);
        let (jobspec, at) = match what {
            Match::Reserve { at, wish } => (read(wish)?, Timestamp::from_secs_f64(*at)),
            Match::Allocate(wish) | Match::AllocateOrelseReserve(wish) | Match::Satisfiability(wish) => {
                (read(wish)?, self.now)
            }
        };
        if let Match::Reserve { .. } = what
            && at <= self.now
        {
            return Err(Failure::new(format!("it is {} already", seconds(self.now)))
                .hint("reserve at a later time, or `match allocate`"));
        }
        let is_promised = self.jobs.values().any(|job| job.state == State::Reserved);
        let by_plan = match what {
            Match::Satisfiability(_) => false,
            Match::Allocate(_) => is_promised,
            Match::AllocateOrelseReserve(_) | Match::Reserve { .. } => true,
        };
        if by_plan {
            self.make_plan();
        }
        let begun = Instant::now();
        let (found, visited) = self.search(what, &jobspec, at, by_plan);
        let took = begun.elapsed();
        (self.matches, self.spent) = (self.matches + 1, self.spent + took);
        self.longest = self.longest.max(took);
        let answer = match found {
            Found::Now(_) if matches!(what, Match::Satisfiability(_)) => {
                Answer::line("satisfiable", json!({ "state": "satisfiable" }))
            }
            Found::Now(r) => self.take(jobspec, r),
            Found::NotNow => {
                let why = self.why_not(what, &jobspec, at);
                self.refuse("not now", &why)
            }
            Found::Never(why) => self.refuse("never", &why),
        };
        let micros = took.as_secs_f64() * 1e6;
        Ok(Answer { cost: Some(format!("{micros:.1} us, {visited} vertices visited")), ..answer })
    }

    /// What there is for a job, with the number of vertices that were looked at. Where something is reserved, or could
    /// be, the plan is asked, but only for what fits at all.
    fn search(&mut self, what: &Match, jobspec: &Jobspec, at: Timestamp, by_plan: bool) -> (Found, usize) {
        let mut visited = 0;
        let op = match what {
            Match::Allocate(_) if !by_plan => MatchOp::Allocate,
            _ => MatchOp::Satisfiability,
        };
        let found = self.graph.find_counting(jobspec, op, at, &mut visited);
        let id = JobId(self.next_id());
        let (Found::Now(_), Some(plan), true) = (&found, &mut self.plan, by_plan) else {
            return (found, visited);
        };
        let planned = match what {
            Match::AllocateOrelseReserve(_) => {
                self.graph.earliest(plan, id, jobspec, (at, FAR), &mut visited)
            }
            Match::Allocate(_) | Match::Satisfiability(_) | Match::Reserve { .. } => {
                self.graph.reserve_at(plan, id, jobspec, at, &mut visited)
            }
        };
        (planned.map_or(Found::NotNow, Found::Now), visited)
    }

    fn refuse(&mut self, state: &str, why: &str) -> Answer {
        self.failed += 1;
        Answer::line(format!("{state}: {why}"), json!({ "state": state, "why": why }))
    }

    fn why_not(&self, what: &Match, jobspec: &Jobspec, at: Timestamp) -> String {
        let shortage = if self.fits(jobspec) {
            "it is reserved for others".to_owned()
        } else {
            self.graph.shortage(jobspec, at)
        };
        match what {
            Match::Reserve { .. } => format!("not all of it is free from {} on", seconds(at)),
            Match::AllocateOrelseReserve(_) => format!("{shortage}, and nobody knows until when"),
            Match::Allocate(_) | Match::Satisfiability(_) => shortage,
        }
    }

    /// Would it fit if nothing were reserved?
    fn fits(&self, jobspec: &Jobspec) -> bool {
        self.graph.fit_now(jobspec, self.now, &mut 0).is_some()
    }

    fn make_plan(&mut self) {
        if self.plan.is_none() {
            let promises = self.jobs.iter().filter(|(_, job)| job.state == State::Reserved);
            let plan = self.graph.plan(self.now, promises.map(|(id, job)| (JobId(*id), &job.r)));
            self.plan = Some(plan);
        }
    }

    fn next_id(&self) -> u64 {
        self.jobs.last_key_value().map_or(1, |(id, _)| id + 1)
    }

    /// Gives a job its resources, or promises them.
    fn take(&mut self, jobspec: Jobspec, r: R) -> Answer {
        let id = self.next_id();
        let state = if r.starttime > self.now { State::Reserved } else { State::Allocated };
        match state {
            State::Reserved => {
                if let Some(plan) = &mut self.plan {
                    self.graph.reserve(plan, JobId(id), &r);
                }
            }
            State::Allocated | State::Over => {
                self.graph.take(JobId(id), &r);
                self.plan = None;
            }
        }
        self.jobs.insert(id, Job { state, jobspec, r });
        self.told(id)
    }

    /// A job with what it has.
    fn told(&self, id: u64) -> Answer {
        let Some(job) = self.jobs.get(&id) else { return Answer::nothing() };
        let (from, to) = (seconds(job.r.starttime), seconds(job.r.expiration));
        let until = if job.r.expiration.is_zero() { String::new() } else { format!(" to {to}") };
        let mut lines = vec![format!("job {id}: {} from {from}{until}", job.state.as_str())];
        lines.extend(parts(&job.r.nodes));
        if let Some((_, portions)) = self.graph.held_by(JobId(id)) {
            lines.extend(portions.iter().map(|portion| {
                let unit = self.graph.info(&portion.path).map_or(String::new(), |info| info.unit);
                format!("{}: {}", portion.path, amount(portion.amount, &unit))
            }));
        }
        let mut value = json!({ "id": id, "state": job.state.as_str(), "from": from, "R": job.r.to_value() });
        if !job.r.expiration.is_zero() {
            value["to"] = json!(to);
        }
        Answer { lines, value, ..Answer::default() }
    }

    fn job(&mut self, id: u64) -> Result<&mut Job, Failure> {
        let ids: Idset = self.active().filter_map(|(id, _)| u32::try_from(id).ok()).collect();
        let hint = if ids.is_empty() { "there are none".to_owned() } else { format!("jobs are {ids}") };
        let found = self.jobs.get_mut(&id).filter(|job| job.state != State::Over);
        found.ok_or_else(|| Failure::new(format!("there is no job {id}")).hint(hint))
    }

    fn active(&self) -> impl Iterator<Item = (u64, &Job)> {
        self.jobs.iter().filter(|(_, job)| job.state != State::Over).map(|(id, job)| (*id, job))
    }

    fn cancel(&mut self, id: u64, some: Option<Idset>) -> Result<Answer, Failure> {
        let job = self.job(id)?;
        let ranks = job.r.ranks();
        let gone = some.unwrap_or_else(|| ranks.clone());
        if let Some(rank) = gone.difference(&ranks).first() {
            return Err(Failure::new(format!("job {id} has nothing on rank {rank}"))
                .hint(format!("it is on {ranks}")));
        }
        let left = ranks.difference(&gone);
        if left.is_empty() {
            let was = std::mem::replace(&mut job.state, State::Over);
            if was == State::Allocated {
                self.graph.give_back(JobId(id), &ranks);
            }
        } else {
            job.r = R { starttime: job.r.starttime, expiration: job.r.expiration, ..job.r.restrict(&left) };
            if job.state == State::Allocated {
                self.graph.give_back(JobId(id), &gone);
            }
        }
        self.plan = None;
        Ok(Answer::nothing())
    }

    /// The next time at which something happens by itself: a job ends, or begins.
    fn next_event(&self) -> Option<(Timestamp, bool, u64)> {
        let event = |(id, job): (u64, &Job)| match job.state {
            State::Allocated => Some((job.r.expiration, false, id)).filter(|(at, ..)| !at.is_zero()),
            State::Reserved => Some((job.r.starttime, true, id)),
            State::Over => None,
        };
        // Who ends makes room for those who begin at the same time.
        self.active().filter_map(event).min()
    }

    fn go_to(&mut self, at: Timestamp) -> Result<Answer, Failure> {
        if at < self.now {
            return Err(
                Failure::new(format!("it is {} already", seconds(self.now))).hint("time does not go back")
            );
        }
        let (mut lines, mut events) = (Vec::new(), Vec::new());
        while let Some((time, begins, id)) = self.next_event().filter(|(time, ..)| *time <= at) {
            self.now = self.now.max(time);
            self.plan = None;
            let what = if begins { self.start(id) } else { self.end(id) };
            lines.push(format!("{}: job {id} {what}", seconds(self.now)));
            events.push(json!({ "time": seconds(self.now), "id": id, "what": what }));
        }
        (self.now, self.plan) = (at, None);
        Ok(Answer { lines, value: json!({ "time": seconds(at), "events": events }), ..Answer::default() })
    }

    fn end(&mut self, id: u64) -> String {
        if let Some(job) = self.jobs.get_mut(&id) {
            job.state = State::Over;
            self.graph.give_back(JobId(id), &job.r.ranks());
        }
        "ends".to_owned()
    }

    /// A reservation is due. What it was promised may be down by now; then it gets the next place that there is.
    fn start(&mut self, id: u64) -> String {
        let Some(mut job) = self.jobs.remove(&id) else { return String::new() };
        if !self.graph.is_free_now(&job.r) {
            self.make_plan();
            let plan = self.plan.as_mut().expect("it was just made");
            match self.graph.earliest(plan, JobId(id), &job.jobspec, (self.now, FAR), &mut 0) {
                Some(r) => job.r = r,
                None => {
                    return "is given up: what was reserved for it is not there, nor anything else"
                        .to_owned();
                }
            }
        }
        let is_due = job.r.starttime <= self.now;
        if is_due {
            self.graph.take(JobId(id), &job.r);
            job.state = State::Allocated;
        }
        self.plan = None;
        let begin = seconds(job.r.starttime);
        self.jobs.insert(id, job);
        if is_due { "begins".to_owned() } else { format!("is put off until {begin}") }
    }

    fn list(&self) -> Answer {
        let rows: Vec<(u64, &Job)> = self.active().collect();
        let line = |(id, job): &(u64, &Job)| {
            let end = if job.r.expiration.is_zero() {
                "-".to_owned()
            } else {
                seconds(job.r.expiration).to_string()
            };
            let (nodes, cores, gpus) = (job.r.nnodes(), job.r.ncores(), job.r.ngpus());
            let from = seconds(job.r.starttime);
            format!("{id} {} {from} {end} {nodes} {cores} {gpus} {}", job.state.as_str(), job.r.hostlist())
        };
        let value = rows.iter().map(|(id, _)| self.told(*id).value).collect();
        let header = std::iter::once("ID STATE FROM TO NODES CORES GPUS HOSTS".to_owned());
        let lines = header.chain(rows.iter().map(line)).collect();
        Answer { lines, value: json!({ "jobs": Value::Array(value) }), ..Answer::default() }
    }

    fn stat(&self) -> Answer {
        let (all, held) = (self.graph.inventory(), self.graph.allocated());
        let count = |state| self.active().filter(|(_, job)| job.state == state).count();
        let usable = self.graph.up().difference(&self.graph.drained()).intersection(&all.ranks());
        let (allocated, reserved) = (count(State::Allocated), count(State::Reserved));
        let free = (all.ncores() - held.ncores(), all.ngpus() - held.ngpus());
        let lines = vec![
            format!("time: {}", seconds(self.now)),
            format!("vertices: {}", self.vertices),
            format!("nodes: {}, {} usable", all.nnodes(), usable.len()),
            format!("cores: {}, {} free", all.ncores(), free.0),
            format!("GPUs: {}, {} free", all.ngpus(), free.1),
            format!("jobs: {allocated} allocated, {reserved} reserved"),
            format!("matches: {}, {} in vain", self.matches, self.failed),
        ];
        let value = json!({
            "time": seconds(self.now), "vertices": self.vertices,
            "nodes": all.nnodes(), "usable": usable.len(),
            "cores": all.ncores(), "free_cores": free.0, "gpus": all.ngpus(), "free_gpus": free.1,
            "allocated": allocated, "reserved": reserved, "matches": self.matches, "failed": self.failed,
        });
        let mean = self.spent.as_secs_f64() * 1e6 / self.matches.max(1) as f64;
        let cost = format!("{mean:.1} us a match, {:.1} us the longest", self.longest.as_secs_f64() * 1e6);
        Answer { lines, value, cost: Some(cost), ..Answer::default() }
    }

    fn find(&self, criteria: &str) -> Result<Answer, Failure> {
        let criteria = Criteria::parse(criteria)
            .map_err(|rule| Failure::usage(format!("cannot read criteria: {rule}")))?;
        let lines: Vec<String> = self.graph.select(&criteria).into_iter().map(|info| info.path).collect();
        if lines.is_empty()
            && let Some((kind, known)) = self.graph.unknown_kind(&criteria)
        {
            let known: Vec<&str> = known.into_iter().collect();
            return Err(Failure::new(format!("there is no vertex of type {kind}"))
                .hint(format!("types here are {}", known.join(", "))));
        }
        Ok(Answer { value: json!({ "found": lines }), lines, ..Answer::default() })
    }

    /// The vertex with this path, or the node with this name.
    fn vertex(&self, path: &str) -> Result<Info, Failure> {
        let of_name = || {
            let both = vec![Criteria::Kind("node".to_owned()), Criteria::Name(path.to_owned())];
            self.graph.select(&Criteria::And(both)).into_iter().next()
        };
        let found = if path.starts_with('/') { self.graph.info(path) } else { of_name() };
        found.ok_or_else(|| {
            Failure::new(format!("there is no vertex {path}"))
                .hint("paths begin at the root, as `find type=node` prints them; a node's name alone will do")
        })
    }

    fn info(&self, what: &str) -> Result<Answer, Failure> {
        if let Ok(id) = what.parse::<u64>() {
            return match self.jobs.contains_key(&id) {
                true => Ok(self.told(id)),
                false => Err(Failure::new(format!("there is no job {id}"))),
            };
        }
        let info = self.vertex(what)?;
        let status = match (info.up, info.drained) {
            (false, _) => "down",
            (true, true) => "drained",
            (true, false) => "up",
        };
        let properties = info.properties.iter().map(|(name, value)| match value.as_str() {
            "" => name.clone(),
            value => format!("{name}={value}"),
        });
        let (properties, jobs) =
            (properties.collect::<Vec<_>>(), info.jobs.iter().map(|id| id.0).collect::<Vec<_>>());
        let node =
            info.rank.filter(|_| info.kind == "node").and_then(|rank| self.graph.inventory().node(rank));
        let mut lines = vec![format!("path: {}", info.path), format!("type: {}", info.kind)];
        let mut add = |key: &str, value: String| lines.push(format!("{key}: {value}"));
        if let Some(rank) = info.rank {
            add("rank", rank.to_string());
        }
        let is_pool = info.size != 1 || !info.unit.is_empty();
        if is_pool {
            add("size", amount(info.size, &info.unit));
        }
        if !properties.is_empty() {
            add("properties", properties.join(", "));
        }
        add("status", status.to_owned());
        add("sched-now", if info.allocated { "allocated" } else { "free" }.to_owned());
        if let Some(node) = node {
            add("cores", format!("{}, {} taken", node.cores.len(), info.taken));
        } else if is_pool && info.taken > 0 {
            add("taken", amount(info.taken, &info.unit));
        }
        if !jobs.is_empty() {
            add("jobs", jobs.iter().map(u64::to_string).collect::<Vec<_>>().join(", "));
        }
        let value = json!({
            "path": info.path, "type": info.kind, "name": info.name, "id": info.id, "rank": info.rank,
            "size": info.size, "unit": info.unit, "properties": info.properties, "status": status,
            "allocated": info.allocated, "taken": info.taken, "jobs": jobs,
        });
        Ok(Answer { lines, value, ..Answer::default() })
    }

    /// The nodes in a vertex.
    fn nodes_in(&self, path: &str) -> Result<Idset, Failure> {
        let info = self.vertex(path)?;
        match info.rank {
            Some(rank) if info.kind == "node" => Ok(rank.into()),
            Some(_) => Err(Failure::new(format!("{path} is a part of a node")).hint("only nodes have that")),
            None => {
                let below = format!("{}/", info.path);
                let nodes = self.graph.select(&Criteria::Kind("node".to_owned()));
                Ok(nodes
                    .iter()
                    .filter(|node| node.path.starts_with(&below))
                    .filter_map(|node| node.rank)
                    .collect())
            }
        }
    }

    fn set_status(&mut self, path: &str, status: Status) -> Result<Answer, Failure> {
        match status {
            Status::Up | Status::Down => {
                let path = self.vertex(path)?.path;
                self.graph.set_status(&path, matches!(status, Status::Up)).map_err(Failure::new)?;
            }
            Status::Drain => self.graph.mark(&self.nodes_in(path)?, Mark::Drain),
            Status::Undrain => self.graph.mark(&self.nodes_in(path)?, Mark::Undrain),
        }
        self.plan = None;
        Ok(Answer::nothing())
    }

    fn set_property(&mut self, path: &str, name: &str, has: bool) -> Result<Answer, Failure> {
        if name.is_empty() || name.contains(['!', '&', '\'', '"', '^', '`', '|', '(', ')', '=']) {
            return Err(Failure::usage(format!("`{name}` is no property"))
                .hint("a name without ! & ' \" ^ ` | ( ) ="));
        }
        let ranks = self.nodes_in(path)?;
        self.graph.set_property(&ranks, name, has);
        Ok(Answer::nothing())
    }
}

/// Nodes that have the same cores and GPUs in a line.
fn parts(nodes: &[RNode]) -> Vec<String> {
    let mut groups: Vec<(&RNode, Hostlist)> = Vec::new();
    let mut known: BTreeMap<(&Idset, &Idset), usize> = BTreeMap::new();
    for node in nodes {
        let at = *known.entry((&node.cores, &node.gpus)).or_insert_with(|| {
            groups.push((node, Hostlist::new()));
            groups.len() - 1
        });
        groups[at].1.push(node.host.clone());
    }
    let line = |(node, hosts): (&RNode, Hostlist)| {
        let gpus = if node.gpus.is_empty() { String::new() } else { format!(" gpu{}", node.gpus) };
        format!("{hosts}: core{}{gpus}", node.cores)
    };
    groups.into_iter().map(line).collect()
}

fn seconds(at: Timestamp) -> f64 {
    at.as_secs_f64()
}
