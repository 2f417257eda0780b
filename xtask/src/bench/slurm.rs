//! Slurm's own commands against an instance: what one costs, submissions in a loop, a long queue.

use std::path::Path;
use std::process::Command;

use super::Effort;
use super::instance::{Instance, output};
use super::measure::{Figure, times_ms};

pub fn commands(effort: Effort) -> Result<Vec<Figure>, String> {
    let (rounds, submissions, queue) =
        if effort == Effort::Quick { (3, 10, 500) } else { (20, 1000, 10_000) };
    let instance = Instance::start(1, 16, &["--slurm"])?;
    let path = Path::new(instance.uri.trim_start_matches("local://"));
    let conf = path.with_file_name("slurm").join("slurm.conf");
    let slurm = |line: &[&str]| {
        let mut command = Command::new(line[0]);
        command.args(&line[1..]).env_clear().env("SLURM_CONF", &conf).env("PATH", "/usr/bin:/bin");
        command.current_dir("/tmp");
        output(command).map(drop)
    };
    let mut figures = Vec::new();
    let mut timed = |what: &str, count: usize, line: &[&str]| -> Result<(), String> {
        figures.push(Figure::samples(what, "ms", times_ms(count, || slurm(line))?));
        Ok(())
    };
    timed("sinfo --version (no question asked)", rounds, &["sinfo", "--version"])?;
    timed("scontrol ping", rounds, &["scontrol", "ping"])?;
    timed("sinfo", rounds, &["sinfo"])?;
    timed("sbatch, one after the other", submissions, &["sbatch", "-o", "/dev/null", "--wrap", "true"])?;
    instance.run(&["queue", "stop"])?;
    instance.run(&["submit", "--quiet", &format!("--cc=1-{queue}"), "true"])?;
    timed(&format!("squeue, the first of {queue} jobs pending"), 1, &["squeue", "-h"])?;
    timed(&format!("squeue, {queue} jobs pending"), rounds, &["squeue", "-h"])?;
    timed(&format!("scontrol show job 1, {queue} jobs pending"), rounds, &["scontrol", "show", "job", "1"])?;
    Ok(figures)
}
