//! What this node has: cores, sockets, NUMA domains, memory and GPUs, cut to what this process may use.
//!
//! Asked once, when a broker starts; a broker that is told its resources (by a parent's R or by
//! `[fake-resources]`) does not need it, except for the cpu numbers behind each core. Which of these become R,
//! and whether a node with one visible core deserves a warning, is decided by the caller.
//!
//! A core's id is hwloc's logical index **on the whole machine**. The cut leaves holes instead of renumbering, so
//! that an instance started inside a job, whose mask is smaller, means the same core by the same number.

mod gpu;
mod sysfs;
mod udev;

use std::path::Path;

use flurm_types::{Idset, RNode, Rank, Socket, Topology};
use hwlocality::Topology as Hwloc;
use hwlocality::cpu::binding::CpuBindingFlags;
use hwlocality::object::TopologyObject;
use hwlocality::object::types::ObjectType;
use hwlocality::topology::builder::BuildFlags;
use hwlocality::topology::export::xml::XMLExportFlags;

pub use gpu::{Gpu, Vendor};

/// One node as its broker sees it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct NodeHardware {
    /// Usable cores, ascending by id; ids may have holes.
    pub cores: Vec<Core>,
    /// Sockets of the machine in hwloc's order, also those with no usable core; NUMA domains in their place where GPUs
    /// belong to single ones of a socket.
    pub sockets: Vec<SocketHardware>,
    /// Usable GPUs, ascending by id.
    pub gpus: Vec<Gpu>,
    /// NUMA domains of the machine, if they are parts of sockets; needed only until the GPUs are known.
    pub domains: Vec<SocketHardware>,
    /// Cores of the machine, whether usable or not.
    pub cores_total: u32,
    /// hwloc's description of the whole machine (XML, version 2); empty when hwloc could not read it.
    pub xml: String,
}

/// One core and the operating system's numbers of its usable hardware threads.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Core {
    pub id: u32,
    pub cpus: Idset,
    pub socket: u32,
    pub numa: Option<u32>,
}

/// One socket.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SocketHardware {
    /// Every cpu of the socket, usable or not: a device's neighbourhood is told in these.
    pub cpus: Idset,
    pub memory_bytes: u64,
}

/// Why this node could not be described.
#[derive(Debug, thiserror::Error)]
pub enum HwError {
    #[error("read {path}")]
    Read { path: String, source: std::io::Error },
    #[error("read a cpu list in {path}: `{text}`")]
    CpuList { path: String, text: String },
    #[error("find a usable core: this process may run on none of the {total} cores here")]
    NoCore { total: u32 },
}

/// Describes this node, cut to this thread's affinity mask, its cgroup, and the GPUs that the environment leaves.
///
/// # Errors
/// When neither hwloc nor `/sys` describes a single usable core.
pub fn discover() -> Result<NodeHardware, HwError> {
    let node = match read_hwloc() {
        Ok(node) => node,
        Err(error) => {
            tracing::warn!(%error, "hwloc cannot describe this node; reading /sys instead");
            sysfs::read(Path::new("/sys"), &sysfs::affinity(Path::new("/proc"))?)?
        }
    };
    if node.cores.is_empty() {
        return Err(HwError::NoCore { total: node.cores_total });
    }
    Ok(node.with_gpus(&gpu::discover()))
}

/// The cores of this node without hwloc: in a moment, and good enough to count them.
pub fn glance() -> Option<NodeHardware> {
    sysfs::read(Path::new("/sys"), &sysfs::affinity(Path::new("/proc")).ok()?).ok()
}

impl NodeHardware {
    /// The same with its GPUs. Where one of them is nearer to some cores of its socket than to others (nodes of one socket
    /// and four domains with two GPUs each), the domain is what jobs and tasks are kept together in.
    fn with_gpus(mut self, found: &gpu::Devices) -> NodeHardware {
        if self.domains.iter().any(|domain| found.is_only_near(&domain.cpus, &self.sockets)) {
            self.sockets = std::mem::take(&mut self.domains);
            for core in &mut self.cores {
                let at = self.sockets.iter().position(|part| core.cpus.is_subset(&part.cpus)).unwrap_or(0);
                core.socket = u32::try_from(at).expect("hwloc's own indexes are 32 bits wide");
            }
        }
        self.domains = Vec::new();
        self.gpus = found.of(&self.sockets);
        self
    }

    /// Ids of the usable cores.
    pub fn core_ids(&self) -> Idset {
        self.cores.iter().map(|core| core.id).collect()
    }

    /// Ids of the usable GPUs.
    pub fn gpu_ids(&self) -> Idset {
        self.gpus.iter().map(|gpu| gpu.id).collect()
    }

    /// The operating system's cpu numbers behind these cores; ids this node does not have count for nothing.
    pub fn cpus(&self, cores: &Idset) -> Idset {
        self.cores.iter().filter(|core| cores.contains(core.id)).flat_map(|core| core.cpus.iter()).collect()
    }

    /// This node as a line of R.
    pub fn rnode(&self, rank: Rank, host: &str) -> RNode {
        RNode { rank: rank.0, host: host.to_owned(), cores: self.core_ids(), gpus: self.gpu_ids() }
    }

    /// Which cores and GPUs share a socket. Sockets with nothing usable are left out.
    pub fn topology(&self) -> Topology {
        let socket = |(index, hardware): (usize, &SocketHardware)| {
            let here = u32::try_from(index).expect("hwloc's own indexes are 32 bits wide");
            let cores: Idset =
                self.cores.iter().filter(|core| core.socket == here).map(|core| core.id).collect();
            let gpus: Idset = self.gpus.iter().filter(|gpu| gpu.socket == here).map(|gpu| gpu.id).collect();
            let memory_gib = Some(hardware.memory_bytes >> 30).filter(|&gib| gib > 0);
            (!cores.is_empty() || !gpus.is_empty()).then_some(Socket { cores, gpus, memory_gib })
        };
        Topology { sockets: self.sockets.iter().enumerate().filter_map(socket).collect() }
    }
}

fn read_hwloc() -> Result<NodeHardware, hwlocality::errors::RawHwlocError> {
    // Disallowed cpus stay in, or the indexes would shift with the cgroup. Distances, memory attributes and cpu
    // kinds cost time and nobody here reads them.
    let flags = BuildFlags::INCLUDE_DISALLOWED
        | BuildFlags::IGNORE_DISTANCES
        | BuildFlags::IGNORE_MEMORY_ATTRIBUTES
        | BuildFlags::IGNORE_CPU_KINDS
        | BuildFlags::DONT_CHANGE_BINDING;
    let machine = Hwloc::builder()
        .with_flags(flags)
        .expect("these flags exist since hwloc 2.8 and do not exclude each other")
        .build()?;
    // hwloc knows the cgroup but not the mask: the kernel is asked for that one.
    let allowed = idset(&machine.allowed_cpuset());
    let usable = match machine.cpu_binding(CpuBindingFlags::THREAD) {
        Ok(mask) => idset(&mask).intersection(&allowed),
        Err(error) => {
            tracing::warn!(%error, "this process's affinity mask cannot be read; counting every allowed cpu");
            allowed
        }
    };
    Ok(describe(&machine, &usable))
}

/// The part of `machine` that `usable` cpus leave.
fn describe(machine: &Hwloc, usable: &Idset) -> NodeHardware {
    let mut sockets: Vec<SocketHardware> = machine
        .objects_with_type(ObjectType::Package)
        .map(|package| SocketHardware { cpus: cpus_of(package), memory_bytes: package.total_memory() })
        .collect();
    if sockets.is_empty() {
        // Some virtual machines and old kernels tell of no package: everything shares one.
        let root = machine.root_object();
        sockets.push(SocketHardware { cpus: cpus_of(root), memory_bytes: root.total_memory() });
    }
    // Where no core is known (containers that hide them), each hardware thread counts as one.
    let kind = match machine.objects_with_type(ObjectType::Core).next() {
        Some(_) => ObjectType::Core,
        None => ObjectType::PU,
    };
    let mut cores = Vec::new();
    let mut cores_total = 0;
    for object in machine.objects_with_type(kind) {
        cores_total += 1;
        let cpus = cpus_of(object).intersection(usable);
        if !cpus.is_empty() {
            let socket = object.first_ancestor_with_type(ObjectType::Package).map_or(0, logical_index);
            cores.push(Core { id: logical_index(object), cpus, socket, numa: numa_of(object) });
        }
    }
    let domains = domains(machine, &sockets);
    let xml = machine.export_xml(XMLExportFlags::empty());
    let xml = xml.map(|text| text.as_str().to_owned()).unwrap_or_default();
    NodeHardware { cores, sockets, domains, gpus: Vec::new(), cores_total, xml }
}

/// The NUMA domains, in hwloc's order: none if some core has none, or a socket is not divided by them.
fn domains(machine: &Hwloc, sockets: &[SocketHardware]) -> Vec<SocketHardware> {
    let mut found: Vec<SocketHardware> = Vec::new();
    for node in machine.objects_with_type(ObjectType::NUMANode) {
        let (cpus, memory_bytes) = (cpus_of(node), node.total_memory());
        // Memory of another kind beside the same cores is the same place.
        match found.iter_mut().find(|domain| domain.cpus == cpus) {
            Some(domain) => domain.memory_bytes += memory_bytes,
            None if cpus.is_empty() => {}
            None => found.push(SocketHardware { cpus, memory_bytes }),
        }
    }
    let together = found.iter().fold(Idset::new(), |all, domain| all.union(&domain.cpus));
    let count: usize = found.iter().map(|domain| domain.cpus.len()).sum();
    let inside = |domain: &SocketHardware| sockets.iter().any(|socket| domain.cpus.is_subset(&socket.cpus));
    let whole = sockets.iter().all(|socket| socket.cpus.is_subset(&together)) && count == together.len();
    if whole && found.iter().all(inside) && found.len() > sockets.len() { found } else { Vec::new() }
}

fn logical_index(object: &TopologyObject) -> u32 {
    u32::try_from(object.logical_index()).expect("hwloc's own indexes are 32 bits wide")
}

/// The nearest NUMA domain (its number in the operating system).
fn numa_of(object: &TopologyObject) -> Option<u32> {
    let nearest = object.nodeset().and_then(|domains| domains.first_set())?;
    u32::try_from(usize::from(nearest)).ok()
}

fn cpus_of(object: &TopologyObject) -> Idset {
    object.cpuset().map(|cpus| idset(&cpus)).unwrap_or_default()
}

fn idset(cpus: &hwlocality::cpu::cpuset::CpuSet) -> Idset {
    cpus.iter_set().filter_map(|cpu| u32::try_from(usize::from(cpu)).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn synthetic(description: &str, usable: &str) -> NodeHardware {
        let machine =
            Hwloc::builder().from_synthetic(description).expect("valid description").build().expect("loads");
        describe(&machine, &usable.parse().expect("valid idset"))
    }

    fn sockets(node: &NodeHardware) -> String {
        let topology = node.topology();
        let each: Vec<String> = topology.sockets.iter().map(|socket| socket.cores.to_string()).collect();
        each.join(" | ")
    }

    #[test]
    fn two_sockets_of_ten_cores_are_two_times_ten() {
        let node = synthetic("pack:2 numa:1 l3:1 core:10 pu:1", "0-19");
        assert_eq!(node.core_ids().to_string(), "0-19");
        assert_eq!(sockets(&node), "0-9 | 10-19");
        assert_eq!(node.cores_total, 20);
        assert_eq!(node.cores[15].numa, Some(1));
    }

    #[test]
    fn threads_belong_to_their_core() {
        let node = synthetic("pack:1 core:4 pu:2", "0-7");
        assert_eq!(node.core_ids().to_string(), "0-3");
        assert_eq!(node.cpus(&"1,3".parse().unwrap()).to_string(), "2-3,6-7");
    }

    #[test]
    fn a_core_with_one_usable_thread_is_usable_on_that_thread() {
        let node = synthetic("pack:1 core:4 pu:2", "0-3,5");
        assert_eq!(node.core_ids().to_string(), "0-2");
        assert_eq!(node.cores[2].cpus.to_string(), "5");
    }

    #[test]
    fn a_mask_leaves_holes_and_no_new_numbers() {
        let node = synthetic("pack:2 numa:1 core:10 pu:1", "3-4,15");
        assert_eq!(node.core_ids().to_string(), "3-4,15");
        assert_eq!(sockets(&node), "3-4 | 15");
        assert_eq!(node.cores_total, 20);
    }

    #[test]
    fn a_socket_without_usable_cores_is_not_in_the_topology() {
        let node = synthetic("pack:2 numa:1 core:10 pu:1", "10-19");
        assert_eq!(sockets(&node), "10-19");
        assert_eq!(node.sockets.len(), 2);
    }

    #[test]
    fn a_machine_without_packages_has_one_socket() {
        let node = synthetic("node:2 core:10 pu:1", "0-19");
        assert_eq!(sockets(&node), "0-19");
    }

    #[test]
    fn memory_is_counted_by_socket() {
        let node = synthetic("pack:2 numa:1(memory=68719476736) core:2 pu:1", "0-3");
        let memory: Vec<_> = node.topology().sockets.iter().map(|socket| socket.memory_gib).collect();
        assert_eq!(memory, [Some(64), Some(64)]);
    }

    /// One socket of four domains, as on nodes with an APU's worth of GPUs in each: which GPUs are in the same part as
    /// which cores.
    fn parts(description: &str, near: &[&str]) -> String {
        let found = gpu::Devices::near(near);
        let node = synthetic(description, "0-15").with_gpus(&found);
        let topology = node.topology();
        let each = topology.sockets.iter().map(|part| format!("{}+{}", part.cores, part.gpus));
        each.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn gpus_of_single_domains_make_the_domains_the_parts_of_a_node() {
        let four = "pack:1 numa:4 core:4 pu:1";
        // In the order of the bus, which is not that of the domains.
        assert_eq!(parts(four, &["12-15", "8-11", "0-3", "4-7"]), "0-3+2 4-7+3 8-11+1 12-15+0");
        assert_eq!(parts(four, &["0-15", "0-15"]), "0-15+0-1", "near to the whole socket");
        assert_eq!(parts(four, &["", ""]), "0-15+0-1", "nobody says where they are");
        assert_eq!(parts(four, &[]), "0-15+");
        assert_eq!(parts("pack:2 numa:2 core:4 pu:1", &["8-11", "0-7"]), "0-3+1 4-7+ 8-11+0 12-15+");
        assert_eq!(parts("pack:2 numa:1 core:8 pu:1", &["8-15", "0-7"]), "0-7+1 8-15+0");
        assert_eq!(parts("pack:2 numa:1 core:8 pu:1", &["8-11", "0-3"]), "0-7+1 8-15+0", "no domains there");
    }

    #[test]
    fn r_line_names_rank_host_and_cores() {
        let node = synthetic("pack:1 core:4 pu:1", "0,2-3");
        let line = node.rnode(Rank(7), "c7");
        assert_eq!((line.rank, line.host.as_str(), line.cores.to_string().as_str()), (7, "c7", "0,2-3"));
    }

    #[test]
    fn this_machine_has_the_cores_that_this_test_may_run_on() {
        let node = discover().expect("this machine describes itself");
        let mask = sysfs::affinity(Path::new("/proc")).expect("readable");
        assert_eq!(node.cpus(&node.core_ids()), mask);
        assert!(node.xml.starts_with("<?xml"), "{}", node.xml);
    }

    #[test]
    fn sysfs_agrees_with_hwloc_on_this_machine() {
        let mask = sysfs::affinity(Path::new("/proc")).expect("readable");
        let plain = sysfs::read(Path::new("/sys"), &mask).expect("readable");
        let hwloc = read_hwloc().expect("loads");
        assert_eq!(plain.core_ids(), hwloc.core_ids());
        assert_eq!(plain.cpus(&plain.core_ids()), hwloc.cpus(&hwloc.core_ids()));
        assert_eq!(plain.cores_total, hwloc.cores_total);
    }
}
