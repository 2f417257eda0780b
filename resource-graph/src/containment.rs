//! What is inside what: cluster, nodes, sockets, cores and GPUs as a graph, the way other tools describe resources
//! (RFC 4).
//!
//! For showing and exchanging. Matching works on `index.rs`, which is thousands of times smaller.

use flurm_types::{R, RNode, Socket};
use petgraph::graph::{DiGraph, NodeIndex};
use std::fmt;

/// A thing that there is, or that holds others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Vertex {
    /// Everything together.
    Cluster,
    /// A broker's part.
    Node {
        /// The broker.
        rank: u32,
        /// Its host; several nodes may be on the same.
        host: String,
    },
    /// Cores and GPUs near each other, counted from 0 in each node.
    Socket(u32),
    /// A core, by its logical id.
    Core(u32),
    /// A GPU, by its logical id.
    Gpu(u32),
}

impl fmt::Display for Vertex {
    /// The name it has in paths.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Vertex::Cluster => f.write_str("cluster0"),
            Vertex::Node { host, .. } => f.write_str(host),
            Vertex::Socket(n) => write!(f, "socket{n}"),
            Vertex::Core(n) => write!(f, "core{n}"),
            Vertex::Gpu(n) => write!(f, "gpu{n}"),
        }
    }
}

/// The containment tree of an inventory or of an allocation. A node of which nothing is known has one socket.
///
/// ```
/// use flurm_resource_graph::Containment;
/// use flurm_types::R;
///
/// let r = R::parse(
///     r#"{"version":1,"execution":{"R_lite":[{"rank":"0","children":{"core":"0-1","gpu":"0"}}],
///         "nodelist":["n0"],"starttime":0,"expiration":0}}"#,
/// ).unwrap();
/// let tree = Containment::from_r(&r);
/// let lines: Vec<String> = tree.walk().map(|(depth, vertex)| format!("{}{vertex}", "  ".repeat(depth))).collect();
/// assert_eq!(lines, ["cluster0", "  n0", "    socket0", "      core0", "      core1", "      gpu0"]);
/// ```
#[derive(Debug, Clone)]
pub struct Containment {
    graph: DiGraph<Vertex, ()>,
    root: NodeIndex,
}

impl Containment {
    /// Every core and GPU of this R and what they are in.
    #[must_use]
    pub fn from_r(r: &R) -> Containment {
        let mut graph = DiGraph::new();
        let root = graph.add_node(Vertex::Cluster);
        let mut tree = Containment { graph, root };
        for node in &r.nodes {
            let sockets = r.topology.get(&node.rank).map_or(&[][..], |topology| &topology.sockets);
            let at = tree.put(root, Vertex::Node { rank: node.rank, host: node.host.clone() });
            for (n, socket) in (0..).zip(sockets_of(node, sockets)) {
                let at = tree.put(at, Vertex::Socket(n));
                for inside in socket.cores.iter().map(Vertex::Core).chain(socket.gpus.iter().map(Vertex::Gpu))
                {
                    tree.put(at, inside);
                }
            }
        }
        tree
    }

    fn put(&mut self, parent: NodeIndex, vertex: Vertex) -> NodeIndex {
        let child = self.graph.add_node(vertex);
        self.graph.add_edge(parent, child, ());
        child
    }

    /// Every vertex with its depth, what holds before what it holds, in the order of ranks and ids.
    pub fn walk(&self) -> impl Iterator<Item = (usize, &Vertex)> {
        let mut left = vec![(0, self.root)];
        std::iter::from_fn(move || {
            let (depth, at) = left.pop()?;
            // petgraph has the youngest child first, which a stack turns around.
            left.extend(self.graph.neighbors(at).map(|child| (depth + 1, child)));
            Some((depth, &self.graph[at]))
        })
    }
}

/// The sockets of a node, as far as this R has anything of them; what no socket names is one more at the end.
pub(crate) fn sockets_of(node: &RNode, sockets: &[Socket]) -> Vec<Socket> {
    let (mut cores, mut gpus) = (node.cores.clone(), node.gpus.clone());
    let mut found: Vec<Socket> = Vec::new();
    for socket in sockets {
        // Whoever is named twice stays where it was named first.
        let here = Socket {
            cores: socket.cores.intersection(&cores),
            gpus: socket.gpus.intersection(&gpus),
            memory_gib: socket.memory_gib,
        };
        cores = cores.difference(&here.cores);
        gpus = gpus.difference(&here.gpus);
        found.push(here);
    }
    found.push(Socket { cores, gpus, memory_gib: None });
    found.retain(|socket| !socket.cores.is_empty() || !socket.gpus.is_empty());
    found
}
