//! Jobs that are instances (`flurm batch`, `flurm alloc`): one broker on each node, sizes in slots.

use super::env::EnvRules;
use super::slurm::Habits;
use super::{HEADING_CALL, HEADING_SIZE, Io, Options, Place, Size, What};
use crate::cmd::broker_attributes;
use crate::failure::Failure;
use crate::plugins::Chosen;
use flurm_broker::config::steps;
use flurm_jobspec::File;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// What `batch` and `alloc` share.
#[derive(Clone, Debug, clap::Args)]
pub struct Instance {
    #[command(flatten)]
    slots: Slots,
    #[command(flatten)]
    broker: Broker,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    pub what: What,
    #[command(flatten)]
    pub io: Io,
    #[command(flatten)]
    rules: EnvRules,
    #[command(flatten)]
    habits: Habits,
    /// Print the jobspec and submit nothing
    #[arg(long, alias = "dry", help_heading = HEADING_CALL)]
    pub dry_run: bool,
    /// Say less
    #[arg(long, help_heading = HEADING_CALL)]
    pub quiet: bool,
    /// Print the plug-ins of this command and the options that they add
    #[arg(long, help_heading = HEADING_CALL)]
    pub list_plugins: bool,
    /// Plug-ins, with their options
    #[arg(skip)]
    pub chosen: Chosen,
}

/// How large.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = HEADING_SIZE)]
struct Slots {
    /// Nodes to spread the slots over; alone: whole nodes
    #[arg(short = 'N', long, value_name = "N")]
    nodes: Option<u32>,
    /// Slots; needed unless -N is given
    #[arg(short, long, value_name = "N")]
    nslots: Option<u32>,
    /// Cores of each slot
    #[arg(short, long, value_name = "N")]
    cores_per_slot: Option<u32>,
    /// GPUs of each slot
    #[arg(short, long, value_name = "N")]
    gpus_per_slot: Option<u32>,
    /// Whole nodes; needs -N
    #[arg(short = 'x', long)]
    exclusive: bool,
}

/// What its brokers are told.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "The instance")]
struct Broker {
    /// Its configuration, step by step: a file, `KEY=VALUE`, JSON, TOML, or a name in ~/.config/flurm/config
    #[arg(long, value_name = "CONFIG")]
    conf: Vec<String>,
    /// An option of its brokers, such as -Stbon.fanout=16
    #[arg(long, value_name = "OPTION", alias = "broker-opt", allow_hyphen_values = true)]
    broker_opts: Vec<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "")]
    dump: Option<String>,
}

/// Attribute of an instance without an initial program.
pub const NO_PROGRAM: &str = "broker.rc2_none=1";

/// Files of such jobs; their names are taken.
const SCRIPT: &str = "script";
const CONFIG: &str = "conf.json";

/// The script is run; the configuration is read.
const SCRIPT_MODE: u32 = 0o700;
const CONFIG_MODE: u32 = 0o600;

impl Instance {
    /// For who does not say how large the job is.
    pub fn default_to_one_slot(&mut self) {
        if self.slots.nodes.is_none() {
            self.slots.nslots.get_or_insert(1);
        }
    }

    /// A job whose instance runs `script` with these arguments.
    pub fn batch(self, script: Vec<u8>, args: &[String]) -> Result<Options, Failure> {
        let program = [&[format!("{{{{tmpdir}}}}/{SCRIPT}")], args].concat();
        let mut options = self.options(&program, &[])?;
        options.files.push((SCRIPT.to_owned(), File::new(script, SCRIPT_MODE)));
        Ok(options)
    }

    /// A job whose instance runs `program`, the user's shell if it is empty; `attributes` are for its brokers.
    pub fn options(self, program: &[String], attributes: &[String]) -> Result<Options, Failure> {
        if self.broker.dump.is_some() {
            return Err(Failure::usage("--dump is not there yet").hint(
                "`flurm dump FILE` at the end of the script; --broker-opts=-Sstatedir=DIR keeps the instance's log",
            ));
        }
        let mut command = vec![own_name()?, "start".to_owned()];
        let set = broker_attributes(&self.broker.broker_opts)?;
        let set = set.into_iter().map(|(name, value)| format!("{name}={value}"));
        command.extend(set.chain(attributes.iter().cloned()).map(|set| format!("-S{set}")));
        let mut files = Vec::new();
        if !self.broker.conf.is_empty() {
            let vars =
                std::env::vars_os().filter_map(|(n, v)| Some((n.into_string().ok()?, v.into_string().ok()?)));
            let json = steps::to_json(&self.broker.conf, &vars.collect())
                .map_err(|mistake| Failure::usage(mistake.what).hint(mistake.hint))?;
            files.push((CONFIG.to_owned(), File::new(json.into_bytes(), CONFIG_MODE)));
            command.push(format!("--config-path={{{{tmpdir}}}}/{CONFIG}"));
        }
        if !program.is_empty() {
            command.push("--".to_owned());
            command.extend_from_slice(program);
        }
        let mut what = self.what;
        // Brokers end together, when the program of the first one does, however long that takes.
        what.setopt.insert(0, "exit-timeout=none".to_owned());
        Ok(Options {
            size: self.slots.size()?,
            place: self.place,
            what,
            io: self.io,
            rules: self.rules,
            slurm: self.habits,
            dry_run: self.dry_run,
            quiet: self.quiet,
            command,
            files,
            shared: None,
            list_plugins: false,
            chosen: self.chosen,
        })
    }
}

impl Slots {
    fn size(&self) -> Result<Size, Failure> {
        let Slots { nodes, nslots, cores_per_slot, gpus_per_slot, exclusive } = *self;
        let Some(count) = nslots.or(nodes) else {
            return Err(Failure::usage("the number of slots is missing")
                .hint("-n SLOTS, or -N NODES for whole nodes"));
        };
        if let Some(nodes) = nodes.filter(|nodes| *nodes > count && count > 0) {
            return Err(Failure::usage(format!("more nodes ({nodes}) than slots ({count})"))
                .hint(format!("every node has a slot: -N{count}, or -n{nodes}")));
        }
        Ok(Size {
            nodes: nodes.map(Into::into),
            nslots: Some(count),
            cores_per_task: cores_per_slot.map(Into::into),
            gpus_per_task: gpus_per_slot.map(Into::into),
            exclusive: exclusive || nslots.is_none(),
            ..Size::default()
        })
    }
}

/// How a node finds this program: by its name, if that is us, else by our path.
fn own_name() -> Result<String, Failure> {
    let own =
        std::env::current_exe().map_err(|e| Failure::new(format!("cannot find this program's file: {e}")))?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join("flurm")).find(|file| file.is_file());
    if is_same(found, &own) {
        return Ok("flurm".to_owned());
    }
    own.into_os_string()
        .into_string()
        .map_err(|own| Failure::new(format!("the path {} of this program is not UTF-8", own.display())))
}

fn is_same(found: Option<PathBuf>, own: &Path) -> bool {
    found
        .and_then(|found| found.canonicalize().ok())
        .is_some_and(|found| found.as_os_str() == own.as_os_str())
        && own.file_name() == Some(OsStr::new("flurm"))
}
