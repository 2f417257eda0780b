//! A concrete set of resources: which cores and GPUs of which ranks (R version 1, RFC 20).
//!
//! Sets can be compared, joined and cut here. `read.rs` and `write.rs` have the JSON form, with the topology
//! of the nodes as a TreePool (RFC 49). What is free, and who gets it, is the scheduler's matter.

mod graph;
mod read;
mod scheduling;
mod share;
mod write;

pub use read::RError;
pub use scheduling::{Part, PartVertex, Scheduling, Texts};
pub use share::{Lack, Share, Spread, Want};

use crate::{Hostlist, Idset, Timestamp};
use std::{collections::BTreeMap, sync::Arc};

/// Most sockets over all nodes of an R that is read.
pub const MAX_SOCKETS: usize = 1 << 20;

/// A set of resources (RFC 20): an instance's inventory, or what one job was given.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct R {
    /// Ascending by rank, each rank once, none without cores.
    pub nodes: Vec<RNode>,
    /// Names to the ranks that have them.
    pub properties: BTreeMap<String, Idset>,
    /// Zero if not set.
    pub starttime: Timestamp,
    /// Zero if not set, else after `starttime`.
    pub expiration: Timestamp,
    /// Number of slots, in an allocation.
    pub nslots: Option<u32>,
    /// What is known of the inside of nodes, by rank.
    pub topology: BTreeMap<u32, Topology>,
    /// What another scheduler wrote for itself, or a graph (RFC 40). Joining and cutting drop it, but for
    /// [`R::restrict_with_graph`] and [`R::renumber`], which know graphs.
    pub scheduling: Option<Scheduling>,
}

/// The part of an [`R`] on one rank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RNode {
    /// Rank of the broker there.
    pub rank: u32,
    /// Host name; several ranks may share a host.
    pub host: String,
    /// Logical core ids.
    pub cores: Idset,
    /// Logical GPU ids.
    pub gpus: Idset,
}

/// The inside of a node; without sockets nothing is known, and all is near to all.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Topology {
    /// The sockets in order. Nodes that look alike, and the jobs on them, share the list.
    pub sockets: Arc<[Socket]>,
}

/// A part of a node whose cores are near each other.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Socket {
    /// All its cores, given to a job or not.
    pub cores: Idset,
    /// All its GPUs.
    pub gpus: Idset,
    /// Memory in GiB.
    pub memory_gib: Option<u64>,
}

impl R {
    /// An R of these nodes, in any order; parts of the same rank are put together.
    #[must_use]
    pub fn from_nodes(nodes: impl IntoIterator<Item = RNode>) -> R {
        let mut nodes: Vec<RNode> = nodes.into_iter().collect();
        nodes.sort_by_key(|node| node.rank);
        let mut merged: Vec<RNode> = Vec::with_capacity(nodes.len());
        for node in nodes {
            match merged.last_mut() {
                Some(last) if last.rank == node.rank => {
                    last.cores.union_with(&node.cores);
                    last.gpus.union_with(&node.gpus);
                }
                _ => merged.push(node),
            }
        }
        R { nodes: merged, ..R::default() }
    }

    /// The ranks.
    #[must_use]
    pub fn ranks(&self) -> Idset {
        self.nodes.iter().map(|node| node.rank).collect()
    }

    /// The part on one rank.
    #[must_use]
    pub fn node(&self, rank: u32) -> Option<&RNode> {
        self.nodes.binary_search_by_key(&rank, |node| node.rank).ok().map(|at| &self.nodes[at])
    }

    /// Number of cores.
    #[must_use]
    pub fn ncores(&self) -> usize {
        self.nodes.iter().map(|node| node.cores.len()).sum()
    }

    /// Number of GPUs.
    #[must_use]
    pub fn ngpus(&self) -> usize {
        self.nodes.iter().map(|node| node.gpus.len()).sum()
    }

    /// Number of ranks.
    #[must_use]
    pub fn nnodes(&self) -> usize {
        self.nodes.len()
    }

    /// Is there nothing in it?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The hosts, in the order of ranks.
    #[must_use]
    pub fn hostlist(&self) -> Hostlist {
        self.nodes.iter().map(|node| node.host.clone()).collect()
    }

    /// Do the two share no core and no GPU?
    #[must_use]
    pub fn is_disjoint(&self, other: &R) -> bool {
        self.nodes.iter().all(|node| {
            other.node(node.rank).is_none_or(|theirs| {
                node.cores.is_disjoint(&theirs.cores) && node.gpus.is_disjoint(&theirs.gpus)
            })
        })
    }

    /// Is everything also in the other?
    #[must_use]
    pub fn is_subset(&self, other: &R) -> bool {
        self.nodes.iter().all(|node| {
            other.node(node.rank).is_some_and(|theirs| {
                node.cores.is_subset(&theirs.cores) && node.gpus.is_subset(&theirs.gpus)
            })
        })
    }

    /// What the other has, as it is described here; none when there is something in it that is not here.
    #[must_use]
    pub fn part(&self, other: &R) -> Option<R> {
        let node =
            |theirs: &RNode| Some(RNode { host: self.node(theirs.rank)?.host.clone(), ..theirs.clone() });
        let nodes = other.nodes.iter().map(node).collect::<Option<Vec<RNode>>>()?;
        other.is_subset(self).then(|| R { nslots: other.nslots, ..self.cut(nodes) })
    }

    /// What is in either. Times are this one's; slots are forgotten, since two counts do not add up to one.
    ///
    /// # Errors
    /// When the two disagree about the host of a rank.
    pub fn union(&self, other: &R) -> Result<R, RError> {
        let clash = other
            .nodes
            .iter()
            .filter_map(|theirs| self.node(theirs.rank).map(|ours| (ours, theirs)))
            .find(|(ours, theirs)| ours.host != theirs.host);
        if let Some((ours, theirs)) = clash {
            return Err(RError::Hosts { rank: ours.rank, one: ours.host.clone(), two: theirs.host.clone() });
        }
        let mut out = R::from_nodes(self.nodes.iter().chain(&other.nodes).cloned());
        out.properties = self.properties.clone();
        for (name, ranks) in &other.properties {
            out.properties.entry(name.clone()).or_default().union_with(ranks);
        }
        out.topology = other.topology.clone();
        out.topology.extend(self.topology.iter().map(|(rank, topology)| (*rank, topology.clone())));
        (out.starttime, out.expiration) = (self.starttime, self.expiration);
        Ok(out)
    }

    /// What is here and not in the other. A node with no cores left is gone, with its GPUs.
    #[must_use]
    pub fn difference(&self, other: &R) -> R {
        let nodes = self.nodes.iter().filter_map(|node| {
            let Some(theirs) = other.node(node.rank) else { return Some(node.clone()) };
            let cores = node.cores.difference(&theirs.cores);
            if cores.is_empty() {
                return None;
            }
            Some(RNode { cores, gpus: node.gpus.difference(&theirs.gpus), ..node.clone() })
        });
        self.cut(nodes.collect())
    }

    /// The part on these ranks.
    #[must_use]
    pub fn restrict(&self, ranks: &Idset) -> R {
        self.cut(self.nodes.iter().filter(|node| ranks.contains(node.rank)).cloned().collect())
    }

    /// The part on these ranks, with its part of the graph that the R carries.
    #[must_use]
    pub fn restrict_with_graph(&self, ranks: &Idset) -> R {
        let graph = self.scheduling.as_ref();
        let scheduling =
            graph.and_then(|graph| graph::on(&graph.json(), |rank| ranks.contains(rank).then_some(rank)));
        R { scheduling: scheduling.map(Scheduling::from), ..self.restrict(ranks) }
    }

    /// This R with fewer nodes, and everything that was said of the others left out.
    fn cut(&self, nodes: Vec<RNode>) -> R {
        let ranks: Idset = nodes.iter().map(|node| node.rank).collect();
        let properties = self
            .properties
            .iter()
            .map(|(name, with)| (name.clone(), with.intersection(&ranks)))
            .filter(|(_, with)| !with.is_empty())
            .collect();
        let topology = self.topology.iter().filter(|(rank, _)| ranks.contains(**rank));
        R {
            nodes,
            properties,
            topology: topology.map(|(rank, topology)| (*rank, topology.clone())).collect(),
            starttime: self.starttime,
            expiration: self.expiration,
            nslots: None,
            scheduling: None,
        }
    }

    /// The inventory of an instance started on this R: ranks count from 0 in the old order, and properties
    /// that belong to this instance only (`+name`) stay behind.
    #[must_use]
    pub fn renumber(&self) -> R {
        let old = self.ranks();
        let mut r = self.with_ranks(|rank| old.position(rank) as u32);
        r.properties.retain(|name, _| !name.starts_with('+'));
        r
    }

    /// The same nodes with other ranks, each of which is given once.
    #[must_use]
    pub fn with_ranks(&self, new: impl Fn(u32) -> u32) -> R {
        let old = self.ranks();
        let nodes = self.nodes.iter().map(|node| RNode { rank: new(node.rank), ..node.clone() });
        let properties = self
            .properties
            .iter()
            .map(|(name, with)| (name.clone(), with.intersection(&old).iter().map(&new).collect()))
            .collect();
        let topology = self.topology.iter().filter(|(rank, _)| old.contains(**rank));
        R {
            properties,
            topology: topology.map(|(rank, topology)| (new(*rank), topology.clone())).collect(),
            starttime: self.starttime,
            expiration: self.expiration,
            scheduling: self
                .scheduling
                .as_ref()
                .and_then(|graph| graph::on(&graph.json(), |rank| old.contains(rank).then(|| new(rank))))
                .map(Scheduling::from),
            ..R::from_nodes(nodes)
        }
    }
}
