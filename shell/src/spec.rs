//! A jobspec with what is the same for all jobs that have it. Pure.

use crate::options::{Context, OptionError, Options};
use flurm_jobspec::{Copy, Jobspec, JobspecError};
use std::sync::{Arc, OnceLock};

#[derive(Debug)]
pub struct Spec {
    pub jobspec: Jobspec,
    is_copy: bool,
    /// What its options come to with so many tasks: those of the first job that was planned.
    options: OnceLock<(u32, Arc<Options>)>,
}

impl Spec {
    /// # Errors
    /// It is no jobspec.
    pub fn parse(text: &str) -> Result<Spec, JobspecError> {
        let jobspec = Jobspec::parse(text)?;
        let is_copy = Copy::of(text).is_some_and(|copy| jobspec.is_copy(&copy));
        Ok(Spec { jobspec, is_copy, options: OnceLock::new() })
    }

    /// Is it a copy of which others differ in the number alone?
    pub fn is_copy(&self) -> bool {
        self.is_copy
    }

    /// # Errors
    /// An option that nobody knows, or a value that it cannot have.
    pub fn options(&self, context: Context<'_>) -> Result<Arc<Options>, OptionError> {
        if let Some((ntasks, options)) = self.options.get()
            && *ntasks == context.ntasks
        {
            return Ok(Arc::clone(options));
        }
        let options = Arc::new(Options::read(&self.jobspec.attributes().shell_options, context)?);
        // How many tasks there are may depend on R; one number is remembered.
        let _ = self.options.set((context.ntasks, Arc::clone(&options)));
        Ok(options)
    }
}
