//! Does a leader that schedules all the time still answer? Its cycles have a budget; here it is used up again and again.

use super::Effort;
use super::instance::Instance;
use super::measure::{Figure, times_ms};

const SIZE: u32 = 16;
const CORES: u32 = 48;
/// Jobs of different shapes and lengths.
const SHAPES: usize = 40;

pub fn busy(effort: Effort) -> Result<Vec<Figure>, String> {
    let (each, rounds) = if effort == Effort::Quick { (25, 10) } else { (250, 100) };
    let instance = Instance::configured(SIZE, CORES, "[sched]\npolicy = \"conservative\"\n")?;
    instance.run(&["queue", "stop"])?;
    for shape in 0..SHAPES {
        let (tasks, cores) = (1 + shape * 17 % 140, 1 + shape * 7 % 5);
        let minutes = 10 + shape * 13 % 90;
        let options =
            [format!("--cc=1-{each}"), format!("-n{tasks}"), format!("-c{cores}"), format!("-t{minutes}")];
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        instance.run(&[&["submit", "--quiet"][..], &options, &["sleep", "100000"]].concat())?;
    }
    let first = instance.run(&["job", "last", &format!("[{}:{}]", SHAPES * each - 1, SHAPES * each)])?;
    let jobs = || instance.run(&["jobs"]).map(drop);
    let idle = times_ms(rounds, jobs)?;
    instance.run(&["queue", "start"])?;
    let mut plans = Vec::new();
    for round in 0..rounds {
        // Who comes to the front is planned first, and so is everybody behind again.
        let last = instance.run(&["job", "last", &format!("[{round}:{}]", round + 1)])?;
        instance.run(&["job", "urgency", &last, if round % 2 == 0 { "31" } else { "30" }])?;
        plans.extend(times_ms(1, jobs)?);
    }
    let promised = instance.run(&["job", "why", &first])?;
    if promised.is_empty() {
        return Err("the first job has no reason".to_owned());
    }
    instance.run(&["cancel", "--all", "--quiet"])?;
    Ok(vec![
        Figure::samples(format!("flurm jobs, {} pending, queue stopped", SHAPES * each), "ms", idle),
        Figure::samples(format!("flurm jobs, {} pending, planning", SHAPES * each), "ms", plans),
    ])
}
