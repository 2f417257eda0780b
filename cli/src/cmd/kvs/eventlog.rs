//! `flurm kvs eventlog`: eventlogs (RFC 18) that are values of the store.

use super::Store;
use crate::events;
use crate::failure::Failure;
use crate::out::Out;
use crate::when;
use clap::Subcommand;
use flurm_types::Entry;
use flurm_wire::fact::KvsOp;
use flurm_wire::kvs::Node;
use serde_json::Value;
use std::io::Write;
use std::time::Duration;

#[derive(Debug, Subcommand)]
pub enum Eventlog {
    /// Print the entries of a log
    Get(Get),
    /// Add an entry to a log
    Append(Append),
    /// Wait until a log has an entry of that name
    WaitEvent(WaitEvent),
}

#[derive(Debug, clap::Args)]
pub struct Get {
    /// Wait until the log is there
    #[arg(short = 'W', long)]
    waitcreate: bool,
    /// Go on as entries come
    #[arg(short, long)]
    watch: bool,
    /// Stop after so many entries
    #[arg(short, long, value_name = "N")]
    count: Option<u64>,
    /// Print entries as they are stored
    #[arg(short, long)]
    unformatted: bool,
    #[command(flatten)]
    style: Style,
    key: String,
}

/// How entries are shown.
#[derive(Debug, clap::Args)]
struct Style {
    /// Clock times, and seconds since the first entry
    #[arg(short = 'H', long)]
    human: bool,
    /// Colour names of events
    #[arg(short = 'L', long, value_enum, value_name = "WHEN", default_value_t, num_args = 0..=1, require_equals = true, default_missing_value = "always")]
    color: crate::out::Color,
}

#[derive(Debug, clap::Args)]
pub struct Append {
    /// The entry's time in seconds since 1970 (default: now)
    #[arg(short, long, value_name = "SECONDS")]
    timestamp: Option<f64>,
    key: String,
    name: String,
    /// The context: KEY=VALUE pairs, or one JSON object
    context: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub struct WaitEvent {
    /// Wait until the log is there
    #[arg(short = 'W', long)]
    waitcreate: bool,
    /// Give up after this time
    #[arg(short, long, value_name = "DURATION", value_parser = when::duration)]
    timeout: Option<f64>,
    /// Print the entry as it is stored
    #[arg(short, long)]
    unformatted: bool,
    /// Print nothing
    #[arg(short, long)]
    quiet: bool,
    /// Print the entries before it as well
    #[arg(short, long)]
    verbose: bool,
    #[command(flatten)]
    style: Style,
    key: String,
    event: String,
}

impl Style {
    fn writer(&self, unformatted: bool) -> events::Writer {
        let format = if unformatted { events::Style::Json } else { events::Style::Text };
        let Style { human, color } = *self;
        events::Options { format, time_format: events::Time::Raw, human, color }.writer()
    }
}

impl Store {
    pub async fn eventlog(&self, command: Eventlog, out: &mut Out) -> Result<(), Failure> {
        match command {
            Eventlog::Get(get) => self.log_get(get, out).await,
            Eventlog::Append(append) => self.log_append(append).await,
            Eventlog::WaitEvent(wait) => self.log_wait(wait, out).await,
        }
    }

    async fn log_append(&self, append: Append) -> Result<(), Failure> {
        let time = match append.timestamp {
            None => when::now(),
            Some(secs) => flurm_types::Timestamp::from_secs_f64(secs),
        };
        let mut entry = Entry::new(time, &append.name);
        match append.context.as_slice() {
            [] => {}
            [json] if json.starts_with('{') => {
                let context = serde_json::from_str(json)
                    .map_err(|e| Failure::usage(format!("the context is no JSON object: {e}")))?;
                entry = entry.with_context(context);
            }
            pairs => {
                let mut context = serde_json::Map::new();
                for pair in pairs {
                    let (key, text) = pair
                        .split_once('=')
                        .ok_or_else(|| Failure::usage(format!("`{pair}` is not KEY=VALUE")))?;
                    context.insert(key.to_owned(), super::value(text.to_owned()));
                }
                entry = entry.with_context(Value::Object(context));
            }
        }
        let value = entry.to_line() + "\n";
        // It must be a log afterwards as well.
        Entry::parse_line(value.trim_end())
            .map_err(|e| Failure::usage(format!("this would be no entry of an eventlog: {e}")))?;
        self.commit(vec![KvsOp::Append { key: append.key, value }]).await?;
        Ok(())
    }

    async fn log_get(&self, get: Get, out: &mut Out) -> Result<(), Failure> {
        let mut writer = get.style.writer(get.unformatted);
        let mut left = get.count.unwrap_or(u64::MAX);
        self.log_follow(&get.key, get.waitcreate, get.watch, async |entry| {
            if left > 0 {
                writeln!(out, "{}", writer.line(entry))?;
                out.flush()?;
            }
            left = left.saturating_sub(1);
            Ok(left > 0)
        })
        .await
    }

    async fn log_wait(&self, wait: WaitEvent, out: &mut Out) -> Result<(), Failure> {
        let mut writer = wait.style.writer(wait.unformatted);
        let mut found = false;
        let follow = self.log_follow(&wait.key, wait.waitcreate, true, async |entry| {
            found = entry.name == wait.event;
            if !wait.quiet && (found || wait.verbose) {
                writeln!(out, "{}", writer.line(entry))?;
                out.flush()?;
            }
            Ok(!found)
        });
        match wait.timeout {
            None => follow.await?,
            Some(secs) => {
                tokio::time::timeout(Duration::from_secs_f64(secs.min(1e9)), follow).await.map_err(
                    |_| Failure::new(format!("no event `{}` after {}", wait.event, when::rough(secs))),
                )??
            }
        }
        if found { Ok(()) } else { Err(Failure::new(format!("no event `{}` came", wait.event))) }
    }

    /// Each entry once, until `take` has had enough; to the present end of the log, or beyond it.
    async fn log_follow(
        &self,
        key: &str,
        waitcreate: bool,
        watch: bool,
        mut take: impl AsyncFnMut(&Entry) -> Result<bool, Failure>,
    ) -> Result<(), Failure> {
        let mut changes = flurm_client::kvs::watch(&self.client, &self.namespace, key, waitcreate).await?;
        let mut seen = 0;
        while let Some(got) = changes.next().await? {
            let Some(Node::Value(Value::String(text))) = got.node else {
                return Err(Failure::new(format!("`{key}` is no eventlog")));
            };
            let fresh = text.get(seen..).unwrap_or(&text);
            seen = text.len();
            for line in fresh.lines() {
                let entry = Entry::parse_line(line)
                    .map_err(|e| Failure::new(format!("`{key}` is no eventlog: {e}")))?;
                if !take(&entry).await? {
                    return Ok(());
                }
            }
            if !watch {
                break;
            }
        }
        Ok(())
    }
}
