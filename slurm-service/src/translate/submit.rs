//! A request of `sbatch`, `salloc` or `srun` as jobs of ours.
//!
//! A batch job is an ordinary job: its R has all that was asked for, its one task runs the script on the first node. An
//! allocation is the same with a task that waits for the client's word. Steps are jobs within it.

use super::array::{self, Indices};
use super::dependency::{self, Waits};
use super::number::{given, given_u16, some_u16};
use super::part::{self, Kind, Part};
use super::pattern::{self, Named};
use super::refusal::Refusal;
use super::room::{self, Amount, Place};
use super::site::{Find, Site, SiteNode};
use super::size::{self, Size};
use super::{environment, feature, refused};
use flurm_client::job::NewJob;
use flurm_jobspec::{Dependency, File};
use flurm_slurm_protocol::structures::JobDescMsg;
use flurm_slurm_protocol::{INFINITE, NO_VAL64, Text, constants, errors};
use flurm_types::{Constraint, Environment, JobId};
use flurm_wire::job::SubmitFlags;
use serde_json::value::to_raw_value;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// The script's name among the files that travel with the job.
pub const SCRIPT: &str = "slurm_script";

/// The script's owner alone reads, writes and runs it.
const SCRIPT_MODE: u32 = 0o700;

/// What an allocation's task runs: it ends with the code that it is told, or when its input does.
const HOLD: &str = "read -r code; exit ${code:-0}";

/// Job names are texts of files and tables.
const NAME_BYTES_MAX: usize = 1024;

/// Urgencies of ours that Slurm's priorities and nice values come to.
mod urgency {
    pub const HOLD: u8 = 0;
    pub const LEAST: u8 = 1;
    pub const DEFAULT: u8 = 16;
    pub const MOST: u8 = 31;
}

/// What all jobs of a request have in common.
#[derive(Debug)]
pub struct Mould {
    document: Value,
    environment: Arc<Environment>,
    urgency: u8,
    indices: Option<Indices>,
    waits: Waits,
    files: Files,
    name: String,
    user: String,
    /// Its name, as the client is told.
    pub partition: String,
    pub part: Part,
}

/// File names with Slurm's signs in them.
#[derive(Debug)]
struct Files {
    input: Option<String>,
    output: Option<String>,
    error: Option<String>,
}

/// What `sbatch` sends.
///
/// # Errors
/// What cannot be honoured.
pub fn batch(desc: &JobDescMsg, site: &Site, find: Find<'_>) -> Result<Mould, Refusal> {
    let Some(script) = desc.script.get().filter(|script| !script.is_empty()) else {
        return Err(Refusal::new(errors::ESLURM_JOB_SCRIPT_MISSING, "there is no script"));
    };
    refused::bytes_of_script(desc)?;
    let mut mould = mould(desc, site, find, Kind::Batch)?;
    let system = mould.system();
    let file = serde_json::to_value(File::new(script.to_vec(), SCRIPT_MODE)).expect("texts and numbers");
    system.insert("files".to_owned(), json!({ SCRIPT: file }));
    let mut command: Vec<String> = Vec::new();
    let split = environment::split(desc, site, &mould.partition);
    if split.login {
        let known = ["sh", "bash", "zsh", "ksh", "dash"];
        let shell = site.owner.shell.as_str();
        let is_known = shell.rsplit('/').next().is_some_and(|name| known.contains(&name));
        let shell = if is_known { shell } else { "/bin/sh" };
        command.extend([shell, "-l", "-c", r#"exec "$0" "$@""#].map(str::to_owned));
    }
    command.push(format!("{{{{tmpdir}}}}/{SCRIPT}"));
    command.extend(desc.argv.iter().skip(1).map(|word| pattern::word(&word.lossy())));
    mould.command(&command);
    let mut options = Map::new();
    if !split.limits.is_empty() {
        options.insert("rlimit".to_owned(), Value::Object(split.limits));
    }
    if let Some(umask) = split.umask {
        options.insert("umask".to_owned(), umask.into());
    }
    if u32::from(desc.open_mode) == constants::OPEN_MODE_APPEND {
        options.insert("output".to_owned(), json!({ "mode": "append" }));
    }
    if let Some((signum, left)) = warning(desc) {
        if u32::from(desc.warn_flags) & constants::KILL_JOB_BATCH != 0 {
            let signal = json!({ "signum": signum, "timeleft": f64::from(left), "alone": true });
            options.insert("signal".to_owned(), signal);
        } else {
            mould.part.step_signal = Some((signum, left));
        }
    }
    mould.shell(options);
    mould.environment = Arc::new(split.environment);
    mould.part.environment = split.slurm;
    Ok(mould)
}

/// What `salloc` and `srun` send.
///
/// # Errors
/// What cannot be honoured.
pub fn allocation(desc: &JobDescMsg, site: &Site, find: Find<'_>) -> Result<Mould, Refusal> {
    if !desc.array_inx.is_null() {
        return Err(Refusal::new(errors::ESLURM_INVALID_ARRAY, "--array: an allocation is one job"));
    }
    let mut mould = mould(desc, site, find, Kind::Allocation)?;
    mould.command(&["/bin/sh", "-c", HOLD].map(str::to_owned));
    mould.shell(
        json!({ "input": { "stdin": { "type": "service" } } }).as_object().cloned().unwrap_or_default(),
    );
    if let Some(warning) = warning(desc) {
        mould.part.step_signal = Some(warning);
    }
    mould.part.environment = environment::split(desc, site, &mould.partition).slurm;
    Ok(mould)
}

/// A signal before the end, and how many seconds before; Slurm's default is a minute.
fn warning(desc: &JobDescMsg) -> Option<(u16, u16)> {
    let signum = some_u16(desc.warn_signal).filter(|signum| *signum > 0)?;
    Some((signum, some_u16(desc.warn_time).filter(|left| *left > 0).unwrap_or(60)))
}

fn mould(desc: &JobDescMsg, site: &Site, find: Find<'_>, kind: Kind) -> Result<Mould, Refusal> {
    refused::check(desc, site)?;
    refused::bytes_of_paths(desc)?;
    let (partition, queue) = partition(desc, site)?;
    let (constraint, hosts) = feature::constraint(desc, site)?;
    let size = size::size(desc, site, &constraint, hosts)?;
    let indices = text(&desc.array_inx).map(|list| array::parse(&list)).transpose()?;
    let waits = match text(&desc.dependency) {
        Some(list) => dependency::read(&list, find)?,
        None => Waits::default(),
    };
    let name = name(desc);
    let cwd = text(&desc.work_dir).filter(|dir| dir.starts_with('/')).unwrap_or_else(|| "/".to_owned());
    let mut system = Map::new();
    system.insert("cwd".to_owned(), cwd.as_str().into());
    system.insert("job".to_owned(), json!({ "name": name }));
    system.insert("duration".to_owned(), duration(desc.time_limit));
    if let Some(queue) = queue {
        system.insert("queue".to_owned(), queue.into());
    }
    if let Some(account) = text(&desc.account) {
        system.insert("bank".to_owned(), account.into());
    }
    let constraint = constraint.and(size.constraint.clone());
    if constraint != Constraint::True {
        system.insert("constraints".to_owned(), constraint.to_json());
    }
    let files = Files {
        input: input(&cwd, text(&desc.std_in)),
        output: (kind == Kind::Batch).then(|| {
            let default = if indices.is_some() { "slurm-%A_%a.out" } else { "slurm-%j.out" };
            absolute(&cwd, text(&desc.std_out).unwrap_or_else(|| default.to_owned()))
        }),
        error: text(&desc.std_err).map(|file| absolute(&cwd, file)),
    };
    let document = json!({
        "version": flurm_jobspec::VERSION,
        "resources": size.resources,
        "tasks": [{ "slot": "task", "count": { "total": 1 } }],
        "attributes": { "system": system },
    });
    let mut mould = Mould {
        document,
        environment: Arc::default(),
        urgency: urgency(desc),
        indices,
        waits,
        part: part(desc, kind, &size, &files),
        files,
        name,
        user: site.owner.name.clone(),
        partition,
    };
    if let Some(bytes) = size.memory_watched {
        mould.shell(json!({ "memory-watchdog": bytes }).as_object().cloned().unwrap_or_default());
    }
    Ok(mould)
}

/// The partition's name and our queue.
fn partition(desc: &JobDescMsg, site: &Site) -> Result<(String, Option<String>), Refusal> {
    let bad = |text: String| Refusal::new(errors::ESLURM_INVALID_PARTITION_NAME, text);
    let Some(name) = text(&desc.partition) else {
        let default = site.default_partition.clone();
        // It is named: a queue that is the only one need not be the instance's default.
        return match site.partitions.get(&default).cloned() {
            Some(queue) => Ok((default, queue)),
            None => Err(Refusal::new(
                errors::ESLURM_DEFAULT_PARTITION_NOT_SET,
                "--partition: there is no default here",
            )),
        };
    };
    match site.partitions.get(&name) {
        Some(queue) => Ok((name, queue.clone())),
        None if name.contains(',') => Err(bad(format!("--partition={name}: a job has one partition here"))),
        None => Err(bad(format!("--partition={name}: there is no such queue"))),
    }
}

fn name(desc: &JobDescMsg) -> String {
    let name = text(&desc.name).unwrap_or_else(|| "sbatch".to_owned());
    let ends = name.char_indices().map(|(at, c)| at + c.len_utf8());
    let end = ends.take_while(|end| *end <= NAME_BYTES_MAX).last().unwrap_or(0);
    name[..end].to_owned()
}

/// Where it reads from, if that is anything.
fn input(cwd: &str, file: Option<String>) -> Option<String> {
    file.filter(|file| file != "/dev/null").map(|file| absolute(cwd, file))
}

fn absolute(cwd: &str, file: String) -> String {
    if file.starts_with('/') { file } else { format!("{}/{file}", cwd.trim_end_matches('/')) }
}

fn text(text: &Text) -> Option<String> {
    let text = text.lossy();
    (!text.is_empty()).then(|| text.into_owned())
}

/// Minutes as a duration.
pub fn duration(minutes: u32) -> Value {
    match given(minutes) {
        Some(minutes) => Value::from(f64::from(minutes) * 60.0),
        None if minutes == INFINITE => Value::from("inf"),
        None => Value::from(0.0),
    }
}

fn urgency(desc: &JobDescMsg) -> u8 {
    match given(desc.priority) {
        Some(priority) => of_priority(priority),
        None => of_nice(nice(desc)),
    }
}

/// 0 holds; what Slurm writes for `TOP` comes first; the rest is an urgency, as far as these go.
pub fn of_priority(priority: u32) -> u8 {
    match priority {
        0 => urgency::HOLD,
        _ => u8::try_from(priority).map_or(urgency::MOST, |n| n.clamp(urgency::LEAST, urgency::MOST)),
    }
}

/// Each decimal digit of a nice value is one step of urgency: 100 is three steps down from the default.
pub fn of_nice(nice: i64) -> u8 {
    let steps = nice.unsigned_abs().checked_ilog10().map_or(0, |digits| digits + 1);
    let steps = u8::try_from(steps).unwrap_or(urgency::DEFAULT);
    let moved = if nice > 0 {
        urgency::DEFAULT.saturating_sub(steps)
    } else {
        urgency::DEFAULT.saturating_add(steps)
    };
    moved.clamp(urgency::LEAST, urgency::MOST)
}

fn nice(desc: &JobDescMsg) -> i64 {
    given(desc.nice).map_or(0, |nice| i64::from(nice) - i64::from(constants::NICE_OFFSET))
}

fn part(desc: &JobDescMsg, kind: Kind, size: &Size, files: &Files) -> Part {
    let some = |number: u16| some_u16(number).filter(|number| *number > 0);
    let memory = (desc.pn_min_memory != NO_VAL64).then_some(desc.pn_min_memory);
    let per_cpu = memory.filter(|memory| memory & constants::MEM_PER_CPU != 0);
    Part {
        step: None,
        kind,
        ntasks: size.ntasks,
        cpus_per_task: size.cpus_per_task,
        ntasks_asked: given(desc.num_tasks).is_some(),
        cpus_per_task_asked: given_u16(desc.cpus_per_task).is_some(),
        nodes_min: given(desc.min_nodes),
        nodes_max: given(desc.max_nodes),
        ntasks_per_node: some(desc.ntasks_per_node),
        ntasks_per_socket: some(desc.ntasks_per_socket),
        ntasks_per_core: some(desc.ntasks_per_core),
        cpus_per_node_min: some(desc.pn_min_cpus),
        sockets_per_node: some(desc.sockets_per_node),
        cores_per_socket: some(desc.cores_per_socket),
        threads_per_core: some(desc.threads_per_core),
        memory_per_node: memory.filter(|_| per_cpu.is_none()),
        memory_per_cpu: per_cpu.map(|memory| memory & !constants::MEM_PER_CPU),
        tres_per_job: text(&desc.tres_per_job),
        tres_per_node: text(&desc.tres_per_node),
        tres_per_socket: text(&desc.tres_per_socket),
        tres_per_task: text(&desc.tres_per_task),
        cpus_per_tres: text(&desc.cpus_per_tres),
        memory_per_tres: text(&desc.mem_per_tres),
        tres_bind: text(&desc.tres_bind),
        ntasks_per_tres: some(desc.ntasks_per_tres),
        shared: some_u16(desc.shared),
        overcommit: desc.overcommit == 1,
        distribution: (desc.task_dist != constants::SLURM_DIST_UNKNOWN).then_some(desc.task_dist),
        std_in: text(&desc.std_in),
        std_out: files.output.clone(),
        std_err: files.error.clone(),
        append: u32::from(desc.open_mode) == constants::OPEN_MODE_APPEND,
        argv: desc.argv.iter().map(|word| word.lossy().into_owned()).collect(),
        submit_line: text(&desc.submit_line),
        comment: text(&desc.comment),
        account: text(&desc.account),
        qos: text(&desc.qos),
        wckey: text(&desc.wckey),
        extra: text(&desc.extra),
        mail_user: text(&desc.mail_user),
        nice: given(desc.nice).map(|_| nice(desc)),
        priority: given(desc.priority),
        features: text(&desc.features),
        req_nodes: text(&desc.req_nodes),
        exc_nodes: text(&desc.exc_nodes),
        dependency: text(&desc.dependency),
        begin: (desc.begin_time > 0).then_some(desc.begin_time),
        deadline: None,
        time_limit: (given(desc.time_limit).is_some() || desc.time_limit == INFINITE)
            .then_some(desc.time_limit),
        time_min: given(desc.time_min),
        requeue: some_u16(desc.requeue).map(|requeue| requeue != 0),
        step_signal: None,
        array: text(&desc.array_inx),
        array_mark: None,
        alloc_host: text(&desc.alloc_node),
        alloc_port: (desc.alloc_resp_port > 0).then_some(desc.alloc_resp_port),
        other_port: None,
        alloc_version: None,
        alloc_sid: given(desc.alloc_sid),
        environment: std::collections::BTreeMap::new(),
    }
}

impl Mould {
    /// Read again from the first job of an array, whose jobspec has all that was asked for: what the others are made of.
    ///
    /// # Errors
    /// It is none of ours, or what it waits for is not known any more.
    pub fn again(
        mut document: Value,
        environment: Environment,
        urgency: u8,
        user: &str,
        find: Find<'_>,
    ) -> Result<Mould, Refusal> {
        let bad = || Refusal::new(errors::ESLURM_INVALID_ARRAY, "its jobspec is not ours");
        let system = document.pointer_mut("/attributes/system").and_then(Value::as_object_mut);
        let system = system.ok_or_else(bad)?;
        let part = system.remove(part::KEY).and_then(|part| serde_json::from_value::<Part>(part).ok());
        let part = part.ok_or_else(bad)?;
        for key in ["array", "dependencies"] {
            system.remove(key);
        }
        let word = |at: &str| document.pointer(at).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (cwd, name) = (word("/attributes/system/cwd"), word("/attributes/system/job/name"));
        let indices = part.array.as_deref().map(array::parse).transpose()?;
        let waits = part.dependency.as_deref().map(|list| dependency::read(list, find)).transpose()?;
        let files = Files {
            input: input(&cwd, part.std_in.clone()),
            output: part.std_out.clone(),
            error: part.std_err.clone(),
        };
        Ok(Mould {
            document,
            environment: Arc::new(environment),
            urgency,
            indices,
            waits: waits.unwrap_or_default(),
            files,
            name,
            user: user.to_owned(),
            partition: String::new(),
            part,
        })
    }

    fn system(&mut self) -> &mut Map<String, Value> {
        self.document["attributes"]["system"].as_object_mut().expect("it was made as an object")
    }

    fn command(&mut self, words: &[String]) {
        self.document["tasks"][0]["command"] = json!(words);
    }

    /// Adds options of the job's shell.
    fn shell(&mut self, more: Map<String, Value>) {
        if more.is_empty() {
            return;
        }
        let shell = self.system().entry("shell").or_insert_with(|| json!({ "options": {} }));
        let options = shell["options"].as_object_mut().expect("it was made as an object");
        options.extend(more);
    }

    /// Where it would be, given what is free on nodes.
    pub fn place(&self, nodes: &[(SiteNode, Amount)]) -> Option<Place> {
        let constraint = self.document.pointer("/attributes/system/constraints");
        let constraint = constraint.and_then(|value| Constraint::from_json(value).ok());
        room::place(&self.document["resources"], &constraint.unwrap_or(Constraint::True), nodes)
    }

    /// It starts at its time, or at once, if there is room: it is not held, and waits for no other job.
    pub fn is_ready(&self) -> bool {
        self.urgency != urgency::HOLD && self.waits == Waits::default()
    }

    /// Indices of the array, if it is one.
    pub fn indices(&self) -> Option<&Indices> {
        self.indices.as_ref()
    }

    /// The job, or the one of the array with this index, of which `first` is the first job if there is one already.
    pub fn job(&self, index: Option<u32>, first: Option<JobId>) -> NewJob {
        let mut document = self.document.clone();
        let system = document["attributes"]["system"].as_object_mut().expect("it was made as an object");
        if let (Some(index), Some(indices)) = (index, &self.indices) {
            system.insert("array".to_owned(), place(indices, index, first));
        }
        let mut dependencies = self.waits.of(index);
        if let Some(begin) = self.part.begin {
            dependencies.push(Dependency::new("begin-time", begin.to_string()));
        }
        if !dependencies.is_empty() {
            system.insert("dependencies".to_owned(), json!(dependencies));
        }
        let named = Named { job: &self.name, user: &self.user, index, step: None };
        let mut streams = Map::new();
        for (stream, pattern) in [("stdout", &self.files.output), ("stderr", &self.files.error)] {
            if let Some(pattern) = pattern {
                let path = pattern::template(pattern, named);
                streams.insert(stream.to_owned(), json!({ "type": "file", "path": path }));
            }
        }
        let shell = system.entry("shell").or_insert_with(|| json!({ "options": {} }));
        let options = shell["options"].as_object_mut().expect("it was made as an object");
        if !streams.is_empty() {
            let output = options.entry("output").or_insert_with(|| json!({}));
            output.as_object_mut().expect("it was made as an object").extend(streams);
        }
        if let Some(pattern) = &self.files.input {
            let path = pattern::template(pattern, named);
            options.insert("input".to_owned(), json!({ "stdin": { "type": "file", "path": path } }));
        }
        system.insert(part::KEY.to_owned(), serde_json::to_value(&self.part).expect("texts and numbers"));
        NewJob {
            jobspec: to_raw_value(&document).expect("a JSON value has string keys"),
            environment: self.environment.clone(),
            urgency: self.urgency,
            flags: SubmitFlags::default(),
        }
    }
}

fn place(indices: &Indices, index: u32, first: Option<JobId>) -> Value {
    let ids = &indices.ids;
    let (min, max) = (ids.first().unwrap_or(0), ids.last().unwrap_or(0));
    let mut place =
        json!({ "index": index, "count": ids.len(), "min": min, "max": max, "step": indices.step });
    if let Some(throttle) = indices.throttle {
        place["throttle"] = throttle.into();
    }
    if let Some(first) = first {
        place["id"] = first.0.into();
    }
    place
}
