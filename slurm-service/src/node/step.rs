//! One step on one node, from its launch to its end.

use super::say::say;
use super::{Node, stream};
use crate::door::Door;
use crate::translate::step::{self as translate, Record};
use flurm_client::{Client, ClientError, Responses, job, kvs};
use flurm_slurm_protocol::structures::{LaunchTasksRequestMsg, LaunchTasksResponseMsg, TaskExitMsg};
use flurm_slurm_protocol::{Body, Version};
use flurm_types::{Idset, JobId, JobState, exit_code};
use flurm_wire::Dest;
use flurm_wire::fact::KvsOp;
use flurm_wire::follow::{Follow, Followed};
use flurm_wire::job::List;
use flurm_wire::kvs::Node as KvsNode;
use flurm_wire::rexec::Stream;
use serde_json::value::RawValue;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::time::timeout;

/// As the kernel says it of a program that ended with 2, which Slurm gives to one that is not there.
const STATUS_NO_PROGRAM: i32 = 2 << 8;

/// The exception of a step whose streams cannot be carried.
pub const LOST: &str = "streams-lost";
/// Between a launch and the step as a job: all nodes of a step are launched at a time.
const SUBMIT_MAX: Duration = Duration::from_secs(60);

/// A step with tasks on this node.
#[derive(Debug)]
pub struct Step {
    pub job: u32,
    pub number: u32,
    pub version: Version,
    /// For those who want to see what runs here.
    pub program: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    id: Option<JobId>,
    /// It is to end by that exception as soon as it has an id.
    ends: Option<(&'static str, String)>,
    tasks: Vec<u32>,
    pids: Vec<u32>,
}

impl Step {
    pub fn new((job, number): (u32, u32), version: Version, asked: &LaunchTasksRequestMsg) -> Step {
        let program = asked.argv.first().map(|word| word.lossy().into_owned()).unwrap_or_default();
        Step { job, number, version, program, state: Mutex::default() }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds the state")
    }

    pub fn tasks(&self) -> (Vec<u32>, Vec<u32>) {
        let state = self.state();
        (state.tasks.clone(), state.pids.clone())
    }

    /// The step's job gets an exception, which ends it on all nodes; at once, or when it is known here.
    pub async fn end(&self, client: &Client, kind: &'static str, why: &str) {
        let id = {
            let mut state = self.state();
            state.ends.get_or_insert_with(|| (kind, why.to_owned()));
            state.id
        };
        if let Some(id) = id {
            // It may have ended by itself.
            let _ = job::raise(client, &[id], kind, 0, why).await;
        }
    }

    /// Ends it, if it was to end before.
    async fn known_as(&self, client: &Client, id: JobId) {
        let ends = {
            let mut state = self.state();
            state.id = Some(id);
            state.ends.clone()
        };
        if let Some((kind, why)) = ends {
            let _ = job::raise(client, &[id], kind, 0, &why).await;
        }
    }
}

/// Where a node of a step says what.
struct Ports {
    io: Option<SocketAddr>,
    messages: Option<SocketAddr>,
}

impl Ports {
    /// Several nodes share a port of `srun`.
    fn of(srun: IpAddr, index: usize, io: &[u16], messages: &[u16]) -> Ports {
        let pick = |ports: &[u16]| {
            let port = ports.get(index.checked_rem(ports.len())?)?;
            Some(SocketAddr::new(srun, *port))
        };
        Ports { io: pick(io), messages: pick(messages) }
    }
}

/// Steps whose streams a daemon before this one carried: nobody has the other end of them.
///
/// # Errors
/// The broker is gone.
pub async fn end_abandoned(client: &Client, rank: u32, name: &str) -> Result<(), ClientError> {
    let running =
        List { steps: true, states: vec![JobState::Run], ranks: Some(Idset::from(rank)), ..List::default() };
    let listed = job::list(client, &running).await?;
    let steps: Vec<JobId> =
        listed.jobs.iter().filter(|job| job.slurm && job.within.is_some()).map(|job| job.id).collect();
    if !steps.is_empty() {
        let note = format!("the node daemon of {name} is a new one, and has lost the step's streams");
        // Each may have ended by itself.
        drop(job::raise(client, &steps, LOST, 0, &note).await?);
    }
    Ok(())
}

/// All of a step's life on this node.
pub async fn run(node: &Node, step: &Step, asked: LaunchTasksRequestMsg, index: usize, srun: SocketAddr) {
    let io_ports = asked.io_port.clone().unwrap_or_default();
    let resp_ports = asked.resp_port.clone().unwrap_or_default();
    let ports = Ports::of(srun.ip(), index, &io_ports, &resp_ports);
    let tasks = asked.items.get(index).map(|item| item.global_task_ids.clone()).unwrap_or_default();
    let kind = translate::kind(&asked);
    let name = translate::follow_name(step.job, step.number);
    let signature = asked.cred.sigp.as_ref().map(|signature| signature.0.clone());
    let key = signature.unwrap_or_else(|| asked.cred.signature.lossy().into_owned().into_bytes());
    let to_files = |name| translate::file_of(name).is_some();
    let only = [&asked.ofname, &asked.efname].map(|name| match name.as_str() {
        Some("none") => Whose::Nobodys,
        name => name.and_then(translate::one_task).map_or(Whose::All, Whose::Only),
    });
    let count = |in_file: bool| if in_file { 0 } else { tasks.len() as u32 };
    let objects = (count(to_files(&asked.ofname)), if kind.pty { 0 } else { count(to_files(&asked.efname)) });

    // Whatever happens to the tasks from now on is heard.
    let mut followed = match node.client.stream(Dest::Local, &Follow { name: name.clone() }).await {
        Ok(followed) => followed,
        Err(error) => return tracing::warn!(%error, "follow the tasks of a step"),
    };
    if let Some(one) = asked.ifname.as_str().and_then(translate::one_task) {
        // Nobody will ever give the others anything.
        let others = tasks.iter().copied().filter(|task| *task != one).collect();
        tokio::spawn(stream::no_input(node.client.clone(), name.clone(), others));
    }
    let connected = match ports.io {
        Some(io) => stream::connect(io, step.version, index as u32, objects, key).await,
        None => Err(std::io::ErrorKind::AddrNotAvailable.into()),
    };
    let (input, output) = match connected {
        Ok(halves) => halves,
        Err(error) => {
            let note = format!("{} cannot connect to srun for the step's output: {error}", node.name);
            tracing::warn!(job = step.job, step = step.number, "{note}");
            let mut talk = Talk { node, step, ports: &ports, tasks: &tasks, output: None, only };
            if index == 0 {
                // Nobody has submitted it.
                talk.cannot_start(&note, STATUS_NO_PROGRAM).await;
            } else {
                step.end(&node.client, LOST, &note).await;
                let _ = timeout(SUBMIT_MAX, talk.until_gone(&mut followed)).await;
            }
            return;
        }
    };
    if index == 0
        && let Err(note) = submit(node, step, &asked, &srun.ip().to_string()).await
    {
        let mut talk = Talk { node, step, ports: &ports, tasks: &tasks, output: Some(output), only };
        talk.cannot_start(&note, STATUS_NO_PROGRAM).await;
        return;
    }
    if kind.pty && index == 0 {
        tokio::spawn(stream::sizes(srun.ip(), pty_port(&asked), node.client.clone(), name.clone()));
    }
    let feeding = tokio::spawn(stream::feed(input, node.client.clone(), name));
    let gone = async {
        // It ends when `srun` hangs up.
        let _ = feeding.await;
        step.end(&node.client, "cancel", "srun is gone").await;
        tokio::time::sleep(SUBMIT_MAX).await;
        if step.state().id.is_some() {
            std::future::pending::<()>().await;
        }
        // Nobody has submitted it, and nobody will.
    };
    let mut talk = Talk { node, step, ports: &ports, tasks: &tasks, output: Some(output), only };
    tokio::select! {
        () = talk.until_gone(&mut followed) => {}
        () = gone => {}
    }
}

/// Shows the tasks' output to somebody else, for as long as there is any.
pub async fn watch(
    node: &Node,
    step: &Step,
    version: Version,
    asker: IpAddr,
    io_ports: &[u16],
    resp_ports: &[u16],
    key: Vec<u8>,
) {
    let ports = Ports::of(asker, 0, io_ports, resp_ports);
    let Some(io) = ports.io else { return };
    let name = translate::follow_name(step.job, step.number);
    let (tasks, _) = step.tasks();
    let objects = (tasks.len() as u32, tasks.len() as u32);
    let Ok(mut followed) = node.client.stream(Dest::Local, &Follow { name }).await else { return };
    let Ok((_input, output)) = stream::connect(io, version, 0, objects, key).await else { return };
    let only = [Whose::All; 2];
    let mut talk = Talk { node, step, ports: &ports, tasks: &tasks, output: Some(output), only };
    while let Ok(Some(what)) = followed.next().await {
        let taken = talk.hear(what).await;
        if talk.output.is_none() {
            return;
        }
        followed.took(taken);
    }
}

/// What a node says of a step to one listener.
struct Talk<'a> {
    node: &'a Node,
    step: &'a Step,
    ports: &'a Ports,
    /// Of this node, in order.
    tasks: &'a [u32],
    /// None: it has gone.
    output: Option<OwnedWriteHalf>,
    /// Of standard output and of standard error.
    only: [Whose; 2],
}

/// Which tasks' streams somebody wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    All,
    Only(u32),
    Nobodys,
}

impl Talk<'_> {
    fn local(&self, task: u32) -> u32 {
        self.tasks.iter().position(|known| *known == task).unwrap_or(0) as u32
    }

    async fn packets(&mut self, stream: Stream, task: u32, bytes: &[u8]) {
        let wanted = match self.only[usize::from(stream == Stream::Stderr)] {
            Whose::All => true,
            Whose::Only(only) => only == task,
            Whose::Nobodys => false,
        };
        if !wanted && !bytes.is_empty() {
            return;
        }
        let local = self.local(task);
        let Some(output) = &mut self.output else { return };
        if stream::write(output, &stream::packets(stream, task, local, bytes)).await.is_err() {
            self.output = None;
        }
    }

    /// Passes on all that comes until nothing is left of the tasks.
    async fn until_gone(&mut self, followed: &mut Responses<Follow>) {
        while let Ok(Some(what)) = followed.next().await {
            let taken = self.hear(what).await;
            if taken > 0 {
                followed.took(taken);
            }
        }
    }

    /// Passes it on; how many bytes of output that was.
    async fn hear(&mut self, what: Followed) -> usize {
        match what {
            Followed::Ready {} => 0,
            Followed::Started { id, tasks, pids } => {
                let pids: Vec<u32> = pids.into_iter().map(i32::cast_unsigned).collect();
                {
                    let mut state = self.step.state();
                    (state.tasks, state.pids) = (tasks.clone(), pids.clone());
                }
                self.step.known_as(&self.node.client, id).await;
                self.launched(0, tasks, pids);
                0
            }
            Followed::Output { task, stream, data, base64 } => {
                let bytes = decode(data, base64);
                let taken = bytes.len();
                self.packets(stream, task, &bytes).await;
                taken
            }
            Followed::End { task, stream } => {
                self.packets(stream, task, &[]).await;
                0
            }
            Followed::Exited { task, status } => {
                self.exited(vec![task], status);
                0
            }
            Followed::Failed { note, status } => {
                let status = if exit_code(status) == 127 { STATUS_NO_PROGRAM } else { status };
                self.cannot_start(&note, status).await;
                0
            }
            Followed::Gone { .. } => 0,
        }
    }

    /// As Slurm has it: the tasks have started, complain and end.
    async fn cannot_start(&mut self, note: &str, status: i32) {
        let tasks = self.tasks.to_vec();
        self.launched(0, tasks.clone(), tasks.iter().map(|_| std::process::id()).collect());
        for task in &tasks {
            let line = format!("slurmstepd: error: {note}\n");
            self.packets(Stream::Stderr, *task, line.as_bytes()).await;
            self.packets(Stream::Stdout, *task, &[]).await;
            self.packets(Stream::Stderr, *task, &[]).await;
        }
        self.exited(tasks, status);
    }

    fn launched(&self, code: u32, tasks: Vec<u32>, pids: Vec<u32>) {
        self.say(Body::ResponseLaunchTasks(Box::new(LaunchTasksResponseMsg {
            step_id: translate::step_id(self.step.job, self.step.number, self.step.version),
            return_code: code,
            node_name: self.node.name.as_str().into(),
            count_of_pids: pids.len() as u32,
            local_pids: pids,
            task_ids: tasks,
        })));
    }

    fn exited(&self, tasks: Vec<u32>, status: i32) {
        self.say(Body::MessageTaskExit(Box::new(TaskExitMsg {
            return_code: status.cast_unsigned(),
            num_tasks: tasks.len() as u32,
            task_id_list: tasks,
            step_id: translate::step_id(self.step.job, self.step.number, self.step.version),
        })));
    }

    /// Output does not wait for it.
    fn say(&self, body: Body) {
        let Some(to) = self.ports.messages else { return };
        let (door, version): (Arc<Door>, Version) = (Arc::clone(&self.node.door), self.step.version);
        tokio::spawn(async move { say(&door, to, version, body).await });
    }
}

fn decode(data: String, base64: bool) -> Vec<u8> {
    use base64::Engine as _;
    if base64 {
        base64::engine::general_purpose::STANDARD.decode(data).unwrap_or_default()
    } else {
        data.into_bytes()
    }
}

/// Where `srun` tells the size of its terminal.
fn pty_port(asked: &LaunchTasksRequestMsg) -> u16 {
    let named = asked.env.iter().filter_map(|line| line.as_str()?.strip_prefix("SLURM_PTY_PORT="));
    named.filter_map(|port| port.parse().ok()).next_back().unwrap_or(0)
}

/// Makes the step a job.
async fn submit(node: &Node, step: &Step, asked: &LaunchTasksRequestMsg, srun: &str) -> Result<(), String> {
    let key = translate::key(step.job, step.number);
    let got = kvs::get(&node.client, flurm_wire::kvs::PRIMARY, &key).await.map_err(|e| e.to_string())?;
    let Some(KvsNode::Value(value)) = got.node else {
        return Err(format!("step {}.{} was not created here", step.job, step.number));
    };
    let record: Record = serde_json::from_value(value).map_err(|e| e.to_string())?;
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let program = program.to_string_lossy().into_owned();
    let (text, environment) = translate::jobspec(&record, asked, &program, &node.template, srun)?;
    let new = job::NewJob {
        jobspec: RawValue::from_string(text).map_err(|e| e.to_string())?,
        environment: Arc::new(environment),
        urgency: 16,
        flags: flurm_wire::job::SubmitFlags::default(),
    };
    let id = job::submit(&node.client, new).await.map_err(|e| e.to_string())?;
    step.known_as(&node.client, id).await;
    // The job says it all.
    let forget = vec![KvsOp::Unlink { key }];
    if let Err(error) = kvs::commit(&node.client, flurm_wire::kvs::PRIMARY, forget).await {
        tracing::info!(%error, "forget how a step was created");
    }
    Ok(())
}
