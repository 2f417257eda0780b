//! Directories that nobody else can look into.
//!
//! ```text
//! /tmp/flurm-UID-INSTANCE/     one per instance and host; shared by its brokers there
//!     RANK/                    one per broker: sockets, boot.json, lock
//! ```
//!
//! Whoever runs in one holds its lock. A broker removes its own when it ends; where it could not, its guard or its shell
//! does; and what is left when a whole node was killed at once, the next start on that node sweeps away.

use super::{Mistake, Vars};
use crate::guests;
use flurm_types::Rank;
use rustix::fs::{CWD, Mode, OFlags, Stat};
use std::fs::{File, TryLockError};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Linux's limit on the path of a socket, less the zero byte.
const SOCKET_PATH_MAX: usize = 107;
/// The longest name of a socket in a run directory, with its slash.
const SOCKET_NAME_MAX: usize = 24;

/// What is younger may belong to a broker that has yet to lock it.
const STALE_AGE: Duration = Duration::from_secs(60);

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

fn base(vars: &Vars) -> &Path {
    vars.get("FLURM_RUNDIR_BASE").map_or(Path::new("/tmp"), Path::new)
}

/// How the directories of our instances begin.
fn prefix() -> String {
    format!("flurm-{}-", rustix::process::geteuid().as_raw())
}

fn top(vars: &Vars, instance_id: &str) -> PathBuf {
    base(vars).join(prefix() + instance_id)
}

/// One at a time runs in a directory: held as long as the file is open. None: somebody else holds it.
///
/// # Errors
/// The directory is not there, or not ours.
pub fn lock(rundir: &Path) -> io::Result<Option<File>> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    let file = options.custom_flags(libc::O_NOFOLLOW).open(rundir.join("lock"))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Removes the run directory of a broker, and the instance's directory with the last one on this host.
pub fn remove(rundir: &Path) {
    match std::fs::remove_dir_all(rundir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, path = %rundir.display(), "cannot remove the run directory");
        }
        _ => {}
    }
    if let Some(top) = rundir.parent() {
        // It is not empty as long as others are there.
        let _ = std::fs::remove_dir(top);
    }
}

/// Removes what instances of ours have left here whose brokers and shells were all killed at once.
pub fn sweep(vars: &Vars) {
    sweep_older(base(vars), STALE_AGE);
}

fn sweep_older(base: &Path, age: Duration) {
    let prefix = prefix();
    let entries = std::fs::read_dir(base).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix)) {
        let top = entry.path();
        // Checked by name and again by descriptor when removed: neither follows a link that stands there.
        let locks = open_private(&top).ok().and_then(|_| abandoned(&top, age));
        if locks.is_some()
            && let Err(error) = std::fs::remove_dir_all(&top)
        {
            tracing::info!(%error, path = %top.display(), "cannot remove what an instance has left");
        }
    }
}

/// The locks of an instance's run directories here; none unless nobody needs any of them.
fn abandoned(top: &Path, age: Duration) -> Option<Vec<File>> {
    let is_old = |path: &Path| {
        let changed = path.symlink_metadata().and_then(|meta| meta.modified()).ok();
        changed.and_then(|at| SystemTime::now().duration_since(at).ok()).is_some_and(|old| old >= age)
    };
    if !is_old(top) {
        return None;
    }
    let ranks = std::fs::read_dir(top).ok()?.flatten().map(|entry| entry.path());
    ranks.map(|dir| (is_old(&dir) && guests::running(&dir).is_none()).then(|| lock(&dir).ok()?)?).collect()
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
    fn what_a_killed_instance_has_left_is_swept_and_nothing_else() {
        let base = tempfile::tempdir().unwrap();
        let all = vars(base.path());
        let made = |id: &str| {
            let dir = make(&all, id, Rank(0)).unwrap();
            std::fs::write(dir.join("boot.json"), "{}").unwrap();
            drop(lock(&dir).unwrap().expect("nobody holds it"));
            dir
        };
        let (dead, live, orphaned) = (made("dead"), made("live"), made("orphaned"));
        let held = lock(&live).unwrap();
        assert!(held.is_some() && lock(&live).unwrap().is_none(), "one at a time");
        let mut shell = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        guests::tests::record_shell(&orphaned, &shell);
        // One that was made for another reason, or by somebody who wants us to remove his victim.
        std::fs::create_dir(base.path().join("victim")).unwrap();
        std::os::unix::fs::symlink(base.path().join("victim"), top(&all, "link")).unwrap();
        std::fs::create_dir(top(&all, "open")).unwrap();
        std::fs::set_permissions(top(&all, "open"), std::fs::Permissions::from_mode(0o755)).unwrap();

        sweep_older(base.path(), Duration::from_secs(3600));
        assert!(dead.exists(), "too young: its broker may be about to lock it");
        sweep_older(base.path(), Duration::ZERO);
        assert!(!dead.parent().unwrap().exists());
        for stays in [&live, &orphaned, &base.path().join("victim"), &top(&all, "link"), &top(&all, "open")] {
            assert!(stays.exists(), "{}", stays.display());
        }
        shell.kill().and_then(|()| shell.wait()).unwrap();
        drop(held);
        sweep_older(base.path(), Duration::ZERO);
        assert!(!live.exists() && !orphaned.exists());
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
