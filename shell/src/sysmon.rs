//! What the jobs of this rank use: said at the end (`-o sysmon`), or watched (`-o memory-watchdog`).
//!
//! Nobody is measured who has not asked for it: looking at every process of a node is not free.

use crate::memory;
use crate::shell::{Key, Shell, wall};
use flurm_types::Entry;
use flurm_wire::exec::What;
use serde_json::json;
use std::path::Path;
use std::time::{Duration, Instant};

/// How often it looks when nobody says otherwise.
pub const PERIOD: Duration = Duration::from_secs(2);

/// How often when somebody is to be ended before the kernel does it: a program can fill memory fast.
pub const WATCH_PERIOD: Duration = Duration::from_millis(250);

/// Percent of the step's memory from which on somebody has to go, before the kernel chooses.
const FULL_PERCENT: u64 = 95;

/// Of one job on this rank.
#[derive(Debug)]
pub(crate) struct Usage {
    begun: Instant,
    /// The largest sum over its processes that was seen.
    peak_bytes: u64,
    /// Peaks of its tasks, added up.
    task_peaks_bytes: u64,
    cpu: Duration,
}

impl Usage {
    pub(crate) fn new() -> Usage {
        Usage { begun: Instant::now(), peak_bytes: 0, task_peaks_bytes: 0, cpu: Duration::ZERO }
    }

    pub(crate) fn task_exited(&mut self, peak_bytes: u64, cpu: Duration) {
        // Before it became its program it was as large as we are.
        self.task_peaks_bytes += if peak_bytes > own_peak() { peak_bytes } else { 0 };
        self.cpu += cpu;
    }

    fn tell(&self, host: &str, now: Instant) -> String {
        let secs = now.saturating_duration_since(self.begun).as_secs_f64();
        let load = self.cpu.as_secs_f64() / secs.max(0.001);
        let mib = self.peak_bytes.max(self.task_peaks_bytes) as f64 / f64::from(1 << 20);
        format!("sysmon: {host}: peak memory {mib:.1} MiB, load {load:.2} over {secs:.1} s")
    }
}

/// The job that is furthest beyond what it asked for, what it uses and what it asked for. Who has not asked to be watched
/// is not in it, and neither is who keeps to its word.
fn furthest(resident: &[(Key, u64)], asked: impl Fn(&Key) -> Option<u64>) -> Option<(Key, u64, u64)> {
    let watched = resident.iter().filter_map(|(key, bytes)| Some((*key, *bytes, asked(key)?)));
    watched.filter(|(_, bytes, asked)| bytes > asked).max_by_key(|(_, bytes, asked)| bytes - asked)
}

fn own_peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<u64>().map_or(0, |kib| kib << 10)
}

impl Shell {
    /// Looks at the jobs that want it; when to look again.
    pub(crate) fn sample(&mut self, now: Instant) -> Option<Instant> {
        let period = self.jobs.values().filter_map(|job| job.sampled()).min()?;
        let mut resident: Vec<(Key, u64)> = Vec::new();
        for (field, pids) in self.families.members() {
            let Some(key) = self.by_field.get(&field) else { continue };
            let Some(job) = self.jobs.get_mut(key) else { continue };
            let Some(usage) = &mut job.usage else { continue };
            let bytes = pids.into_iter().map(memory::resident).sum();
            usage.peak_bytes = usage.peak_bytes.max(bytes);
            resident.push((*key, bytes));
        }
        self.watch(&resident);
        Some(now + period)
    }

    /// Ends the job that is furthest beyond what it asked for, if memory is about to run out.
    fn watch(&mut self, resident: &[(Key, u64)]) {
        let asked = |key: &Key| self.jobs.get(key).and_then(|job| job.plan.memory_watched);
        let Some((key, bytes, asked)) = furthest(resident, asked) else { return };
        let Some((used, max)) = memory::pressure(Path::new("/")) else { return };
        if used.saturating_mul(100) <= max.saturating_mul(FULL_PERCENT) {
            return;
        }
        let Some(job) = self.jobs.get(&key) else { return };
        let note = format!(
            "memory of {} is nearly full ({} of {} MiB): the job uses {} MiB there and asked for {} (memory-watchdog)",
            job.plan.node.host,
            used >> 20,
            max >> 20,
            bytes >> 20,
            asked >> 20
        );
        self.fail(key, note, libc::SIGKILL);
    }

    /// The end of a job that was measured.
    pub(crate) fn tell_usage(&mut self, key: Key) {
        let Some(job) = self.jobs.get(&key).filter(|job| job.plan.options.sysmon.is_some()) else { return };
        let Some(usage) = &job.usage else { return };
        let message = usage.tell(&job.plan.node.host, Instant::now());
        let context = json!({"level": 6, "rank": self.rank.0, "component": "sysmon", "message": message});
        let entries = vec![Entry::new(wall(), "log").with_context(context)];
        self.outbox.push(key, What::Output { entries }, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flurm_types::JobId;

    #[test]
    fn who_is_furthest_beyond_its_word_goes() {
        let key = |id| (JobId(id), 0);
        let asked = |key: &Key| [None, Some(10), Some(50), Some(0)][key.0.0 as usize];
        let resident = [(key(0), 1000), (key(1), 40), (key(2), 60), (key(3), 20)];
        assert_eq!(furthest(&resident, asked), Some((key(1), 40, 10)));
        assert_eq!(furthest(&[(key(0), 1000), (key(2), 50)], asked), None);
    }
}
