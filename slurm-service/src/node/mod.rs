//! The node daemon: what Slurm's commands ask of a node, on every rank.
//!
//! ```text
//!  srun ── 6001 launch ─► every node of the step ──► follows its tasks (`shell.follow`)
//!                         the first one of them   ──► submits the step as a job within the job
//!  srun ◄── I/O stream, 6002 pids, 6003 exits ──── every node, until its tasks are gone
//! ```
//!
//! Steps that run here are known by their numbers. When `srun` hangs up, its step ends.

mod bcast;
mod say;
mod step;
mod stream;

use crate::conf;
use crate::door::{Door, Reply, Request};
use crate::translate;
use flurm_client::Client;
use flurm_slurm_protocol::structures::{
    FileBcast, LaunchTasksRequestMsg, ReattachTasksRequestMsg, ReattachTasksResponseMsg, ReturnCode2,
    SignalTasksMsg, StepId,
};
use flurm_slurm_protocol::{Body, NO_VAL, Text, Version, errors};
use flurm_types::Hostlist;
use flurm_wire::Dest;
use flurm_wire::follow::Signal;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use step::Step;
use tokio::net::TcpListener;

/// Signals that mean something else than a signal are above these.
const SIGNAL_MAX: u16 = 64;
const SIGKILL: u16 = 9;

/// What the handlers of one rank share.
#[derive(Debug)]
pub struct Node {
    pub client: Client,
    pub door: Arc<Door>,
    /// As Slurm's commands call it.
    pub name: String,
    /// What tasks are told of their node's name, in tags of the shell.
    pub template: String,
    steps: Mutex<BTreeMap<(u32, u32), Arc<Step>>>,
}

impl Node {
    pub fn of(client: Client, door: Arc<Door>, hosts: &Hostlist, rank: u32) -> Arc<Node> {
        let host = hosts.iter().nth(rank as usize).cloned().unwrap_or_default();
        let name = conf::node_names(hosts).into_iter().nth(rank as usize).unwrap_or_default();
        let template = if name == host {
            "{{node.name}}".to_owned()
        } else {
            format!("{host}-{{{{node.broker_rank}}}}")
        };
        Arc::new(Node { client, door, name, template, steps: Mutex::default() })
    }

    fn steps(&self) -> MutexGuard<'_, BTreeMap<(u32, u32), Arc<Step>>> {
        self.steps.lock().expect("nothing panics while it holds the steps")
    }

    fn step(&self, id: &StepId) -> Result<Arc<Step>, u32> {
        self.steps().get(&(id.job_id, id.step_id)).cloned().ok_or(errors::ESLURM_INVALID_JOB_ID)
    }
}

pub use step::end_abandoned;

/// For as long as the process lives.
pub async fn serve(node: Arc<Node>, listener: TcpListener) {
    let door = Arc::clone(&node.door);
    door.serve(listener, move |request| answer(Arc::clone(&node), request)).await;
}

async fn answer(node: Arc<Node>, request: Request) -> Reply {
    let name = request.body.name();
    let (version, peer) = (request.version, request.peer);
    let answered = match request.body {
        Body::RequestPing => Ok(Reply::Code(0)),
        Body::RequestLaunchTasks(asked) => Ok(launched(launch(&node, *asked, version, peer.ip()))),
        Body::RequestSignalTasks(asked) => signal(&node, &asked).await,
        Body::RequestTerminateTasks(asked) => end(&node, &asked.step_id).await,
        Body::RequestFileBcast(block) => broadcast(block).await,
        Body::RequestReattachTasks(asked) => reattach(&node, &asked, version, peer.ip()),
        _ => Err(errors::ESLURM_NOT_SUPPORTED),
    };
    let reply = answered.unwrap_or_else(Reply::Code);
    tracing::debug!(message = name, %version, %peer, "answered by the node daemon");
    reply
}

fn launched(result: Result<(), u32>) -> Reply {
    let code = result.err().unwrap_or(0);
    Reply::Body(Body::ResponseSlurmRcMsg(Box::new(ReturnCode2 { return_code: code, err_msg: Text::NULL })))
}

/// Answered at once; what comes of it, `srun` hears later.
fn launch(node: &Arc<Node>, asked: LaunchTasksRequestMsg, version: Version, srun: IpAddr) -> Result<(), u32> {
    if asked.het_job_id != NO_VAL && asked.het_job_id != 0 {
        return Err(errors::ESLURM_NOT_SUPPORTED);
    }
    let nodes: Hostlist =
        asked.complete_nodelist.lossy().parse().map_err(|_| errors::ESLURM_INVALID_NODE_NAME)?;
    let index = nodes.iter().position(|name| *name == node.name);
    let index = index.ok_or(errors::ESLURM_INVALID_NODE_NAME)?;
    let key = (asked.step_id.job_id, asked.step_id.step_id);
    if node.steps().contains_key(&key) {
        return Err(errors::ESLURM_DUPLICATE_JOB_ID);
    }
    let step = Arc::new(Step::new(key, version, &asked));
    node.steps().insert(key, Arc::clone(&step));
    let node = Arc::clone(node);
    tokio::spawn(async move {
        step::run(&node, &step, asked, index, SocketAddr::new(srun, 0)).await;
        node.steps().remove(&key);
    });
    Ok(())
}

/// A file system may take its time.
async fn broadcast(block: Box<FileBcast>) -> Result<Reply, u32> {
    let written = tokio::task::spawn_blocking(move || bcast::write(&block));
    written.await.unwrap_or(Err(u32::MAX)).map(|()| Reply::Code(0))
}

/// Every node of the step is asked, and signals its own tasks.
async fn signal(node: &Node, asked: &SignalTasksMsg) -> Result<Reply, u32> {
    let step = node.step(&asked.step_id)?;
    if asked.signal == SIGKILL {
        return end(node, &asked.step_id).await;
    }
    if asked.signal > SIGNAL_MAX {
        return Ok(Reply::Code(0));
    }
    if asked.signal > 0 {
        let name = translate::step::follow_name(step.job, step.number);
        let sent = node.client.call(Dest::Local, &Signal { name, signum: asked.signal.into() }).await;
        sent.map_err(|_| errors::ESLURM_ALREADY_DONE)?;
    }
    Ok(Reply::Code(0))
}

async fn end(node: &Node, id: &StepId) -> Result<Reply, u32> {
    let step = node.step(id)?;
    step.end(&node.client, "cancel", "srun has ended the step").await;
    Ok(Reply::Code(0))
}

/// Somebody else wants to see what the tasks say.
fn reattach(
    node: &Arc<Node>,
    asked: &ReattachTasksRequestMsg,
    version: Version,
    asker: IpAddr,
) -> Result<Reply, u32> {
    let step = node.step(&asked.step_id)?;
    let (tasks, pids) = step.tasks();
    let answer = ReattachTasksResponseMsg {
        node_name: node.name.as_str().into(),
        return_code: 0,
        ntasks: tasks.len() as u32,
        executable_names: tasks.iter().map(|_| Text::from(step.program.as_str())).collect(),
        gtids: tasks,
        local_pids: pids,
    };
    let io_ports = asked.io_port.clone().unwrap_or_default();
    let resp_ports = asked.resp_port.clone().unwrap_or_default();
    let credential = asked.cred.as_ref().and_then(|cred| cred.sigp.clone()).map(|signature| signature.0);
    let key = credential.unwrap_or_else(|| asked.io_key.lossy().into_owned().into_bytes());
    let node = Arc::clone(node);
    tokio::spawn(async move {
        step::watch(&node, &step, version, asker, &io_ports, &resp_ports, key).await;
    });
    Ok(Reply::Body(Body::ResponseReattachTasks(Box::new(answer))))
}
