//! Where a broker listens: `local://PATH`, and where that is written down.

use crate::{Client, ClientError};
use flurm_wire::ErrorCode;
use std::path::{Path, PathBuf};

/// Address of a broker's socket on this host.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Uri {
    path: PathBuf,
}

/// A Unix socket's name has 108 bytes, the last one 0.
const PATH_LEN_MAX: usize = 107;

/// Instances nest; nobody nests this deep, so more is a circle.
const LEVELS_MAX: usize = 64;

impl Uri {
    /// # Errors
    /// Another scheme, or a path no socket can have.
    pub fn parse(text: &str) -> Result<Uri, ClientError> {
        let bad = |rule| ClientError::Uri { uri: text.to_owned(), rule };
        let Some(path) = text.strip_prefix("local://") else {
            return Err(bad(if text.contains("://") {
                "only local:// addresses can be reached from here"
            } else {
                "an address starts with local://"
            }));
        };
        if !path.starts_with('/') {
            return Err(bad("the path after local:// is absolute"));
        }
        if path.len() > PATH_LEN_MAX {
            return Err(bad("a socket path has at most 107 bytes"));
        }
        Ok(Uri { path: path.into() })
    }

    pub fn from_path(path: impl Into<PathBuf>) -> Uri {
        Uri { path: path.into() }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The instance this process belongs to: what the first of these variables says that is set. An instance sets
    /// both; they differ where a user has set one, and then it is the one of the name that the user knows.
    ///
    /// # Errors
    /// None is set, or it is no address.
    pub fn from_environment(names: [&str; 2]) -> Result<Uri, ClientError> {
        Uri::first_of(names, |name| std::env::var(name).ok())
    }

    fn first_of(names: [&str; 2], value: impl Fn(&str) -> Option<String>) -> Result<Uri, ClientError> {
        let mut set = names.into_iter().filter_map(|name| value(name).filter(|text| !text.is_empty()));
        Uri::parse(&set.next().ok_or(ClientError::NoInstance)?)
    }
}

impl std::fmt::Display for Uri {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "local://{}", self.path.display())
    }
}

/// Which instance, seen from this process.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub enum Level {
    /// Our own.
    #[default]
    Own,
    /// So many levels up.
    Parent(usize),
    /// The outermost one.
    Root,
}

/// Connect to the instance at `level`, seen from the one at `uri`, asking each one on the way for its parent.
///
/// # Errors
/// Nobody answers, or there are fewer levels than asked for.
pub async fn connect(uri: &Uri, level: Level) -> Result<Client, ClientError> {
    let mut client = Client::connect(uri).await?;
    let climb = match level {
        Level::Own => 0,
        Level::Parent(n) => n,
        Level::Root => LEVELS_MAX,
    };
    for _ in 0..climb {
        let parent = match crate::attr::get(&client, "parent-uri").await {
            Ok(uri) if !uri.is_empty() => uri,
            Ok(_) => String::new(),
            Err(e) if e.code() == Some(ErrorCode::NotFound) => String::new(),
            Err(e) => return Err(e),
        };
        if parent.is_empty() {
            if level == Level::Root {
                break;
            }
            return Err(flurm_wire::WireError::new(ErrorCode::NotFound, "this instance has no parent")
                .hint("it was not started by another instance; leave out --parent")
                .into());
        }
        client = Client::connect(&Uri::parse(&parent)?).await?;
    }
    Ok(client)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_absolute_local_addresses_are_taken() {
        assert_eq!(Uri::parse("local:///tmp/x/local").unwrap().path(), Path::new("/tmp/x/local"));
        for bad in
            ["", "/tmp/x", "local://tmp/x", "ssh://host/tmp/x", &format!("local:///{}", "x".repeat(107))]
        {
            assert!(matches!(Uri::parse(bad), Err(ClientError::Uri { .. })), "{bad}");
        }
    }

    #[test]
    fn the_first_variable_that_is_set_says_where() {
        let set = |name: &str| match name {
            "A" => Some("local:///a".to_owned()),
            "B" => Some("local:///b".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        let found = |names| Uri::first_of(names, set).map(|uri| uri.to_string()).ok();
        assert_eq!(found(["A", "B"]).as_deref(), Some("local:///a"));
        assert_eq!(found(["B", "A"]).as_deref(), Some("local:///b"));
        assert_eq!(found(["EMPTY", "A"]).as_deref(), Some("local:///a"));
        assert_eq!(found(["NONE", "EMPTY"]), None);
    }

    #[test]
    fn an_address_prints_as_it_was_written() {
        assert_eq!(Uri::parse("local:///tmp/x").unwrap().to_string(), "local:///tmp/x");
    }
}
