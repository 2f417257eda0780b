//! GPUs of this node: found on the PCI bus, cut to the devices this process may open and to what its environment
//! names. No vendor library is loaded.
//!
//! A GPU's id is its place, in PCI order, among those that may be opened: the number the vendors' own
//! `*_VISIBLE_DEVICES` variables count by, also inside a container or cgroup that hides some.

use std::fs;
use std::path::{Path, PathBuf};

use flurm_types::Idset;

use super::SocketHardware;

/// Who made a GPU, which decides what variable shows it to a program.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Vendor {
    Nvidia,
    Amd,
    Intel,
    /// Slurm gave it; the PCI bus does not know it (a test bed's device, say).
    Unknown,
}

/// What this process may use, and what its environment says of it.
#[derive(Debug, Default)]
pub(super) struct Devices(Vec<(Gpu, Idset)>);

/// One usable GPU.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Gpu {
    pub id: u32,
    pub vendor: Vendor,
    /// `0000:3b:00.0`; empty when the PCI bus does not know it.
    pub address: String,
    pub numa: Option<u32>,
    pub socket: u32,
}

/// A GPU of the bus that may be opened, before the environment has its say.
#[derive(Debug)]
struct Found {
    vendor: Vendor,
    address: String,
    uuid: Option<String>,
    numa: Option<u32>,
    cpus: Idset,
}

pub(super) fn discover() -> Devices {
    let found = on_the_bus(Path::new("/"), &may_open);
    let named = |name: &str| std::env::var(name).ok();
    cut(found, &named)
}

impl Devices {
    /// Is one of them near to these cpus only, which are not a whole socket's?
    pub(super) fn is_only_near(&self, cpus: &Idset, sockets: &[SocketHardware]) -> bool {
        let whole = sockets.iter().any(|socket| socket.cpus == *cpus);
        !whole && self.0.iter().any(|(_, near)| !near.is_empty() && near.is_subset(cpus))
    }

    /// Each with the part of the node that it belongs to.
    pub(super) fn of(&self, parts: &[SocketHardware]) -> Vec<Gpu> {
        self.0.iter().map(|(gpu, near)| Gpu { socket: nearest(near, parts), ..gpu.clone() }).collect()
    }

    /// Cards near these cpus.
    #[cfg(test)]
    pub(super) fn near(cpus: &[&str]) -> Devices {
        let card = |(id, cpus): (u32, &&str)| {
            let gpu = Gpu { id, vendor: Vendor::Amd, address: String::new(), numa: None, socket: 0 };
            (gpu, cpus.parse().unwrap())
        };
        Devices((0..).zip(cpus).map(card).collect())
    }
}

/// Whether the file modes and the device cgroup let us use a device file. Nothing is opened: that can wake a card.
fn may_open(device: &Path) -> bool {
    use rustix::fs::{Access, access};
    access(device, Access::READ_OK | Access::WRITE_OK).is_ok()
}

/// Every GPU with a working driver, in PCI order.
fn on_the_bus(root: &Path, may_open: &dyn Fn(&Path) -> bool) -> Vec<Found> {
    let Ok(devices) = fs::read_dir(root.join("sys/bus/pci/devices")) else { return Vec::new() };
    let mut found: Vec<Found> =
        devices.flatten().filter_map(|device| gpu_at(root, &device.path(), may_open)).collect();
    found.sort_by(|a, b| a.address.cmp(&b.address));
    found
}

fn gpu_at(root: &Path, device: &Path, may_open: &dyn Fn(&Path) -> bool) -> Option<Found> {
    let class = word(&device.join("class"))?;
    // 03xxxx: display controllers (00 VGA, 02 3D, 80 other); 1200xx: processing accelerators (newer AMD cards).
    if !class.starts_with("0x03") && !class.starts_with("0x1200") {
        return None;
    }
    let address = device.file_name()?.to_str()?.to_owned();
    let mut uuid = None;
    let vendor = match word(&device.join("vendor"))?.as_str() {
        "0x10de" => {
            let about = root.join("proc/driver/nvidia/gpus").join(&address).join("information");
            let about = fs::read_to_string(about).ok()?;
            let minor = field(&about, "Device Minor")?;
            uuid = field(&about, "GPU UUID").map(str::to_owned);
            may_open(&root.join(format!("dev/nvidia{minor}"))).then_some(Vendor::Nvidia)?
        }
        "0x1002" => render_node(root, device).filter(|node| may_open(node)).map(|_| Vendor::Amd)?,
        // On bus 0 it is the processor's own, for screens.
        "0x8086" if !address.contains(":00:") => {
            render_node(root, device).filter(|node| may_open(node)).map(|_| Vendor::Intel)?
        }
        _ => return None,
    };
    let numa = word(&device.join("numa_node")).and_then(|domain| domain.parse().ok());
    let cpus = word(&device.join("local_cpulist")).and_then(|list| list.parse().ok()).unwrap_or_default();
    Some(Found { vendor, address, uuid, numa, cpus })
}

/// The device file through which programs compute on an AMD or Intel card, if its driver made one.
fn render_node(root: &Path, device: &Path) -> Option<PathBuf> {
    let names = fs::read_dir(device.join("drm")).ok()?.flatten().map(|entry| entry.file_name());
    let name = names.filter_map(|name| name.into_string().ok()).find(|name| name.starts_with("renderD"))?;
    Some(root.join("dev/dri").join(name))
}

fn word(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':'))?;
    Some(value.trim())
}

/// What the environment leaves of the GPUs found.
fn cut(found: Vec<Found>, named: &dyn Fn(&str) -> Option<String>) -> Devices {
    if let Some(parts) = parts_of_cards(&found, named) {
        return parts;
    }
    if found.is_empty() {
        return Devices(given_by_slurm(named).into_iter().map(|gpu| (gpu, Idset::new())).collect());
    }
    let kept = Vendor::ALL.map(|vendor| {
        let uuids = found.iter().filter(|gpu| gpu.vendor == vendor).map(|gpu| gpu.uuid.as_deref());
        (vendor, choice(vendor.variable().and_then(named), &uuids.collect::<Vec<_>>()))
    });
    let mut gpus = Vec::new();
    let mut of_vendor = [0_usize; Vendor::ALL.len()];
    for (id, gpu) in found.into_iter().enumerate() {
        let row =
            Vendor::ALL.iter().position(|vendor| *vendor == gpu.vendor).expect("ALL names every vendor");
        let place = of_vendor[row];
        of_vendor[row] += 1;
        if kept[row].1[place] {
            let id = u32::try_from(id).expect("a node has few GPUs");
            let usable = Gpu { id, vendor: gpu.vendor, address: gpu.address, numa: gpu.numa, socket: 0 };
            gpus.push((usable, gpu.cpus));
        }
    }
    Devices(gpus)
}

/// NVIDIA cards that are divided (MIG): each part that the environment names is a GPU. The bus does not know them, so
/// where nothing names them, a card is one.
fn parts_of_cards(found: &[Found], named: &dyn Fn(&str) -> Option<String>) -> Option<Devices> {
    let list = Vendor::Nvidia.variable().and_then(named)?;
    let words: Vec<&str> = list.split(',').map(str::trim).filter(|word| !word.is_empty()).collect();
    if words.is_empty() || !words.iter().all(|word| word.starts_with(MIG)) {
        return None;
    }
    let cards: Vec<&Found> = found.iter().filter(|gpu| gpu.vendor == Vendor::Nvidia).collect();
    let part = |(id, word): (u32, &&str)| {
        // Older drivers write MIG-GPU-<uuid of the card>/<instance>/<instance>; newer names say nothing of the card.
        let of = word.strip_prefix(MIG).and_then(|rest| rest.split('/').next()).unwrap_or_default();
        let card = cards.iter().find(|card| card.uuid.as_deref() == Some(of));
        let card = card.or(cards.first().filter(|_| cards.len() == 1));
        let (address, numa, near) = match card {
            Some(card) => (card.address.clone(), card.numa, card.cpus.clone()),
            None => (String::new(), None, Idset::new()),
        };
        (Gpu { id, vendor: Vendor::Nvidia, address, numa, socket: 0 }, near)
    };
    Some(Devices((0..).zip(&words).map(part).collect()))
}

/// What the names of such parts begin with.
const MIG: &str = "MIG-";

/// Which of one vendor's GPUs a `*_VISIBLE_DEVICES` list keeps.
fn choice(list: Option<String>, uuids: &[Option<&str>]) -> Vec<bool> {
    let Some(list) = list else { return vec![true; uuids.len()] };
    let words: Vec<&str> = list.split(',').map(str::trim).filter(|word| !word.is_empty()).collect();
    // As many as there are: Slurm has hidden the rest and its numbers may be the machine's, not ours.
    let numbers = words.iter().all(|word| word.parse::<usize>().is_ok());
    if numbers && words.len() == uuids.len() {
        return vec![true; uuids.len()];
    }
    let names = |word: &str, place: usize, uuid: Option<&str>| match word.parse::<usize>() {
        Ok(number) => number == place,
        // Vendors accept the beginning of a UUID.
        Err(_) => uuid.is_some_and(|uuid| uuid.starts_with(word)),
    };
    let kept = |(place, uuid): (usize, &Option<&str>)| words.iter().any(|word| names(word, place, *uuid));
    uuids.iter().enumerate().map(kept).collect()
}

/// GPUs that only Slurm knows of: its step (or batch script) names them by number.
fn given_by_slurm(named: &dyn Fn(&str) -> Option<String>) -> Vec<Gpu> {
    let list = named("SLURM_STEP_GPUS").or_else(|| named("SLURM_JOB_GPUS")).unwrap_or_default();
    let ids = Idset::parse_relaxed(&list).unwrap_or_default();
    let gpu = |id| Gpu { id, vendor: Vendor::Unknown, address: String::new(), numa: None, socket: 0 };
    ids.iter().map(gpu).collect()
}

/// The part whose cpus a device names as its neighbours; the first of several; the first of all where it names none.
fn nearest(cpus: &Idset, parts: &[SocketHardware]) -> u32 {
    let inside = |part: &SocketHardware| !cpus.is_empty() && cpus.is_subset(&part.cpus);
    let some = |part: &SocketHardware| !cpus.is_disjoint(&part.cpus);
    let index = parts.iter().position(inside).or_else(|| parts.iter().position(some)).unwrap_or(0);
    u32::try_from(index).expect("a node has few sockets")
}

impl Vendor {
    const ALL: [Vendor; 4] = [Vendor::Nvidia, Vendor::Amd, Vendor::Intel, Vendor::Unknown];

    /// The variable by which this vendor's programs are shown some of the GPUs.
    pub fn variable(self) -> Option<&'static str> {
        match self {
            Vendor::Nvidia => Some("CUDA_VISIBLE_DEVICES"),
            Vendor::Amd => Some("ROCR_VISIBLE_DEVICES"),
            Vendor::Intel => Some("ZE_AFFINITY_MASK"),
            Vendor::Unknown => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file system with these NVIDIA cards, card `n` at bus `n + 1`, near the cpus given.
    fn nvidia(cards: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a temporary folder");
        for (minor, cpus) in cards.iter().enumerate() {
            let address = format!("0000:{:02x}:00.0", minor + 1);
            let device = root.path().join("sys/bus/pci/devices").join(&address);
            fs::create_dir_all(&device).expect("created");
            fs::write(device.join("class"), "0x030200\n").expect("written");
            fs::write(device.join("vendor"), "0x10de\n").expect("written");
            fs::write(device.join("numa_node"), "-1\n").expect("written");
            fs::write(device.join("local_cpulist"), format!("{cpus}\n")).expect("written");
            let about = root.path().join("proc/driver/nvidia/gpus").join(&address);
            fs::create_dir_all(&about).expect("created");
            let text =
                format!("Model: \t\t NVIDIA Test\nGPU UUID: \t GPU-{minor}abc\nDevice Minor: \t {minor}\n");
            fs::write(about.join("information"), text).expect("written");
        }
        root
    }

    fn screen(root: &Path, address: &str, vendor: &str) {
        let device = root.join("sys/bus/pci/devices").join(address);
        fs::create_dir_all(device.join("drm/renderD128")).expect("created");
        fs::write(device.join("class"), "0x030000\n").expect("written");
        fs::write(device.join("vendor"), format!("{vendor}\n")).expect("written");
    }

    fn ids(found: Vec<Found>, environment: &[(&str, &str)]) -> String {
        let named = |name: &str| {
            environment.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        };
        cut(found, &named).of(&[]).iter().map(|gpu| gpu.id).collect::<Idset>().to_string()
    }

    #[test]
    fn every_card_counts_where_nothing_limits() {
        let root = nvidia(&["0-3"; 4]);
        assert_eq!(ids(on_the_bus(root.path(), &|_| true), &[]), "0-3");
    }

    #[test]
    fn a_card_that_may_not_be_opened_is_not_there() {
        let root = nvidia(&["0-3"; 4]);
        let found = on_the_bus(root.path(), &|device| !device.ends_with("nvidia1"));
        assert_eq!(ids(found, &[]), "0-2");
    }

    #[test]
    fn visible_devices_choose_by_number() {
        let root = nvidia(&["0-3"; 4]);
        assert_eq!(ids(on_the_bus(root.path(), &|_| true), &[("CUDA_VISIBLE_DEVICES", "2,3")]), "2-3");
    }

    #[test]
    fn visible_devices_choose_by_uuid() {
        let root = nvidia(&["0-3"; 3]);
        assert_eq!(ids(on_the_bus(root.path(), &|_| true), &[("CUDA_VISIBLE_DEVICES", "GPU-1abc")]), "1");
    }

    #[test]
    fn numbers_of_hidden_cards_do_not_hide_the_ones_left() {
        // Slurm gave cards 2 and 3 and hides the others: what can be opened is what was given.
        let root = nvidia(&["0-3"; 4]);
        let found =
            on_the_bus(root.path(), &|device| device.ends_with("nvidia2") || device.ends_with("nvidia3"));
        assert_eq!(ids(found, &[("CUDA_VISIBLE_DEVICES", "2,3")]), "0-1");
    }

    #[test]
    fn an_empty_list_leaves_none() {
        let root = nvidia(&["0-3"; 2]);
        assert_eq!(ids(on_the_bus(root.path(), &|_| true), &[("CUDA_VISIBLE_DEVICES", "")]), "");
        assert_eq!(ids(on_the_bus(root.path(), &|_| true), &[("CUDA_VISIBLE_DEVICES", "NoDevFiles")]), "");
    }

    #[test]
    fn cards_for_screens_are_not_counted() {
        let root = tempfile::tempdir().expect("a temporary folder");
        screen(root.path(), "0000:00:02.0", "0x8086");
        screen(root.path(), "0000:02:00.0", "0x1a03");
        assert_eq!(ids(on_the_bus(root.path(), &|_| true), &[]), "");
        screen(root.path(), "0000:03:00.0", "0x1002");
        assert_eq!(ids(on_the_bus(root.path(), &|_| true), &[]), "0");
    }

    #[test]
    fn a_card_belongs_to_the_socket_of_its_cpus() {
        let root = nvidia(&["4-7", "0-3", "0-7"]);
        let socket = |cpus: &str| SocketHardware { cpus: cpus.parse().unwrap(), memory_bytes: 0 };
        let gpus = cut(on_the_bus(root.path(), &|_| true), &|_| None).of(&[socket("0-3"), socket("4-7")]);
        assert_eq!(gpus.iter().map(|gpu| gpu.socket).collect::<Vec<_>>(), [1, 0, 0]);
        assert_eq!(gpus[0].numa, None);
    }

    #[test]
    fn each_part_of_a_divided_card_that_is_named_is_a_gpu() {
        let root = nvidia(&["0-3", "4-7"]);
        let parts = |list: &str| {
            let found = on_the_bus(root.path(), &|_| true);
            let socket = |cpus: &str| SocketHardware { cpus: cpus.parse().unwrap(), memory_bytes: 0 };
            let gpus = cut(found, &|name| (name == "CUDA_VISIBLE_DEVICES").then(|| list.to_owned()));
            let gpus = gpus.of(&[socket("0-3"), socket("4-7")]);
            gpus.iter().map(|gpu| format!("{}@{}", gpu.id, gpu.socket)).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(parts("MIG-GPU-1abc/1/0,MIG-GPU-0abc/5/0,MIG-GPU-1abc/2/0"), "0@1 1@0 2@1");
        assert_eq!(parts("MIG-c7d1f2aa-1111,MIG-c7d1f2aa-2222"), "0@0 1@0", "of whichever card");
        assert_eq!(ids(Vec::new(), &[("CUDA_VISIBLE_DEVICES", "MIG-1,MIG-2")]), "0-1");
    }

    #[test]
    fn what_slurm_gave_counts_where_the_bus_knows_nothing() {
        assert_eq!(ids(Vec::new(), &[("SLURM_STEP_GPUS", "1,3"), ("SLURM_JOB_GPUS", "0-3")]), "1,3");
        assert_eq!(ids(Vec::new(), &[]), "");
    }
}
