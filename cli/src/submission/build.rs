//! One set of options to one jobspec.

use super::{Given, Options, Place, Size, env, limits, slurm};
use crate::failure::Failure;
use crate::{attach, signals, when};
use flurm_jobspec::build::Builder;
use flurm_jobspec::{Dependency, File, Group, Jobspec, JobspecError, Placement, Share};
use flurm_shell::options as shell;
use flurm_types::{Constraint, Environment, Fsd, Hostlist};
use serde_json::{Value, json};
use std::sync::Arc;

/// Where a job's input comes from, if its options name no file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Stdin {
    Nothing,
    /// From us, while it runs.
    Ours,
}

/// The owner's alone.
const FILE_MODE: u32 = 0o600;

/// How long before the end a job is warned when nobody says.
const WARNING_SECS: f64 = 60.0;

/// Shell options that people join with commas, as Maestro does: such a list is taken apart where every piece is one.
const JOINABLE: &[&str] = &[
    "cpu-affinity",
    "gpu-affinity",
    "exit-timeout",
    "exit-on-error",
    "mpi",
    "pmi",
    "verbose",
    "pty",
    "nosetpgrp",
    "stage-in",
    "output.mode",
    "output.limit",
    "input.limit",
];

impl Options {
    /// The jobspec that these options describe.
    pub fn jobspec(&self, stdin: &Stdin) -> Result<Jobspec, Failure> {
        self.slurm.check()?;
        if self.command.is_empty() {
            return Err(Failure::usage("the program to run is missing")
                .hint("it stands behind the options, with its arguments"));
        }
        let size = &self.size.counts()?.worked_out()?;
        self.place.check_share(&self.command)?;
        if let (Some(nodes), Some(ntasks)) = (size.nodes, size.ntasks)
            && nodes > ntasks
            && ntasks > 0
        {
            return Err(Failure::usage(format!("more nodes ({nodes}) than tasks ({ntasks})"))
                .hint(format!("every node gets a task: -N{ntasks}, or -n{nodes}")));
        }
        let mut builder = Builder::new(self.command.clone()).exclusive(size.exclusive);
        if let Some(shape) = &self.size.shape {
            builder = builder.shape(shape.as_str());
        }
        type Set = fn(Builder, u32) -> Builder;
        let counts: [(Option<u32>, Set); 9] = [
            (size.nodes, Builder::nnodes),
            (size.nslots, Builder::nslots),
            (size.ntasks, Builder::ntasks),
            (size.cores_per_task, Builder::cores_per_task),
            (size.gpus_per_task, Builder::gpus_per_task),
            (size.cores, Builder::ncores),
            (size.tasks_per_node, Builder::tasks_per_node),
            (size.tasks_per_core, Builder::tasks_per_core),
            (size.gpus_per_node, Builder::gpus_per_node),
        ];
        for (count, set) in counts {
            if let Some(count) = count {
                builder = set(builder, count);
            }
        }
        builder = self.place.add_to(builder)?;
        builder = self.shell(self.streams(self.what(builder)?, stdin)?)?;
        // Last, so that what is set by its full name wins.
        for attribute in &self.what.setattr {
            let (path, value) = attribute_value(attribute)?;
            builder = builder.setattr(&path, &value);
        }
        let jobspec = builder.environment(self.environment()?).build().map_err(|e| failure(&e))?;
        let jobspec = self.chosen.modify(jobspec)?;
        self.check_tasks(&jobspec)?;
        Ok(jobspec)
    }

    fn environment(&self) -> Result<Arc<Environment>, Failure> {
        match &self.shared {
            Some(environment) => Ok(environment.clone()),
            None => Ok(Arc::new(self.rules.apply(&env::of_caller())?)),
        }
    }

    /// Works out the environment once for all jobs that are made of these options, where it is the same for them.
    pub fn share_environment(&mut self) -> Result<(), Failure> {
        if self.shared.is_none() && !self.rules.typed().iter().any(|rule| rule.contains('{')) {
            self.shared = Some(self.environment()?);
        }
        Ok(())
    }

    /// What the job's shells would refuse is better refused before there is a job.
    fn check_tasks(&self, jobspec: &Jobspec) -> Result<(), Failure> {
        let Some(request) = jobspec.request() else { return Ok(()) };
        let context = shell::Context {
            ntasks: request.ntasks,
            gpus_per_slot: request.gpus_per_slot,
            command: jobspec.command(),
        };
        shell::Options::read(&jobspec.attributes().shell_options, context)
            .map_err(|e| Failure::usage(e.to_string()))?;
        let ranks = self.input_ranks().filter(|ranks| *ranks != "all");
        let last = ranks.map(flurm_types::Idset::parse_relaxed).transpose()?.and_then(|ranks| ranks.last());
        match last {
            Some(last) if last >= request.ntasks => {
                Err(Failure::usage(format!("--input={}: there is no task {last}", ranks.unwrap_or_default()))
                    .hint(format!(
                        "the job's tasks are 0 to {}; a file is ./NAME",
                        request.ntasks.saturating_sub(1)
                    )))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn what(&self, mut builder: Builder) -> Result<Builder, Failure> {
        let what = &self.what;
        let cwd = match &what.cwd {
            Some(dir) => std::path::absolute(dir),
            None => std::env::current_dir(),
        };
        let cwd = cwd.map_err(|e| Failure::new(format!("cannot find the working directory: {e}")))?;
        let cwd = cwd.into_os_string().into_string().map_err(|dir| {
            Failure::new(format!("the directory {} is not UTF-8", dir.display())).hint("use --cwd=DIR")
        })?;
        builder = builder.cwd(cwd);
        if let Some(text) = &what.time_limit {
            builder = builder.duration(when::time_limit(text)?);
        }
        if let Some(name) = &what.job_name {
            builder = builder.name(name.as_str());
        }
        if let Some(queue) = &what.queue {
            builder = builder.queue(queue.as_str());
        }
        if let Some(bank) = &what.bank {
            builder = builder.bank(bank.as_str());
        }
        for query in &what.requires {
            builder = builder.constraint(Constraint::parse_query(query)?);
        }
        for text in &what.add_file {
            let (name, file) = file(text)?;
            builder = builder.file(name, &file);
        }
        for (name, file) in &self.files {
            builder = builder.file(name, file);
        }
        for text in &what.dependency {
            builder = builder.dependency(dependency(text, what.job_name.is_some())?);
        }
        if let Some(text) = &what.begin_time {
            let time = when::instant(text, when::now())?;
            builder = builder.dependency(Dependency::new("begin-time", time.to_string()));
        }
        Ok(builder)
    }

    fn streams(&self, mut builder: Builder, stdin: &Stdin) -> Result<Builder, Failure> {
        let io = &self.io;
        let files = [("stdout", "output", &io.output), ("stderr", "error", &io.error)];
        for (stream, option, template) in files {
            let Some(template) = template.as_ref().filter(|t| !matches!(t.as_str(), "none" | "kvs")) else {
                continue;
            };
            slurm::check_template(option, template)?;
            builder = builder
                .shell_option(&format!("output.{stream}.type"), "file".into())
                .shell_option(&format!("output.{stream}.path"), template.as_str().into());
            if io.label_io {
                builder = builder.shell_option(&format!("output.{stream}.label"), true.into());
            }
        }
        // Standard error that stays in the log while the output goes to a file.
        if io.output.is_some() && matches!(io.error.as_deref(), Some("none" | "kvs")) {
            builder = builder.shell_option("output.stderr.type", "kvs".into());
        }
        if let Some(archive) = &io.output_archive {
            slurm::check_template("output-archive", archive)?;
            builder = builder.shell_option("output.archive", archive.as_str().into());
        }
        if io.unbuffered {
            for stream in ["stdout", "stderr"] {
                builder = builder.shell_option(&format!("output.{stream}.buffer.type"), "none".into());
            }
        }
        Ok(match (self.input_file(), stdin) {
            (Some(file), _) => builder
                .shell_option("input.stdin.type", "file".into())
                .shell_option("input.stdin.path", file.into()),
            (None, Stdin::Ours) => builder.shell_option("input.stdin.type", "service".into()),
            (None, Stdin::Nothing) => builder,
        })
    }

    fn shell(&self, mut builder: Builder) -> Result<Builder, Failure> {
        let what = &self.what;
        if let Some(map) = &what.taskmap {
            let (scheme, value) = map.split_once(':').unwrap_or((map, ""));
            let hosts = if scheme == "hostfile" { Some(hosts_of(value)?) } else { None };
            let (scheme, value) = hosts.as_ref().map_or((scheme, value), |hosts| ("hosts", hosts));
            builder = builder.shell_option("taskmap.scheme", scheme.into());
            if !value.is_empty() {
                builder = builder.shell_option("taskmap.value", value.into());
            }
        }
        if let Some(text) = &what.signal {
            let (signum, left) = warning(text)?;
            builder = builder
                .shell_option("signal.signum", signum.into())
                .shell_option("signal.timeleft", json!(left));
        }
        // Most have it, and most jobs' files should not be larger for it.
        let umask = umask();
        if umask != 0o022 {
            builder = builder.shell_option("umask", format!("{umask:04o}").into());
        }
        let limits = limits::limits(&what.rlimit)?;
        if !limits.is_empty() {
            builder = builder.shell_option("rlimit", Value::Object(limits));
        }
        for option in what.setopt.iter().flat_map(|option| apart(option)) {
            let (name, value) = name_value(option);
            slurm::check_shell_option(name, option)?;
            builder = builder.shell_option(name, value);
        }
        // Programs ask for the size once, before anybody could tell them.
        if let Some(window) = attach::window().filter(|_| self.is_interactive()) {
            let size = shell::pty::Size { rows: window.rows, cols: window.cols };
            builder = builder.shell_option("pty.size", size.to_string().into());
        }
        Ok(builder)
    }

    /// Is somebody to type at a terminal of the job?
    fn is_interactive(&self) -> bool {
        self.what.setopt.iter().any(|option| option.split('=').next() == Some("pty.interactive"))
    }

    /// The file of `--input`; ranks of tasks are for `run`.
    pub fn input_file(&self) -> Option<&str> {
        self.io.input.as_deref().filter(|input| !is_ranks(input))
    }

    /// Ranks of `--input`, if it names tasks and no file.
    pub fn input_ranks(&self) -> Option<&str> {
        self.io.input.as_deref().filter(|input| is_ranks(input))
    }
}

/// The numbers of a size.
#[derive(Clone, Copy)]
pub(super) struct Counts {
    pub(super) nodes: Option<u32>,
    pub(super) ntasks: Option<u32>,
    pub(super) cores_per_task: Option<u32>,
    pub(super) gpus_per_task: Option<u32>,
    pub(super) exclusive: bool,
    pub(super) cores: Option<u32>,
    pub(super) tasks_per_node: Option<u32>,
    pub(super) tasks_per_core: Option<u32>,
    pub(super) gpus_per_node: Option<u32>,
    pub(super) nslots: Option<u32>,
}

impl Size {
    pub(super) fn counts(&self) -> Result<Counts, Failure> {
        let count = |option: &str, given: &Option<Given<u32>>| {
            given.as_ref().map(Given::get).transpose().map_err(|failure| failure.within(option))
        };
        Ok(Counts {
            nodes: count("--nodes", &self.nodes)?,
            ntasks: count("--ntasks", &self.ntasks)?,
            cores_per_task: count("--cores-per-task", &self.cores_per_task)?,
            gpus_per_task: count("--gpus-per-task", &self.gpus_per_task)?,
            exclusive: self.exclusive,
            cores: count("--cores", &self.cores)?,
            tasks_per_node: count("--tasks-per-node", &self.tasks_per_node)?,
            tasks_per_core: count("--tasks-per-core", &self.tasks_per_core)?,
            gpus_per_node: count("--gpus-per-node", &self.gpus_per_node)?,
            nslots: self.nslots,
        })
    }
}

impl Counts {
    /// Tasks in all and tasks on each node make a number of nodes, as Slurm has it.
    fn worked_out(self) -> Result<Counts, Failure> {
        let (Some(ntasks), Some(on_each @ 1..)) = (self.ntasks, self.tasks_per_node) else {
            return Ok(self);
        };
        let even = ntasks.checked_div(on_each).filter(|nodes| *nodes > 0 && nodes * on_each == ntasks);
        match even.filter(|nodes| self.nodes.is_none_or(|given| given == *nodes)) {
            Some(nodes) => Ok(Counts { nodes: Some(nodes), tasks_per_node: None, ..self }),
            None => Err(Failure::usage(match self.nodes {
                Some(nodes) => format!("{ntasks} tasks are not {on_each} on each of {nodes} nodes"),
                None => format!("{ntasks} tasks are not {on_each} on each of some nodes"),
            })
            .hint(format!("-N and -n share tasks out: -N{} -n{ntasks}", ntasks.div_ceil(on_each).max(1)))),
        }
    }
}

impl Place {
    /// `--spread 1/2 true`: what was meant as a value has become the program.
    fn check_share(&self, command: &[String]) -> Result<(), Failure> {
        let Some(first) = command.first().filter(|first| !std::path::Path::new(first).exists()) else {
            return Ok(());
        };
        let meant = match (self.spread.as_deref(), self.cosched.as_deref()) {
            (Some(""), _) if first.parse::<Share>().is_ok() => "spread",
            (_, Some("")) if first.contains(':') && first.parse::<Group>().is_ok() => "cosched",
            _ => return Ok(()),
        };
        Err(Failure::usage(format!("`{first}` would be the program")).hint(format!("--{meant}={first}")))
    }

    /// As attributes, each word checked here so that the answer names the option.
    fn add_to(&self, mut builder: Builder) -> Result<Builder, Failure> {
        let option = |option: &str, rule: String| Failure::usage(format!("--{option}: {rule}"));
        if let Some(word) = self.placement.as_ref().filter(|word| *word != "cosched") {
            let placement: Placement = word.parse().map_err(|rule| option("placement", rule))?;
            builder = builder.setattr("system.placement", &placement.to_string().into());
        }
        if let Some(share) = &self.spread {
            let share = if share.is_empty() { Ok(Share::HALF) } else { share.parse() };
            let placement = Placement::Spread(share.map_err(|rule| option("spread", rule))?);
            builder = builder.setattr("system.placement", &placement.to_string().into());
        }
        let mut willing = match self.cosched.as_deref() {
            None if self.placement.as_deref() == Some("cosched") => Some(json!({})),
            None => None,
            Some("") => Some(json!({})),
            Some(text) => {
                let Group { name, size } = text.parse().map_err(|rule| option("cosched", rule))?;
                Some(json!({ "group": name, "size": size }))
            }
        };
        if let Some(class) = &self.cosched_class {
            willing.get_or_insert_with(|| json!({}))["class"] = class.as_str().into();
        }
        Ok(match willing {
            Some(willing) => builder.setattr("system.cosched", &willing),
            None => builder,
        })
    }
}

fn is_ranks(text: &str) -> bool {
    text == "all" || (!text.is_empty() && flurm_types::Idset::parse_relaxed(text).is_ok())
}

/// Has the job a terminal for who attaches?
pub fn is_interactive(jobspec: &Jobspec) -> bool {
    let Some(request) = jobspec.request() else { return false };
    let context = shell::Context {
        ntasks: request.ntasks,
        gpus_per_slot: request.gpus_per_slot,
        command: jobspec.command(),
    };
    let options = shell::Options::read(&jobspec.attributes().shell_options, context);
    options.is_ok_and(|options| options.pty.is_some_and(|pty| pty.interactive))
}

/// What a jobspec's error means to who typed the options.
pub fn failure(error: &JobspecError) -> Failure {
    // Rules of the options have no place in the document.
    if error.path == "." {
        Failure::usage(error.rule.clone())
    } else {
        Failure::usage(format!("cannot {error}"))
    }
}

/// `NAME[=VALUE]`; the value is JSON where it can be, and 1 when there is none.
fn name_value(text: &str) -> (&str, Value) {
    match text.split_once('=') {
        None => (text, Value::from(1)),
        Some((name, value)) => (name, json_or_text(value)),
    }
}

fn json_or_text(value: &str) -> Value {
    serde_json::from_str(value).unwrap_or_else(|_| Value::from(value))
}

/// `NAME[=VALUE]`, or `^NAME=FILE` for JSON in a file.
fn attribute_value(text: &str) -> Result<(String, Value), Failure> {
    let Some(rest) = text.strip_prefix('^') else {
        let (name, value) = name_value(text);
        return Ok((name.to_owned(), value));
    };
    let (name, file) =
        rest.split_once('=').ok_or_else(|| Failure::usage(format!("`{text}` is not ^NAME=FILE")))?;
    let read = std::fs::read_to_string(file).map_err(|e| Failure::new(format!("cannot read {file}: {e}")))?;
    let value = serde_json::from_str(&read).map_err(|e| Failure::new(format!("{file} is no JSON: {e}")))?;
    Ok((name.to_owned(), value))
}

/// Pieces of `a=1,b=2` if each of them is an option that we know.
fn apart(option: &str) -> Vec<&str> {
    let pieces: Vec<&str> = option.split(',').collect();
    let known = |piece: &&str| JOINABLE.contains(&piece.split('=').next().unwrap_or(piece));
    if pieces.len() > 1 && pieces.iter().all(known) { pieces } else { vec![option] }
}

/// `[NAME[:MODE]=]ARG`: a file to send along under its name.
fn file(text: &str) -> Result<(String, File), Failure> {
    let (named, source) = match text.split_once('=') {
        // A newline before the first `=` is in the text itself.
        Some((named, source)) if !named.contains('\n') => (Some(named), source),
        _ => (None, text),
    };
    let (name, mode) = match named {
        None => (None, FILE_MODE),
        Some(named) => match named.rsplit_once(':') {
            None => (Some(named), FILE_MODE),
            Some((name, mode)) => match u32::from_str_radix(mode, 8) {
                Ok(mode) if mode <= 0o7777 => (Some(name), mode),
                _ => {
                    return Err(
                        Failure::usage(format!("`{mode}` is no mode")).hint("four octal digits, as 0700")
                    );
                }
            },
        },
    };
    if source.contains('\n') {
        let name = name.ok_or_else(|| {
            Failure::usage("a text to send along needs a name").hint("--add-file=NAME=TEXT")
        })?;
        return Ok((name.to_owned(), File::new(source.as_bytes().to_vec(), mode)));
    }
    let bytes = std::fs::read(source).map_err(|e| Failure::new(format!("cannot read {source}: {e}")))?;
    let base = std::path::Path::new(source).file_name().and_then(|base| base.to_str());
    let name = name.or(base).ok_or_else(|| Failure::usage(format!("`{source}` is no file")))?;
    if matches!(name, "script" | "conf.json") {
        return Err(
            Failure::usage(format!("the name `{name}` is taken by batch jobs")).hint("choose another one")
        );
    }
    Ok((name.to_owned(), File::new(bytes, mode)))
}

/// Ours. It can only be read by changing it, and nobody else makes files here meanwhile.
fn umask() -> u32 {
    use rustix::{fs::Mode, process::umask};
    let own = umask(Mode::empty());
    umask(own);
    own.bits()
}

/// The hosts of `--taskmap=hostfile:FILE`: names or lists of names, over as many lines as one likes.
fn hosts_of(file: &str) -> Result<String, Failure> {
    let text = std::fs::read_to_string(file)
        .map_err(|e| Failure::new(format!("cannot read {file}: {e}")).hint("--taskmap=hostfile:FILE"))?;
    let mut all = Hostlist::default();
    for word in
        text.lines().map(|line| line.split('#').next().unwrap_or_default()).flat_map(str::split_whitespace)
    {
        let hosts: Hostlist = word.parse().map_err(|e| Failure::new(format!("{file}: `{word}`: {e}")))?;
        hosts.iter().for_each(|host| all.push(host.as_str()));
    }
    if all.is_empty() {
        return Err(Failure::new(format!("{file} names no host")));
    }
    Ok(all.to_string())
}

/// `[SIGNAL][@TIME]` as a signal and seconds before the end.
fn warning(text: &str) -> Result<(i32, f64), Failure> {
    let (name, time) = text.split_once('@').map_or((text, None), |(name, time)| (name, Some(time)));
    let bad = |rule: String| {
        Failure::usage(format!("cannot read --signal={text}: {rule}")).hint("for example --signal=USR1@60s")
    };
    let signum = if name.is_empty() { Ok(libc::SIGUSR1) } else { signals::parse(name) };
    let left = match time {
        None => Ok(WARNING_SECS),
        Some(time) => time.parse::<Fsd>().map(Fsd::as_secs).map_err(|e| e.rule.into_owned()),
    };
    match (signum, left) {
        (Ok(signum), Ok(left)) if left > 0.0 && left.is_finite() => Ok((signum, left)),
        (Err(rule), _) | (_, Err(rule)) => Err(bad(rule)),
        _ => Err(bad("the time is above zero".to_owned())),
    }
}

/// `SCHEME:VALUE[?KEY=VALUE&…]`.
fn dependency(text: &str, named: bool) -> Result<Dependency, Failure> {
    if text == "singleton" || text == "singleton:" {
        if !named {
            return Err(Failure::usage("a singleton is known by its name").hint("add --job-name=NAME"));
        }
        return Ok(Dependency::new("singleton", ""));
    }
    let Some((scheme, rest)) = text.split_once(':') else {
        return Err(Failure::usage(format!("`{text}` is no dependency")).hint(
            "for example --dependency=afterok:ID; afterany, afternotok, afterstart, afterexcept, singleton",
        ));
    };
    let (value, options) = rest.split_once('?').unwrap_or((rest, ""));
    if scheme.starts_with("after") && value.contains([':', ',']) {
        return Err(Failure::usage(format!("`{value}` is not one job")).hint("repeat --dependency for each"));
    }
    let mut dependency = Dependency::new(scheme, value);
    for pair in options.split(['&', ';']).filter(|pair| !pair.is_empty()) {
        let (key, value) = name_value(pair);
        dependency.options.insert(key.to_owned(), value);
    }
    Ok(dependency)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn jobspec(words: &[&str]) -> Result<Value, Failure> {
        let line = Line::parse_from([&["x"], words].concat());
        let text = line.options.jobspec(&Stdin::Nothing)?.to_json_without_environment();
        Ok(serde_json::from_str(&text).unwrap())
    }

    #[test]
    fn options_end_up_where_the_jobspec_has_them() {
        for (words, pointer, value) in [
            (&["-n4", "a"] as &[&str], "/resources/0/count", json!(4)),
            (&["-N2", "-n4", "-c3", "a"], "/resources/0/with/0/with/0/count", json!(3)),
            (&["-n4", "--ntasks-per-node=2", "a"], "/resources/0/count", json!(2)),
            (&["-n4", "--ntasks-per-node=2", "-c3", "a"], "/resources/0/with/0/count", json!(2)),
            (&["--cpus-per-task=3", "a"], "/resources/0/with/0/count", json!(3)),
            (&["-t", "30", "a"], "/attributes/system/duration", json!(1800.0)),
            (&["--time=1:00:00", "a"], "/attributes/system/duration", json!(3600.0)),
            (&["--job-name=x", "a"], "/attributes/system/job/name", json!("x")),
            (&["--cwd=/tmp", "a"], "/attributes/system/cwd", json!("/tmp")),
            (&["--setattr=cwd=/tmp", "a"], "/attributes/system/cwd", json!("/tmp")),
            (&["-S", "user.tag=7", "a"], "/attributes/user/tag", json!(7)),
            (&["--requires=rank:3", "a"], "/attributes/system/constraints/ranks/0", json!("3")),
            (&["--dependency=afterok:ƒ2", "a"], "/attributes/system/dependencies/0/scheme", json!("afterok")),
            (&["-o", "pmi=off", "a"], "/attributes/system/shell/options/pmi", json!("off")),
            (&["-opmi=off,verbose", "a"], "/attributes/system/shell/options/verbose", json!(1)),
            (&["-o", "pmi=pmi1,pmi2", "a"], "/attributes/system/shell/options/pmi", json!("pmi1,pmi2")),
            (
                &["--output=o.{{id}}", "-l", "a"],
                "/attributes/system/shell/options/output/stdout",
                json!({ "label": true, "path": "o.{{id}}", "type": "file" }),
            ),
            (&["--input=/in", "a"], "/attributes/system/shell/options/input/stdin/path", json!("/in")),
            (
                &["--signal=TERM@2m", "a"],
                "/attributes/system/shell/options/signal",
                json!({ "signum": 15, "timeleft": 120.0 }),
            ),
            (&["--rlimit=core=0", "a"], "/attributes/system/shell/options/rlimit/core", json!(0)),
            (&["--taskmap=cyclic:2", "a"], "/attributes/system/shell/options/taskmap/value", json!("2")),
            (
                &["--add-file=a.sh:0700=#!/bin/sh\nls", "a"],
                "/attributes/system/files/a.sh/data",
                json!("#!/bin/sh\nls"),
            ),
            (&["sh", "-c", "x", "-n9"], "/tasks/0/command", json!(["sh", "-c", "x", "-n9"])),
            (&["--", "-odd"], "/tasks/0/command/0", json!("-odd")),
        ] {
            let jobspec = jobspec(words).unwrap_or_else(|e| panic!("{words:?}: {e:?}"));
            assert_eq!(jobspec.pointer(pointer), Some(&value), "{words:?}: {jobspec}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_a_word_on_why() {
        for (words, text) in [
            (&["-N4", "-n2", "a"] as &[&str], "more nodes (4) than tasks (2)"),
            (&["-n3", "--tasks-per-node=2", "a"], "3 tasks are not 2 on each of some nodes"),
            (&["-N4", "-n4", "--tasks-per-node=2", "a"], "4 tasks are not 2 on each of 4 nodes"),
            (&["-c2", "--tasks-per-node=2", "a"], "exclude each other"),
            (&["--spread", "1/2", "true"], "`1/2` would be the program"),
            (&["--cosched", "a:2", "true"], "`a:2` would be the program"),
            (&["-x", "a"], "exclusive needs"),
            (&["-n0", "a"], "at least 1"),
            (&["-t", "soon", "a"], "time limit `soon`"),
            (&["--dependency=afterok:1:2", "a"], "not one job"),
            (&["--dependency=afterok:zzz0", "a"], "zzz0"),
            (&["--dependency=singleton", "a"], "known by its name"),
            (&["--signal=NOPE", "a"], "no such signal"),
            (&["--requires=(a", "a"], "`(` without `)`"),
            (&["-o", "exit-on-error=banana", "a"], "shell option `exit-on-error`: `banana`"),
            (&["-o", "no-such-option", "a"], "shell option `no-such-option`: is not known here"),
            (&["-n4", "--input=2-12", "a"], "--input=2-12: there is no task 12"),
            (&["-o", "out.%j.txt", "a"], "no option of the job's shell"),
            (&["--mem=1G", "a"], "--mem is not taken here"),
            (&["--begin-time=whenever", "a"], "cannot read time"),
            (&["--add-file=/no/such", "a"], "cannot read /no/such"),
            (&["--add-file=x:9=/dev/null", "a"], "no mode"),
        ] {
            let failure = jobspec(words).expect_err(text);
            assert!(failure.lines().0.contains(text), "{words:?}: {failure:?}");
        }
    }

    #[test]
    fn an_input_is_a_file_or_ranks() {
        let input = |word: &str| {
            let line = Line::parse_from(["x", word, "a"]);
            (line.options.input_file().map(str::to_owned), line.options.input_ranks().map(str::to_owned))
        };
        assert_eq!(input("--input=0-3"), (None, Some("0-3".into())));
        assert_eq!(input("--input=all"), (None, Some("all".into())));
        assert_eq!(input("--input=./0"), (Some("./0".into()), None));
    }
}
