//! What tests of one broker stand on: a rim with a clock that they set and a log that they commit.

use flurm_core::{Core, CoreConfig, Hold, Input, Output, Peer, Role, Site};
use flurm_types::{Idset, Now, R, RNode, Rank, Timestamp};
use flurm_wire::fact::Fact;
use flurm_wire::state::BrokerState;
use flurm_wire::{Address, ClientId, Dest, Message, Topic, shell, state};
use std::collections::BTreeMap;

pub const SHELL: ClientId = ClientId(1);
pub const USER: ClientId = ClientId(2);

pub fn config() -> CoreConfig {
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
        site: Site::default(),
        hold: Hold::UntilCommit,
    }
}

/// The broker's rim, as little of it as there can be.
pub struct Rim {
    pub core: Core,
    pub now_ms: u64,
    pub log: Vec<Vec<Fact>>,
    /// Proposals that have not been committed.
    pub proposed: Vec<Vec<Fact>>,
    pub out: Vec<Output>,
}

impl Rim {
    pub fn new(config: CoreConfig) -> Rim {
        Rim { core: Core::new(config, 1), now_ms: 10, log: Vec::new(), proposed: Vec::new(), out: Vec::new() }
    }

    pub fn step(&mut self, input: Input) {
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

    pub fn commit(&mut self) {
        while !self.proposed.is_empty() {
            let facts = self.proposed.remove(0);
            self.log.push(facts.clone());
            self.step(Input::Committed { index: self.log.len() as u64, facts });
        }
    }

    pub fn ask<T: Topic>(&mut self, client: ClientId, tag: u64, body: &T) {
        let nobody = Address { rank: Rank(9), client: ClientId(9) };
        let message = Message::request(nobody, Dest::Leader, tag, body);
        self.step(Input::Message { from: Peer::Client(client), message });
    }

    /// What has been sent to a client since the last call.
    pub fn sent(&mut self, client: ClientId) -> Vec<Message> {
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

    pub fn up(config: CoreConfig, committed: &[Vec<Fact>]) -> Rim {
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

    pub fn state(&mut self) -> BrokerState {
        self.ask(USER, 99, &state::Get {});
        let [answer] = &self.sent(USER)[..] else { panic!("one answer") };
        answer.body::<state::Info>().expect("info").state
    }
}
