//! Going about in a tree: up, down, by path, and from pools to their vertices.

use super::{Home, Inside, Place, PoolFacts, Tree, Vertex};
use crate::describe::Word;
use crate::describe::flatten::Role;
use crate::units;
use std::ops::Range;

impl Tree {
    /// Is its size in bytes?
    pub(crate) fn is_bytes(&self, vertex: &Vertex) -> bool {
        Role::of(self.words.text(vertex.kind)) == Role::Memory
            || units::bytes(self.words.text(vertex.unit)).is_some()
    }

    pub(crate) fn inside(&self, at: u32) -> &Inside {
        &self.insides[self.nodes[at as usize].inside as usize]
    }

    pub(crate) fn vertex(&self, place: Place) -> &Vertex {
        match place {
            Place::Top(v) => &self.top.vertices[v as usize],
            Place::In(at, 0) => &self.top.vertices[self.nodes[at as usize].top as usize],
            Place::In(at, v) => &self.inside(at).list.vertices[v as usize],
        }
    }

    /// The vertex for counting what is below: for a node, that of its inside.
    pub(crate) fn span(&self, place: Place) -> &Vertex {
        match place {
            Place::Top(v) => &self.top.vertices[v as usize],
            Place::In(at, v) => &self.inside(at).list.vertices[v as usize],
        }
    }

    /// The place of a vertex of the upper list.
    pub(crate) fn place(&self, v: u32) -> Place {
        match self.top.vertices[v as usize].home {
            Home::Node(at) => Place::In(at, 0),
            _ => Place::Top(v),
        }
    }

    pub(crate) fn parent(&self, place: Place) -> Option<Place> {
        match place {
            Place::Top(0) => None,
            Place::Top(v) => Some(Place::Top(self.top.vertices[v as usize].parent)),
            Place::In(at, 0) => match self.nodes[at as usize].top {
                0 => None,
                top => Some(Place::Top(self.top.vertices[top as usize].parent)),
            },
            Place::In(at, v) => Some(Place::In(at, self.inside(at).list.vertices[v as usize].parent)),
        }
    }

    /// Is the one in the other, or the same?
    pub(crate) fn is_in(&self, inner: Place, outer: Place) -> bool {
        let mut next = Some(inner);
        while let Some(place) = next {
            if place == outer {
                return true;
            }
            next = self.parent(place);
        }
        false
    }

    /// How many are around it.
    pub(crate) fn depth(&self, place: Place) -> usize {
        std::iter::successors(self.parent(place), |above| self.parent(*above)).count()
    }

    /// The names from the root down, behind a slash each.
    pub(crate) fn path(&self, place: Place) -> String {
        let mut names = Vec::new();
        let mut next = Some(place);
        while let Some(place) = next {
            names.push(self.words.text(self.vertex(place).name));
            next = self.parent(place);
        }
        names.iter().rev().flat_map(|name| ["/", name]).collect()
    }

    /// The vertex at a path.
    pub(crate) fn find(&self, path: &str) -> Option<Place> {
        let mut names = path.strip_prefix('/')?.split('/').map(|name| self.words.find(name));
        let mut at = self.place(0);
        if names.next()?? != self.vertex(at).name {
            return None;
        }
        // Which vertex of the upper list holds what comes next, while that is there.
        let mut above = Some(0);
        for name in names {
            let name = name?;
            if let Some(v) = above.and_then(|above| self.named.get(&(above, name))) {
                at = self.place(*v);
                above = matches!(at, Place::Top(_)).then_some(*v);
                continue;
            }
            above = None;
            at = self.child(at, name)?;
        }
        Some(at)
    }

    /// What is directly inside and has this name.
    fn child(&self, place: Place, name: Word) -> Option<Place> {
        let Place::In(at, v) = place else {
            return self.children(place).find(|child| self.vertex(*child).name == name);
        };
        let all = &self.inside(at).list.vertices;
        let mut next = v + 1;
        while next < all[v as usize].end {
            if all[next as usize].name == name {
                return Some(Place::In(at, next));
            }
            next = all[next as usize].end;
        }
        None
    }

    /// What is directly inside, in order.
    pub(crate) fn children(&self, place: Place) -> impl Iterator<Item = Place> + '_ {
        let (list, v) = match place {
            Place::Top(v) => (&self.top, v),
            Place::In(at, v) => (&self.inside(at).list, v),
        };
        let end = list.vertices[v as usize].end;
        let next = |v: &u32| list.vertices.get(*v as usize).map(|vertex| vertex.end);
        std::iter::successors(Some(v + 1), next).take_while(move |v| *v < end).map(move |v| match place {
            Place::Top(_) => self.place(v),
            Place::In(at, _) => Place::In(at, v),
        })
    }

    /// Every vertex, what holds before what it holds.
    pub(crate) fn walk(&self) -> impl Iterator<Item = Place> + '_ {
        (0..self.top.vertices.len() as u32).flat_map(move |v| {
            let place = self.place(v);
            let inside = match place {
                Place::Top(_) => 1,
                Place::In(at, _) => self.inside(at).list.vertices.len() as u32,
            };
            (0..inside).map(move |v| match place {
                Place::Top(_) => place,
                Place::In(at, _) => Place::In(at, v),
            })
        })
    }

    /// A pool by its number through the tree.
    pub(crate) fn pool(&self, place: Place) -> Option<u32> {
        match (place, self.span(place).home) {
            (Place::Top(_), Home::Pool(n)) => Some(n),
            (Place::In(at, _), Home::Pool(n)) => Some(self.nodes[at as usize].pool0 + n),
            _ => None,
        }
    }

    /// The number of a kind, if its pools are summed up.
    pub(crate) fn summed(&self, kind: Word) -> Option<usize> {
        self.summed.binary_search(&kind).ok()
    }

    /// What is known of a pool.
    pub(crate) fn facts(&self, pool: u32) -> &PoolFacts {
        &self.facts[pool as usize]
    }

    /// The number of the kind of a pool, if that is summed up.
    pub(crate) fn summed_kind(&self, pool: u32) -> Option<usize> {
        self.facts(pool).summed.map(usize::from)
    }

    /// The place of a pool.
    pub(crate) fn pool_place(&self, pool: u32) -> Place {
        if let Some(v) = self.top.pools.get(pool as usize) {
            return Place::Top(*v);
        }
        let at = self.nodes.partition_point(|node| node.pool0 <= pool) - 1;
        // Nodes without pools begin where the next one does.
        let node = &self.nodes[at];
        Place::In(at as u32, self.insides[node.inside as usize].list.pools[(pool - node.pool0) as usize])
    }

    /// Pools in a vertex, itself included, by their numbers through the tree.
    pub(crate) fn pools_in(&self, place: Place) -> impl Iterator<Item = u32> + '_ {
        let nodes = if let Place::Top(_) = place { self.nodes_of(place) } else { &[] };
        let of_nodes = nodes.iter().flat_map(|at| {
            let node = &self.nodes[*at as usize];
            node.pool0..node.pool0 + self.insides[node.inside as usize].list.pools.len() as u32
        });
        self.own_pools(place).chain(of_nodes)
    }

    /// The same without those in nodes below.
    pub(crate) fn own_pools(&self, place: Place) -> Range<u32> {
        let (first, last) = self.span(place).pools;
        let pool0 = if let Place::In(at, _) = place { self.nodes[at as usize].pool0 } else { 0 };
        pool0 + first..pool0 + last
    }

    /// Positions of the nodes below a vertex, or of the one it is in.
    pub(crate) fn nodes_of(&self, place: Place) -> &[u32] {
        match place {
            Place::Top(_) => &self.order[self.span(place).cores()],
            Place::In(at, _) => {
                let (first, last) = self.top.vertices[self.nodes[at as usize].top as usize].inside;
                &self.order[first as usize..last as usize]
            }
        }
    }
}
