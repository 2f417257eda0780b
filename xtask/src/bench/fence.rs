//! Many ranks that exchange something at once: `flurm run` of this program itself as ranks that do nothing else.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::FromRawFd;
use std::time::Instant;

use super::Effort;
use super::instance::Instance;
use super::measure::{Figure, ms};

const BROKERS: u32 = 16;
const RANKS: u32 = 512;

pub fn fence(effort: Effort) -> Result<Vec<Figure>, String> {
    let rounds = if effort == Effort::Quick { 5 } else { 50 };
    let me = std::env::current_exe().map_err(|error| error.to_string())?;
    let me = me.to_str().ok_or("the path of xtask is no text")?;
    let instance = Instance::start(BROKERS, RANKS / BROKERS, &[])?;
    let (nodes, ranks) = (format!("-N{BROKERS}"), format!("-n{RANKS}"));
    let begun = Instant::now();
    let printed =
        instance.run(&["run", &nodes, &ranks, "-o", "pmi=simple", me, "fence-rank", &rounds.to_string()])?;
    let whole = ms(begun.elapsed());
    let times: Result<Vec<f64>, _> = printed.lines().map(str::parse).collect();
    let mut times = times.map_err(|error| format!("{printed}: {error}"))?;
    if times.len() != rounds + 1 {
        return Err(format!("{} times for {rounds} rounds", times.len()));
    }
    // The first one waits for the last rank to be started.
    let first = times.remove(0);
    Ok(vec![
        Figure::samples(format!("put and barrier of {RANKS} ranks over {BROKERS} brokers"), "ms", times),
        Figure::value("the first one, with the start of all ranks after the first", "ms", 1, first),
        Figure::value("flurm run from start to end", "ms", 1, whole),
    ])
}

/// One rank: puts a business card as long as MPICH's, waits in the barrier, reads its neighbour's.
pub fn rank(rounds: &str) -> Result<u8, String> {
    let number = |name: &str| -> Result<u32, String> {
        let value = std::env::var(name).map_err(|error| format!("{name}: {error}"))?;
        value.parse().map_err(|error| format!("{name}={value}: {error}"))
    };
    let (rank, size) = (number("PMI_RANK")?, number("PMI_SIZE")?);
    let fd = i32::try_from(number("PMI_FD")?).map_err(|error| error.to_string())?;
    let rounds: u32 = rounds.parse().map_err(|error| format!("{rounds}: {error}"))?;
    // SAFETY: the launcher has left it to this process, which uses it here only.
    let mut to = unsafe { File::from_raw_fd(fd) };
    let mut from = BufReader::new(to.try_clone().map_err(|error| error.to_string())?);
    let mut ask = |request: &str| -> Result<String, String> {
        let mut answer = String::new();
        to.write_all(request.as_bytes()).map_err(|error| error.to_string())?;
        from.read_line(&mut answer).map_err(|error| error.to_string())?;
        if answer.contains("rc=0") { Ok(answer) } else { Err(format!("{request}: {answer}")) }
    };
    ask("cmd=init pmi_version=1 pmi_subversion=1\n")?;
    let name = ask("cmd=get_my_kvsname\n")?;
    let name = name.trim_end().rsplit("kvsname=").next().unwrap_or_default().to_owned();
    let card = "x".repeat(200);
    let mut told = String::new();
    for round in 0..=rounds {
        let begun = Instant::now();
        ask(&format!("cmd=put kvsname={name} key=card-{round}-{rank} value={card}\n"))?;
        ask("cmd=barrier_in\n")?;
        let took = begun.elapsed();
        let neighbour = (rank + 1) % size;
        let found = ask(&format!("cmd=get kvsname={name} key=card-{round}-{neighbour}\n"))?;
        if !found.trim_end().ends_with(&card) {
            return Err(format!("the card of rank {neighbour}: {found}"));
        }
        if rank == 0 {
            writeln!(told, "{:.3}", ms(took)).map_err(|error| error.to_string())?;
        }
    }
    ask("cmd=finalize\n")?;
    print!("{told}");
    Ok(0)
}
