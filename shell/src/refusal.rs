//! Why a program could not be started, in words that say what to do: what `execve` says as one number is the file, its
//! interpreter, its mode or its machine.

use crate::elf::open_regular;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The beginning of a program: enough for the headers of an ELF file and for the first line of a script.
const HEAD_LEN: u64 = 4096;

const ELF: &[u8] = b"\x7fELF";

/// Names of machines in ELF's `e_machine` that run batch jobs, and some that do not.
const MACHINES: [(u16, &str); 9] = [
    (3, "i386"),
    (8, "mips"),
    (20, "ppc"),
    (21, "ppc64"),
    (22, "s390x"),
    (40, "arm"),
    (62, "x86_64"),
    (183, "aarch64"),
    (243, "riscv"),
];

/// The words of the C library, without Rust's "(os error 2)".
pub fn errno_text(errno: i32) -> String {
    let text = io::Error::from_raw_os_error(errno).to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

/// Bytes that no shell should read as a script.
pub fn is_binary(program: &Path) -> bool {
    let head = head(program);
    let line = head.split(|b| *b == b'\n').next().unwrap_or_default();
    head.starts_with(ELF) || line.contains(&0)
}

/// What is wrong with `program`, which is there under this name or not; `errno` is what `execve` said.
pub fn of_exec(program: &Path, errno: i32) -> String {
    let text = errno_text(errno);
    let detail = match errno {
        libc::ENOENT => missing_interpreter(program),
        libc::EACCES => not_allowed(program),
        libc::ENOEXEC => wrong_machine(&head(program)),
        _ => None,
    };
    detail.map_or_else(|| text.clone(), |detail| format!("{text}: {detail}"))
}

fn head(program: &Path) -> Vec<u8> {
    let mut head = Vec::new();
    // What cannot be read is not described.
    if let Ok(Some(file)) = open_regular(program) {
        let _ = file.take(HEAD_LEN).read_to_end(&mut head);
    }
    head
}

/// The file is there, so it must be what it names that is not.
fn missing_interpreter(program: &Path) -> Option<String> {
    let head = head(program);
    let interpreter = interpreter(&head)?;
    let kind = if head.starts_with(ELF) { "dynamic loader" } else { "interpreter" };
    (!interpreter.exists()).then(|| format!("its {kind} {} is missing", interpreter.display()))
}

fn not_allowed(program: &Path) -> Option<String> {
    let meta = std::fs::metadata(program).ok()?;
    if meta.is_dir() {
        return Some("it is a directory".to_owned());
    }
    let mode = meta.permissions().mode() & 0o7777;
    if mode & 0o111 == 0 {
        return Some(format!("it is not executable (mode {mode:04o})"));
    }
    let interpreter = interpreter(&head(program))?;
    let inner = std::fs::metadata(&interpreter).ok()?.permissions().mode();
    (inner & 0o111 == 0).then(|| format!("its interpreter {} is not executable", interpreter.display()))
}

/// Of a script's first line, or of a dynamically linked program.
fn interpreter(head: &[u8]) -> Option<PathBuf> {
    if let Some(line) = head.strip_prefix(b"#!") {
        let line = String::from_utf8_lossy(line.split(|b| *b == b'\n').next()?).into_owned();
        return line.split_whitespace().next().map(PathBuf::from);
    }
    if !head.starts_with(ELF) || head.get(5) != Some(&1) {
        return None;
    }
    // Only 64-bit, low byte first: what our users compute on.
    let number = |at: usize, len: usize| -> Option<usize> {
        let bytes = head.get(at..at + len)?;
        let value = bytes.iter().rev().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
        usize::try_from(value).ok()
    };
    if head.get(4) != Some(&2) {
        return None;
    }
    let (table, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    (0..count).find_map(|at| {
        let entry = table.checked_add(at * size)?;
        // PT_INTERP.
        if number(entry, 4)? != 3 {
            return None;
        }
        let (from, len) = (number(entry + 8, 8)?, number(entry + 32, 8)?);
        let text = head.get(from..from.checked_add(len)?)?.split(|b| *b == 0).next()?;
        Some(PathBuf::from(String::from_utf8_lossy(text).into_owned()))
    })
}

fn wrong_machine(head: &[u8]) -> Option<String> {
    if !head.starts_with(ELF) {
        return if head.is_empty() { Some("it is empty".to_owned()) } else { None };
    }
    let bytes = [*head.get(18)?, *head.get(19)?];
    let machine = if head[5] == 2 { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) };
    let name = MACHINES.iter().find(|(number, _)| *number == machine);
    let name = name.map_or_else(|| format!("machine {machine}"), |(_, name)| (*name).to_owned());
    let here = std::env::consts::ARCH;
    (name != here).then(|| format!("it is built for {name}, and this is {here}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_program_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: &[u8], mode: u32| {
            let path = dir.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            path
        };
        let mut elf = std::fs::read("/proc/self/exe").unwrap()[..64].to_vec();
        elf[18] = 21;
        elf[19] = 0;
        for (path, errno, wanted) in [
            (dir.path().join("none"), libc::ENOENT, "No such file or directory"),
            (
                file("script", b"#!/no/such/python3 -u\nx\n", 0o755),
                libc::ENOENT,
                "No such file or directory: its interpreter /no/such/python3 is missing",
            ),
            (file("plain", b"x", 0o644), libc::EACCES, "Permission denied: it is not executable (mode 0644)"),
            (dir.path().to_owned(), libc::EACCES, "Permission denied: it is a directory"),
            (
                file("foreign", &elf, 0o755),
                libc::ENOEXEC,
                &*format!("Exec format error: it is built for ppc64, and this is {}", std::env::consts::ARCH),
            ),
            (file("empty", b"", 0o755), libc::ENOEXEC, "Exec format error: it is empty"),
        ] {
            assert_eq!(of_exec(&path, errno), wanted);
        }
        assert!(is_binary(&file("b", b"\x01\0x\n", 0o755)) && is_binary(&file("e", &elf, 0o755)));
        assert!(!is_binary(&file("s", b"echo hi\n\0", 0o755)));
        // Every dynamically linked program names its loader.
        assert!(interpreter(&head(Path::new("/bin/sh"))).is_none_or(|loader| loader.exists()));
    }
}
