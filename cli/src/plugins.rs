//! Plug-ins of the command line: programs of the user's that add options to the commands that submit, and change jobspecs.
//!
//! A plug-in is an executable, or a Python file, in a folder of the plug-in path. It is asked twice: `PLUGIN describe`
//! prints which options it adds, `PLUGIN modify` gets a jobspec on standard input and prints it changed. Both speak JSON
//! (`docs/cli.md`). Where there is no plug-in nothing is started.

use crate::failure::Failure;
use clap::{Arg, ArgAction, ArgMatches};
use flurm_jobspec::Jobspec;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

/// The version of what is said to plug-ins.
const VERSION: u32 = 1;

/// How long a plug-in may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of an answer: a jobspec, with the files in it.
const ANSWER_LEN_MAX: usize = 16 << 20;
/// Plug-ins that are looked at.
const PLUGINS_MAX: usize = 64;

/// Commands that have plug-ins' options.
pub const COMMANDS: [&str; 5] = ["run", "submit", "bulksubmit", "batch", "alloc"];

/// Folders, joined by colons.
const PATHS: [&str; 2] = ["FLURM_CLI_PLUGINPATH", "FLUX_CLI_PLUGINPATH"];

/// Built in under the names that their Python files had.
const BUILT_IN: [(&str, &str); 2] =
    [("alloc_type", "--placement, --alloc-type, --spread"), ("cosched", "--cosched, --cosched-class")];

/// A plug-in that has described itself.
#[derive(Debug)]
pub struct Plugin {
    name: String,
    path: PathBuf,
    about: Description,
}

#[derive(Debug, Default, Deserialize)]
struct Description {
    /// One line for `--list-plugins`.
    #[serde(default)]
    help: String,
    #[serde(default)]
    options: Vec<Choice>,
    /// It wants to see every jobspec, not only when one of its options is there.
    #[serde(default)]
    always: bool,
}

#[derive(Debug, Deserialize)]
struct Choice {
    name: String,
    /// What its value is called; none: it has no value.
    #[serde(default)]
    value: Option<String>,
    #[serde(default)]
    help: String,
}

#[derive(Debug, Deserialize)]
struct Answer {
    #[serde(default)]
    jobspec: Option<Value>,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    hint: Option<String>,
}

/// All plug-ins, and files in their folders that are none.
#[derive(Debug, Default)]
pub struct Plugins {
    command: String,
    all: Vec<Plugin>,
    others: Vec<(PathBuf, &'static str)>,
}

impl Plugins {
    /// Those of the plug-in path, for this command.
    pub fn load(command: &str) -> Result<Plugins, Failure> {
        Plugins::load_from(command, &folders())
    }

    fn load_from(command: &str, folders: &[PathBuf]) -> Result<Plugins, Failure> {
        let mut plugins = Plugins { command: command.to_owned(), ..Plugins::default() };
        for folder in folders {
            // A folder that is not there has no plug-ins.
            let Ok(entries) = std::fs::read_dir(folder) else { continue };
            let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
            files.sort();
            for path in files {
                plugins.add(path)?;
            }
        }
        Ok(plugins)
    }

    fn add(&mut self, path: PathBuf) -> Result<(), Failure> {
        let Some(name) = path.file_stem().and_then(|name| name.to_str()).map(str::to_owned) else {
            return Ok(());
        };
        let is_python = path.extension().is_some_and(|extension| extension == "py");
        let may_run = |path: &Path| {
            path.metadata()
                .is_ok_and(|about| about.is_file() && (is_python || about.permissions().mode() & 0o111 != 0))
        };
        // The first of a name is meant, as with programs.
        if name.starts_with('.') || self.all.iter().any(|known| known.name == name) || !may_run(&path) {
            return Ok(());
        }
        if is_python && std::fs::read_to_string(&path).is_ok_and(|text| text.contains("flux.cli.plugin")) {
            let why = if BUILT_IN.iter().any(|(built_in, _)| *built_in == name) {
                "what it does is built in"
            } else {
                "it is written for Flux's Python; one for here reads and prints JSON"
            };
            self.others.push((path, why));
            return Ok(());
        }
        if self.all.len() == PLUGINS_MAX {
            return Err(Failure::new(format!("more than {PLUGINS_MAX} plug-ins"))
                .hint(format!("{} names their folders", PATHS[0])));
        }
        let asked = json!({ "version": VERSION, "command": self.command });
        let answer = call(&name, &path, "describe", &asked)?;
        let about: Description = serde_json::from_slice(&answer)
            .map_err(|e| failure(&name, &path, format!("`describe` printed no description: {e}")))?;
        self.all.push(Plugin { name, path, about });
        Ok(())
    }

    /// The command whose options they add to.
    pub fn command(&self) -> &str {
        &self.command
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The command with their options.
    pub fn add_options(&self, mut command: clap::Command) -> Result<clap::Command, Failure> {
        for plugin in &self.all {
            for choice in &plugin.about.options {
                let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
                let is_name =
                    choice.name.len() > 1 && choice.name.chars().all(good) && !choice.name.starts_with('-');
                if !is_name {
                    return Err(plugin.failure(format!("`{}` is no name of an option", choice.name)));
                }
                let taken = |arg: &Arg| {
                    let aliases = arg.get_all_aliases().unwrap_or_default();
                    arg.get_long() == Some(&choice.name) || aliases.contains(&choice.name.as_str())
                };
                if command.get_arguments().any(taken) {
                    return Err(plugin.failure(format!("there is an option --{} already", choice.name)));
                }
                let arg = Arg::new(kept(id(&choice.name))).long(kept(choice.name.clone()));
                let arg =
                    arg.help(choice.help.clone()).help_heading(kept(format!("Plug-in {}", plugin.name)));
                command = command.arg(match &choice.value {
                    None => arg.action(ArgAction::SetTrue),
                    Some(value) => {
                        arg.action(ArgAction::Set).value_name(kept(value.clone())).allow_hyphen_values(true)
                    }
                });
            }
        }
        Ok(command)
    }

    /// What was typed of their options.
    pub fn chosen(self: &Arc<Plugins>, matches: &ArgMatches) -> Chosen {
        let mut values = Map::new();
        for choice in self.all.iter().flat_map(|plugin| &plugin.about.options) {
            let id = id(&choice.name);
            let value = match &choice.value {
                None => matches.get_flag(&id).then_some(Value::Bool(true)),
                Some(_) => matches.get_one::<String>(&id).map(|text| Value::from(text.as_str())),
            };
            values.extend(value.map(|value| (choice.name.clone(), value)));
        }
        Chosen { plugins: self.clone(), values }
    }

    /// For `--list-plugins`.
    pub fn list(&self) -> String {
        let mut text = String::new();
        for (name, options) in BUILT_IN {
            text.push_str(&format!("{name:<16} built in: {options}\n"));
        }
        for Plugin { name, path, about } in &self.all {
            let options: Vec<String> =
                about.options.iter().map(|choice| format!("--{}", choice.name)).collect();
            let options = if options.is_empty() { "no options".to_owned() } else { options.join(", ") };
            text.push_str(&format!("{name:<16} {}: {options}\n", path.display()));
            if !about.help.is_empty() {
                text.push_str(&format!("{:<16} {}\n", "", about.help));
            }
        }
        for (path, why) in &self.others {
            text.push_str(&format!("{:<16} {}: {why}\n", "not used", path.display()));
        }
        text
    }
}

/// So that no option of ours has the same.
fn id(name: &str) -> String {
    format!("plugin.{name}")
}

/// clap wants names that live as long as the program, and these do: they are few, and read once.
fn kept(name: String) -> &'static str {
    name.leak()
}

/// Plug-ins, and what was typed of their options.
#[derive(Clone, Debug, Default)]
pub struct Chosen {
    plugins: Arc<Plugins>,
    values: Map<String, Value>,
}

impl Chosen {
    pub fn plugins(&self) -> &Arc<Plugins> {
        &self.plugins
    }

    /// Texts that were typed: places for inputs.
    pub fn texts(&mut self) -> impl Iterator<Item = &mut String> {
        self.values.values_mut().filter_map(|value| match value {
            Value::String(text) => Some(text),
            _ => None,
        })
    }

    /// What was typed of them, as it could be typed again.
    pub fn words(&self) -> Vec<String> {
        let word = |(name, value): (&String, &Value)| match value {
            Value::Bool(true) => vec![format!("--{name}")],
            Value::Bool(false) | Value::Null => Vec::new(),
            Value::String(text) => vec![format!("--{name}={text}")],
            Value::Array(all) => {
                all.iter().map(|v| format!("--{name}={}", v.as_str().unwrap_or_default())).collect()
            }
            Value::Number(_) | Value::Object(_) => vec![format!("--{name}={value}")],
        };
        self.values.iter().flat_map(word).collect()
    }

    /// The jobspec as each plug-in that has a part in it has left it.
    pub fn modify(&self, mut jobspec: Jobspec) -> Result<Jobspec, Failure> {
        for plugin in &self.plugins.all {
            let mut options = self.values.clone();
            options.retain(|name, _| plugin.about.options.iter().any(|choice| choice.name == *name));
            if options.is_empty() && !plugin.about.always {
                continue;
            }
            let document: Value = serde_json::from_str(&jobspec.to_json()).expect("we wrote it as JSON");
            let asked = json!({
                "version": VERSION,
                "command": self.plugins.command,
                "options": options,
                "jobspec": document,
            });
            let answer = call(&plugin.name, &plugin.path, "modify", &asked)?;
            let answer: Answer = serde_json::from_slice(&answer)
                .map_err(|e| plugin.failure(format!("`modify` printed no answer: {e}")))?;
            if let Some(error) = answer.error {
                let refused = Failure::usage(format!("plug-in {}: {error}", plugin.name));
                return Err(match answer.hint {
                    Some(hint) => refused.hint(hint),
                    None => refused,
                });
            }
            if let Some(changed) = answer.jobspec {
                jobspec = Jobspec::parse(&changed.to_string())
                    .map_err(|e| plugin.failure(format!("its jobspec is not valid: {e}")))?;
            }
        }
        Ok(jobspec)
    }
}

impl Plugin {
    fn failure(&self, text: String) -> Failure {
        failure(&self.name, &self.path, text)
    }
}

fn failure(name: &str, path: &Path, text: String) -> Failure {
    Failure::new(format!("plug-in {name}: {text}")).hint(format!("it is {}", path.display()))
}

/// Where plug-ins are looked for, in this order.
pub fn folders() -> Vec<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let mut folders: Vec<PathBuf> = Vec::new();
    for paths in PATHS.into_iter().filter_map(set) {
        folders.extend(std::env::split_paths(&paths).filter(|path| !path.as_os_str().is_empty()));
    }
    let home = set("XDG_CONFIG_HOME").map(PathBuf::from);
    let home = home.or_else(|| set("HOME").map(|home| PathBuf::from(home).join(".config")));
    folders.extend(home.map(|home| home.join("flurm/cli/plugins")));
    folders.push(PathBuf::from("/etc/flurm/cli/plugins"));
    folders
}

/// Asks a plug-in and gives what it has printed.
fn call(name: &str, path: &Path, verb: &str, asked: &Value) -> Result<Vec<u8>, Failure> {
    let failure = |text: String| failure(name, path, text);
    let is_program = path.metadata().is_ok_and(|about| about.permissions().mode() & 0o111 != 0);
    let mut command = if is_program {
        Command::new(path)
    } else {
        let mut python = Command::new("python3");
        python.arg(path);
        python
    };
    let until = Instant::now() + TIMEOUT;
    let command = command.arg(verb).stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
    let mut child = command.spawn().map_err(|e| failure(format!("cannot be started: {e}")))?;
    let mut input = child.stdin.take().expect("it is piped");
    let text = asked.to_string();
    std::thread::spawn(move || {
        // A plug-in need not read what it does not want to know.
        let _ = input.write_all(text.as_bytes());
    });
    let output = child.stdout.take().expect("it is piped");
    let (said, answer) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = output.take(ANSWER_LEN_MAX as u64 + 1).read_to_end(&mut bytes);
        // Who asked may have given up.
        let _ = said.send(read.map(|_| bytes));
    });
    let answer = match answer.recv_timeout(TIMEOUT) {
        Ok(Ok(answer)) if answer.len() > ANSWER_LEN_MAX => {
            Err(format!("`{verb}` printed more than {ANSWER_LEN_MAX} bytes"))
        }
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(e)) => Err(format!("cannot be read: {e}")),
        Err(_) => Err(format!("`{verb}` has not answered within {} s", TIMEOUT.as_secs())),
    };
    // It has closed its output, so it is about to end; or it hides what it still does.
    let ended = answer.and_then(|answer| match ends(&child, until) {
        Ok(true) => Ok(answer),
        Ok(false) => {
            Err(format!("`{verb}` has closed its output and not ended within {} s", TIMEOUT.as_secs()))
        }
        Err(e) => Err(format!("cannot be waited for: {e}")),
    });
    // What it has started ends with it. It is not reaped yet, so the group's number is still its own; that nobody is left
    // to be killed is no error.
    let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
    let status = child.wait().map_err(|e| format!("cannot be waited for: {e}"));
    let answer = ended.and_then(|answer| match status? {
        status if status.success() => Ok(answer),
        status => Err(format!("`{verb}` ended with {status}")),
    });
    answer.map_err(failure)
}

/// Is it over by then?
fn ends(child: &Child, until: Instant) -> std::io::Result<bool> {
    let over = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    let left = until.saturating_duration_since(Instant::now());
    let left = Timespec::try_from(left).expect("some seconds");
    let n = retry_on_intr(|| poll(&mut [PollFd::new(&over, PollFlags::IN)], Some(&left)))?;
    Ok(n > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plugin(dir: &Path, name: &str, mode: u32, text: &str) {
        let path = dir.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    const DESCRIBE: &str = r#"{"options":[{"name":"colour","value":"NAME","help":"x"},{"name":"loud"}]}"#;

    fn load(dir: &Path) -> Result<Plugins, Failure> {
        Plugins::load_from("submit", &[dir.to_owned(), "/no/such/folder".into()])
    }

    #[test]
    fn options_are_added_and_reach_the_plugin() {
        let dir = tempfile::tempdir().unwrap();
        let script = format!(
            "#!/bin/sh\ncase $1 in describe) echo '{DESCRIBE}';; modify) echo '{{\"error\":\"not today\"}}';; esac\n"
        );
        plugin(dir.path(), "paint", 0o755, &script);
        plugin(dir.path(), "README", 0o644, "no plug-in");
        plugin(dir.path(), "alloc_type.py", 0o644, "from flux.cli.plugin import CLIPlugin\n");
        let plugins = Arc::new(load(dir.path()).unwrap());
        let command = plugins.add_options(clap::Command::new("x")).unwrap();
        let matches = command.try_get_matches_from(["x", "--colour=red", "--loud"]).unwrap();
        let chosen = plugins.chosen(&matches);
        assert_eq!(Value::Object(chosen.values.clone()).to_string(), r#"{"colour":"red","loud":true}"#);
        let jobspec = || flurm_jobspec::build::Builder::new(vec!["true".to_owned()]).build().unwrap();
        assert_eq!(chosen.modify(jobspec()).unwrap_err().lines().0, "plug-in paint: not today");
        assert_eq!(Chosen::default().modify(jobspec()), Ok(jobspec()));
        let list = plugins.list();
        assert!(
            list.contains("paint") && list.contains("--colour, --loud") && list.contains("is built in"),
            "{list}"
        );
        let taken = clap::Command::new("x").arg(Arg::new("c").long("colour"));
        let failure = plugins.add_options(taken).unwrap_err();
        assert_eq!(failure.lines().0, "plug-in paint: there is an option --colour already");
    }

    #[test]
    fn one_that_closes_its_output_and_lives_on_is_not_waited_for_beyond_its_time() {
        let dir = tempfile::tempdir().unwrap();
        let text = "#!/bin/sh\necho '{\"options\":[]}'\nexec >&-\nexec sleep 600\n";
        plugin(dir.path(), "mute", 0o755, text);
        let failure = load(dir.path()).unwrap_err();
        let said = "plug-in mute: `describe` has closed its output and not ended within 10 s";
        assert_eq!(failure.lines().0, said);
    }

    #[test]
    fn what_a_plugin_leaves_behind_ends_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let text = "#!/bin/sh\nsleep 600 <&- >&- 2>&- &\necho $! > \"$0.pid\"\necho '{\"options\":[]}'\n";
        plugin(dir.path(), "parent", 0o755, text);
        load(dir.path()).unwrap();
        let pid = std::fs::read_to_string(dir.path().join("parent.pid")).unwrap().trim().parse().unwrap();
        if let Ok(left) = pidfd_open(Pid::from_raw(pid).unwrap(), PidfdFlags::empty()) {
            let limit = Timespec { tv_sec: 10, tv_nsec: 0 };
            let over = poll(&mut [PollFd::new(&left, PollFlags::IN)], Some(&limit)).unwrap();
            assert_eq!(over, 1, "{pid} lives on");
        }
    }

    #[test]
    fn what_a_plugin_does_wrong_is_said_with_its_name() {
        for (text, said) in [
            ("#!/bin/sh\nexit 3\n", "plug-in bad: `describe` ended with exit status: 3"),
            ("#!/bin/sh\necho nothing\n", "plug-in bad: `describe` printed no description"),
            ("#!/no/such/shell\n", "plug-in bad: cannot be started"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            plugin(dir.path(), "bad", 0o755, text);
            let failure = load(dir.path()).unwrap_err();
            assert!(failure.lines().0.starts_with(said), "{failure:?}");
            assert!(failure.lines().1.is_some_and(|hint| hint.ends_with("/bad")), "{failure:?}");
        }
    }
}
