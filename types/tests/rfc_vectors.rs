//! The examples printed in RFCs 19, 22, 23, 29 and 34, as tables.

use flurm_types::{Encoding, Fsd, Hostlist, Idset, JobId, TaskMap};

/// RFC 19: number, and the same number in other encodings.
const FLUIDS: &[(u64, Encoding, &str)] = &[
    (6_731_191_091_817_518, Encoding::Dec, "6731191091817518"),
    (6_731_191_091_817_518, Encoding::F58, "ƒuZZybuNNy"),
    (6_731_191_091_817_518, Encoding::F58Plain, "fuZZybuNNy"),
    (6_731_191_091_817_518, Encoding::Hex, "0x17e9fb8df16c2e"),
    (6_731_191_091_817_518, Encoding::Dothex, "0017.e9fb.8df1.6c2e"),
    (0x000e_daf9_7d00_0000, Encoding::Hex, "0xedaf97d000000"),
    (0x000e_daf9_7d00_0000, Encoding::Dothex, "000e.daf9.7d00.0000"),
    (6_731_191_091_817_518, Encoding::Words, "reform-remote-galileo--heart-package-academy"),
    (0x000e_daf9_7d00_0000, Encoding::Words, "random-idea-yoyo--sugar-printer-academy"),
    (0x008c_b1b4_6000_0000, Encoding::Emoji, "😄😹🎇📥🏧🙉🔞"),
    (0x0071_cc92_e200_0000, Encoding::Emoji, "🚹💂🙌😳💱🏃"),
    (16_777_219_079, Encoding::F58, "ƒSZYdiv"),
    (16_777_219_079, Encoding::Hex, "0x3e8000c07"),
    (16_777_219_079, Encoding::Kvs, "job.0000.0003.e800.0c07"),
    (0x000e_daf9_7d00_0000, Encoding::F58, "ƒZemgA8Bzf"),
    (0, Encoding::Emoji, "😃"),
    (0, Encoding::F58, "ƒ1"),
    (u64::MAX, Encoding::F58, "ƒjpXCZedGfVQ"),
];

#[test]
fn fluids_are_written_and_read_in_every_encoding() {
    for (number, encoding, text) in FLUIDS {
        assert_eq!(JobId(*number).encode(*encoding), *text);
        assert_eq!(text.parse(), Ok(JobId(*number)), "{text}");
        assert_eq!(format!("  {text}\n").parse(), Ok(JobId(*number)), "{text} with blanks");
    }
    assert_eq!(JobId::from_parts(1000, 3, 7), JobId(16_777_219_079));
}

/// RFC 22: text, ids, and how we write it.
const IDSETS: &[(&str, &[u32], &str)] = &[
    ("", &[], ""),
    ("[]", &[], ""),
    ("0", &[0], "0"),
    ("1,2,3,5,6,42", &[1, 2, 3, 5, 6, 42], "1-3,5-6,42"),
    ("1-3,5-6,42", &[1, 2, 3, 5, 6, 42], "1-3,5-6,42"),
    ("[1-3,5-6,42]", &[1, 2, 3, 5, 6, 42], "1-3,5-6,42"),
    ("[0-4,10-14]", &[0, 1, 2, 3, 4, 10, 11, 12, 13, 14], "0-4,10-14"),
];

#[test]
fn idsets_are_read_and_written_short() {
    for (text, ids, written) in IDSETS {
        let set: Idset = text.parse().expect(text);
        assert_eq!(set.iter().collect::<Vec<_>>(), *ids);
        assert_eq!(set.len(), ids.len());
        assert_eq!(set.to_string(), *written);
    }
}

/// RFC 29: text, and the hosts it stands for.
const HOSTLISTS: &[(&str, &str)] = &[
    ("", ""),
    ("foox,fooy,fooz", "foox,fooy,fooz"),
    ("[1-3,5-6]", "1,2,3,5,6"),
    ("foo[1-5]", "foo1,foo2,foo3,foo4,foo5"),
    ("foo[0-4]-eth2", "foo0-eth2,foo1-eth2,foo2-eth2,foo3-eth2,foo4-eth2"),
    ("foo1,foo1,foo1", "foo1,foo1,foo1"),
    ("[00-02]", "00,01,02"),
    ("[00-2]", "00,01,02"),
    ("foo[1,1,2,1]", "foo1,foo1,foo2,foo1"),
    ("n[005,4,11-13]", "n005,n004,n011,n012,n013"),
    ("[008-10]", "008,009,010"),
];

#[test]
fn hostlists_expand_in_order() {
    for (text, hosts) in HOSTLISTS {
        let list: Hostlist = text.parse().expect(text);
        let expected: Vec<&str> = hosts.split(',').filter(|host| !host.is_empty()).collect();
        assert_eq!(list.iter().collect::<Vec<_>>(), expected, "{text}");
        assert_eq!(list.to_string().parse(), Ok(list.clone()), "{text} written as {list}");
    }
}

#[test]
fn slurm_brackets_multiply_with_the_last_fastest() {
    let list: Hostlist = "b,a[1-2],b,a1".parse().expect("duplicates");
    assert_eq!(list.unique().to_string(), "b,a[1-2]");
    let list: Hostlist = "r[0-1]n[0-2]".parse().expect("two brackets");
    assert_eq!(list.into_iter().collect::<Vec<_>>().join(","), "r0n0,r0n1,r0n2,r1n0,r1n1,r1n2");
}

/// How hosts are written short.
const COMPRESSED: &[(&str, &str)] = &[
    ("node001,node002,node003", "node[001-003]"),
    ("gpu2,gpu1", "gpu[2,1]"),
    ("n1-ib0,n2-ib0", "n[1-2]-ib0"),
    ("a,b,a", "a,b,a"),
    ("n9,n10,n11", "n[9-11]"),
    ("n10,n9", "n10,n9"),
    ("n099,n100", "n[099-100]"),
    ("n1,n02", "n1,n02"),
    ("n1,n1", "n[1,1]"),
    ("r0n0,r0n1,r1n0,r1n1", "r0n[0-1],r1n[0-1]"),
    ("login", "login"),
];

#[test]
fn neighbours_share_a_bracket() {
    for (hosts, written) in COMPRESSED {
        let list: Hostlist = hosts.parse().expect(hosts);
        assert_eq!(list.to_string(), *written);
        assert_eq!(written.parse(), Ok(list));
    }
}

/// RFC 23: text and seconds.
const DURATIONS: &[(&str, f64)] = &[
    ("0", 0.0),
    ("2", 2.0),
    ("1.5h", 5400.0),
    ("250ms", 0.25),
    ("2d", 172_800.0),
    ("90s", 90.0),
    ("1e2s", 100.0),
    (".5m", 30.0),
    ("+3", 3.0),
    ("0x10", 16.0),
    ("0x1.8p1", 3.0),
    ("inf", f64::INFINITY),
    ("INF", f64::INFINITY),
    ("infinity", f64::INFINITY),
    ("Infinity", f64::INFINITY),
];

#[test]
fn durations_are_read_in_seconds() {
    for (text, secs) in DURATIONS {
        assert_eq!(text.parse::<Fsd>().expect(text).as_secs(), *secs, "{text}");
    }
}

/// How durations are written.
const WRITTEN: &[(f64, &str)] = &[
    (0.0, "0s"),
    (0.25, "250ms"),
    (1.0, "1s"),
    (75.0, "1.25m"),
    (90.0, "1.5m"),
    (3600.0, "1h"),
    (5400.0, "1.5h"),
    (86400.0, "1d"),
    (100.123, "100.123s"),
    (f64::INFINITY, "infinity"),
];

#[test]
fn durations_are_written_in_the_largest_short_unit() {
    for (secs, text) in WRITTEN {
        assert_eq!(Fsd::from_secs(*secs).expect("not negative").to_string(), *text);
    }
}

/// RFC 34: raw map and block map.
const TASKMAPS: &[(&str, &str)] = &[
    ("0", "[[0,1,1,1]]"),
    ("0;1", "[[0,2,1,1]]"),
    ("0-1", "[[0,1,2,1]]"),
    ("0-1;2-3", "[[0,2,2,1]]"),
    ("0,2;1,3", "[[0,2,1,2]]"),
    ("1;0", "[[1,1,1,1],[0,1,1,1]]"),
    ("0-3;4-7;8-11;12-15", "[[0,4,4,1]]"),
    ("0,4,8,12;1,5,9,13;2,6,10,14;3,7,11,15", "[[0,4,1,4]]"),
    ("0-1,8-9;2-3,10-11;4-5,12-13;6-7,14-15", "[[0,4,2,2]]"),
    ("0-1;2-3;4-5;6-7;8-11;12-15", "[[0,4,2,1],[4,2,4,1]]"),
    ("0,6;1,7;2,8;3,9;4,10,12,14;5,11,13,15", "[[0,6,1,2],[4,2,1,2]]"),
    ("14-15;12-13;10-11;8-9;4-7;0-3", "[[5,1,4,1],[4,1,4,1],[3,1,2,1],[2,1,2,1],[1,1,2,1],[0,1,2,1]]"),
    ("0-1;2-3;4-5;6-7;8-9;12-13;10-11;14-15", "[[0,5,2,1],[6,1,2,1],[5,1,2,1],[7,1,2,1]]"),
    ("12-15;8-11;4-7;0-3", "[[3,1,4,1],[2,1,4,1],[1,1,4,1],[0,1,4,1]]"),
];

#[test]
fn task_maps_have_one_block_form() {
    for (raw, blocks) in TASKMAPS {
        let map: TaskMap = raw.parse().expect(raw);
        assert_eq!(map.to_string(), *blocks);
        let read: TaskMap = blocks.parse().expect(blocks);
        assert_eq!(read.raw(), *raw);
        assert_eq!(read.pmi().parse::<TaskMap>().expect("our own PMI form").raw(), *raw);
        let wrapped = format!(r#"{{"version":1,"map":{blocks}}}"#);
        assert_eq!(wrapped.parse(), Ok(read));
    }
}

/// RFC 34: the regular distributions of its tables.
#[test]
fn regular_distributions_are_short() {
    assert_eq!(TaskMap::block(&[2, 2, 2, 2, 4, 4]).to_string(), "[[0,4,2,1],[4,2,4,1]]");
    assert_eq!(TaskMap::cyclic(&[2, 2, 2, 2, 4, 4], 1).to_string(), "[[0,6,1,2],[4,2,1,2]]");
    assert_eq!(TaskMap::cyclic(&[2, 2, 2, 2, 4, 4], 2).to_string(), "[[0,6,2,1],[4,2,2,1]]");
    assert_eq!(TaskMap::block(&[256; 4096]).to_string(), "[[0,4096,256,1]]");
    assert_eq!(TaskMap::cyclic(&[256; 4096], 2).to_string(), "[[0,4096,2,128]]");
    assert_eq!(TaskMap::cyclic(&[4; 4], 1).pmi(), "(vector,(0,4,1),(0,4,1),(0,4,1),(0,4,1))");
}
