//! What a task must not inherit: variables of another launcher, another job, another instance. Pure.
//!
//! A library that believes them looks for a server that is not there, takes itself for one task of another job, or calls
//! the outer `srun`. What a user sets for a library (`OMPI_MCA_btl`, `MPIR_CVAR_…`, `I_MPI_FABRICS`) stays.

/// What becomes of a variable of the submitter's.
#[derive(Debug, Copy, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    Stays,
    /// Another launcher has set it for its tasks.
    Launcher,
    /// It speaks of another job; Slurm's go on under another name.
    Job,
    /// It leads to another instance.
    Instance,
}

/// Set by launchers for their tasks: PMI of all kinds, Cray's PALS, Open MPI's, PRRTE's, hydra's, MVAPICH's, IBM's.
const LAUNCHER_PREFIXES: [&str; 9] =
    ["PMI_", "PMI2_", "PMIX_", "PALS_", "OMPI_", "PRTE_", "HYDI_", "MV2_COMM_WORLD_", "JSM_"];

const LAUNCHER: [&str; 6] = [
    "I_MPI_PMI_LIBRARY",
    "FLUX_PMI_LIBRARY_PATH",
    "MPI_LOCALRANKID",
    "MPI_LOCALNRANKS",
    "PMIX_RANK",
    "FLUX_PMI_LIBRARY",
];

/// Parameters that a user sets for a library …
const PARAMETERS: [&str; 3] = ["OMPI_MCA_", "PMIX_MCA_", "PRTE_MCA_"];

/// … but these an `mpirun` of Open MPI 4 sets for its tasks.
const NO_PARAMETERS: [&str; 6] = [
    "OMPI_MCA_orte_",
    "OMPI_MCA_ess",
    "OMPI_MCA_pmix",
    "OMPI_MCA_initial_wdir",
    "OMPI_MCA_shmem_RUNTIME_QUERY_hint",
    "OMPI_MCA_mpi_yield_when_idle",
];

/// What Open MPI's compiler wrappers read: a user builds inside jobs, too.
const COMPILERS: [&str; 9] = [
    "OMPI_CC",
    "OMPI_CXX",
    "OMPI_FC",
    "OMPI_F77",
    "OMPI_CPPFLAGS",
    "OMPI_CFLAGS",
    "OMPI_CXXFLAGS",
    "OMPI_FCFLAGS",
    "OMPI_LDFLAGS",
];

/// Set by the shell for every task; what stands there already is another job's.
const JOB_PREFIXES: [&str; 6] = ["FLUX_JOB_", "FLURM_JOB_", "FLUX_TASK_", "FLURM_TASK_", "SLURM_", "SLURMD_"];

/// The submitter chose this one (`--cc`).
const CHOSEN: [&str; 2] = ["FLUX_JOB_CC", "FLURM_JOB_CC"];

/// Which one of an array a job is, is true of all that runs in it.
const OF_ARRAY: &str = "SLURM_ARRAY_";

const INSTANCE: [&str; 7] = [
    "FLURM_URI",
    "FLUX_URI",
    "FLURM_KVS_NAMESPACE",
    "FLUX_KVS_NAMESPACE",
    "FLURM_ENCLOSING_ID",
    "FLUX_ENCLOSING_ID",
    "FLURM_RANK",
];

/// What becomes of a variable with this name.
pub fn fate(name: &str) -> Fate {
    let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
    let users = (begins(&PARAMETERS) && !begins(&NO_PARAMETERS)) || COMPILERS.contains(&name);
    if (begins(&LAUNCHER_PREFIXES) && !users) || LAUNCHER.contains(&name) {
        Fate::Launcher
    } else if begins(&JOB_PREFIXES) && !CHOSEN.contains(&name) && !name.starts_with(OF_ARRAY) {
        Fate::Job
    } else if INSTANCE.contains(&name) {
        Fate::Instance
    } else {
        Fate::Stays
    }
}

/// For people: what was taken out, and why.
pub fn describe<'a>(removed: impl Iterator<Item = &'a str>) -> String {
    let mut by_fate = std::collections::BTreeMap::<Fate, Vec<&str>>::new();
    for name in removed {
        by_fate.entry(fate(name)).or_default().push(name);
    }
    let mut text = String::new();
    for (fate, names) in by_fate {
        let why = match fate {
            Fate::Stays => continue,
            Fate::Launcher => "of another launcher",
            Fate::Job => "of another job (Slurm's are there as FLURM_OUTER_…)",
            Fate::Instance => "of another instance",
        };
        text.push_str(&format!("flurm-shell: environment: removed, {why}: {}\n", names.join(" ")));
    }
    if text.is_empty() { "flurm-shell: environment: nothing removed\n".into() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_have_set_goes_and_what_the_user_has_set_stays() {
        for name in [
            "PMI_FD",
            "PMIX_RANK",
            "PMIX_SERVER_URI41",
            "PALS_RANKID",
            "OMPI_COMM_WORLD_RANK",
            "OMPI_MCA_ess_base_vpid",
            "OMPI_MCA_orte_hnp_uri",
            "I_MPI_PMI_LIBRARY",
            "MPI_LOCALRANKID",
        ] {
            assert_eq!(fate(name), Fate::Launcher, "{name}");
        }
        for name in ["SLURM_JOB_ID", "SLURMD_NODENAME", "FLUX_JOB_ID", "FLURM_TASK_RANK"] {
            assert_eq!(fate(name), Fate::Job, "{name}");
        }
        for name in [
            "OMPI_MCA_btl",
            "OMPI_CC",
            "PMIX_MCA_gds",
            "I_MPI_FABRICS",
            "MPIR_CVAR_X",
            "FLUX_JOB_CC",
            "HOME",
            "SLURM_ARRAY_TASK_ID",
        ] {
            assert_eq!(fate(name), Fate::Stays, "{name}");
        }
        assert_eq!(fate("FLUX_URI"), Fate::Instance);
    }

    #[test]
    fn it_is_said_what_was_removed_and_why() {
        let text = describe(["PMI_FD", "SLURM_JOB_ID", "PMI_RANK"].into_iter());
        assert!(text.contains("of another launcher: PMI_FD PMI_RANK\n"), "{text}");
        assert!(text.contains("of another job") && text.contains(": SLURM_JOB_ID\n"), "{text}");
        assert!(describe([].into_iter()).contains("nothing"));
    }
}
