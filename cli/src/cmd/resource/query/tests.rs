//! Long conversations: whatever is said in whatever order, nothing is given twice at the same time.

use super::session::{Session, Setup};
use crate::inventory::{Format, Inventory};
use flurm_types::R;
use serde_json::Value;

/// Small numbers from a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    fn pick<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.below(list.len() as u64) as usize]
    }
}

fn line(dice: &mut Dice) -> String {
    let shape = dice.pick(&[
        "slot=2/core",
        "slot=5/core",
        "slot/[core;gpu]",
        "node=2/slot/core=2",
        "node=2{x}/slot/core",
        "node/slot/[core=2;memory=9{unit:GiB}]",
        "rack/slot=3/core",
        "socket=2/slot=2/core",
        "slot=2-9:1:+/core",
    ]);
    let placement =
        dice.pick(&["", " --placement=spread", " --placement=high", " --cosched", " --requires=a"]);
    let time = if dice.below(5) > 0 { format!(" -t {}s", 1 + dice.below(50)) } else { String::new() };
    let node = dice.pick(&["node0", "node3", "/cluster0/rack1", "/cluster0/rack0/node1/socket0"]);
    match dice.below(12) {
        0..3 => format!("match allocate {shape}{placement}{time}"),
        3..6 => format!("match allocate_orelse_reserve {shape}{placement}{time}"),
        6 => format!("match reserve {} {shape}{placement}{time}", 1 + dice.below(300)),
        7 => format!("cancel {}", 1 + dice.below(20)),
        8 => format!("partial-cancel {} {}", 1 + dice.below(20), dice.below(4)),
        9 => format!("tick {}", 1 + dice.below(40)),
        10 => format!("set-status {node} {}", dice.pick(&["up", "up", "down", "drain", "undrain"])),
        _ => dice.pick(&["tick", "stat", "find sched-now=allocated", "set-property node1 a"]).to_owned(),
    }
}

/// When a job has what.
struct Stay {
    from: f64,
    to: f64,
    r: R,
}

fn stays(list: &Value) -> Vec<Stay> {
    let stay = |job: &Value| Stay {
        from: job["from"].as_f64().unwrap(),
        to: job["to"].as_f64().unwrap_or(f64::INFINITY),
        r: R::from_value(&job["R"]).unwrap(),
    };
    list["jobs"].as_array().unwrap().iter().map(stay).collect()
}

#[test]
fn nothing_is_given_twice_at_the_same_time() {
    let nothing = Inventory::read(R::default().to_json().as_bytes(), Some(Format::R), "").unwrap();
    let (mut given, mut reserved) = (0, 0);
    for seed in 0..25 {
        let mut dice = Dice(seed);
        let mut session = Session::new(Setup::default(), &nothing);
        let graph = "graph --nodes=4 --sockets=2 --cores=3 --gpus=1 --racks=2 --memory=16 --prop=node0:a";
        session.answer(graph).unwrap();
        for _ in 0..60 {
            let line = line(&mut dice);
            // Some lines name what is not there, which is no more than an error.
            let Ok(Some(answer)) = session.answer(&line) else { continue };
            given += usize::from(answer.value["state"] == "allocated");
            reserved += usize::from(answer.value["state"] == "reserved");
            let list = session.answer("list").unwrap().unwrap();
            let stays = stays(&list.value);
            for (n, one) in stays.iter().enumerate() {
                for other in &stays[..n] {
                    let apart = one.to <= other.from || other.to <= one.from;
                    assert!(apart || one.r.is_disjoint(&other.r), "seed {seed}, {line}\n{:#?}", list.lines);
                }
            }
        }
    }
    assert!(given > 100 && reserved > 100, "{given} {reserved}");
}
