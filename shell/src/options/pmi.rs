//! What tasks are offered to find each other by: `mpi` and `pmi`. Pure.

use super::{Context, Given, OptionError, bad, text};

/// The ways to PMI that a job is offered.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct Offer {
    /// PMI-1 and PMI-2, on one socket.
    pub wire: bool,
    pub pmix: Ask,
}

#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub enum Ask {
    No,
    /// If the program looks as if it needs it.
    Auto,
    Yes,
}

const NOTHING: Offer = Offer { wire: false, pmix: Ask::No };

/// A lone task hardly ever speaks PMI, and a socket for each of ten thousand small jobs is not free. So one task
/// gets PMI only when it starts an instance or when it is asked for.
pub(super) fn pmi(given: &Given, context: Context<'_>) -> Result<Offer, OptionError> {
    if let Some(list) = text(given, "pmi")? {
        return of_list(list);
    }
    let program = context.command.first().and_then(|name| name.rsplit('/').next()).unwrap_or_default();
    let several = context.ntasks > 1;
    let usual = Offer { wire: true, pmix: Ask::Auto };
    match text(given, "mpi")? {
        None if several => Ok(usual),
        None if program == "flurm" || program == "flux" => Ok(Offer { wire: true, pmix: Ask::No }),
        None => Ok(NOTHING),
        Some(mpi) => of_mpi(mpi, usual),
    }
}

fn of_list(list: &str) -> Result<Offer, OptionError> {
    if list == "off" || list == "none" {
        return Ok(NOTHING);
    }
    let mut offer = NOTHING;
    for word in list.split(',') {
        match word {
            "simple" | "pmi1" | "pmi2" => offer.wire = true,
            "pmix" => offer.pmix = Ask::Yes,
            _ => {
                return bad(
                    "pmi",
                    format!("`{word}` is not simple, pmi1, pmi2 or pmix, nor is the list off"),
                );
            }
        }
    }
    Ok(offer)
}

/// `mpi` names a library, with `@VERSION` behind it if one likes, or a way to PMI.
fn of_mpi(mpi: &str, usual: Offer) -> Result<Offer, OptionError> {
    match mpi.split('@').next().unwrap_or(mpi) {
        "none" | "off" => Ok(NOTHING),
        "auto" => Ok(usual),
        "openmpi" | "ompi" => Ok(Offer { wire: true, pmix: Ask::Yes }),
        "pmix" => Ok(Offer { wire: false, pmix: Ask::Yes }),
        "mpich" | "intel" | "intelmpi" | "mvapich" | "mvapich2" | "cray" | "pmi1" | "pmi2" | "simple" => {
            Ok(Offer { wire: true, pmix: Ask::No })
        }
        _ => bad(
            "mpi",
            format!("`{mpi}` is not auto, openmpi, mpich, intel, mvapich, cray, pmi1, pmi2, pmix or none"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn offer(given: serde_json::Value, ntasks: u32, program: &str) -> Result<Offer, String> {
        let command = [program.to_owned()];
        let context = Context { ntasks, gpus_per_slot: 0, command: &command };
        pmi(given.as_object().unwrap(), context).map_err(|e| e.to_string())
    }

    #[test]
    fn several_tasks_are_offered_everything_and_one_nothing() {
        let all = Offer { wire: true, pmix: Ask::Auto };
        let simple = Offer { wire: true, pmix: Ask::No };
        assert_eq!(offer(json!({}), 2, "a"), Ok(all));
        assert_eq!(offer(json!({}), 1, "a"), Ok(NOTHING));
        assert_eq!(offer(json!({}), 1, "/bin/flurm"), Ok(simple));
        assert_eq!(offer(json!({ "mpi": "auto" }), 1, "a"), Ok(all));
        assert_eq!(offer(json!({ "mpi": "mpich@4" }), 4, "a"), Ok(simple));
        assert_eq!(offer(json!({ "mpi": "none" }), 4, "a"), Ok(NOTHING));
        assert_eq!(offer(json!({ "mpi": "pmix" }), 1, "a"), Ok(Offer { wire: false, pmix: Ask::Yes }));
    }

    #[test]
    fn a_list_is_exactly_what_is_offered() {
        assert_eq!(offer(json!({ "pmi": "pmi2,pmix" }), 1, "a"), Ok(Offer { wire: true, pmix: Ask::Yes }));
        assert_eq!(offer(json!({ "pmi": "off", "mpi": "openmpi" }), 4, "a"), Ok(NOTHING));
        for (given, word) in [(json!({ "pmi": "simple,off" }), "off"), (json!({ "mpi": "lam" }), "lam")] {
            assert!(offer(given, 2, "a").unwrap_err().contains(&format!("`{word}` is not")));
        }
    }
}
