//! The end of an instance of two brokers, seen through the door of one of them: leaves first, in order, without delay.

mod rim;

use flurm_core::{CoreConfig, Guest, Input, Output, Peer, Role};
use flurm_types::{Idset, R, RNode, Rank};
use flurm_wire::overlay::{Goodbye, Hello, Welcome};
use flurm_wire::resource::Inventory;
use flurm_wire::state::BrokerState;
use flurm_wire::{Address, ClientId, Dest, Message, Topic, shell};
use rim::{Rim, SHELL, config};

const CHILD: Peer = Peer::Broker(Rank(1));
const PARENT: Peer = Peer::Broker(Rank(0));
const TERM: i32 = 15;

fn two() -> CoreConfig {
    CoreConfig { size: 2, hosts: vec!["vm".into(), "vm".into()], ..config() }
}

fn say<T: Topic>(rim: &mut Rim, from: Peer, tag: u64, body: &T) {
    let Peer::Broker(rank) = from else { panic!("brokers only") };
    let message = Message::request(Address { rank, client: ClientId(0) }, Dest::Leader, tag, body);
    rim.step(Input::Message { from, message });
}

fn hello(rim: &mut Rim) {
    rim.step(Input::PeerUp(CHILD));
    say(rim, CHILD, 1, &Hello { rank: Rank(1), epoch: 5, subtree: Idset::from(1), lost: Idset::default() });
}

/// What was sent to a broker, by topic.
fn told(rim: &Rim, peer: Peer) -> Vec<String> {
    let topics = rim.out.iter().filter_map(|output| match output {
        Output::Send { to, message } if *to == peer => Some(message.topic.to_string()),
        _ => None,
    });
    topics.collect()
}

fn exit(rim: &Rim) -> Option<i32> {
    rim.out.iter().find_map(|output| match output {
        Output::Exit { code } => Some(*code),
        _ => None,
    })
}

fn warnings(rim: &Rim) -> Vec<&str> {
    let lines = rim.out.iter().filter_map(|output| match output {
        Output::Log(line) if line.level <= 4 => Some(line.text.as_str()),
        _ => None,
    });
    lines.collect()
}

/// Rank 0 runs with its child, and then its program and its shell end.
fn shutting_down() -> Rim {
    let mut rim = Rim::up(two(), &[]);
    hello(&mut rim);
    let node = RNode { rank: 1, host: "vm".into(), cores: (0..4).collect(), gpus: Idset::default() };
    say(&mut rim, CHILD, 0, &Inventory { r: R::from_nodes([node]) });
    rim.commit();
    rim.ask(SHELL, 2, &shell::InitialExited { status: 0 });
    rim.commit();
    rim.step(Input::GuestExited { guest: Guest::Shell, status: 0 });
    assert_eq!(rim.state(), BrokerState::Shutdown);
    assert_eq!(exit(&rim), None, "the child has not left");
    rim
}

#[test]
fn the_leader_ends_at_the_goodbye_of_its_last_child() {
    let mut rim = shutting_down();
    // The tell of what the child has was answered with nothing, which nobody would have read.
    assert_eq!(told(&rim, CHILD), ["overlay.hello", "overlay.goodbye"]);
    // Nothing more is written, so nothing is waited for.
    say(&mut rim, CHILD, 0, &Goodbye::default());
    assert_eq!(exit(&rim), Some(0));
    assert_eq!(warnings(&rim), [""; 0]);
}

#[test]
fn a_child_that_is_lost_meanwhile_costs_the_grace_and_is_named_once() {
    let mut rim = shutting_down();
    rim.step(Input::PeerGone(CHILD));
    for _ in 0..4 {
        assert_eq!(exit(&rim), None);
        rim.now_ms += 1_000;
        rim.step(Input::Wake);
        rim.commit();
    }
    assert_eq!(exit(&rim), Some(0));
    assert_eq!(warnings(&rim), ["lost: 1 (vm)"]);
}

#[test]
fn who_left_and_who_was_lost_further_down_is_told_up_the_tree() {
    let set = |text: &str| text.parse::<Idset>().expect("an idset");
    let hosts = ["a", "b", "c", "d"].map(String::from).to_vec();
    let chain = CoreConfig { size: 4, fanout: 1, hosts, initial_program: None, ..config() };
    for (lost, warned) in [("", &[][..]), ("3", &["lost: 3 (d)"][..])] {
        let mut rim = Rim::up(chain.clone(), &[]);
        rim.step(Input::PeerUp(CHILD));
        let mut hello = Hello { rank: Rank(1), epoch: 5, subtree: set("1-3"), lost: set("") };
        say(&mut rim, CHILD, 1, &hello);
        hello.subtree = set("1-2");
        hello.lost = set(lost);
        say(&mut rim, CHILD, 0, &hello);
        assert_eq!(warnings(&rim), warned);

        // The broker in between, when it comes to speak to the leader.
        let mut rim = Rim::new(CoreConfig { rank: Rank(1), ..chain.clone() });
        let below = Peer::Broker(Rank(2));
        rim.step(Input::PeerUp(below));
        hello = Hello { rank: Rank(2), epoch: 5, subtree: set("2-3"), lost: set("") };
        say(&mut rim, below, 1, &hello);
        hello.subtree = set("2");
        hello.lost = set(lost);
        say(&mut rim, below, 0, &hello);
        rim.out.clear();
        rim.step(Input::PeerUp(PARENT));
        let Some(Output::Send { message, .. }) = rim.out.first() else { panic!("{:?}", rim.out) };
        let told: Hello = message.body().expect("a hello");
        assert_eq!((told.subtree, told.lost), (set("1-2"), set(lost)));
    }
}

#[test]
fn a_child_that_comes_late_is_told_to_leave_and_one_that_never_comes_costs_a_heartbeat() {
    for comes in [true, false] {
        let mut rim = Rim::up(two(), &[]);
        rim.step(Input::Signal(TERM));
        rim.step(Input::GuestExited { guest: Guest::Shell, status: 0 });
        rim.commit();
        assert_eq!(exit(&rim), None, "it may be on its way");
        if comes {
            hello(&mut rim);
            assert_eq!(told(&rim, CHILD), ["overlay.goodbye"]);
            say(&mut rim, CHILD, 0, &Goodbye::default());
        } else {
            rim.now_ms += 1_000;
            rim.step(Input::Wake);
        }
        rim.commit();
        assert_eq!(exit(&rim), Some(128 + TERM));
    }
}

#[test]
fn a_broker_that_is_told_to_leave_before_it_has_joined_does() {
    let mut rim = Rim::new(CoreConfig { rank: Rank(1), initial_program: None, ..two() });
    rim.step(Input::Role(Role::Follower { term: 1, leader: Some(Rank(0)) }));
    rim.step(Input::PeerUp(Peer::Client(SHELL)));
    let hello = shell::Hello { rank: Rank(1), pid: 100, jobs: vec![] };
    let message = Message::request(Address { rank: Rank(1), client: SHELL }, Dest::Local, 1, &hello);
    rim.step(Input::Message { from: Peer::Client(SHELL), message });
    assert_eq!(rim.sent(SHELL).len(), 0, "there is no way to the leader yet");
    rim.step(Input::PeerUp(PARENT));
    say(&mut rim, PARENT, 0, &Goodbye::default());
    // It hears nothing before it is welcome.
    assert_eq!(told(&rim, Peer::Client(SHELL)), ["shell.hello", "shell.quit"]);
    rim.step(Input::GuestExited { guest: Guest::Shell, status: 0 });
    assert_eq!(told(&rim, PARENT), ["overlay.hello", "overlay.goodbye"]);
    assert_eq!(exit(&rim), Some(0));
}

#[test]
fn the_leader_tells_its_children_that_the_instance_was_ended_from_outside() {
    const HUP: i32 = 1;
    // Ended by a signal, or asked to: what its program ends with, and what others are told to leave with.
    for (signal, status, told) in [
        (true, HUP, 128 + HUP),
        (true, 7 << 8, 7),
        (true, 0, 128 + TERM),
        (false, HUP, 0),
        (false, 7 << 8, 0),
    ] {
        let mut rim = Rim::up(two(), &[]);
        hello(&mut rim);
        let node = RNode { rank: 1, host: "vm".into(), cores: (0..4).collect(), gpus: Idset::default() };
        say(&mut rim, CHILD, 0, &Inventory { r: R::from_nodes([node]) });
        rim.commit();
        if signal {
            // A launcher tells all; one that was told first has asked for it by now.
            rim.ask(rim::USER, 4, &flurm_wire::state::Shutdown {});
            rim.step(Input::Signal(TERM));
        } else {
            rim.ask(rim::USER, 5, &flurm_wire::state::Shutdown {});
        }
        rim.commit();
        rim.ask(SHELL, 2, &shell::InitialExited { status });
        rim.commit();
        let goodbye = rim.out.iter().find_map(|output| match output {
            Output::Send { to: CHILD, message } if message.topic == Goodbye::NAME => {
                Some(message.body::<Goodbye>().expect("its type"))
            }
            _ => None,
        });
        assert_eq!(goodbye.map(|goodbye| goodbye.code), Some(told), "{signal} {status}");
    }
}

#[test]
fn a_broker_below_leaves_with_a_code_when_the_instance_was_ended_from_outside() {
    let normal = [(None, 0, 0), (None, 129, 129), (Some(TERM), 0, 128 + TERM), (Some(TERM), 129, 129)];
    for (signal, told, code) in normal {
        let mut rim = Rim::new(CoreConfig { rank: Rank(1), initial_program: None, ..two() });
        rim.step(Input::Role(Role::Follower { term: 1, leader: Some(Rank(0)) }));
        rim.step(Input::PeerUp(PARENT));
        let called = rim.out.iter().find_map(|output| match output {
            Output::Send { to: PARENT, message } => Some(message.clone()),
            _ => None,
        });
        let above = Address { rank: Rank(0), client: ClientId(0) };
        let welcome = Welcome { rank: Rank(0), epoch: 1, leader: Rank(0) };
        let message = called.expect("its hello").respond(above, &welcome, false);
        rim.step(Input::Message { from: PARENT, message });
        rim.out.clear();
        signal.into_iter().for_each(|signal| rim.step(Input::Signal(signal)));
        let asks: &[&str] = if signal.is_some() { &["state.shutdown"] } else { &[] };
        assert_eq!(self::told(&rim, PARENT), asks);
        say(&mut rim, PARENT, 0, &Goodbye { code: told });
        // It is leaving by now, and in its own way.
        rim.step(Input::Signal(TERM));
        rim.step(Input::GuestExited { guest: Guest::Shell, status: 0 });
        assert_eq!(exit(&rim), Some(code), "{signal:?} {told}");
    }
}
