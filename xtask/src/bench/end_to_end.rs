//! What a user at a prompt would time: whole commands, with processes, wire and disk.

use std::time::Instant;

use super::Effort;
use super::instance::{Instance, command, config, output};
use super::measure::{Figure, times_ms};
use super::spawn;

/// Brokers and cores that the other figures are taken with.
const SIZE: u32 = 4;
const CORES: u32 = 16;

pub fn start(effort: Effort) -> Result<Vec<Figure>, String> {
    let (sizes, rounds): (&[u32], usize) =
        if effort == Effort::Quick { (&[1, 4], 1) } else { (&[1, 4, 16, 64], 10) };
    let one = |&size: &u32| {
        let config = config(size, CORES)?;
        let times = times_ms(rounds, || {
            let mut command = command(&["start", &format!("--test-size={size}"), "--config-path"])?;
            command.arg(&config).arg("true");
            output(command).map(drop)
        });
        let _ = std::fs::remove_file(&config);
        Ok(Figure::samples(format!("start and stop of {size} brokers"), "ms", times?))
    };
    sizes.iter().map(one).collect()
}

pub fn latency(effort: Effort) -> Result<Vec<Figure>, String> {
    let rounds = if effort == Effort::Quick { 10 } else { 200 };
    let instance = Instance::start(SIZE, CORES, &[])?;
    let timed = |what: &str, arguments: &[&str]| {
        let times = times_ms(rounds, || instance.run(arguments).map(drop))?;
        Ok(Figure::samples(what, "ms", times))
    };
    // Ten rounds are thrown away: the first ones find cold caches.
    times_ms(10, || instance.run(&["run", "true"]).map(drop))?;
    [
        timed("flurm version (a process and no wire)", &["version"]),
        timed("flurm getattr size (one round trip)", &["getattr", "size"]),
        timed("flurm submit true", &["submit", "true"]),
        timed("flurm run true", &["run", "true"]),
        timed("flurm run -N4 -n4 true", &["run", "-N4", "-n4", "true"]),
    ]
    .into_iter()
    .collect()
}

/// Events of a job, and what lies between them.
const STEPS: [(&str, &str, &str); 5] = [
    ("submit", "alloc", "submitted, committed, matched"),
    ("alloc", "start", "sent to the shell, launched, reported"),
    ("start", "finish", "the program, its end reported"),
    ("finish", "clean", "resources given back"),
    ("submit", "clean", "from the first event to the last"),
];

pub fn split(effort: Effort) -> Result<Vec<Figure>, String> {
    let rounds = if effort == Effort::Quick { 10 } else { 200 };
    let instance = Instance::start(1, 64, &[])?;
    times_ms(10, || instance.run(&["run", "true"]).map(drop))?;
    let mut steps = vec![Vec::new(); STEPS.len()];
    let mut times = Vec::new();
    for _ in 0..rounds {
        times.extend(times_ms(1, || instance.run(&["run", "true"]).map(drop))?);
        let id = instance.run(&["job", "last"])?;
        instance.run(&["job", "wait-event", "--quiet", &id, "clean"])?;
        let log = instance.run(&["job", "info", &id, "eventlog"])?;
        let time = |name: &str| -> Result<f64, String> {
            let events = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
            let mut times = events.filter(|e| e["name"] == name).filter_map(|e| e["timestamp"].as_f64());
            times.next().ok_or_else(|| format!("{id} has no event {name}"))
        };
        for ((from, to, _), times) in STEPS.iter().zip(&mut steps) {
            times.push(1000.0 * (time(to)? - time(from)?));
        }
    }
    let wire = times_ms(rounds, || instance.run(&["getattr", "size"]).map(drop))?;
    let client = times_ms(rounds, || instance.run(&["version"]).map(drop))?;
    let mut figures = vec![
        Figure::samples("flurm run true", "ms", times),
        Figure::samples("the client alone (flurm version)", "ms", client),
        Figure::samples("with one round trip (flurm getattr size)", "ms", wire),
    ];
    let named = STEPS.iter().zip(steps);
    figures
        .extend(named.map(|((from, to, what), times)| {
            Figure::samples(format!("{from} to {to}: {what}"), "ms", times)
        }));
    // As many processes as a large node has cores.
    let tasks = times_ms(rounds, || instance.run(&["run", "-n64", "-o", "pmi=off", "true"]).map(drop))?;
    figures.push(Figure::samples("flurm run -n64 -o pmi=off true", "ms", tasks));
    let bare = times_ms(rounds, || spawn::rate_with(1, 64).map(drop))?;
    figures.push(Figure::samples("64 bare posix_spawn + waitpid, one after the other", "ms", bare));
    Ok(figures)
}

pub fn submit_bulk(effort: Effort) -> Result<Vec<Figure>, String> {
    let jobs = jobs(effort);
    let instance = Instance::start(SIZE, CORES, &[])?;
    instance.run(&["queue", "stop"])?;
    let seconds = bulk(&instance, jobs, &[])?;
    instance.run(&["cancel", "--all"])?;
    Ok(vec![Figure::value("durable submits", "jobs/s", jobs, jobs as f64 / seconds)])
}

pub fn throughput(effort: Effort) -> Result<Vec<Figure>, String> {
    let jobs = jobs(effort);
    // The ceiling is taken before and after: a shared machine changes under us.
    let before = spawn::rate_with(4, jobs)?.median;
    let instance = Instance::start(SIZE, CORES, &[])?;
    bulk(&instance, 100, &["--wait"])?;
    let seconds = bulk(&instance, jobs, &["--wait"])?;
    drop(instance);
    let after = spawn::rate_with(4, jobs)?.median;
    let rate = jobs as f64 / seconds;
    let bare = f64::midpoint(before, after);
    Ok(vec![
        Figure::value("bare posix_spawn + waitpid, before", "processes/s", jobs, before),
        Figure::value("no-op jobs, end to end", "jobs/s", jobs, rate),
        Figure::value("bare posix_spawn + waitpid, after", "processes/s", jobs, after),
        Figure::value("share of the bare rate", "%", jobs, 100.0 * rate / bare),
    ])
}

fn jobs(effort: Effort) -> usize {
    if effort == Effort::Quick { 500 } else { 10_000 }
}

/// Seconds that it takes to submit `jobs` jobs.
fn bulk(instance: &Instance, jobs: usize, more: &[&str]) -> Result<f64, String> {
    let copies = format!("--cc=1-{jobs}");
    let arguments = [&["submit", "--quiet", &copies][..], more, &["true"]].concat();
    let begun = Instant::now();
    instance.run(&arguments)?;
    Ok(begun.elapsed().as_secs_f64())
}
