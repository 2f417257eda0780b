//! What a jobspec asks for in numbers: totals for every shape, all of it for the simple shapes of V1 (RFC 25).

use crate::error::{JobspecError, Place};
use crate::limits::{SLOTS_MAX, TASKS_MAX};
use crate::resource::{Kind, Resource};
use crate::task::TaskCount;
use crate::{Jobspec, Task};

/// A request of one of V1's shapes: slots of cores and GPUs, on nodes or anywhere.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct Request {
    /// So many nodes; absent when the scheduler may choose.
    pub nodes: Option<u32>,
    /// Slots on all nodes together.
    pub slots: u32,
    /// Present with `nodes`.
    pub slots_per_node: Option<u32>,
    pub cores_per_slot: u32,
    pub gpus_per_slot: u32,
    /// Whole nodes, not shared with other jobs.
    pub exclusive: bool,
    /// Tasks on all slots together. With tasks on each node or core, and only then, R may make it more.
    pub ntasks: u32,
}

/// The vertices of a V1 shape.
struct Shape<'a> {
    node: Option<&'a Resource>,
    slot: &'a Resource,
    core: &'a Resource,
    gpu: Option<&'a Resource>,
}

/// The vertices, if the tree is `[node >] slot > core [+ gpu]` with plain counts.
fn shape(resources: &[Resource]) -> Result<Shape<'_>, &'static str> {
    let [top] = resources else { return Err("V1 has one resource at the top") };
    let (node, slot) = match (&top.kind, top.with.as_slice()) {
        (Kind::Node, [slot]) => (Some(top), slot),
        (Kind::Node, _) => return Err("a node of V1 holds one slot"),
        _ => (None, top),
    };
    if slot.kind != Kind::Slot {
        return Err("V1 has a slot at the top or in a node");
    }
    let mut inner: Vec<&Resource> = slot.with.iter().collect();
    inner.sort_by_key(|resource| &resource.kind);
    let (core, gpu) = match inner.as_slice() {
        [core] if core.kind == Kind::Core => (*core, None),
        [core, gpu] if core.kind == Kind::Core && gpu.kind == Kind::Gpu => (*core, Some(*gpu)),
        _ => return Err("a slot of V1 holds cores, and GPUs if wanted"),
    };
    let parts = || [Some(slot), Some(core), node, gpu].into_iter().flatten();
    if parts().any(|part| part.count.fixed().is_none()) {
        return Err("a count of V1 is a number");
    }
    if parts().any(|part| part.id.is_some()) {
        return Err("V1 has no ids");
    }
    if [Some(core), gpu]
        .into_iter()
        .flatten()
        .any(|part| !part.with.is_empty() || part.exclusive == Some(false))
    {
        return Err("what is in a slot of V1 is whole and its own");
    }
    Ok(Shape { node, slot, core, gpu })
}

impl Jobspec {
    /// The request in numbers, if its shape is one of V1's.
    #[must_use]
    pub fn request(&self) -> Option<Request> {
        let shape = shape(&self.resources).ok()?;
        let [task] = self.tasks.as_slice() else { return None };
        let number = |resource: &Resource| resource.count.min();
        let nodes = shape.node.map(number);
        let in_node = number(shape.slot);
        let (cores, gpus) = (number(shape.core), shape.gpu.map_or(0, number));
        // Totals were checked against their limits when the jobspec was read.
        let slots = in_node * nodes.unwrap_or(1);
        let ntasks = u32::try_from(self.tasks_of(task)).expect("fewer than TASKS_MAX");
        Some(Request {
            nodes,
            slots,
            slots_per_node: nodes.map(|_| in_node),
            cores_per_slot: cores,
            gpus_per_slot: gpus,
            exclusive: shape.node.is_some_and(|node| node.is_exclusive(false))
                || shape.slot.exclusive == Some(true),
            ntasks,
        })
    }

    /// Is it in the simple subset that every Flux tool reads (RFC 25)?
    #[must_use]
    pub fn is_v1(&self) -> bool {
        self.beyond_v1().is_none()
    }

    /// The first rule of V1 (RFC 25) that it goes beyond.
    #[must_use]
    pub fn beyond_v1(&self) -> Option<&'static str> {
        let shape = match shape(&self.resources) {
            Ok(shape) => shape,
            Err(rule) => return Some(rule),
        };
        let [task] = self.tasks.as_slice() else { return Some("V1 has one entry of tasks") };
        if task.attributes.is_some() || task.distribution.is_some() {
            return Some("a task of V1 has no attributes and no distribution");
        }
        let nodes = shape.node.map_or(1, |node| node.count.min());
        let slots = nodes * shape.slot.count.min();
        match task.count {
            TaskCount::PerSlot(1) => None,
            TaskCount::PerSlot(_) => Some("V1 has one task in a slot"),
            TaskCount::Total(total) if (nodes..=slots).contains(&total) => None,
            TaskCount::Total(_) => Some("V1 has no fewer tasks than nodes and no more than slots"),
            TaskCount::PerResource { .. } => Some("V1 does not count tasks per resource"),
        }
    }

    /// How many tasks the (first) entry wants, with the shell option `per-resource` taken into account.
    #[must_use]
    pub fn task_count(&self) -> TaskCount {
        self.attributes.per_resource().unwrap_or_else(|| self.tasks[0].count.clone())
    }

    /// Slots with the least counts that will do; more may be given when a count is a range.
    #[must_use]
    pub fn slots_min(&self) -> u64 {
        let slots = |task: &Task| self.path(&task.slot).expect("every task's slot was found").slots();
        self.tasks.iter().map(slots).fold(0, u64::saturating_add)
    }

    /// Tasks with the least counts that will do.
    #[must_use]
    pub fn tasks_min(&self) -> u64 {
        self.tasks.iter().map(|task| self.tasks_of(task)).fold(0, u64::saturating_add)
    }

    fn tasks_of(&self, task: &Task) -> u64 {
        let path = self.path(&task.slot).expect("every task's slot was found");
        let count = self.attributes.per_resource().unwrap_or_else(|| task.count.clone());
        match count {
            TaskCount::PerSlot(count) => path.slots().saturating_mul(count.into()),
            TaskCount::Total(count) => count.into(),
            // A kind that the request does not name, such as the node of a bare slot: one at least.
            TaskCount::PerResource { kind, count } => {
                path.resources(&kind).unwrap_or(1).saturating_mul(count.into())
            }
        }
    }

    /// From the top down to the slot with this label.
    fn path(&self, label: &str) -> Option<Path<'_>> {
        fn find<'a>(resources: &'a [Resource], label: &str, above: &mut Vec<&'a Resource>) -> bool {
            resources.iter().any(|resource| {
                above.push(resource);
                let is_it = resource.kind == Kind::Slot && resource.label.as_deref() == Some(label);
                let found = is_it || find(&resource.with, label, above);
                if !found {
                    above.pop();
                }
                found
            })
        }
        let mut path = Vec::new();
        find(&self.resources, label, &mut path).then_some(Path(path))
    }

    /// The rules that need resources and tasks side by side.
    pub(crate) fn check(&self) -> Result<(), JobspecError> {
        let top = Place::Top;
        let tasks = top.key("tasks");
        for (index, task) in self.tasks.iter().enumerate() {
            let place = tasks.item(index);
            let Some(path) = self.path(&task.slot) else {
                return place.key("slot").fail(format!("no slot is labelled `{}`", task.slot));
            };
            if path.slots() > u64::from(SLOTS_MAX) {
                return top.key("resources").fail(format!("more than {SLOTS_MAX} slots"));
            }
            if let TaskCount::PerResource { kind, .. } = &task.count
                && path.resources(kind).is_none()
            {
                return place.key("count").fail(format!("no {kind} is in or around the slot"));
            }
        }
        if self.tasks_min() > u64::from(TASKS_MAX) {
            return tasks.fail(format!("more than {TASKS_MAX} tasks"));
        }
        Ok(())
    }
}

/// The way from the top to a slot, both included.
struct Path<'a>(Vec<&'a Resource>);

/// Resources that a chain of vertices stands for.
fn product(chain: &[&Resource]) -> u64 {
    chain.iter().fold(1, |product, resource| product.saturating_mul(resource.count.min().into()))
}

impl Path<'_> {
    fn slots(&self) -> u64 {
        product(&self.0)
    }

    /// Resources of a kind in all slots, or else around them.
    fn resources(&self, kind: &Kind) -> Option<u64> {
        fn within(resources: &[Resource], kind: &Kind) -> u64 {
            resources.iter().fold(0, |sum, resource| {
                let one = u64::from(resource.kind == *kind).saturating_add(within(&resource.with, kind));
                sum.saturating_add(one.saturating_mul(resource.count.min().into()))
            })
        }
        let slot = self.0.last().expect("a path ends in its slot");
        match within(&slot.with, kind) {
            0 => {
                let at = self.0.iter().rposition(|resource| resource.kind == *kind)?;
                Some(product(&self.0[..=at]))
            }
            in_slot => Some(in_slot.saturating_mul(self.slots())),
        }
    }
}
