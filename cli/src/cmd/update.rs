//! `flurm update`: another duration, queue or name for a job that is not over.

use crate::face::Face;
use crate::failure::Failure;
use crate::out;
use flurm_types::JobId;
use flurm_wire::Dest;
use flurm_wire::job::Update;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Write;

/// Change what a job has asked for
///
/// `duration=2h` sets the time limit, `duration=+10m` and `duration=-1h` change it, of running jobs too. `queue=NAME`,
/// `constraints=JSON` and `name=NAME` are for jobs that wait; the name may change at any time.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only say what would be set
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Say what was set
    #[arg(short, long)]
    verbose: bool,
    /// Return when it is so (it always is)
    #[arg(long)]
    wait: bool,
    id: JobId,
    /// Keys of the jobspec, as `duration` or `attributes.system.duration`
    #[arg(required = true, value_name = "KEY=VALUE")]
    pairs: Vec<String>,
}

impl Args {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        let mut updates = BTreeMap::new();
        for pair in &self.pairs {
            let (key, value) = read(pair)?;
            if updates.insert(key.clone(), value).is_some() {
                return Err(Failure::usage(format!("{key} is given twice")));
            }
        }
        let update = Update { id: self.id, updates, dry_run: self.dry_run };
        let done = face.connect()?.call(Dest::Leader, &update)?;
        if self.verbose || self.dry_run {
            let mut out = out::stdout();
            for (key, value) in &done.updates {
                writeln!(out, "{key}={value}")?;
            }
        }
        Ok(0)
    }
}

fn read(pair: &str) -> Result<(String, Value), Failure> {
    let Some((key, text)) = pair.split_once('=').filter(|(key, _)| !key.is_empty()) else {
        return Err(Failure::usage(format!("`{pair}` is not KEY=VALUE"))
            .hint("such as duration=+10m, queue=debug or name=run2"));
    };
    let key = match key {
        "name" => "attributes.system.job.name".to_owned(),
        _ if key.starts_with("attributes.") => key.to_owned(),
        _ => format!("attributes.system.{key}"),
    };
    // Names may look like numbers; durations with a sign are text for the leader.
    let value = match key.rsplit('.').next() {
        Some("name" | "queue") => Value::String(text.to_owned()),
        Some(_) | None => serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned())),
    };
    Ok((key, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_of_the_jobspec() {
        let read = |pair: &str| read(pair).map(|(key, value)| format!("{key} {value}"));
        assert_eq!(read("duration=+10m"), Ok("attributes.system.duration \"+10m\"".into()));
        assert_eq!(read("duration=60"), Ok("attributes.system.duration 60".into()));
        assert_eq!(read("name=7"), Ok("attributes.system.job.name \"7\"".into()));
        assert_eq!(read("attributes.system.queue=q"), Ok("attributes.system.queue \"q\"".into()));
        assert!(read("duration").is_err() && read("=1").is_err());
    }
}
