//! `flurm watch`: the output of many jobs at once, until they are over.

use super::jobs::Selection;
use crate::face::Face;
use crate::failure::Failure;
use crate::submission::{Follow, Logs, Party};
use crate::when;
use flurm_client::{Client, job};
use flurm_types::JobId;
use flurm_wire::job::List;

/// Show the output of jobs as it comes, until all are over
///
/// Ends with the largest exit code among them.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// All jobs that are active now
    #[arg(short, long)]
    active: bool,
    /// All jobs, those that are over as well
    #[arg(short = 'A', long)]
    all: bool,
    /// At most so many, the newest; 0 for all
    #[arg(short, long, value_name = "N", default_value_t = 0)]
    count: usize,
    /// Jobs that were active since then
    #[arg(long, value_name = "WHEN", allow_hyphen_values = true)]
    since: Option<String>,
    /// Jobs in these states or with these results
    #[arg(short, long, value_name = "STATE|RESULT,…", value_delimiter = ',')]
    filter: Vec<String>,
    /// Put `RANK: ` before lines
    #[arg(short, long)]
    label_io: bool,
    /// Show a bar on the terminal: how many wait, run and have ended
    #[arg(long)]
    progress: bool,
    /// Show in the bar how many jobs end a second
    #[arg(long)]
    jps: bool,
    /// Say how each job ended
    #[arg(short, long)]
    verbose: bool,
    /// Just these
    #[arg(value_name = "ID", conflicts_with_all = ["active", "all", "count", "since", "filter"])]
    ids: Vec<JobId>,
}

impl Args {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        let picks =
            self.active || self.all || self.count > 0 || self.since.is_some() || !self.filter.is_empty();
        if self.ids.is_empty() && !picks {
            return Err(Failure::usage("no jobs to watch").hint("give ids, or -a for all active jobs"));
        }
        face.connected(async |client| {
            let ids = if self.ids.is_empty() { self.selected(&client).await? } else { self.ids.clone() };
            self.watch(&client, ids).await
        })
    }

    /// Oldest first, as their output is to come.
    async fn selected(&self, client: &Client) -> Result<Vec<JobId>, Failure> {
        let since = self.since.as_ref().map(|text| when::instant(text, when::now())).transpose()?;
        // `-c 3` alone is about the three newest, whatever has become of them.
        let everything = !self.active && (self.all || since.is_some() || self.count > 0);
        let list = Selection::of_states(self.filter.clone()).list(everything)?;
        let list = List { since, max_entries: self.count, ..list };
        let jobs = job::list(client, &list).await?.jobs;
        Ok(jobs.iter().rev().map(|job| job.id).collect())
    }

    async fn watch(&self, client: &Client, ids: Vec<JobId>) -> Result<u8, Failure> {
        let follow = Follow {
            watch: true,
            progress: self.progress,
            jps: self.jps,
            verbose: self.verbose.into(),
            ..Follow::default()
        };
        let mut party = Party::new(&follow, Some(ids.len()), Logs::default(), false);
        party.join(ids);
        party.stay(client, self.label_io).await
    }
}
