//! What an instance costs while nobody looks: memory and idle processor time.

use std::fs;
use std::time::{Duration, Instant};

use super::Effort;
use super::instance::Instance;
use super::measure::Figure;

const SIZE: u32 = 4;

pub fn memory(effort: Effort) -> Result<Vec<Figure>, String> {
    let (jobs, watch) = match effort {
        Effort::Quick => (500, Duration::from_secs(1)),
        Effort::Full => (10_000, Duration::from_secs(20)),
    };
    let instance = Instance::start(SIZE, 16, &[])?;
    let leader = instance.broker(0)?;
    let leaf = instance.broker(SIZE - 1)?;
    let shell = child_named(leaf, "shell")?;
    let mut figures = Vec::new();
    let mut measure = |when: &str| -> Result<(), String> {
        for (who, pid) in [("leader", leader), ("leaf broker", leaf), ("shell", shell)] {
            figures.push(Figure::value(format!("{who}, {when}"), "MiB", 1, rss_mib(pid)?));
        }
        Ok(())
    };
    measure("idle")?;
    instance.run(&["submit", "--quiet", "--wait", &format!("--cc=1-{jobs}"), "true"])?;
    measure(&format!("after {jobs} jobs"))?;
    for (who, pid) in [("leader", leader), ("leaf broker", leaf), ("shell", shell)] {
        figures.push(Figure::value(format!("{who}, idle, of one core"), "%", 1, busy_percent(pid, watch)?));
    }
    Ok(figures)
}

fn read(path: String) -> Result<String, String> {
    fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))
}

fn rss_mib(pid: u32) -> Result<f64, String> {
    let status = read(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    let kib: f64 =
        line.trim().trim_end_matches(" kB").parse().map_err(|_| format!("VmRSS of {pid}: {line}"))?;
    Ok(kib / 1024.0)
}

/// The child whose command line has this word.
fn child_named(parent: u32, word: &str) -> Result<u32, String> {
    let children = read(format!("/proc/{parent}/task/{parent}/children"))?;
    let named = |pid: &u32| {
        read(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|line| line.split('\0').any(|argument| argument == word))
    };
    let found = children.split_whitespace().filter_map(|pid| pid.parse().ok()).find(named);
    found.ok_or_else(|| format!("broker {parent} has no child called {word}"))
}

/// Processor time over a while, as a share of one core. Here a wait is the measurement.
fn busy_percent(pid: u32, watch: Duration) -> Result<f64, String> {
    let ticks = || -> Result<f64, String> {
        let stat = read(format!("/proc/{pid}/stat"))?;
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        // Fields 14 and 15 of proc(5), counted from the third.
        let field = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok()).unwrap_or_default();
        Ok(field(11) + field(12))
    };
    // SAFETY: no memory is touched.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64;
    let (begun, before) = (Instant::now(), ticks()?);
    std::thread::sleep(watch);
    Ok(100.0 * (ticks()? - before) / per_second / begun.elapsed().as_secs_f64())
}
