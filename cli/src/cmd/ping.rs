//! `flurm ping`: how long a broker takes to answer.

use crate::face::Face;
use crate::failure::{FAILED, Failure};
use crate::{out, when};
use flurm_types::Rank;
use flurm_wire::Dest;
use flurm_wire::overlay::Ping;
use std::io::Write;
use std::time::{Duration, Instant};

/// Measure how long a broker takes to answer
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Rank of the broker
    rank: u32,
    /// Stop after so many answers (default: when interrupted)
    #[arg(short, long, value_name = "N")]
    count: Option<u64>,
    /// Time from one question to the next
    #[arg(short, long, value_name = "DURATION", default_value = "1s", value_parser = when::duration)]
    interval: f64,
    /// Make each message larger by so many bytes
    #[arg(short, long, value_name = "BYTES", default_value_t = 0)]
    pad: usize,
}

impl Args {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        if self.pad > flurm_wire::frame::LEN_MAX / 2 {
            return Err(Failure::usage(format!("--pad={} is more than a message holds", self.pad)));
        }
        face.connected(async |client| {
            let mut interrupt = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())?;
            let mut clock = tokio::time::interval(Duration::from_secs_f64(self.interval.min(1e9)));
            let mut times = Vec::new();
            for seq in 0.. {
                if self.count.is_some_and(|count| seq >= count) {
                    break;
                }
                tokio::select! {
                    _ = clock.tick() => {}
                    _ = interrupt.recv() => break,
                }
                let asked = Instant::now();
                let ping = Ping { seq, pad: "x".repeat(self.pad) };
                let pong = client.call(Dest::Rank(Rank(self.rank)), &ping).await?;
                let ms = asked.elapsed().as_secs_f64() * 1e3;
                let mut out = out::stdout();
                writeln!(out, "{} {}: seq={} time={ms:.3} ms", pong.rank, pong.host, pong.seq)?;
                out.flush()?;
                times.push(ms);
            }
            let Some(summary) = summary(times) else { return Ok(FAILED) };
            writeln!(out::stdout(), "{summary}")?;
            Ok(0)
        })
    }
}

fn summary(mut times: Vec<f64>) -> Option<String> {
    times.sort_by(f64::total_cmp);
    let (min, max) = (times.first()?, times.last()?);
    let median = times[times.len() / 2];
    let answers = flurm_types::counted(times.len() as u64, "answer");
    Some(format!("{answers}, min {min:.3} ms, median {median:.3} ms, max {max:.3} ms"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_median_is_the_middle_one() {
        let text = super::summary(vec![3.0, 1.0, 50.0]).unwrap();
        assert_eq!(text, "3 answers, min 1.000 ms, median 3.000 ms, max 50.000 ms");
        assert_eq!(super::summary(Vec::new()), None);
    }
}
