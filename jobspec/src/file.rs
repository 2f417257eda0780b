//! Small files that travel inside a jobspec (RFC 37).

use crate::error::{JobspecError, Place};
use crate::limits::FILES_MAX;
use crate::read::{Object, kernel_text, noun, text};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Files by their relative paths.
pub type Archive = BTreeMap<String, File>;

/// An entry of an archive (RFC 37).
#[derive(Debug, Clone, PartialEq)]
pub struct File {
    /// As in `stat`: the kind of file and its permissions.
    pub mode: u32,
    /// Unix seconds.
    pub mtime: Option<f64>,
    pub ctime: Option<f64>,
    pub content: Content,
}

/// What is in a file.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    Directory,
    /// Symbolic link to this target.
    Link(String),
    Text(String),
    Bytes(Vec<u8>),
    /// A value that is written out as JSON.
    Json(Value),
}

/// Kind of file, in the bits of a mode.
const KIND_MASK: u32 = 0o170_000;
const REGULAR: u32 = 0o100_000;
const DIRECTORY: u32 = 0o040_000;
const LINK: u32 = 0o120_000;

impl File {
    /// A regular file.
    #[must_use]
    pub fn new(bytes: Vec<u8>, permissions: u32) -> File {
        let content = match String::from_utf8(bytes) {
            Ok(text) => Content::Text(text),
            Err(error) => Content::Bytes(error.into_bytes()),
        };
        File { mode: REGULAR | permissions & 0o7777, mtime: None, ctime: None, content }
    }

    /// The bytes of a regular file.
    #[must_use]
    pub fn bytes(&self) -> Option<Cow<'_, [u8]>> {
        match &self.content {
            Content::Text(text) => Some(Cow::Borrowed(text.as_bytes())),
            Content::Bytes(bytes) => Some(Cow::Borrowed(bytes)),
            Content::Json(value) => Some(Cow::Owned(value.to_string().into_bytes())),
            Content::Directory | Content::Link(_) => None,
        }
    }

    fn read(place: &Place<'_>, mut entry: Object<'_>) -> Result<File, JobspecError> {
        let mode = entry.need("mode")?;
        let mode = mode.as_u64().and_then(|mode| u32::try_from(mode).ok());
        let mode = mode.ok_or_else(|| place.key("mode").error("expected the mode as a whole number"))?;
        let time = |place: &Place<'_>, value: Value| {
            value.as_f64().ok_or_else(|| place.error(format!("expected seconds, found {}", noun(&value))))
        };
        let mtime = entry.read("mtime", time)?;
        let ctime = entry.read("ctime", time)?;
        let size = entry.take("size");
        let encoding = entry.read("encoding", text)?;
        let data = entry.take("data");
        entry.close()?;
        let content = match mode & KIND_MASK {
            DIRECTORY if data.is_none() => Content::Directory,
            DIRECTORY => return place.key("data").fail("a directory has no data"),
            LINK => match data {
                Some(target) => Content::Link(kernel_text(&place.key("data"), target)?),
                None => return place.fail("`data` is missing: where the link points"),
            },
            REGULAR => contents(place, encoding.as_deref(), data)?,
            kind => return place.key("mode").fail(format!("{kind:#o} is no file, directory or link")),
        };
        let file = File { mode, mtime, ctime, content };
        match (size, file.bytes()) {
            (Some(size), Some(bytes)) if size.as_u64() != Some(bytes.len() as u64) => {
                place.key("size").fail(format!("{size} does not fit the data, which has {}", bytes.len()))
            }
            _ => Ok(file),
        }
    }
}

fn contents(place: &Place<'_>, encoding: Option<&str>, data: Option<Value>) -> Result<Content, JobspecError> {
    let at_data = place.key("data");
    match (encoding, data) {
        (None, None) => Ok(Content::Text(String::new())),
        (None, Some(value)) => Ok(Content::Json(value)),
        (Some("utf-8"), data) => {
            Ok(Content::Text(data.map(|data| text(&at_data, data)).transpose()?.unwrap_or_default()))
        }
        (Some("base64"), data) => {
            let digits = data.map(|data| text(&at_data, data)).transpose()?.unwrap_or_default();
            let bytes = BASE64.decode(digits).map_err(|error| at_data.error(error.to_string()))?;
            Ok(Content::Bytes(bytes))
        }
        (Some(other), _) => {
            place.key("encoding").fail(format!("`{other}` cannot be read; use utf-8 or base64"))
        }
    }
}

/// An archive: an object by path, or a list whose entries have a `path`.
pub(crate) fn read(place: &Place<'_>, value: Value) -> Result<Archive, JobspecError> {
    let mut archive = Archive::new();
    let mut add = |place: &Place<'_>, path: String, file: File| {
        if let Err(rule) = check_path(&path) {
            return place.fail(rule);
        }
        if archive.len() == FILES_MAX {
            return place.fail(format!("more than {FILES_MAX} files"));
        }
        match archive.insert(path, file) {
            None => Ok(()),
            Some(_) => place.fail("a second file with this path"),
        }
    };
    match value {
        Value::Object(map) => {
            for (path, entry) in map {
                let file = {
                    let place = place.key(&path);
                    File::read(&place, Object::open(&place, entry)?)?
                };
                add(place, path, file)?;
            }
        }
        Value::Array(entries) => {
            for (index, entry) in entries.into_iter().enumerate() {
                let place = place.item(index);
                let mut entry = Object::open(&place, entry)?;
                let path = text(&place.key("path"), entry.need("path")?)?;
                let file = File::read(&place, entry)?;
                add(&place, path, file)?;
            }
        }
        other => return place.fail(format!("expected an object of files, found {}", noun(&other))),
    }
    Ok(archive)
}

/// A path that stays inside the folder where files are unpacked.
fn check_path(path: &str) -> Result<(), String> {
    let inside =
        !path.contains('\0') && path.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
    if inside { Ok(()) } else { Err(format!("`{path}` is not a relative path without `..`")) }
}

impl Serialize for File {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if let Some(ctime) = &self.ctime {
            map.serialize_entry("ctime", ctime)?;
        }
        let encoding = match &self.content {
            Content::Directory => None,
            Content::Json(value) => {
                map.serialize_entry("data", value)?;
                None
            }
            Content::Link(target) => {
                map.serialize_entry("data", target)?;
                None
            }
            Content::Text(text) => {
                map.serialize_entry("data", text)?;
                Some(("utf-8", text.len()))
            }
            Content::Bytes(bytes) => {
                map.serialize_entry("data", &BASE64.encode(bytes))?;
                Some(("base64", bytes.len()))
            }
        };
        if let Some((encoding, _)) = encoding {
            map.serialize_entry("encoding", encoding)?;
        }
        map.serialize_entry("mode", &self.mode)?;
        if let Some(mtime) = &self.mtime {
            map.serialize_entry("mtime", mtime)?;
        }
        if let Some((_, size)) = encoding {
            map.serialize_entry("size", &size)?;
        }
        map.end()
    }
}
