//! Steps of jobs: created here, launched by node daemons as jobs within the job, known again from the journal.
//!
//! ```text
//!  5001 ─► room? ── no ──► busy; told when a step of the job has ended
//!            └── yes ──► created ── submitted by the first node ──► runs ──► over
//!                           └── never launched ──► forgotten
//! ```
//!
//! What a step was given is held from the moment `srun` is told of it. A service that is new reads all of it in the journal.

use super::tell::{Listener, tell};
use super::{Answer, cancel, named, number, views};
use crate::context::Context;
use crate::door::{Reply, Request};
use crate::translate::step::{self, Owner, Record};
use flurm_client::{ClientError, job, kvs};
use flurm_slurm_protocol::structures::{
    JobStepCreateRequestMsg, JobStepInfo, JobStepInfoReqMsg, JobStepInfoResponse, JobStepKillMsg,
    SelectJobinfo, SrunNodeFailMsg, StepAllocInfoMsg, StepIdMsg, TaskExitMsg,
};
use flurm_slurm_protocol::{Body, NO_VAL, Version, constants, errors};
use flurm_types::{Hostlist, JobId, JobState, Lack, R, Want};
use flurm_wire::Dest;
use flurm_wire::fact::KvsOp;
use flurm_wire::job::{Journal, JournalEvent};
use flurm_wire::kvs::{Got, Node};
use flurm_wire::resource::Status;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Between the answer to `srun` and its launch: a debugger may sit between them.
const LAUNCH_MAX: Duration = Duration::from_secs(60);
/// Between the end of a step and that of its `srun`.
const LEAVE_MAX: Duration = Duration::from_secs(2);
/// A service that is new may not be ready when it is asked who has sealed a message: it is said again.
const TELLS: u32 = 4;
/// Ends of steps that a new service passes on: the one before may have died over them.
const RECENT_SECS: f64 = 60.0;
/// Of the key to a step's streams.
const SIGNATURE_BYTES: usize = 16;
/// SIGKILL: the end of a step.
const KILL: u16 = 9;

/// All steps that are not over.
#[derive(Debug, Default)]
pub struct Steps {
    known: Mutex<Known>,
    /// All that was there before this service is known.
    caught_up: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Known {
    /// By the jobs that they are within.
    jobs: BTreeMap<JobId, Within>,
    /// Jobs that are steps, with the job and the number of the step.
    steps: BTreeMap<JobId, (JobId, u32)>,
}

#[derive(Debug, Default)]
struct Within {
    next: u32,
    held: BTreeMap<u32, Held>,
    /// Who asked when there was no room, the oldest first.
    waiting: Vec<Listener>,
}

#[derive(Debug)]
struct Held {
    record: Record,
    r: R,
    /// Once it is submitted.
    id: Option<JobId>,
    created: Instant,
    /// Seconds since 1970.
    started: i64,
    /// Of the tasks, as the kernel says it, once they have ended.
    status: Option<i32>,
}

impl Held {
    fn new(record: Record, r: R, id: Option<JobId>) -> Held {
        Held { record, r, id, created: Instant::now(), started: crate::start::now(), status: None }
    }
}

impl Steps {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().expect("nothing panics while it holds the steps")
    }

    /// Takes in what happens to jobs.
    fn note(&self, event: &JournalEvent) -> Heard {
        let mut known = self.known();
        let number = |name: &str| event.entry.context.as_ref()?.get(name)?.as_i64();
        match event.entry.name.as_str() {
            "submit" => {
                let text = event.jobspec.as_ref().map_or("", |text| text.get());
                if text.contains("\"within\"") {
                    known.submitted(event.id, text);
                }
            }
            "exception" if number("severity") == Some(0) => {
                if let Some(held) = known.held(event.id) {
                    held.status.get_or_insert(KILL.into());
                }
            }
            "finish" => {
                if let Some(held) = known.held(event.id) {
                    held.status.get_or_insert(number("status").and_then(|n| n.try_into().ok()).unwrap_or(0));
                }
            }
            "clean" => {
                known.jobs.remove(&event.id);
                if let Some((outer, number)) = known.steps.remove(&event.id)
                    && let Some(within) = known.jobs.get_mut(&outer)
                {
                    let over = within.held.remove(&number);
                    return Heard { waiting: std::mem::take(&mut within.waiting), over };
                }
            }
            _ => {}
        }
        Heard::default()
    }
}

/// What follows from an event.
#[derive(Debug, Default)]
struct Heard {
    /// Who may ask again for room.
    waiting: Vec<Listener>,
    /// The step is no more.
    over: Option<Held>,
}

impl Known {
    fn held(&mut self, id: JobId) -> Option<&mut Held> {
        let (outer, number) = self.steps.get(&id)?;
        self.jobs.get_mut(outer)?.held.get_mut(number)
    }

    fn submitted(&mut self, id: JobId, text: &str) {
        let Ok(jobspec) = serde_json::from_str::<Value>(text) else { return };
        let r = jobspec["attributes"]["system"]["alloc-bypass"]["R"].clone();
        let (Some(record), Ok(parsed)) = (step::known(&jobspec, r.clone()), R::from_value(&r)) else {
            return;
        };
        let within = self.jobs.entry(record.outer).or_default();
        within.next = within.next.max(record.step + 1);
        self.steps.insert(id, (record.outer, record.step));
        let held = within.held.entry(record.step).or_insert_with(|| Held::new(record, parsed, None));
        held.id = Some(id);
    }
}

/// Follows the jobs of the instance for as long as it is there.
///
/// # Errors
/// The broker is gone.
pub async fn follow(ctx: Arc<Context>) -> Result<(), ClientError> {
    let mut journal = ctx.client.stream(Dest::Leader, &Journal { from: 0 }).await?;
    while let Some(batch) = journal.next().await? {
        ctx.world.note(&batch);
        for event in &batch.events {
            let Heard { waiting, over } = ctx.steps.note(event);
            let job = over.as_ref().map_or(0, |held| held.record.job);
            for listener in waiting {
                let ctx = Arc::clone(&ctx);
                let step_id = step::step_id(job, step::NO_STEP, listener.version);
                let asks = JobStepKillMsg { step_id, ..JobStepKillMsg::default() };
                tokio::spawn(async move {
                    // Whoever has gone needs no room.
                    let _ = tell(&ctx, listener, Body::SrunStepSignal(Box::new(asks))).await;
                });
            }
            // What a service before this one has seen, it has said.
            let recent = event.entry.timestamp.as_secs_f64() + RECENT_SECS >= crate::start::now() as f64;
            if let Some(held) = over.filter(|_| recent) {
                tokio::spawn(tell_end(Arc::clone(&ctx), held));
            }
        }
        if batch.caught_up {
            never_launched(&ctx).await?;
            ctx.steps.caught_up.send_replace(true);
        }
    }
    Ok(())
}

/// Steps that were created before this service, and are no jobs yet: their numbers and cores are taken.
async fn never_launched(ctx: &Context) -> Result<(), ClientError> {
    for job in names(ctx, step::KEY).await? {
        let folder = format!("{}.{job}", step::KEY);
        for number in names(ctx, &folder).await? {
            let key = format!("{folder}.{number}");
            let got = kvs::get(&ctx.client, flurm_wire::kvs::PRIMARY, &key).await;
            let Ok(Got { node: Some(Node::Value(value)), .. }) = got else { continue };
            let Ok(record) = serde_json::from_value::<Record>(value) else { continue };
            let Ok(r) = R::from_value(&record.r) else { continue };
            let outer = named::record(ctx, record.outer).await;
            if !outer.is_ok_and(|outer| outer.state == JobState::Run) {
                kvs::commit(&ctx.client, flurm_wire::kvs::PRIMARY, vec![KvsOp::Unlink { key }]).await?;
                continue;
            }
            let mut known = ctx.steps.known();
            let within = known.jobs.entry(record.outer).or_default();
            within.next = within.next.max(record.step + 1);
            within.held.entry(record.step).or_insert_with(|| Held::new(record, r, None));
        }
    }
    Ok(())
}

/// What is in a directory of the store; nothing, if there is none.
async fn names(ctx: &Context, key: &str) -> Result<Vec<String>, ClientError> {
    match kvs::get(&ctx.client, flurm_wire::kvs::PRIMARY, key).await {
        Ok(Got { node: Some(Node::Dir(names)), .. }) => Ok(names.into_iter().map(|(name, _)| name).collect()),
        Ok(_) | Err(ClientError::Refused(_)) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// An `srun` that still listens for a step that is over has not heard of all its tasks: their node, or its daemon, is gone.
async fn tell_end(ctx: Arc<Context>, held: Held) {
    let Held { record, r, status, .. } = held;
    let Some(listener) = Listener::of_step(&record) else { return };
    let tasks: Vec<u32> = record.tids.iter().flatten().copied().collect();
    let exited = TaskExitMsg {
        return_code: status.unwrap_or(KILL.into()).cast_unsigned(),
        num_tasks: tasks.len() as u32,
        task_id_list: tasks,
        step_id: step::step_id(record.job, record.step, listener.version),
    };
    for _ in 0..TELLS {
        tokio::time::sleep(LEAVE_MAX).await;
        if tell(&ctx, listener, Body::MessageTaskExit(Box::new(exited.clone()))).await.is_err() {
            return;
        }
        tell_lost_nodes(&ctx, listener, &record, &r).await;
    }
}

async fn tell_lost_nodes(ctx: &Context, listener: Listener, record: &Record, r: &R) {
    let Ok(status) = ctx.client.call(Dest::Leader, &Status {}).await else { return };
    let ranks = r.ranks();
    let nodes = ranks.iter().filter(|rank| !status.online.contains(*rank));
    let lost: Hostlist =
        nodes.filter_map(|rank| Some(ctx.conf.nodes.get(rank as usize)?.name.clone())).collect();
    if !lost.is_empty() {
        let step_id = step::step_id(record.job, record.step, listener.version);
        let failed = SrunNodeFailMsg { step_id, nodelist: lost.to_string().as_str().into() };
        // It may have left by now.
        let _ = tell(ctx, listener, Body::SrunNodeFail(Box::new(failed))).await;
    }
}

/// REQUEST_JOB_STEP_CREATE.
pub async fn create(ctx: &Context, request: &Request, asked: &JobStepCreateRequestMsg) -> Answer {
    if asked.step_het_comp_cnt > 1 || asked.step_id.step_het_comp != NO_VAL {
        return Err(errors::ESLURM_NOT_SUPPORTED);
    }
    // A service that is new does not know yet what is taken.
    let mut caught_up = ctx.steps.caught_up.subscribe();
    caught_up.wait_for(|known| *known).await.map_err(|_| errors::ESLURM_DISABLED)?;
    let outer = named::one(ctx, asked.step_id.job_id).await?;
    match outer.state {
        JobState::Run => {}
        JobState::New | JobState::Depend | JobState::Priority | JobState::Sched => {
            return Err(errors::ESLURM_JOB_PENDING);
        }
        JobState::Cleanup | JobState::Inactive => return Err(errors::ESLURM_ALREADY_DONE),
    }
    let all = named::r(ctx, outer.id).await?.ok_or(errors::ESLURM_JOB_PENDING)?;
    let rank_of = |name: &str| {
        let rank = ctx.conf.nodes.iter().position(|node| node.name == name)?;
        u32::try_from(rank).ok().filter(|rank| all.node(*rank).is_some())
    };
    let want = step::want(asked, rank_of)?;
    let signal = named::part(ctx, &outer).await?.step_signal;
    let listed: Vec<u32> = match &want.spread {
        flurm_types::Spread::Listed(ranks) => ranks.clone(),
        flurm_types::Spread::Fill | flurm_types::Spread::Even => Vec::new(),
    };
    let version = request.version;
    let (record, r) = {
        let mut known = ctx.steps.known();
        let within = known.jobs.entry(outer.id).or_default();
        within.held.retain(|_, held| held.id.is_some() || held.created.elapsed() < LAUNCH_MAX);
        let busy: Vec<&R> =
            within.held.values().filter(|held| !held.record.overlap).map(|held| &held.r).collect();
        let share = match all.share(&busy, &want) {
            Ok(share) => share,
            Err(Lack::Never) => {
                let crowded = Want { overcommit: true, ..want };
                let too_many = all.share(&[], &crowded).is_ok();
                return Err(if too_many {
                    errors::ESLURM_TOO_MANY_REQUESTED_CPUS
                } else {
                    errors::ESLURM_REQUESTED_NODE_CONFIG_UNAVAILABLE
                });
            }
            Err(Lack::Busy) => {
                let address = SocketAddr::new(request.peer.ip(), asked.port);
                within.waiting.push(Listener { address, version });
                return Err(errors::ESLURM_NODES_BUSY);
            }
        };
        let number = within.next;
        within.next += 1;
        let tasks: u32 = share.counts.iter().sum();
        let r = R { nslots: Some(tasks), starttime: flurm_types::Timestamp::ZERO, ..share.r };
        let r = R { expiration: flurm_types::Timestamp::ZERO, ..r };
        let tids = step::deal(&share.counts, asked.task_dist, asked.plane_size, &listed, &r.ranks());
        let record = Record {
            outer: outer.id,
            job: outer.number,
            step: number,
            name: asked.name.lossy().into_owned(),
            r: r.to_value(),
            tids,
            cores_per_task: want.cores_per_task,
            overlap: want.overlap,
            time_limit: if asked.time_limit >= NO_VAL { 0 } else { asked.time_limit },
            host: asked.host.lossy().into_owned(),
            port: asked.port,
            address: Some(request.peer.ip()),
            protocol: version.to_wire(),
            dist: asked.task_dist,
            submit_line: asked.submit_line.as_str().map(str::to_owned),
            signal,
        };
        within.held.insert(number, Held::new(record.clone(), r.clone(), None));
        (record, r)
    };
    let value = serde_json::to_value(&record).expect("numbers and texts always serialize");
    let put = KvsOp::Put { key: step::key(record.job, record.step), value };
    kvs::commit(&ctx.client, flurm_wire::kvs::PRIMARY, vec![put]).await.map_err(|error| number(&error))?;
    let owner = Owner { uid: ctx.conf.uid, gid: ctx.conf.gid, name: ctx.conf.owner.clone() };
    let nodes = nodes_of(ctx, &r);
    let told = step::created(&record, &r, &nodes, &owner, &signature()?, crate::start::now(), version);
    Ok(Reply::Body(Body::ResponseJobStepCreate(Box::new(told))))
}

/// Nobody guesses it. It is in no store: `srun` has it, and hands it to the node daemons of its step.
fn signature() -> Result<String, u32> {
    let mut bytes = [0; SIGNATURE_BYTES];
    let read = File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut bytes));
    read.map_err(|error| {
        tracing::error!(%error, "no random numbers");
        super::SLURM_ERROR
    })?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// As Slurm's commands call them.
fn nodes_of(ctx: &Context, r: &R) -> String {
    let names = r.nodes.iter().filter_map(|node| ctx.conf.nodes.get(node.rank as usize));
    names.map(|node| node.name.clone()).collect::<Hostlist>().to_string()
}

/// REQUEST_CANCEL_JOB_STEP.
pub async fn cancel(ctx: &Context, asked: &JobStepKillMsg) -> Answer {
    let number_asked = asked.step_id.step_id;
    if number_asked == NO_VAL || number_asked == constants::SLURM_BATCH_SCRIPT {
        return cancel::kill(ctx, asked).await;
    }
    let outer = named::one(ctx, asked.step_id.job_id).await?;
    let id = {
        let known = ctx.steps.known();
        let held = known.jobs.get(&outer.id).and_then(|within| within.held.get(&number_asked));
        held.and_then(|held| held.id).ok_or(errors::ESLURM_ALREADY_DONE)?
    };
    let results = if asked.signal == KILL || asked.signal == 0 {
        job::raise(&ctx.client, &[id], "cancel", 0, "").await
    } else {
        job::kill(&ctx.client, &[id], asked.signal.into()).await
    };
    match results.map_err(|error| number(&error))?.into_iter().find_map(Result::err) {
        None => Ok(Reply::Code(0)),
        Some(_) => Err(errors::ESLURM_ALREADY_DONE),
    }
}

/// REQUEST_STEP_LAYOUT.
pub async fn layout(ctx: &Context, version: Version, asked: &StepIdMsg) -> Answer {
    let outer = named::one(ctx, asked.msg.job_id).await?;
    let known = ctx.steps.known();
    let held = known.jobs.get(&outer.id).and_then(|within| within.held.get(&asked.msg.step_id));
    let held = held.ok_or(errors::ESLURM_INVALID_JOB_ID)?;
    let layout = step::layout(&held.record, &nodes_of(ctx, &held.r), version);
    Ok(Reply::Body(Body::ResponseStepLayout(Box::new(layout))))
}

/// REQUEST_JOB_SBCAST_CRED.
pub async fn broadcast(ctx: &Context, version: Version, asked: &StepAllocInfoMsg) -> Answer {
    let selected = asked.msg.as_ref().or(asked.job_desc_buffer_ptr.as_ref());
    let outer = named::one(ctx, selected.map_or(0, |selected| selected.step_id.job_id)).await?;
    if outer.state != JobState::Run {
        return Err(errors::ESLURM_JOB_NOT_RUNNING);
    }
    let r = named::r(ctx, outer.id).await?.ok_or(errors::ESLURM_JOB_NOT_RUNNING)?;
    let owner = Owner { uid: ctx.conf.uid, gid: ctx.conf.gid, name: ctx.conf.owner.clone() };
    let nodes = nodes_of(ctx, &r);
    let told = step::broadcast(outer.number, &nodes, &owner, &signature()?, crate::start::now(), version);
    Ok(Reply::Body(Body::ResponseJobSbcastCred(Box::new(told))))
}

/// REQUEST_JOB_STEP_INFO: those that run, of one job or of all.
pub async fn info(ctx: &Context, version: Version, asked: &JobStepInfoReqMsg) -> Answer {
    let given = |n: u32| (n != NO_VAL && n != 0).then_some(n);
    let (job, number) = (given(asked.step_id.job_id), asked.step_id.step_id);
    let known = ctx.steps.known();
    let held = known.jobs.values().flat_map(|within| within.held.values());
    let wanted = held.filter(|held| {
        held.id.is_some()
            && job.is_none_or(|job| held.record.job == job)
            && (number == NO_VAL || held.record.step == number)
    });
    let steps: Vec<JobStepInfo> = wanted.map(|held| shown(ctx, held, version)).collect();
    if steps.is_empty() {
        return views::no_steps();
    }
    Ok(Reply::Body(Body::ResponseJobStepInfo(Box::new(JobStepInfoResponse {
        job_step_count: steps.len() as u32,
        last_update: crate::start::now(),
        step: (version.number() <= 40).then(|| steps.clone()),
        job_steps: (version.number() >= 41).then_some(steps),
        stepmgr_jobs: None,
    }))))
}

fn shown(ctx: &Context, held: &Held, version: Version) -> JobStepInfo {
    let Held { record, r, .. } = held;
    let tasks: usize = record.tids.iter().map(Vec::len).sum();
    let cpus = r.ncores() as u32;
    let tres = format!("cpu={cpus},node={}", r.nnodes());
    JobStepInfo {
        array_job_id: 0,
        array_task_id: NO_VAL,
        step_id: step::step_id(record.job, record.step, version),
        user_id: ctx.conf.uid,
        num_cpus: cpus,
        cpu_freq_min: NO_VAL,
        cpu_freq_max: NO_VAL,
        cpu_freq_gov: NO_VAL,
        num_tasks: tasks as u32,
        task_dist: step::told_dist(record.dist),
        time_limit: if record.time_limit == 0 { u32::MAX } else { record.time_limit },
        state: constants::JOB_RUNNING,
        srun_pid: 0,
        start_time: held.started,
        run_time: (crate::start::now() - held.started).max(0),
        cluster: crate::conf::CLUSTER.into(),
        partition: ctx.conf.partitions.first().map(String::as_str).into(),
        srun_host: record.host.as_str().into(),
        nodes: nodes_of(ctx, r).into(),
        name: record.name.as_str().into(),
        select_jobinfo: (version.number() <= 38).then(|| Box::new(SelectJobinfo { plugin_id: 109 })),
        tres_alloc_str: if version.number() <= 42 {
            tres.clone().into()
        } else {
            flurm_slurm_protocol::Text::NULL
        },
        tres_fmt_alloc_str: if version.number() >= 43 {
            tres.into()
        } else {
            flurm_slurm_protocol::Text::NULL
        },
        start_protocol_ver: version.to_wire(),
        submit_line: record.submit_line.as_deref().into(),
        ..JobStepInfo::default()
    }
}
