//! `flurm job taskmap`, `hostpids`: where the tasks of a job are.

use crate::face::Face;
use crate::failure::Failure;
use crate::out;
use clap::ValueEnum;
use flurm_client::{blocking, job};
use flurm_jobspec::Jobspec;
use flurm_shell::plan::task_map_of;
use flurm_types::{Hostlist, Idset, JobId, R, TaskMap};
use flurm_wire::Dest;
use flurm_wire::job::Pids;
use std::io::Write;

/// Say which node has which tasks
#[derive(Debug, clap::Args)]
pub struct Taskmap {
    /// The tasks of this node of the job, counted from 0
    #[arg(long, value_name = "NODE", conflicts_with_all = ["ntasks", "nodeid", "hostname", "to"])]
    taskids: Option<u32>,
    /// How many tasks this node has
    #[arg(long, value_name = "NODE", conflicts_with_all = ["nodeid", "hostname", "to"])]
    ntasks: Option<u32>,
    /// The node that has this task
    #[arg(long, value_name = "TASK", conflicts_with_all = ["hostname", "to"])]
    nodeid: Option<u32>,
    /// The name of the node that has this task
    #[arg(long, value_name = "TASK", conflicts_with = "to")]
    hostname: Option<u32>,
    /// Print the whole map so
    #[arg(long, value_enum)]
    to: Option<Form>,
    /// A job, or a map in any form (RFC 34, its raw form, that of PMI)
    #[arg(value_name = "ID|MAP")]
    of: String,
}

#[derive(Copy, Clone, Debug, Eq, PartialEq, ValueEnum)]
enum Form {
    /// The tasks of each node, joined by `;`
    Raw,
    /// As PMI has it
    Pmi,
    /// A line for each task: `TASK: NODE`
    Multiline,
    /// A line for each node: `HOST: TASKS`
    Hosts,
}

impl Taskmap {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        let (map, hosts) = self.map(face)?;
        let no = |what: &str, id: u32| Failure::new(format!("there is no {what} {id} in the map"));
        let node_of = |task: u32| map.node_of(task).ok_or_else(|| no("task", task));
        let tasks_of = |node: u32| map.nodes().into_iter().nth(node as usize).ok_or_else(|| no("node", node));
        let named = || {
            hosts
                .as_ref()
                .ok_or_else(|| Failure::usage("a map alone does not name hosts").hint("give the id of a job"))
        };
        let host = |node: u32| named().map(|hosts| hosts.get(node as usize).unwrap_or("unknown").to_owned());
        let mut out = out::stdout();
        match (self.taskids, self.ntasks, self.nodeid, self.hostname, self.to) {
            (Some(node), ..) => writeln!(out, "{}", tasks_of(node)?)?,
            (_, Some(node), ..) => writeln!(out, "{}", tasks_of(node)?.len())?,
            (_, _, Some(task), ..) => writeln!(out, "{}", node_of(task)?)?,
            (_, _, _, Some(task), _) => writeln!(out, "{}", host(node_of(task)?)?)?,
            (.., None) => writeln!(out, "{map}")?,
            (.., Some(Form::Raw)) => writeln!(out, "{}", map.raw())?,
            (.., Some(Form::Pmi)) => writeln!(out, "{}", map.pmi())?,
            (.., Some(Form::Multiline)) => {
                let mut tasks: Vec<(u32, usize)> = Vec::new();
                for (node, set) in map.nodes().iter().enumerate() {
                    tasks.extend(set.iter().map(|task| (task, node)));
                }
                tasks.sort_unstable();
                for (task, node) in tasks {
                    writeln!(out, "{task}: {node}")?;
                }
            }
            (.., Some(Form::Hosts)) => {
                named()?;
                for (node, tasks) in (0..).zip(map.nodes()) {
                    writeln!(out, "{}: {tasks}", host(node)?)?;
                }
            }
        }
        Ok(0)
    }

    /// The map, and the nodes where they are known.
    fn map(&self, face: &Face) -> Result<(TaskMap, Option<Hostlist>), Failure> {
        // Ids may look like maps of one node: a map has signs that ids have not.
        let is_map = self.of.starts_with(['[', '{', '(']) || self.of.contains([';', ',', '-']);
        match self.of.parse::<JobId>() {
            Ok(id) if !is_map => {
                let (map, r) = of_job(&face.connect()?, id)?;
                Ok((map, Some(r.hostlist())))
            }
            _ => Ok((self.of.parse()?, None)),
        }
    }
}

/// The map of a job, made again of what it was made of.
fn of_job(client: &blocking::Client, id: JobId) -> Result<(TaskMap, R), Failure> {
    let keys = ["jobspec", "R"];
    let texts = client.run(async |client| job::lookup(&client, id, &keys).await);
    let texts = texts.map_err(|e| match e.code() {
        Some(flurm_wire::ErrorCode::NotFound) => {
            Failure::from(e).or_hint("a job has a map once it has resources")
        }
        _ => e.into(),
    })?;
    let broken =
        |e: &dyn std::fmt::Display| Failure::new(format!("cannot read what is stored of job {id}: {e}"));
    let [jobspec, r] = &texts[..] else { return Err(broken(&"it is not there")) };
    let jobspec = Jobspec::parse(jobspec).map_err(|e| broken(&e))?;
    let r = R::parse(r).map_err(|e| broken(&e))?;
    let map = task_map_of(&jobspec, &r).map_err(|e| broken(&e))?;
    Ok((map, r))
}

/// Print the hosts and process ids of a running job's tasks, as debuggers want them
#[derive(Debug, clap::Args)]
pub struct Hostpids {
    /// Between them
    #[arg(short, long, value_name = "SIGN", default_value = ",")]
    delimiter: String,
    /// Only tasks on these ranks of the instance
    #[arg(short, long, value_name = "IDSET")]
    ranks: Option<Idset>,
    /// Only these tasks
    #[arg(short, long, value_name = "IDSET")]
    tasks: Option<Idset>,
    id: JobId,
}

impl Hostpids {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        let client = face.connect()?;
        let pids = client.call(Dest::Leader, &Pids { id: self.id })?.ranks;
        let (map, r) = of_job(&client, self.id)?;
        let mut tasks: Vec<(u32, String)> = Vec::new();
        for (node, set) in r.nodes.iter().zip(map.nodes()) {
            if self.ranks.as_ref().is_some_and(|ranks| !ranks.contains(node.rank)) {
                continue;
            }
            let here = pids.iter().find(|(rank, _)| *rank == node.rank).map_or(&[][..], |(_, pids)| pids);
            let wanted = |task: &u32| self.tasks.as_ref().is_none_or(|tasks| tasks.contains(*task));
            let named = set.iter().zip(here).filter(|(task, _)| wanted(task));
            tasks.extend(named.map(|(task, pid)| (task, format!("{}:{pid}", node.host))));
        }
        tasks.sort_unstable();
        let texts: Vec<String> = tasks.into_iter().map(|(_, text)| text).collect();
        writeln!(out::stdout(), "{}", texts.join(&self.delimiter))?;
        Ok(0)
    }
}
