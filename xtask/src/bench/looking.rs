//! Looking at many jobs: listings of a thousand and of a hundred thousand, and who follows much output.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use super::Effort;
use super::instance::Instance;
use super::measure::{Figure, times_ms};

/// What is asked, and in words.
const QUESTIONS: &[(&str, &[&str])] = &[
    ("flurm jobs (the newest 1,000)", &["jobs"]),
    ("flurm jobs -c 10", &["jobs", "-c", "10"]),
    ("flurm jobs --name=none (nothing matches)", &["jobs", "-a", "--name=none"]),
    ("flurm jobs --stats-only", &["jobs", "-a", "--stats-only"]),
    ("flurm jobs -c 0 -n -o '{id}' (all)", &["jobs", "-c", "0", "-n", "-o", "{id}"]),
    ("flurm jobs -c 0 (all)", &["jobs", "-c", "0"]),
    ("flurm jobs -c 0 --json (all)", &["jobs", "-c", "0", "--json"]),
];

pub fn listings(effort: Effort) -> Result<Vec<Figure>, String> {
    let (sizes, rounds): (&[usize], usize) =
        if effort == Effort::Quick { (&[1000], 2) } else { (&[1000, 100_000], 20) };
    let instance = Instance::start(1, 16, &[])?;
    instance.run(&["queue", "stop"])?;
    let mut figures = Vec::new();
    let mut there = 0;
    for &size in sizes {
        instance.run(&["submit", "--quiet", &format!("--cc={}-{size}", there + 1), "true"])?;
        there = size;
        for (what, question) in QUESTIONS {
            let times = times_ms(rounds, || instance.run(question).map(drop))?;
            figures.push(Figure::samples(format!("{what}, {size} jobs pending"), "ms", times));
        }
    }
    drop(instance);
    figures.push(watch(effort)?);
    Ok(figures)
}

/// Who follows the output of a job that writes many lines, each for itself.
fn watch(effort: Effort) -> Result<Figure, String> {
    let lines = if effort == Effort::Quick { 1000 } else { 100_000 };
    let instance = Instance::start(1, 16, &[])?;
    // It stays, so that whoever follows it does.
    let script =
        format!("i=0; while [ $i -lt {lines} ]; do i=$((i + 1)); echo line $i; done; exec sleep 1000");
    let id = instance.run(&["submit", "-u", "sh", "-c", &script])?;
    let mut command = instance.command(&["watch", id.trim()])?;
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(|e| format!("flurm watch: {e}"))?;
    let out = child.stdout.take().ok_or("flurm watch has no output")?;
    let last = format!("line {lines}");
    for line in BufReader::new(out).lines() {
        if line.map_err(|e| format!("flurm watch: {e}"))? == last {
            break;
        }
    }
    let path = format!("/proc/{}/status", child.id());
    let text = fs::read_to_string(&path).map_err(|e| format!("{path}: {e}"))?;
    let high = text
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    instance.run(&["cancel", id.trim()])?;
    child.wait().map_err(|e| format!("flurm watch: {e}"))?;
    let high = high.ok_or_else(|| format!("{path} has no VmHWM"))?;
    Ok(Figure::value(format!("flurm watch, the most memory over {lines} lines"), "MiB", lines, high / 1024.0))
}
