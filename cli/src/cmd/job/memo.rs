//! `flurm job memo`: remarks that stay with a job.

use crate::face::Face;
use crate::failure::Failure;
use flurm_types::JobId;
use flurm_wire::Dest;
use flurm_wire::job;
use serde_json::{Map, Value};

/// Keep remarks with a job that is not over; `flurm jobs -o '{user.KEY}'` shows them
#[derive(Debug, clap::Args)]
pub struct Memo {
    id: JobId,
    /// Values are JSON, or text where they are not; `KEY=null` removes; dots make objects
    #[arg(required = true, value_name = "KEY=VALUE")]
    pairs: Vec<String>,
}

impl Memo {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        let mut memo = Value::Object(Map::new());
        for pair in &self.pairs {
            let (key, text) = pair
                .split_once('=')
                .filter(|(key, _)| key.split('.').all(|name| !name.is_empty()))
                .ok_or_else(|| Failure::usage(format!("`{pair}` is not KEY=VALUE")))?;
            let value = serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()));
            let mut at = &mut memo;
            for name in key.split('.') {
                if !at.is_object() {
                    *at = Value::Object(Map::new());
                }
                at = &mut at[name];
            }
            *at = value;
        }
        let memo = match memo {
            Value::Object(memo) => memo,
            _ => Map::new(),
        };
        face.connect()?.call(Dest::Leader, &job::Memo { id: self.id, memo })?;
        Ok(0)
    }
}
