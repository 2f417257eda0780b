//! Tables about jobs: `[sched]`, `[queues]`, `[policy]` (RFC 33), and what files for Flux's schedulers say of the same.
//!
//! Here they are read as they are written. [`Config::site`] makes of them what the leader works with, in which each
//! queue has everything that holds for it.

use super::Config;
use crate::bootstrap::Mistake;
use flurm_core::{Queue as SiteQueue, Rules, Site, Size};
use flurm_jobspec::Placement;
use flurm_sched::{Policy as QueuePolicy, SlowDowns};
use flurm_types::{Fsd, Hostlist};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;

/// How jobs are scheduled.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sched {
    #[serde(default, deserialize_with = "word")]
    pub policy: Option<QueuePolicy>,
    #[serde(default, deserialize_with = "word")]
    pub placement: Option<Placement>,
    /// Waiting that counts as much as a step of priority.
    #[serde(default, deserialize_with = "word")]
    pub age: Option<Fsd>,
    /// A file that says how much jobs slow each other down.
    pub slowdowns: Option<PathBuf>,
    /// For how long a scheduler outside may leave news of jobs without an answer; 0 is for ever.
    #[serde(default, rename = "external-timeout", deserialize_with = "word")]
    pub external_timeout: Option<Fsd>,
}

/// What the user runs before and after each job on its nodes, and before and after each task; and how jobs end.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Hooks {
    pub prolog: Option<String>,
    pub epilog: Option<String>,
    pub task_prolog: Option<String>,
    pub task_epilog: Option<String>,
    #[serde(default, deserialize_with = "word")]
    pub hook_timeout: Option<Fsd>,
    /// Between TERM and KILL at the end of a job.
    #[serde(default, deserialize_with = "word")]
    pub kill_timeout: Option<Fsd>,
}

impl Hooks {
    /// As options of the shells of jobs.
    fn shell_options(&self) -> Result<BTreeMap<String, String>, Mistake> {
        let programs = [
            ("prolog", &self.prolog),
            ("epilog", &self.epilog),
            ("task-prolog", &self.task_prolog),
            ("task-epilog", &self.task_epilog),
        ];
        let mut options = BTreeMap::new();
        for (name, program) in programs {
            let Some(program) = program else { continue };
            if !program.starts_with('/') {
                return Err(mistake(
                    format!("shell.{name}: `{program}` is no absolute path"),
                    "jobs run in directories of their own",
                ));
            }
            options.insert(name.to_owned(), program.clone());
        }
        let times = [("hook-timeout", self.hook_timeout), ("kill-timeout", self.kill_timeout)];
        options
            .extend(times.into_iter().filter_map(|(name, time)| Some((name.to_owned(), time?.to_string()))));
        Ok(options)
    }
}

/// What holds for all queues.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    #[serde(default)]
    pub jobspec: JobspecPolicy,
    #[serde(default)]
    pub limits: Limits,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobspecPolicy {
    #[serde(default)]
    pub defaults: Defaults,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Defaults {
    #[serde(default)]
    pub system: System,
}

/// What is written into jobs that do not say.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct System {
    #[serde(default, deserialize_with = "word")]
    pub duration: Option<Fsd>,
    pub queue: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Limits {
    #[serde(default, deserialize_with = "word")]
    pub duration: Option<Fsd>,
    #[serde(default)]
    pub job_size: JobSize,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobSize {
    #[serde(default)]
    pub max: Counts,
    #[serde(default)]
    pub min: Counts,
}

/// -1 is no limit.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    #[serde(default, deserialize_with = "count")]
    pub nnodes: Option<i64>,
    #[serde(default, deserialize_with = "count")]
    pub ncores: Option<i64>,
    #[serde(default, deserialize_with = "count")]
    pub ngpus: Option<i64>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Queue {
    /// Properties.
    #[serde(default)]
    pub requires: Vec<String>,
    /// Host names, or `all`.
    pub hosts: Option<String>,
    #[serde(default)]
    pub policy: Policy,
    #[serde(default, deserialize_with = "word")]
    pub placement: Option<Placement>,
    pub cosched: Option<Cosched>,
    /// Added to the priority of its jobs.
    #[serde(default)]
    pub priority: i64,
    #[serde(default)]
    pub running: Running,
}

/// The most that jobs of a queue have together while they run.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Running {
    pub jobs: Option<u32>,
    pub cores: Option<u32>,
}

/// Jobs of the queue share their sockets; all of them with this class, unless they say another.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Cosched {
    On(bool),
    Class(String),
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ingest {
    #[serde(default)]
    pub validator: Validator,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Validator {
    /// Take jobs without asking whether they could ever run.
    #[serde(default)]
    pub disable: bool,
}

/// The queue manager of flux-sched.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Qmanager {
    #[serde(default, deserialize_with = "word")]
    pub queue_policy: Option<QueuePolicy>,
    #[serde(flatten)]
    pub rest: BTreeMap<String, toml::Value>,
}

/// The matcher of flux-sched.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct FluxionResource {
    pub match_policy: Option<String>,
    #[serde(flatten)]
    pub rest: BTreeMap<String, toml::Value>,
}

/// A value that is written as a word.
fn word<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(from: D) -> Result<Option<T>, D::Error> {
    String::deserialize(from)?.parse().map(Some).map_err(D::Error::custom)
}

fn count<'de, D: Deserializer<'de>>(from: D) -> Result<Option<i64>, D::Error> {
    let n = i64::deserialize(from)?;
    let good = (-1..=i64::from(u32::MAX)).contains(&n);
    if good {
        Ok(Some(n))
    } else {
        Err(D::Error::custom(format!("{n} is no size: it is -1 (no limit) or more")))
    }
}

fn mistake(what: impl Into<String>, hint: impl Into<String>) -> Mistake {
    Mistake::new(what, hint)
}

impl Config {
    /// What the leader needs to know of jobs and queues, in an instance on these hosts.
    ///
    /// # Errors
    /// Tables contradict each other, name hosts that are not there, or a file that cannot be read.
    pub fn site(&self, hosts: &[String]) -> Result<Site, Mistake> {
        let default_queue = self.policy.jobspec.defaults.system.queue.clone();
        if let Some(name) = default_queue.as_ref().filter(|name| !self.queues.contains_key(*name)) {
            return Err(mistake(
                format!("policy.jobspec.defaults.system.queue: there is no queue {name}"),
                format!("add a table [queues.{name}], or name another queue"),
            ));
        }
        self.policy.check("policy")?;
        let queues = self.queues.iter();
        let queues = queues.map(|(name, queue)| Ok((name.clone(), queue.site(name, &self.policy, hosts)?)));
        let slowdowns = self.sched.slowdowns.as_ref().map(|path| {
            let text = std::fs::read_to_string(path).map_err(|error| error.to_string());
            let checked = text.and_then(|text| match SlowDowns::parse(&text) {
                Ok(_) => Ok(text),
                Err(error) => Err(format!("line {}: {}", error.line, error.rule)),
            });
            checked.map_err(|error| {
                mistake(
                    format!("sched.slowdowns {} cannot be read: {error}", path.display()),
                    "it names a TOML file with a table [slowdown.CLASS] for each class of jobs",
                )
            })
        });
        Ok(Site {
            policy: self.sched.policy.or(self.qmanager.queue_policy).unwrap_or_default(),
            placement: self.sched.placement.or(self.fluxion.placement()).unwrap_or_default(),
            age_s: self.sched.age.map(|age| age.as_secs().clamp(1.0, f64::from(u32::MAX)) as u32),
            slowdowns: slowdowns.transpose()?,
            external_timeout_s: self.sched.external_timeout.map(|limit| limit.as_secs()),
            rules: self.policy.rules(&Policy::default()),
            queues: queues.collect::<Result<_, Mistake>>()?,
            default_queue,
            shell_options: self.shell.shell_options()?,
            unchecked: self.ingest.validator.disable,
        })
    }

    /// What was written for other schedulers and has no effect here.
    pub fn warnings(&self) -> Vec<Mistake> {
        let mut warnings = Vec::new();
        let tables =
            [("sched-fluxion-qmanager", &self.qmanager.rest), ("sched-fluxion-resource", &self.fluxion.rest)];
        for (table, rest) in tables {
            for key in rest.keys() {
                warnings.push(mistake(
                    format!("{table}.{key} has no effect here"),
                    "scheduling is configured in [sched] and [queues.NAME]",
                ));
            }
        }
        if let Some(policy) = &self.fluxion.match_policy
            && self.fluxion.placement().is_none()
        {
            warnings.push(mistake(
                format!("sched-fluxion-resource.match-policy {policy} has no counterpart here"),
                "jobs are placed compact; sched.placement says otherwise",
            ));
        }
        warnings
    }
}

impl FluxionResource {
    /// The order in which nodes are tried is all that these words and ours have in common.
    fn placement(&self) -> Option<Placement> {
        match self.match_policy.as_deref()? {
            "first" => Some(Placement::First),
            "low" | "lonode" => Some(Placement::Low),
            "high" | "hinode" => Some(Placement::High),
            "locality" => Some(Placement::Locality),
            _ => None,
        }
    }
}

impl Policy {
    /// These limits on sizes, and those of `above` where they say nothing.
    fn over(&self, above: &Policy) -> Policy {
        let counts = |own: &Counts, above: &Counts| Counts {
            nnodes: own.nnodes.or(above.nnodes),
            ncores: own.ncores.or(above.ncores),
            ngpus: own.ngpus.or(above.ngpus),
        };
        let (own, above) = (&self.limits.job_size, &above.limits.job_size);
        let job_size = JobSize { max: counts(&own.max, &above.max), min: counts(&own.min, &above.min) };
        Policy { limits: Limits { job_size, ..self.limits.clone() }, ..self.clone() }
    }

    /// Limits between which there is no job.
    fn check(&self, table: &str) -> Result<(), Mistake> {
        let JobSize { max, min } = &self.limits.job_size;
        for (what, max, min) in [
            ("nnodes", max.nnodes, min.nnodes),
            ("ncores", max.ncores, min.ncores),
            ("ngpus", max.ngpus, min.ngpus),
        ] {
            if let (Some(max @ 0..), Some(min)) = (max, min)
                && min > max
            {
                return Err(mistake(
                    format!("{table}.limits.job-size: min.{what} = {min} exceeds max.{what} = {max}"),
                    "no job could be taken; -1 is no limit",
                ));
            }
        }
        Ok(())
    }

    /// These limits and defaults; `above` where they say nothing.
    fn rules(&self, above: &Policy) -> Rules {
        let seconds = |own: Option<Fsd>, above: Option<Fsd>| {
            own.or(above).map(|fsd| fsd.as_secs()).filter(|secs| secs.is_finite() && *secs > 0.0)
        };
        let size = |own: &Counts, above: &Counts| {
            let limit =
                |own: Option<i64>, above: Option<i64>| own.or(above).and_then(|n| u32::try_from(n).ok());
            Size {
                nnodes: limit(own.nnodes, above.nnodes),
                ncores: limit(own.ncores, above.ncores),
                ngpus: limit(own.ngpus, above.ngpus),
            }
        };
        let (own, other) = (&self.limits, &above.limits);
        Rules {
            duration: seconds(self.jobspec.defaults.system.duration, above.jobspec.defaults.system.duration),
            duration_max: seconds(own.duration, other.duration),
            max: size(&own.job_size.max, &other.job_size.max),
            min: size(&own.job_size.min, &other.job_size.min),
        }
    }
}

impl Queue {
    fn site(&self, name: &str, global: &Policy, all: &[String]) -> Result<SiteQueue, Mistake> {
        let wrong = |what: &str, hint: &str| Err(mistake(format!("queues.{name}: {what}"), hint));
        // Hosts of a queue have a property with its name, and names are given as lists.
        let property = serde_json::json!({ "properties": [format!("+{name}")] });
        if let Err(error) = flurm_types::Constraint::from_json(&property) {
            return wrong(&format!("no name of a queue: {error}"), "it is part of the name of a property");
        }
        if name.is_empty() || name.contains(|c: char| c == ',' || c.is_whitespace() || c.is_control()) {
            return wrong("no name of a queue", "it is not empty, and without blanks and commas");
        }
        if self.policy.jobspec.defaults.system.queue.is_some() {
            return wrong("a queue has no default queue", "the default queue is set in [policy], for all");
        }
        let hosts = match self.hosts.as_deref() {
            None | Some("all") => None,
            Some(text) => match text.parse::<Hostlist>() {
                Ok(hosts) => Some(hosts),
                Err(error) => {
                    return wrong(&format!("hosts: {error}"), "hosts are written as c[1-4], or `all`");
                }
            },
        };
        if self.hosts.is_some() && !self.requires.is_empty() {
            return wrong("hosts and requires exclude each other", "say by either which nodes the queue has");
        }
        if let Some(unknown) = hosts.iter().flat_map(|h| h.iter()).find(|host| !all.contains(host)) {
            return wrong(&format!("there is no host {unknown} here"), "`flurm overlay status` lists hosts");
        }
        let properties = serde_json::json!({ "properties": self.requires });
        if !self.requires.is_empty()
            && let Err(error) = flurm_types::Constraint::from_json(&properties)
        {
            return wrong(&format!("requires: {error}"), "it is a list of properties of nodes");
        }
        self.policy.over(global).check(&format!("queues.{name}.policy"))?;
        let rules = self.policy.rules(global);
        if let (Some(default), Some(max)) = (rules.duration, rules.duration_max)
            && default > max
        {
            return wrong("the default duration exceeds the limit", "lower it, or raise the limit");
        }
        let cosched = match &self.cosched {
            None | Some(Cosched::On(false)) => None,
            Some(Cosched::On(true)) => Some(String::new()),
            Some(Cosched::Class(class)) => Some(class.clone()),
        };
        if let Some(Cosched::Class(class)) = &self.cosched
            && let Err(rule) = flurm_jobspec::Cosched::check_class(class)
        {
            return wrong(&format!("cosched: {rule}"), "true gives no class to jobs that say none");
        }
        if cosched.is_some() && self.placement.is_some() {
            return wrong(
                "cosched and placement exclude each other",
                "co-scheduled jobs share their sockets",
            );
        }
        let requires = self.requires.clone();
        let (jobs_max, cores_max) = (self.running.jobs, self.running.cores);
        if jobs_max == Some(0) || cores_max == Some(0) {
            return wrong("running: with a limit of 0 nothing runs", "`flurm queue stop` closes a queue");
        }
        let (placement, priority) = (self.placement, self.priority);
        Ok(SiteQueue { requires, hosts, rules, placement, cosched, priority, jobs_max, cores_max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts() -> Vec<String> {
        (0..4).map(|i| format!("c{i}")).collect()
    }

    fn site(text: &str) -> Result<Site, Mistake> {
        Config::parse("x", text).and_then(|config| config.site(&hosts()))
    }

    #[test]
    fn queues_have_their_own_rules_and_else_those_of_all() {
        let text = r#"
            [sched]
            policy = "hybrid:4"
            placement = "spread:1/4"
            age = "1h"
            [policy.limits]
            duration = "2h"
            job-size.max.nnodes = 4
            [policy.jobspec.defaults.system]
            duration = "10m"
            queue = "batch"
            [queues.batch]
            requires = ["thin"]
            policy.limits.job-size.max.nnodes = -1
            policy.limits.job-size.min.ncores = 2
            [queues.debug]
            hosts = "c[0-1]"
            policy.limits.duration = "30m"
            cosched = "memory"
            priority = 10
            running = { jobs = 3 }
        "#;
        let site = site(text).unwrap();
        assert_eq!(
            (site.policy.to_string(), site.placement.to_string()),
            ("hybrid:4".into(), "spread:1/4".into())
        );
        assert_eq!((site.age_s, site.default_queue.as_deref()), (Some(3600), Some("batch")));
        let (batch, debug) = (&site.queues["batch"], &site.queues["debug"]);
        assert_eq!((batch.rules.duration, batch.rules.duration_max), (Some(600.0), Some(7200.0)));
        assert_eq!((batch.rules.max.nnodes, batch.rules.min.ncores), (None, Some(2)));
        assert_eq!((debug.rules.duration_max, debug.rules.max.nnodes), (Some(1800.0), Some(4)));
        assert_eq!(debug.hosts.as_ref().map(ToString::to_string).as_deref(), Some("c[0-1]"));
        assert_eq!(debug.cosched.as_deref(), Some("memory"));
        assert_eq!((debug.priority, debug.jobs_max, batch.cores_max), (10, Some(3), None));
        assert_eq!(super::super::Config::default().site(&hosts()), Ok(Site::default()));
    }

    #[test]
    fn what_contradicts_itself_is_refused_by_name() {
        for (text, what) in [
            ("[policy.jobspec.defaults.system]\nqueue = \"x\"\n", "there is no queue x"),
            ("[queues.a]\nhosts = \"c9\"\n", "queues.a: there is no host c9 here"),
            ("[queues.a]\nhosts = \"c[\"\n", "queues.a: hosts: "),
            ("[queues.a]\ncosched = \"mem bw\"\n", "queues.a: cosched: `mem bw` is no class"),
            ("[queues.a]\ncosched = \"\"\n", "queues.a: cosched: `` is no class"),
            ("[queues.\"a&b\"]\nhosts = \"c0\"\n", "queues.a&b: no name of a queue"),
            ("[queues.\"a b\"]\n", "queues.a b: no name of a queue"),
            ("[queues.\"\"]\n", "queues.: no name of a queue"),
            ("[queues.a]\nhosts = \"all\"\nrequires = [\"x\"]\n", "queues.a: hosts and requires exclude"),
            ("[queues.a]\nrequires = [\"x|y\"]\n", "queues.a: requires: "),
            ("[queues.a]\nrunning.cores = 0\n", "queues.a: running: with a limit of 0"),
            ("[queues.a]\ncosched = true\nplacement = \"low\"\n", "queues.a: cosched and placement exclude"),
            (
                "[queues.a.policy.jobspec.defaults.system]\nqueue = \"a\"\n",
                "queues.a: a queue has no default",
            ),
            (
                "[queues.a.policy]\nlimits.duration = \"1m\"\njobspec.defaults.system.duration = \"2m\"\n",
                "queues.a: the default duration",
            ),
            (
                "[queues.a.policy.limits]\njob-size.max.nnodes = 2\njob-size.min.nnodes = 4\n",
                "queues.a.policy.limits.job-size: min.nnodes = 4 exceeds max.nnodes = 2",
            ),
            (
                "[policy.limits]\njob-size.max.ngpus = 0\n[queues.a.policy.limits]\njob-size.min.ngpus = 1\n",
                "queues.a.policy.limits.job-size: min.ngpus = 1 exceeds max.ngpus = 0",
            ),
            ("[sched]\nplacement = \"cosched\"\n", "`cosched` is for jobs and for queues (cosched = true)"),
            ("[queues.a.policy.limits]\njob-size.max.nnodes = -2\n", "x:2: -2 is no size"),
            ("[sched]\nslowdowns = \"/nonexistent\"\n", "sched.slowdowns /nonexistent cannot be read"),
        ] {
            let wrong = site(text).unwrap_err();
            assert!(wrong.what.contains(what), "{text}: {wrong}");
        }
    }

    #[test]
    fn files_of_flux_are_understood_as_far_as_they_mean_the_same() {
        let text = r#"
            [sched-fluxion-qmanager]
            queue-policy = "easy"
            queue-params = "queue-depth=8192"
            [sched-fluxion-resource]
            match-policy = "lonode"
            match-format = "rv1"
            [ingest.validator]
            disable = true
        "#;
        let config = Config::parse("x", text).unwrap();
        let site = config.site(&hosts()).unwrap();
        assert_eq!((site.policy, site.placement, site.unchecked), (QueuePolicy::Easy, Placement::Low, true));
        let warned: Vec<String> = config.warnings().into_iter().map(|w| w.what).collect();
        let none = |key| format!("{key} has no effect here");
        assert_eq!(
            warned,
            [none("sched-fluxion-qmanager.queue-params"), none("sched-fluxion-resource.match-format")]
        );
        let other = Config::parse("x", "[sched-fluxion-resource]\nmatch-policy = \"lonodex\"\n").unwrap();
        assert!(other.warnings()[0].what.contains("lonodex has no counterpart"));
    }
}
