//! An instance that is a job says in that job's eventlog where it can be reached, as soon as it is ready; from then on it
//! hears there when the job's time limit changes.

use super::parent::{ParentError, call, connect, receive, send};
use super::{Parent, Task};
use crate::boot::Boot;
use flurm_types::{JobId, Timestamp};
use flurm_wire::Dest;
use flurm_wire::job::{Log, Memo, Watch};
use flurm_wire::resource::Lease;
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
    let aside = move || {
        if let Err(error) = tell(&own, &parent, &memo) {
            // The instance does what it should; it is only harder to find.
            tracing::debug!(%error, "the instance around this one does not know where this one is");
        }
        if let Err(error) = follow(&own, &parent, job) {
            // It still ends with its job, and only does not know when.
            tracing::debug!(%error, "changes of the time limit are not heard");
        }
    };
    let thread = std::thread::Builder::new().name("announce".into()).stack_size(STACK_BYTES);
    if let Err(error) = thread.spawn(aside) {
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

/// Passes on when the job ends, each time that it changes, until the job is over.
fn follow(own: &str, parent: &str, id: JobId) -> Result<(), ParentError> {
    let mut theirs = connect(parent)?;
    theirs.set_read_timeout(None)?;
    let watch = Watch { id, logs: vec![Log::Eventlog], follow: true, paced: false };
    send(&mut theirs, Dest::Leader, 1, &watch)?;
    loop {
        let (answer, more) = receive::<Watch>(&mut theirs, 1)?;
        let updates = answer.entries.iter().filter(|(_, entry)| entry.name == "resource-update");
        let ends = updates.filter_map(|(_, entry)| entry.context.as_ref()?.get("expiration")?.as_f64());
        // Of several only the last one counts.
        if let Some(expiration) = ends.filter_map(|secs| Timestamp::ZERO.checked_add_secs(secs)).next_back() {
            call(&mut connect(own)?, Dest::Leader, 1, &Lease { expiration })?;
        }
        if !more {
            return Ok(());
        }
    }
}
