//! Real MPI libraries and programs for them, as `scripts/mpis.sh` gets and builds them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// An MPI, and where the examples lie that were built for it.
#[derive(Debug)]
pub struct Mpi {
    pub name: String,
    programs: PathBuf,
}

impl Mpi {
    /// One of them, such as `c/hello`.
    pub fn program(&self, name: &str) -> String {
        self.programs.join(name).to_string_lossy().into_owned()
    }
}

/// None (said on stderr) where they cannot be had.
///
/// # Panics
/// As root, who can get them.
pub fn mpis(test: &str) -> Option<&'static [Mpi]> {
    static MPIS: OnceLock<Option<Vec<Mpi>>> = OnceLock::new();
    let mpis = MPIS.get_or_init(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/mpis.sh");
        let output = Command::new(script).output().expect("bash runs");
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr);
            // SAFETY: no arguments, cannot fail.
            assert!(unsafe { libc::geteuid() } != 0, "no MPIs to test with: {why}");
            eprintln!("no MPIs to test with: {why}");
            return None;
        }
        let lines = String::from_utf8_lossy(&output.stdout).into_owned();
        let mpi = |line: &str| {
            let (name, programs) = line.split_once(' ').expect("NAME DIRECTORY");
            Mpi { name: name.to_owned(), programs: programs.into() }
        };
        Some(lines.lines().map(mpi).collect())
    });
    match mpis {
        Some(mpis) => Some(mpis),
        None => {
            eprintln!("SKIPPED {test}: as root, `make test` installs what it needs");
            None
        }
    }
}
