//! Trackable resources: their ids, and amounts of them as Slurm writes them down (`1=4,4=2`).

use flurm_slurm_protocol::structures::{DbTresRec, DbTresRecNoalloc};
use std::fmt::Write as _;

const CPU: u32 = 1;
const MEM: u32 = 2;
const NODE: u32 = 4;
const BILLING: u32 = 5;
/// Ids of generic resources begin behind a mark of this number.
const OFFSET: u32 = 1000;
const GPU: u32 = 1001;

/// Those that every Slurm has under these ids, and GPUs.
const ALL: [(u32, &str, Option<&str>); 10] = [
    (CPU, "cpu", None),
    (MEM, "mem", None),
    (3, "energy", None),
    (NODE, "node", None),
    (BILLING, "billing", None),
    (6, "fs", Some("disk")),
    (7, "vmem", None),
    (8, "pages", None),
    (OFFSET, "dynamic_offset", None),
    (GPU, "gres", Some("gpu")),
];

/// An amount of each; 0 is left out.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Tres {
    pub cpus: u64,
    pub mem_mib: u64,
    pub nodes: u64,
    /// Of a step there is none.
    pub billing: u64,
    pub gpus: u64,
}

impl Tres {
    pub fn text(&self) -> String {
        let mut text = String::new();
        let amounts = [
            (CPU, self.cpus),
            (MEM, self.mem_mib),
            (NODE, self.nodes),
            (BILLING, self.billing),
            (GPU, self.gpus),
        ];
        for (id, amount) in amounts.into_iter().filter(|(_, amount)| *amount > 0) {
            let comma = if text.is_empty() { "" } else { "," };
            let _ = write!(text, "{comma}{id}={amount}");
        }
        text
    }
}

/// What the ids mean.
pub fn tres() -> Vec<DbTresRec> {
    let record = |(id, kind, name): (u32, &str, Option<&str>)| DbTresRec {
        rec: DbTresRecNoalloc { id, r#type: kind.into(), name: name.into(), ..DbTresRecNoalloc::default() },
    };
    ALL.into_iter().map(record).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_written_with_ids_in_order() {
        let tres = Tres { cpus: 4, mem_mib: 200, nodes: 2, billing: 4, gpus: 2 };
        assert_eq!(tres.text(), "1=4,2=200,4=2,5=4,1001=2");
        assert_eq!(Tres { mem_mib: 0, gpus: 0, ..tres }.text(), "1=4,4=2,5=4");
        assert_eq!(Tres::default().text(), "");
    }
}
