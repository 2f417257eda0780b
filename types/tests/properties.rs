//! What is written is read back as the same, and sets behave as sets do.

use flurm_types::{
    Block, Constraint, Encoding, Fsd, Hostlist, Idset, JobId, R, RNode, Socket, TaskMap, Timestamp, Topology,
};
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use std::collections::BTreeSet;

fn ids() -> impl Strategy<Value = BTreeSet<u32>> {
    btree_set(prop_oneof![9 => 0..80_u32, 1 => any::<u32>()], 0..40)
}

fn set(ids: &BTreeSet<u32>) -> Idset {
    ids.iter().copied().collect()
}

fn hosts() -> impl Strategy<Value = Vec<String>> {
    vec(prop_oneof!["[a-c]{0,2}[0-9]{1,4}", "n[0-9]{1,3}-[a-z]{1,3}[0-9]{0,2}", "[a-z]{1,4}"], 0..30)
}

fn constraint() -> impl Strategy<Value = Constraint> {
    let leaf = prop_oneof![
        Just("a,^b").prop_map(|text| Constraint::parse_query(text).expect("two properties")),
        ids().prop_map(|ids| Constraint::Ranks(set(&ids))),
        hosts().prop_map(|hosts| Constraint::Hostlist(hosts.into_iter().collect())),
        Just(Constraint::True),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let list = vec(inner, 0..4);
        prop_oneof![
            list.clone().prop_map(Constraint::And),
            list.clone().prop_map(Constraint::Or),
            list.prop_map(Constraint::Not),
        ]
    })
}

fn r() -> impl Strategy<Value = R> {
    let shape = (1..5_u32, 0..3_u32, proptest::bool::ANY);
    (btree_set(0..60_u32, 1..20), vec(shape, 3), 0..2_000_000_000_i64, any::<u32>()).prop_map(
        |(ranks, shapes, seconds, which)| {
            let shape = |rank: u32| shapes[(rank.wrapping_mul(which) >> 7) as usize % shapes.len()];
            let nodes = ranks.iter().map(|&rank| {
                let (cores, gpus, _) = shape(rank);
                RNode {
                    rank,
                    host: format!("node{rank:03}"),
                    cores: (0..2 * cores).collect(),
                    gpus: (0..gpus).collect(),
                }
            });
            let mut r = R::from_nodes(nodes);
            for &rank in ranks.iter().filter(|rank| shape(**rank).2) {
                let cores = shape(rank).0;
                let socket = |cores: Idset| Socket { cores, gpus: Idset::new(), memory_gib: Some(28) };
                let sockets = [socket((0..cores).collect()), socket((cores..2 * cores).collect())].into();
                r.topology.insert(rank, Topology { sockets });
            }
            r.properties.insert("first".into(), ranks.iter().take(1).copied().collect());
            r.starttime = Timestamp(seconds * 1_000_000 + 250_000);
            r.expiration = Timestamp(seconds * 1_000_000 + 3_600_250_001);
            r
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_idset_is_a_set(a in ids(), b in ids()) {
        let (x, y) = (set(&a), set(&b));
        prop_assert_eq!(x.to_string().parse(), Ok(x.clone()));
        prop_assert_eq!(x.union(&y), set(&(&a | &b)));
        prop_assert_eq!(x.intersection(&y), set(&(&a & &b)));
        prop_assert_eq!(x.difference(&y), set(&(&a - &b)));
        prop_assert_eq!(x.is_subset(&y), a.is_subset(&b));
        prop_assert_eq!(x.is_disjoint(&y), a.is_disjoint(&b));
        prop_assert_eq!((x.len(), x.first(), x.last()), (a.len(), a.first().copied(), a.last().copied()));
        for (place, id) in a.iter().enumerate() {
            prop_assert_eq!((x.nth(place), x.position(*id), x.contains(*id)), (Some(*id), place, true));
        }
        let mut kept = x.clone();
        for id in &b {
            prop_assert_eq!(kept.remove(*id), a.contains(id));
        }
        prop_assert_eq!(kept, x.difference(&y));
    }

    #[test]
    fn a_hostlist_keeps_order_and_duplicates(hosts in hosts()) {
        let list: Hostlist = hosts.iter().cloned().collect();
        let read: Hostlist = list.to_string().parse().expect("our own text");
        prop_assert_eq!(read.into_iter().collect::<Vec<_>>(), hosts);
    }

    #[test]
    fn a_duration_is_read_back_to_the_last_bit(secs in prop_oneof![0.0..1e6_f64, 0.0..1e300_f64, Just(0.0)]) {
        let fsd = Fsd::from_secs(secs).expect("not negative");
        prop_assert_eq!(fsd.to_string().parse(), Ok(fsd));
    }

    #[test]
    fn a_job_id_is_read_back_from_every_encoding(id in prop_oneof![any::<u64>(), 0..100_000_u64]) {
        use Encoding::{Dec, Dothex, Emoji, F58, F58Plain, Hex, Kvs, Words};
        for encoding in [Dec, F58, F58Plain, Hex, Dothex, Kvs, Words, Emoji] {
            prop_assert_eq!(JobId(id).encode(encoding).parse(), Ok(JobId(id)));
        }
    }

    #[test]
    fn a_task_map_says_the_same_in_every_form(counts in vec(0..9_u32, 1..12), stride in 1..4_u32) {
        for map in [TaskMap::block(&counts), TaskMap::cyclic(&counts, stride)] {
            prop_assert_eq!(map.to_string().parse(), Ok(map.clone()));
            prop_assert_eq!(map.ntasks(), u64::from(counts.iter().sum::<u32>()));
            prop_assume!(map.ntasks() > 0);
            prop_assert_eq!(map.raw().parse::<TaskMap>().map(|read| read.raw()), Ok(map.raw()));
            prop_assert_eq!(map.pmi().parse::<TaskMap>().map(|read| read.raw()), Ok(map.raw()));
            for (node, tasks) in (0..).zip(map.nodes()) {
                prop_assert_eq!(tasks.len(), counts[node as usize] as usize);
                prop_assert!(tasks.iter().all(|task| map.node_of(task) == Some(node)));
            }
            let blocks: Vec<Block> = map.blocks().to_vec();
            prop_assert!(!blocks.is_empty());
        }
    }

    #[test]
    fn a_constraint_is_read_back(constraint in constraint()) {
        prop_assert_eq!(Constraint::from_json(&constraint.to_json()), Ok(constraint));
    }

    #[test]
    fn r_is_read_back_and_cut_like_a_set(r in r(), keep in btree_set(0..60_u32, 0..30)) {
        prop_assert_eq!(&R::parse(&r.to_json()).expect("our own R"), &r);
        let kept = r.restrict(&set(&keep));
        let rest = r.difference(&kept);
        prop_assert!(kept.is_subset(&r) && rest.is_subset(&r) && kept.is_disjoint(&rest));
        prop_assert_eq!(kept.ncores() + rest.ncores(), r.ncores());
        prop_assert_eq!(kept.union(&rest).expect("the same hosts"), r);
    }
}
