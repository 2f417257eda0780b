//! Archives of files in the key-value store ([`flurm_wire::files`]): put there, looked up, had piece by piece.
//!
//! Nothing here holds more than a piece and the index. Reading the files is in `pack`, writing them in `unpack`.

mod pack;
mod unpack;

pub use flurm_wire::files::BadArchive;
pub use pack::{Found, Put, find, put};
pub use unpack::Unpack;

use crate::{Client, ClientError, kvs};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use flurm_wire::ErrorCode;
use flurm_wire::fact::KvsOp;
use flurm_wire::files::{self, Index, PIECE_LEN, Piece};
use flurm_wire::kvs::{Got, Node};
use flurm_wire::pack as packing;
use serde_json::Value;

#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("there is no archive `{0}`")]
    None(String),
    #[error("archive `{0}` is there already")]
    There(String),
    #[error("archive `{name}` cannot be used: {source}")]
    Bad { name: String, source: BadArchive },
    #[error("archive `{name}` has no piece {piece} any more: somebody has changed it")]
    Gone { name: String, piece: u64 },
    #[error("a piece of archive `{name}` is damaged: {why}")]
    Damaged { name: String, why: String },
    #[error("{path}: {source}")]
    File { path: String, source: std::io::Error },
    #[error("{path}: it has changed while it was read")]
    Changed { path: String },
    #[error("{path}: it is there already")]
    Exists { path: String },
    #[error("{path}: a symbolic link leads elsewhere")]
    ThroughLink { path: String },
}

impl FilesError {
    pub(crate) fn file(path: &str, source: impl Into<std::io::Error>) -> FilesError {
        FilesError::File { path: path.to_owned(), source: source.into() }
    }

    pub(crate) fn bad(name: &str, source: BadArchive) -> FilesError {
        FilesError::Bad { name: name.to_owned(), source }
    }
}

/// What is in an archive; none: there is no such archive.
///
/// # Errors
/// It is no archive, or the connection is lost.
pub async fn index(client: &Client, namespace: &str, name: &str) -> Result<Option<Index>, FilesError> {
    files::check_name(name).map_err(|e| FilesError::bad(name, e))?;
    match kvs::get(client, namespace, &files::index_key(name)).await {
        Ok(got) => read_index(name, &got).map(Some),
        Err(error) if error.code() == Some(ErrorCode::NotFound) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The same, once it is there.
///
/// # Errors
/// As [`index`].
pub async fn awaited(client: &Client, namespace: &str, name: &str) -> Result<Index, FilesError> {
    files::check_name(name).map_err(|e| FilesError::bad(name, e))?;
    let mut answers = kvs::watch(client, namespace, &files::index_key(name), true).await?;
    while let Some(got) = answers.next().await? {
        if got.node.is_some() {
            return read_index(name, &got);
        }
    }
    Err(FilesError::None(name.to_owned()))
}

fn read_index(name: &str, got: &Got) -> Result<Index, FilesError> {
    match &got.node {
        Some(Node::Value(value)) => Index::read(value).map_err(|e| FilesError::bad(name, e)),
        Some(Node::Dir(_) | Node::Symlink(_)) | None => {
            Err(FilesError::bad(name, BadArchive::Json("it is no value".to_owned())))
        }
    }
}

/// A piece as it is kept; [`plain`] unpacks it.
///
/// # Errors
/// It is not there any more, or the connection is lost.
pub async fn piece(
    client: &Client,
    namespace: &str,
    name: &str,
    index: &Index,
    (run, piece): Piece,
) -> Result<Vec<u8>, FilesError> {
    let gone = || FilesError::Gone { name: name.to_owned(), piece };
    let run = index.runs.get(run).ok_or_else(gone)?;
    let got = match kvs::get(client, namespace, &files::piece_key(name, &run.id, piece)).await {
        Ok(got) => got,
        Err(error) if error.code() == Some(ErrorCode::NotFound) => return Err(gone()),
        Err(error) => return Err(error.into()),
    };
    let Some(Node::Value(Value::String(text))) = got.node else { return Err(gone()) };
    BASE64.decode(text).map_err(|error| FilesError::Damaged { name: name.to_owned(), why: error.to_string() })
}

/// The bytes of a piece.
///
/// # Errors
/// It is damaged.
pub fn plain(name: &str, packed: &[u8]) -> Result<Vec<u8>, FilesError> {
    let max = usize::try_from(PIECE_LEN).expect("a piece is small");
    let bytes = packing::unpack(packed, max)
        .map_err(|error| FilesError::Damaged { name: name.to_owned(), why: error.to_string() })?;
    Ok(bytes.into_owned())
}

/// All of it.
///
/// # Errors
/// The store refuses, or the connection is lost.
pub async fn remove(client: &Client, namespace: &str, name: &str) -> Result<(), FilesError> {
    files::check_name(name).map_err(|e| FilesError::bad(name, e))?;
    kvs::commit(client, namespace, vec![KvsOp::Unlink { key: files::key(name) }]).await?;
    Ok(())
}
