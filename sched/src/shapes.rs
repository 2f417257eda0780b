//! Jobs that ask for the same: where one finds no room, none of them does until something is given back.
//!
//! The shape of a job is all that matching looks at except its duration. Who finds no room at all fails for all jobs of
//! its shape; who finds room but would stay too long, for those that stay as long or longer. So a hundred thousand
//! equal jobs cost one search.

use crate::group::group_of;
use flurm_jobspec::Jobspec;
use flurm_types::JobId;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Number of a shape.
pub(crate) type Shape = u32;

/// How long a job stays, in microseconds; without a duration longer than all others.
pub(crate) type Length = u64;

#[derive(Debug)]
struct Entry {
    text: Arc<str>,
    /// Pending jobs of this shape.
    jobs: usize,
    /// From this length on they fail in this epoch.
    failed: (u64, Length),
    /// From this length on they would delay somebody, until somebody starts: what they get may be elsewhere then.
    delay: (u64, Length),
}

/// The shapes of all pending jobs.
#[derive(Debug, Default)]
pub(crate) struct Shapes {
    by_text: BTreeMap<Arc<str>, Shape>,
    entries: BTreeMap<Shape, Entry>,
    next: Shape,
    /// Jobs that come together often share a jobspec.
    last: Option<(Arc<Jobspec>, Shape)>,
}

impl Shapes {
    /// One more job with this jobspec. One that stands for a group is like no other.
    pub(crate) fn add(&mut self, jobspec: &Arc<Jobspec>, id: JobId) -> Shape {
        let known =
            self.last.as_ref().filter(|(last, _)| Arc::ptr_eq(last, jobspec)).map(|(_, shape)| *shape);
        let shape = known.unwrap_or_else(|| {
            let attributes = jobspec.attributes();
            let (placement, cosched) = (&attributes.placement, &attributes.cosched);
            let group = group_of(jobspec).map(|_| id);
            let constraint = &attributes.constraints;
            let text = format!("{:?}", (jobspec.resources(), constraint, placement, cosched, group));
            match self.by_text.get(text.as_str()) {
                Some(shape) => *shape,
                None => self.define(text.into()),
            }
        });
        self.entries.get_mut(&shape).expect("it was found or made").jobs += 1;
        self.last = group_of(jobspec).is_none().then(|| (Arc::clone(jobspec), shape));
        shape
    }

    fn define(&mut self, text: Arc<str>) -> Shape {
        // Numbers in use are passed over, should they ever come round.
        while self.entries.contains_key(&self.next) {
            self.next = self.next.wrapping_add(1);
        }
        self.by_text.insert(Arc::clone(&text), self.next);
        self.entries.insert(self.next, Entry { text, jobs: 0, failed: (0, 0), delay: (0, 0) });
        self.next
    }

    /// One job less.
    pub(crate) fn remove(&mut self, shape: Shape) {
        let Some(entry) = self.entries.get_mut(&shape) else { return };
        entry.jobs -= 1;
        if entry.jobs == 0 {
            let text = Arc::clone(&entry.text);
            self.by_text.remove(&text);
            self.entries.remove(&shape);
            if self.last.as_ref().is_some_and(|(_, last)| *last == shape) {
                self.last = None;
            }
        }
    }

    /// There is nothing for jobs of this shape that stay so long or longer, in this epoch.
    pub(crate) fn set_failed(&mut self, shape: Shape, epoch: u64, from: Length) {
        if let Some(entry) = self.entries.get_mut(&shape) {
            note(&mut entry.failed, epoch, from);
        }
    }

    /// Jobs of this shape that stay so long or longer would delay somebody, as things are since this turn.
    pub(crate) fn set_delay(&mut self, shape: Shape, turn: u64, from: Length) {
        if let Some(entry) = self.entries.get_mut(&shape) {
            note(&mut entry.delay, turn, from);
        }
    }

    /// The length from which on jobs of this shape fail in this epoch.
    pub(crate) fn fails_from(&self, shape: Shape, epoch: u64) -> Option<Length> {
        let (known, from) = self.entries.get(&shape)?.failed;
        (known == epoch).then_some(from)
    }

    /// The length from which on jobs of this shape would delay somebody.
    pub(crate) fn delays_from(&self, shape: Shape, turn: u64) -> Option<Length> {
        let (known, from) = self.entries.get(&shape)?.delay;
        (known == turn).then_some(from)
    }
}

/// What was found at another time is forgotten; of what was found at this one, the least counts.
fn note(found: &mut (u64, Length), time: u64, from: Length) {
    *found = match *found {
        (known, least) if known == time => (time, least.min(from)),
        _ => (time, from),
    };
}

/// The length of a duration in seconds.
pub(crate) fn length(duration: f64) -> Length {
    match duration {
        0.0 => Length::MAX,
        secs => (secs * 1e6) as Length,
    }
}

/// Lengths that differ by less than a fifth are mostly of the same class. Longer ones are in no lower class.
pub(crate) fn class(length: Length) -> u16 {
    let length = length.max(4);
    let bits = length.ilog2();
    (bits * 4 + (length >> (bits - 2) & 3) as u32) as u16
}

/// The least length of a class.
pub(crate) fn least(class: u16) -> Length {
    let (bits, part) = (u32::from(class) / 4, u64::from(class) % 4);
    if (bits, part) <= (2, 0) { 0 } else { (4 + part) << (bits - 2) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_in_the_class_whose_least_it_is_not_below() {
        for length in (0..5000).chain([1 << 40, (1 << 40) + 12_345, Length::MAX - 1, Length::MAX]) {
            let class = class(length);
            assert!(least(class) <= length.max(4), "{length}");
            assert!(class == 255 || length < least(class + 1), "{length}");
        }
    }
}
