//! `flurm archive`: files in the key-value store, for all nodes of an instance.

use crate::cmd::kvs;
use crate::face::Face;
use crate::failure::{FAILED, Failure};
use crate::{out, when};
use clap::Subcommand;
use flurm_client::Client;
use flurm_client::files::{self, FilesError, Put, Unpack};
use flurm_types::Timestamp;
use flurm_wire::files::{BadArchive, Entry, Index, MAIN, What};
use flurm_wire::kvs::PRIMARY;
use serde_json::json;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Keep files in the instance, for its nodes
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Create(Create),
    List(List),
    Extract(Extract),
    Remove(Remove),
}

#[derive(Debug, clap::Args)]
struct Which {
    /// The archive
    #[arg(short, long, value_name = "NAME", default_value = MAIN)]
    name: String,
    /// In the namespace of FLUX_KVS_NAMESPACE, if it is set, instead of the primary one
    #[arg(long)]
    no_force_primary: bool,
}

/// Put files and directories into an archive
#[derive(Debug, clap::Args)]
struct Create {
    #[command(flatten)]
    which: Which,
    /// Paths are below this directory
    #[arg(short = 'C', long, value_name = "DIR", default_value = ".", hide_default_value = true)]
    directory: PathBuf,
    /// Replace an archive that is there
    #[arg(long, conflicts_with = "append")]
    overwrite: bool,
    /// Add to an archive that is there; a file of the same path is replaced
    #[arg(long)]
    append: bool,
    /// Keep it over a restart of the instance (an instance with a state directory always does)
    #[arg(long)]
    preserve: bool,
    /// Print what is put there
    #[arg(short, long)]
    verbose: bool,
    /// Files; directories with all that is in them
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
}

/// Print what is in an archive
#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    which: Which,
    /// Permissions, sizes and times as well
    #[arg(short, long)]
    long: bool,
    /// As JSON, a line for each
    #[arg(long, conflicts_with = "long")]
    raw: bool,
    /// Only what matches: `*` `?` `[a-z]`, over whole paths
    pattern: Option<String>,
}

/// Write the files of an archive
#[derive(Debug, clap::Args)]
struct Extract {
    #[command(flatten)]
    which: Which,
    /// Below this directory
    #[arg(short = 'C', long, value_name = "DIR", default_value = ".", hide_default_value = true)]
    directory: PathBuf,
    /// Replace files that are there
    #[arg(long)]
    overwrite: bool,
    /// Wait until the archive is there, at most so long
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true, default_missing_value = "inf", value_parser = when::duration)]
    waitcreate: Option<f64>,
    /// Only print what would be written
    #[arg(short = 't', long)]
    list_only: bool,
    /// Print what is written
    #[arg(short, long)]
    verbose: bool,
    /// Only what matches: `*` `?` `[a-z]`, over whole paths
    pattern: Option<String>,
}

/// Forget an archive
#[derive(Debug, clap::Args)]
struct Remove {
    #[command(flatten)]
    which: Which,
    /// Do not mind if there is none
    #[arg(short, long)]
    force: bool,
}

impl Args {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        face.connected(async |client| match self.command {
            Command::Create(args) => args.run(face, &client).await,
            Command::List(args) => args.run(face, &client).await,
            Command::Extract(args) => args.run(face, &client).await,
            Command::Remove(args) => args.run(face, &client).await,
        })
    }
}

impl Which {
    fn namespace(&self, face: &Face) -> String {
        let named = if self.no_force_primary { kvs::of_environment(face) } else { None };
        named.unwrap_or_else(|| PRIMARY.to_owned())
    }

    async fn index(&self, face: &Face, client: &Client) -> Result<Index, Failure> {
        let index = files::index(client, &self.namespace(face), &self.name).await?;
        Ok(index.ok_or_else(|| FilesError::None(self.name.clone()))?)
    }
}

impl Create {
    async fn run(self, face: &Face, client: &Client) -> Result<u8, Failure> {
        let (namespace, name) = (self.which.namespace(face), &self.which.name);
        let how = match (self.append, self.overwrite) {
            (true, _) => Put::Append,
            (false, true) => Put::Replace,
            (false, false) => Put::New,
        };
        let found = files::find(&self.directory, &self.paths, |path| {
            crate::say!("warning: {path} is no file, directory or link: left out");
        })?;
        if self.verbose {
            print(found.iter().map(|found| &*found.path))?;
        }
        files::put(client, &namespace, name, how, &found).await?;
        Ok(0)
    }
}

impl List {
    async fn run(self, face: &Face, client: &Client) -> Result<u8, Failure> {
        let index = self.which.index(face, client).await?.select(self.pattern.as_deref());
        let mut out = out::stdout();
        for entry in &index.entries {
            match (self.raw, self.long) {
                (true, _) => writeln!(out, "{}", raw(entry))?,
                (false, true) => writeln!(out, "{}", long(entry))?,
                (false, false) => writeln!(out, "{}", entry.path)?,
            }
        }
        out.flush()?;
        Ok(0)
    }
}

impl Extract {
    async fn run(self, face: &Face, client: &Client) -> Result<u8, Failure> {
        let (namespace, name) = (self.which.namespace(face), &self.which.name);
        let index = match self.waitcreate {
            None => self.which.index(face, client).await?,
            Some(limit_s) => {
                let index = files::awaited(client, &namespace, name);
                match Duration::try_from_secs_f64(limit_s) {
                    Ok(limit) => tokio::time::timeout(limit, index).await.map_err(|_| {
                        Failure::new(format!("archive `{name}` has not come within {limit_s} s"))
                    })??,
                    // It has no end.
                    Err(_) => index.await?,
                }
            }
        };
        let index = index.select(self.pattern.as_deref());
        if index.entries.is_empty()
            && let Some(pattern) = &self.pattern
        {
            return Err(Failure::new(format!("nothing in archive `{name}` matches `{pattern}`")).code(FAILED));
        }
        if self.list_only || self.verbose {
            print(index.entries.iter().map(|entry| &*entry.path))?;
        }
        if self.list_only {
            return Ok(0);
        }
        extract(client, &namespace, name, index, &self.directory, self.overwrite).await?;
        Ok(0)
    }
}

async fn extract(
    client: &Client,
    namespace: &str,
    name: &str,
    index: Index,
    dir: &Path,
    overwrite: bool,
) -> Result<(), FilesError> {
    let mut unpack = Unpack::begin(dir, name, index, overwrite)?;
    for piece in unpack.pieces() {
        let packed = files::piece(client, namespace, name, unpack.index(), piece).await?;
        unpack.take(piece, &files::plain(name, &packed)?)?;
    }
    unpack.end()
}

impl Remove {
    async fn run(self, face: &Face, client: &Client) -> Result<u8, Failure> {
        let (namespace, name) = (self.which.namespace(face), &self.which.name);
        let there = match files::index(client, &namespace, name).await {
            Ok(index) => index.is_some(),
            // What cannot be read can still be removed.
            Err(FilesError::Bad { source, .. }) if !matches!(source, BadArchive::Name(_)) => true,
            Err(error) => return Err(error.into()),
        };
        if !there && !self.force {
            return Err(FilesError::None(name.clone()).into());
        }
        files::remove(client, &namespace, name).await?;
        Ok(0)
    }
}

fn print<'a>(paths: impl Iterator<Item = &'a str>) -> Result<(), Failure> {
    let mut out = out::stdout();
    for path in paths {
        writeln!(out, "{path}")?;
    }
    out.flush()?;
    Ok(())
}

/// As `ls -l` and `tar -tv` have it.
fn long(entry: &Entry) -> String {
    let (kind, size, target) = match &entry.what {
        What::File { size, .. } => ('-', *size, String::new()),
        What::Dir => ('d', 0, String::new()),
        What::Link { target } => ('l', 0, format!(" -> {target}")),
    };
    let bits = "rwxrwxrwx".chars().enumerate();
    let mode: String =
        bits.map(|(at, letter)| if entry.mode >> (8 - at) & 1 == 1 { letter } else { '-' }).collect();
    let time = when::zoned(Timestamp(entry.mtime.div_euclid(1000))).strftime("%Y-%m-%d %H:%M");
    format!("{kind}{mode} {size:>10} {time} {}{target}", entry.path)
}

/// As RFC 37 has it, without the contents.
fn raw(entry: &Entry) -> serde_json::Value {
    let kind = match &entry.what {
        What::File { .. } => 0o100_000,
        What::Dir => 0o040_000,
        What::Link { .. } => 0o120_000,
    };
    let mut object = json!({
        "version": 1,
        "path": entry.path,
        "mode": kind | entry.mode,
        "mtime": entry.mtime.div_euclid(1_000_000_000),
    });
    match &entry.what {
        What::File { size, .. } => object["size"] = (*size).into(),
        What::Link { target } => object["data"] = target.as_str().into(),
        What::Dir => {}
    }
    object
}

impl From<FilesError> for Failure {
    fn from(error: FilesError) -> Failure {
        let failure = Failure::new(error.to_string());
        match error {
            FilesError::Client(error) => error.into(),
            FilesError::Bad { source: BadArchive::Path(_), .. } => {
                failure.hint("paths begin in a directory: -C DIR")
            }
            FilesError::Bad { source: BadArchive::TooLarge, .. } => failure.hint(
                "the leader keeps archives in its memory; large data lie better in a shared file system",
            ),
            FilesError::Exists { .. } => failure.hint("--overwrite replaces it"),
            FilesError::There(_) => failure.hint("--overwrite replaces it, --append adds to it"),
            FilesError::None(_) => failure.hint("flurm kvs ls archive"),
            FilesError::Bad { .. }
            | FilesError::Gone { .. }
            | FilesError::Damaged { .. }
            | FilesError::File { .. }
            | FilesError::Changed { .. }
            | FilesError::ThroughLink { .. } => failure,
        }
    }
}
