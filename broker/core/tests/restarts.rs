//! Brokers below the leader are replaced, or silent: seen through the door of the leader.

mod rim;

use flurm_core::{CoreConfig, Input, Output, Peer};
use flurm_types::{Idset, R, RNode, Rank};
use flurm_wire::overlay::Hello;
use flurm_wire::state::BrokerState;
use flurm_wire::{Address, ClientId, Dest, Message};
use rim::{Rim, config};

const CHILD: Peer = Peer::Broker(Rank(1));

/// A chain of four, the first of which is here.
fn chain() -> CoreConfig {
    let hosts = ["a", "b", "c", "d"].map(String::from).to_vec();
    let nodes = (0..).zip(&hosts).map(|(rank, host)| {
        let (cores, gpus) = (Idset::from(0), Idset::default());
        RNode { rank, host: host.clone(), cores, gpus }
    });
    let resources = Some(R::from_nodes(nodes));
    CoreConfig { size: 4, fanout: 1, hosts, resources, initial_program: None, ..config() }
}

fn set(text: &str) -> Idset {
    text.parse().expect("an idset")
}

/// Rank 1 says who is there and who was lost; with tag 1 these are its first words on a link.
fn hello(rim: &mut Rim, tag: u64, epoch: u64, subtree: &str, lost: &str) {
    if tag == 1 {
        rim.step(Input::PeerUp(CHILD));
    }
    let hello = Hello { rank: Rank(1), epoch, subtree: set(subtree), lost: set(lost) };
    let address = Address { rank: Rank(1), client: ClientId(0) };
    let message = Message::request(address, Dest::Rank(Rank(0)), tag, &hello);
    rim.step(Input::Message { from: CHILD, message });
}

fn warnings(rim: &Rim) -> Vec<&str> {
    let lines = rim.out.iter().filter_map(|output| match output {
        Output::Log(line) if line.level <= 4 => Some(line.text.as_str()),
        _ => None,
    });
    lines.collect()
}

/// Time goes by while rank 1 is heard of each second.
fn pass(rim: &mut Rim, secs: u64, epoch: u64, subtree: &str) {
    for _ in 0..secs {
        rim.now_ms += 1_000;
        hello(rim, 0, epoch, subtree, "");
        rim.step(Input::Wake);
    }
}

/// Rank 1 was killed with two below it, and another broker has taken its place.
fn replaced() -> Rim {
    let mut rim = Rim::up(chain(), &[]);
    hello(&mut rim, 1, 5, "1-3", "");
    rim.commit();
    assert_eq!(rim.state(), BrokerState::Run);
    rim.step(Input::PeerGone(CHILD));
    rim.now_ms += 500;
    hello(&mut rim, 1, 6, "1", "");
    rim
}

#[test]
fn who_was_below_a_broker_that_is_replaced_has_the_time_to_call_the_new_one() {
    let mut rim = replaced();
    pass(&mut rim, 2, 6, "1");
    assert_eq!(warnings(&rim), [""; 0]);
    pass(&mut rim, 10, 6, "1-3");
    assert_eq!(warnings(&rim), [""; 0]);
    // From then on the new one is believed.
    hello(&mut rim, 0, 6, "1-2", "3");
    assert_eq!(warnings(&rim), ["lost: 3 (d)"]);
}

#[test]
fn who_does_not_call_the_new_broker_is_lost_in_the_end() {
    let mut rim = replaced();
    // Its link is cut meanwhile, which changes nothing.
    rim.step(Input::PeerGone(CHILD));
    hello(&mut rim, 1, 6, "1", "");
    pass(&mut rim, 4, 6, "1-2");
    assert_eq!(warnings(&rim), [""; 0]);
    pass(&mut rim, 3, 6, "1-2");
    assert_eq!(warnings(&rim), ["lost: 3 (d)"]);
    hello(&mut rim, 0, 6, "1-3", "");
    // Nobody is awaited any more: what it says now holds at once.
    hello(&mut rim, 0, 6, "1", "2");
    assert_eq!(warnings(&rim), ["lost: 3 (d)", "lost: 2 (c)"]);
}

#[test]
fn who_called_the_new_broker_and_was_lost_again_is_not_awaited() {
    let mut rim = replaced();
    hello(&mut rim, 0, 6, "1-2", "3");
    assert_eq!(warnings(&rim), ["lost: 3 (d)"]);
}

#[test]
fn a_neighbour_that_is_not_read_is_not_called_silent() {
    let mut rim = Rim::up(chain(), &[]);
    hello(&mut rim, 1, 5, "1-3", "");
    for secs in 1..15 {
        rim.now_ms += 1_000;
        if secs < 10 {
            rim.step(Input::Unread);
        }
        rim.step(Input::Wake);
        let lost: &[_] = if secs < 13 { &[] } else { &["lost: 1-3 (b,c,d)"] };
        assert_eq!(warnings(&rim), lost, "after {secs} s");
    }
}

#[test]
fn silence_in_which_we_did_not_run_is_nobodys() {
    let mut rim = Rim::up(chain(), &[]);
    hello(&mut rim, 1, 5, "1-3", "");
    // Stalls of 2.9 s: never as long as the silence that is too long, but longer with what was before them.
    rim.now_ms += 1_500;
    rim.step(Input::Wake);
    rim.now_ms += 2_900;
    rim.step(Input::Wake);
    assert_eq!(warnings(&rim), [""; 0]);
    // The same time awake counts.
    for _ in 0..3 {
        rim.now_ms += 1_000;
        rim.step(Input::Wake);
    }
    assert_eq!(warnings(&rim), ["lost: 1-3 (b,c,d)"]);
}
