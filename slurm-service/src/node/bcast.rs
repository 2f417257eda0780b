//! Files that `sbcast` and `srun --bcast` put on nodes: block by block, each checked against where the file is.

use flurm_slurm_protocol::errors;
use flurm_slurm_protocol::structures::FileBcast;
use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Bits of a block's flags.
const FORCE: u16 = 1;
const LAST: u16 = 2;
/// Libraries that belong to a program, in a directory of their own.
const SHARED_OBJECT: u16 = 4;

/// Writes one block. The first one makes the file, the last one gives it its mode and times.
///
/// # Errors
/// A number of Slurm's.
pub fn write(block: &FileBcast) -> Result<(), u32> {
    let has = |flag: u16| block.flags & flag != 0;
    if block.compress != 0 || has(SHARED_OBJECT) {
        return Err(errors::ESLURM_NOT_SUPPORTED);
    }
    let name =
        block.fname.as_str().filter(|name| name.starts_with('/')).ok_or(errors::ESLURM_INVALID_NODE_NAME)?;
    let path = Path::new(name);
    put(path, block, has(FORCE), has(LAST)).map_err(|error| {
        tracing::info!(%error, path = %path.display(), "a file that is broadcast");
        error.raw_os_error().map_or(u32::MAX, i32::cast_unsigned)
    })
}

fn put(path: &Path, block: &FileBcast, force: bool, last: bool) -> io::Result<()> {
    let file = if block.block_no <= 1 {
        let mut options = OpenOptions::new();
        options.write(true).mode(0o600);
        if force {
            // Who runs the old file goes on to do so.
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        options.create_new(true).open(path)?
    } else {
        OpenOptions::new().write(true).open(path)?
    };
    file.write_all_at(&block.block.0, block.block_offset)?;
    if last {
        finish(&file, block)?;
    }
    Ok(())
}

fn finish(file: &File, block: &FileBcast) -> io::Result<()> {
    file.set_permissions(Permissions::from_mode(u32::from(block.modes) & 0o777))?;
    let time = |seconds: i64| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.max(0).cast_unsigned());
    if block.mtime > 0 {
        let times = std::fs::FileTimes::new().set_accessed(time(block.atime)).set_modified(time(block.mtime));
        file.set_times(times)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use flurm_slurm_protocol::Bytes;

    fn block(path: &Path, no: u32, offset: u64, bytes: &[u8], flags: u16) -> FileBcast {
        FileBcast {
            block_no: no,
            flags,
            modes: 0o100_755,
            mtime: 1_000_000_000,
            fname: path.to_str().unwrap().into(),
            block_offset: offset,
            block: Bytes(bytes.to_vec()),
            ..FileBcast::default()
        }
    }

    #[test]
    fn blocks_become_the_file_and_another_file_stays_unless_it_is_forced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        assert_eq!(write(&block(&path, 1, 0, b"one ", 0)), Ok(()));
        assert_eq!(write(&block(&path, 2, 4, b"two", LAST)), Ok(()));
        assert_eq!(std::fs::read(&path).unwrap(), b"one two");
        let about = path.metadata().unwrap();
        assert_eq!(about.permissions().mode() & 0o777, 0o755);
        assert_eq!(about.modified().unwrap(), SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000));
        assert_eq!(write(&block(&path, 1, 0, b"new", LAST)), Err(17), "EEXIST");
        assert_eq!(write(&block(&path, 1, 0, b"new", LAST | FORCE)), Ok(()));
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        let compressed = FileBcast { compress: 1, ..block(&path, 1, 0, b"x", 0) };
        assert_eq!(write(&compressed), Err(errors::ESLURM_NOT_SUPPORTED));
        assert!(write(&block(Path::new("f"), 1, 0, b"x", 0)).is_err(), "which directory?");
    }
}
