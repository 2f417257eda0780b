//! Instances inside instances: how long until there is work in one.

use super::Effort;
use super::instance::{Instance, flurm};
use super::measure::{Figure, times_ms};

pub fn nest(effort: Effort) -> Result<Vec<Figure>, String> {
    let rounds = if effort == Effort::Quick { 10 } else { 100 };
    let instance = Instance::start(1, 4, &[])?;
    let bin = flurm()?.display().to_string();
    let script = format!("date +%s.%N; {bin} run date +%s.%N");
    let run = || -> Result<[f64; 2], String> {
        let said = instance.run(&["alloc", "-n1", "sh", "-c", &script])?;
        let id = instance.run(&["job", "last"])?;
        let begun = start_of(&instance.run(&["job", "eventlog", "-f", "json", &id])?)?;
        let mut times = said.lines().filter_map(|line| line.trim().parse::<f64>().ok());
        match (times.next(), times.next()) {
            (Some(script), Some(job)) => Ok([(script - begun) * 1e3, (job - begun) * 1e3]),
            _ => Err(format!("no times in {said:?}")),
        }
    };
    // The first ones find cold caches.
    for _ in 0..3 {
        run()?;
    }
    let times = (0..rounds).map(|_| run()).collect::<Result<Vec<_>, _>>()?;
    let whole = times_ms(rounds, || instance.run(&["alloc", "-n1", "true"]).map(drop))?;
    Ok(vec![
        Figure::samples("start to the script's first line", "ms", times.iter().map(|t| t[0]).collect()),
        Figure::samples("start to the first job inside", "ms", times.iter().map(|t| t[1]).collect()),
        Figure::samples("flurm alloc -n1 true", "ms", whole),
    ])
}

/// When the job's tasks had been started, in seconds.
fn start_of(log: &str) -> Result<f64, String> {
    let entries = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let time = entries.filter(|entry| entry["name"] == "start").find_map(|entry| entry["timestamp"].as_f64());
    time.ok_or_else(|| format!("no start in {log}"))
}
