//! What the kernel says about memory that ran out, and what processes use.
//!
//! Nobody gives us a cgroup of our own: the limit is that of the allocation's step, shared by all that runs there. So the
//! counter of kills tells that one was for lack of memory; whose it was, the killed task tells.

use std::path::{Path, PathBuf};

/// Counts processes of this node, or of our part of it, that were killed because memory ran out.
#[derive(Debug)]
pub struct OomCounter {
    file: Option<PathBuf>,
    seen: u64,
}

impl OomCounter {
    /// The nearest counter that can be read, from now on.
    pub fn new(root: &Path) -> OomCounter {
        let file = files(root).into_iter().find(|file| read(file).is_some());
        let seen = file.as_deref().and_then(read).unwrap_or(0);
        OomCounter { file, seen }
    }

    /// Has it risen since it was asked last? Then, where it stands.
    pub fn risen(&mut self) -> Option<&Path> {
        let now = self.file.as_deref().and_then(read)?;
        let risen = now > self.seen;
        self.seen = now;
        self.file.as_deref().filter(|_| risen)
    }
}

/// Where a counter may be: our cgroup (version 2, then 1), as it is seen from inside a container, the whole node.
fn files(root: &Path) -> Vec<PathBuf> {
    let groups = std::fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let mut files = Vec::new();
    let mounts = root.join("sys/fs/cgroup");
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let path = path.trim_start_matches('/');
        if controllers.is_empty() {
            files.extend([&mounts, &mounts.join("unified")].map(|at| at.join(path).join("memory.events")));
        } else if controllers.split(',').any(|controller| controller == "memory") {
            files.extend([path, ""].map(|path| mounts.join("memory").join(path).join("memory.oom_control")));
        }
    }
    files.push(root.join("proc/vmstat"));
    files
}

fn read(file: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
}

/// Memory that our step uses of what it may, in bytes: that of the nearest cgroup with a limit, else of the whole node.
/// What the kernel could give back at once (files that nobody has read lately) does not count.
pub fn pressure(root: &Path) -> Option<(u64, u64)> {
    let groups = std::fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let mounts = root.join("sys/fs/cgroup");
    let number = |file: PathBuf| std::fs::read_to_string(file).ok()?.trim().parse::<u64>().ok();
    let whole = of_node(root);
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let path = path.trim_start_matches('/');
        let (base, names) = if controllers.is_empty() {
            (mounts.clone(), ["memory.current", "memory.max", "inactive_file"])
        } else if controllers.split(',').any(|controller| controller == "memory") {
            (mounts.join("memory"), ["memory.usage_in_bytes", "memory.limit_in_bytes", "total_inactive_file"])
        } else {
            continue;
        };
        // A limit may be set further up than where we are.
        for dir in base.join(path).ancestors().take_while(|dir| dir.starts_with(&base)) {
            let (Some(used), Some(max)) = (number(dir.join(names[0])), number(dir.join(names[1]))) else {
                continue;
            };
            // An old kernel's word for "no limit" is a number beyond any machine.
            if whole.is_some_and(|(_, total)| max > total) {
                continue;
            }
            let stat = std::fs::read_to_string(dir.join("memory.stat")).unwrap_or_default();
            return Some((used.saturating_sub(field(&stat, names[2]).unwrap_or(0)), max));
        }
    }
    whole
}

fn of_node(root: &Path) -> Option<(u64, u64)> {
    let text = std::fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let (total, free) = (field(&text, "MemTotal:")? << 10, field(&text, "MemAvailable:")? << 10);
    Some((total.saturating_sub(free), total))
}

fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix([' ', '\t']))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Memory of a process, in bytes; pages that it shares count for each that has them.
pub fn resident(pid: i32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    let pages: u64 = text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    // SAFETY: touches no memory.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    pages * page.unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_step_uses_is_measured_where_its_limit_is() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        assert_eq!(pressure(root.path()), None);
        write("proc/meminfo", "MemTotal:       1000 kB\nMemFree: 1 kB\nMemAvailable:    400 kB\n");
        assert_eq!(pressure(root.path()), Some((600 << 10, 1000 << 10)));
        write("proc/self/cgroup", "4:memory:/job/step\n");
        write("sys/fs/cgroup/memory/job/step/memory.usage_in_bytes", "5000\n");
        write("sys/fs/cgroup/memory/job/step/memory.limit_in_bytes", "9223372036854771712\n");
        write("sys/fs/cgroup/memory/job/memory.usage_in_bytes", "6000\n");
        write("sys/fs/cgroup/memory/job/memory.limit_in_bytes", "8000\n");
        write("sys/fs/cgroup/memory/job/memory.stat", "cache 1\ntotal_inactive_file 1500\n");
        assert_eq!(pressure(root.path()), Some((4500, 8000)), "the limit is further up");
        write("proc/self/cgroup", "0::/job/step\n");
        write("sys/fs/cgroup/job/step/memory.current", "70\n");
        write("sys/fs/cgroup/job/step/memory.max", "max\n");
        write("sys/fs/cgroup/job/memory.current", "80\n");
        write("sys/fs/cgroup/job/memory.max", "100\n");
        assert_eq!(pressure(root.path()), Some((80, 100)));
        assert!(resident(std::process::id().cast_signed()) > 1 << 16);
    }

    #[test]
    fn the_nearest_counter_is_watched_and_told_once() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        assert_eq!(OomCounter::new(root.path()).risen(), None, "nothing can be read");
        write("proc/vmstat", "pgfault 7\noom_kill 3\n");
        write("proc/self/cgroup", "4:memory:/step\n0::/job/step\n");
        let mut node = OomCounter::new(root.path());
        write("proc/vmstat", "oom_kill 4\n");
        assert_eq!(node.risen(), Some(&*root.path().join("proc/vmstat")));
        assert_eq!(node.risen(), None, "told once");
        write(
            "sys/fs/cgroup/memory/step/memory.oom_control",
            "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n",
        );
        let mut old = OomCounter::new(root.path());
        write("sys/fs/cgroup/memory/step/memory.oom_control", "oom_kill 2\n");
        assert!(old.risen().is_some_and(|file| file.ends_with("step/memory.oom_control")));
        write("proc/self/cgroup", "0::/job/step\n");
        write("sys/fs/cgroup/job/step/memory.events", "oom 1\noom_kill 1\noom_group_kill 0\n");
        let mut new = OomCounter::new(root.path());
        assert_eq!(new.risen(), None);
        write("sys/fs/cgroup/job/step/memory.events", "oom_kill 2\n");
        assert!(old.risen().is_none() && new.risen().is_some());
    }
}
