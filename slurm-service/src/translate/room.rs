//! `sbatch --test-only`: on which nodes a job could be, by what is free on them.

use super::site::SiteNode;
use flurm_types::{Constraint, Idset};
use serde_json::Value;

/// What a node, or one piece of a job, has of cores and GPUs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    pub cores: usize,
    pub gpus: usize,
}

/// Where it would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub ranks: Idset,
    pub cores: usize,
}

/// The first nodes that have room for all of it: `nodes` with what is free on each; a job's node has to satisfy `constraint`.
pub fn place(resources: &Value, constraint: &Constraint, nodes: &[(SiteNode, Amount)]) -> Option<Place> {
    let mut found = Place { ranks: Idset::new(), cores: 0 };
    let [piece] = resources.as_array()?.as_slice() else { return None };
    let (by_node, wanted) = (piece["type"] == "node", least(piece));
    let whole = by_node && piece["exclusive"] == true;
    let each = inside(piece);
    let mut missing = wanted;
    for (node, free) in nodes.iter().filter(|(node, _)| node.fits(constraint)) {
        if missing == 0 {
            break;
        }
        let is_idle = free.cores == node.cores as usize && free.gpus == node.gpus as usize;
        let room = match by_node {
            true => usize::from(free.cores >= each.cores && free.gpus >= each.gpus && (is_idle || !whole)),
            false => {
                let of = |free: usize, each: usize| free.checked_div(each).unwrap_or(usize::MAX);
                of(free.cores, each.cores).min(of(free.gpus, each.gpus))
            }
        };
        let taken = room.min(missing);
        if taken > 0 {
            missing -= taken;
            found.ranks.insert(node.rank);
            found.cores += if whole { free.cores } else { taken * each.cores };
        }
    }
    (missing == 0).then_some(found)
}

/// How many of it are enough: `3`, or the first of `3-5`.
fn least(resource: &Value) -> usize {
    let count = &resource["count"];
    let first = || count.as_str()?.split('-').next()?.parse().ok();
    count.as_u64().and_then(|count| count.try_into().ok()).or_else(first).unwrap_or(1)
}

/// Of one of it.
fn inside(resource: &Value) -> Amount {
    match resource["type"].as_str() {
        Some("core") => Amount { cores: 1, gpus: 0 },
        Some("gpu") => Amount { cores: 0, gpus: 1 },
        _ => resource["with"].as_array().into_iter().flatten().fold(Amount::default(), |sum, one| {
            let (count, each) = (least(one), inside(one));
            Amount { cores: sum.cores + count * each.cores, gpus: sum.gpus + count * each.gpus }
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Four nodes of four cores and two GPUs; the second has one core free, the third's GPUs are taken.
    fn nodes() -> Vec<(SiteNode, Amount)> {
        let free = [(4, 2), (1, 2), (4, 0), (4, 2)];
        let node = |(rank, (cores, gpus)): (u32, (usize, usize))| {
            let node = SiteNode { rank, cores: 4, gpus: 2, ..SiteNode::default() };
            (node, Amount { cores, gpus })
        };
        (0..).zip(free).map(node).collect()
    }

    #[test]
    fn a_job_is_put_where_there_is_room_and_nowhere_else() {
        let slot = |n: u32, cores: u32| json!([{ "type": "slot", "count": n, "with": [{ "type": "core", "count": cores }] }]);
        let gpu = json!([{ "type": "slot", "count": 3, "with": [{ "type": "core", "count": 1 }, { "type": "gpu", "count": 1 }] }]);
        let by_node = |n: Value, is_whole: bool| json!([{ "type": "node", "count": n, "exclusive": is_whole, "with": slot(1, 2) }]);
        let not_first = Constraint::Not(vec![Constraint::Ranks(Idset::from(0))]);
        let any = Constraint::True;
        for (resources, constraint, wanted) in [
            (slot(1, 1), &any, Some(("0", 1))),
            (slot(5, 1), &any, Some(("0-1", 5))),
            (slot(2, 2), &not_first, Some(("2", 4))),
            (slot(2, 3), &any, Some(("0,2", 6))),
            (slot(4, 4), &any, None),
            (gpu, &any, Some(("0-1", 3))),
            (by_node(json!(2), false), &any, Some(("0,2", 4))),
            (by_node(json!("2-4"), false), &any, Some(("0,2", 4))),
            // The GPUs of the third are somebody's.
            (by_node(json!(2), true), &any, Some(("0,3", 8))),
            (by_node(json!(4), false), &any, None),
        ] {
            let found = place(&resources, constraint, &nodes());
            let found = found.map(|place| (place.ranks.to_string(), place.cores));
            assert_eq!(found, wanted.map(|(ranks, cores)| (ranks.to_owned(), cores)), "{resources}");
        }
    }
}
