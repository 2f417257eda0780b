//! Cores and sockets read from `/sys` by hand: what a node still tells when hwloc cannot be loaded.
//!
//! Cores are numbered socket by socket, then by their lowest cpu, as hwloc does on the machines that matter.

use std::collections::BTreeMap;
use std::path::Path;

use flurm_types::Idset;

use super::{Core, HwError, NodeHardware, SocketHardware};

/// The cpus this thread may run on, by the kernel's own words (the cgroup is part of them).
pub(super) fn affinity(proc: &Path) -> Result<Idset, HwError> {
    let path = proc.join("thread-self/status");
    let text = text(&path)?;
    let list = text.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap_or_default();
    cpu_list(&path, list)
}

/// Describes the machine below `sys`, cut to `usable`.
pub(super) fn read(sys: &Path, usable: &Idset) -> Result<NodeHardware, HwError> {
    let cpus = sys.join("devices/system/cpu");
    let online = cpus.join("online");
    let online = cpu_list(&online, &text(&online)?)?;
    // Packages first seen first: cpu 0's package is socket 0.
    let mut packages: Vec<(String, SocketHardware)> = Vec::new();
    let mut by_place: BTreeMap<(usize, u32), Idset> = BTreeMap::new();
    for cpu in online.iter() {
        let topology = cpus.join(format!("cpu{cpu}/topology"));
        let package = text(&topology.join("physical_package_id")).unwrap_or_default();
        let siblings = topology.join("thread_siblings_list");
        let threads = match text(&siblings) {
            Ok(list) => cpu_list(&siblings, &list)?,
            Err(_) => Idset::from_iter([cpu]),
        };
        let socket = packages.iter().position(|(name, _)| *name == package).unwrap_or_else(|| {
            packages.push((package, SocketHardware::default()));
            packages.len() - 1
        });
        packages[socket].1.cpus.insert(cpu);
        let first = threads.first().unwrap_or(cpu);
        by_place.entry((socket, first)).or_default().insert(cpu);
    }
    let mut node = NodeHardware::default();
    for ((socket, _), threads) in by_place {
        let cpus = threads.intersection(usable);
        if !cpus.is_empty() {
            let socket = u32::try_from(socket).expect("there are no more sockets than cpus");
            node.cores.push(Core { id: node.cores_total, cpus, socket, numa: None });
        }
        node.cores_total += 1;
    }
    node.sockets = packages.into_iter().map(|(_, socket)| socket).collect();
    Ok(node)
}

pub(super) fn cpu_list(path: &Path, list: &str) -> Result<Idset, HwError> {
    let list = list.trim();
    list.parse().map_err(|_| HwError::CpuList { path: path.display().to_string(), text: list.to_owned() })
}

fn text(path: &Path) -> Result<String, HwError> {
    std::fs::read_to_string(path).map_err(|source| HwError::Read { path: path.display().to_string(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A `/sys` of `packages` of cpus, each core's threads given as one list.
    fn fake_sys(packages: &[&[&str]]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a temporary folder");
        let mut online = Idset::new();
        for (package, cores) in packages.iter().enumerate() {
            for threads in *cores {
                let list: Idset = threads.parse().expect("valid idset");
                for cpu in list.iter() {
                    online.insert(cpu);
                    let folder = root.path().join(format!("devices/system/cpu/cpu{cpu}/topology"));
                    fs::create_dir_all(&folder).expect("created");
                    fs::write(folder.join("physical_package_id"), format!("{package}\n")).expect("written");
                    fs::write(folder.join("thread_siblings_list"), format!("{threads}\n")).expect("written");
                }
            }
        }
        fs::write(root.path().join("devices/system/cpu/online"), format!("{online}\n")).expect("written");
        root
    }

    #[test]
    fn far_apart_threads_are_one_core() {
        let sys = fake_sys(&[&["0,4", "1,5"], &["2,6", "3,7"]]);
        let node = read(sys.path(), &"0-7".parse().unwrap()).expect("readable");
        let cores: Vec<_> =
            node.cores.iter().map(|core| (core.id, core.socket, core.cpus.to_string())).collect();
        assert_eq!(
            cores,
            [(0, 0, "0,4".into()), (1, 0, "1,5".into()), (2, 1, "2,6".into()), (3, 1, "3,7".into())]
        );
    }

    #[test]
    fn interleaved_sockets_are_numbered_one_after_the_other() {
        let sys = fake_sys(&[&["0", "2"], &["1", "3"]]);
        let node = read(sys.path(), &"0-2".parse().unwrap()).expect("readable");
        let cores: Vec<_> = node.cores.iter().map(|core| (core.id, core.cpus.to_string())).collect();
        assert_eq!(cores, [(0, "0".into()), (1, "2".into()), (2, "1".into())]);
        assert_eq!(node.cores_total, 4);
    }

    #[test]
    fn a_missing_sys_is_named() {
        let error = read(Path::new("/nonexistent"), &Idset::new()).expect_err("there is nothing");
        assert_eq!(error.to_string(), "read /nonexistent/devices/system/cpu/online");
    }
}
