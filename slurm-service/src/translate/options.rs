//! Every option of `sbatch`, and what becomes of it: `options.txt`, the one table behind `docs/slurm-options.md` and the
//! test that walks it.

/// What becomes of an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is honoured: what it becomes.
    Becomes(&'static str),
    /// Name of Slurm's error, and why.
    Refused(&'static str, &'static str),
    /// The client does all that there is to do.
    Clients,
}

/// The table: an option as it is typed, and its fate.
pub fn table() -> impl Iterator<Item = (&'static str, Fate)> {
    include_str!("options.txt").lines().map(|line| {
        let (option, fate) = line.split_once(" | ").expect("the table is ours, and a test reads it");
        let fate = match (fate.strip_prefix("= "), fate.strip_prefix("! ")) {
            (Some(what), _) => Fate::Becomes(what),
            (_, Some(refused)) => {
                let (code, why) = refused.split_once(' ').unwrap_or((refused, ""));
                Fate::Refused(code, why)
            }
            (None, None) => Fate::Clients,
        };
        (option, fate)
    })
}

/// The table for people.
pub fn page() -> String {
    let mut page = "# Options of sbatch\n\nWhat becomes of each option when `sbatch` speaks to an instance; `salloc` and `srun` \
        outside a job send the same message. Nothing is ignored in silence: an option is honoured, or the job is refused with \
        Slurm's own error and a line that names the option. The table is \
        [options.txt](../slurm-service/src/translate/options.txt), and a test sends each of them.\n\n\
        | option | |\n| --- | --- |\n"
        .to_owned();
    for (option, fate) in table() {
        let fate = match fate {
            Fate::Becomes(what) => what.to_owned(),
            Fate::Refused(code, why) => format!("refused, {code}: {why}"),
            Fate::Clients => "by the client alone".to_owned(),
        };
        page.push_str(&format!("| `{option}` | {fate} |\n"));
    }
    page
}
