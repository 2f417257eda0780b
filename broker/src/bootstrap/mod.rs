//! From what the launcher says to one plain value: rank, size, hosts, addresses, key.
//!
//! | launcher | rank and size from | addresses exchanged by |
//! | --- | --- | --- |
//! | srun | the step's `SLURM_*` (`slurm.rs`) | a file that all nodes see (`rendezvous.rs`) |
//! | hydra, flurm's shell, `--test-size` | `PMI_*` | the launcher (`pmi.rs`) |
//! | nobody | it is one broker | |
//!
//! Inside a job of another instance, R is the job's: its shell says it by PMI, else `parent.rs` asks.
//!
//! In all cases every broker makes a card of itself, rank 0 sees them all and answers (`card.rs`). What is wrong is a
//! [`Mistake`]: two lines, said once for the instance where that is possible.

pub mod announce;
pub mod card;
pub mod lease;
pub mod mistake;
pub mod net;
pub mod parent;
pub mod pmi;
pub mod rendezvous;
pub mod rundir;
pub mod slurm;
pub mod surroundings;
pub mod testsize;

pub use mistake::{Mistake, NoBoot};
pub use surroundings::{Launcher, Parent, Surroundings, Task};

use crate::boot::{Boot, Secret};
use crate::config::{self, Settings};
use crate::hw;
use crate::start::BrokerArgs;
use card::{Answer, Card, Findings, Table};
use flurm_types::{Hostlist, JobId, R, Rank, TaskMap, Timestamp};
use net::{Network, Reach};
use std::collections::BTreeMap;
use std::net::TcpListener;

/// The process's environment, as a value.
pub type Vars = BTreeMap<String, String>;

/// How often a neighbour is heard of, at least; more often where silence is noticed sooner.
const HEARTBEAT_MS: u64 = 1000;

/// A broker that can run.
#[derive(Debug)]
pub struct Ready {
    pub boot: Boot,
    /// Bound to this broker's address in `boot.peers`; none for a broker that is alone.
    pub listener: Option<TcpListener>,
    /// The Slurm step that this instance has taken; what runs inside it shall not take it again.
    pub outer_step: Option<String>,
    /// Whose job this instance is.
    pub job_of: Option<JobOf>,
}

/// Who has given us our nodes, and says when they go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobOf {
    /// The instance around this one.
    Instance(Parent),
    /// Slurm, with the id of its job.
    Slurm(String),
}

impl JobOf {
    /// Of the job in the instance around this one.
    pub fn id(&self) -> Option<String> {
        match self {
            JobOf::Instance(parent) => Some(parent.task?.job.f58()),
            JobOf::Slurm(_) => None,
        }
    }
}

/// Becomes part of an instance, or learns why not.
///
/// # Errors
/// A mistake of the user, a broker that does not come, a signal.
pub fn bootstrap(vars: &Vars, args: &BrokerArgs) -> Result<Ready, NoBoot> {
    let around = Surroundings::find(vars, &hostname()).map_err(|mistake| speak(vars, mistake))?;
    // A mistake in the configuration is everyone's; it goes on the card like any other.
    let settings = Settings::load(args);
    let start = Start { vars, around: &around, settings: settings.as_ref() };
    match &around.launcher {
        Launcher::Slurm(step) if step.size > 1 => start.with_slurm(step),
        Launcher::Slurm(_) => start.alone(false),
        Launcher::Single => start.alone(true),
        Launcher::Pmi(place) => start.with_pmi(*place),
    }
}

/// What every task of a step sees for itself is said by the first one.
fn speak(vars: &Vars, mistake: Mistake) -> NoBoot {
    match vars.get("SLURM_PROCID").map_or("0", |rank| rank.trim()) {
        "0" => mistake.into(),
        _ => NoBoot::Quiet { code: 1 },
    }
}

/// This node's name in its own words.
pub fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Eight letters and digits from the kernel's random numbers.
///
/// # Errors
/// There are none.
pub fn random_name() -> std::io::Result<String> {
    const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let random = Secret::draw()?;
    Ok(random.as_bytes()[..8].iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect())
}

/// What the three ways have in common.
struct Start<'a> {
    vars: &'a Vars,
    around: &'a Surroundings,
    settings: Result<&'a Settings, &'a Mistake>,
}

impl Start<'_> {
    fn good_settings(&self) -> Result<&Settings, Mistake> {
        self.settings.map_err(Clone::clone)
    }

    fn timeout(&self) -> std::time::Duration {
        self.settings.map_or(config::JOIN_TIMEOUT, |settings| settings.join_timeout)
    }

    /// One broker. `unasked`: nobody said that it should be one only.
    fn alone(&self, unasked: bool) -> Result<Ready, NoBoot> {
        let settings = self.good_settings()?;
        let enclosed = match &self.around.parent {
            Some(parent) => enclosed(parent)?,
            None => None,
        };
        let mut warnings = self.warnings();
        warnings.extend(self.around.job.as_ref().filter(|_| unasked).and_then(slurm::Job::too_many_nodes));
        warnings.extend(settings.config.warnings());
        warnings.iter().for_each(Mistake::print_warning);
        let table = Table {
            instance_id: random_name().map_err(no_random)?,
            secret: Secret::draw().map_err(no_random)?,
            hosts: [self.around.host.clone()].into_iter().collect(),
            fanout: settings.fanout,
            addresses: BTreeMap::new(),
        };
        self.finish(Rank(0), table, None, enclosed.as_ref())
    }

    fn with_slurm(&self, step: &slurm::Step) -> Result<Ready, NoBoot> {
        let job = self.around.job.as_ref();
        let hosts = step.agrees(self.vars).and_then(|()| step.hosts(job));
        let hosts = hosts.map_err(|mistake| speak(self.vars, mistake))?;
        let place = rendezvous::Place::open(self.vars, &step.key).map_err(|m| speak(self.vars, m))?;
        let meeting =
            rendezvous::Meeting { place: &place, size: step.size, hosts: &hosts, timeout: self.timeout() };
        let (card, listener) = self.card(Rank(step.rank), Reach::Network);
        let answer = match (card.rank, &listener) {
            (Rank(0), Some(listener)) => {
                rendezvous::lead(&meeting, listener, card, |cards| self.judge(cards, None))?
            }
            (Rank(0), None) => {
                return Err(card.mistake.expect("a broker without a listener has said why").into());
            }
            _ => rendezvous::join(&meeting, &card)?,
        };
        self.enter(Rank(step.rank), answer, listener, None)
    }

    fn with_pmi(&self, place: pmi::Place) -> Result<Ready, NoBoot> {
        let limit = self.timeout();
        let lost = |error: pmi::PmiError| match pmi::mistake(&error, place, limit) {
            Some(mistake) => NoBoot::Mistake(mistake),
            None => NoBoot::Quiet { code: 1 },
        };
        let mut client = pmi::Client::connect(place, limit).map_err(lost)?;
        testsize::end_with_launcher(client.kvsname());
        let mapping = client.mapping().map_err(lost)?;
        let reach = if mapping.nnodes() == 1 { Reach::Host } else { Reach::Network };
        let test = testsize::is_test(client.kvsname());
        let (r, level) = match &self.around.parent {
            Some(parent) => said_by_parent(&mut client, parent, place.rank).map_err(lost)?,
            None => (None, 0),
        };
        let launched = Launched { test, r, level, mapping };
        let (card, listener) = self.card(Rank(place.rank), reach);
        let answer = pmi::exchange(client, place.size, &card, |cards| self.judge(cards, Some(&launched)));
        self.enter(Rank(place.rank), answer.map_err(lost)?, listener, Some(&launched))
    }

    /// This broker as it sees itself, and what it listens on. With a mistake it still listens if it can, so that
    /// rank 0 can tell the others.
    fn card(&self, rank: Rank, reach: Reach) -> (Card, Option<TcpListener>) {
        let host = &self.around.host;
        let hint = self.settings.ok().and_then(|settings| settings.interface_hint.as_deref());
        let broken = |error: std::io::Error| {
            Mistake::new(
                format!("{host} cannot listen for other brokers: {error}"),
                "name an interface that is up with -Stbon.interface-hint=NAME",
            )
        };
        let listen = |network: &Network, hint: Option<&str>| {
            let address = network.choose(host, hint, reach)?;
            net::listen(address).map_err(broken)
        };
        let (listener, failed) = match Network::discover().map_err(broken) {
            Err(mistake) => (None, Some(mistake)),
            Ok(network) => match listen(&network, hint) {
                Ok(listener) => (Some(listener), None),
                Err(mistake) => (listen(&network, None).ok(), Some(mistake)),
            },
        };
        let card = Card {
            rank,
            host: host.clone(),
            address: listener.as_ref().and_then(|listener| listener.local_addr().ok()),
            warnings: self.warnings(),
            mistake: self.settings.err().cloned().or(failed),
        };
        (card, listener)
    }

    /// What is odd on this node.
    fn warnings(&self) -> Vec<Mistake> {
        let job = self.around.job.as_ref();
        let few = job.and_then(|job| job.too_few_cores(&self.around.host, &hw::glance()?));
        few.into_iter().collect()
    }

    /// Rank 0: says what there is to say, and decides.
    fn judge(&self, cards: &[Card], launched: Option<&Launched>) -> Answer {
        match self.table(cards, launched) {
            Ok(table) => Answer::Welcome(table),
            Err(mistake) => {
                mistake.print_error();
                Answer::Refused
            }
        }
    }

    fn table(&self, cards: &[Card], launched: Option<&Launched>) -> Result<Table, Mistake> {
        // Where nodes are invented or the parent names them, hosts mean nothing.
        let fake = self.settings.is_ok_and(|settings| settings.config.fake.is_some());
        let may_share = fake || launched.is_some_and(|l| l.test || l.r.is_some());
        let findings = Findings::of(cards, may_share);
        findings.warnings.iter().for_each(Mistake::print_warning);
        if let Some(mistake) = findings.mistake {
            return Err(mistake);
        }
        let settings = self.good_settings()?;
        let instance_id = random_name().map_err(no_random)?;
        let secret = Secret::draw().map_err(no_random)?;
        let table = Table::of(cards, instance_id, secret, settings.fanout);
        // Seen here, a misfit is said once.
        let (hosts, told) = resources(settings, &table.hosts, launched)?;
        let site = settings.config.site(&hosts)?;
        let empty = told.map_or(Vec::new(), |r| site.without_nodes(&r));
        let hint = "jobs sent to it are refused; `requires` names properties that nodes have in R";
        empty.into_iter().for_each(|what| Mistake::new(what, hint).print_warning());
        settings.config.warnings().iter().for_each(Mistake::print_warning);
        Ok(table)
    }

    fn enter(
        &self,
        rank: Rank,
        answer: Answer,
        listener: Option<TcpListener>,
        launched: Option<&Launched>,
    ) -> Result<Ready, NoBoot> {
        match answer {
            Answer::Welcome(table) => self.finish(rank, table, listener, launched),
            Answer::Refused => Err(NoBoot::Quiet { code: 1 }),
        }
    }

    fn finish(
        &self,
        rank: Rank,
        table: Table,
        listener: Option<TcpListener>,
        launched: Option<&Launched>,
    ) -> Result<Ready, NoBoot> {
        let settings = self.good_settings()?;
        let (hosts, resources) = resources(settings, &table.hosts, launched)?;
        let site = settings.config.site(&hosts)?;
        let mut peers = table.addresses;
        if let Some(own) = listener.as_ref().and_then(|listener| listener.local_addr().ok()) {
            peers.insert(rank, own);
        }
        let mut attributes = settings.attributes.clone();
        let slurm = match attributes.get("slurm.service").map(String::as_str) {
            Some("on") => true,
            Some("auto") => slurm::clients(self.vars),
            // By itself only where users have scripts for Slurm.
            None => self.around.job.is_some() && slurm::clients(self.vars),
            Some(_) => false,
        };
        attributes.insert("slurm.service".to_owned(), if slurm { "on" } else { "off" }.to_owned());
        let instance_level = launched.map_or(0, |launched| launched.level);
        let parent = self.around.parent.as_ref().filter(|_| instance_level > 0);
        let job_of = parent.filter(|parent| parent.task.is_some()).cloned().map(JobOf::Instance);
        let job_of = job_of.or_else(|| self.around.job.as_ref().map(|job| JobOf::Slurm(job.id.clone())));
        attributes.extend(parent.map(|parent| ("parent-uri".to_owned(), parent.uri.clone())));
        attributes.extend(job_of.as_ref().and_then(|of| Some(("jobid".to_owned(), of.id()?))));
        let parent_end = launched.and_then(|l| l.r.as_ref()).map(|r| r.expiration);
        let job_end = self.around.job.as_ref().map(|job| job.end);
        let boot = Boot {
            rank,
            size: u32::try_from(hosts.len()).expect("sizes are 32 bits wide"),
            rundir: rundir::make(self.vars, &table.instance_id, rank)?,
            hosts,
            peers,
            secret: table.secret,
            instance_id: table.instance_id,
            instance_level,
            fanout: table.fanout,
            statedir: settings.statedir.clone(),
            attributes,
            expiration: parent_end.or(job_end).unwrap_or(Timestamp::ZERO),
            resources,
            site,
            heartbeat_ms: HEARTBEAT_MS.min(settings.lost_ms / 3).max(1),
            lost_ms: settings.lost_ms,
            orphan_ms_max: settings.orphan_ms,
            epoch: 0,
        };
        rundir::sweep(self.vars);
        let outer_step = slurm::key(self.vars);
        Ok(Ready { boot, listener, outer_step, job_of })
    }
}

/// What only a PMI launcher knows, or the instance around us.
#[derive(Debug)]
struct Launched {
    test: bool,
    /// What the job that we are was given.
    r: Option<R>,
    /// Of this instance; 0 when there is none around it.
    level: u32,
    mapping: TaskMap,
}

/// The R of the job that this instance is, if its launcher is a flurm, and the level of this instance.
fn said_by_parent(
    client: &mut pmi::Client,
    parent: &Parent,
    rank: u32,
) -> Result<(Option<R>, u32), pmi::PmiError> {
    let missing = |key: &str| pmi::PmiError::Missing { key: key.to_owned() };
    let r = client.get_text("flurm.R")?;
    let r = r.map(|text| R::parse(&text).map_err(|_| missing("flurm.R"))).transpose()?;
    let level = match client.get("flurm.instance-level")? {
        Some(level) => level.trim().parse().map_err(|_| missing("flurm.instance-level"))?,
        // Another launcher, which the parent has nothing to do with.
        None => ask(parent, None, rank).map_or(0, |told| told.level + 1),
    };
    Ok((r, level))
}

/// An instance of one broker inside another: in its initial program, or in a job whose task got no PMI.
fn enclosed(parent: &Parent) -> Result<Option<Launched>, NoBoot> {
    if let Some(task) = parent.task.filter(|task| task.size > 1) {
        return Err(match task.rank {
            0 => several(task).into(),
            _ => NoBoot::Quiet { code: 1 },
        });
    }
    let mapping = TaskMap::block(&[1]);
    let told = ask(parent, parent.task.map(|task| task.job), 0);
    Ok(told.map(|told| Launched { test: false, r: told.r, level: told.level + 1, mapping }))
}

/// What the parent says. If it does not, it is probably gone, and its name was left over in the environment: rank 0 says so.
fn ask(parent: &Parent, job: Option<JobId>, rank: u32) -> Option<parent::Told> {
    let told = parent::ask(&parent.uri, job);
    let warn = |error: &parent::ParentError| {
        Mistake::new(
            format!("failed to ask the instance at {}: {error}", parent.uri),
            "this one goes on with what it finds here; unset FLURM_URI where no instance is around it",
        )
        .print_warning();
    };
    told.inspect_err(|error| {
        if rank == 0 {
            warn(error)
        }
    })
    .ok()
}

/// Each of these tasks would be an instance of its own.
fn several(task: Task) -> Mistake {
    let Task { job, size: n, .. } = task;
    Mistake::new(
        format!("{n} tasks of job {job} start a broker each, and none has PMI to find the others"),
        format!(
            "flurm run -n{n} flurm start …, without -opmi=off; for {n} instances: flurm start --test-size=1 …"
        ),
    )
}

/// Host names by rank, as the instance will call them, and its resources where they are told and not found.
fn resources(
    settings: &Settings,
    hosts: &Hostlist,
    launched: Option<&Launched>,
) -> Result<(Vec<String>, Option<R>), Mistake> {
    let hosts: Vec<String> = hosts.iter().cloned().collect();
    let told = match settings.config.inventory(&hosts)? {
        Some(r) => Some(r),
        None => launched.map(|l| given(l, &hosts)).transpose()?.flatten(),
    };
    let hosts = match &told {
        Some(r) => r.nodes.iter().map(|node| node.host.clone()).collect(),
        None => hosts,
    };
    Ok((hosts, settings.config.without_excluded(told)?))
}

/// The parent's R for this instance: one broker on each of its nodes.
fn given(launched: &Launched, hosts: &[String]) -> Result<Option<R>, Mistake> {
    let Some(r) = &launched.r else { return Ok(None) };
    let tasks = launched.mapping.nodes();
    let crowded = tasks.iter().zip(&r.nodes).find(|(tasks, _)| tasks.len() > 1);
    match crowded {
        Some((tasks, node)) => Err(card::several_on(&node.host, tasks.len())),
        None => config::align(r, hosts).map(Some),
    }
}

fn no_random(error: std::io::Error) -> Mistake {
    Mistake::new(format!("the kernel gives no random numbers: {error}"), "see that /dev/urandom is there")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use flurm_types::{Idset, RNode};

    fn settings(config: &str) -> Settings {
        Settings::resolve(Config::parse("x", config).unwrap(), &[]).unwrap()
    }

    fn hosts(names: &str) -> Hostlist {
        names.parse().unwrap()
    }

    fn launched(nodes: &[(u32, &str, &str)], mapping: &str) -> Launched {
        let node = |(rank, host, cores): &(u32, &str, &str)| RNode {
            rank: *rank,
            host: (*host).to_owned(),
            cores: cores.parse().unwrap(),
            gpus: Idset::new(),
        };
        let r = R::from_nodes(nodes.iter().map(node));
        Launched { test: false, r: Some(r), level: 1, mapping: mapping.parse().unwrap() }
    }

    #[test]
    fn a_nested_instance_has_what_its_job_was_given_under_new_ranks() {
        let job = launched(&[(2, "node2", "0-2"), (5, "node5", "1-3")], "(vector,(0,2,1))");
        let (names, r) = resources(&settings(""), &hosts("vm,vm"), Some(&job)).unwrap();
        assert_eq!(names, ["node2", "node5"]);
        let r = r.unwrap();
        assert_eq!((r.ranks().to_string(), r.ncores()), ("0-1".into(), 6));
        assert_eq!(r.node(1).unwrap().cores.to_string(), "1-3");
    }

    #[test]
    fn a_nested_instance_has_one_broker_a_node() {
        let job = launched(&[(2, "node2", "0-3")], "(vector,(0,1,2))");
        let wrong = resources(&settings(""), &hosts("vm,vm"), Some(&job)).unwrap_err();
        assert_eq!(wrong.what, "2 brokers on node node2");
    }

    #[test]
    fn configured_nodes_win_over_given_and_found_ones() {
        let fake = settings("[fake-resources]\ncores-per-node = 2\nhost-prefix = \"n\"\n");
        let job = launched(&[(0, "c0", "0-7")], "(vector,(0,1,1))");
        let (names, r) = resources(&fake, &hosts("vm"), Some(&job)).unwrap();
        assert_eq!((names.as_slice(), r.unwrap().ncores()), (&["n0".to_owned()][..], 2));
        let (names, r) = resources(&settings(""), &hosts("c[1-2]"), None).unwrap();
        assert_eq!((names.join(","), r), ("c1,c2".into(), None));
    }

    #[test]
    fn tasks_without_pmi_do_not_become_an_instance_each() {
        let task = |rank, size| Task { job: JobId(1), rank, size };
        let of = |task| enclosed(&Parent { uri: "local:///no/such".into(), task: Some(task) });
        let Err(NoBoot::Mistake(said)) = of(task(0, 4)) else { panic!("it has to be said") };
        assert!(said.what.starts_with("4 tasks of job") && said.hint.contains("flurm run -n4"), "{said:?}");
        assert_eq!(of(task(3, 4)).unwrap_err(), NoBoot::Quiet { code: 1 }, "once");
        assert!(of(task(0, 1)).unwrap().is_none(), "a parent that is gone is none");
    }

    #[test]
    fn only_the_first_task_of_a_step_speaks() {
        let mistake = Mistake::new("x", "y");
        assert_eq!(speak(&slurm::tests::step("0"), mistake.clone()), NoBoot::Mistake(mistake.clone()));
        assert_eq!(speak(&slurm::tests::step("3"), mistake), NoBoot::Quiet { code: 1 });
    }

    #[test]
    fn names_are_not_repeated() {
        assert_ne!(random_name().unwrap(), random_name().unwrap());
    }
}
