//! Which ways to PMI a job is offered, by what its program is.
//!
//! PMI-1 and PMI-2 cost a socket for each task, and every job of several tasks has them. PMIx costs a process and some ten
//! milliseconds on every node, so it is offered to programs that need it, and to those of which nobody can tell: a
//! script may start anything. What a program is linked with tells most apart, and reading that costs less than starting it.

use crate::elf::Linked;
use crate::options::pmi::Ask;
use crate::pmix::LIBRARY;
use std::path::Path;

/// What the program of a job is, as far as MPI goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    /// Linked with an MPI library that speaks PMIx only (Open MPI since version 5) or best (version 4), by that name.
    OpenMpi(String),
    /// Linked with an MPI library that speaks PMI-1 or PMI-2: MPICH and its kin.
    Mpich(String),
    /// Linked with nothing that could be MPI.
    Plain,
    /// A script, an interpreter, a program with libraries of its own.
    Unknown,
}

/// Names of libraries that belong to the C library or a compiler.
const PLAIN: [&str; 18] = [
    "libc.",
    "libm.",
    "libmvec.",
    "libpthread.",
    "libdl.",
    "librt.",
    "libutil.",
    "libresolv.",
    "ld-linux",
    "libgcc_s.",
    "libstdc++.",
    "libgomp.",
    "libgfortran.",
    "libquadmath.",
    "libselinux.",
    "libpcre2",
    "libacl.",
    "libattr.",
];

/// Programs that start others, though they are linked like any small one.
const WRAPPERS: [&str; 26] = [
    "sh", "dash", "bash", "rbash", "zsh", "ksh", "mksh", "csh", "tcsh", "fish", "busybox", "env", "nice",
    "nohup", "setsid", "stdbuf", "time", "timeout", "taskset", "chrt", "ionice", "numactl", "strace",
    "ltrace", "xargs", "prlimit",
];

impl Program {
    /// By what the file is linked with, if that can be told.
    pub fn of(path: &Path, linked: Option<&Linked>) -> Program {
        let Some(linked) = linked.filter(|linked| !linked.is_static) else { return Program::Unknown };
        let has = |what: fn(&&String) -> bool| linked.needed.iter().find(what).cloned();
        if let Some(library) = has(is_openmpi) {
            return Program::OpenMpi(library);
        }
        if let Some(library) = has(is_mpich) {
            return Program::Mpich(library);
        }
        let name = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let name = name.file_name().unwrap_or_default().to_string_lossy();
        let plain = |library: &String| PLAIN.iter().any(|known| library.starts_with(known));
        if linked.needed.iter().all(plain) && !WRAPPERS.contains(&&*name) {
            Program::Plain
        } else {
            Program::Unknown
        }
    }

    /// The MPI library it is linked with.
    pub fn library(&self) -> Option<&str> {
        match self {
            Program::OpenMpi(library) | Program::Mpich(library) => Some(library),
            Program::Plain | Program::Unknown => None,
        }
    }
}

/// The interface of Open MPI's libraries has had the number 40 since version 3; 20 and 12 were earlier ones, but MPICH has
/// taken 12 for itself.
fn is_openmpi(name: &&String) -> bool {
    let is = |stem: &str, number: &str| {
        name.strip_prefix(stem).is_some_and(|rest| rest.split('.').nth(2) == Some(number))
    };
    ["libmpi", "libmpi_mpifh", "libmpi_usempif08", "libmpi_cxx", "liboshmem"]
        .iter()
        .any(|stem| is(stem, "40"))
        || name.starts_with("libpmix.")
}

/// MPICH's common interface (12), which MVAPICH, Intel and Cray share, and MPI's own since version 5.
fn is_mpich(name: &&String) -> bool {
    let mpi = name.starts_with("libmpi") || name.starts_with("libmpich");
    mpi && name.contains(".so")
}

/// Shall there be a PMIx server?
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub enum Want {
    No,
    /// If there can be one.
    Perhaps,
    /// Without it the tasks would each be alone.
    Must,
}

pub fn pmix(ask: Ask, program: &Program) -> Want {
    match (ask, program) {
        (Ask::No, _) | (Ask::Auto, Program::Mpich(_) | Program::Plain) => Want::No,
        (Ask::Auto, Program::Unknown) => Want::Perhaps,
        (Ask::Auto, Program::OpenMpi(_)) | (Ask::Yes, _) => Want::Must,
    }
}

/// Files to try as libpmix: what the user has named, then the one that the program's own MPI library would load, then the
/// system's. Server and clients of one version understand each other best.
pub fn libraries(
    named: Option<&str>,
    program: &Path,
    linked: Option<&Linked>,
    ld_library_path: Option<&str>,
) -> Vec<String> {
    if let Some(named) = named.filter(|named| !named.is_empty()) {
        return vec![named.to_owned()];
    }
    let mut files = linked.and_then(|linked| of_mpi(linked, ld_library_path)).unwrap_or_default();
    files.push(LIBRARY.to_owned());
    // An interpreter in an environment of its own may have MPI there.
    if let Some(prefix) = program.parent().and_then(Path::parent) {
        files.extend(["lib/openmpi", "lib"].map(|dir| text(&prefix.join(dir).join(LIBRARY))));
    }
    files
}

/// The library that the program's libmpi is linked with, or what lies beside it.
fn of_mpi(linked: &Linked, ld_library_path: Option<&str>) -> Option<Vec<String>> {
    let name = linked.needed.iter().find(is_openmpi)?;
    let mpi = linked.find(name, ld_library_path)?;
    let own = Linked::read(&mpi).ok()??.find(LIBRARY, ld_library_path);
    let beside = mpi.parent()?.join(LIBRARY);
    Some(own.into_iter().chain([beside]).filter(|path| path.is_file()).map(|path| text(&path)).collect())
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_told_apart_by_their_interface() {
        let openmpi = |name: &str| is_openmpi(&&name.to_owned());
        for name in ["libmpi.so.40", "libmpi_mpifh.so.40", "libpmix.so.2"] {
            assert!(openmpi(name), "{name}");
        }
        for name in
            ["libmpi.so.12", "libmpich.so.12", "libmpi_abi.so.1", "libmpifort.so.12", "libmpi_gnu.so.12"]
        {
            assert!(!openmpi(name) && is_mpich(&&name.to_owned()), "{name}");
        }
        assert!(!is_mpich(&&"libmpfr.so.6".to_owned()));
    }

    #[test]
    fn a_server_is_started_for_those_who_may_need_it() {
        let openmpi = Program::OpenMpi("libmpi.so.40".into());
        assert_eq!(pmix(Ask::Auto, &openmpi), Want::Must);
        assert_eq!(pmix(Ask::Auto, &Program::Unknown), Want::Perhaps);
        assert_eq!(pmix(Ask::Auto, &Program::Plain), Want::No);
        assert_eq!(pmix(Ask::Auto, &Program::Mpich("libmpi.so.12".into())), Want::No);
        assert_eq!(pmix(Ask::No, &openmpi), Want::No);
        assert_eq!(pmix(Ask::Yes, &Program::Plain), Want::Must);
    }

    #[test]
    fn programs_of_the_system_are_what_they_are() {
        for (path, program) in [
            ("/bin/true", Program::Plain),
            ("/bin/sh", Program::Unknown),
            ("/no/such/program", Program::Unknown),
        ] {
            let path = Path::new(path);
            assert_eq!(Program::of(path, Linked::read(path).ok().flatten().as_ref()), program, "{path:?}");
        }
    }

    #[test]
    fn who_names_a_library_gets_no_other() {
        assert_eq!(libraries(Some("/x"), Path::new("/bin/true"), None, None), ["/x"]);
        let files = libraries(None, Path::new("/opt/py/bin/python"), None, None);
        assert_eq!(files, [LIBRARY, "/opt/py/lib/openmpi/libpmix.so.2", "/opt/py/lib/libpmix.so.2"]);
    }
}
