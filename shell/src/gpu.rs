//! Whose GPUs a node has, and by which variables programs are shown some of them.
//!
//! A GPU's number in R is its place on the node's bus. CUDA, ROCr and Level Zero count like that. HIP and OpenCL on AMD's cards
//! come behind ROCr and count again what it has left, so they are told 0, 1, …: the same list twice would hide all.

use crate::env::Block;
use flurm_types::Idset;
use std::path::Path;
use std::sync::OnceLock;

/// Whose GPUs there are.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct Vendors {
    nvidia: bool,
    amd: bool,
    intel: bool,
}

impl Vendors {
    /// They may be anybody's.
    pub const UNKNOWN: Vendors = Vendors { nvidia: true, amd: true, intel: true };

    /// Those of this node, looked up once.
    pub fn here() -> Vendors {
        static HERE: OnceLock<Vendors> = OnceLock::new();
        *HERE.get_or_init(|| Vendors::read(Path::new("/sys/bus/pci/devices")))
    }

    /// Reads a bus in sysfs. A node whose GPUs are not there (a container, made-up resources) may have anybody's.
    pub fn read(bus: &Path) -> Vendors {
        let mut found = Vendors { nvidia: false, amd: false, intel: false };
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
        if found == (Vendors { nvidia: false, amd: false, intel: false }) { Vendors::UNKNOWN } else { found }
    }

    /// Shows these GPUs and no other.
    pub fn show(self, gpus: &Idset, block: &mut Block) {
        let list =
            |ids: &mut dyn Iterator<Item = u32>| ids.map(|id| id.to_string()).collect::<Vec<_>>().join(",");
        let numbers = list(&mut gpus.iter());
        if self.nvidia {
            block.push("CUDA_VISIBLE_DEVICES", &numbers);
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
