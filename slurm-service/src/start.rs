//! What is set up before the first question is answered.
//!
//! The leader's service finds or starts a munged, listens, and puts `slurm.conf` into the store of the instance. Every
//! service, the leader's too, writes its own copy of that into its run directory.

use crate::accounting;
use crate::conf::{self, Auth, Conf, Node};
use crate::context::Context;
use crate::controller::{self, Steps};
use crate::door::Door;
use crate::node;
use crate::world::World;
use flurm_client::{Client, ClientError, Uri, attr, kvs as store};
use flurm_slurm_auth::{Gate, Munge, Munged, user_name};
use flurm_types::Hostlist;
use flurm_wire::Dest;
use flurm_wire::fact::KvsOp;
use flurm_wire::job::{List, Queue, QueueAct};
use flurm_wire::kvs;
use flurm_wire::resource::{Status, StatusInfo};
use flurm_wire::slurm::Ready;
use flurm_wire::state::{BrokerState, Wait};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, timeout_at};

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
/// And whose munged all ranks use: the site's, or private ones.
const MUNGE: &str = "slurm.munge";
const PRIVATE: &str = "private";
const SITE: &str = "site";
/// What munged takes at least.
const MUNGE_KEY_BYTES_MIN: usize = 32;
/// For all ranks' services to be there; they start together.
const NODES_MAX: Duration = Duration::from_secs(4);

/// Calls of munged at a time; more wait.
const BLOCKING_MAX: usize = 8;
/// Between two starts of a munged that does not live.
const MUNGED_PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("{0}: {1}")]
    Io(String, io::Error),
    #[error("there is no munged: {0}")]
    Munged(String),
    #[error("slurm.auth=none is for instances on one host only: this one can be reached at {0}")]
    Exposed(IpAddr),
    #[error("what the store has below `{KEY}` is not ours")]
    Published,
    #[error("the broker is gone")]
    Gone,
}

/// Serves until the broker is gone; the exit code.
pub fn run(args: &ServiceArgs) -> i32 {
    // A connection each is what our clients need; soft limits are for programs that use `select`.
    let limits = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limits.maximum, ..limits });
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
    // Before that nobody has resources, and the leader may not be reached.
    client.call(Dest::Local, &Wait { state: BrokerState::Run }).await?;
    let attributes = attr::list(&client).await?;
    let of = |name: &str| attributes.get(name).cloned().unwrap_or_default();
    let folder = PathBuf::from(of("rundir")).join(FOLDER);
    make_folder(&folder).map_err(|error| StartError::Io(folder.display().to_string(), error))?;
    let hosts: Hostlist = of("hostlist").parse().unwrap_or_default();
    let place = Place {
        rank: args.rank,
        instance: of("instance-id"),
        address: of("tbon.address").parse().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        earlier: fs::read_to_string(folder.join(FILE)).unwrap_or_default(),
        names: conf::node_names(&hosts),
        client,
        folder,
    };
    let (gate, auth, munged) = place.authenticate(of("slurm.auth") == "none").await?;
    let door = Door::new(Arc::new(gate));
    let (node_listener, node_address) = place.listen(place.earlier_node_port()).await?;
    place.publish(&node_key(args.rank), json!(node_address)).await?;
    let node = node::Node::of(place.client.clone(), Arc::clone(&door), &hosts, args.rank);
    node::end_abandoned(&node.client, args.rank, &node.name).await?;
    let daemon = node::serve(node, node_listener);
    let gone = async { while place.client.next_push().await.is_some() {} };
    let mut ended = signal(SignalKind::terminate()).map_err(|e| StartError::Io("signals".to_owned(), e))?;
    if args.rank == 0 {
        let answering = lead(&place, &attributes, &hosts, auth, door);
        tokio::select! {
            led = answering => led?,
            kept = keep(munged) => kept?,
            () = daemon => {}
            () = gone => {}
            _ = ended.recv() => {}
        }
    } else {
        tokio::select! {
            followed = follow(&place, &auth) => followed?,
            kept = keep(munged) => kept?,
            () = daemon => {}
            () = gone => {}
            _ = ended.recv() => {}
        }
    }
    Ok(())
}

/// A private munged that dies is started again, so that commands are answered again.
async fn keep(munged: Option<Munged>) -> Result<(), StartError> {
    let Some(mut munged) = munged else { return std::future::pending().await };
    let wrong = |error| StartError::Io("signals".to_owned(), error);
    let mut children = signal(SignalKind::child()).map_err(wrong)?;
    loop {
        if munged.revive().map_err(|error| StartError::Munged(error.to_string()))? {
            tracing::warn!("munged has ended: it is started again");
            // One that does not live is not tried all the time.
            tokio::time::sleep(MUNGED_PAUSE).await;
        }
        children.recv().await;
    }
}

/// The controller, beside the leader.
async fn lead(
    place: &Place,
    attributes: &BTreeMap<String, String>,
    hosts: &Hostlist,
    auth: Auth,
    door: Arc<Door>,
) -> Result<(), StartError> {
    let client = &place.client;
    let (listener, controller) = place.listen(place.earlier_number("SlurmctldPort=")).await?;
    let (accountant, accounting) = place.listen(place.earlier_number("AccountingStoragePort=")).await?;
    let queues = client.call(Dest::Leader, &Queue::from(QueueAct::Status)).await?;
    let status = client.call(Dest::Leader, &Status {}).await?;
    let mut partitions: Vec<_> = queues.queues.iter().collect();
    partitions.sort_by_key(|queue| !queue.default);
    // Of one there is no other to be meant.
    let has_default = partitions.len() == 1 || partitions.first().is_some_and(|queue| queue.default);
    let mut nodes = nodes(&place.names, hosts, &status);
    place.find_nodes(&mut nodes).await?;
    let uid = rustix::process::geteuid().as_raw();
    let conf = Arc::new(Conf {
        owner: owner_name(uid),
        uid,
        gid: rustix::process::getegid().as_raw(),
        auth,
        controller_host: attributes.get("hostname").cloned().unwrap_or_default(),
        controller,
        accounting: Some(accounting),
        nodes,
        partitions: partitions
            .into_iter()
            .map(|queue| crate::translate::partition::name(&queue.name).to_owned())
            .collect(),
        has_default,
        mpi: "pmi2",
    });
    write_private(&place.folder.join(FILE), conf.to_string())?;
    place.publish(KEY, json!(conf.for_everybody())).await?;
    let context = Arc::new(Context {
        client: client.clone(),
        door: Arc::clone(&door),
        world: World::default(),
        conf,
        steps: Steps::default(),
        started: now(),
    });
    if let Err(code) = controller::complete_arrays(&context).await {
        tracing::warn!(code, "arrays that are not whole stay so");
    }
    let one = List { max_entries: 1, ..List::default() };
    let newest = client.call(Dest::Leader, &one).await?.jobs.first().map(|job| job.id);
    client.call(Dest::Local, &Ready {}).await?;
    tracing::info!(address = %controller, "Slurm's commands are answered");
    let accounting = accounting::serve(Arc::clone(&context), accountant);
    // Until the broker is gone. A task of its own has read what the leader says before whoever is answered later.
    let steps = tokio::spawn(controller::follow_steps(Arc::clone(&context)));
    let resumed = controller::resume(Arc::clone(&context), newest);
    let answering = door.serve(listener, move |request| controller::answer(Arc::clone(&context), request));
    let (_, _, steps, resumed) = tokio::join!(answering, accounting, steps, resumed);
    resumed?;
    steps.expect("following does not panic")?;
    Ok(())
}

/// What the other ranks do beside their node daemon: they copy what the leader's service says.
async fn follow(place: &Place, auth: &Auth) -> Result<(), StartError> {
    let mut said = store::watch(&place.client, "primary", KEY, true).await?;
    let mut ready = false;
    while let Some(got) = said.next().await? {
        let Some(Value::String(text)) = place.of_this_instance(got) else { continue };
        write_private(&place.folder.join(FILE), conf::with_auth(&text, auth))?;
        if !std::mem::replace(&mut ready, true) {
            place.client.call(Dest::Local, &Ready {}).await?;
        }
    }
    Ok(())
}

/// Where a node daemon says its address.
fn node_key(rank: u32) -> String {
    format!("slurm.node.{rank}")
}

/// This rank, and what its services share.
struct Place {
    client: Client,
    rank: u32,
    instance: String,
    address: IpAddr,
    folder: PathBuf,
    /// What the service before this one had written here: who has read it comes back to the same ports.
    earlier: String,
    /// Of all ranks.
    names: Vec<String>,
}

impl Place {
    /// Who vouches for whom. Where the leader has no munged of the site's, all ranks have private ones with one key, which
    /// each gets from its broker: all brokers derive it from the instance's own.
    async fn authenticate(&self, by_nothing: bool) -> Result<(Gate, Auth, Option<Munged>), StartError> {
        let uid = rustix::process::geteuid().as_raw();
        if by_nothing {
            if !self.address.is_loopback() {
                return Err(StartError::Exposed(self.address));
            }
            tracing::warn!("slurm.auth=none: everybody on this host may send Slurm's commands in your name");
            return Ok((Gate::trusting(uid), Auth::None, None));
        }
        let wrong = |error: &dyn std::fmt::Display| StartError::Munged(error.to_string());
        let folder = self.folder.join("munge");
        let private = || -> Result<(Gate, Auth, Option<Munged>), StartError> {
            make_folder(&folder).map_err(|error| StartError::Io(folder.display().to_string(), error))?;
            write_private(&folder.join("key"), munge_key()?)?;
            let munged = Munged::start(&folder).map_err(|error| wrong(&error))?;
            let munge = Munge::open(Some(munged.socket())).map_err(|error| wrong(&error))?;
            let auth = Auth::Munge { socket: Some(munged.socket().to_owned()) };
            Ok((Gate::new(munge, uid), auth, Some(munged)))
        };
        let site = Munge::open(None).map_err(|error| wrong(&error))?;
        if self.rank == 0 {
            if site.encode(&[], None).is_ok() {
                self.publish(MUNGE, json!(SITE)).await?;
                return Ok((Gate::new(site, uid), Auth::Munge { socket: None }, None));
            }
            let found = private()?;
            self.publish(MUNGE, json!(PRIVATE)).await?;
            return Ok(found);
        }
        match self.published(MUNGE).await?.as_str() {
            Some(PRIVATE) => private(),
            Some(SITE) => Ok((Gate::new(site, uid), Auth::Munge { socket: None }, None)),
            _ => Err(StartError::Published),
        }
    }

    /// At that port if it is free, else at one that the kernel chooses.
    async fn listen(&self, port: Option<u16>) -> Result<(TcpListener, SocketAddr), StartError> {
        let at = |port| SocketAddr::new(self.address, port);
        let bound = match TcpListener::bind(at(port.unwrap_or(0))).await {
            Err(_) if port.is_some() => TcpListener::bind(at(0)).await,
            bound => bound,
        };
        let wrong = |error| StartError::Io(format!("listen on {}", self.address), error);
        let listener = bound.map_err(wrong)?;
        let local = listener.local_addr().map_err(wrong)?;
        Ok((listener, local))
    }

    fn earlier_number(&self, name: &str) -> Option<u16> {
        self.earlier.lines().find_map(|line| line.strip_prefix(name)?.parse().ok())
    }

    fn earlier_node_port(&self) -> Option<u16> {
        let begin = format!("NodeName={} ", self.names.get(self.rank as usize)?);
        let line = self.earlier.lines().find(|line| line.starts_with(&begin))?;
        line.split(' ').find_map(|word| word.strip_prefix("Port=")?.parse().ok())
    }

    /// Into the store, as this instance's: a store may have been another's before.
    async fn publish(&self, key: &str, value: Value) -> Result<(), StartError> {
        let value = json!({ "instance": self.instance, "value": value });
        store::commit(&self.client, "primary", vec![KvsOp::Put { key: key.to_owned(), value }]).await?;
        Ok(())
    }

    /// What another rank has published in this instance, once it has.
    async fn published(&self, key: &str) -> Result<Value, StartError> {
        let mut answers = store::watch(&self.client, "primary", key, true).await?;
        while let Some(got) = answers.next().await? {
            if let Some(value) = self.of_this_instance(got) {
                return Ok(value);
            }
        }
        Err(StartError::Gone)
    }

    fn of_this_instance(&self, got: kvs::Got) -> Option<Value> {
        let Some(kvs::Node::Value(mut value)) = got.node else { return None };
        let ours = value.get("instance").and_then(Value::as_str) == Some(&*self.instance);
        ours.then(|| value["value"].take())
    }

    /// Where the node daemons are, as far as they say so in time.
    async fn find_nodes(&self, nodes: &mut [Node]) -> Result<(), StartError> {
        let until = Instant::now() + NODES_MAX;
        for (rank, node) in (0_u32..).zip(nodes) {
            match timeout_at(until, self.published(&node_key(rank))).await {
                Ok(said) => node.address = serde_json::from_value(said?).ok(),
                Err(_) => tracing::warn!(rank, "no node daemon answers there"),
            }
        }
        Ok(())
    }
}

/// The ranks as nodes.
fn nodes(names: &[String], hosts: &Hostlist, status: &StatusInfo) -> Vec<Node> {
    let node = |(rank, (name, host)): (usize, (&String, &String))| {
        let rank = u32::try_from(rank).unwrap_or(u32::MAX);
        let found = status.all.node(rank);
        let sockets = status.all.topology.get(&rank).map(|topology| &*topology.sockets).unwrap_or_default();
        let properties = status.all.properties.iter().filter(|(_, ranks)| ranks.contains(rank));
        Node {
            name: name.clone(),
            host: host.clone(),
            address: None,
            sockets: u32::try_from(sockets.len()).unwrap_or(1).max(1),
            cores: found.map_or(0, |node| node.cores.len() as u32),
            gpus: found.map_or(0, |node| node.gpus.len() as u32),
            memory_mib: sockets.iter().filter_map(|socket| socket.memory_gib).sum::<u64>() * 1024,
            properties: properties.map(|(name, _)| name.clone()).collect(),
        }
    };
    names.iter().zip(hosts.iter()).enumerate().map(node).collect()
}

fn owner_name(uid: u32) -> String {
    let said = || std::env::var("USER").ok().filter(|name| !name.is_empty());
    user_name(uid).or_else(said).unwrap_or_else(|| uid.to_string())
}

/// Our broker has written it before we came, and nothing after it.
fn munge_key() -> Result<Vec<u8>, StartError> {
    let mut key = Vec::new();
    io::stdin().lock().read_to_end(&mut key).map_err(|error| StartError::Io("its key".to_owned(), error))?;
    if key.len() < MUNGE_KEY_BYTES_MIN {
        return Err(StartError::Munged("the broker has said no key for it".to_owned()));
    }
    Ok(key)
}

fn make_folder(folder: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// A reader finds the whole text or none.
fn write_private(path: &Path, text: impl AsRef<[u8]>) -> Result<(), StartError> {
    let wrong = |error| StartError::Io(path.display().to_string(), error);
    let fresh = path.with_extension("new");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh).map_err(wrong)?;
    file.write_all(text.as_ref()).map_err(wrong)?;
    fs::rename(&fresh, path).map_err(wrong)
}
