//! Parts of nodes that are not in use: a core that fails, a socket that is kept back, a rack without power.
//!
//! What jobs hold of them stays held. Whole nodes are marked up and down by rank; what is here is told by the path of a
//! vertex, and holds for all that is below it.

use crate::general::tree::{Home, Place};
use crate::index::Index;
use crate::{Graph, Mark};
use flurm_types::{Idset, RNode};
use std::borrow::Cow;
use std::collections::BTreeSet;

impl Graph {
    /// Takes a vertex and all that is below it out of use, or back into it. Jobs that hold something there go on.
    ///
    /// # Errors
    /// When there is no vertex at this path.
    pub fn set_status(&mut self, path: &str, up: bool) -> Result<(), String> {
        let tree = self.index.pools.tree();
        let place = tree.find(path).ok_or_else(|| format!("there is no vertex at `{path}`"))?;
        let mut down = self.index.pools.down().clone();
        if let Place::In(at, 0) = place {
            let rank = self.index.nodes()[at as usize].rank;
            down.remove(&place);
            self.set_down(down);
            self.mark(&Idset::from_range(rank..=rank), if up { Mark::Up } else { Mark::Down });
            return Ok(());
        }
        if up {
            down.remove(&place)
        } else {
            down.insert(place)
        };
        self.set_down(down);
        Ok(())
    }

    /// Says what is not in use, instead of what was said before. Nodes themselves are left to their marks.
    pub(crate) fn set_down(&mut self, mut down: BTreeSet<Place>) {
        down.retain(|place| !matches!(place, Place::In(_, 0)));
        if down == *self.index.pools.down() {
            return;
        }
        let mut concerned: BTreeSet<u32> = BTreeSet::new();
        for place in down.iter().chain(self.index.pools.down()) {
            concerned.extend(self.index.pools.tree().nodes_of(*place));
        }
        // What nobody holds is free before what is closed now is taken out.
        let open = std::mem::take(&mut self.closed);
        self.index.set_parts_free(&open, true);
        let is_concerned =
            |part: &&RNode| self.index.position(part.rank).is_some_and(|at| concerned.contains(&(at as u32)));
        let held: Vec<RNode> =
            self.held.values().flat_map(|held| held.parts.iter().filter(is_concerned)).cloned().collect();
        self.index.set_parts_free(&held, false);
        self.closed = down.iter().filter_map(|place| self.inside_of(*place)).collect();
        self.index.set_parts_free(&self.closed, false);
        self.index.pools.set_down(down);
        for at in concerned {
            self.reopen(at as usize);
        }
    }

    /// Cores and GPUs in a part of a node.
    pub(crate) fn inside_of(&self, place: Place) -> Option<RNode> {
        let Place::In(at, _) = place else { return None };
        let (inside, span) = (self.index.pools.tree().inside(at), self.index.pools.tree().span(place));
        // A thread that fails takes its core along.
        let core = match span.home {
            Home::Thread => inside.list.vertices[span.parent as usize].cores(),
            _ => span.cores(),
        };
        let cores = inside.cores[core].iter().map(|(bit, _)| *bit as usize);
        let gpus = inside.gpus[span.gpus()].iter().map(|(bit, _)| *bit as usize);
        Some(self.index.rnode(at as usize, cores, gpus))
    }

    /// Is what a node is in not in use?
    pub(crate) fn is_node_down(&self, at: usize) -> bool {
        self.index.pools.is_down(Place::In(at as u32, 0))
    }

    /// Takes what is not in use out of what is free.
    pub(crate) fn close_again(&self, index: &mut Index) {
        if !self.closed.is_empty() {
            index.set_parts_free(&self.closed, false);
        }
    }

    /// Parts without what is not in use.
    pub(crate) fn in_use<'a>(&self, parts: &'a [RNode]) -> Cow<'a, [RNode]> {
        let is_closed = |part: &RNode| self.closed.iter().any(|closed| closed.rank == part.rank);
        if self.closed.is_empty() || !parts.iter().any(is_closed) {
            return Cow::Borrowed(parts);
        }
        let mut parts = parts.to_vec();
        for closed in &self.closed {
            for part in parts.iter_mut().filter(|part| part.rank == closed.rank) {
                part.cores = part.cores.difference(&closed.cores);
                part.gpus = part.gpus.difference(&closed.gpus);
            }
        }
        Cow::Owned(parts)
    }

    /// What jobs hold and what not, as if all were in use.
    pub(crate) fn index_in_use(&self) -> Cow<'_, Index> {
        if self.closed.is_empty() {
            return Cow::Borrowed(&self.index);
        }
        let mut index = self.index.clone();
        index.set_parts_free(&self.closed, true);
        for held in self.held.values() {
            index.set_parts_free(&held.parts, false);
        }
        Cow::Owned(index)
    }

    pub(crate) fn down_paths(&self) -> Vec<String> {
        let tree = self.index.pools.tree();
        self.index.pools.down().iter().map(|place| tree.path(*place)).collect()
    }

    pub(crate) fn set_down_paths(&mut self, paths: &[String]) {
        let tree = self.index.pools.tree();
        let mut down = self.index.pools.down().clone();
        down.extend(paths.iter().filter_map(|path| tree.find(path)));
        self.set_down(down);
    }
}
