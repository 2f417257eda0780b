//! Descriptions out of sizes: so many nodes that look alike.

use super::build::Builder;
use super::{Description, POOLS_MAX};
use flurm_types::limits::R_MAX_SOCKETS;
use flurm_types::{Hostlist, Idset, R, RNode, Socket, Topology};
use petgraph::graph::NodeIndex;
use std::collections::{BTreeMap, BTreeSet};

/// Most cores of a node, and most GPUs, as readers of descriptions have it.
const ON_NODE_MAX: u64 = super::flatten::ON_NODE_MAX;

/// Nodes that look alike.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Shape {
    /// The hosts, one a node.
    pub hosts: Hostlist,
    /// Racks, which share the nodes in their order; 0 for none.
    pub racks: u32,
    /// On each node; at least 1.
    pub sockets: u32,
    /// NUMA domains of each socket; 0 if they are not told apart.
    pub numa: u32,
    /// L3 caches of each socket; 0 if they are not told apart.
    pub l3: u32,
    /// On each socket; at least 1.
    pub cores: u32,
    /// Hardware threads of each core; 0 if they are not told apart.
    pub threads: u32,
    /// On each socket.
    pub gpus: u32,
    /// GiB on each socket, if it matters.
    pub memory_gib: Option<u64>,
    /// Hosts with a property each.
    pub properties: Vec<(String, String)>,
}

impl Shape {
    /// Can there be such nodes?
    ///
    /// # Errors
    /// The first size that is wrong, with its limit.
    pub fn check(&self) -> Result<(), String> {
        if self.hosts.is_empty() {
            return Err("at least 1 node is needed".to_owned());
        }
        let mut seen = BTreeSet::new();
        if let Some(twice) = self.hosts.iter().find(|host| !seen.insert(host.as_str())) {
            return Err(format!("host {twice} is named twice"));
        }
        if let Some(host) = self.hosts.iter().find(|host| host.contains('/')) {
            return Err(format!("`{host}` is no host: it has a slash"));
        }
        for (count, rule) in
            [(self.sockets, "a node has at least 1 socket"), (self.cores, "a socket has at least 1 core")]
        {
            if count == 0 {
                return Err(rule.to_owned());
            }
        }
        for (each, what) in [(self.cores, "cores"), (self.gpus, "GPUs")] {
            let count = u64::from(self.sockets) * u64::from(each);
            if count > ON_NODE_MAX {
                return Err(format!("a node has at most {ON_NODE_MAX} {what}, not {count}"));
            }
        }
        for (parts, of, names) in [
            (self.numa, self.cores, ("cores", "NUMA domains")),
            (self.l3, self.cores, ("cores", "L3 caches")),
            (if self.l3 > 0 { self.numa } else { 0 }, self.l3, ("L3 caches", "NUMA domains")),
        ] {
            if parts > 0 && of % parts != 0 {
                let (what, by) = names;
                return Err(format!("{of} {what} of a socket cannot be shared evenly by {parts} {by}"));
            }
        }
        if self.racks as usize > self.hosts.len() {
            return Err(format!("{} racks for {} nodes: some would be empty", self.racks, self.hosts.len()));
        }
        let sockets = self.hosts.len() as u64 * u64::from(self.sockets);
        if sockets > R_MAX_SOCKETS as u64 {
            return Err(format!("{sockets} sockets (at most {R_MAX_SOCKETS})"));
        }
        if self.vertices() > POOLS_MAX as u64 {
            return Err(format!("{} vertices (at most {POOLS_MAX})", self.vertices()));
        }
        for (host, property) in &self.properties {
            if !seen.contains(host.as_str()) {
                return Err(format!("host {host} of property {property} is not there"));
            }
            if property.is_empty() || property.contains(['!', '&', '\'', '"', '^', '`', '|', '(', ')']) {
                return Err(format!("`{property}` is no property: none of ! & ' \" ^ ` | ( ) may be in it"));
            }
        }
        Ok(())
    }

    /// How many vertices [`Shape::describe`] makes.
    #[must_use]
    pub fn vertices(&self) -> u64 {
        let [sockets, numa, l3, cores, threads, gpus, racks] =
            [self.sockets, self.numa, self.l3, self.cores, self.threads, self.gpus, self.racks]
                .map(u64::from);
        let memory = if self.memory_gib.is_some() { numa.max(1) } else { 0 };
        let socket = 1 + numa + l3 + cores.saturating_mul(1 + threads) + gpus + memory;
        let node = sockets.saturating_mul(socket).saturating_add(1);
        node.saturating_mul(self.hosts.len() as u64).saturating_add(1 + racks)
    }

    /// The inventory of such nodes, all free and with ranks from 0.
    #[must_use]
    pub fn to_r(&self) -> R {
        let ids = |each: u32, s: u32| -> Idset { range(s * each, (s + 1) * each) };
        let socket =
            |s| Socket { cores: ids(self.cores, s), gpus: ids(self.gpus, s), memory_gib: self.memory_gib };
        let inside = Topology { sockets: (0..self.sockets).map(socket).collect() };
        let (cores, gpus) = (range(0, self.sockets * self.cores), range(0, self.sockets * self.gpus));
        let properties = self.properties_by_host();
        let mut r = R::default();
        for (rank, host) in (0..).zip(self.hosts.iter()) {
            for property in properties.get(host.as_str()).into_iter().flatten() {
                r.properties.entry((*property).to_owned()).or_default().insert(rank);
            }
            r.nodes.push(RNode { rank, host: host.clone(), cores: cores.clone(), gpus: gpus.clone() });
            r.topology.insert(rank, inside.clone());
        }
        r
    }

    /// Everything in them, with the levels between nodes and cores that [`Shape::to_r`] does not know.
    #[must_use]
    pub fn describe(&self) -> Description {
        let mut b = Builder::new();
        let root = b.put(None, "cluster", "cluster0", 0, None);
        let racks: Vec<NodeIndex> =
            (0..self.racks).map(|n| b.put(Some(root), "rack", &format!("rack{n}"), n.into(), None)).collect();
        let properties = self.properties_by_host();
        for (rank, host) in (0..).zip(self.hosts.iter()) {
            let rack = rank as usize * racks.len() / self.hosts.len();
            let above = racks.get(rack).copied().unwrap_or(root);
            let at = b.put(Some(above), "node", host, rank.into(), Some(rank));
            let properties = properties.get(host.as_str()).into_iter().flatten().copied();
            b.set_properties(at, properties);
            for s in 0..self.sockets {
                self.socket(&mut b, at, s, rank);
            }
        }
        b.finish_tree()
    }

    fn properties_by_host(&self) -> BTreeMap<&str, Vec<&str>> {
        let mut by_host: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (host, property) in &self.properties {
            by_host.entry(host).or_default().push(property);
        }
        by_host
    }

    fn socket(&self, b: &mut Builder, node: NodeIndex, s: u32, rank: u32) {
        let put = |b: &mut Builder, above, kind: &str, id: u32| {
            b.put(Some(above), kind, &format!("{kind}{id}"), id.into(), Some(rank))
        };
        let socket = put(b, node, "socket", s);
        // What has so many parts in this socket, numbered through the node.
        let parts = |count: u32| s * count..(s + 1) * count;
        let domains: Vec<NodeIndex> = parts(self.numa).map(|id| put(b, socket, "numanode", id)).collect();
        let domain = |n: u32, of: u32| match domains.len() {
            0 => socket,
            count => domains[n as usize * count / of as usize],
        };
        let caches: Vec<NodeIndex> =
            (0..).zip(parts(self.l3)).map(|(n, id)| put(b, domain(n, self.l3), "l3cache", id)).collect();
        for (n, core) in (0..).zip(parts(self.cores)) {
            let above = match caches.len() {
                0 => domain(n, self.cores),
                count => caches[n as usize * count / self.cores as usize],
            };
            let at = put(b, above, "core", core);
            for thread in core * self.threads..(core + 1) * self.threads {
                put(b, at, "pu", thread);
            }
        }
        for gpu in parts(self.gpus) {
            put(b, socket, "gpu", gpu);
        }
        if let Some(gib) = self.memory_gib {
            let count = self.numa.max(1);
            for (n, id) in (0..).zip(parts(count)) {
                let at = put(b, domain(n, count), "memory", id);
                // What does not divide evenly is given to the first ones.
                let each = gib / u64::from(count) + u64::from(u64::from(n) < gib % u64::from(count));
                b.set_size(at, each, "GiB");
            }
        }
    }
}

/// From the first to before the last.
fn range(first: u32, behind: u32) -> Idset {
    if behind > first { Idset::from_range(first..=behind - 1) } else { Idset::new() }
}
