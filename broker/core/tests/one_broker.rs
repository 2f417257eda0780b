//! An instance of one broker, seen through its door: it comes up, answers when facts are committed, and ends.

mod rim;

use flurm_core::{CoreConfig, Guest, Hold, Input, Output, Peer};
use flurm_types::Rank;
use flurm_wire::fact::KvsOp;
use flurm_wire::state::BrokerState;
use flurm_wire::{Address, ClientId, Dest, Kind, Message, attr, kvs, resource, shell, state};
use rim::{Rim, SHELL, USER, config};

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
    rim.now_ms += 1_000;
    rim.step(Input::Wake);
    assert!(matches!(rim.out.last(), Some(Output::Exit { code: 1 })));
}

#[test]
fn drained_hosts_stay_drained_in_the_next_instance_on_the_log() {
    let mut rim = Rim::up(config(), &[]);
    let drain =
        |targets: &str| resource::Drain { targets: targets.into(), reason: "fan".into(), overwrite: false };
    rim.ask(USER, 1, &drain("node7"));
    rim.ask(USER, 2, &drain("node0"));
    rim.ask(USER, 3, &drain("0"));
    rim.commit();
    let refused: Vec<bool> = rim.sent(USER).iter().map(|m| m.error.is_some()).collect();
    assert_eq!(refused, [true, false, true], "an unknown host, a good one, one that is drained already");

    let mut next = Rim::up(CoreConfig { epoch: 2, instance_id: "next".into(), ..config() }, &rim.log);
    next.ask(USER, 4, &resource::Status {});
    next.commit();
    let [answer] = &next.sent(USER)[..] else { panic!("one answer") };
    let status: resource::StatusInfo = answer.body().expect("status");
    assert_eq!((status.drained.len(), status.drained[0].reason.as_str()), (1, "fan"));
    assert_eq!((status.up.len(), status.all.ncores()), (1, 4));
}

#[test]
fn watchers_see_each_change_and_the_log_can_be_followed() {
    let mut rim = Rim::up(config(), &[]);
    let get = kvs::Get { namespace: kvs::PRIMARY.into(), key: "w".into(), waitcreate: true, watch: true };
    rim.ask(USER, 1, &get);
    let other = ClientId(3);
    rim.step(Input::PeerUp(Peer::Client(other)));
    rim.ask(other, 1, &state::Dmesg { follow: true, clear: false });
    assert_eq!(rim.sent(other).len(), 1, "what was logged before");
    for value in 0..3 {
        let put = KvsOp::Put { key: "w".into(), value: value.into() };
        rim.ask(other, 2 + value, &kvs::Commit { namespace: kvs::PRIMARY.into(), ops: vec![put] });
    }
    rim.commit();
    let seen: Vec<_> = rim.sent(USER).iter().map(|m| m.body::<kvs::Got>().expect("got").node).collect();
    assert_eq!(seen, [0, 1, 2].map(|v| Some(kvs::Node::Value(v.into()))));
    assert_eq!(rim.sent(other).len(), 3);
    rim.step(Input::Signal(15));
    assert!(rim.sent(other).iter().any(|m| m.more && m.topic == "log.dmesg"));
}
