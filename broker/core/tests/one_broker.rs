//! An instance of one broker, seen through its door: it comes up, answers when facts are committed, and ends.

use flurm_core::{Core, CoreConfig, Guest, Hold, Input, Output, Peer, Role};
use flurm_types::{Idset, Now, R, RNode, Rank, Timestamp};
use flurm_wire::fact::{Fact, KvsOp};
use flurm_wire::state::BrokerState;
use flurm_wire::{Address, ClientId, Dest, Kind, Message, Topic, attr, kvs, shell, state};
use std::collections::BTreeMap;

const SHELL: ClientId = ClientId(1);
const USER: ClientId = ClientId(2);

fn config() -> CoreConfig {
    CoreConfig {
        rank: Rank(0),
        size: 1,
        hosts: vec!["node0".into()],
        fanout: 2,
        instance_id: "test".into(),
        instance_level: 0,
        owner: 1000,
        uri: "local:///tmp/x/0/local".into(),
        epoch: 1,
        starttime: Timestamp(1_000_000),
        expiration: Timestamp::ZERO,
        attributes: BTreeMap::new(),
        initial_program: Some(shell::StartInitial {
            command: vec!["sh".into()],
            cwd: "/".into(),
            environment: BTreeMap::new(),
        }),
        heartbeat_ms: 1000,
        lost_ms: 3000,
        orphan_ms_max: 5000,
        resources: None,
        hold: Hold::UntilCommit,
    }
}

/// The broker's rim, as little of it as there can be.
struct Rim {
    core: Core,
    now_ms: u64,
    log: Vec<Vec<Fact>>,
    /// Proposals that have not been committed.
    proposed: Vec<Vec<Fact>>,
    out: Vec<Output>,
}

impl Rim {
    fn new(config: CoreConfig) -> Rim {
        Rim { core: Core::new(config, 1), now_ms: 10, log: Vec::new(), proposed: Vec::new(), out: Vec::new() }
    }

    fn step(&mut self, input: Input) {
        let now = Now { mono_ms: self.now_ms, wall: Timestamp(1_000_000 + self.now_ms as i64 * 1000) };
        for input in [input, Input::BatchEnd] {
            let mut out = Vec::new();
            self.core.step(now, input, &mut out);
            for output in out {
                match output {
                    Output::Propose { facts } => self.proposed.push(facts),
                    output => self.out.push(output),
                }
            }
        }
    }

    fn commit(&mut self) {
        while !self.proposed.is_empty() {
            let facts = self.proposed.remove(0);
            self.log.push(facts.clone());
            self.step(Input::Committed { index: self.log.len() as u64, facts });
        }
    }

    fn ask<T: Topic>(&mut self, client: ClientId, tag: u64, body: &T) {
        let nobody = Address { rank: Rank(9), client: ClientId(9) };
        let message = Message::request(nobody, Dest::Leader, tag, body);
        self.step(Input::Message { from: Peer::Client(client), message });
    }

    /// What has been sent to a client since the last call.
    fn sent(&mut self, client: ClientId) -> Vec<Message> {
        let (sent, rest) = std::mem::take(&mut self.out)
            .into_iter()
            .partition(|o| matches!(o, Output::Send { to: Peer::Client(c), .. } if *c == client));
        self.out = rest;
        let message = |o| match o {
            Output::Send { message, .. } => message,
            other => panic!("partitioned: {other:?}"),
        };
        Vec::into_iter(sent).map(message).collect()
    }

    fn up(config: CoreConfig, committed: &[Vec<Fact>]) -> Rim {
        let mut rim = Rim::new(config);
        for facts in committed {
            rim.log.push(facts.clone());
            rim.step(Input::Committed { index: rim.log.len() as u64, facts: facts.clone() });
        }
        rim.step(Input::Role(Role::Leader { term: 1 }));
        let cores: Idset = (0..4).collect();
        let node = RNode { rank: 0, host: "node0".into(), cores, gpus: Idset::default() };
        rim.step(Input::Inventory(R::from_nodes([node])));
        for client in [SHELL, USER] {
            rim.step(Input::PeerUp(Peer::Client(client)));
        }
        let hello = shell::Hello { rank: Rank(0), pid: 100, jobs: vec![] };
        rim.ask(SHELL, 1, &hello);
        rim.commit();
        rim
    }

    fn state(&mut self) -> BrokerState {
        self.ask(USER, 99, &state::Get {});
        let [answer] = &self.sent(USER)[..] else { panic!("one answer") };
        answer.body::<state::Info>().expect("info").state
    }
}

#[test]
fn it_comes_up_runs_the_initial_program_and_ends_with_its_code() {
    let mut rim = Rim::up(config(), &[]);
    assert!(rim.out.iter().any(|o| matches!(o, Output::StartGuest(Guest::Shell))));
    assert_eq!(rim.state(), BrokerState::Run);
    let topics: Vec<String> = rim.sent(SHELL).iter().map(|m| m.topic.to_string()).collect();
    assert_eq!(topics, ["shell.hello", "shell.start-initial"]);

    rim.ask(SHELL, 2, &shell::InitialExited { status: 7 << 8 });
    rim.commit();
    assert!(rim.sent(SHELL).iter().any(|m| m.topic == "shell.quit"));
    assert!(!rim.out.iter().any(|o| matches!(o, Output::Exit { .. })), "the shell is still there");
    rim.step(Input::GuestExited { guest: Guest::Shell, status: 0 });
    assert!(matches!(rim.out.last(), Some(Output::Exit { code: 7 })));
}

#[test]
fn an_answer_leaves_after_its_fact_is_committed_unless_holding_is_switched_off() {
    for (hold, early) in [(Hold::UntilCommit, false), (Hold::Never, true)] {
        let mut rim = Rim::up(CoreConfig { hold, ..config() }, &[]);
        let put = KvsOp::Put { key: "a".into(), value: 1.into() };
        rim.ask(USER, 5, &kvs::Commit { namespace: kvs::PRIMARY.into(), ops: vec![put] });
        assert_eq!(rim.proposed.len(), 1);
        assert_eq!(!rim.sent(USER).is_empty(), early);
        // A reader sees the new value only when the commit is durable as well.
        rim.ask(
            USER,
            6,
            &kvs::Get { namespace: kvs::PRIMARY.into(), key: "a".into(), waitcreate: false, watch: false },
        );
        assert_eq!(!rim.sent(USER).is_empty(), early);
        // What rests on no fact does not wait.
        rim.ask(USER, 7, &attr::Get { name: "size".into() });
        assert_eq!(rim.sent(USER).len(), 1);
        rim.commit();
        let answers: Vec<u64> = rim.sent(USER).iter().map(|m| m.tag).collect();
        assert_eq!(answers, if early { vec![] } else { vec![5, 6] });
    }
}

#[test]
fn what_was_committed_is_there_after_a_restart() {
    let mut rim = Rim::up(config(), &[]);
    let put = KvsOp::Put { key: "a.b".into(), value: 42.into() };
    rim.ask(USER, 5, &kvs::Commit { namespace: kvs::PRIMARY.into(), ops: vec![put] });
    rim.commit();
    let mut again = Rim::up(CoreConfig { epoch: 2, ..config() }, &rim.log);
    again.ask(
        USER,
        6,
        &kvs::Get { namespace: kvs::PRIMARY.into(), key: "a.b".into(), waitcreate: false, watch: false },
    );
    again.commit();
    let [answer] = &again.sent(USER)[..] else { panic!("one answer") };
    assert_eq!(answer.body::<kvs::Got>().expect("got").node, Some(kvs::Node::Value(42.into())));
    assert_eq!(again.state(), BrokerState::Run);
}

#[test]
fn a_client_that_goes_takes_its_requests_along() {
    let mut rim = Rim::up(config(), &[]);
    rim.ask(
        USER,
        5,
        &kvs::Get { namespace: kvs::PRIMARY.into(), key: "w".into(), waitcreate: true, watch: true },
    );
    rim.step(Input::PeerGone(Peer::Client(USER)));
    let other = ClientId(3);
    rim.step(Input::PeerUp(Peer::Client(other)));
    let put = KvsOp::Put { key: "w".into(), value: 1.into() };
    rim.ask(other, 1, &kvs::Commit { namespace: kvs::PRIMARY.into(), ops: vec![put] });
    rim.commit();
    assert_eq!(rim.sent(USER).len(), 0);
    assert_eq!(rim.sent(other).len(), 1);
    // Unknown topics and ranks are refused, each in its way.
    for (tag, dst, topic) in [(7, Dest::Leader, "no.such"), (8, Dest::Rank(Rank(9)), "broker.ping")] {
        let message = Message {
            topic: topic.into(),
            dst,
            tag,
            payload: None,
            ..Message::request(Address { rank: Rank(0), client: other }, dst, tag, &state::Get {})
        };
        assert_eq!(message.kind, Kind::Request);
        rim.step(Input::Message { from: Peer::Client(other), message });
        let [answer] = &rim.sent(other)[..] else { panic!("one answer") };
        assert!(answer.error.is_some());
    }
}

#[test]
fn a_signal_hangs_up_the_initial_program_and_a_join_that_takes_too_long_names_who_is_missing() {
    let mut rim = Rim::up(config(), &[]);
    rim.sent(SHELL);
    rim.step(Input::Signal(15));
    let [hup] = &rim.sent(SHELL)[..] else { panic!("one push") };
    assert_eq!(hup.body::<shell::KillInitial>().expect("kill").signum, 1);

    let mut config = config();
    config.size = 2;
    config.hosts.push("node1".into());
    config.attributes.insert("broker.join-timeout".into(), "4s".into());
    let mut rim = Rim::up(config, &[]);
    rim.now_ms += 2_500;
    rim.step(Input::Wake);
    let line =
        |rim: &Rim, text: &str| rim.out.iter().any(|o| matches!(o, Output::Log(l) if l.text.contains(text)));
    assert!(line(&rim, "waiting for 1 of 2 brokers: node1"));
    rim.now_ms += 2_500;
    rim.step(Input::Wake);
    assert!(line(&rim, "1 of 2 brokers have not come within 5 s: node1"));
    rim.step(Input::GuestExited { guest: Guest::Shell, status: 0 });
    assert!(matches!(rim.out.last(), Some(Output::Exit { code: 1 })));
}
