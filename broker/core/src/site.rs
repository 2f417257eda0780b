//! What a site says about jobs: how they are scheduled, and queues with their limits and defaults (RFC 33).
//!
//! The broker reads this from configuration files. What holds for all queues is already part of each of them. A job
//! that is taken has its queue's rules written into its jobspec, so that what is shown is what runs.

use flurm_jobspec::{Amendment, Cosched, Count, Jobspec, Kind, Placement, Resource};
use flurm_sched::{Policy, QueueConfig, Running, SlowDowns};
use flurm_types::{Constraint, Fsd, Hostlist, Idset, R};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Everything that is said about jobs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Site {
    #[serde(with = "word")]
    pub policy: Policy,
    /// Of jobs for which neither they nor their queues say.
    #[serde(with = "word")]
    pub placement: Placement,
    /// Seconds of waiting that count as much as a step of priority.
    pub age_s: Option<u32>,
    /// TOML: how much jobs slow each other down.
    pub slowdowns: Option<String>,
    /// For jobs without a queue.
    pub rules: Rules,
    pub queues: BTreeMap<String, Queue>,
    /// For jobs that name none.
    pub default_queue: Option<String>,
    /// Seconds for which a scheduler outside may leave news of jobs without an answer; for ever if 0.
    pub external_timeout_s: Option<f64>,
    /// Of jobs that do not say otherwise.
    pub shell_options: BTreeMap<String, String>,
    /// Jobs are taken without asking whether they could ever run.
    pub unchecked: bool,
}

/// What a job gets that does not say, and the most and least that it may ask for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rules {
    /// Seconds.
    pub duration: Option<f64>,
    /// Seconds.
    pub duration_max: Option<f64>,
    pub max: Size,
    pub min: Size,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Size {
    pub nnodes: Option<u32>,
    pub ncores: Option<u32>,
    pub ngpus: Option<u32>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Queue {
    /// Properties that its nodes have.
    pub requires: Vec<String>,
    /// Its nodes by name; they get the property `+NAME`.
    pub hosts: Option<Hostlist>,
    pub rules: Rules,
    #[serde(with = "word_or_none")]
    pub placement: Option<Placement>,
    /// Its jobs share sockets; the class of those that give none, if it is not empty.
    pub cosched: Option<String>,
    /// Added to the priority of its jobs.
    pub priority: i64,
    /// At once.
    pub jobs_max: Option<u32>,
    /// At once, on all its jobs together.
    pub cores_max: Option<u32>,
}

/// Why a job is not taken, and a way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    pub why: String,
    pub hint: String,
}

fn rejected<T>(why: impl Into<String>, hint: impl Into<String>) -> Result<T, Rejected> {
    Err(Rejected { why: why.into(), hint: hint.into() })
}

impl Site {
    /// The job with what its queue adds to it.
    ///
    /// # Errors
    /// Its queue is not there, or does not take such a job.
    pub fn admit(&self, jobspec: Jobspec) -> Result<Jobspec, Rejected> {
        let named = jobspec.attributes().queue.as_ref().or(self.default_queue.as_ref()).cloned();
        let names = || self.queues.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        let (queue, rules) = match &named {
            None if self.queues.is_empty() => (None, &self.rules),
            None => {
                let why = "no queue requested, and there is no default queue";
                return rejected(why, format!("name one with --queue: {}", names()));
            }
            Some(name) => match self.queues.get(name) {
                Some(queue) => (Some(queue), &queue.rules),
                None if self.queues.is_empty() => {
                    let why = format!("requested queue {name} not found: this instance has no named queues");
                    return rejected(why, "leave the queue out: there is one for all");
                }
                None => {
                    let why = format!("requested queue {name} not found");
                    return rejected(why, format!("the queues are {}", names()));
                }
            },
        };
        let options = self.shell_options.iter().map(|(name, value)| (name.clone(), value.as_str().into()));
        let mut with = Amendment {
            queue: named.clone(),
            duration: rules.duration,
            shell_options: options.collect(),
            ..Amendment::default()
        };
        if let (Some(name), Some(queue)) = (&named, queue) {
            with.constraint = queue.constraint(name);
            with.placement = queue.placement;
            with.cosched = queue.cosched.as_ref().map(|class| Cosched {
                class: (!class.is_empty()).then(|| class.clone()),
                ..Cosched::default()
            });
            if let (Some(placement), Some(_)) = (jobspec.attributes().placement, &queue.cosched) {
                let why = format!(
                    "queue {name} co-schedules its jobs, but this one asks for placement {placement}"
                );
                return rejected(why, "leave the placement out, or use another queue");
            }
        }
        let jobspec = jobspec.amended(with);
        rules.check(&jobspec, named.as_deref())?;
        Ok(jobspec)
    }

    /// Where a job itself wants to run, without what its queue has added to that.
    pub fn own_constraint(&self, jobspec: &Jobspec) -> Constraint {
        let attributes = jobspec.attributes();
        let queue = attributes.queue.as_ref().and_then(|name| Some((name, self.queues.get(name)?)));
        let added = queue.map_or(Constraint::True, |(name, queue)| queue.constraint(name));
        match &attributes.constraints {
            only if *only == added => Constraint::True,
            Constraint::And(list) => {
                let own = list.iter().filter(|part| **part != added).cloned();
                own.fold(Constraint::True, Constraint::and)
            }
            own => own.clone(),
        }
    }

    /// What the scheduler is told. Limits are checked here, where jobs come in; the table of slow-downs where it is
    /// read.
    pub fn scheduling(&self) -> flurm_sched::Config {
        let queues = self.queues.iter().map(|(name, queue)| {
            let running = Running { jobs_max: queue.jobs_max, cores_max: queue.cores_max };
            (name.clone(), QueueConfig { running, priority: queue.priority, ..QueueConfig::default() })
        });
        flurm_sched::Config {
            policy: self.policy,
            placement: self.placement,
            age_s_per_priority: self.age_s,
            slowdowns: self
                .slowdowns
                .as_deref()
                .map(SlowDowns::parse)
                .and_then(Result::ok)
                .unwrap_or_default(),
            queues: queues.collect(),
        }
    }

    /// Gives the nodes of queues that name their hosts the property that jobs of that queue require.
    pub fn mark(&self, r: &mut R) {
        for (name, queue) in &self.queues {
            let Some(hosts) = &queue.hosts else { continue };
            let nodes = r.nodes.iter().filter(|node| hosts.contains(&node.host));
            r.properties.insert(Queue::property(name), nodes.map(|node| node.rank).collect());
        }
        r.properties.retain(|_, ranks| !ranks.is_empty());
    }

    /// Queues that require what no node has, in words.
    pub fn without_nodes(&self, r: &R) -> Vec<String> {
        let queues = self
            .queues
            .iter()
            .filter(|(name, queue)| !queue.requires.is_empty() && self.ranks(name, r).is_empty());
        let said = queues.map(|(name, queue)| {
            format!("queue {name} has no nodes: none here has the properties {}", queue.requires.join(", "))
        });
        said.collect()
    }

    /// The ranks of a queue.
    pub fn ranks(&self, name: &str, r: &R) -> Idset {
        let Some(queue) = self.queues.get(name) else { return Idset::new() };
        let constraint = queue.constraint(name);
        let has = |rank: u32, property: &str| r.properties.get(property).is_some_and(|p| p.contains(rank));
        let nodes = r.nodes.iter();
        let nodes = nodes.filter(|n| constraint.matches(&n.host, n.rank, &|property| has(n.rank, property)));
        nodes.map(|node| node.rank).collect()
    }
}

impl Queue {
    fn property(name: &str) -> String {
        format!("+{name}")
    }

    /// What a node of this queue satisfies.
    fn constraint(&self, name: &str) -> Constraint {
        let own = self.hosts.as_ref().map(|_| Queue::property(name));
        let properties: Vec<String> = self.requires.iter().cloned().chain(own).collect();
        if properties.is_empty() {
            return Constraint::True;
        }
        Constraint::from_json(&serde_json::json!({ "properties": properties }))
            .expect("names of properties were read as a constraint before")
    }
}

impl Rules {
    fn check(&self, jobspec: &Jobspec, queue: Option<&str>) -> Result<(), Rejected> {
        let of = || queue.map_or("policy limit".to_owned(), |queue| format!("limit of queue {queue}"));
        let duration = |secs: f64| Fsd::from_secs(secs).map_or(secs.to_string(), |fsd| fsd.to_string());
        let asked = jobspec.attributes().duration;
        if let Some(max) = self.duration_max {
            let max = || duration(max);
            if asked == 0.0 {
                let why = format!("requested unlimited duration exceeds {} of {}", of(), max());
                return rejected(why, format!("give a time limit of at most {0}: -t {0}", max()));
            }
            if self.duration_max.is_some_and(|max| asked > max) {
                let why = format!("requested duration {} exceeds {} of {}", duration(asked), of(), max());
                return rejected(why, "`flurm queue list` shows the limits");
            }
        }
        let (least, most) = (asked_for(jobspec, &Count::min), asked_for(jobspec, &most));
        for (what, least, most, max, min) in [
            ("nnodes", least.nnodes, most.nnodes, self.max.nnodes, self.min.nnodes),
            ("ncores", least.ncores, most.ncores, self.max.ncores, self.min.ncores),
            ("ngpus", least.ngpus, most.ngpus, self.max.ngpus, self.min.ngpus),
        ] {
            // Who does not say how many nodes leaves that to the scheduler.
            let (Some(least), Some(most)) = (least, most) else { continue };
            if let Some(max) = max.filter(|max| most > *max) {
                let asked = if most == u32::MAX { "without an end".to_owned() } else { most.to_string() };
                let why = format!("requested {what} {asked} exceeds {} of {max}", of());
                return rejected(why, "`flurm queue list` shows the limits");
            }
            if let Some(min) = min.filter(|min| least < *min) {
                let why = format!("requested {what} {least} is below {} of {min}", of());
                return rejected(why, "`flurm queue list` shows the limits");
            }
        }
        Ok(())
    }
}

/// The most that a count may come to; `u32::MAX` without an end.
fn most(count: &Count) -> u32 {
    count.largest_up_to(u32::MAX).unwrap_or(u32::MAX)
}

/// What a job asks for, each count taken as this says.
fn asked_for(jobspec: &Jobspec, number: &dyn Fn(&Count) -> u32) -> Size {
    fn add(size: &mut Size, resource: &Resource, times: u32, number: &dyn Fn(&Count) -> u32) {
        let times = times.saturating_mul(number(&resource.count));
        let counter = match resource.kind {
            Kind::Node => &mut size.nnodes,
            Kind::Core => &mut size.ncores,
            Kind::Gpu => &mut size.ngpus,
            Kind::Slot | Kind::Socket | Kind::Memory | Kind::Other(_) => &mut None,
        };
        *counter = Some(counter.unwrap_or(0).saturating_add(times));
        resource.with.iter().for_each(|inner| add(size, inner, times, number));
    }
    let mut size = Size { nnodes: None, ncores: Some(0), ngpus: Some(0) };
    jobspec.resources().iter().for_each(|resource| add(&mut size, resource, 1, number));
    size
}

/// A value as its word.
mod word {
    use serde::{Deserialize, Deserializer, Serializer, de};
    use std::fmt::Display;
    use std::str::FromStr;

    pub fn serialize<T: Display, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    pub fn deserialize<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

mod word_or_none {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
    use std::fmt::Display;
    use std::str::FromStr;

    pub fn serialize<T: Display, S: Serializer>(value: &Option<T>, to: S) -> Result<S::Ok, S::Error> {
        value.as_ref().map(ToString::to_string).serialize(to)
    }

    pub fn deserialize<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<T>, D::Error> {
        let word = Option::<String>::deserialize(from)?;
        word.map(|word| word.parse().map_err(de::Error::custom)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flurm_jobspec::build::Builder;

    fn site() -> Site {
        let rules = Rules {
            duration: Some(600.0),
            duration_max: Some(3600.0),
            max: Size { nnodes: Some(2), ..Size::default() },
            min: Size { ncores: Some(2), ..Size::default() },
        };
        let batch = Queue { requires: vec!["thin".into()], rules, ..Queue::default() };
        let hosts = Some("n[2-3]".parse().unwrap());
        let pairs = Queue { hosts, cosched: Some("memory".into()), ..Queue::default() };
        let queues = BTreeMap::from([("batch".to_owned(), batch), ("pairs".to_owned(), pairs)]);
        Site { queues, default_queue: Some("batch".into()), ..Site::default() }
    }

    fn job() -> Builder {
        Builder::new(vec!["true".into()]).ntasks(2)
    }

    #[test]
    fn a_queue_writes_its_rules_into_the_job() {
        let taken = site().admit(job().build().unwrap()).unwrap();
        let a = taken.attributes();
        assert_eq!((a.queue.as_deref(), a.duration), (Some("batch"), 600.0));
        assert_eq!(a.constraints, Constraint::parse_query("thin").unwrap());
        let taken = site().admit(job().queue("pairs").build().unwrap()).unwrap();
        let a = taken.attributes();
        assert_eq!(a.cosched.as_ref().unwrap().class.as_deref(), Some("memory"));
        assert_eq!(a.constraints, Constraint::parse_query("+pairs").unwrap());
        assert_eq!(site().admit(taken.clone()).unwrap().attributes().queue, a.queue.clone());
    }

    #[test]
    fn what_a_queue_does_not_take_is_refused_with_the_limit() {
        let plain = || Site { queues: BTreeMap::new(), default_queue: None, ..site() };
        let no_default = || Site { default_queue: None, ..site() };
        for (site, job, why) in [
            (site(), job().queue("x"), "requested queue x not found"),
            (plain(), job().queue("x"), "requested queue x not found: this instance has no named queues"),
            (no_default(), job(), "no queue requested, and there is no default queue"),
            (site(), job().duration(7200.0), "requested duration 2h exceeds limit of queue batch of 1h"),
            (site(), job().nnodes(3).ntasks(3), "requested nnodes 3 exceeds limit of queue batch of 2"),
            (site(), job().ntasks(1), "requested ncores 1 is below limit of queue batch of 2"),
            (
                site(),
                job().queue("pairs").setattr("system.placement", &"spread".into()),
                "queue pairs co-schedules its jobs, but this one asks for placement spread",
            ),
        ] {
            assert_eq!(site.admit(job.build().unwrap()).unwrap_err().why, why);
        }
        let mut unlimited = site();
        unlimited.queues.get_mut("batch").unwrap().rules.duration = None;
        let why = unlimited.admit(job().build().unwrap()).unwrap_err().why;
        assert_eq!(why, "requested unlimited duration exceeds limit of queue batch of 1h");
    }

    #[test]
    fn limits_hold_for_all_that_a_range_allows() {
        let with = |nodes: &str| {
            let text = format!(
                r#"{{"version": 1, "resources": [{{"type": "node", "count": {nodes}, "with": [
                    {{"type": "slot", "count": 1, "label": "t", "with": [{{"type": "core", "count": 1}}]}}]}}],
                    "tasks": [{{"command": ["true"], "slot": "t", "count": {{"per_slot": 1}}}}],
                    "attributes": {{"system": {{"duration": 60}}}}}}"#
            );
            site().admit(Jobspec::parse(&text).unwrap()).map_err(|rejected| rejected.why).err()
        };
        let exceeds = |n: &str| Some(format!("requested nnodes {n} exceeds limit of queue batch of 2"));
        assert_eq!(with(r#""1-4""#), exceeds("4"));
        assert_eq!(with(r#""2+""#), exceeds("without an end"));
        assert_eq!(
            with(r#""1-2""#),
            Some("requested ncores 1 is below limit of queue batch of 2".to_owned())
        );
        assert_eq!(with("2"), None);
    }

    #[test]
    fn queues_by_hosts_have_a_property_and_ranks() {
        let node = |rank| flurm_types::RNode {
            rank,
            host: format!("n{rank}"),
            cores: Idset::from(0),
            gpus: Idset::new(),
        };
        let mut r = R::from_nodes((0..4).map(node));
        r.properties.insert("thin".into(), "0-1".parse().unwrap());
        site().mark(&mut r);
        assert_eq!(r.properties["+pairs"].to_string(), "2-3");
        let ranks = |queue: &str| site().ranks(queue, &r).to_string();
        assert_eq!(
            (ranks("batch"), ranks("pairs"), ranks("none")),
            ("0-1".into(), "2-3".into(), String::new())
        );
        assert_eq!(site().without_nodes(&r), [""; 0]);
        r.properties.remove("thin");
        let said = site().without_nodes(&r);
        assert_eq!(said, ["queue batch has no nodes: none here has the properties thin"]);
    }

    #[test]
    fn it_survives_the_file_that_a_broker_comes_back_from() {
        let site = Site { policy: "hybrid:8".parse().unwrap(), age_s: Some(60), ..site() };
        let text = serde_json::to_string(&site).unwrap();
        assert_eq!(serde_json::from_str::<Site>(&text).unwrap(), site);
        assert_eq!(serde_json::from_str::<Site>("{}").unwrap(), Site::default());
    }
}
