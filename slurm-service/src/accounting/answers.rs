//! Which question is answered with what.

use crate::conf::CLUSTER;
use crate::context::Context;
use crate::translate::account::{self, Entry, Selection, Site, Step, Tables, Tres};
use crate::translate::part::Part;
use crate::world::Kept;
use flurm_client::ClientError;
use flurm_slurm_protocol::structures::{
    DbJobCond, DbJobRec, DbdListMsgDbdGotAccounts, DbdListMsgDbdGotAssocs, DbdListMsgDbdGotClusters,
    DbdListMsgDbdGotConfig, DbdListMsgDbdGotEvents, DbdListMsgDbdGotFederations, DbdListMsgDbdGotInstances,
    DbdListMsgDbdGotJobs, DbdListMsgDbdGotProbs, DbdListMsgDbdGotQos, DbdListMsgDbdGotRes,
    DbdListMsgDbdGotResvs, DbdListMsgDbdGotTres, DbdListMsgDbdGotTxn, DbdListMsgDbdGotUsers,
    DbdListMsgDbdGotWckeys, SlurmdbdConf,
};
use flurm_slurm_protocol::{Body, Version, errors};
use flurm_types::{Hostlist, JobId};
use flurm_wire::Dest;
use flurm_wire::job::{JobRecord, List};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Jobs that are asked for at a time.
const PAGE: usize = 1000;

/// What somebody is told.
pub(super) enum Answer {
    Body(Box<Body>),
    /// A number of Slurm's, and why.
    Code(u32, String),
    /// All is well, and the connection ends.
    Goodbye,
}

/// A list that is the whole answer.
macro_rules! list {
    ($body:ident($message:ident), $list:expr) => {
        Body::$body(Box::new($message { my_list: Some($list), return_code: 0 }))
    };
}

/// One line per message type. What would change something is refused.
pub(super) async fn answer(ctx: &Arc<Context>, version: Version, question: Body) -> Answer {
    let name = question.name();
    let body = match question {
        Body::DbdFini(bye) if bye.close_conn != 0 => return Answer::Goodbye,
        // There is nothing to commit or to take back.
        Body::DbdFini(_) | Body::DbdClearStats => return Answer::Code(0, String::new()),
        Body::DbdGetJobsCond(asked) => match jobs(ctx, asked.cond).await {
            Ok(jobs) => jobs,
            Err(error) => return lost(&error),
        },
        Body::DbdGetTres(_) => list!(DbdGotTres(DbdListMsgDbdGotTres), account::tres()),
        Body::DbdGetQos(asked) => list!(DbdGotQos(DbdListMsgDbdGotQos), account::qos(&asked.cond)),
        Body::DbdGetClusters(_)
        | Body::DbdGetUsers(_)
        | Body::DbdGetAccounts(_)
        | Body::DbdGetAssocs(_)
        | Body::DbdGetConfig(_) => match table(ctx, version, question).await {
            Ok(table) => table,
            Err(error) => return lost(&error),
        },
        Body::DbdGetStats => Body::DbdGotStats(Box::new(account::stats(CLUSTER, ctx.started))),
        // There are none of these.
        Body::DbdGetEvents(_) => list!(DbdGotEvents(DbdListMsgDbdGotEvents), Vec::new()),
        Body::DbdGetFederations(_) => list!(DbdGotFederations(DbdListMsgDbdGotFederations), Vec::new()),
        Body::DbdGetInstances(_) => list!(DbdGotInstances(DbdListMsgDbdGotInstances), Vec::new()),
        Body::DbdGetProbs(_) => list!(DbdGotProbs(DbdListMsgDbdGotProbs), Vec::new()),
        Body::DbdGetRes(_) => list!(DbdGotRes(DbdListMsgDbdGotRes), Vec::new()),
        Body::DbdGetResvs(_) => list!(DbdGotResvs(DbdListMsgDbdGotResvs), Vec::new()),
        Body::DbdGetTxn(_) => list!(DbdGotTxn(DbdListMsgDbdGotTxn), Vec::new()),
        Body::DbdGetWckeys(_) => list!(DbdGotWckeys(DbdListMsgDbdGotWckeys), Vec::new()),
        _ => {
            let why = format!("{name}: accounting inside flurm can be read, not changed");
            return Answer::Code(errors::ESLURM_NOT_SUPPORTED, why);
        }
    };
    tracing::debug!(message = name, %version, "answered");
    Answer::Body(Box::new(body))
}

fn lost(error: &ClientError) -> Answer {
    Answer::Code(errors::ESLURM_DB_CONNECTION, error.to_string())
}

/// All jobs that the instance still knows, those within others too, oldest first.
async fn known(ctx: &Context) -> Result<Vec<JobRecord>, ClientError> {
    let mut all: Vec<JobRecord> = Vec::new();
    loop {
        let before = all.last().map(|job| job.id);
        let page = List { max_entries: PAGE, before, steps: true, ..List::default() };
        let page = ctx.client.call(Dest::Leader, &page).await?;
        let more = page.more && !page.jobs.is_empty();
        all.extend(page.jobs);
        if !more {
            all.reverse();
            return Ok(all);
        }
    }
}

async fn jobs(ctx: &Arc<Context>, cond: DbJobCond) -> Result<Body, ClientError> {
    let known = known(ctx).await?;
    let parts = ctx.world.parts.of_all(&ctx.client, &known).await?;
    let ctx = Arc::clone(ctx);
    let chosen = tokio::task::spawn_blocking(move || choose(&ctx, &known, &parts, &cond));
    let chosen = chosen.await.expect("records are made without panic");
    Ok(list!(DbdGotJobs(DbdListMsgDbdGotJobs), chosen))
}

/// The records of those jobs that were asked for.
fn choose(
    ctx: &Context,
    known: &[JobRecord],
    parts: &BTreeMap<JobId, Kept>,
    cond: &DbJobCond,
) -> Vec<DbJobRec> {
    let names: Vec<&str> = ctx.conf.nodes.iter().map(|node| node.name.as_str()).collect();
    let site = Site {
        cluster: CLUSTER,
        user: &ctx.conf.owner,
        gid: ctx.conf.gid,
        nodes: &names,
        node_mem_mib: ctx.conf.nodes.iter().map(|node| node.memory_mib).max().unwrap_or_default(),
        now: crate::start::now(),
    };
    let (within, jobs): (Vec<&JobRecord>, Vec<&JobRecord>) =
        known.iter().partition(|job| job.within.is_some());
    let part = |id: JobId| parts.get(&id).and_then(|part| part.as_deref());
    let mut steps: BTreeMap<JobId, Vec<(&JobRecord, Option<&Part>)>> = BTreeMap::new();
    for job in within {
        let of = job.within.map(|outer| steps.entry(outer).or_default());
        if let Some(of) = of {
            of.push((job, part(job.id)));
        }
    }
    let steps: BTreeMap<JobId, Vec<Step<'_>>> =
        steps.into_iter().map(|(outer, jobs)| (outer, account::numbered(&jobs))).collect();
    let selection = Selection::new(cond);
    let record = |job: &JobRecord| {
        let steps = steps.get(&job.id).map_or(&[][..], Vec::as_slice);
        let entry = Entry { job, part: part(job.id), gpus: 0, steps };
        selection.keep(account::record(&site, &entry))
    };
    account::gather(jobs.into_iter().filter_map(record).collect())
}

async fn table(ctx: &Context, version: Version, question: Body) -> Result<Body, ClientError> {
    let accounts = accounts(ctx).await?;
    let conf = &ctx.conf;
    let sum = |of: fn(&crate::conf::Node) -> u64| conf.nodes.iter().map(of).sum::<u64>();
    let cpus = sum(|node| node.cores.into());
    let tres = Tres {
        cpus,
        mem_mib: sum(|node| node.memory_mib),
        nodes: conf.nodes.len() as u64,
        billing: cpus,
        gpus: sum(|node| node.gpus.into()),
    };
    let hosts: Hostlist = conf.nodes.iter().map(|node| node.name.clone()).collect();
    let tables = Tables {
        cluster: CLUSTER,
        user: &conf.owner,
        uid: conf.uid,
        accounts: &accounts,
        host: &conf.controller.ip().to_string(),
        port: conf.controller.port(),
        nodes: &hosts.to_string(),
        tres: &tres.text(),
    };
    let port = conf.accounting.map_or(0, |address| address.port());
    Ok(match question {
        Body::DbdGetUsers(asked) => {
            list!(DbdGotUsers(DbdListMsgDbdGotUsers), account::users(&tables, &asked.cond))
        }
        Body::DbdGetAccounts(asked) => {
            list!(DbdGotAccounts(DbdListMsgDbdGotAccounts), account::accounts(&tables, &asked.cond))
        }
        Body::DbdGetAssocs(asked) => {
            list!(DbdGotAssocs(DbdListMsgDbdGotAssocs), account::assocs(&tables, &asked.cond))
        }
        Body::DbdGetClusters(asked) => {
            list!(DbdGotClusters(DbdListMsgDbdGotClusters), account::clusters(&tables, &asked.cond, version))
        }
        _ if version == Version::LAST => Body::DbdGotConfig(Box::new(SlurmdbdConf {
            dbd_host: conf.controller_host.as_str().into(),
            dbd_port: port,
            ..SlurmdbdConf::default()
        })),
        _ => list!(DbdGotConfigUntil44(DbdListMsgDbdGotConfig), account::config(&tables, port)),
    })
}

/// Those that jobs have named.
async fn accounts(ctx: &Context) -> Result<Vec<String>, ClientError> {
    let known = known(ctx).await?;
    let banks: BTreeSet<String> =
        known.into_iter().map(|job| job.bank).filter(|bank| !bank.is_empty()).collect();
    Ok(banks.into_iter().collect())
}
