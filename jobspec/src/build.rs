//! From options of a command line to a jobspec.
//!
//! The builder writes a document and has the one reader read it, so whatever is set here is checked as if it had
//! come in a file.

use crate::cosched::Cosched;
use crate::dependency::Dependency;
use crate::error::{JobspecError, Place};
use crate::file::File;
use crate::read::check_depth;
use crate::{Jobspec, VERSION, attributes, shape};
use flurm_types::{Constraint, Environment};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// A job in the making. What is not set has the default of `flurm run`: one task on one core.
#[derive(Debug, Clone, Default)]
pub struct Builder {
    command: Vec<String>,
    nnodes: Option<u32>,
    exclusive: bool,
    shape: Option<String>,
    by_task: ByTask,
    by_resource: ByResource,
    environment: Arc<Environment>,
    constraint: Constraint,
    dependencies: Vec<Dependency>,
    files: Map<String, Value>,
    /// Paths below `attributes` with their values, in the order in which they were set.
    set: Vec<(String, Value)>,
}

/// Size as so many tasks, or slots, and what each of them needs.
#[derive(Debug, Clone, Default, PartialEq)]
struct ByTask {
    ntasks: Option<u32>,
    nslots: Option<u32>,
    cores: Option<u32>,
    gpus: Option<u32>,
}

/// Size as so many resources, and the tasks on each of them.
#[derive(Debug, Clone, Default, PartialEq)]
struct ByResource {
    ncores: Option<u32>,
    gpus_per_node: Option<u32>,
    tasks_per_node: Option<u32>,
    tasks_per_core: Option<u32>,
}

/// What a job's size comes down to.
struct Size {
    /// Nodes, if their number is given.
    nodes: Option<u32>,
    exclusive: bool,
    /// In each node, or in all when nodes are not given.
    slots: u32,
    cores: u32,
    gpus: u32,
    /// All tasks, if it is not one in each slot.
    total: Option<u32>,
    per_resource: Option<(&'static str, u32)>,
}

/// A method for each option that is just kept.
macro_rules! sizes {
    ($($(#[$doc:meta])* $name:ident => $($field:ident).+;)*) => {$(
        $(#[$doc])*
        #[must_use]
        pub fn $name(mut self, count: u32) -> Builder {
            self.$($field).+ = Some(count);
            self
        }
    )*};
}

/// A method for each attribute that is a text.
macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident => $path:literal;)*) => {$(
        $(#[$doc])*
        #[must_use]
        pub fn $name(self, text: impl Into<String>) -> Builder {
            self.setattr($path, &Value::String(text.into()))
        }
    )*};
}

impl Builder {
    /// A job that runs a program with its arguments.
    #[must_use]
    pub fn new(command: Vec<String>) -> Builder {
        Builder { command, ..Builder::default() }
    }

    sizes! {
        /// Nodes to spread tasks over (`-N`). Alone, it asks for whole nodes with one task on each.
        nnodes => nnodes;
        /// Tasks, each in its own slot (`-n`).
        ntasks => by_task.ntasks;
        /// Slots without a task in each: the job runs one task on every node, which shares them out again.
        nslots => by_task.nslots;
        /// Cores of each task or slot (`-c`).
        cores_per_task => by_task.cores;
        /// GPUs of each task or slot (`-g`).
        gpus_per_task => by_task.gpus;
        /// Cores in all; cannot be joined with sizes by task.
        ncores => by_resource.ncores;
        /// GPUs on each node; needs the number of nodes.
        gpus_per_node => by_resource.gpus_per_node;
        /// Tasks on each node, however many cores it gives.
        tasks_per_node => by_resource.tasks_per_node;
        /// Tasks on each core that is given.
        tasks_per_core => by_resource.tasks_per_core;
    }

    /// All resources in one line (RFC 46) with one slot in it, instead of a size.
    #[must_use]
    pub fn shape(self, shape: impl Into<String>) -> Builder {
        Builder { shape: Some(shape.into()), ..self }
    }

    texts! {
        /// Working directory, an absolute path.
        cwd => "system.cwd";
        name => "system.job.name";
        queue => "system.queue";
        bank => "system.bank";
        project => "system.project";
        /// Where in nodes and sockets the cores should lie, such as `spread:1/2`.
        placement => "system.placement";
        /// What the job stresses, such as `memory`; makes it willing to share sockets.
        cosched_class => "system.cosched-class";
    }

    /// Willing to share sockets with others that are.
    #[must_use]
    pub fn cosched(self, cosched: &Cosched) -> Builder {
        self.setattr("system.cosched", &serde_json::to_value(cosched).expect("texts and a number"))
    }

    /// Whole nodes (`-x`); needs the number of nodes.
    #[must_use]
    pub fn exclusive(mut self, exclusive: bool) -> Builder {
        self.exclusive = exclusive;
        self
    }

    /// Seconds the job may run; 0 for no limit of its own.
    #[must_use]
    pub fn duration(self, seconds: f64) -> Builder {
        // Infinity has no number in JSON; as a word it is read as no limit.
        let value = if seconds.is_infinite() { Value::from("inf") } else { Value::from(seconds) };
        self.setattr("system.duration", &value)
    }

    /// The tasks' environment.
    #[must_use]
    pub fn environment(mut self, environment: Arc<Environment>) -> Builder {
        self.environment = environment;
        self
    }

    /// One more constraint; all must hold.
    #[must_use]
    pub fn constraint(mut self, constraint: Constraint) -> Builder {
        self.constraint = self.constraint.and(constraint);
        self
    }

    /// One more thing to wait for.
    #[must_use]
    pub fn dependency(mut self, dependency: Dependency) -> Builder {
        self.dependencies.push(dependency);
        self
    }

    /// A file that travels with the job.
    #[must_use]
    pub fn file(mut self, path: impl Into<String>, file: &File) -> Builder {
        let value = serde_json::to_value(file).expect("its times come from whole seconds or JSON");
        self.files.insert(path.into(), value);
        self
    }

    /// Sets an attribute by its dotted path: below `system` unless the path opens with `system.`, `user.` or a dot.
    #[must_use]
    pub fn setattr(mut self, path: &str, value: &Value) -> Builder {
        let full = match path.strip_prefix('.') {
            Some(below) => below.to_owned(),
            None if path.starts_with("system.") || path.starts_with("user.") => path.to_owned(),
            None => format!("system.{path}"),
        };
        self.set.push((full, value.clone()));
        self
    }

    /// Sets an option of the job's shell (`-o`) by its dotted path.
    #[must_use]
    pub fn shell_option(self, path: &str, value: Value) -> Builder {
        self.setattr(&format!("{SHELL_OPTIONS}{path}"), &value)
    }

    /// The jobspec.
    ///
    /// # Errors
    /// Options that contradict each other, and every rule of the format.
    pub fn build(self) -> Result<Jobspec, JobspecError> {
        let size = self.size().map_err(|rule| Place::Top.error(rule))?;
        let (resources, slot) = match &self.shape {
            None => (json!([size.resources()]), SLOT.to_owned()),
            Some(shape) => self.shaped(shape)?,
        };
        let mut attributes = Map::new();
        attributes.insert("system".to_owned(), self.system(&size)?);
        for (path, value) in self.set {
            match path.strip_prefix(SHELL_OPTIONS) {
                Some(option) => set_option(&mut attributes, option, value)?,
                None => set(&mut attributes, &path, value)?,
            }
        }
        let environment = join_environment(&mut attributes, self.environment)?;
        let count = match size.total {
            Some(total) => json!({ "total": total }),
            None => json!({ "per_slot": 1 }),
        };
        let document = json!({
            "version": VERSION,
            "resources": resources,
            "tasks": [{ "command": self.command, "slot": slot, "count": count }],
            "attributes": attributes,
        });
        check_depth(&document)?;
        attributes::check_environment(&environment)?;
        Jobspec::read(document, Some(environment))
    }

    /// Resources and the label of their slot.
    fn shaped(&self, shape: &str) -> Result<(Value, String), JobspecError> {
        let fail = |rule: &str| Err(Place::Top.error(format!("shape `{shape}`: {rule}")));
        let sized = self.nnodes.is_some() || self.exclusive || self.by_task != ByTask::default();
        if sized || self.by_resource != ByResource::default() {
            return fail("a shape is the whole size, and no other goes with it");
        }
        let (resources, slots) = shape::resources(shape).map_err(|e| Place::Top.error(e.to_string()))?;
        match slots.as_slice() {
            [slot] => Ok((resources, slot.clone())),
            [] => fail("tasks run in a slot, and it has none: slot=4/core"),
            _ => fail("tasks run in one slot, and it has several"),
        }
    }

    /// What the options of size mean together; the order of checks is that of the advice they give.
    fn size(&self) -> Result<Size, String> {
        for (name, count) in [
            ("nodes", self.nnodes),
            ("tasks", self.by_task.ntasks),
            ("slots", self.by_task.nslots),
            ("cores of a task", self.by_task.cores),
            ("cores", self.by_resource.ncores),
            ("tasks on a node", self.by_resource.tasks_per_node),
            ("tasks on a core", self.by_resource.tasks_per_core),
        ] {
            if count == Some(0) {
                return Err(format!("the number of {name} is at least 1"));
            }
        }
        if self.exclusive && self.nnodes.is_none() {
            return Err("exclusive needs the number of nodes".to_owned());
        }
        match (self.by_task == ByTask::default(), self.by_resource == ByResource::default()) {
            (_, true) => self.size_by_task(),
            (true, false) => self.size_by_resource(),
            (false, false) => Err(
                "sizes by task and by resource (cores, GPUs or tasks of a node or core) exclude each other"
                    .to_owned(),
            ),
        }
    }

    fn size_by_task(&self) -> Result<Size, String> {
        let ByTask { ntasks, nslots, cores, gpus } = self.by_task;
        let count = match (ntasks, nslots) {
            (Some(_), Some(_)) => {
                return Err("the number of tasks and of slots exclude each other".to_owned());
            }
            (Some(count), None) | (None, Some(count)) => Some(count),
            (None, None) => None,
        };
        let noun = if nslots.is_some() { "slots" } else { "tasks" };
        let (slots, total) = match (self.nnodes, count) {
            (None, count) => (count.unwrap_or(1), None),
            (Some(_), None) => (1, None),
            (Some(nodes), Some(count)) if nodes > count => {
                return Err(format!("more nodes ({nodes}) than {noun} ({count})"));
            }
            (Some(nodes), Some(count)) => {
                // An uneven division leaves a slot empty on some nodes.
                (count.div_ceil(nodes), (count % nodes != 0).then_some(count))
            }
        };
        let per_resource = nslots.map(|_| ("node", 1));
        Ok(Size {
            nodes: self.nnodes,
            exclusive: self.exclusive || self.nnodes.is_some() && count.is_none(),
            slots,
            cores: cores.unwrap_or(1),
            gpus: gpus.unwrap_or(0),
            total,
            per_resource,
        })
    }

    fn size_by_resource(&self) -> Result<Size, String> {
        let ByResource { ncores, gpus_per_node, tasks_per_node, tasks_per_core } = self.by_resource;
        if gpus_per_node.is_some() && self.nnodes.is_none() {
            return Err("GPUs on each node need the number of nodes".to_owned());
        }
        let per_resource = match (tasks_per_node, tasks_per_core) {
            (Some(_), Some(_)) => {
                return Err("tasks on each node and on each core exclude each other".to_owned());
            }
            (Some(count), None) => Some(("node", count)),
            (None, Some(count)) => Some(("core", count)),
            (None, None) => None,
        };
        let (slots, cores) = match (self.nnodes, ncores) {
            (None, None) => {
                return Err("tasks on each node or core need the number of nodes or cores".to_owned());
            }
            (None, Some(ncores)) => (ncores, 1),
            (Some(_), None) => (1, 1),
            (Some(nodes), Some(ncores)) if !ncores.is_multiple_of(nodes) => {
                return Err(format!("{ncores} cores cannot be shared evenly by {nodes} nodes"));
            }
            // The GPUs of a node belong to all its cores, so these are one slot.
            (Some(nodes), Some(ncores)) if gpus_per_node.is_some() => (1, ncores / nodes),
            (Some(nodes), Some(ncores)) => (ncores / nodes, 1),
        };
        // A slot of many cores still has a task for each of them.
        let default = (cores > 1).then_some(("core", 1));
        Ok(Size {
            nodes: self.nnodes,
            exclusive: self.exclusive || ncores.is_none(),
            slots,
            cores,
            gpus: gpus_per_node.unwrap_or(0),
            total: None,
            per_resource: per_resource.or(default),
        })
    }

    /// The attributes that have methods of their own.
    fn system(&self, size: &Size) -> Result<Value, JobspecError> {
        let mut system = Map::new();
        system.insert("duration".to_owned(), Value::from(0.0));
        if self.constraint != Constraint::True {
            system.insert("constraints".to_owned(), self.constraint.to_json());
        }
        if !self.dependencies.is_empty() {
            let list = serde_json::to_value(&self.dependencies).expect("texts and JSON");
            system.insert("dependencies".to_owned(), list);
        }
        if !self.files.is_empty() {
            system.insert("files".to_owned(), Value::Object(self.files.clone()));
        }
        if let Some((kind, count)) = size.per_resource {
            let option = json!({ "count": count, "type": kind });
            system.insert("shell".to_owned(), json!({ "options": { attributes::PER_RESOURCE: option } }));
        }
        Ok(Value::Object(system))
    }
}

/// The label of the one slot.
const SLOT: &str = "task";

impl Size {
    fn resources(&self) -> Value {
        let mut with = vec![json!({ "type": "core", "count": self.cores })];
        if self.gpus > 0 {
            with.push(json!({ "type": "gpu", "count": self.gpus }));
        }
        let slot = json!({ "type": "slot", "count": self.slots, "label": SLOT, "with": with });
        let Some(nodes) = self.nodes else { return slot };
        let mut node = json!({ "type": "node", "count": nodes, "with": [slot] });
        if self.exclusive {
            node["exclusive"] = Value::Bool(true);
        }
        node
    }
}

/// What opens the paths of shell options.
const SHELL_OPTIONS: &str = "system.shell.options.";

/// Sets a shell option by its dotted name. An option may be on and have others below its name, as `pty` and `pty.size`:
/// then those stand beside it under their whole names.
fn set_option(attributes: &mut Map<String, Value>, name: &str, value: Value) -> Result<(), JobspecError> {
    let prefix = SHELL_OPTIONS.trim_end_matches('.');
    let options = prefix.split('.').try_fold(&mut *attributes, |at, key| at.get_mut(key)?.as_object_mut());
    if let Some(options) = options {
        if let (false, Some(Value::Object(below))) = (value.is_object(), options.get(name)) {
            let below = below.clone();
            options.extend(below.into_iter().map(|(key, value)| (format!("{name}.{key}"), value)));
        } else if let Some((above, _)) = name.split_once('.')
            && options.get(above).is_some_and(|above| !above.is_object())
        {
            options.insert(name.to_owned(), value);
            return Ok(());
        }
    }
    set(attributes, &format!("{SHELL_OPTIONS}{name}"), value)
}

/// Puts a value at a dotted path, making the objects on the way.
fn set(attributes: &mut Map<String, Value>, path: &str, value: Value) -> Result<(), JobspecError> {
    let fail = |rule: &str| Place::Top.key("attributes").fail(format!("set `{path}`: {rule}"));
    let (parents, last) = path.rsplit_once('.').map_or((None, path), |(parents, last)| (Some(parents), last));
    let mut at = attributes;
    for key in parents.into_iter().flat_map(|parents| parents.split('.')) {
        if key.is_empty() {
            return fail("a key is not empty");
        }
        let below = at.entry(key).or_insert_with(|| Value::Object(Map::new()));
        let Value::Object(below) = below else { return fail("what is above it is not an object") };
        at = below;
    }
    if last.is_empty() {
        return fail("a key is not empty");
    }
    at.insert(last.to_owned(), value);
    Ok(())
}

/// The environment, with the variables that were set as attributes on top.
fn join_environment(
    attributes: &mut Map<String, Value>,
    mut environment: Arc<Environment>,
) -> Result<Arc<Environment>, JobspecError> {
    let system = attributes.get_mut("system").and_then(Value::as_object_mut);
    let Some(set) = system.and_then(|system| system.remove("environment")) else { return Ok(environment) };
    let fail = |rule: &str| Place::Top.key("attributes").fail(format!("set `system.environment`: {rule}"));
    let Value::Object(set) = set else { return fail("expected an object") };
    let joined = Arc::make_mut(&mut environment);
    for (name, value) in set {
        let value = match value {
            Value::Null => None,
            Value::String(text) => Some(text),
            _ => return fail(&format!("expected a string or null for `{name}`")),
        };
        joined.insert(name, value);
    }
    Ok(environment)
}
