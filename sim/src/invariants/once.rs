//! Starting is at least once for messages, and at most once for tasks: no shell runs a job twice.

use super::{Broken, broken};
use crate::shell::Shell;
use std::collections::BTreeSet;

pub fn check(shell: &Shell) -> Result<(), Broken> {
    let mut seen = BTreeSet::new();
    match shell.begun.iter().find(|key| !seen.insert(**key)) {
        Some((id, attempt)) => {
            broken("once", format!("the shell of rank {} has run {id} ({attempt}) twice", shell.rank))
        }
        None => Ok(()),
    }
}
