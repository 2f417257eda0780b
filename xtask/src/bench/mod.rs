//! `cargo xtask bench`: figures with the machine, the load and the revision they were taken on.
//!
//! Nothing here passes or fails: a shared machine is no judge. What a figure includes (wire, disk, processes) stands
//! in its benchmark's description and is printed with it.

mod busy;
mod codec;
mod cpu;
mod describing;
mod end_to_end;
mod fence;
mod instance;
mod looking;
mod machine;
mod matching;
mod measure;
mod memory;
mod nest;
mod overlay;
mod scheduling;
mod sharing;
mod slurm;
mod spawn;

use serde_json::json;

use measure::Figure;

/// How much to do.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Effort {
    /// Enough to see that it works.
    Quick,
    Full,
}

struct Bench {
    name: &'static str,
    /// One line: what is measured and what the figure includes.
    about: &'static str,
    run: fn(Effort) -> Result<Vec<Figure>, String>,
}

const BENCHES: &[Bench] = &[
    Bench {
        name: "spawn-rate",
        about: "processes per second that this machine can start and reap at all: posix_spawn of /bin/true, no flurm",
        run: spawn::rate,
    },
    Bench {
        name: "start",
        about: "`flurm start --test-size=N true`, from the first process to the last one's end: boot, resources, \
                initial program, shutdown, cleaning up",
        run: end_to_end::start,
    },
    Bench {
        name: "latency",
        about: "one command after the other, each a process of its own, on 4 brokers: wire, commit to disk, tasks",
        run: end_to_end::latency,
    },
    Bench {
        name: "split",
        about: "where the time of `flurm run true` goes on one broker: its own events (the leader's clock), beside a client \
                that does nothing and one that asks once; and a job of 64 tasks beside 64 bare starts",
        run: end_to_end::split,
    },
    Bench {
        name: "submit-bulk",
        about: "`flurm submit --cc=1-N` with scheduling stopped: process, wire, checks, commit to disk, ids printed",
        run: end_to_end::submit_bulk,
    },
    Bench {
        name: "throughput",
        about: "no-op jobs from `flurm submit --cc=1-N --wait` to the last one's end, all durable, beside the rate at \
                which this machine starts the same program without flurm",
        run: end_to_end::throughput,
    },
    Bench {
        name: "cpu",
        about: "processor time of the same no-op jobs by who spends it, beside that of a bare start; what the kernel does for nobody                 (disk, interrupts) is not in it",
        run: cpu::cpu,
    },
    Bench {
        name: "match",
        about: "find, take and give back in the resource graph, no broker: 2 sockets x 24 cores a node, one GPU a socket, \
                at several fills in random order. The floor is the answer itself: for one node 7 allocations in find \
                (a list, host and topology of the R) and 3 in take, about 0.3 us; the search is 3 words a number at \
                16,384 nodes, all in the second-level cache",
        run: matching::matching,
    },
    Bench {
        name: "describe",
        about: "a machine read from JGF, time and memory; and find, take and give back of requests with racks, domains, \
                caches and memory, no broker",
        run: describing::describing,
    },
    Bench {
        name: "sched",
        about: "cycles of the scheduler with many jobs pending on 1,000 full nodes, no broker; and with FLURM_BENCH_SWF a \
                trace replayed on one core a processor",
        run: scheduling::scheduling,
    },
    Bench {
        name: "sharing",
        about: "makespans of simulated mixes of 500 jobs on 16 nodes of 2 sockets x 10 cores, by placement, in parts of the one \
                of compact; jobs slow each other down as the built-in table says. No clock: the same on every machine",
        run: sharing::sharing,
    },
    Bench {
        name: "busy",
        about: "`flurm jobs` (a process, 1,000 rows) while the leader plans and plans again: conservative, thousands of pending \
                jobs of many shapes and lengths on 16 nodes, each question after a change that undoes the plan",
        run: busy::busy,
    },
    Bench {
        name: "jobs",
        about: "listings (a process each) of one broker with so many jobs that wait: the newest ones, few, none, all; and the \
                memory of `flurm watch` over the output of a job that writes line by line",
        run: looking::listings,
    },
    Bench {
        name: "slurm-codec",
        about: "a request of `sbatch` (a script of 60 lines, 80 variables) as bytes and back, the hash that its credential holds, \
                and an answer for `squeue`; no process, no socket",
        run: codec::codec,
    },
    Bench {
        name: "fence",
        about: "512 ranks over 16 brokers, all on this machine, put 200 bytes each and pass a PMI-1 barrier; told by rank 0. The \
                floor is 512 x 2 requests that wake a shell and 512 x 2 answers that wake a rank, some 3 us each, and 15 \
                messages up and down one step of the tree of shells, the answers of 150 kB each",
        run: fence::fence,
    },
    Bench {
        name: "nest",
        about: "an instance of one broker as a job (`flurm alloc -n1`): from the job's `start`, when its broker has been \
                spawned, to the first line of its script and to the first job inside; told by `date` in both. And \
                the whole command, from the user's process to its end",
        run: nest::nest,
    },
    Bench {
        name: "memory",
        about: "resident memory of brokers and shells, idle, after no-op jobs and with 200 running tasks; processor time of an \
                idle instance",
        run: memory::memory,
    },
    Bench {
        name: "overlay",
        about: "round trips through the tree of 64 brokers (fan-out 8) by one client, alone and 64 at a time",
        run: overlay::overlay,
    },
    Bench {
        name: "slurm",
        about: "Slurm's own commands as processes, one after the other, against an instance that answers them: start of the \
                process, its credential, question, answer, print",
        run: slurm::commands,
    },
];

pub use describing::read_jgf;
pub use fence::rank as fence_rank;

/// Runs one `bench` command.
pub fn main(arguments: &[&str]) -> Result<u8, String> {
    let (flags, names): (Vec<&str>, Vec<&str>) = arguments.iter().partition(|word| word.starts_with("--"));
    if let Some(flag) = flags.iter().find(|flag| !["--json", "--quick"].contains(*flag)) {
        return Err(format!("bench: unknown option {flag}"));
    }
    let effort = if flags.contains(&"--quick") { Effort::Quick } else { Effort::Full };
    let chosen: Vec<&Bench> = match names.as_slice() {
        [] | ["list"] => {
            for bench in BENCHES {
                println!("{:20} {}", bench.name, bench.about);
            }
            return Ok(0);
        }
        ["all"] => BENCHES.iter().collect(),
        names => names.iter().map(|name| find(name)).collect::<Result<_, _>>()?,
    };
    for bench in chosen {
        let before = machine::Machine::now();
        let figures = (bench.run)(effort).map_err(|error| format!("bench {}: {error}", bench.name))?;
        let after = machine::Machine::now();
        if flags.contains(&"--json") {
            let figures: Vec<_> = figures.iter().map(Figure::to_json).collect();
            let line = json!({
                "bench": bench.name, "about": bench.about, "quick": effort == Effort::Quick,
                "machine": before.to_json(), "load_after": after.load, "figures": figures,
            });
            println!("{line}");
        } else {
            println!("{}: {}", bench.name, bench.about);
            println!("  {} load {} to {}", before.line(), before.load, after.load);
            print!("{}", measure::table(&figures));
        }
    }
    Ok(0)
}

fn find(name: &str) -> Result<&'static Bench, String> {
    let known = BENCHES.iter().find(|bench| bench.name == name);
    known.ok_or_else(|| format!("no benchmark {name}; `cargo xtask bench list` names them"))
}
