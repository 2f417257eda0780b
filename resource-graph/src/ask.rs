//! What a job asks for, in the terms of matching: so many equal pieces, each of which lies on one node.
//!
//! These trees are understood; what is in brackets may be left out, `slot` is what tasks are counted by.
//!
//! | tree | a piece is | pieces |
//! | --- | --- | --- |
//! | `[node] > slot > cores, [GPUs]` | a slot | slots, on each node if nodes are given |
//! | `[node] > socket > slot > cores, [GPUs]` | a socket's share of slots | sockets, no two in the same |
//! | `[node] > slot > socket > [cores, GPUs]` | a slot of whole sockets | slots |
//! | `slot > node > [cores, GPUs]` | a node, whole unless it says otherwise | one on each node |
//!
//! A node may also hold several slots side by side; then everything in a node is one piece. Counts that are ranges
//! come from `counts.rs`.

use crate::{
    counts::{self, Counts},
    stock::Need,
};
use flurm_jobspec::{Jobspec, Kind, Placement, Resource};
use flurm_types::Constraint;

/// A request for pieces.
#[derive(Debug, Copy, Clone)]
pub(crate) struct Ask<'a> {
    /// On exactly this many nodes, or on as few as come.
    pub(crate) nodes: Option<u32>,
    /// On each node if their number is given, else in all.
    pub(crate) pieces: u32,
    pub(crate) piece: Piece,
    /// Whole nodes, with everything on them.
    pub(crate) exclusive: bool,
    /// Slots in all, which a resource set is marked with.
    pub(crate) slots: u32,
    pub(crate) constraint: &'a Constraint,
    pub(crate) placement: Placement,
    /// On nodes where nobody else is, although others may come.
    pub(crate) fresh: bool,
}

/// What lies on one node.
#[derive(Debug, Copy, Clone)]
pub(crate) struct Piece {
    /// Cores in each of its sockets, or anywhere on the node. At least 1.
    pub(crate) cores: u32,
    /// GPUs, likewise.
    pub(crate) gpus: u32,
    pub(crate) sockets: Option<Sockets>,
}

/// Why a request is not one of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It has another shape, in these words, which may be matched in a slower way.
    Shape(String),
    /// Nobody can have this.
    Never(String),
}

impl From<Refusal> for String {
    fn from(refusal: Refusal) -> String {
        match refusal {
            Refusal::Shape(why) => format!("{why} cannot be had by a group of jobs"),
            Refusal::Never(why) => why,
        }
    }
}

/// Sockets that belong to one piece and to no other.
#[derive(Debug, Copy, Clone)]
pub(crate) struct Sockets {
    pub(crate) count: u32,
    /// With everything on them.
    pub(crate) whole: bool,
}

impl Ask<'_> {
    /// Reads the resources of a jobspec; the placement is for those that ask for none.
    ///
    /// # Errors
    /// The first thing in them that is not matched here.
    pub(crate) fn of<'a>(
        jobspec: &'a Jobspec,
        default: Placement,
        counts: &Counts<'_>,
    ) -> Result<Ask<'a>, Refusal> {
        counts::check(jobspec).map_err(Refusal::Never)?;
        let [top] = jobspec.resources() else {
            return Err(Refusal::Shape("several resources side by side at the top".to_owned()));
        };
        let mut at = top;
        let (mut nodes, mut exclusive, mut around) = (None, false, None);
        if at.kind == Kind::Node {
            nodes = Some(count(at, counts)?);
            exclusive = at.is_exclusive(false);
            if let [_, _, ..] = at.with.as_slice() {
                return Ask::several(jobspec, at, default, counts);
            }
            at = only_child(at)?;
        }
        if at.kind == Kind::Socket {
            around = Some((count(at, counts)?, at.is_exclusive(false)));
            at = only_child(at)?;
        }
        if at.kind != Kind::Slot {
            return Err(misplaced(at));
        }
        let slots = count(at, counts)?;
        exclusive |= at.exclusive == Some(true);
        let mut inside = at.with.as_slice();
        let mut pieces = slots;
        let mut all_slots = slots.saturating_mul(nodes.unwrap_or(1));
        if let [node] = inside
            && node.kind == Kind::Node
            && nodes.is_none()
            && around.is_none()
        {
            nodes = Some(slots.saturating_mul(count(node, counts)?));
            exclusive = node.is_exclusive(true);
            pieces = 1;
            inside = &node.with;
        }
        let mut sockets = None;
        if let [socket] = inside
            && socket.kind == Kind::Socket
            && around.is_none()
        {
            sockets = Some(Sockets { count: count(socket, counts)?, whole: socket.is_exclusive(true) });
            inside = &socket.with;
        }
        let mut piece = Piece { sockets, ..leaves(inside, counts)? };
        if let Some((count, whole)) = around {
            piece.cores = piece.cores.saturating_mul(slots);
            piece.gpus = piece.gpus.saturating_mul(slots);
            piece.sockets = Some(Sockets { count: 1, whole });
            pieces = count;
            all_slots = all_slots.saturating_mul(count);
        }
        Ask { nodes, pieces, piece, exclusive, slots: all_slots, ..Ask::bare(jobspec, default) }
            .checked(jobspec)
    }

    /// Slots side by side in each of some nodes.
    fn several<'a>(
        jobspec: &'a Jobspec,
        node: &Resource,
        default: Placement,
        counts: &Counts<'_>,
    ) -> Result<Ask<'a>, Refusal> {
        let nodes = count(node, counts)?;
        let mut ask = Ask { nodes: Some(nodes), ..Ask::bare(jobspec, default) };
        ask.exclusive = node.is_exclusive(false);
        let mut slots = 0_u32;
        for slot in &node.with {
            if slot.kind != Kind::Slot {
                return Err(misplaced(slot));
            }
            let count = count(slot, counts)?;
            let inside = leaves(&slot.with, counts)?;
            slots = slots.saturating_add(count);
            ask.piece.cores = ask.piece.cores.saturating_add(inside.cores.saturating_mul(count));
            ask.piece.gpus = ask.piece.gpus.saturating_add(inside.gpus.saturating_mul(count));
            ask.exclusive |= slot.exclusive == Some(true);
        }
        ask.slots = slots.saturating_mul(nodes);
        if let Placement::Spread(_) = ask.placement {
            let why = if jobspec.attributes().cosched.is_some() {
                "a co-scheduled job has slots of one kind: ask for tasks with cores each"
            } else {
                "slots of several kinds on a node cannot be spread over its sockets"
            };
            return Err(Refusal::Never(why.to_owned()));
        }
        ask.checked(jobspec)
    }

    /// One piece of nothing.
    fn bare(jobspec: &Jobspec, default: Placement) -> Ask<'_> {
        let attributes = jobspec.attributes();
        Ask {
            nodes: None,
            pieces: 1,
            piece: Piece { cores: 0, gpus: 0, sockets: None },
            exclusive: false,
            slots: 0,
            constraint: &attributes.constraints,
            placement: match attributes.cosched {
                Some(ref willing) => Placement::Spread(willing.share()),
                None => attributes.placement.unwrap_or(default),
            },
            fresh: false,
        }
    }

    fn checked(self, jobspec: &Jobspec) -> Result<Self, Refusal> {
        let whole = self.exclusive || self.piece.sockets.is_some_and(|sockets| sockets.whole);
        if let (Placement::Spread(_), true) = (self.placement, whole) {
            let why = if jobspec.attributes().cosched.is_some() {
                "a co-scheduled job leaves a part of each socket to its partner, which whole nodes and sockets do not: \
                 ask for tasks and cores"
            } else {
                "`spread` leaves a part of each socket to others, which whole nodes and sockets do not"
            };
            return Err(Refusal::Never(why.to_owned()));
        }
        Ok(self)
    }

    /// What a node must have for this many pieces; if they are of sockets, those must have it, too.
    pub(crate) fn need(&self, pieces: u32) -> Need {
        let parts = pieces.saturating_mul(self.piece.sockets.map_or(1, |sockets| sockets.count));
        let cores = self.piece.cores.saturating_mul(parts);
        Need {
            cores,
            gpus: self.piece.gpus.saturating_mul(parts),
            idle: self.exclusive || self.fresh,
            // What is of sockets, or spread over them, has a part in each that is not divided.
            each: match (self.piece.sockets, self.placement) {
                (Some(_), _) => (parts, self.piece.cores),
                (None, Placement::Spread(_)) => (1, self.piece.cores),
                (None, _) => (0, 0),
            },
            within: (0, 0),
        }
    }

    /// Whole nodes or sockets, for a job that is not willing to share them?
    pub(crate) fn takes_all(&self) -> bool {
        !matches!(self.placement, Placement::Spread(_))
            && (self.exclusive || self.piece.sockets.is_some_and(|sockets| sockets.whole))
    }

    /// How many cores of a socket with so many the job may have.
    pub(crate) fn cap(&self, cores: u32) -> u32 {
        match self.placement {
            Placement::Spread(share) => share.of(cores),
            Placement::First | Placement::Low | Placement::High => cores,
            Placement::Locality | Placement::Compact => cores,
        }
    }

    /// The fewest pieces that a chosen node must hold.
    pub(crate) fn least(&self) -> u32 {
        self.nodes.map_or(1, |_| self.pieces)
    }

    /// Cores and GPUs of all pieces together.
    pub(crate) fn total(&self) -> (u64, u64) {
        let sockets = self.piece.sockets.map_or(1, |sockets| sockets.count);
        let parts = [self.pieces, self.nodes.unwrap_or(1), sockets];
        let parts = parts.into_iter().map(u64::from).fold(1, u64::saturating_mul);
        (parts.saturating_mul(self.piece.cores.into()), parts.saturating_mul(self.piece.gpus.into()))
    }
}

/// Cores and GPUs side by side, each at most once. A piece without cores gets one: nothing runs on a GPU alone.
fn leaves(inside: &[Resource], counts: &Counts<'_>) -> Result<Piece, Refusal> {
    let (mut cores, mut gpus) = (None, None);
    for leaf in inside {
        let found = match leaf.kind {
            Kind::Core => &mut cores,
            Kind::Gpu => &mut gpus,
            Kind::Slot | Kind::Node | Kind::Socket | Kind::Memory | Kind::Other(_) => {
                return Err(misplaced(leaf));
            }
        };
        if let Some(below) = leaf.with.first() {
            return Err(misplaced(below));
        }
        if leaf.exclusive == Some(false) {
            return Err(Refusal::Never(format!("a {} is never shared between jobs", leaf.kind)));
        }
        if found.replace(count(leaf, counts)?).is_some() {
            return Err(Refusal::Shape(format!("{} twice in one place", leaf.kind)));
        }
    }
    Ok(Piece { cores: cores.unwrap_or(1), gpus: gpus.unwrap_or(0), sockets: None })
}

fn count(resource: &Resource, counts: &Counts<'_>) -> Result<u32, Refusal> {
    if resource.id.is_some() {
        return Err(Refusal::Shape(format!("a {} by its id", resource.kind)));
    }
    Ok(counts.of(resource))
}

fn only_child(resource: &Resource) -> Result<&Resource, Refusal> {
    match resource.with.as_slice() {
        [only] => Ok(only),
        [] => Err(Refusal::Shape(format!("a {} without a slot in it", resource.kind))),
        [_, ..] => Err(Refusal::Shape(format!("several resources side by side in a {}", resource.kind))),
    }
}

fn misplaced(resource: &Resource) -> Refusal {
    Refusal::Shape(format!("a {} in this place of the request", resource.kind))
}
