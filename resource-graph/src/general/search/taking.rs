//! Counting and taking what is free in one vertex, for the search around it.

use super::{Done, Search};
use crate::describe::flatten::Role;
use crate::general::tree::{Home, Place};
use crate::general::wants::{Amount, Want};
use crate::index::View;
use flurm_jobspec::Placement;
use flurm_types::Idset;
use std::collections::btree_map::Entry;

impl Search<'_, '_> {
    /// Has it so many cores and GPUs free? Above nodes nobody counts.
    pub(super) fn has(&self, place: Place, (cores, gpus): (u64, u64)) -> bool {
        match place {
            Place::Top(_) => true,
            Place::In(..) => self.cores_free(place) >= cores && (gpus == 0 || self.gpus_free(place) >= gpus),
        }
    }

    pub(super) fn core_bit(&self, at: u32, n: u32) -> usize {
        self.index.first_bits(at as usize).0 + self.tree.inside(at).cores[n as usize].0 as usize
    }

    pub(super) fn gpu_bit(&self, at: u32, n: u32) -> usize {
        self.index.first_bits(at as usize).1 + self.tree.inside(at).gpus[n as usize].0 as usize
    }

    pub(super) fn cores_free(&self, place: Place) -> u64 {
        let Place::In(at, _) = place else {
            let nodes = self.tree.nodes_of(place).iter().filter(|at| self.allowed.contains(**at as usize));
            return nodes.map(|at| self.cores_free(Place::In(*at, 0))).sum();
        };
        if let Place::In(_, 0) = place
            && !self.touched.contains(at as usize)
        {
            return self.index.stock(self.view).peak(at as usize).cores.into();
        }
        let (inside, range) = (self.tree.inside(at), self.tree.span(place).cores());
        let first = self.index.first_bits(at as usize).0;
        if inside.in_order {
            return self.free.count_cores(first + range.start..first + range.end).into();
        }
        let bits = inside.cores[range].iter().map(|(bit, _)| first + *bit as usize);
        bits.filter(|bit| self.free.cores.contains(*bit)).count() as u64
    }

    pub(super) fn gpus_free(&self, place: Place) -> u64 {
        let Place::In(at, _) = place else {
            let nodes = self.tree.nodes_of(place).iter().filter(|at| self.allowed.contains(**at as usize));
            return nodes.map(|at| self.gpus_free(Place::In(*at, 0))).sum();
        };
        if let Place::In(_, 0) = place
            && !self.touched.contains(at as usize)
        {
            return self.index.stock(self.view).peak(at as usize).gpus.into();
        }
        let first = self.index.first_bits(at as usize).1;
        let span = self.tree.span(place);
        let gpus = &self.tree.inside(at).gpus[span.gpus()];
        gpus.iter().filter(|(bit, _)| self.free.gpus.contains(first + *bit as usize)).count() as u64
    }

    /// Is nothing of it taken, and all of it in use?
    pub(super) fn is_idle(&self, place: Place) -> bool {
        let free = |pool: u32| self.taken(pool) == 0 && !self.is_pool_down(pool);
        match place {
            Place::In(..) => {
                let span = self.tree.span(place);
                self.cores_free(place) == span.cores().len() as u64
                    && self.gpus_free(place) == span.gpus().len() as u64
                    && self.tree.pools_in(place).all(free)
            }
            Place::Top(_) if !self.tree.own_pools(place).all(free) => false,
            Place::Top(_) => self.tree.nodes_of(place).iter().all(|at| {
                let node = Place::In(*at, 0);
                self.allowed.contains(*at as usize) && !self.used.contains(&node) && self.is_idle(node)
            }),
        }
    }

    /// Takes what is left of a vertex.
    pub(super) fn take_all(&mut self, place: Place) {
        let nodes = match place {
            Place::In(..) => vec![place],
            Place::Top(_) => self.tree.nodes_of(place).iter().map(|at| Place::In(*at, 0)).collect(),
        };
        for place in nodes {
            let Place::In(at, _) = place else { continue };
            let span = self.tree.span(place);
            for n in span.cores() {
                self.take_core(at, n as u32);
            }
            for n in span.gpus() {
                self.take_gpu(at, n as u32);
            }
        }
        for pool in self.tree.pools_in(place) {
            self.take_pool(pool, u64::MAX);
        }
    }

    pub(super) fn take_core(&mut self, at: u32, n: u32) -> bool {
        let bit = self.core_bit(at, n);
        let free = self.free.cores.contains(bit);
        if free {
            self.free.cores.remove(bit);
            self.touched.insert(at as usize);
            self.trail.push(Done::Core(at, n));
        }
        free
    }

    pub(super) fn take_gpu(&mut self, at: u32, n: u32) -> bool {
        let bit = self.gpu_bit(at, n);
        let free = self.free.gpus.contains(bit);
        if free {
            self.free.gpus.remove(bit);
            self.touched.insert(at as usize);
            self.trail.push(Done::Gpu(at, n));
        }
        free
    }

    /// Takes so much of a pool, or what there is. Returns how much.
    pub(super) fn take_pool(&mut self, pool: u32, amount: u64) -> u64 {
        let amount = amount.min(self.pool_free(pool));
        if amount > 0 {
            *self.more.entry(pool).or_default() += amount;
            self.trail.push(Done::Pool(pool, amount));
        }
        amount
    }

    /// The end of that.
    pub(super) fn put_back(&mut self, pool: u32, amount: u64) {
        if let Entry::Occupied(mut more) = self.more.entry(pool) {
            *more.get_mut() -= amount;
            if *more.get() == 0 {
                more.remove();
            }
        }
    }

    /// How much of a pool is taken.
    pub(super) fn taken(&self, pool: u32) -> u64 {
        let base = self.base.get(pool as usize).copied().unwrap_or(0);
        if self.more.is_empty() { base } else { base + self.more.get(&pool).copied().unwrap_or(0) }
    }

    pub(super) fn is_down(&self, place: Place) -> bool {
        self.view == View::Now && self.index.pools.is_down(place)
    }

    pub(super) fn is_pool_down(&self, pool: u32) -> bool {
        self.view == View::Now && self.index.pools.is_pool_down(pool)
    }

    /// Takes an amount of the pools in a vertex: of one, if one has it all. Returns what is missing.
    pub(super) fn take_pools(&mut self, amount: &Amount, scope: Place, mut left: u64) -> u64 {
        let mut pools = self.pools_for(amount, scope);
        if self.placement == Placement::High {
            pools.reverse();
        }
        let one = pools.iter().find(|pool| self.pool_free(**pool) >= left);
        for pool in one.map_or(&pools[..], std::slice::from_ref) {
            left -= self.take_pool(*pool, left);
        }
        left
    }

    pub(super) fn pool_free(&self, pool: u32) -> u64 {
        if self.is_pool_down(pool) {
            return 0;
        }
        self.tree.facts(pool).size.saturating_sub(self.taken(pool))
    }

    /// Does a pool count for this?
    pub(super) fn suits(&self, pool: u32, amount: &Amount) -> bool {
        let id = |ids: &Idset| {
            let vertex = self.tree.vertex(self.tree.pool_place(pool));
            u32::try_from(vertex.id).is_ok_and(|id| ids.contains(id))
        };
        self.tree.facts(pool).kind == amount.kind && amount.ids.as_ref().is_none_or(id)
    }

    /// Pools for an amount, those of the vertex itself and, above nodes, those of its nodes.
    pub(super) fn pools_for(&self, amount: &Amount, scope: Place) -> Vec<u32> {
        let suits = |pool: &u32| self.suits(*pool, amount);
        let is_inside = self.tree.kinds.get(&amount.kind).is_some_and(|kind| kind.inside);
        match scope {
            // What no node has is not looked for in all of them.
            Place::Top(_) if !is_inside => self.tree.own_pools(scope).filter(suits).collect(),
            Place::Top(_) | Place::In(..) => self.tree.pools_in(scope).filter(suits).collect(),
        }
    }

    /// How much of pools there is in a node or a part of one.
    pub(super) fn pools_free(&self, amount: &Amount, at: u32, place: Place) -> u64 {
        let (list, pool0) = (&self.tree.inside(at).list, self.tree.nodes[at as usize].pool0);
        let (first, last) = self.tree.span(place).pools;
        let free = (first..last).map(|n| {
            let (vertex, pool) = (&list.vertices[list.pools[n as usize] as usize], pool0 + n);
            let id = |ids: &Idset| u32::try_from(vertex.id).is_ok_and(|id| ids.contains(id));
            let suits = vertex.kind == amount.kind && amount.ids.as_ref().is_none_or(id);
            if suits && !self.is_pool_down(pool) { vertex.size.saturating_sub(self.taken(pool)) } else { 0 }
        });
        free.fold(0, u64::saturating_add)
    }

    /// How much there is of something in a vertex.
    pub(crate) fn amount_free(&self, amount: &Amount, scope: Place) -> u64 {
        let plain = amount.ids.is_none();
        match (amount.role, scope) {
            (Role::Core, _) if plain => self.cores_free(scope),
            (Role::Gpu, _) if plain => self.gpus_free(scope),
            (Role::Core | Role::Gpu | Role::Thread, Place::In(at, _)) => {
                let numbers = self.numbers(amount, scope);
                numbers.into_iter().map(|n| self.worth(amount, at, n)).sum()
            }
            (Role::Core | Role::Gpu | Role::Thread, Place::Top(_)) => {
                let nodes =
                    self.tree.nodes_of(scope).iter().filter(|at| self.allowed.contains(**at as usize));
                nodes.map(|at| self.amount_free(amount, Place::In(*at, 0))).sum()
            }
            (Role::Node | Role::Socket | Role::Memory | Role::Other, Place::In(at, _)) => {
                self.pools_free(amount, at, scope)
            }
            (Role::Node | Role::Socket | Role::Memory | Role::Other, Place::Top(_)) => {
                self.pools_for(amount, scope).into_iter().map(|pool| self.pool_free(pool)).sum()
            }
        }
    }

    /// What one core or GPU is for an amount: of threads, as many as it has.
    pub(super) fn worth(&self, amount: &Amount, at: u32, n: u32) -> u64 {
        if amount.role != Role::Thread {
            return 1;
        }
        let list = &self.tree.inside(at).list;
        let (_, core) = self.tree.inside(at).cores[n as usize];
        let threads = list.below(core, amount.kind).iter().map(|v| &list.vertices[*v as usize]);
        let id = |id: i64| {
            amount.ids.as_ref().is_none_or(|ids| u32::try_from(id).is_ok_and(|id| ids.contains(id)))
        };
        threads.filter(|thread| id(thread.id)).map(|thread| thread.size).sum()
    }

    /// Free cores or GPUs of a vertex in a node that count for an amount, by their numbers in the node.
    pub(super) fn numbers(&self, amount: &Amount, scope: Place) -> Vec<u32> {
        let Place::In(at, _) = scope else { return Vec::new() };
        let (inside, span) = (self.tree.inside(at), self.tree.span(scope));
        let (first_core, first_gpu) = self.index.first_bits(at as usize);
        let (list, range, first, free) = match amount.role {
            Role::Gpu => (&inside.gpus, span.gpus(), first_gpu, &self.free.gpus),
            _ => (&inside.cores, span.cores(), first_core, &self.free.cores),
        };
        let id = |n: &usize| match (&amount.ids, amount.role) {
            (Some(ids), Role::Core | Role::Gpu) => {
                let vertex = &inside.list.vertices[list[*n].1 as usize];
                u32::try_from(vertex.id).is_ok_and(|id| ids.contains(id))
            }
            _ => true,
        };
        let free = range.filter(|n| free.contains(first + list[*n].0 as usize)).filter(id);
        free.map(|n| n as u32).collect()
    }

    /// How often a list of amounts fits into a node at most. Threads may come to less: no core is of two pieces.
    pub(super) fn capacity(&self, at: u32, list: &[Want]) -> u64 {
        let node = Place::In(at, 0);
        let each = list.iter().filter_map(|want| match want {
            Want::Amount(amount) => Some(self.amount_free(amount, node) / amount.amount.max(1)),
            Want::Things(_) | Want::Pieces(_) => None,
        });
        each.min().unwrap_or(0)
    }

    /// Takes an amount in a vertex, first of all in the part of it where the others of its list are.
    pub(super) fn take_amount(&mut self, amount: &Amount, scope: Place, near: Place) -> bool {
        self.taken += 1;
        if self.amount_free(amount, scope) < amount.amount {
            return false;
        }
        let mut left = amount.amount;
        let Place::In(at, _) = scope else {
            return self.take_pools(amount, scope, left) == 0;
        };
        let scopes = [near, scope];
        for scope in &scopes[usize::from(near == scope)..] {
            let scope = *scope;
            if !matches!(amount.role, Role::Core | Role::Gpu | Role::Thread) {
                left = self.take_pools(amount, scope, left);
                continue;
            }
            if amount.ids.is_none() && amount.role != Role::Thread {
                left = self.take_any(amount.role, at, scope, left);
                continue;
            }
            let mut numbers = self.numbers(amount, scope);
            if self.placement == Placement::High {
                numbers.reverse();
            }
            for n in numbers {
                if left == 0 {
                    break;
                }
                let worth = self.worth(amount, at, n);
                let taken = match amount.role {
                    _ if worth == 0 => false,
                    Role::Gpu => self.take_gpu(at, n),
                    _ => self.take_core(at, n),
                };
                if taken {
                    left = left.saturating_sub(worth);
                }
            }
        }
        left == 0
    }

    /// Takes so many cores or GPUs of a vertex in a node, whichever are free. Returns how many are missing.
    fn take_any(&mut self, role: Role, at: u32, scope: Place, mut left: u64) -> u64 {
        let span = self.tree.span(scope);
        let mut numbers = if role == Role::Gpu { span.gpus() } else { span.cores() };
        let from_top = self.placement == Placement::High;
        while left > 0
            && let Some(n) = if from_top { numbers.next_back() } else { numbers.next() }
        {
            let n = n as u32;
            let taken = if role == Role::Gpu { self.take_gpu(at, n) } else { self.take_core(at, n) };
            left -= u64::from(taken);
        }
        left
    }

    /// The smallest part of a vertex that has all cores, GPUs and pools of a list, the one with the fewest cores free.
    pub(super) fn near(&self, scope: Place, list: &[Want]) -> Place {
        match (scope, self.placement) {
            (Place::In(..), Placement::Compact | Placement::Locality) => {}
            (Place::Top(_), _) => return scope,
            (_, Placement::First | Placement::Low | Placement::High | Placement::Spread(_)) => return scope,
        }
        let holds = |place: &Place| {
            list.iter().all(|want| match want {
                Want::Amount(amount) => self.amount_free(amount, *place) >= amount.amount,
                Want::Things(_) | Want::Pieces(_) => true,
            })
        };
        let mut at = scope;
        loop {
            let inner = self
                .tree
                .children(at)
                .filter(|place| self.tree.span(*place).home == Home::Inner && holds(place));
            match inner.min_by_key(|place| self.cores_free(*place)) {
                Some(part) => at = part,
                None => return at,
            }
        }
    }
}
