//! From core numbers, as R has them, to the CPUs that a task may run on.
//!
//! A core's number in R is hwloc's logical index on the whole machine: cores in the order of a walk through the
//! machine's tree, whose branches are sorted by their first CPU. The same order comes out of sysfs without loading
//! the whole topology into every shell.

use flurm_types::Idset;
use std::path::Path;

/// The CPUs (threads) of every core, by the core's logical number.
#[derive(Debug, Clone, Default)]
pub struct Cores {
    cpus: Vec<Idset>,
}

/// A set of CPUs as the kernel takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mask(pub Vec<u64>);

/// Levels of the tree from the outside in; a name is older or newer spelling of the same set of CPUs.
const LEVELS: [&[&str]; 5] = [
    &["topology/package_cpus_list", "topology/core_siblings_list"],
    &["topology/die_cpus_list"],
    &["cache/index3/shared_cpu_list"],
    &["cache/index2/shared_cpu_list"],
    &["topology/core_cpus_list", "topology/thread_siblings_list"],
];

impl Cores {
    /// Reads `/sys/devices/system/cpu`, or a copy of it. Unknown parts of the machine leave it empty.
    pub fn read(root: &Path) -> Cores {
        let set = |path: &Path| -> Option<Idset> {
            Idset::parse_relaxed(std::fs::read_to_string(path).ok()?.trim()).ok()
        };
        let Some(online) = set(&root.join("online")) else { return Cores::default() };
        let mut cores: Vec<(Vec<u32>, Idset)> = Vec::new();
        for cpu in online.iter() {
            let dir = root.join(format!("cpu{cpu}"));
            let of_level = |names: &&[&str]| names.iter().find_map(|name| set(&dir.join(name)));
            let place =
                LEVELS.iter().map(|names| of_level(names).and_then(|s| s.first()).unwrap_or(0)).collect();
            let threads = of_level(&LEVELS[4]).unwrap_or_else(|| Idset::from(cpu));
            if threads.first() == Some(cpu) {
                cores.push((place, threads));
            }
        }
        cores.sort();
        Cores { cpus: cores.into_iter().map(|(_, threads)| threads).collect() }
    }

    /// Only the threads that we may use ourselves: whoever started us may have kept some. A core with none of them
    /// keeps its own; that it is in R says more than our mask.
    #[must_use]
    pub fn within(mut self, allowed: &Idset) -> Cores {
        for cpus in &mut self.cpus {
            let left = cpus.intersection(allowed);
            if !left.is_empty() {
                *cpus = left;
            }
        }
        self
    }

    /// The CPUs of all cores.
    pub fn cpus(&self) -> Idset {
        let mut all = Idset::new();
        self.cpus.iter().for_each(|cpus| all.union_with(cpus));
        all
    }

    /// The CPUs of some cores; none when one of them does not exist here (a made-up configuration), since half a
    /// binding would only slow the job down.
    pub fn cpus_of(&self, cores: &Idset) -> Option<Idset> {
        let mut cpus = Idset::new();
        for core in cores.iter() {
            cpus.union_with(self.cpus.get(core as usize)?);
        }
        Some(cpus)
    }

    /// The same as the kernel takes it.
    pub fn mask(&self, cores: &Idset) -> Option<Mask> {
        Mask::of(&self.cpus_of(cores)?)
    }
}

impl Mask {
    /// None when there is no CPU in it.
    pub fn of(cpus: &Idset) -> Option<Mask> {
        let mut words = vec![0; cpus.last()? as usize / 64 + 1];
        for cpu in cpus.iter() {
            words[cpu as usize / 64] |= 1 << (cpu % 64);
        }
        Some(Mask(words))
    }
}

/// The CPUs that this thread may run on; none where the kernel does not say.
pub fn allowed() -> Idset {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap_or_default();
    Idset::parse_relaxed(list.trim()).unwrap_or_default()
}

/// Cut a set into `n` runs of (nearly) equal length and take the one at `index`; with fewer members than runs,
/// neighbours share one.
pub fn share(set: &Idset, index: usize, n: usize) -> Idset {
    let len = set.len();
    if len == 0 || n == 0 {
        return set.clone();
    }
    let (from, to) = (index * len / n, ((index + 1) * len / n).max(index * len / n + 1));
    set.iter().skip(from).take(to - from).collect()
}

/// The cores of each of `n` tasks. Equal numbers wherever that can be, and as many tasks as possible on one socket
/// each; where it cannot, runs of nearly equal length, and none over more than one socket if there is a task for each.
pub fn deal(cores: &Idset, sockets: &[Idset], n: usize) -> Vec<Idset> {
    let runs: Vec<Idset> = (0..n).map(|index| share(cores, index, n)).collect();
    let parts: Vec<Idset> =
        sockets.iter().map(|socket| socket.intersection(cores)).filter(|part| !part.is_empty()).collect();
    let known: usize = parts.iter().map(Idset::len).sum();
    let whole = |run: &Idset| parts.iter().any(|part| run.is_subset(part));
    if known != cores.len() || runs.iter().all(whole) {
        return runs;
    }
    if cores.len().is_multiple_of(n) {
        return deal_evenly(&parts, cores.len() / n);
    }
    if n < parts.len() {
        return runs;
    }
    // A task for each socket first; each of the others goes where most cores are left for each task.
    let mut tasks = vec![1; parts.len()];
    for _ in parts.len()..n {
        let most = (0..parts.len()).rev().max_by_key(|at| parts[*at].len() * 1024 / (tasks[*at] + 1));
        tasks[most.expect("there are cores, so there are parts")] += 1;
    }
    let dealt = parts.iter().zip(tasks);
    dealt.flat_map(|(part, n)| (0..n).map(move |index| share(part, index, n))).collect()
}

/// `each` cores for every task, from one part as long as it has them; what is left of all parts makes the others.
fn deal_evenly(parts: &[Idset], each: usize) -> Vec<Idset> {
    let (mut dealt, mut left) = (Vec::new(), Idset::new());
    for part in parts {
        let cores: Vec<u32> = part.iter().collect();
        let (whole, rest) = cores.split_at(cores.len() / each * each);
        dealt.extend(whole.chunks(each).map(|run| run.iter().copied().collect::<Idset>()));
        left.union_with(&rest.iter().copied().collect());
    }
    let left: Vec<u32> = left.iter().collect();
    dealt.extend(left.chunks(each).map(|run| run.iter().copied().collect::<Idset>()));
    dealt.sort_by_key(Idset::first);
    dealt
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str) -> Idset {
        text.parse().unwrap()
    }

    #[test]
    fn interleaved_sockets_and_threads_are_numbered_as_hwloc_does() {
        // Two sockets, even CPUs on the first; CPUs 4-7 are second threads.
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("online"), "0-7\n").unwrap();
        for cpu in 0..8_u32 {
            let topology = dir.path().join(format!("cpu{cpu}/topology"));
            std::fs::create_dir_all(&topology).unwrap();
            let package = if cpu % 2 == 0 { "0,2,4,6" } else { "1,3,5,7" };
            std::fs::write(topology.join("core_siblings_list"), package).unwrap();
            std::fs::write(topology.join("thread_siblings_list"), format!("{},{}", cpu % 4, cpu % 4 + 4))
                .unwrap();
        }
        let cores = Cores::read(dir.path());
        assert_eq!(cores.cpus, [set("0,4"), set("2,6"), set("1,5"), set("3,7")]);
        assert_eq!(cores.cpus(), set("0-7"));
        assert_eq!(cores.mask(&set("0,3")), Some(Mask(vec![0b1001_1001])));
        assert_eq!(cores.mask(&set("3-4")), None, "core 4 does not exist");
        let part = cores.within(&set("0-5"));
        assert_eq!(part.cpus, [set("0,4"), set("2"), set("1,5"), set("3")], "a thread was kept from us");
        assert_eq!(part.within(&set("0")).cpus_of(&set("2")), Some(set("1,5")));
    }

    #[test]
    fn shares_cover_the_set_without_overlap_when_there_is_enough() {
        let cores = set("0-3,8-10");
        let shares: Vec<String> = (0..3).map(|i| share(&cores, i, 3).to_string()).collect();
        assert_eq!(shares, ["0-1", "2-3", "8-10"]);
        assert_eq!(share(&set("4"), 2, 3).to_string(), "4");
    }

    #[test]
    fn a_task_stays_on_one_socket_if_it_can() {
        let sockets = [set("0-3"), set("4-7")];
        for (cores, n, dealt) in [
            ("0-3", 4, "0 1 2 3"),
            ("0-1,4-5", 4, "0 1 4 5"),
            ("0-7", 3, "0-1 2-3 4-7"),
            ("0-2,4-6", 2, "0-2 4-6"),
            ("0-2,4-5", 5, "0 1 2 4 5"),
            // Each has two, as it asked; one task must be on both sockets.
            ("0-2,4-6", 3, "0-1 2,6 4-5"),
            ("1,3-7", 3, "1,3 4-5 6-7"),
            ("3-6", 2, "3,6 4-5"),
            // Nothing else can be done.
            ("0-7", 1, "0-7"),
            ("0,4", 4, "0 0 4 4"),
        ] {
            let found: Vec<String> = deal(&set(cores), &sockets, n).iter().map(ToString::to_string).collect();
            assert_eq!(found.join(" "), dealt, "{cores} for {n}");
        }
        assert_eq!(deal(&set("0-2"), &[], 2), [set("0"), set("1-2")], "nothing is known of sockets");
    }
}
