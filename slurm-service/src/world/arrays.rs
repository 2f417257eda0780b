//! Arrays whose jobs are being submitted: whoever means all of one waits until it is whole.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// By the array's number.
#[derive(Debug, Default)]
pub struct Arrays(Arc<Mutex<BTreeMap<u32, Growing>>>);

#[derive(Debug)]
struct Growing {
    stopped: Arc<AtomicBool>,
    /// Closed when the last job is submitted, or none will be any more.
    whole: watch::Receiver<()>,
}

/// Held by who submits the jobs of an array.
#[derive(Debug)]
pub struct Growth {
    number: u32,
    stopped: Arc<AtomicBool>,
    all: Arc<Mutex<BTreeMap<u32, Growing>>>,
    _whole: watch::Sender<()>,
}

fn locked(all: &Mutex<BTreeMap<u32, Growing>>) -> MutexGuard<'_, BTreeMap<u32, Growing>> {
    // What is in there is complete whoever panicked.
    all.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Arrays {
    /// From now on the array is not whole, until what is returned is dropped.
    pub fn begin(&self, number: u32) -> Growth {
        let (sender, whole) = watch::channel(());
        let stopped = Arc::new(AtomicBool::new(false));
        locked(&self.0).insert(number, Growing { stopped: Arc::clone(&stopped), whole });
        Growth { number, stopped, all: Arc::clone(&self.0), _whole: sender }
    }

    /// Returns when nobody submits jobs of this array.
    pub async fn whole(&self, number: u32) {
        let growing = locked(&self.0).get(&number).map(|growing| growing.whole.clone());
        if let Some(mut whole) = growing {
            // Nothing is ever sent: it ends when the sender does.
            while whole.changed().await.is_ok() {}
        }
    }

    /// The same of all there are now.
    pub async fn all_whole(&self) {
        let numbers: Vec<u32> = locked(&self.0).keys().copied().collect();
        for number in numbers {
            self.whole(number).await;
        }
    }

    /// No more jobs of this array: it is to be cancelled.
    pub fn stop(&self, number: u32) {
        if let Some(growing) = locked(&self.0).get(&number) {
            growing.stopped.store(true, Ordering::Relaxed);
        }
    }
}

impl Growth {
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
}

impl Drop for Growth {
    fn drop(&mut self) {
        locked(&self.all).remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    #[test]
    fn an_array_is_whole_when_who_submits_it_is_done() {
        let arrays = Arrays::default();
        let mut cx = Context::from_waker(Waker::noop());
        let growth = arrays.begin(5);
        let mut other = pin!(arrays.whole(6));
        assert_eq!(other.as_mut().poll(&mut cx), Poll::Ready(()));
        let mut whole = pin!(arrays.whole(5));
        let mut all = pin!(arrays.all_whole());
        assert_eq!(whole.as_mut().poll(&mut cx), Poll::Pending);
        assert_eq!(all.as_mut().poll(&mut cx), Poll::Pending);
        arrays.stop(6);
        assert!(!growth.is_stopped());
        arrays.stop(5);
        assert!(growth.is_stopped());
        drop(growth);
        assert_eq!(whole.as_mut().poll(&mut cx), Poll::Ready(()));
        assert_eq!(all.as_mut().poll(&mut cx), Poll::Ready(()));
    }
}
