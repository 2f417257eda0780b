//! `flurm start`, `broker`, `doctor`: an instance, one broker of it, and the checks before either.

use crate::face::Face;
use crate::failure::{FAILED, Failure};
use flurm_broker::{BrokerArgs, DoctorArgs, StartArgs};
use std::path::PathBuf;

/// What is set before anything starts.
#[derive(Clone, Debug, clap::Args)]
struct Settings {
    /// Configuration: a TOML file, or a directory of them
    #[arg(short, long, value_name = "PATH")]
    config_path: Option<PathBuf>,
    /// Set an attribute of the brokers
    #[arg(short = 'S', long, value_name = "NAME=VALUE", value_parser = pair)]
    setattr: Vec<(String, String)>,
    /// Options of the brokers, joined by commas, as Flux has them: -o,-Stbon.fanout=16
    #[arg(short = 'o', long, value_name = "OPTION,…", alias = "broker-opt", allow_hyphen_values = true)]
    broker_opts: Vec<String>,
}

/// Names and values; the last one of a name wins.
pub type Attributes = Vec<(String, String)>;

impl Settings {
    /// The configuration, and attributes of both spellings; the ones by their own name win.
    fn attributes(self) -> Result<(Option<PathBuf>, Attributes), Failure> {
        let mut attributes = broker_attributes(&self.broker_opts)?;
        attributes.extend(self.setattr);
        Ok((self.config_path, attributes))
    }
}

/// What options of brokers, each a list with commas, set.
pub fn broker_attributes(options: &[String]) -> Result<Attributes, Failure> {
    let mut attributes = Vec::new();
    for option in options.iter().flat_map(|list| list.split(',')).filter(|o| !o.is_empty()) {
        let set = option.strip_prefix("-S").or_else(|| option.strip_prefix("--setattr="));
        let Some(set) = set else {
            return Err(Failure::usage(format!("brokers have no option `{option}`"))
                .hint("they take -SNAME=VALUE; FLURM_LOG=debug makes them say more"));
        };
        attributes.push(pair(set).map_err(|rule| Failure::usage(format!("`{option}`: {rule}")))?);
    }
    Ok(attributes)
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

/// Start an instance, with a program in it
///
/// Under srun, or another launcher that speaks PMI, each task becomes one broker. Alone it is an instance of one. The
/// program runs on rank 0 (without one: your shell); its end is the end of the instance, its code the exit code.
#[derive(Debug, clap::Args)]
pub struct Start {
    /// So many brokers on this machine, without a launcher
    #[arg(short = 's', long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    test_size: Option<u32>,
    #[command(flatten)]
    settings: Settings,
    /// When the program has ended, say what the instance did with its time: on standard error, or as a page in FILE
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true)]
    report: Option<Option<PathBuf>>,
    /// The initial program and its arguments
    #[arg(trailing_var_arg = true, value_name = "COMMAND")]
    command: Vec<String>,
}

impl Start {
    pub fn run(self, _face: &Face) -> Result<u8, Failure> {
        let (config_path, setattr) = self.settings.attributes()?;
        let command = match self.report {
            None => self.command,
            Some(page) => reported(page, self.command)?,
        };
        let broker = BrokerArgs { config_path, setattr, command, rejoin: None };
        Ok(code(flurm_broker::start(&StartArgs { test_size: self.test_size, broker })))
    }
}

/// The program that runs the program, and then tells of the instance.
fn reported(page: Option<PathBuf>, command: Vec<String>) -> Result<Vec<String>, Failure> {
    let text = |path: PathBuf| {
        path.into_os_string().into_string().map_err(|path| {
            Failure::usage(format!("{}: a path of the instance is text", path.to_string_lossy()))
        })
    };
    let own = std::env::current_exe().map_err(|e| Failure::new(format!("cannot find this program: {e}")))?;
    let mut words = vec![text(own)?, "report".to_owned(), "--after".to_owned()];
    if let Some(page) = page {
        words.push(format!("--html={}", text(page)?));
    }
    words.push("--".to_owned());
    words.extend(command);
    Ok(words)
}

/// One broker of an instance
#[derive(Debug, clap::Args)]
pub struct Broker {
    /// Take the place of the broker that ran in this directory
    #[arg(long, value_name = "RUNDIR", conflicts_with_all = ["config_path", "setattr", "broker_opts", "command"])]
    rejoin: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
    #[arg(trailing_var_arg = true, value_name = "COMMAND")]
    command: Vec<String>,
}

impl Broker {
    pub fn run(self, _face: &Face) -> Result<u8, Failure> {
        let (config_path, setattr) = self.settings.attributes()?;
        let args = BrokerArgs { config_path, setattr, command: self.command, rejoin: self.rejoin };
        Ok(code(flurm_broker::broker(&args)))
    }
}

/// Check whether an instance would start well here, and say what is wrong
#[derive(Debug, clap::Args)]
pub struct Doctor {
    #[command(flatten)]
    settings: Settings,
}

impl Doctor {
    pub fn run(self, _face: &Face) -> Result<u8, Failure> {
        let (config_path, setattr) = self.settings.attributes()?;
        Ok(code(flurm_broker::doctor(&DoctorArgs { config_path, setattr })))
    }
}

/// Exit codes have eight bits; what does not fit is a failure.
pub fn code(code: i32) -> u8 {
    u8::try_from(code).unwrap_or(FAILED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        settings: Settings,
    }

    #[test]
    fn attributes_come_in_every_spelling_that_sites_use() {
        let set = |words: &[&str]| {
            Line::try_parse_from([&["x"], words].concat()).unwrap().settings.attributes().map(|(_, set)| set)
        };
        for words in [
            &["-Sa.b=1"] as &[&str],
            &["-S", "a.b=1"],
            &["--setattr=a.b=1"],
            &["-o,-Sa.b=1"],
            &["-o", "-Sa.b=1"],
            &["--broker-opts=--setattr=a.b=1"],
        ] {
            assert_eq!(set(words), Ok(vec![("a.b".to_owned(), "1".to_owned())]), "{words:?}");
        }
        assert!(set(&["-o,-x"]).is_err());
        assert!(Line::try_parse_from(["x", "-Sa"]).is_err());
    }
}
