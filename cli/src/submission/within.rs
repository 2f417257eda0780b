//! A job within another one: which part of what that has is this one's.
//!
//! Free cores come first. Where there are none, it shares those of the others that are within the same job.

use super::Options;
use crate::failure::Failure;
use flurm_client::{Client, job};
use flurm_types::{JobId, JobState, Lack, R, Share, Spread, Want};
use flurm_wire::job::List;
use serde_json::json;

impl Options {
    /// Chooses the part, if the job is to be within another; from then on it stands in the attributes.
    pub async fn take_part(&mut self, client: &Client) -> Result<(), Failure> {
        let Some(outer) = self.what.within.take() else { return Ok(()) };
        let outer: JobId = outer.parse()?;
        let size = self.size.counts()?;
        let other = size.cores.is_some()
            || size.tasks_per_node.is_some()
            || size.tasks_per_core.is_some()
            || size.gpus_per_task.is_some()
            || size.gpus_per_node.is_some()
            || self.size.shape.is_some();
        if other {
            return Err(Failure::usage("--within does not know these resources")
                .hint("its size is told by -N, -n and -c; without them it has all that the job has"));
        }
        let all = r_of(client, outer).await?;
        let named = size.nodes.is_some() || size.ntasks.is_some() || size.cores_per_task.is_some();
        let share = if named {
            let whole_nodes = size.ntasks.is_none() && size.cores_per_task.is_none();
            let want = Want {
                nodes: size.nodes.map_or((1, u32::MAX), |n| (n, n)),
                tasks: size.ntasks.or(if size.nodes.is_none() { Some(1) } else { None }),
                cores_per_task: size.cores_per_task.unwrap_or(1),
                whole_nodes,
                spread: Spread::Even,
                ..Want::default()
            };
            choose(client, outer, &all, want).await?
        } else {
            Share { counts: vec![1], r: all }
        };
        let r = R { nslots: Some(share.counts.iter().sum()), ..share.r };
        self.what.setattr.push(format!("within={}", outer.0));
        self.what.setattr.push(format!("alloc-bypass={}", json!({ "R": r })));
        Ok(())
    }
}

async fn r_of(client: &Client, id: JobId) -> Result<R, Failure> {
    let values = job::lookup(client, id, &["R"]).await?;
    let text = values.first().map_or("", String::as_str);
    R::parse(text).map_err(|e| Failure::new(format!("job {id}: {e}")))
}

async fn choose(client: &Client, outer: JobId, all: &R, want: Want) -> Result<Share, Failure> {
    let list = List { within: Some(outer), states: vec![JobState::Run], ..List::default() };
    let mut busy = Vec::new();
    for inner in job::list(client, &list).await?.jobs {
        busy.push(r_of(client, inner.id).await?);
    }
    let busy: Vec<&R> = busy.iter().collect();
    let shared = match all.share(&busy, &want) {
        Err(Lack::Busy) => all.share(&busy, &Want { overlap: true, ..want }),
        other => other,
    };
    shared.map_err(|_| {
        Failure::new(format!("job {outer} does not have so much")).hint(format!(
            "it has {} nodes and {} cores",
            all.nnodes(),
            all.ncores()
        ))
    })
}
