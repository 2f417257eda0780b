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
    drop(instance);
    figures.extend(running()?);
    Ok(figures)
}

/// Tasks that run at once on one node, in jobs of one and in one job.
const RUNNING: u32 = 200;

fn running() -> Result<Vec<Figure>, String> {
    let instance = Instance::start(1, RUNNING, &[])?;
    let shell = child_named(instance.broker(0)?, "shell")?;
    let mut figures = Vec::new();
    let (copies, tasks) = (format!("--cc=1-{RUNNING}"), RUNNING.to_string());
    let shapes = [
        (format!("{RUNNING} jobs of one task"), ["--cc", &copies[5..]]),
        (format!("one job of {RUNNING} tasks"), ["-n", &tasks]),
    ];
    for (what, shape) in shapes {
        instance
            .run(&[&["submit", "--quiet", "--wait-event=start"], &shape[..], &["sleep", "1000"]].concat())?;
        figures.push(Figure::value(format!("shell, {what} running"), "MiB", 1, rss_mib(shell)?));
        figures.push(Figure::value(
            format!("shell, {what} running, its share (PSS)"),
            "MiB",
            1,
            pss_mib(shell)?,
        ));
        instance.run(&["cancel", "--all", "--quiet"])?;
        instance.run(&["queue", "drain"])?;
    }
    Ok(figures)
}

/// What is shared with other processes counts in parts: the brokers are the same program.
fn pss_mib(pid: u32) -> Result<f64, String> {
    kib_of(&read(format!("/proc/{pid}/smaps_rollup"))?, "Pss:", pid)
}

fn read(path: String) -> Result<String, String> {
    fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))
}

fn rss_mib(pid: u32) -> Result<f64, String> {
    kib_of(&read(format!("/proc/{pid}/status"))?, "VmRSS:", pid)
}

fn kib_of(text: &str, name: &str, pid: u32) -> Result<f64, String> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    let kib: f64 =
        line.trim().trim_end_matches(" kB").parse().map_err(|_| format!("{name} of {pid}: {line}"))?;
    Ok(kib / 1024.0)
}

/// The child whose command line has this word.
pub fn child_named(parent: u32, word: &str) -> Result<u32, String> {
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
