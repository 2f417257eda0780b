//! `flurm event`: short messages under a topic, for whoever listens.

use crate::face::Face;
use crate::failure::Failure;
use crate::out;
use flurm_client::Client;
use flurm_wire::Dest;
use flurm_wire::event::{Event, Events, Publish, Subscribe};
use serde_json::Value;
use std::io::Write;

/// Send and follow events of your own
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Pub(Publication),
    Sub(Subscription),
}

impl Args {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        match self.command {
            Command::Pub(args) => args.run(face),
            Command::Sub(args) => args.run(face),
        }
    }
}

/// Send an event to all who listen for it at this moment
#[derive(Debug, clap::Args)]
struct Publication {
    /// The value is text, whatever it looks like
    #[arg(short, long)]
    raw: bool,
    /// Only for its owner (here all is)
    #[arg(short, long)]
    private: bool,
    /// Return when it has its number (it has as soon as `pub` returns)
    #[arg(short, long)]
    synchronous: bool,
    /// Return when it has come back to us as well
    #[arg(short, long)]
    loopback: bool,
    /// Words with dots between
    topic: String,
    /// Its value, in JSON
    #[arg(value_name = "VALUE", trailing_var_arg = true, allow_hyphen_values = true)]
    payload: Vec<String>,
}

impl Publication {
    fn run(self, face: &Face) -> Result<u8, Failure> {
        let text = self.payload.join(" ");
        let payload = match self.payload.is_empty() {
            true => None,
            false if self.raw => Some(Value::String(text)),
            false => Some(serde_json::from_str(&text).map_err(|e| {
                Failure::usage(format!("`{text}` is no JSON: {e}")).hint("--raw sends text as it is")
            })?),
        };
        let publish = Publish { topic: self.topic, payload };
        face.connected(async |client: Client| {
            let topics = vec![publish.topic.clone()];
            let mut back = match self.loopback {
                true => Some(client.stream(Dest::Leader, &Subscribe { topics }).await?),
                false => None,
            };
            if let Some(back) = &mut back {
                back.next().await?;
            }
            let seq = client.call(Dest::Leader, &publish).await?.seq;
            while let Some(back) = &mut back {
                let came = back.next().await?;
                if came.is_none_or(|came| came.events.iter().any(|event| event.seq == seq)) {
                    break;
                }
            }
            Ok(0)
        })
    }
}

/// Print events as they come: topic and value
///
/// Goes on until it has printed so many or is interrupted. Events of before are not kept.
#[derive(Debug, clap::Args)]
struct Subscription {
    /// End after so many events
    #[arg(short, long, value_name = "N")]
    count: Option<u64>,
    /// Print values that are text without quotes
    #[arg(short, long)]
    raw: bool,
    /// Beginnings of topics (default: all)
    #[arg(value_name = "TOPIC")]
    topics: Vec<String>,
}

impl Subscription {
    fn run(self, face: &Face) -> Result<u8, Failure> {
        let mut left = self.count;
        let client = face.connect()?;
        for events in client.stream(Dest::Leader, &Subscribe { topics: self.topics })? {
            let Events { events } = events?;
            let mut out = out::stdout();
            for event in &events {
                if left == Some(0) {
                    break;
                }
                writeln!(out, "{}", line(event, self.raw))?;
                left = left.map(|left| left - 1);
            }
            out.flush()?;
            if left == Some(0) {
                break;
            }
        }
        Ok(0)
    }
}

fn line(event: &Event, raw: bool) -> String {
    match &event.payload {
        None => event.topic.clone(),
        Some(Value::String(text)) if raw => format!("{}\t{text}", event.topic),
        Some(value) => format!("{}\t{value}", event.topic),
    }
}
