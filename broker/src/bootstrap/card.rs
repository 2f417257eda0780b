//! What brokers tell each other before they are an instance, and what rank 0 makes of it.
//!
//! Every broker shows a [`Card`] to rank 0, also one that already knows that it cannot start. Rank 0 answers all of
//! them the same: [`Answer`]. So what is wrong everywhere is said once, by rank 0, and the others leave quietly.

use super::Mistake;
use crate::boot::Secret;
use flurm_types::{Hostlist, Rank};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

/// One broker, as it sees itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Card {
    pub rank: Rank,
    pub host: String,
    /// Where it listens; nowhere if it has made a mistake.
    pub address: Option<SocketAddr>,
    pub warnings: Vec<Mistake>,
    pub mistake: Option<Mistake>,
}

/// What rank 0 says to all.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    Welcome(Table),
    /// There will be no instance, and rank 0 says why.
    Refused,
}

impl Answer {
    /// For where addresses are told in another way.
    pub fn without_addresses(&self) -> Answer {
        match self {
            Answer::Welcome(table) => Answer::Welcome(Table { addresses: BTreeMap::new(), ..table.clone() }),
            Answer::Refused => Answer::Refused,
        }
    }
}

/// What brokers of one instance have in common.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Table {
    pub instance_id: String,
    pub secret: Secret,
    /// By rank.
    pub hosts: Hostlist,
    pub fanout: u32,
    /// Where brokers listen: at rank 0 all of them, elsewhere those on the way up.
    pub addresses: BTreeMap<Rank, SocketAddr>,
}

impl Table {
    /// The table of these brokers, whose cards are in the order of ranks.
    pub fn of(cards: &[Card], instance_id: String, secret: Secret, fanout: u32) -> Table {
        Table {
            instance_id,
            secret,
            hosts: cards.iter().map(|card| card.host.clone()).collect(),
            fanout,
            addresses: cards.iter().filter_map(|card| Some((card.rank, card.address?))).collect(),
        }
    }

    /// The part that one broker needs. A table of all for each of ten thousand would be gigabytes.
    pub fn cut_for(&self, rank: Rank) -> Table {
        let up = ancestors(rank, self.fanout);
        let addresses = up.filter_map(|rank| Some((rank, *self.addresses.get(&rank)?))).collect();
        Table { addresses, ..self.clone() }
    }
}

/// The ranks between a broker and the root, nearest first.
pub fn ancestors(rank: Rank, fanout: u32) -> impl Iterator<Item = Rank> {
    std::iter::successors(crate::config::parent(rank, fanout), move |rank| {
        crate::config::parent(*rank, fanout)
    })
}

/// What rank 0 has to say after seeing all cards.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    pub warnings: Vec<Mistake>,
    pub mistake: Option<Mistake>,
}

impl Findings {
    /// `may_share`: several brokers on one host are meant (`--test-size`, fake nodes).
    pub fn of(cards: &[Card], may_share: bool) -> Findings {
        let warnings = once(cards.iter().flat_map(|card| card.warnings.clone()));
        let mut mistakes = once(cards.iter().filter_map(|card| card.mistake.clone()));
        if mistakes.is_empty() && !may_share {
            mistakes.extend(shared_host(cards));
        }
        Findings { warnings, mistake: mistakes.into_iter().next() }
    }
}

/// Equal things of several nodes become one, which says how many more there are. They differ in the host alone, so
/// the hint tells which belong together.
fn once(all: impl Iterator<Item = Mistake>) -> Vec<Mistake> {
    let mut kinds: Vec<(Mistake, u32)> = Vec::new();
    for mistake in all {
        match kinds.iter_mut().find(|(known, _)| known.hint == mistake.hint) {
            Some((_, more)) => *more += 1,
            None => kinds.push((mistake, 0)),
        }
    }
    let say = |(mistake, more): (Mistake, u32)| match more {
        0 => mistake,
        1 => Mistake { what: format!("{}, and another broker has the same", mistake.what), ..mistake },
        n => Mistake { what: format!("{}, and {n} other brokers have the same", mistake.what), ..mistake },
    };
    kinds.into_iter().map(say).collect()
}

fn shared_host(cards: &[Card]) -> Option<Mistake> {
    let mut hosts: BTreeMap<&str, BTreeSet<Rank>> = BTreeMap::new();
    for card in cards {
        hosts.entry(&card.host).or_default().insert(card.rank);
    }
    let (host, ranks) = hosts.into_iter().max_by_key(|(_, ranks)| ranks.len())?;
    (ranks.len() > 1).then(|| several_on(host, ranks.len()))
}

/// The mistake of more than one broker on a node, when the launcher is not Slurm.
pub fn several_on(host: &str, brokers: usize) -> Mistake {
    Mistake::new(
        format!("{brokers} brokers on node {host}"),
        "start one process on each node (mpiexec -ppn 1, flurm run -N… -n…), with all its cores",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(rank: u32, host: &str) -> Card {
        Card { rank: Rank(rank), host: host.into(), address: None, warnings: Vec::new(), mistake: None }
    }

    #[test]
    fn what_many_brokers_say_is_said_once() {
        let mut cards: Vec<Card> = (0..4).map(|r| card(r, &format!("c{r}"))).collect();
        for card in &mut cards {
            card.warnings.push(Mistake::new(format!("{}: few cores", card.host), "bind less"));
        }
        cards[2].warnings.push(Mistake::new("c2: is odd", "look"));
        cards[3].mistake = Some(Mistake::new("c3 has no interface ib0", "leave it out"));
        let found = Findings::of(&cards, false);
        let said: Vec<&str> = found.warnings.iter().map(|w| w.what.as_str()).collect();
        assert_eq!(said, ["c0: few cores, and 3 other brokers have the same", "c2: is odd"]);
        assert_eq!(found.mistake.unwrap().what, "c3 has no interface ib0");
    }

    #[test]
    fn brokers_that_share_a_host_are_a_mistake_unless_that_is_meant() {
        let cards = [card(0, "c0"), card(1, "c1"), card(2, "c1")];
        assert_eq!(Findings::of(&cards, false).mistake.unwrap().what, "2 brokers on node c1");
        assert_eq!(Findings::of(&cards, true), Findings::default());
        assert_eq!(Findings::of(&cards[..2], false), Findings::default());
    }

    #[test]
    fn a_broker_gets_the_addresses_on_its_way_up() {
        let at = |r: u32| (Rank(r), format!("10.0.0.{r}:1").parse().unwrap());
        let table = Table {
            instance_id: "x".into(),
            secret: Secret::from_bytes([1; 32]),
            hosts: Hostlist::new(),
            fanout: 2,
            addresses: (0..15).map(at).collect(),
        };
        let ranks = |rank| table.cut_for(Rank(rank)).addresses.keys().map(|r| r.0).collect::<Vec<_>>();
        assert_eq!(ranks(0), [] as [u32; 0]);
        assert_eq!(ranks(2), [0]);
        assert_eq!(ranks(14), [0, 2, 6]);
    }
}
