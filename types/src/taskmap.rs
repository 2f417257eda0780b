//! Which task runs on which node of a job (RFC 34), in its JSON, raw and PMI forms.

use crate::{Idset, SyntaxError};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Most tasks of a map that is read: four times the largest example of the RFC.
pub const MAX_TASKS: u64 = 1 << 22;
/// Most nodes of a map that is read.
const MAX_NODES: u64 = 1 << 20;
/// Most blocks of a map that is read.
const MAX_BLOCKS: usize = 1 << 20;

/// A regular piece of a map: `repeat` times, each of `nnodes` nodes from `nodeid` on gets the next `ppn` tasks.
#[derive(Debug, Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Serialize, Deserialize)]
#[serde(from = "(u32, u32, u32, u32)", into = "(u32, u32, u32, u32)")]
pub struct Block {
    /// First node.
    pub nodeid: u32,
    /// Number of nodes.
    pub nnodes: u32,
    /// Tasks each node gets in one turn.
    pub ppn: u32,
    /// Number of turns.
    pub repeat: u32,
}

impl From<(u32, u32, u32, u32)> for Block {
    fn from((nodeid, nnodes, ppn, repeat): (u32, u32, u32, u32)) -> Block {
        Block { nodeid, nnodes, ppn, repeat }
    }
}

impl From<Block> for (u32, u32, u32, u32) {
    fn from(b: Block) -> (u32, u32, u32, u32) {
        (b.nodeid, b.nnodes, b.ppn, b.repeat)
    }
}

impl Block {
    fn ntasks(self) -> u64 {
        u64::from(self.nnodes).saturating_mul(u64::from(self.ppn)).saturating_mul(u64::from(self.repeat))
    }
}

/// The tasks of a job over its nodes (RFC 34). Without blocks the map is unknown.
#[derive(Debug, Clone, Default, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct TaskMap {
    blocks: Vec<Block>,
}

impl TaskMap {
    /// The map nobody knows.
    #[must_use]
    pub const fn unknown() -> TaskMap {
        TaskMap { blocks: Vec::new() }
    }

    /// Is nothing known?
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.blocks.is_empty()
    }

    /// The blocks.
    #[must_use]
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// Consecutive tasks on each node: node `i` gets `counts[i]` of them.
    #[must_use]
    pub fn block(counts: &[u32]) -> TaskMap {
        let mut map = TaskMap::unknown();
        for (node, count) in (0..).zip(counts) {
            map.append(node, *count);
        }
        map
    }

    /// `stride` tasks to each node in turn, until node `i` has `counts[i]` of them.
    #[must_use]
    pub fn cyclic(counts: &[u32], stride: u32) -> TaskMap {
        let mut map = TaskMap::unknown();
        let mut left = counts.to_vec();
        let stride = stride.max(1);
        while left.iter().any(|count| *count > 0) {
            for (node, count) in (0..).zip(&mut left) {
                let given = stride.min(*count);
                map.append(node, given);
                *count -= given;
            }
        }
        map
    }

    /// The map in which node `i` has the tasks of `nodes[i]`.
    ///
    /// # Errors
    /// When the sets overlap or leave a task out.
    pub fn from_nodes(nodes: &[Idset]) -> Result<TaskMap, SyntaxError> {
        let mut runs: Vec<(u32, u32, u32)> = Vec::new();
        for (node, tasks) in (0..).zip(nodes) {
            runs.extend(tasks.ranges().map(|(lo, hi)| (lo, hi, node)));
        }
        runs.sort_unstable();
        let mut map = TaskMap::unknown();
        let mut next = 0;
        for (lo, hi, node) in runs {
            if lo != next {
                let rule =
                    format!("task {} is on {} nodes", lo.min(next), if lo < next { "two" } else { "no" });
                let raw: Vec<String> = nodes.iter().map(Idset::to_string).collect();
                return Err(SyntaxError::new("task map", &raw.join(";"), 0, rule));
            }
            map.append(node, hi - lo + 1);
            next = hi + 1;
        }
        Ok(map)
    }

    /// Gives the next `count` tasks to a node.
    fn append(&mut self, node: u32, count: u32) {
        if count == 0 {
            return;
        }
        match self.blocks.last_mut() {
            Some(last) if last.repeat == 1 && last.ppn == count && last.nodeid + last.nnodes == node => {
                last.nnodes += 1;
            }
            _ => self.blocks.push(Block { nodeid: node, nnodes: 1, ppn: count, repeat: 1 }),
        }
        // A full turn over the same nodes is a repetition of the turn before.
        if let [.., before, last] = self.blocks.as_mut_slice()
            && (before.nodeid, before.nnodes, before.ppn) == (last.nodeid, last.nnodes, last.ppn)
        {
            before.repeat += 1;
            self.blocks.pop();
        }
    }

    /// Number of tasks.
    #[must_use]
    pub fn ntasks(&self) -> u64 {
        self.blocks.iter().map(|block| block.ntasks()).sum()
    }

    /// One more than the highest node.
    #[must_use]
    pub fn nnodes(&self) -> u32 {
        self.blocks.iter().map(|block| block.nodeid + block.nnodes).max().unwrap_or(0)
    }

    /// Runs of consecutive tasks in order: (node, first task, number of tasks).
    fn runs(&self) -> impl Iterator<Item = (u32, u32, u32)> + '_ {
        let mut next = 0;
        self.blocks
            .iter()
            .flat_map(|block| {
                (0..block.repeat)
                    .flat_map(|_| block.nodeid..block.nodeid + block.nnodes)
                    .map(|node| (node, block.ppn))
            })
            .map(move |(node, count)| {
                let first = next;
                next += count;
                (node, first, count)
            })
    }

    /// The tasks of every node, by node.
    #[must_use]
    pub fn nodes(&self) -> Vec<Idset> {
        let mut nodes = vec![Idset::new(); self.nnodes() as usize];
        for (node, first, count) in self.runs() {
            nodes[node as usize].union_with(&Idset::from_range(first..=first + count - 1));
        }
        nodes
    }

    /// The node of a task.
    #[must_use]
    pub fn node_of(&self, task: u32) -> Option<u32> {
        self.runs().find(|(_, first, count)| task >= *first && task - first < *count).map(|(node, _, _)| node)
    }

    /// The raw form: the tasks of each node, joined by `;`.
    #[must_use]
    pub fn raw(&self) -> String {
        self.nodes().iter().map(Idset::to_string).collect::<Vec<_>>().join(";")
    }

    /// The form of `PMI_process_mapping`, which knows no repetition; empty when nothing is known.
    #[must_use]
    pub fn pmi(&self) -> String {
        use fmt::Write as _;
        if self.is_unknown() {
            return String::new();
        }
        let mut out = String::from("(vector");
        for block in &self.blocks {
            for _ in 0..block.repeat {
                write!(out, ",({},{},{})", block.nodeid, block.nnodes, block.ppn)
                    .expect("a String takes every write");
            }
        }
        out.push(')');
        out
    }

    fn checked(blocks: Vec<Block>, text: &str) -> Result<TaskMap, SyntaxError> {
        let fail = |rule: String| Err(SyntaxError::new("task map", text, 0, rule));
        if blocks.len() > MAX_BLOCKS {
            return fail(format!("more than {MAX_BLOCKS} blocks"));
        }
        let mut total = 0_u64;
        for (n, block) in blocks.iter().enumerate() {
            if block.nnodes == 0 || block.ppn == 0 || block.repeat == 0 {
                return fail(format!("block {n}: nodes, tasks and repetitions must be at least 1"));
            }
            if u64::from(block.nodeid) + u64::from(block.nnodes) > MAX_NODES {
                return fail(format!("block {n}: more than {MAX_NODES} nodes"));
            }
            total = total.saturating_add(block.ntasks());
        }
        if total > MAX_TASKS {
            return fail(format!("more than {MAX_TASKS} tasks"));
        }
        Ok(TaskMap { blocks })
    }
}

impl fmt::Display for TaskMap {
    /// The JSON array.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (n, b) in self.blocks.iter().enumerate() {
            let comma = if n > 0 { "," } else { "" };
            write!(f, "{comma}[{},{},{},{}]", b.nodeid, b.nnodes, b.ppn, b.repeat)?;
        }
        f.write_str("]")
    }
}

impl FromStr for TaskMap {
    type Err = SyntaxError;

    /// Reads the JSON array, bare or wrapped in `{"version":1,"map":…}`, the raw form and the PMI form.
    fn from_str(text: &str) -> Result<TaskMap, SyntaxError> {
        let start = text.trim_start();
        match start.as_bytes().first() {
            None => Ok(TaskMap::unknown()),
            Some(b'[') => TaskMap::checked(json(text)?, text),
            Some(b'{') => {
                #[derive(Deserialize)]
                struct Wrapped {
                    version: u64,
                    map: Vec<Block>,
                }
                let wrapped: Wrapped = json(text)?;
                if wrapped.version != 1 {
                    return Err(SyntaxError::new("task map", text, 0, "`version` must be 1"));
                }
                TaskMap::checked(wrapped.map, text)
            }
            Some(b'(') => TaskMap::checked(pmi_blocks(text)?, text),
            Some(_) => {
                let mut nodes = Vec::new();
                let (mut at, mut total) = (0, 0_u64);
                for set in text.split(';') {
                    let tasks: Idset = set.parse().map_err(|error: SyntaxError| {
                        SyntaxError::new("task map", text, at + error.column - 1, error.rule)
                    })?;
                    total += tasks.len() as u64;
                    if total > MAX_TASKS || nodes.len() as u64 >= MAX_NODES {
                        return Err(SyntaxError::new("task map", text, at, "too many tasks or nodes"));
                    }
                    nodes.push(tasks);
                    at += set.len() + 1;
                }
                TaskMap::from_nodes(&nodes)
            }
        }
    }
}

fn json<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T, SyntaxError> {
    serde_json::from_str(text).map_err(|error| {
        let at = if error.line() == 1 { error.column().saturating_sub(1) } else { 0 };
        SyntaxError::new("task map", text, at, "expected `[[nodeid,nnodes,ppn,repeat],…]` of whole numbers")
    })
}

/// `(vector,(0,2,4),(2,1,1))`, with blanks allowed between the signs.
fn pmi_blocks(text: &str) -> Result<Vec<Block>, SyntaxError> {
    let fail =
        |at: usize| SyntaxError::new("task map", text, at, "expected `(vector,(nodeid,nnodes,ppn),…)`");
    let mut at = 0;
    let mut eat = |wanted: &str| {
        at += text[at..].len() - text[at..].trim_start().len();
        let found = text[at..].starts_with(wanted);
        if found {
            at += wanted.len();
        }
        (found, at)
    };
    let mut blocks = Vec::new();
    for sign in ["(", "vector"] {
        let (found, at) = eat(sign);
        if !found {
            return Err(fail(at));
        }
    }
    while eat(",").0 {
        let mut numbers = [0_u32; 3];
        for (n, number) in numbers.iter_mut().enumerate() {
            let (found, start) = eat(if n == 0 { "(" } else { "," });
            if !found {
                return Err(fail(start));
            }
            let (_, start) = eat(" ");
            let digits = text[start..].bytes().take_while(u8::is_ascii_digit).count();
            *number = text[start..start + digits].parse().map_err(|_| fail(start))?;
            eat(&text[start..start + digits]);
        }
        let (found, at) = eat(")");
        if !found {
            return Err(fail(at));
        }
        if blocks.len() >= MAX_BLOCKS {
            return Err(fail(at));
        }
        blocks.push(Block { nodeid: numbers[0], nnodes: numbers[1], ppn: numbers[2], repeat: 1 });
    }
    let (closed, at) = eat(")");
    if !closed || !text[at..].trim().is_empty() {
        return Err(fail(at));
    }
    Ok(join_repeats(blocks))
}

/// Joins equal neighbours, which is how the PMI form writes a repetition.
fn join_repeats(blocks: Vec<Block>) -> Vec<Block> {
    let mut out: Vec<Block> = Vec::with_capacity(blocks.len());
    for block in blocks {
        match out.last_mut() {
            Some(last) if (last.nodeid, last.nnodes, last.ppn) == (block.nodeid, block.nnodes, block.ppn) => {
                last.repeat += 1;
            }
            _ => out.push(block),
        }
    }
    out
}

impl Serialize for TaskMap {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.blocks.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for TaskMap {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<TaskMap, D::Error> {
        let blocks = Vec::<Block>::deserialize(deserializer)?;
        TaskMap::checked(blocks, "").map_err(serde::de::Error::custom)
    }
}
