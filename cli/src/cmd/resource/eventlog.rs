//! `flurm resource eventlog`: what has happened to resources (RFC 44).

use super::{ask, targets};
use crate::events::{self, Match};
use crate::face::Face;
use crate::failure::Failure;
use crate::out;
use crate::when;
use flurm_types::{Entry, Idset};
use flurm_wire::Dest;
use flurm_wire::resource::Eventlog;
use std::io::Write;
use std::time::Duration;

/// Print the events of resources: drains, brokers that come and go
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    style: events::Options,
    /// Go on as events come
    #[arg(short = 'F', long)]
    follow: bool,
    /// Wait for this event, print it, and end
    #[arg(short, long, value_name = "EVENT")]
    wait: Option<String>,
    /// Only events with this in their context
    #[arg(short, long = "match", value_name = "KEY=VALUE")]
    matches: Vec<String>,
    /// With --wait: give up after this time
    #[arg(short, long, value_name = "DURATION", value_parser = when::duration, requires = "wait")]
    timeout: Option<f64>,
    /// Only events of these ranks or hosts
    #[arg(short, long, value_name = "TARGETS")]
    include: Option<String>,
}

impl Args {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        let matches: Vec<Match> =
            self.matches.iter().map(|text| Match::parse(text)).collect::<Result<_, _>>()?;
        let included = match &self.include {
            Some(word) => Some(targets(word, &ask(&face.connect()?)?.all)?),
            None => None,
        };
        face.connected(async |client| {
            let follow = self.follow || self.wait.is_some();
            let mut batches = client.stream(Dest::Leader, &Eventlog { follow }).await?;
            let mut writer = self.style.writer();
            let limit = Duration::from_secs_f64(self.timeout.unwrap_or(1e9).min(1e9));
            let end = tokio::time::Instant::now() + limit;
            loop {
                let next = tokio::time::timeout_at(end, batches.next()).await.map_err(|_| {
                    let event = self.wait.as_deref().unwrap_or_default();
                    Failure::new(format!("no event `{event}` after {}", when::rough(limit.as_secs_f64())))
                })?;
                let Some(batch) = next? else { break };
                let mut out = out::stdout();
                for entry in &batch.entries {
                    // The writer sees all: times may count from the first one.
                    let line = writer.line(entry);
                    let awaited = self.wait.as_ref().is_none_or(|event| entry.name == *event);
                    let here = included.as_ref().is_none_or(|ranks| concerns(entry, ranks));
                    if !awaited || !here || !matches.iter().all(|m| m.holds(entry)) {
                        continue;
                    }
                    writeln!(out, "{line}")?;
                    if self.wait.is_some() {
                        out.flush()?;
                        return Ok(0);
                    }
                }
                out.flush()?;
            }
            Ok(0)
        })
    }
}

/// Is it about one of these ranks? What names none is about all.
fn concerns(entry: &Entry, ranks: &Idset) -> bool {
    let named = events::text(entry, "idset").or_else(|| events::text(entry, "ranks"));
    named.and_then(|text| text.parse::<Idset>().ok()).is_none_or(|named| !named.is_disjoint(ranks))
}
