//! Counts that are ranges: a job that can use more gets the most that can be had, one range after the other from the
//! outside in, the others at their least.

use flurm_jobspec::{Jobspec, Resource};

/// Most counts of a request that are ranges: each is tried out beside all others.
const RANGES_MAX: usize = 16;

/// Refuses a request with more ranges than are tried out.
pub(crate) fn check(jobspec: &Jobspec) -> Result<(), String> {
    let resources = jobspec.resources().iter().flat_map(Resource::walk);
    match resources.filter(|resource| resource.count.fixed().is_none()).count() {
        0..=RANGES_MAX => Ok(()),
        _ => Err(format!("more than {RANGES_MAX} counts are ranges")),
    }
}

/// The counts in use for resources that leave a choice.
#[derive(Debug, Default)]
pub(crate) struct Counts<'a>(Vec<(&'a Resource, u32)>);

impl<'a> Counts<'a> {
    /// The count of a resource: the chosen one, or the least.
    pub(crate) fn of(&self, resource: &Resource) -> u32 {
        let chosen = self.0.iter().find(|(known, _)| std::ptr::eq(*known, resource));
        chosen.map_or(resource.count.min(), |(_, count)| *count)
    }

    fn set(&mut self, resource: &'a Resource, count: u32) {
        match self.0.iter_mut().find(|(known, _)| std::ptr::eq(*known, resource)) {
            Some((_, chosen)) => *chosen = count,
            None => self.0.push((resource, count)),
        }
    }
}

/// The resources with a choice, what is outside before what is inside it.
fn ranges(resources: &[Resource]) -> Vec<&Resource> {
    let mut found = Vec::new();
    for resource in resources {
        found.extend(resource.count.fixed().is_none().then_some(resource));
        found.extend(ranges(&resource.with));
    }
    found
}

/// What `attempt` finds with the largest counts that it finds anything with, if not what was found with the least. More
/// of anything is never easier to find, so each count is halved in on; nothing is counted above `most`.
pub(crate) fn largest<T>(
    jobspec: &Jobspec,
    most: u32,
    mut found: T,
    mut attempt: impl FnMut(&Counts<'_>) -> Option<T>,
) -> T {
    let mut counts = Counts::default();
    for range in ranges(jobspec.resources()) {
        let mut good = range.count.min();
        let (mut low, mut high) = (good, most.max(good));
        while low < high {
            let limit = high - (high - low) / 2;
            match range.count.largest_up_to(limit) {
                Some(count) if count > good => {
                    counts.set(range, count);
                    match attempt(&counts) {
                        Some(more) => (found, good, low) = (more, count, limit),
                        None => high = limit - 1,
                    }
                }
                _ => low = limit,
            }
        }
        counts.set(range, good);
    }
    found
}
