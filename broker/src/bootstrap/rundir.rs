//! Directories that nobody else can look into.
//!
//! ```text
//! /tmp/flurm-UID-INSTANCE/     one per instance and host; shared by its brokers there
//!     RANK/                    one per broker: sockets, boot.json
//! ```

use super::{Mistake, Vars};
use flurm_types::Rank;
use rustix::fs::{CWD, Mode, OFlags, Stat};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Linux's limit on the path of a socket, less the zero byte.
const SOCKET_PATH_MAX: usize = 107;
/// The longest name of a socket in a run directory, with its slash.
const SOCKET_NAME_MAX: usize = 24;

/// Makes the run directory of one broker.
///
/// # Errors
/// It cannot be made, is somebody else's, or its name is too long for the sockets in it.
pub fn make(vars: &Vars, instance_id: &str, rank: Rank) -> Result<PathBuf, Mistake> {
    let top = top(vars, instance_id);
    let dir = top.join(rank.to_string());
    let hint = "set FLURM_RUNDIR_BASE to a short local directory, such as /tmp or /run/user/UID";
    if dir.as_os_str().len() + SOCKET_NAME_MAX > SOCKET_PATH_MAX {
        return Err(Mistake::new(format!("the path {} is too long for sockets", dir.display()), hint));
    }
    let made = private(&top).and_then(|_| private(&dir));
    made.map_err(|error| Mistake::new(format!("run directory {}: {error}", dir.display()), hint))?;
    Ok(dir)
}

fn top(vars: &Vars, instance_id: &str) -> PathBuf {
    let base = vars.get("FLURM_RUNDIR_BASE").map_or(Path::new("/tmp"), Path::new);
    base.join(format!("flurm-{}-{instance_id}", rustix::process::geteuid().as_raw()))
}

/// Opens a directory of mode 0700 that belongs to us, made now if need be.
///
/// # Errors
/// It cannot be made, or is not ours alone.
pub fn private(path: &Path) -> io::Result<OwnedFd> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    open_private(path)
}

/// Opens a directory of mode 0700 that belongs to us.
///
/// # Errors
/// It is not there, or not ours alone.
pub fn open_private(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = rustix::fs::openat(CWD, path, flags, Mode::empty())?;
    if is_ours(&rustix::fs::fstat(&dir)?) {
        return Ok(dir);
    }
    let rule = "it must belong to you, with mode 0700 (chmod 700)";
    Err(io::Error::new(io::ErrorKind::PermissionDenied, rule))
}

/// Is it our own, and closed to all others?
pub fn is_ours(stat: &Stat) -> bool {
    stat.st_uid == rustix::process::geteuid().as_raw() && stat.st_mode & 0o077 == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn vars(base: &Path) -> Vars {
        Vars::from([("FLURM_RUNDIR_BASE".to_owned(), base.display().to_string())])
    }

    #[test]
    fn brokers_of_a_host_share_the_upper_directory() {
        let base = tempfile::tempdir().unwrap();
        let zero = make(&vars(base.path()), "abc", Rank(0)).unwrap();
        let one = make(&vars(base.path()), "abc", Rank(1)).unwrap();
        assert_eq!(zero.parent(), one.parent());
        assert!(one.ends_with("1"));
        for dir in [&one, one.parent().unwrap()] {
            assert_eq!(std::fs::metadata(dir).unwrap().permissions().mode() & 0o777, 0o700);
        }
    }

    #[test]
    fn a_directory_that_waits_for_us_is_not_used() {
        let base = tempfile::tempdir().unwrap();
        let vars = vars(base.path());
        std::fs::create_dir(base.path().join("real")).unwrap();
        std::os::unix::fs::symlink(base.path().join("real"), top(&vars, "link")).unwrap();
        assert!(make(&vars, "link", Rank(0)).is_err());
        std::fs::create_dir(top(&vars, "open")).unwrap();
        std::fs::set_permissions(top(&vars, "open"), std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(make(&vars, "open", Rank(0)).unwrap_err().what.contains("0700"));
        assert!(make(&vars, &"x".repeat(90), Rank(0)).unwrap_err().what.contains("too long"));
    }
}
