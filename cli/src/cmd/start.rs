//! `flurm start`, `broker`, `doctor`: an instance, one broker of it, and the checks before either.

use crate::face::Face;
use crate::failure::{FAILED, Failure};
use flurm_broker::config::steps;
use flurm_broker::{BrokerArgs, DoctorArgs, StartArgs};
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
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
    /// Its configuration, step by step: a file, `KEY=VALUE`, JSON, TOML, or a name in ~/.config/flurm/config; after
    /// --config-path
    #[arg(long, value_name = "CONFIG")]
    conf: Vec<String>,
    /// Show the command of the broker
    #[arg(short, long, value_name = "LEVEL", num_args = 0..=1, require_equals = true, default_missing_value = "1", action = clap::ArgAction::Append)]
    verbose: Vec<u8>,
    /// Only show the command of the broker
    #[arg(short = 'X', long)]
    noexec: bool,
    /// Begin the command of the broker with these words, joined by commas: a debugger, for example
    #[arg(long, value_name = "WORD,…", value_delimiter = ',', conflicts_with = "test_size")]
    wrap: Vec<String>,
    /// Answer the site's own Slurm commands inside: on, off, or auto, which is on where they are installed. Without this
    /// option auto in a Slurm job, off elsewhere
    #[arg(long, value_name = "WHEN", num_args = 0..=1, require_equals = true, default_missing_value = "on", value_parser = ["auto", "on", "off"])]
    slurm: Option<String>,
    /// The initial program and its arguments
    #[arg(trailing_var_arg = true, value_name = "COMMAND")]
    command: Vec<String>,
}

impl Start {
    pub fn run(self, _face: &Face) -> Result<u8, Failure> {
        let (config_path, mut setattr) = self.settings.attributes()?;
        setattr.extend(self.slurm.map(|when| ("slurm.service".to_owned(), when)));
        // It goes when we end, which is after all brokers that read it.
        let made =
            if self.conf.is_empty() { None } else { Some(Made::new(config_path.as_ref(), &self.conf)?) };
        let config_path = made.as_ref().map(|made| made.0.clone()).or(config_path);
        let command = match self.report {
            None => self.command,
            Some(page) => reported(page, self.command)?,
        };
        let broker = BrokerArgs { config_path, setattr, command, rejoin: None };
        if self.noexec || !self.verbose.is_empty() || !self.wrap.is_empty() {
            let program = super::uri::own_program()?.to_string_lossy().into_owned();
            let line = line(&self.wrap, program, &broker);
            if self.noexec || !self.verbose.is_empty() {
                let shown = shlex::try_join(line.iter().map(String::as_str))
                    .map_err(|_| Failure::usage("the command has a character that no shell takes"))?;
                crate::say!("{shown}");
            }
            if self.noexec {
                return Ok(0);
            }
            if !self.wrap.is_empty() {
                let mut command = std::process::Command::new(&line[0]);
                let status = command.args(&line[1..]).status();
                let status = status.map_err(|e| Failure::new(format!("cannot run {}: {e}", line[0])))?;
                return Ok(crate::out::exit_code(status.into_raw()));
            }
        }
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

/// The command that is one broker.
fn line(wrap: &[String], program: String, broker: &BrokerArgs) -> Vec<String> {
    let mut line = wrap.to_vec();
    line.extend([program, "broker".to_owned()]);
    line.extend(broker.config_path.iter().map(|path| format!("--config-path={}", path.display())));
    line.extend(broker.setattr.iter().map(|(name, value)| format!("-S{name}={value}")));
    if !broker.command.is_empty() {
        line.push("--".to_owned());
        line.extend(broker.command.iter().cloned());
    }
    line
}

/// A file with a configuration that was put together, until it is dropped.
struct Made(PathBuf);

impl Made {
    fn new(config_path: Option<&PathBuf>, conf: &[String]) -> Result<Made, Failure> {
        let first = match config_path {
            None => None,
            Some(dir) if dir.is_dir() => {
                return Err(Failure::usage(format!(
                    "--conf changes a file, and {} is a directory",
                    dir.display()
                ))
                .hint("put what --conf would say into a last file there"));
            }
            Some(file) => Some(file.display().to_string()),
        };
        let steps: Vec<String> = first.into_iter().chain(conf.iter().cloned()).collect();
        let vars =
            std::env::vars_os().filter_map(|(n, v)| Some((n.into_string().ok()?, v.into_string().ok()?)));
        let json = steps::to_json(&steps, &vars.collect())
            .map_err(|mistake| Failure::usage(mistake.what).hint(mistake.hint))?;
        let name = format!("flurm-conf-{}-{}.json", rustix::process::getuid().as_raw(), std::process::id());
        let path = std::env::temp_dir().join(name);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        file.and_then(|mut file| file.write_all(json.as_bytes()))
            .map_err(|e| Failure::new(format!("cannot write {}: {e}", path.display())))?;
        Ok(Made(path))
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        // Its owner's alone, and small: it may stay.
        let _ = std::fs::remove_file(&self.0);
    }
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
