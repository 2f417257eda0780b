//! Jobspecs: what a job asks for and what it runs, as text and as a value (RFC 14, RFC 25).
//!
//! [`Jobspec::parse`] and [`build::Builder`] are the only ways to a [`Jobspec`], and both go through one reader, so
//! each one that exists is valid. Whether the resources exist anywhere is left to the resource graph, and which
//! dependencies are known to the job manager.

mod amend;
mod array;
mod attributes;
pub mod build;
mod copy;
mod cosched;
mod count;
mod dependency;
mod error;
mod file;
mod placement;
mod read;
mod request;
mod resource;
pub mod shape;
mod task;
mod within;
mod write;

pub use amend::Amendment;
pub use array::Array;
pub use attributes::{Attributes, EXIT_TIMEOUT_S, OUTPUT_BYTES_KEPT, size};
pub use copy::{Copy, Mould};
pub use cosched::{Cosched, Group};
pub use count::{Count, Operator, Range};
pub use dependency::Dependency;
pub use error::JobspecError;
pub use file::{Archive, Content, File};
pub use placement::{Placement, Share};
pub use request::Request;
pub use resource::{Kind, Resource};
pub use task::{Task, TaskCount};
pub use within::Within;

use error::Place;
use flurm_types::Environment;
use read::Object;
use serde_json::Value;
use std::sync::Arc;

/// The version of jobspecs that is written.
pub const VERSION: u32 = 1;

/// Versions that are read: RFC 14's own examples of the general form have 999, those of other tools 9999.
const READ: [u64; 3] = [VERSION as u64, 999, 9999];

/// JSON Schema of the documents that [`Jobspec::parse`] reads. It says less than the reader: a schema cannot see
/// that a task's slot exists, or count how many tasks there are.
pub const SCHEMA: &str = include_str!("../schema/jobspec.json");

/// The examples of `docs/formats.md`, which also speaks of the types below.
#[cfg(doctest)]
#[doc = include_str!("../../docs/formats.md")]
struct Formats;

/// Limits that keep a short text from growing into a large value.
pub mod limits {
    /// Longest text in bytes: an environment and some embedded files fit.
    pub const TEXT_LEN_MAX: usize = 16 << 20;
    /// Longest YAML in bytes; people write it, programs write JSON, which is read a hundred times faster.
    pub const YAML_LEN_MAX: usize = 1 << 20;
    /// How deep a document may nest; serde_json itself stops at 128.
    pub const DEPTH_MAX: usize = 64;
    /// How deep resources may nest.
    pub const RESOURCE_DEPTH_MAX: usize = 16;
    /// Vertices in the resource section.
    pub const VERTICES_MAX: usize = 1024;
    /// Slots of one entry of tasks, with the least counts.
    pub const SLOTS_MAX: u32 = TASKS_MAX;
    /// Tasks of a job; as many as a task map holds.
    pub const TASKS_MAX: u32 = flurm_types::limits::TASKMAP_MAX_TASKS as u32;
    /// Entries in the task section.
    pub const TASK_ENTRIES_MAX: usize = 64;
    /// Words of a command.
    pub const ARGUMENTS_MAX: usize = 1 << 16;
    /// Variables in an environment.
    pub const ENVIRONMENT_MAX: usize = 1 << 16;
    /// Things that a job waits for.
    pub const DEPENDENCIES_MAX: usize = 1024;
    /// Files that travel inside a jobspec.
    pub const FILES_MAX: usize = 4096;
}

/// A job's request and description (RFC 14), valid by construction.
#[derive(Debug, Clone, PartialEq)]
pub struct Jobspec {
    resources: Vec<Resource>,
    tasks: Vec<Task>,
    attributes: Attributes,
}

impl Jobspec {
    /// Reads JSON, or YAML when the text does not open with `{`.
    ///
    /// # Errors
    /// The first rule that the text breaks, with its place.
    pub fn parse(text: &str) -> Result<Jobspec, JobspecError> {
        Jobspec::read(read::document(text)?, None)
    }

    /// Reads a text without environment; the job gets this one, shared.
    ///
    /// # Errors
    /// As [`Jobspec::parse`], and if the text has an environment of its own.
    pub fn parse_with_environment(
        text: &str,
        environment: Arc<Environment>,
    ) -> Result<Jobspec, JobspecError> {
        attributes::check_environment(&environment)?;
        Jobspec::read(read::document(text)?, Some(environment))
    }

    fn read(document: Value, environment: Option<Arc<Environment>>) -> Result<Jobspec, JobspecError> {
        let top = Place::Top;
        let mut document = Object::open(&top, document)?;
        let version = document.need("version")?;
        if !version.as_u64().is_some_and(|version| READ.contains(&version)) {
            return top.key("version").fail(format!("expected {VERSION}, found {version}"));
        }
        let resources = resource::read(&top.key("resources"), document.need("resources")?)?;
        let tasks = task::read(&top.key("tasks"), document.need("tasks")?)?;
        let attributes = attributes::read(&top.key("attributes"), document.need("attributes")?, environment)?;
        document.close()?;
        let jobspec = Jobspec { resources, tasks, attributes };
        jobspec.check()?;
        Ok(jobspec)
    }

    /// The resource section.
    #[must_use]
    pub fn resources(&self) -> &[Resource] {
        &self.resources
    }

    /// The task section; one entry at least.
    #[must_use]
    pub fn tasks(&self) -> &[Task] {
        &self.tasks
    }

    #[must_use]
    pub fn attributes(&self) -> &Attributes {
        &self.attributes
    }

    /// Program and arguments of the first entry of tasks.
    #[must_use]
    pub fn command(&self) -> &[String] {
        &self.tasks[0].command
    }

    /// The job's name: its own, or the last part of the program's path.
    #[must_use]
    pub fn name(&self) -> String {
        match &self.attributes.job_name {
            Some(name) => name.clone(),
            None => {
                let program = self.command()[0].trim_end_matches('/');
                program.rsplit('/').next().unwrap_or(program).to_owned()
            }
        }
    }

    /// The same jobspec with another environment.
    ///
    /// # Errors
    /// A name or value that a program cannot be given.
    pub fn with_environment(mut self, environment: Arc<Environment>) -> Result<Jobspec, JobspecError> {
        attributes::check_environment(&environment)?;
        self.attributes.environment = environment;
        Ok(self)
    }
}
