//! An instance that is a job says in that job's eventlog where it can be reached, as soon as it is ready.

use super::parent::{ParentError, call, connect};
use super::{Parent, Task};
use crate::boot::Boot;
use flurm_wire::Dest;
use flurm_wire::job::Memo;
use flurm_wire::state::{BrokerState, Wait};

/// Messages are small.
const STACK_BYTES: usize = 128 << 10;

/// What rank 0 does aside, once its broker listens. The thread waits for the instance, and ends with the process.
pub(crate) fn begin(boot: &Boot, parent: Parent) {
    let Parent { uri: parent, task: Some(Task { job, .. }) } = parent else { return };
    let own = boot.uri();
    let said = [("uri", own.clone()), ("host", boot.hosts.first().cloned().unwrap_or_default())];
    let memo =
        Memo { id: job, memo: said.map(|(key, value)| (key.to_owned(), value.into())).into_iter().collect() };
    let told = move || {
        if let Err(error) = tell(&own, &parent, &memo) {
            // The instance does what it should; it is only harder to find.
            tracing::debug!(%error, "the instance around this one does not know where this one is");
        }
    };
    let thread = std::thread::Builder::new().name("announce".into()).stack_size(STACK_BYTES);
    if let Err(error) = thread.spawn(told) {
        tracing::debug!(%error, "announce this instance");
    }
}

fn tell(own: &str, parent: &str, memo: &Memo) -> Result<(), ParentError> {
    let mut ours = connect(own)?;
    // However long the others take to come.
    ours.set_read_timeout(None)?;
    call(&mut ours, Dest::Local, 1, &Wait { state: BrokerState::Run })?;
    call(&mut connect(parent)?, Dest::Leader, 1, memo)?;
    Ok(())
}
