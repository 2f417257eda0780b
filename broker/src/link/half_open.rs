//! Connections that have not yet proved the key. There is a limit, for anybody can make them; one more ends the oldest,
//! which is the likeliest stranger: our own brokers need a round trip. So no crowd of strangers keeps a broker out.

use std::collections::VecDeque;
use tokio::task::AbortHandle;

/// What a broker with few neighbours grants.
pub(crate) const HALF_OPEN_MIN: usize = 64;

#[derive(Debug)]
pub(crate) struct HalfOpen {
    limit: usize,
    tasks: VecDeque<AbortHandle>,
}

impl HalfOpen {
    /// Room for all brokers of ours that may call at one moment, each twice: it may have given up a first call.
    pub(crate) fn room_for(callers: u32) -> HalfOpen {
        let limit = HALF_OPEN_MIN.max((callers as usize).saturating_mul(2));
        HalfOpen { limit, tasks: VecDeque::new() }
    }

    /// The task that shakes hands on one more connection.
    pub(crate) fn admit(&mut self, task: AbortHandle) {
        self.tasks.retain(|task| !task.is_finished());
        if self.tasks.len() >= self.limit
            && let Some(oldest) = self.tasks.pop_front()
        {
            oldest.abort();
        }
        self.tasks.push_back(task);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;

    #[tokio::test]
    async fn all_our_brokers_may_call_at_once_and_the_oldest_call_over_the_limit_ends() {
        for (callers, limit) in [(0, HALF_OPEN_MIN), (200, 400)] {
            let mut half_open = HalfOpen::room_for(callers);
            let mut calls: Vec<_> = (0..=limit).map(|_| tokio::spawn(pending::<()>())).collect();
            for call in &calls {
                half_open.admit(call.abort_handle());
            }
            assert!(calls.remove(0).await.unwrap_err().is_cancelled());
            assert!(!calls.iter().any(tokio::task::JoinHandle::is_finished));
        }
    }
}
