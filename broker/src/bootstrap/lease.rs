//! An instance in a Slurm job hears when the job's time limit changes. Slurm tells nobody, so it is asked now and then.

use super::parent::{call, connect};
use crate::boot::Boot;
use crate::clock;
use flurm_types::{Fsd, Timestamp};
use flurm_wire::Dest;
use flurm_wire::resource::Lease;
use std::io::ErrorKind;
use std::process::{Command, Stdio};
use std::time::Duration;

/// How often, if nobody says.
pub(crate) const INTERVAL: &str = "slurm.poll-interval";
/// Limits are changed by people, and one question in a minute is no load for slurmctld; Flux asks as often.
const EVERY: Duration = Duration::from_secs(60);
/// What is taken at least and at most.
const EVERY_SECS: (f64, f64) = (0.1, 1e7);
/// Slurm counts in whole seconds, and its answer takes some time.
const MOVED_SECS: f64 = 5.0;
const STACK_BYTES: usize = 128 << 10;

/// What rank 0 does aside. The thread ends with the process.
pub(crate) fn begin(boot: &Boot, job: String) {
    let (own, mut end) = (boot.uri(), boot.expiration);
    let every = boot.attributes.get(INTERVAL).and_then(|text| text.parse::<Fsd>().ok());
    let every = every
        .map_or(EVERY, |every| Duration::from_secs_f64(every.as_secs().clamp(EVERY_SECS.0, EVERY_SECS.1)));
    let aside = move || {
        loop {
            std::thread::sleep(every);
            let left = match ask(&job) {
                Ok(left) => left,
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    return tracing::debug!(
                        "there is no squeue here: changes of the time limit are not seen"
                    );
                }
                Err(_) => None,
            };
            // One answer that does not come, or that we cannot read, changes nothing.
            let Some(left) = left else { continue };
            let now = match left {
                Left::Unlimited => Timestamp::ZERO,
                Left::Secs(secs) => clock::wall().checked_add_secs(secs).unwrap_or(Timestamp::ZERO),
            };
            let moved = end.is_zero() != now.is_zero() || now.secs_since(end).abs() > MOVED_SECS;
            if moved {
                let told = connect(&own)
                    .and_then(|mut us| call(&mut us, Dest::Leader, 1, &Lease { expiration: now }));
                match told {
                    Ok(_) => end = now,
                    Err(error) => tracing::debug!(%error, "tell the instance its new end"),
                }
            }
        }
    };
    let thread = std::thread::Builder::new().name("lease".into()).stack_size(STACK_BYTES);
    if let Err(error) = thread.spawn(aside) {
        tracing::debug!(%error, "follow the time limit of the Slurm job");
    }
}

#[derive(Debug, PartialEq)]
enum Left {
    Unlimited,
    Secs(f64),
}

fn ask(job: &str) -> std::io::Result<Option<Left>> {
    let mut command = Command::new("squeue");
    command.args(["--noheader", "--format=%L"]).arg(format!("--jobs={job}"));
    let said = command.stdin(Stdio::null()).stderr(Stdio::null()).output()?;
    Ok(read(String::from_utf8_lossy(&said.stdout).trim()))
}

/// `DAYS-HOURS:MINUTES:SECONDS`, from the left as much as there is; none for words such as `NOT_SET`.
fn read(text: &str) -> Option<Left> {
    if text == "UNLIMITED" {
        return Some(Left::Unlimited);
    }
    let (days, clock) = text.split_once('-').unwrap_or(("0", text));
    let hours = clock.split(':').try_fold(0u64, |sum, part| Some(sum * 60 + part.parse::<u64>().ok()?))?;
    Some(Left::Secs((days.parse::<u64>().ok()? * 86400 + hours) as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_that_is_left_is_read_as_squeue_prints_it() {
        for (text, secs) in [("29:59", 1799.0), ("1:00:00", 3600.0), ("2-00:00:01", 172_801.0), ("0:05", 5.0)]
        {
            assert_eq!(read(text), Some(Left::Secs(secs)), "{text}");
        }
        assert_eq!(read("UNLIMITED"), Some(Left::Unlimited));
        for text in ["", "NOT_SET", "INVALID", "1-x", "-"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
