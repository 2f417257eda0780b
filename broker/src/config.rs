//! What the user configured: TOML (`--config-path`) and attributes (`-S`), checked before anything starts.
//!
//! A key or a value that would have no effect is refused by name. `-S` wins over the file.

mod inventory;
mod jobs;
pub mod steps;

pub use inventory::align;

use crate::bootstrap::Mistake;
use crate::start::BrokerArgs;
use flurm_types::{Fsd, Idset, R, RNode, Rank, Socket, Topology, counted};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Children per broker when nobody says: two levels reach a thousand nodes.
const FANOUT: u32 = 32;
/// How long rank 0 waits for the others: srun starts thousands of tasks in less.
pub const JOIN_TIMEOUT: Duration = Duration::from_secs(30);
/// For jobs to end, with their epilogs, when the instance does.
const CLEANUP_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a shell lives without its broker.
const ORPHAN_MS: u64 = 5000;
/// A reader that is slow takes something within a minute; one that was stopped may never.
const FOLLOWER_TIMEOUT: Duration = Duration::from_secs(60);
/// A process that ends closes its connections and is missed at once; silence is for cables and hosts that hang. A busy or
/// swapping host may be silent for seconds and be well, and taking it for dead costs its jobs.
const LOST_TIMEOUT: Duration = Duration::from_secs(10);

/// What a file may say.
const KNOWN: &str = "the tables are [sched], [queues.NAME], [policy], [ingest.validator], [resource], [fake-resources], \
                     [shell], [slurm], [tbon], [sched-fluxion-qmanager] and [sched-fluxion-resource]; what is not known is refused";

/// The file, as it is written.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    #[serde(default, rename = "fake-resources")]
    pub fake: Option<Fake>,
    #[serde(default)]
    pub resource: Resource,
    #[serde(default)]
    pub tbon: Tbon,
    #[serde(default)]
    pub slurm: Slurm,
    #[serde(default)]
    pub sched: jobs::Sched,
    #[serde(default)]
    pub policy: jobs::Policy,
    #[serde(default)]
    pub queues: BTreeMap<String, jobs::Queue>,
    #[serde(default)]
    pub ingest: jobs::Ingest,
    #[serde(default)]
    pub shell: jobs::Hooks,
    #[serde(default, rename = "sched-fluxion-qmanager")]
    pub qmanager: jobs::Qmanager,
    #[serde(default, rename = "sched-fluxion-resource")]
    pub fluxion: jobs::FluxionResource,
    /// All of this as it was written.
    #[serde(skip)]
    pub source: Map<String, Value>,
}

/// Nodes that are not there, for tests and demonstrations.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Fake {
    /// As many as brokers when missing.
    pub nnodes: Option<u32>,
    pub cores_per_node: u32,
    #[serde(default = "one")]
    pub sockets_per_node: u32,
    #[serde(default)]
    pub gpus_per_node: u32,
    /// Hosts are named so with the rank behind; by their own names when missing.
    pub host_prefix: Option<String>,
}

fn one() -> u32 {
    1
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resource {
    /// R in JSON (RFC 20): what this instance has, instead of what its brokers find.
    pub path: Option<PathBuf>,
    /// A resource graph of its nodes (JGF), if R does not bring one.
    pub scheduling: Option<PathBuf>,
    /// Ranks or hosts that get no jobs.
    pub exclude: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Tbon {
    /// The underscore is seen in files of Flux as well.
    #[serde(alias = "interface_hint")]
    pub interface_hint: Option<String>,
    pub fanout: Option<u32>,
    pub topo: Option<String>,
    pub lost_timeout: Option<String>,
}

/// Whether and how the site's own Slurm commands are answered inside.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slurm {
    pub service: Option<String>,
    pub auth: Option<String>,
}

/// What the attributes `slurm.service` and `slurm.auth` may be.
const SLURM_WORDS: [(&str, &[&str]); 2] =
    [("slurm.service", &["auto", "on", "off"]), ("slurm.auth", &["munge", "none"])];

impl Config {
    /// Reads a file, or every `*.toml` of a directory in the order of names, later ones winning key by key.
    ///
    /// # Errors
    /// It cannot be read, is no TOML, or says something that is not known.
    pub fn load(path: &Path) -> Result<Config, Mistake> {
        let unreadable = |path: &Path, error: std::io::Error| {
            Mistake::new(
                format!("configuration {} cannot be read: {error}", path.display()),
                "--config-path names a TOML or JSON file, or a directory with files *.toml",
            )
        };
        if !path.is_dir() {
            let text = std::fs::read_to_string(path).map_err(|e| unreadable(path, e))?;
            let name = path.display().to_string();
            return match path.extension() {
                Some(ending) if ending == "json" => Config::parse_json(&name, &text),
                _ => Config::parse(&name, &text),
            };
        }
        let entries = std::fs::read_dir(path).map_err(|e| unreadable(path, e))?;
        let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        files.retain(|file| file.extension().is_some_and(|ending| ending == "toml"));
        files.sort();
        let mut all = toml::Table::new();
        for file in files {
            let text = std::fs::read_to_string(&file).map_err(|e| unreadable(&file, e))?;
            // By itself first: what is wrong in it has a line there.
            Config::parse(&file.display().to_string(), &text)?;
            merge(&mut all, toml::from_str(&text).expect("it was read just now"));
        }
        let text = serde_json::to_string(&all).expect("keys are texts");
        Config::parse_json(&format!("{}: the files together", path.display()), &text)
    }

    /// Reads the text of the file `name`.
    ///
    /// # Errors
    /// It is no TOML, or says something that is not known.
    pub fn parse(name: &str, text: &str) -> Result<Config, Mistake> {
        let wrong = |error: toml::de::Error| {
            let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
            let what = error.message().replace('\n', " ");
            Mistake::new(format!("{name}:{line}: {what}"), KNOWN)
        };
        let config: Config = toml::from_str(text).map_err(wrong)?;
        Ok(Config { source: toml::from_str(text).map_err(wrong)?, ..config })
    }

    /// The same in JSON, as batch jobs carry it.
    ///
    /// # Errors
    /// As for TOML.
    pub fn parse_json(name: &str, text: &str) -> Result<Config, Mistake> {
        let wrong = |error: serde_json::Error| Mistake::new(format!("{name}: {error}"), KNOWN);
        let config: Config = serde_json::from_str(text).map_err(wrong)?;
        Ok(Config { source: serde_json::from_str(text).map_err(wrong)?, ..config })
    }

    /// Nodes that are said rather than found, for an instance of these hosts.
    ///
    /// # Errors
    /// They do not fit the instance.
    pub fn inventory(&self, hosts: &[String]) -> Result<Option<R>, Mistake> {
        match (&self.fake, &self.resource.path) {
            (Some(_), Some(_)) => Err(Mistake::new(
                "[fake-resources] and resource.path exclude each other",
                "leave one of them out of the configuration",
            )),
            (Some(_), None) if self.resource.scheduling.is_some() => Err(Mistake::new(
                "[fake-resources] and resource.scheduling exclude each other",
                "the graph describes the nodes of the R in resource.path",
            )),
            (Some(fake), None) => fake.r(hosts).map(Some),
            (None, Some(path)) => {
                align(&inventory::read(path, self.resource.scheduling.as_deref())?, hosts).map(Some)
            }
            (None, None) => match self.resource.scheduling {
                Some(_) => Err(Mistake::new(
                    "resource.scheduling needs resource.path",
                    "the graph describes the nodes of an R",
                )),
                None => Ok(None),
            },
        }
    }

    /// What of an inventory jobs may have.
    ///
    /// # Errors
    /// Something is excluded that is not there, or that only its broker could find.
    pub fn without_excluded(&self, inventory: Option<R>) -> Result<Option<R>, Mistake> {
        match (&self.resource.exclude, inventory) {
            (None, inventory) => Ok(inventory),
            (Some(text), Some(r)) => {
                let gone = inventory::excluded(text, &r)?;
                Ok(Some(r.restrict_with_graph(&r.ranks().difference(&gone))))
            }
            (Some(_), None) => Err(Mistake::new(
                "resource.exclude needs resource.path or [fake-resources]",
                "what brokers find on their own nodes is all used; ask for fewer nodes instead",
            )),
        }
    }
}

/// Key by key, what comes later wins.
fn merge(into: &mut toml::Table, later: toml::Table) {
    for (key, value) in later {
        match (into.get_mut(&key), value) {
            (Some(toml::Value::Table(into)), toml::Value::Table(later)) => merge(into, later),
            (_, value) => drop(into.insert(key, value)),
        }
    }
}

impl Fake {
    fn r(&self, hosts: &[String]) -> Result<R, Mistake> {
        let size = u32::try_from(hosts.len()).expect("sizes are 32 bits wide");
        if let Some(nnodes) = self.nnodes.filter(|nnodes| *nnodes != size) {
            return Err(Mistake::new(
                format!(
                    "[fake-resources] has {}, but this instance has {}",
                    counted(nnodes.into(), "node"),
                    counted(size.into(), "broker")
                ),
                format!("set nnodes = {size}, or leave it out"),
            ));
        }
        if self.cores_per_node == 0 || self.sockets_per_node == 0 {
            return Err(Mistake::new(
                "[fake-resources] describes nodes without cores",
                "cores-per-node and sockets-per-node are at least 1",
            ));
        }
        let host = |rank: u32| match &self.host_prefix {
            Some(prefix) => format!("{prefix}{rank}"),
            None => hosts[rank as usize].clone(),
        };
        let mut r = R::from_nodes((0..size).map(|rank| RNode {
            rank,
            host: host(rank),
            cores: first(self.cores_per_node),
            gpus: first(self.gpus_per_node),
        }));
        let topology = self.topology();
        r.topology = (0..size).map(|rank| (rank, topology.clone())).collect();
        // What others could not read is better refused here.
        match R::parse(&r.to_json()) {
            Ok(_) => Ok(r),
            Err(e) => Err(Mistake::new(
                format!("[fake-resources] describes what cannot be: {e}"),
                "host-prefix is the beginning of a host's name; nodes have thousands of cores at most",
            )),
        }
    }

    /// Cores and GPUs dealt out in order; the first sockets have one more where it does not come out even.
    fn topology(&self) -> Topology {
        let sockets = self.sockets_per_node;
        let part = |total: u32, socket: u32| -> Idset {
            let from = |socket: u32| socket * (total / sockets) + socket.min(total % sockets);
            (from(socket)..from(socket + 1)).collect()
        };
        let socket = |n| Socket {
            cores: part(self.cores_per_node, n),
            gpus: part(self.gpus_per_node, n),
            memory_gib: None,
        };
        Topology { sockets: (0..sockets).map(socket).filter(|socket| !socket.cores.is_empty()).collect() }
    }
}

fn first(n: u32) -> Idset {
    (0..n).collect()
}

/// Everything that was asked for, as values.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    pub config: Config,
    pub fanout: u32,
    cleanup_timeout: Duration,
    pub join_timeout: Duration,
    pub orphan_ms: u64,
    /// For how long a reader of a job's output may have its tasks wait.
    pub follower_timeout: Duration,
    /// Silence after which a neighbour in the tree is lost.
    pub lost_ms: u64,
    pub interface_hint: Option<String>,
    pub statedir: Option<PathBuf>,
    /// What `getattr` will show of all this, with the attributes that are the user's own.
    pub attributes: BTreeMap<String, String>,
}

/// Attributes that an instance has by being one.
const READ_ONLY: &[&str] = &[
    "broker.pid",
    "broker.starttime",
    "config",
    "hostlist",
    "hostname",
    "instance-id",
    "instance-level",
    "jobid",
    "local-uri",
    "parent-uri",
    "rank",
    "security.owner",
    "size",
    "version",
];

impl Settings {
    /// # Errors
    /// The configuration cannot be read, or an attribute does not mean anything.
    pub fn load(args: &BrokerArgs) -> Result<Settings, Mistake> {
        let config = args.config_path.as_deref().map_or(Ok(Config::default()), Config::load)?;
        Settings::resolve(config, &args.setattr)
    }

    /// # Errors
    /// An attribute does not mean anything.
    pub fn resolve(config: Config, setattr: &[(String, String)]) -> Result<Settings, Mistake> {
        let attributes: BTreeMap<String, String> = setattr.iter().cloned().collect();
        for name in attributes.keys() {
            if READ_ONLY.contains(&name.as_str()) {
                return Err(Mistake::new(
                    format!("attribute {name} cannot be set"),
                    "the instance knows it by itself; `flurm getattr` shows it",
                ));
            }
            if name == "rundir" {
                return Err(Mistake::new(
                    "attribute rundir cannot be set",
                    "set FLURM_RUNDIR_BASE to the directory that it shall be in",
                ));
            }
        }
        let mut attributes = attributes;
        for ((name, words), said) in SLURM_WORDS.into_iter().zip([&config.slurm.service, &config.slurm.auth])
        {
            let Some(word) = attributes.get(name).or(said.as_ref()).cloned() else { continue };
            if !words.contains(&word.as_str()) {
                let hint = format!("it is one of: {}", words.join(", "));
                return Err(Mistake::new(format!("{name} cannot be `{word}`"), hint));
            }
            attributes.insert(name.to_owned(), word);
        }
        let duration = |name: &str| attributes.get(name).map(|text| duration(name, text)).transpose();
        duration(crate::bootstrap::lease::INTERVAL)?;
        let interface_hint = attributes.get("tbon.interface-hint").or(config.tbon.interface_hint.as_ref());
        let lost_timeout = attributes.get("tbon.lost-timeout").or(config.tbon.lost_timeout.as_ref());
        let lost_timeout = lost_timeout.map(|text| self::duration("tbon.lost-timeout", text)).transpose()?;
        let mut settings = Settings {
            fanout: fanout(&attributes, &config.tbon)?,
            cleanup_timeout: duration("broker.cleanup-timeout")?.unwrap_or(CLEANUP_TIMEOUT),
            join_timeout: duration("broker.join-timeout")?.unwrap_or(JOIN_TIMEOUT),
            follower_timeout: duration("broker.follower-timeout")?.unwrap_or(FOLLOWER_TIMEOUT),
            orphan_ms: duration("broker.orphan-timeout")?.map_or(ORPHAN_MS, millis),
            lost_ms: millis(lost_timeout.unwrap_or(LOST_TIMEOUT)),
            interface_hint: interface_hint.cloned(),
            statedir: attributes.get("statedir").map(|dir| std::path::absolute(dir).unwrap_or(dir.into())),
            config,
            attributes,
        };
        settings.show();
        Ok(settings)
    }

    /// Writes what was decided back to the attributes.
    fn show(&mut self) {
        let seconds = |d: Duration| Fsd::from_secs(d.as_secs_f64()).expect("durations are not negative");
        let cleanup_timeout = seconds(self.cleanup_timeout).to_string();
        let join_timeout = seconds(self.join_timeout).to_string();
        let orphan_timeout = seconds(Duration::from_millis(self.orphan_ms)).to_string();
        let lost_timeout = seconds(Duration::from_millis(self.lost_ms)).to_string();
        let follower_timeout = seconds(self.follower_timeout).to_string();
        let shown = [
            ("broker.cleanup-timeout", Some(cleanup_timeout)),
            ("broker.follower-timeout", Some(follower_timeout)),
            ("broker.join-timeout", Some(join_timeout)),
            ("config", Some(Value::Object(self.config.source.clone()).to_string())),
            ("broker.orphan-timeout", Some(orphan_timeout)),
            ("tbon.fanout", Some(self.fanout.to_string())),
            ("tbon.interface-hint", self.interface_hint.clone()),
            ("tbon.lost-timeout", Some(lost_timeout)),
            ("tbon.topo", Some(format!("kary:{}", self.fanout))),
        ];
        for (name, value) in shown {
            if let Some(value) = value {
                self.attributes.insert(name.to_owned(), value);
            }
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn duration(name: &str, text: &str) -> Result<Duration, Mistake> {
    // A year and a day: anything longer is meant as "never give up", and fits every clock.
    const LONGEST: f64 = 366.0 * 86400.0;
    let hint = "a duration is a number with a unit: 500ms, 30s, 2m, 1h";
    let fsd: Fsd =
        text.parse().map_err(|e: flurm_types::SyntaxError| Mistake::new(format!("{name}: {e}"), hint))?;
    if fsd == Fsd::ZERO {
        return Err(Mistake::new(format!("{name} is zero"), hint));
    }
    Ok(Duration::from_secs_f64(fsd.as_secs().min(LONGEST)))
}

/// `tbon.fanout=N` and `tbon.topo=kary:N` say the same thing.
fn fanout(attributes: &BTreeMap<String, String>, tbon: &Tbon) -> Result<u32, Mistake> {
    let hint = "the tree is tbon.fanout=N, or tbon.topo=kary:N, with N from 1 on";
    let positive = |what: &str, text: &str| {
        text.parse().ok().filter(|n| *n > 0).ok_or_else(|| Mistake::new(format!("{what}={text}"), hint))
    };
    let topo = |text: &str| match text.strip_prefix("kary:") {
        Some(n) => positive("tbon.topo", n),
        None => Err(Mistake::new(format!("there is no tbon.topo {text} here"), hint)),
    };
    let given = |fanout: Option<&str>, shape: Option<&str>| -> Result<Option<u32>, Mistake> {
        let fanout = fanout.map(|text| positive("tbon.fanout", text)).transpose()?;
        let shape = shape.map(topo).transpose()?;
        match (fanout, shape) {
            (Some(one), Some(two)) if one != two => {
                Err(Mistake::new(format!("tbon.fanout={one} and tbon.topo=kary:{two} disagree"), hint))
            }
            (one, two) => Ok(one.or(two)),
        }
    };
    let attribute = |name: &str| attributes.get(name).map(String::as_str);
    let wanted = given(attribute("tbon.fanout"), attribute("tbon.topo"))?;
    let configured = given(tbon.fanout.map(|n| n.to_string()).as_deref(), tbon.topo.as_deref())?;
    Ok(wanted.or(configured).unwrap_or(FANOUT))
}

/// Parent in the tree of this fanout.
pub fn parent(rank: Rank, fanout: u32) -> Option<Rank> {
    (rank.0 > 0).then(|| Rank((rank.0 - 1) / fanout))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(n: usize) -> Vec<String> {
        (0..n).map(|i| format!("c{i}")).collect()
    }

    fn settings(pairs: &[(&str, &str)]) -> Result<Settings, Mistake> {
        let pairs: Vec<_> = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Settings::resolve(Config::default(), &pairs)
    }

    #[test]
    fn fake_nodes_become_r_with_topology() {
        let text = "[fake-resources]\nnnodes = 2\ncores-per-node = 5\nsockets-per-node = 2\ngpus-per-node = 2\nhost-prefix = \"node\"\n";
        let r = Config::parse("x", text).unwrap().inventory(&hosts(2)).unwrap().unwrap();
        assert_eq!((r.hostlist().to_string(), r.ncores(), r.ngpus()), ("node[0-1]".into(), 10, 4));
        let sockets: Vec<_> =
            r.topology[&1].sockets.iter().map(|s| (s.cores.to_string(), s.gpus.to_string())).collect();
        assert_eq!(sockets, [("0-2".into(), "0".into()), ("3-4".into(), "1".into())]);
        let graph = format!("[resource]\nscheduling = \"x.json\"\n{text}");
        let wrong = Config::parse("x", &graph).unwrap().inventory(&hosts(2)).unwrap_err();
        assert_eq!(wrong.what, "[fake-resources] and resource.scheduling exclude each other");
        let wrong = Config::parse("x", text).unwrap().inventory(&hosts(3)).unwrap_err();
        assert_eq!(wrong.what, "[fake-resources] has 2 nodes, but this instance has 3 brokers");
        for (good, bad) in [("\"node\"", "\"a b[\""), ("per-node = 5", "per-node = 2000000")] {
            let wrong =
                Config::parse("x", &text.replace(good, bad)).unwrap().inventory(&hosts(2)).unwrap_err();
            assert!(wrong.what.starts_with("[fake-resources] describes what cannot be"), "{}", wrong.what);
        }
    }

    #[test]
    fn unknown_keys_are_refused_by_name_and_line() {
        for (text, line, name) in [
            ("[fake-resources]\ncores-per-node = 2\ncolour = 1\n", 3, "colour"),
            ("[queue]\nx = 1\n", 1, "queue"),
            ("[queues.a]\nrequire = 1\n", 2, "require"),
            ("[sched]\npolicy = \"eazy\"\n", 2, "eazy"),
            ("\n[tbon]\ninterface-hin = \"x\"\n", 3, "interface-hin"),
        ] {
            let wrong = Config::parse("f.toml", text).unwrap_err();
            assert!(wrong.what.starts_with(&format!("f.toml:{line}: ")), "{wrong}");
            assert!(wrong.what.contains(name), "{wrong}");
        }
    }

    #[test]
    fn a_directory_is_read_in_order_and_later_files_win() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.toml"), "[tbon]\ninterface_hint = \"ib0\"\nfanout = 4\n").unwrap();
        std::fs::write(dir.path().join("b.toml"), "[tbon]\nfanout = 8\n").unwrap();
        std::fs::write(dir.path().join("c.conf"), "no toml").unwrap();
        let config = Config::load(dir.path()).unwrap();
        let settings = Settings::resolve(config, &[]).unwrap();
        assert_eq!((settings.fanout, settings.interface_hint.as_deref()), (8, Some("ib0")));
        assert!(Config::load(&dir.path().join("none.toml")).unwrap_err().what.contains("none.toml"));
    }

    #[test]
    fn attributes_win_over_the_file_and_are_shown() {
        let file = "[tbon]\nfanout = 4\ninterface-hint = \"ib0\"\nlost-timeout = \"1m\"\n";
        let config = Config::parse("x", file).unwrap();
        let pairs = [("tbon.topo", "kary:16"), ("broker.join-timeout", "3s"), ("my.own", "1")];
        let pairs: Vec<_> = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let settings = Settings::resolve(config, &pairs).unwrap();
        assert_eq!(settings.fanout, 16);
        assert_eq!(settings.join_timeout, Duration::from_secs(3));
        let shown = |name: &str| settings.attributes.get(name).map(String::as_str);
        assert_eq!(shown("tbon.fanout"), Some("16"));
        assert_eq!(shown("tbon.interface-hint"), Some("ib0"));
        assert_eq!(shown("broker.orphan-timeout"), Some("5s"));
        assert_eq!(shown("tbon.lost-timeout"), Some("1m"));
        assert_eq!(shown("broker.follower-timeout"), Some("1m"));
        assert_eq!(settings.lost_ms, 60_000);
        assert_eq!(shown("my.own"), Some("1"));
    }

    #[test]
    fn attributes_that_mean_nothing_are_refused() {
        for pairs in [
            &[("size", "4")][..],
            &[("rundir", "/x")],
            &[("tbon.fanout", "0")],
            &[("tbon.topo", "binomial")],
            &[("tbon.fanout", "2"), ("tbon.topo", "kary:3")],
            &[("broker.join-timeout", "soon")],
            &[("broker.join-timeout", "0")],
            &[("broker.follower-timeout", "soon")],
        ] {
            assert!(settings(pairs).is_err(), "{pairs:?}");
        }
    }

    #[test]
    fn excluded_ranks_and_hosts_get_no_jobs() {
        let with = |exclude: &str| {
            let text = format!("[resource]\nexclude = \"{exclude}\"\n[fake-resources]\ncores-per-node = 1\n");
            let config = Config::parse("x", &text).unwrap();
            let r = config.inventory(&hosts(4)).and_then(|r| config.without_excluded(r));
            r.map(|r| r.unwrap().ranks().to_string())
        };
        assert_eq!(with("0,2"), Ok("1,3".to_owned()));
        assert_eq!(with("c[1-2]"), Ok("0,3".to_owned()));
        assert!(with("d1").unwrap_err().what.contains("no host d1"));
        assert_eq!(with("3-5").unwrap_err().what, "resource.exclude: there is no rank 4-5 here");
        let config =
            Config::parse("x", "[resource]\nexclude = \"0\"\n[fake-resources]\ncores-per-node = 1\n")
                .unwrap();
        let mut r = config.inventory(&hosts(2)).unwrap().unwrap();
        let vertex = |rank| serde_json::json!({"id": rank, "metadata": {"type": "node", "rank": rank}});
        r.scheduling =
            Some(serde_json::json!({"graph": {"nodes": [vertex(0), vertex(1)], "edges": []}}).into());
        let graph =
            config.without_excluded(Some(r)).unwrap().unwrap().scheduling.unwrap().json().into_owned();
        assert_eq!(graph["graph"]["nodes"], serde_json::json!([vertex(1)]));
        let alone = Config::parse("x", "[resource]\nexclude = \"0\"\n").unwrap();
        assert!(alone.without_excluded(None).is_err());
    }
}
