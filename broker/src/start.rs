//! `flurm start`, `flurm broker`: from options and environment to a running broker, and its exit code.

use std::path::PathBuf;

/// What `flurm start` was told.
#[derive(Debug, Clone, Default)]
pub struct StartArgs {
    /// `--test-size`: so many brokers on this host, as children of this process.
    pub test_size: Option<u32>,
    pub broker: BrokerArgs,
}

/// What one broker is told; `flurm broker` takes the same options as `flurm start` but `--test-size`.
#[derive(Debug, Clone, Default)]
pub struct BrokerArgs {
    /// `--config-path`: a TOML file, or a directory of them.
    pub config_path: Option<PathBuf>,
    /// `-S NAME=VALUE`, in order; the last one of a name wins.
    pub setattr: Vec<(String, String)>,
    /// The initial program; empty: the user's `$SHELL`.
    pub command: Vec<String>,
    /// `--rejoin`: take the place of the broker that ran in this directory. Everything else is then read from there.
    pub rejoin: Option<PathBuf>,
}

/// What `flurm doctor` was told.
#[derive(Debug, Clone, Default)]
pub struct DoctorArgs {
    pub config_path: Option<PathBuf>,
    pub setattr: Vec<(String, String)>,
}
