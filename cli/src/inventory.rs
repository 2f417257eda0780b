//! Resources for the tools that need no instance: made of sizes, or read from a file in one of three formats.

use crate::failure::Failure;
use clap::ValueEnum;
use flurm_jobspec::{Jobspec, Kind, Resource};
use flurm_resource_graph::describe::{Description, DescriptionError, Document, Shape};
use flurm_resource_graph::{Graph, Mark, SlowDowns};
use flurm_types::{Hostlist, Idset, R};
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;

/// How resources are written.
#[derive(Copy, Clone, Debug, Eq, PartialEq, ValueEnum)]
pub enum Format {
    /// hwloc's XML of one machine
    Hwloc,
    /// A JSON graph, alone or inside an R
    Jgf,
    /// A resource set (RFC 20)
    #[value(name = "R")]
    R,
}

/// How much there is, in words of the command line.
#[derive(Clone, Debug, Default, PartialEq, clap::Args)]
#[command(next_help_heading = "Sizes")]
pub struct Sizes {
    /// Nodes, called node0, node1, …
    #[arg(long, value_name = "N")]
    nodes: Option<u32>,
    /// Nodes by their names
    #[arg(long, value_name = "HOSTS", conflicts_with = "nodes")]
    hosts: Option<Hostlist>,
    /// Racks, which share the nodes in their order
    #[arg(long, value_name = "N")]
    racks: Option<u32>,
    /// Sockets of each node (default: 1)
    #[arg(long, value_name = "N")]
    sockets: Option<u32>,
    /// NUMA domains of each socket
    #[arg(long, value_name = "N")]
    numa: Option<u32>,
    /// L3 caches of each socket
    #[arg(long, value_name = "N")]
    l3: Option<u32>,
    /// Cores of each socket (default: 1)
    #[arg(long, value_name = "N")]
    cores: Option<u32>,
    /// Hardware threads of each core
    #[arg(long, value_name = "N")]
    threads: Option<u32>,
    /// GPUs of each socket
    #[arg(long, value_name = "N")]
    gpus: Option<u32>,
    /// Memory of each socket, in GiB
    #[arg(long, value_name = "GIB")]
    memory: Option<u64>,
    /// A property of some nodes; may be repeated
    #[arg(long, value_name = "HOSTS:NAME")]
    prop: Vec<String>,
}

impl Sizes {
    pub fn are_given(&self) -> bool {
        *self != Sizes::default()
    }

    /// The nodes that these words describe.
    pub fn shape(&self) -> Result<Shape, Failure> {
        let hosts = match (&self.hosts, self.nodes) {
            (Some(hosts), _) => hosts.clone(),
            (None, Some(0)) => return Err(Failure::usage("at least 1 node is needed")),
            (None, Some(nodes)) => format!("node[0-{}]", nodes - 1).parse()?,
            (None, None) => {
                return Err(
                    Failure::usage("how many nodes?").hint("--nodes=N, or their names: --hosts=HOSTS")
                );
            }
        };
        let mut properties = Vec::new();
        for word in &self.prop {
            let parts = word.rsplit_once(':').filter(|(hosts, name)| !hosts.is_empty() && !name.is_empty());
            let Some((with, name)) = parts else {
                return Err(Failure::usage(format!("cannot read property `{word}`"))
                    .hint("hosts and a name, such as --prop=node[0-1]:thin"));
            };
            let with: Hostlist = with.parse()?;
            properties.extend(with.iter().map(|host| (host.clone(), name.to_owned())));
        }
        let shape = Shape {
            hosts,
            racks: self.racks.unwrap_or(0),
            sockets: self.sockets.unwrap_or(1),
            numa: self.numa.unwrap_or(0),
            l3: self.l3.unwrap_or(0),
            cores: self.cores.unwrap_or(1),
            threads: self.threads.unwrap_or(0),
            gpus: self.gpus.unwrap_or(0),
            memory_gib: self.memory,
            properties,
        };
        shape.check().map_err(|rule| Failure::usage(format!("cannot make such nodes: {rule}")))?;
        Ok(shape)
    }
}

/// Resources, with as much as is known of them.
#[derive(Debug)]
pub struct Inventory {
    /// What matching uses.
    pub r: R,
    told: Told,
}

#[derive(Debug)]
enum Told {
    /// Nothing but the R.
    Nothing,
    Shape(Shape),
    Description(Description),
}

/// What tells an R from other documents.
#[derive(Deserialize)]
struct Top {
    execution: Option<IgnoredAny>,
}

impl Inventory {
    pub fn from_shape(shape: Shape) -> Inventory {
        Inventory { r: shape.to_r(), told: Told::Shape(shape) }
    }

    /// Reads a file, `-` for standard input. The machine in a file of hwloc gets this name.
    pub fn load(path: &Path, format: Option<Format>, host: &str) -> Result<Inventory, Failure> {
        Inventory::load_in(Path::new(""), path, format, host)
    }

    /// The same, of a file whose name is seen from this folder.
    pub fn load_in(
        folder: &Path,
        path: &Path,
        format: Option<Format>,
        host: &str,
    ) -> Result<Inventory, Failure> {
        let named = |failure: Failure| failure.within(&path.display().to_string());
        Inventory::read(open_in(folder, path)?, format, host).map_err(named)
    }

    /// Reads a text; without a format, in the one that it looks like.
    pub fn read(from: impl Read, format: Option<Format>, host: &str) -> Result<Inventory, Failure> {
        let wrong = |error: DescriptionError| Failure::new(format!("cannot {error}"));
        let mut from = BufReader::new(from);
        let is_xml = from.fill_buf().is_ok_and(|text| text.trim_ascii_start().starts_with(b"<"));
        let description = if format == Some(Format::Hwloc) || format.is_none() && is_xml {
            let text = std::io::read_to_string(from)?;
            Description::from_hwloc(&text, host).map_err(wrong)?
        } else {
            let Document { graph, rest } = Document::read(from).map_err(wrong)?;
            let is_r = serde_json::from_str(&rest).is_ok_and(|top: Top| top.execution.is_some());
            if format == Some(Format::R) || format.is_none() && is_r {
                let mut r = R::parse(&rest).map_err(|error| Failure::new(format!("cannot {error}")))?;
                let Some(description) = graph else { return Ok(Inventory { r, told: Told::Nothing }) };
                let ranks = r.ranks();
                r.topology = description.to_r().map_err(wrong)?.topology;
                r.topology.retain(|rank, _| ranks.contains(*rank));
                // The graph says it better.
                r.scheduling = None;
                return Ok(Inventory { r, told: Told::Description(description) });
            }
            match graph {
                Some(description) => description,
                None => {
                    let said = "cannot read resources: neither `execution`, as in an R, nor `graph`";
                    return Err(Failure::new(said)
                        .hint("an R, a JSON graph (JGF), or the XML that `lstopo file.xml` writes"));
                }
            }
        };
        Ok(Inventory { r: description.to_r().map_err(wrong)?, told: Told::Description(description) })
    }

    /// Everything that is known, vertex by vertex.
    pub fn description(&self) -> Cow<'_, Description> {
        match &self.told {
            Told::Nothing => Cow::Owned(Description::from_r(&self.r)),
            Told::Shape(shape) => Cow::Owned(shape.describe()),
            Told::Description(description) => Cow::Borrowed(description),
        }
    }

    /// An R with the graph as its `scheduling` key. As texts, since a graph as JSON values is many times larger.
    pub fn to_r_with_jgf(&self) -> String {
        let r = R { topology: BTreeMap::new(), scheduling: None, ..self.r.clone() }.to_json();
        let jgf = self.description().to_jgf();
        let open = r.strip_suffix('}').expect("an R is a JSON object");
        let graph = jgf.strip_prefix('{').expect("a graph is a JSON object");
        format!("{open},\"scheduling\":{{\"writer\":\"fluxion:jgf\",{graph}}}")
    }

    /// The graph at time 0, with everything free and up that a file does not say is down.
    pub fn graph(&self) -> Graph {
        let described = match &self.told {
            Told::Nothing => None,
            // Without levels between, the R says it all.
            Told::Shape(shape) if shape.racks + shape.numa + shape.l3 + shape.threads == 0 => None,
            Told::Shape(shape) => Some(Cow::Owned(shape.describe())),
            Told::Description(description) => Some(Cow::Borrowed(description)),
        };
        let mut graph = match described {
            Some(description) => Graph::from_both(&self.r, &description),
            None => Graph::from_r(&self.r),
        };
        let ranks = self.r.ranks();
        graph.mark(&ranks.difference(&self.down()), Mark::Up);
        graph
    }

    /// The R of nodes that are up, with as much as a scheduler needs for these jobs: those that ask for more than nodes, sockets,
    /// cores and GPUs need the graph.
    pub fn for_jobs<'a>(&self, mut jobs: impl Iterator<Item = &'a Jobspec>) -> R {
        fn is_general(resource: &Resource) -> bool {
            let own = matches!(resource.kind, Kind::Memory | Kind::Other(_)) || resource.id.is_some();
            own || resource.with.iter().any(is_general)
        }
        let down = self.down();
        let mut r = self.r.clone();
        if !down.is_empty() {
            let scheduling = r.scheduling.take();
            r = R { scheduling, ..r.restrict(&r.ranks().difference(&down)) };
        }
        if r.scheduling.is_none() && jobs.any(|job| job.resources().iter().any(is_general)) {
            r.scheduling = serde_json::from_str(&self.description().to_jgf()).ok();
        }
        r
    }

    /// How many vertices there are.
    pub fn vertices(&self) -> u64 {
        match &self.told {
            Told::Nothing => Description::from_r(&self.r).len() as u64,
            Told::Shape(shape) => shape.vertices(),
            Told::Description(description) => description.len() as u64,
        }
    }

    /// The R alone, as others read it.
    pub fn to_r(&self) -> String {
        self.r.to_json()
    }

    /// Nodes that the file says are down.
    fn down(&self) -> Idset {
        match &self.told {
            Told::Nothing | Told::Shape(_) => Idset::new(),
            Told::Description(description) => description.down(),
        }
    }
}

/// The text of a file, of standard input for `-`.
pub fn read(path: &Path) -> Result<String, Failure> {
    read_in(Path::new(""), path)
}

/// The same, of a file whose name is seen from this folder.
pub fn read_in(folder: &Path, path: &Path) -> Result<String, Failure> {
    std::io::read_to_string(open_in(folder, path)?).map_err(|error| cannot_read(path, &error))
}

fn open_in(folder: &Path, path: &Path) -> Result<Box<dyn Read>, Failure> {
    if path == Path::new("-") {
        return Ok(Box::new(std::io::stdin()));
    }
    let file = std::fs::File::open(folder.join(path)).map_err(|error| cannot_read(path, &error))?;
    Ok(Box::new(file))
}

fn cannot_read(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("cannot read {}: {error}", path.display()))
}

/// Writes a file that the user has named.
pub fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let failed = |error| Failure::new(format!("cannot write {}: {error}", path.display()));
    std::fs::write(path, text).map_err(failed)
}

/// Reads a table of slow-downs, which comes from this place.
pub fn slowdowns(text: &str, place: &str) -> Result<SlowDowns, Failure> {
    SlowDowns::parse(text).map_err(|error| Failure::new(format!("{place}: cannot {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes() -> Sizes {
        Sizes { nodes: Some(4), sockets: Some(2), cores: Some(4), numa: Some(2), ..Sizes::default() }
    }

    #[test]
    fn each_format_is_known_by_its_look_and_comes_to_the_same() {
        let made = Inventory::from_shape(sizes().shape().unwrap());
        let r = made.r.to_json();
        let jgf = made.description().to_jgf();
        let both = made.to_r_with_jgf();
        for text in [&r, &jgf, &both] {
            let read = Inventory::read(text.as_bytes(), None, "x").unwrap();
            assert_eq!(read.to_r(), r, "{text}");
        }
        for text in [&jgf, &both] {
            assert_eq!(
                Inventory::read(text.as_bytes(), None, "x").unwrap().description(),
                made.description()
            );
        }
        let xml = "<topology><object type=\"Machine\"><object type=\"Core\"/></object></topology>";
        let machine = Inventory::read(xml.as_bytes(), None, "here").unwrap();
        assert_eq!((machine.r.nodes[0].host.as_str(), machine.r.ncores()), ("here", 1));
    }

    #[test]
    fn what_is_no_resources_is_refused() {
        for (text, said) in [
            ("", "cannot read resources at `line 1 column 1`: the text ends in the middle"),
            ("{}", "neither `execution`"),
            ("[1]", "cannot read resources at `line 1 column 1`: expected an object"),
            (r#"{"graph":{"nodes":[]}}"#, "cannot read resources at `.`: no `nodes`"),
            (r#"{"execution":{},"version":2}"#, "cannot "),
            ("<topology>", "cannot read resources at `the end`"),
        ] {
            let failure = Inventory::read(text.as_bytes(), None, "x").unwrap_err();
            assert!(failure.lines().0.contains(said), "{text}: {failure:?}");
        }
    }

    #[test]
    fn properties_are_of_hosts_that_are_there() {
        for (prop, said) in [
            ("thin", "cannot read property `thin`"),
            (":thin", "cannot read property `:thin`"),
            ("x:thin", "host x of property thin is not there"),
            ("node[0-:thin", "cannot read hostlist"),
        ] {
            let failure = Sizes { prop: vec![prop.to_owned()], ..sizes() }.shape().unwrap_err();
            assert!(failure.lines().0.contains(said), "{failure:?}");
        }
        let shape = Sizes { prop: vec!["node[1-2]:thin".to_owned()], ..sizes() }.shape().unwrap();
        assert_eq!(shape.to_r().properties["thin"].to_string(), "1-2");
    }
}
