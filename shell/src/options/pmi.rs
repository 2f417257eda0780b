//! Whether tasks are offered PMI. Pure.

use super::{Context, Given, OptionError, bad, find, text};

/// A lone task hardly ever speaks PMI, and a socket for each of ten thousand small jobs is not free. So one task
/// gets PMI only when it starts an instance or when it is asked for.
pub(super) fn pmi(given: &Given, context: Context<'_>) -> Result<bool, OptionError> {
    match text(given, "pmi")? {
        Some("off" | "none") => return Ok(false),
        Some(list) => {
            if let Some(word) = list.split(',').find(|word| !["simple", "pmi1", "pmi2"].contains(word)) {
                return bad("pmi", format!("`{word}` is not simple or off"));
            }
            return Ok(true);
        }
        None => {}
    }
    let program = context.command.first().and_then(|name| name.rsplit('/').next()).unwrap_or_default();
    Ok(context.ntasks > 1 || find(given, "mpi").is_some() || program == "flurm" || program == "flux")
}
