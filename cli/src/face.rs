//! Under which name we were called, and which instance the command speaks to.

use crate::failure::Failure;
use flurm_client::blocking;
use flurm_client::uri::{self, Level};
use flurm_client::{Client, ClientError, Uri};
use flurm_types::JobId;
use std::ffi::OsStr;
use std::path::Path;

/// What every command is given.
#[derive(Copy, Clone, Debug)]
pub struct Face {
    /// `flurm`, or `flux` when called through a link of that name.
    pub name: &'static str,
    pub level: Level,
}

impl Face {
    /// The name that the first word of the command line asks for.
    pub fn name(word: Option<&OsStr>) -> &'static str {
        let file = word.and_then(|word| Path::new(word).file_name());
        if file == Some(OsStr::new("flux")) { "flux" } else { "flurm" }
    }

    /// The name that this process was called by, for those who are given no face.
    pub fn own_name() -> &'static str {
        Face::name(std::env::args_os().next().as_deref())
    }

    /// Names of a variable that an instance sets twice, that one first which a user of our name sets.
    pub fn variables(&self, bare: &str) -> [String; 2] {
        let prefixes = if self.name == "flux" { ["FLUX", "FLURM"] } else { ["FLURM", "FLUX"] };
        prefixes.map(|prefix| format!("{prefix}_{bare}"))
    }

    /// The job around this command, if there is one.
    pub fn job(&self) -> Option<JobId> {
        self.variables("JOB_ID").iter().find_map(|name| std::env::var(name).ok()?.parse().ok())
    }

    /// Where our own instance is.
    pub fn uri(&self) -> Result<Uri, ClientError> {
        let [first, second] = self.variables("URI");
        Uri::from_environment([&first, &second])
    }

    /// A connection for commands that ask and are answered.
    pub fn connect(&self) -> Result<blocking::Client, Failure> {
        Ok(blocking::Client::connect_level(&self.uri()?, self.level)?)
    }

    /// A runtime with a connection, for commands that listen to several sources at once.
    pub fn connected<F>(&self, work: impl FnOnce(Client) -> F) -> Result<u8, Failure>
    where
        F: Future<Output = Result<u8, Failure>>,
    {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(ClientError::Runtime)?;
        let (own, level) = (self.uri()?, self.level);
        let result = runtime.block_on(async move { work(uri::connect(&own, level).await?).await });
        // A thread may still wait for standard input, and nothing it reads is wanted any more.
        runtime.shutdown_background();
        result
    }

    /// How messages of a tool begin, in the words that scripts match: `flux-job: …` when called as `flux`, else
    /// `flurm-job: …`.
    pub fn prefix(&self, tool: &str) -> String {
        format!("{}-{tool}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_called_flux_answers_as_flux() {
        for (word, name) in [
            ("flux", "flux"),
            ("/usr/bin/flux", "flux"),
            ("flurm", "flurm"),
            ("./flux-x", "flurm"),
            ("", "flurm"),
        ] {
            assert_eq!(Face::name(Some(OsStr::new(word))), name, "{word}");
        }
        assert_eq!(Face::name(None), "flurm");
        let flux = Face { name: "flux", level: Level::Own };
        assert_eq!(flux.prefix("job"), "flux-job");
        assert_eq!(flux.variables("URI"), ["FLUX_URI", "FLURM_URI"]);
        assert_eq!(Face { name: "flurm", ..flux }.variables("URI"), ["FLURM_URI", "FLUX_URI"]);
    }
}
