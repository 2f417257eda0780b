//! `flurm config`: how the instance was configured, and where things lie.

use crate::face::Face;
use crate::failure::{FAILED, Failure};
use crate::out;
use crate::plugins;
use clap::ValueEnum;
use flurm_broker::config::Config;
use flurm_client::attr;
use flurm_types::Fsd;
use serde_json::Value;
use std::io::Write;
use std::path::PathBuf;

/// Look at the configuration of the instance
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Get(Get),
    Builtin(Builtin),
}

impl Args {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        match self.command {
            Command::Get(args) => args.run(face),
            Command::Builtin(args) => args.run(),
        }
    }
}

/// Print the configuration, or one value of it
#[derive(Debug, clap::Args)]
struct Get {
    /// Print this if nothing is configured there
    #[arg(short, long, value_name = "VALUE")]
    default: Option<String>,
    /// Fail unless the value is of this kind
    #[arg(short, long, value_enum)]
    r#type: Option<Kind>,
    /// Print nothing, only fail if there is no such value
    #[arg(short, long)]
    quiet: bool,
    /// Read these files instead: a TOML or JSON file, or a directory
    #[arg(short, long, value_name = "PATH")]
    config_path: Option<PathBuf>,
    /// Words with dots between: policy.limits.duration
    name: Option<String>,
}

/// What a value may be asked to be.
#[derive(Copy, Clone, Debug, ValueEnum)]
enum Kind {
    String,
    Integer,
    Real,
    Boolean,
    Object,
    Array,
    /// A duration
    Fsd,
    /// A duration, printed in seconds
    FsdReal,
    /// A duration, printed in whole seconds
    FsdInteger,
}

/// The attribute that has the configuration as JSON.
const ATTRIBUTE: &str = "config";

impl Get {
    fn run(self, face: &Face) -> Result<u8, Failure> {
        let all = match &self.config_path {
            Some(path) => {
                let config = Config::load(path).map_err(|m| Failure::new(m.what).hint(m.hint))?;
                Value::Object(config.source)
            }
            None => {
                let text = face.connect()?.run(async |client| attr::get(&client, ATTRIBUTE).await)?;
                let read = serde_json::from_str(&text);
                read.map_err(|e| Failure::new(format!("cannot read the attribute {ATTRIBUTE}: {e}")))?
            }
        };
        let name = self.name.as_deref().unwrap_or("");
        let found = name.split('.').filter(|word| !word.is_empty()).try_fold(&all, |at, word| at.get(word));
        let text = match (found, self.default) {
            (Some(value), _) => {
                self.r#type.map_or_else(|| Ok(shown(value)), |kind| kind.read(name, value))?
            }
            (None, Some(default)) => default,
            (None, None) if self.quiet => return Ok(FAILED),
            (None, None) => {
                return Err(Failure::new(format!("{name} is not configured"))
                    .hint("`flurm config get` prints all that is; --default=VALUE goes on without"));
            }
        };
        if !self.quiet {
            writeln!(out::stdout(), "{text}")?;
        }
        Ok(0)
    }
}

/// Text without quotes, all else as JSON.
fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

impl Kind {
    fn read(self, name: &str, value: &Value) -> Result<String, Failure> {
        let duration = || match value {
            Value::String(text) => text.parse::<Fsd>().ok().map(Fsd::as_secs),
            Value::Number(secs) => secs.as_f64().filter(|secs| *secs >= 0.0),
            _ => None,
        };
        let text = match self {
            Kind::String => value.is_string().then(|| shown(value)),
            Kind::Integer => (value.is_i64() || value.is_u64()).then(|| shown(value)),
            Kind::Real => value.is_number().then(|| shown(value)),
            Kind::Boolean => value.is_boolean().then(|| shown(value)),
            Kind::Object => value.is_object().then(|| shown(value)),
            Kind::Array => value.is_array().then(|| shown(value)),
            Kind::Fsd => duration().map(|_| shown(value)),
            Kind::FsdReal => duration().map(|secs| Value::from(secs).to_string()),
            Kind::FsdInteger => duration().map(|secs| format!("{}", secs.trunc())),
        };
        text.ok_or_else(|| {
            let kind = self.to_possible_value().map(|kind| kind.get_name().to_owned()).unwrap_or_default();
            Failure::new(format!("{name} is {value}, which is not of type {kind}"))
        })
    }
}

/// Print where things of this program lie
#[derive(Debug, clap::Args)]
struct Builtin {
    /// Just this one
    name: Option<String>,
}

impl Builtin {
    fn run(self) -> Result<u8, Failure> {
        let program = super::uri::own_program()?.to_string_lossy().into_owned();
        let path = |folders: Vec<PathBuf>| {
            folders.iter().map(|dir| dir.display().to_string()).collect::<Vec<_>>().join(":")
        };
        let all = [
            ("broker_path", program.clone()),
            ("cli_pluginpath", path(plugins::folders())),
            ("exec_path", path(super::external::folders())),
            ("pmi_library_path", flurm_shell::pmi_library().unwrap_or_default().to_owned()),
            ("shell_path", program),
        ];
        let mut out = out::stdout();
        match self.name {
            None => all.iter().try_for_each(|(name, value)| writeln!(out, "{name:<18}{value}"))?,
            Some(name) => match all.iter().find(|(known, _)| *known == name) {
                Some((_, value)) => writeln!(out, "{value}")?,
                None => {
                    return Err(Failure::new(format!("nothing here is called {name}"))
                        .hint("`flurm config builtin` prints all there is"));
                }
            },
        }
        Ok(0)
    }
}
