//! `flurm` alone: where we are and what to type next.

use crate::face::Face;
use crate::failure::Failure;
use crate::{out, when};
use flurm_wire::job::{List, Listed};
use flurm_wire::{Dest, resource, state};
use std::io::Write;

pub fn run(face: &Face) -> Result<u8, Failure> {
    if face.uri().is_err() {
        let slurm = |name| std::env::var(name).ok().filter(|v| !v.is_empty());
        let job = slurm("SLURM_JOB_ID").zip(slurm("SLURM_JOB_NUM_NODES"));
        out::stdout().write_all(outside(face.name, job).as_bytes())?;
        return Ok(0);
    }
    let client = face.connect()?;
    let info = client.call(Dest::Leader, &state::Get {})?;
    let resources = client.call(Dest::Leader, &resource::Status {})?;
    let listed = client.call(Dest::Leader, &List { max_entries: 1, ..List::default() })?;
    out::stdout().write_all(inside(face.name, &info, &resources, &listed).as_bytes())?;
    Ok(0)
}

/// What srun is told beside the sizes.
const SRUN: &str = "--cpu-bind=none --mpi=none \\\n       --overlap --no-kill --kill-on-bad-exit=0";

/// How to start an instance here. `slurm` is the job around us, if there is one: its id and its nodes.
fn outside(name: &str, slurm: Option<(String, String)>) -> String {
    let how = match slurm {
        Some((id, nodes)) => {
            let word = if nodes == "1" { "node" } else { "nodes" };
            format!(
                "You are in Slurm job {id} with {nodes} {word}. Start one broker on each:\n\n  \
             srun -N{nodes} -n{nodes} --ntasks-per-node=1 {SRUN} {name} start ./my-script.sh\n"
            )
        }
        None => format!(
            "Start an instance on this machine, with your shell in it:\n\n  {name} start\n\n\
             or play four nodes:\n\n  {name} start --test-size=4\n\n\
             In a Slurm batch script:\n\n  \
             srun -N\"$SLURM_JOB_NUM_NODES\" -n\"$SLURM_JOB_NUM_NODES\" --ntasks-per-node=1 {SRUN} \
             {name} start ./my-script.sh\n"
        ),
    };
    format!("There is no {name} instance here.\n\n{how}\nAll commands: {name} --help\n")
}

fn inside(name: &str, info: &state::Info, resources: &resource::StatusInfo, listed: &Listed) -> String {
    let free = super::resource::Share::of(resources, when::now()).free;
    let stats = &listed.stats;
    let left = if info.expiration.is_zero() {
        "no time limit".to_owned()
    } else {
        format!("{} left", when::hms(info.expiration.secs_since(info.now)))
    };
    let nodes = if info.size == 1 { "node" } else { "nodes" };
    format!(
        "{} {nodes}, {} of {} cores free, {} running, {} pending, {left}\n\n  \
         {name} run -n4 ./program     run it and see its output\n  \
         {name} submit ./program      queue it and go on\n  \
         {name} jobs -a               what became of the jobs\n",
        info.size,
        free.ncores(),
        resources.all.ncores(),
        stats.running(),
        stats.pending(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outside_it_tells_how_to_start_one_here() {
        let text = outside("flurm", None);
        assert!(text.contains("flurm start --test-size=4"), "{text}");
        let readme = include_str!("../../../README.md");
        let line = readme.split_once("```sh\nsrun ").and_then(|(_, rest)| rest.split_once("\n```"));
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ");
        assert!(words(&text).contains(&words(line.expect("the line").0)), "{text}");
        let text = outside("flux", Some(("123".into(), "4".into())));
        assert!(
            text.contains("Slurm job 123") && text.contains("srun -N4 -n4") && text.contains("flux start")
        );
    }
}
