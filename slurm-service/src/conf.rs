//! The private `slurm.conf`: what Slurm's commands have to know to find us instead of the site's cluster.
//!
//! Text only; [`crate::start`] hands it out. Everything in it is ours: no path of the site's configuration is looked at.

use flurm_types::Hostlist;
use std::fmt::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// What clients believe they talk to.
pub const CLUSTER: &str = "flurm";
/// The one partition of an instance without queues.
pub const PARTITION: &str = "batch";

/// How the sender of a message is known.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Auth {
    /// By the munged that the site has, or a private one at this socket.
    Munge { socket: Option<PathBuf> },
    /// By nothing: everybody on this host may be the owner.
    None,
}

/// A rank as Slurm sees it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Node {
    /// By its host, or with the rank behind it where a host has several.
    pub name: String,
    pub host: String,
    /// Of its node daemon; none until that has said so.
    pub address: Option<SocketAddr>,
    pub sockets: u32,
    /// On all sockets.
    pub cores: u32,
    pub gpus: u32,
    pub memory_mib: u64,
    pub properties: Vec<String>,
}

/// Everything that the text is made of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Conf {
    pub owner: String,
    pub uid: u32,
    pub gid: u32,
    pub auth: Auth,
    pub controller_host: String,
    pub controller: SocketAddr,
    /// Of the accounting daemon, once it listens.
    pub accounting: Option<SocketAddr>,
    /// By rank.
    pub nodes: Vec<Node>,
    pub partitions: Vec<String>,
    /// The first of them is for jobs that name none.
    pub has_default: bool,
    pub mpi: &'static str,
}

/// What stands in the published text where each rank's own socket is meant.
const OWN_SOCKET: &str = "@MUNGE_SOCKET@";

impl Conf {
    /// The text for all ranks, who complete it by [`with_auth`].
    pub fn for_everybody(&self) -> String {
        let own = |auth: &Auth| match auth {
            Auth::Munge { socket: Some(_) } => Auth::Munge { socket: Some(OWN_SOCKET.into()) },
            Auth::Munge { socket: None } | Auth::None => auth.clone(),
        };
        Self { auth: own(&self.auth), ..self.clone() }.to_string()
    }
}

/// The published text with a rank's own socket.
pub fn with_auth(text: &str, auth: &Auth) -> String {
    match auth {
        Auth::Munge { socket: Some(socket) } => text.replace(OWN_SOCKET, &socket.display().to_string()),
        Auth::Munge { socket: None } | Auth::None => text.to_owned(),
    }
}

/// Names that tell ranks apart: the host's where it has one rank, else with the rank behind it.
pub fn node_names(hosts: &Hostlist) -> Vec<String> {
    let alone = |host: &String| hosts.iter().filter(|other| *other == host).count() == 1;
    let name =
        |(rank, host): (usize, &String)| if alone(host) { host.clone() } else { format!("{host}-{rank}") };
    hosts.iter().enumerate().map(name).collect()
}

impl fmt::Display for Conf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# Made by flurm: its own cluster, and nobody else's. Gone with the instance.")?;
        writeln!(f, "ClusterName={CLUSTER}")?;
        writeln!(f, "SlurmctldHost={}({})", self.controller_host, self.controller.ip())?;
        writeln!(f, "SlurmctldPort={}", self.controller.port())?;
        writeln!(f, "SlurmUser={0}\nSlurmdUser={0}", self.owner)?;
        match &self.auth {
            Auth::Munge { socket } => {
                f.write_str("AuthType=auth/munge\nCredType=cred/munge\n")?;
                if let Some(socket) = socket {
                    writeln!(f, "AuthInfo=socket={}", socket.display())?;
                }
            }
            Auth::None => f.write_str("AuthType=auth/none\nCredType=cred/none\n")?,
        }
        f.write_str("SelectType=select/cons_tres\nSelectTypeParameters=CR_Core\n")?;
        f.write_str("PriorityType=priority/multifactor\n")?;
        // Nobody forwards: every node is asked by whoever wants something of it.
        f.write_str("TreeWidth=65533\n")?;
        writeln!(f, "MpiDefault={}", self.mpi)?;
        if self.nodes.iter().any(|node| node.gpus > 0) {
            f.write_str("GresTypes=gpu\n")?;
        }
        if let Some(accounting) = self.accounting {
            f.write_str("AccountingStorageType=accounting_storage/slurmdbd\n")?;
            writeln!(f, "AccountingStorageHost={}", bare(accounting.ip()))?;
            writeln!(f, "AccountingStoragePort={}", accounting.port())?;
            if let Auth::Munge { socket: Some(socket) } = &self.auth {
                writeln!(f, "AccountingStoragePass={}", socket.display())?;
            }
        }
        for node in &self.nodes {
            write!(f, "NodeName={} NodeHostname={}", node.name, node.host)?;
            if let Some(address) = node.address {
                write!(f, " NodeAddr={} Port={}", address.ip(), address.port())?;
            }
            write!(f, " CPUs={} Sockets={}", node.cores, node.sockets.max(1))?;
            write!(f, " CoresPerSocket={} ThreadsPerCore=1", node.cores_per_socket())?;
            if node.memory_mib > 0 {
                write!(f, " RealMemory={}", node.memory_mib)?;
            }
            if node.gpus > 0 {
                write!(f, " Gres=gpu:{}", node.gpus)?;
            }
            if !node.properties.is_empty() {
                write!(f, " Feature={}", node.properties.join(","))?;
            }
            f.write_char('\n')?;
        }
        for (at, name) in self.partitions.iter().enumerate() {
            let default = if at == 0 && self.has_default { " Default=YES" } else { "" };
            writeln!(f, "PartitionName={name} Nodes=ALL State=UP{default}")?;
        }
        Ok(())
    }
}

/// As a host name: without the brackets that an address with a port has.
fn bare(ip: IpAddr) -> String {
    ip.to_string()
}

impl Node {
    /// Whole sockets only: a remainder goes to nobody's count but [`Node::cores`].
    pub fn cores_per_socket(&self) -> u32 {
        (self.cores / self.sockets.max(1)).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_on_one_host_have_names_of_their_own() {
        let names = |hosts: &str| node_names(&hosts.parse().unwrap());
        assert_eq!(names("a,b"), ["a", "b"]);
        assert_eq!(names("a,b,a"), ["a-0", "b", "a-2"]);
    }

    #[test]
    fn the_text_has_what_clients_need() {
        let conf = Conf {
            owner: "ann".to_owned(),
            uid: 1000,
            gid: 1000,
            auth: Auth::Munge { socket: Some("/run/x/socket".into()) },
            controller_host: "n1".to_owned(),
            controller: "10.0.0.1:4711".parse().unwrap(),
            accounting: Some("10.0.0.1:4712".parse().unwrap()),
            nodes: vec![Node {
                name: "n1".to_owned(),
                host: "n1".to_owned(),
                address: Some("10.0.0.1:4713".parse().unwrap()),
                sockets: 2,
                cores: 20,
                gpus: 4,
                memory_mib: 8000,
                properties: vec!["fast".to_owned()],
            }],
            partitions: vec!["debug".to_owned(), "batch".to_owned()],
            has_default: true,
            mpi: "pmi2",
        };
        let text = conf.to_string();
        for line in [
            "SlurmctldHost=n1(10.0.0.1)",
            "SlurmctldPort=4711",
            "SlurmUser=ann",
            "SlurmdUser=ann",
            "AuthInfo=socket=/run/x/socket",
            "AccountingStoragePass=/run/x/socket",
            "NodeName=n1 NodeHostname=n1 NodeAddr=10.0.0.1 Port=4713 CPUs=20 Sockets=2 CoresPerSocket=10 ThreadsPerCore=1 RealMemory=8000 Gres=gpu:4 Feature=fast",
            "PartitionName=debug Nodes=ALL State=UP Default=YES",
            "PartitionName=batch Nodes=ALL State=UP",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(!Conf { has_default: false, ..conf }.to_string().contains("Default=YES"));
    }
}
