//! Why a request cannot be had, in words: never, with the largest that could; or not yet, with what is missing.

use crate::{
    ask::Ask,
    index::{Index, View},
    max_tree::Peak,
    place::{capacity, with_room},
};
use flurm_types::{Constraint, Idset};

/// Why this can never be had here. To be asked only when it is so.
pub(crate) fn never(ask: &Ask<'_>, index: &Index, allowed: &Idset) -> String {
    let tree = index.tree(View::Ever);
    let peaks = || allowed.iter().map(|at| tree.get(at as usize));
    let constrained = *ask.constraint != Constraint::True;
    let constraint = || ask.constraint.to_json().to_string();
    if constrained && allowed.is_empty() {
        return format!("no node satisfies {}", constraint());
    }
    let nodes =
        if constrained { format!("no node that satisfies {}", constraint()) } else { "no node here".into() };
    let need = ask.need(ask.least());
    let cores = peaks().map(|peak| peak.cores).max().unwrap_or(0);
    if cores < need.cores {
        return format!("{nodes} has {} (largest: {cores})", counted(need.cores.into(), "core"));
    }
    let gpus = peaks().map(|peak| peak.gpus).max().unwrap_or(0);
    if gpus < need.gpus {
        return format!("{nodes} has {} (largest: {gpus})", counted(need.gpus.into(), "GPU"));
    }
    if ask.piece.sockets.is_some() {
        let sockets = || allowed.iter().flat_map(|at| &index.layout(at as usize).sockets);
        let largest = sockets().map(|socket| socket.cores.len()).max().unwrap_or(0);
        if largest < ask.piece.cores as usize {
            let cores = counted(ask.piece.cores.into(), "core");
            return format!("no socket here has {cores} (largest: {largest})");
        }
    }
    let fitting = with_room(ask, index, View::Ever, ask.least(), allowed, &mut 0).count() as u64;
    let each = described(ask, need);
    if fitting == 0 {
        return format!("{nodes} has {each} together");
    }
    let here = if constrained {
        format!("what satisfies {} has", constraint())
    } else {
        "this instance has".to_owned()
    };
    if let Some(asked) = ask.nodes {
        let all = allowed.len() as u64;
        if all < u64::from(asked) {
            return format!("{here} {}, the job asks for {asked}", counted(all, "node"));
        }
        if fitting < u64::from(asked) {
            return format!("{here} {} with {each}, the job asks for {asked}", counted(fitting, "node"));
        }
    }
    let (cores, gpus) = ask.total();
    let all_cores: u64 = peaks().map(|peak| u64::from(peak.cores)).sum();
    if all_cores < cores {
        return format!("{here} {}, the job asks for {cores}", counted(all_cores, "core"));
    }
    let all_gpus: u64 = peaks().map(|peak| u64::from(peak.gpus)).sum();
    if all_gpus < gpus {
        return format!("{here} {}, the job asks for {gpus}", counted(all_gpus, "GPU"));
    }
    let pieces: u64 = allowed.iter().map(|at| u64::from(capacity(ask, index, View::Ever, at as usize))).sum();
    format!("{here} room for {pieces} times {each}, the job asks for {}", ask.pieces)
}

/// What a request waits for that fits, but not now.
pub(crate) fn not_now(ask: &Ask<'_>, index: &Index, allowed: &Idset) -> String {
    let tree = index.tree(View::Now);
    let peaks = || allowed.iter().map(|at| tree.get(at as usize));
    let need = ask.need(ask.least());
    let fitting = with_room(ask, index, View::Now, ask.least(), allowed, &mut 0).count();
    let (cores, gpus) = ask.total();
    let sum = |part: fn(Peak) -> u32| peaks().map(|peak| u64::from(part(peak))).sum::<u64>();
    match (ask.exclusive, ask.nodes) {
        (true, Some(asked)) => {
            return format!("waits for {} (free: {fitting})", counted(asked.into(), "idle node"));
        }
        (true, None) => {
            let idle = sum(|peak| peak.idle);
            return format!("waits for {} on idle nodes (free: {idle})", counted(cores, "core"));
        }
        (false, _) => {}
    }
    let free_cores = sum(|peak| peak.cores);
    if free_cores < cores {
        return format!("waits for {} (free: {free_cores})", counted(cores, "core"));
    }
    let free_gpus = sum(|peak| peak.gpus);
    if free_gpus < gpus {
        return format!("waits for {} (free: {free_gpus})", counted(gpus, "GPU"));
    }
    let each = described(ask, need);
    match ask.nodes {
        Some(asked) => {
            format!("waits for {} with {each} free (now: {fitting})", counted(asked.into(), "node"))
        }
        None => {
            let open = allowed.iter().map(|at| u64::from(capacity(ask, index, View::Now, at as usize)));
            format!("waits for {each} free on one node, {} times (now: {})", ask.pieces, open.sum::<u64>())
        }
    }
}

/// What a node, or each socket of one, must have.
fn described(ask: &Ask<'_>, need: Peak) -> String {
    let piece = &ask.piece;
    match piece.sockets {
        None => both(need.cores.into(), need.gpus.into()),
        Some(sockets) => {
            let count = u64::from(sockets.count) * u64::from(ask.least());
            let each = both(piece.cores.into(), piece.gpus.into());
            format!("{} of {each}", counted(count, "socket"))
        }
    }
}

fn both(cores: u64, gpus: u64) -> String {
    let cores = counted(cores, "core");
    if gpus == 0 { cores } else { format!("{cores} and {}", counted(gpus, "GPU")) }
}

fn counted(n: u64, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}
