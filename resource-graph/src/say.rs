//! Why a request cannot be had, in words: never, with the largest that could; or not yet, with what is missing.

use crate::{
    allowed::Filter,
    ask::Ask,
    index::View,
    place::{self, Field},
    stock::{Need, Peak},
};
use flurm_jobspec::{Placement, Share};
use flurm_types::{Constraint, counted};

/// Why this can never be had here. To be asked only when it is so.
pub(crate) fn never(field: Field<'_>) -> String {
    let Field { ask, index, allowed, .. } = field;
    let stock = index.stock(View::Ever);
    let peaks = || allowed.positions(index.len()).map(|at| stock.peak(at));
    let constrained = *ask.constraint != Constraint::True;
    let constraint = || format!("`{}`", ask.constraint);
    if constrained && allowed.is_empty(index.len()) {
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
    let here = if constrained {
        format!("what satisfies {} has", constraint())
    } else {
        "this instance has".to_owned()
    };
    let all = allowed.positions(index.len()).count() as u64;
    if let Some(asked) = ask.nodes.filter(|asked| all < u64::from(*asked)) {
        return format!("{here} {}, the job asks for {asked}", counted(all, "node"));
    }
    if let Placement::Spread(share) = ask.placement {
        return never_spread(field, share, &here);
    }
    if ask.piece.sockets.is_some() {
        let sockets = || allowed.positions(index.len()).flat_map(|at| &index.layout(at).sockets);
        let largest = sockets().map(|socket| socket.cores.len()).max().unwrap_or(0);
        if largest < ask.piece.cores as usize {
            let needed = u64::from(ask.piece.cores).div_ceil(largest.max(1) as u64);
            let (cores, needed) = (counted(ask.piece.cores.into(), "core"), counted(needed, "socket"));
            return format!("no socket here has {cores} (largest: {largest}): that takes {needed}");
        }
    }
    let fitting = field.with_room(ask.least()).count() as u64;
    let each = described(ask, need);
    if fitting == 0 {
        return match ask.piece.sockets {
            Some(_) => format!("{nodes} has {each} (largest: {})", most_sockets(field)),
            None => format!("{nodes} has {each} together"),
        };
    }
    if let Some(asked) = ask.nodes.filter(|asked| fitting < u64::from(*asked)) {
        return format!("{here} {} with {each}, the job asks for {asked}", counted(fitting, "node"));
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
    let pieces: u64 = allowed.positions(index.len()).map(|at| u64::from(field.capacity(at))).sum();
    format!("{here} room for {pieces} times {each}, the job asks for {}", ask.pieces)
}

/// Sockets of a node that have what each must have, where they are most.
fn most_sockets(field: Field<'_>) -> usize {
    let Field { ask, index, allowed, .. } = field;
    let fitting = |at: usize| {
        let sockets = index.layout(at).sockets.iter();
        sockets.filter(|socket| field.whole_pieces(at, socket) > 0).count()
    };
    debug_assert!(ask.piece.sockets.is_some(), "without, whole pieces are something else");
    allowed.positions(index.len()).map(fitting).max().unwrap_or(0)
}

/// Why a job that may have a part of each socket only finds too few of them: with the number that it would need.
fn never_spread(field: Field<'_>, share: Share, has: &str) -> String {
    let Field { ask, index, allowed, .. } = field;
    let sockets = || allowed.positions(index.len()).flat_map(|at| &index.layout(at).sockets);
    let largest = sockets().map(|socket| socket.cores.len() as u32).max().unwrap_or(0);
    let most = share.of(largest);
    let rule = format!(
        "{} leaves a job {most} of the {} of a socket",
        ask.placement,
        counted(largest.into(), "core")
    );
    let each = both(ask.piece.cores.into(), ask.piece.gpus.into());
    let fit = most / ask.piece.cores;
    if fit == 0 {
        return format!("{rule}, and {each} on one socket are asked for");
    }
    let place = if ask.nodes.is_some() { " on each node" } else { "" };
    let fitting = field.with_room(ask.least()).count();
    if let Some(asked) = ask.nodes.filter(|_| fitting > 0) {
        let nodes = counted(fitting as u64, "node");
        return format!("{rule}, and so {has} {nodes} with room for it, the job asks for {asked}");
    }
    if let Some(sockets) = ask.piece.sockets {
        let asked = counted(u64::from(ask.pieces) * u64::from(sockets.count), "socket");
        let here = match ask.nodes {
            Some(_) => most_sockets(field),
            None => allowed.positions(index.len()).map(|at| field.capacity(at) as usize).sum::<usize>(),
        };
        return format!("{rule}: {asked} with {each} each are asked for{place} (here: {here})");
    }
    let asked = ask.pieces;
    let needed = asked.div_ceil(fit);
    let here = match ask.nodes {
        Some(_) => allowed.positions(index.len()).map(|at| index.layout(at).sockets.len()).max().unwrap_or(0),
        None => sockets().count(),
    };
    let slots = format!("{} of {each}", counted(asked.into(), "slot"));
    if here < needed as usize {
        let needed = counted(needed.into(), "such socket");
        return format!("{rule}: {slots} need {needed}{place} (here: {here})");
    }
    // Enough sockets, but smaller ones or with too few GPUs on them.
    let room: u64 = allowed.positions(index.len()).map(|at| u64::from(field.capacity(at))).sum();
    format!(
        "{rule}: {slots}{place} need {} of that size (room here: {room})",
        counted(needed.into(), "socket")
    )
}

/// What a request waits for that fits, but not now.
pub(crate) fn not_now(field: Field<'_>) -> String {
    let Field { ask, index, allowed, .. } = field;
    let stock = index.stock(View::Now);
    let peaks = || allowed.positions(index.len()).map(|at| stock.peak(at));
    let need = ask.need(ask.least());
    let fitting = || field.with_room(ask.least()).count();
    let (cores, gpus) = ask.total();
    let sum = |part: fn(Peak) -> u32| peaks().map(|peak| u64::from(part(peak))).sum::<u64>();
    match (ask.exclusive, ask.nodes) {
        (true, Some(asked)) => {
            return format!("waits for {} (free: {})", counted(asked.into(), "idle node"), fitting());
        }
        (true, None) => {
            let idle = sum(|peak| peak.idle);
            return format!("waits for {} on idle nodes (free: {idle})", counted(cores, "core"));
        }
        (false, _) => {}
    }
    // Without a constraint the sums are known.
    let (free_cores, free_gpus) = match allowed {
        Filter::All => (index.cores_now, index.gpus_now),
        _ => (sum(|peak| peak.cores), sum(|peak| peak.gpus)),
    };
    if free_cores < cores {
        return format!("waits for {} (free: {free_cores})", counted(cores, "core"));
    }
    if free_gpus < gpus {
        return format!("waits for {} (free: {free_gpus})", counted(gpus, "GPU"));
    }
    let each = described(ask, need);
    match ask.nodes {
        Some(asked) => {
            format!("waits for {} with {each} free (now: {})", counted(asked.into(), "node"), fitting())
        }
        None => {
            let open = field.with_room(1).map(|at| u64::from(field.capacity(at)));
            format!("waits for {each} free on one node, {} times (now: {})", ask.pieces, open.sum::<u64>())
        }
    }
}

/// The same of a job that is willing to share its sockets: where somebody is that it may share with, it has no room now.
pub(crate) fn not_beside(field: Field<'_>, with_mates: u64) -> String {
    let Field { ask, index, allowed, .. } = field;
    let needed = place::place(Field { view: View::Ever, ..field }).map_or(0, |shares| shares.len() as u64);
    let idle = allowed.positions(index.len()).filter(|at| index.is_idle(*at)).count();
    debug_assert!(ask.fresh, "the number is one of idle nodes");
    let beside = "or for room beside a job that it may share sockets with";
    format!("waits for {} (now: {idle}), {beside} (now: {with_mates})", counted(needed, "idle node"))
}

/// What a node, or each socket of one, must have.
fn described(ask: &Ask<'_>, need: Need) -> String {
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

pub(crate) fn both(cores: u64, gpus: u64) -> String {
    let cores = counted(cores, "core");
    if gpus == 0 { cores } else { format!("{cores} and {}", counted(gpus, "GPU")) }
}
