//! Once faults have stopped the instance is whole again: every broker online, every rank up, nothing held.

use super::{Broken, ask, broken};
use flurm_core::Core;
use flurm_types::{Idset, Now};
use flurm_wire::overlay::{self, Health};
use flurm_wire::resource;

pub fn check(core: &mut Core, now: Now, size: u32) -> Result<(), Broken> {
    let tree = ask(core, now, &overlay::Status {});
    if tree.as_ref().is_none_or(|tree| tree.status != Health::Full) {
        return broken("whole", format!("the tree: {tree:?}"));
    }
    let all: Idset = (0..size).collect();
    match ask(core, now, &resource::Status {}) {
        Some(status) if status.up == all && status.allocated.is_empty() => Ok(()),
        other => broken("whole", format!("resources: {other:?}")),
    }
}
