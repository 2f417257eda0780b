//! What is set up before the first question is answered.
//!
//! The leader's service finds or starts a munged, listens, and puts `slurm.conf` into the store of the instance. Every
//! service, the leader's too, writes its own copy of that into its run directory.

use crate::accounting;
use crate::conf::{self, Auth, Conf, Node};
use crate::context::Context;
use crate::controller;
use crate::door::Door;
use crate::world::World;
use flurm_client::{Client, ClientError, Uri, attr, kvs as store};
use flurm_slurm_auth::{Gate, Munge, Munged};
use flurm_types::Hostlist;
use flurm_wire::Dest;
use flurm_wire::fact::KvsOp;
use flurm_wire::job::{Queue, QueueAct};
use flurm_wire::kvs;
use flurm_wire::resource::{Status, StatusInfo};
use serde_json::Value;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::net::TcpListener;

/// What `flurm slurm-service` is told.
#[derive(Clone, Debug)]
pub struct ServiceArgs {
    /// `local:///…` of the broker of this rank.
    pub uri: String,
    pub rank: u32,
}

/// Below the run directory of each rank.
pub const FOLDER: &str = "slurm";
/// In that folder.
pub const FILE: &str = "slurm.conf";
/// In the store of the instance: the text that every rank copies.
pub const KEY: &str = "slurm.conf";

/// Calls of munged at a time; more wait.
const BLOCKING_MAX: usize = 8;

#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("{0}: {1}")]
    Io(String, io::Error),
    #[error("there is no munged: {0}")]
    Munged(String),
    #[error("what the store has below `{KEY}` is not ours")]
    Published,
    #[error("the broker is gone")]
    Gone,
}

/// Serves until the broker is gone; the exit code.
pub fn run(args: &ServiceArgs) -> i32 {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(BLOCKING_MAX).build();
    let served = match runtime {
        Ok(runtime) => runtime.block_on(serve(args)),
        Err(error) => Err(StartError::Io("start the event loop".to_owned(), error)),
    };
    match served {
        Ok(()) | Err(StartError::Gone) => 0,
        Err(error) => {
            tracing::error!(%error, "the Slurm service cannot go on");
            1
        }
    }
}

/// Seconds since 1970.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

async fn serve(args: &ServiceArgs) -> Result<(), StartError> {
    let client = Client::connect(&Uri::parse(&args.uri)?).await?;
    let attributes = attr::list(&client).await?;
    let of = |name: &str| attributes.get(name).cloned().unwrap_or_default();
    let folder = PathBuf::from(of("rundir")).join(FOLDER);
    make_folder(&folder).map_err(|error| StartError::Io(folder.display().to_string(), error))?;
    let address = of("tbon.address").parse().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));

    if args.rank != 0 {
        let text = published(&client).await?;
        write_private(&folder.join(FILE), &text)?;
        while client.next_push().await.is_some() {}
        return Ok(());
    }

    let (munge, munged) = find_munge(&folder)?;
    let socket = munged.as_ref().map(|munged| munged.socket().to_owned());
    let uid = rustix::process::geteuid().as_raw();
    let gate = Arc::new(Gate::new(munge, uid));
    let (listener, local) = listen(address).await?;
    let (accountant, accounting) = listen(address).await?;
    let queues = client.call(Dest::Leader, &Queue::from(QueueAct::Status)).await?;
    let status = client.call(Dest::Leader, &Status {}).await?;
    let hosts: Hostlist = of("hostlist").parse().unwrap_or_default();
    let mut partitions: Vec<_> = queues.queues.iter().collect();
    partitions.sort_by_key(|queue| !queue.default);
    let conf = Arc::new(Conf {
        owner: user_name(uid),
        uid,
        gid: rustix::process::getegid().as_raw(),
        auth: Auth::Munge { socket },
        controller_host: of("hostname"),
        controller: local,
        accounting: Some(accounting),
        nodes: nodes(&hosts, &status),
        partitions: partitions
            .into_iter()
            .map(|queue| crate::translate::partition::name(&queue.name).to_owned())
            .collect(),
        mpi: "none",
    });
    let text = conf.to_string();
    write_private(&folder.join(FILE), &text)?;
    store::commit(&client, "primary", vec![KvsOp::Put { key: KEY.to_owned(), value: text.into() }]).await?;
    tracing::info!(address = %local, "Slurm's commands are answered");

    let door = Door::new(gate);
    let context = Arc::new(Context {
        client: client.clone(),
        door: Arc::clone(&door),
        world: World::default(),
        conf,
        started: now(),
    });
    let accounting = accounting::serve(Arc::clone(&context), accountant);
    let answering = door.serve(listener, move |request| controller::answer(Arc::clone(&context), request));
    let gone = async { while client.next_push().await.is_some() {} };
    tokio::select! {
        () = answering => {}
        () = accounting => {}
        () = gone => {}
    }
    drop(munged);
    Ok(())
}

/// On a port that the kernel chooses.
async fn listen(address: IpAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let listener = TcpListener::bind(SocketAddr::new(address, 0)).await;
    let listener = listener.map_err(|error| StartError::Io(format!("listen on {address}"), error))?;
    let local = listener.local_addr().map_err(|error| StartError::Io("listen".to_owned(), error))?;
    Ok((listener, local))
}

/// What the leader's service has put into the store, once it has.
async fn published(client: &Client) -> Result<String, StartError> {
    let mut answers = store::watch(client, "primary", KEY, true).await?;
    let got = answers.next().await?.ok_or(StartError::Gone)?;
    match got.node {
        Some(kvs::Node::Value(Value::String(text))) => Ok(text),
        _ => Err(StartError::Published),
    }
}

/// The ranks as nodes.
fn nodes(hosts: &Hostlist, status: &StatusInfo) -> Vec<Node> {
    let names = conf::node_names(hosts);
    let node = |(rank, (name, host)): (usize, (String, &String))| {
        let rank = u32::try_from(rank).unwrap_or(u32::MAX);
        let found = status.all.node(rank);
        let sockets = status.all.topology.get(&rank).map(|topology| &*topology.sockets).unwrap_or_default();
        let properties = status.all.properties.iter().filter(|(_, ranks)| ranks.contains(rank));
        Node {
            name,
            host: host.clone(),
            address: None,
            sockets: u32::try_from(sockets.len()).unwrap_or(1).max(1),
            cores: found.map_or(0, |node| node.cores.len() as u32),
            gpus: found.map_or(0, |node| node.gpus.len() as u32),
            memory_mib: sockets.iter().filter_map(|socket| socket.memory_gib).sum::<u64>() * 1024,
            properties: properties.map(|(name, _)| name.clone()).collect(),
        }
    };
    names.into_iter().zip(hosts.iter()).enumerate().map(node).collect()
}

/// The site's munged if it answers, else one of our own.
fn find_munge(folder: &Path) -> Result<(Munge, Option<Munged>), StartError> {
    let wrong = |error: &dyn std::fmt::Display| StartError::Munged(error.to_string());
    let site = Munge::open(None).map_err(|error| wrong(&error))?;
    if site.encode(&[], None).is_ok() {
        return Ok((site, None));
    }
    let munged = Munged::start(&folder.join("munge")).map_err(|error| wrong(&error))?;
    let munge = Munge::open(Some(munged.socket())).map_err(|error| wrong(&error))?;
    Ok((munge, Some(munged)))
}

fn user_name(uid: u32) -> String {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let found = passwd.lines().find_map(|line| {
        let mut words = line.split(':');
        let name = words.next()?;
        (words.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    found.unwrap_or_else(|| uid.to_string())
}

fn make_folder(folder: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// A reader finds the whole text or none.
fn write_private(path: &Path, text: &str) -> Result<(), StartError> {
    let wrong = |error| StartError::Io(path.display().to_string(), error);
    let fresh = path.with_extension("new");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh).map_err(wrong)?;
    file.write_all(text.as_bytes()).map_err(wrong)?;
    fs::rename(&fresh, path).map_err(wrong)
}
