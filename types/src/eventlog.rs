//! One line of an eventlog (RFC 18). What the events mean is for the floors above.

use crate::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Longest line that is read: a jobspec-sized context fits, a runaway one does not.
pub const MAX_LINE: usize = 16 << 20;

/// An event with its time and details (RFC 18).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// When it happened.
    pub timestamp: Timestamp,
    /// What happened, for example `submit`.
    pub name: String,
    /// A JSON object with details.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<Value>,
}

/// A line that is not an eventlog entry.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// Not JSON, or not the right keys.
    #[error("read eventlog entry at column {}", .0.column())]
    Json(#[source] serde_json::Error),
    /// The timestamp is zero or before 1970.
    #[error("read eventlog entry: `timestamp` must be greater than 0")]
    Timestamp,
    /// An event without a name.
    #[error("read eventlog entry: `name` must not be empty")]
    Name,
    /// A context of another type.
    #[error("read eventlog entry: `context` must be an object")]
    Context,
    /// More than one line, or none.
    #[error("read eventlog entry: an entry is exactly one line")]
    Line,
    /// Longer than [`MAX_LINE`].
    #[error("read eventlog entry: {0} bytes, more than {MAX_LINE}")]
    Length(usize),
}

impl Entry {
    /// An event without details.
    #[must_use]
    pub fn new(timestamp: Timestamp, name: impl Into<String>) -> Entry {
        Entry { timestamp, name: name.into(), context: None }
    }

    /// The same event with these details.
    #[must_use]
    pub fn with_context(self, context: Value) -> Entry {
        Entry { context: Some(context), ..self }
    }

    /// Reads one line, with or without its newline. Unknown keys are skipped, as RFC 18 asks of readers.
    ///
    /// # Errors
    /// When the line is no JSON object with a positive `timestamp`, a `name` and, if any, an object `context`.
    pub fn parse_line(line: &str) -> Result<Entry, EntryError> {
        if line.len() > MAX_LINE {
            return Err(EntryError::Length(line.len()));
        }
        let line = line.strip_suffix('\n').unwrap_or(line);
        if line.is_empty() || line.contains('\n') {
            return Err(EntryError::Line);
        }
        let entry: Entry = serde_json::from_str(line).map_err(EntryError::Json)?;
        if entry.timestamp <= Timestamp::ZERO {
            return Err(EntryError::Timestamp);
        }
        if entry.name.is_empty() {
            return Err(EntryError::Name);
        }
        if entry.context.as_ref().is_some_and(|context| !context.is_object()) {
            return Err(EntryError::Context);
        }
        Ok(entry)
    }

    /// The line, without a newline.
    #[must_use]
    pub fn to_line(&self) -> String {
        serde_json::to_string(self).expect("names, numbers and JSON values always serialize")
    }
}
