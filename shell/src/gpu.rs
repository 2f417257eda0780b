//! Whose GPUs a node has, and by which variables programs are shown some of them.
//!
//! A GPU's number in R is its place on the node's bus. CUDA, ROCr and Level Zero count like that. HIP and OpenCL on AMD's cards
//! come behind ROCr and count again what it has left, so they are told 0, 1, …: the same list twice would hide all.
//!
//! Parts of divided NVIDIA cards (MIG) have no place there but names. The broker has counted those that its environment
//! names, which is the shell's as well. Who runs as a task (an instance inside a job) sees fewer of them, but counts as
//! we do: `NAMES` has all.

use crate::env::Block;
use flurm_types::Idset;
use std::path::Path;
use std::sync::OnceLock;

/// Whose GPUs there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vendors {
    nvidia: bool,
    amd: bool,
    intel: bool,
    /// Names of the parts of NVIDIA cards, where those are what R counts.
    parts: Vec<String>,
}

/// What the names of parts begin with.
const MIG: &str = "MIG-";

/// Where tasks find the names of all parts on this node. It is taken out of what a submitter has, as all of a task's.
const NAMES: &str = "FLURM_TASK_GPU_NAMES";

impl Vendors {
    /// They may be anybody's.
    pub const UNKNOWN: Vendors = Vendors { nvidia: true, amd: true, intel: true, parts: Vec::new() };

    /// Those of this node, looked up once.
    pub fn here() -> Vendors {
        static HERE: OnceLock<Vendors> = OnceLock::new();
        let read = || {
            let list =
                std::env::var(NAMES).or_else(|_| std::env::var("CUDA_VISIBLE_DEVICES")).unwrap_or_default();
            Vendors::read(Path::new("/sys/bus/pci/devices")).with_parts(&list)
        };
        HERE.get_or_init(read).clone()
    }

    /// The same on a node where `list` is what is visible of NVIDIA's GPUs.
    fn with_parts(self, list: &str) -> Vendors {
        let words: Vec<&str> = list.split(',').map(str::trim).filter(|word| !word.is_empty()).collect();
        if words.is_empty() || !words.iter().all(|word| word.starts_with(MIG)) {
            return self;
        }
        Vendors { nvidia: true, parts: words.into_iter().map(str::to_owned).collect(), ..self }
    }

    /// Reads a bus in sysfs. A node whose GPUs are not there (a container, made-up resources) may have anybody's.
    pub fn read(bus: &Path) -> Vendors {
        let mut found = Vendors { nvidia: false, amd: false, intel: false, parts: Vec::new() };
        for device in std::fs::read_dir(bus).into_iter().flatten().flatten() {
            let word = |name| std::fs::read_to_string(device.path().join(name)).unwrap_or_default();
            let class = word("class");
            // 03xxxx: display controllers; 1200xx: processing accelerators (newer AMD cards).
            if !class.starts_with("0x03") && !class.starts_with("0x1200") {
                continue;
            }
            match word("vendor").trim() {
                "0x10de" => found.nvidia = true,
                "0x1002" => found.amd = true,
                // On bus 0 it is the processor's own, for screens.
                "0x8086" if !device.file_name().to_string_lossy().contains(":00:") => found.intel = true,
                _ => {}
            }
        }
        if found.nvidia || found.amd || found.intel { found } else { Vendors::UNKNOWN }
    }

    /// Shows these GPUs and no other.
    pub fn show(&self, gpus: &Idset, block: &mut Block) {
        let list =
            |ids: &mut dyn Iterator<Item = u32>| ids.map(|id| id.to_string()).collect::<Vec<_>>().join(",");
        let numbers = list(&mut gpus.iter());
        if self.nvidia {
            let named = |id: u32| self.parts.get(id as usize).cloned().unwrap_or_else(|| id.to_string());
            let names: Vec<String> = gpus.iter().map(named).collect();
            block.push("CUDA_VISIBLE_DEVICES", &names.join(","));
            if !self.parts.is_empty() {
                block.push(NAMES, &self.parts.join(","));
            }
            block.push("CUDA_DEVICE_ORDER", "PCI_BUS_ID");
        }
        if self.amd {
            let places = list(&mut (0..gpus.len() as u32));
            block.push("ROCR_VISIBLE_DEVICES", &numbers);
            block.push("HIP_VISIBLE_DEVICES", &places);
            block.push("GPU_DEVICE_ORDINAL", &places);
        }
        if self.intel {
            block.push("ZE_AFFINITY_MASK", &numbers);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_cards_are_shown_by_their_names() {
        let shown = |list: &str| {
            let mut block = Block::default();
            Vendors { amd: false, intel: false, ..Vendors::UNKNOWN }
                .with_parts(list)
                .show(&"1-2".parse().unwrap(), &mut block);
            let all: Vec<_> = block.iter().collect();
            all[0].to_string()
        };
        assert_eq!(shown("MIG-a, MIG-b,MIG-c"), "CUDA_VISIBLE_DEVICES=MIG-b,MIG-c");
        assert_eq!(shown("0,1,2"), "CUDA_VISIBLE_DEVICES=1,2");
        assert_eq!(shown(""), "CUDA_VISIBLE_DEVICES=1,2");
    }

    #[test]
    fn each_vendor_is_told_in_its_own_way_and_no_list_hides_what_another_has_left() {
        for (cards, wanted) in [
            (
                &[("0000:3b:00.0", "0x030200", "0x10de")][..],
                "CUDA_VISIBLE_DEVICES=2,3 CUDA_DEVICE_ORDER=PCI_BUS_ID",
            ),
            (
                &[("0000:c1:00.0", "0x120000", "0x1002"), ("0000:02:00.0", "0x030000", "0x1a03")],
                "ROCR_VISIBLE_DEVICES=2,3 HIP_VISIBLE_DEVICES=0,1 GPU_DEVICE_ORDINAL=0,1",
            ),
            (&[("0000:03:00.0", "0x038000", "0x8086")], "ZE_AFFINITY_MASK=2,3"),
            (
                &[("0000:00:02.0", "0x030000", "0x8086")],
                "CUDA_VISIBLE_DEVICES=2,3 CUDA_DEVICE_ORDER=PCI_BUS_ID ROCR_VISIBLE_DEVICES=2,3 \
                 HIP_VISIBLE_DEVICES=0,1 GPU_DEVICE_ORDINAL=0,1 ZE_AFFINITY_MASK=2,3",
            ),
        ] {
            let bus = tempfile::tempdir().unwrap();
            for (address, class, vendor) in cards {
                let device = bus.path().join(address);
                std::fs::create_dir(&device).unwrap();
                std::fs::write(device.join("class"), format!("{class}\n")).unwrap();
                std::fs::write(device.join("vendor"), format!("{vendor}\n")).unwrap();
            }
            let mut block = Block::default();
            Vendors::read(bus.path()).show(&"2-3".parse().unwrap(), &mut block);
            assert_eq!(block.iter().collect::<Vec<_>>().join(" "), wanted, "{cards:?}");
        }
    }
}
