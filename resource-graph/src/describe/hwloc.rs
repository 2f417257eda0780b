//! What hwloc saves of one machine as XML (`lstopo file.xml`), versions 1 and 2 of the format.
//!
//! Only objects and their attributes matter here, so this is no reader of XML in general: documents with a DTD of their
//! own, entities other than the five that XML has, or text between tags are none that hwloc writes.

use super::build::Builder;
use super::{Description, DescriptionError, POOLS_MAX, SIZE_MAX, fail};
use petgraph::graph::NodeIndex;
use std::collections::BTreeMap;

/// How deep objects may nest; hwloc itself has a dozen levels.
const DEPTH_MAX: usize = 64;

/// A tag with its attributes.
struct Tag<'a> {
    name: &'a str,
    attributes: BTreeMap<&'a str, String>,
    /// `</name>`.
    closes: bool,
    /// `<name/>`.
    alone: bool,
}

impl Tag<'_> {
    fn get(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }
}

impl Description {
    /// Reads the XML that hwloc writes; the machine becomes a node with this name.
    ///
    /// # Errors
    /// The line where the text is not what hwloc writes.
    pub fn from_hwloc(text: &str, host: &str) -> Result<Description, DescriptionError> {
        let mut reader = Reader { tree: Builder::new(), counts: BTreeMap::new(), beside: false };
        let root = reader.put(None, "cluster", "cluster0", 0);
        // The places of the objects that are open; none for those that are looked through.
        let mut open: Vec<Option<NodeIndex>> = Vec::new();
        let mut rest = text;
        while let Some(start) = rest.find('<') {
            let line =
                || format!("line {}", text[..text.len() - rest.len() + start].matches('\n').count() + 1);
            let (tag, behind) = tag(&rest[start..]).or_else(|rule| fail(line(), rule))?;
            rest = behind;
            let Some(tag) = tag else { continue };
            if tag.name == "topology" && !tag.closes {
                reader.beside = !tag.get("version").is_empty();
            }
            if tag.name != "object" {
                continue;
            }
            if tag.closes {
                if open.pop().is_none() {
                    return fail(line(), "an object ends that has not begun");
                }
                continue;
            }
            if reader.tree.len() >= POOLS_MAX || open.len() >= DEPTH_MAX {
                return fail(line(), "too many objects");
            }
            let above = open.iter().rev().find_map(|place| *place);
            let inside = if tag.alone { None } else { next_type(rest) };
            let place = reader
                .object(&tag, above.unwrap_or(root), host, inside)
                .or_else(|rule| fail(line(), rule))?;
            if !tag.alone {
                open.push(place);
            }
        }
        if !open.is_empty() {
            return fail("the end", "an object has not ended");
        }
        if reader.tree.len() == 1 {
            return fail("the end", "no object of type Machine");
        }
        reader.tree.finish()
    }
}

struct Reader {
    tree: Builder,
    /// How many of a kind there are, which numbers them.
    counts: BTreeMap<&'static str, i64>,
    /// Do domains of memory stand beside their cores, as they do since version 2, the first that says its number?
    beside: bool,
}

impl Reader {
    /// The place of an object, if it is of a kind that we keep. `inside` is the type of the first one in it.
    ///
    /// Version 2 has a domain of memory beside the cores that are near to it, in what holds both: that is made a domain
    /// here. Version 1 has those cores in it.
    fn object(
        &mut self,
        tag: &Tag<'_>,
        above: NodeIndex,
        host: &str,
        inside: Option<&str>,
    ) -> Result<Option<NodeIndex>, String> {
        let inside = inside.filter(|_| self.beside || tag.get("type") == "NUMANode");
        let kind = match tag.get("type") {
            "Machine" if !self.counts.contains_key("node") => "node",
            "Machine" => return Err("a machine inside a machine".to_owned()),
            "Package" | "Socket" => "socket",
            "Core" => "core",
            "PU" => "pu",
            "NUMANode" if inside.is_none() => "memory",
            "NUMANode" => "numanode",
            "Group" | "Die" if inside == Some("NUMANode") => "numanode",
            "L3Cache" => "l3cache",
            "Cache" if tag.get("depth") == "3" => "l3cache",
            // Each card once, by the interface that computes with it.
            "OSDev" if is_card(tag.get("name")) => "gpu",
            _ => return Ok(None),
        };
        if self.tree.len() == 1 && kind != "node" {
            return Err("the first object is not of type Machine".to_owned());
        }
        let id = self.count(kind);
        let name = if kind == "node" { host.to_owned() } else { format!("{kind}{id}") };
        let at = self.put(Some(above), kind, &name, id);
        match (kind, inside) {
            ("memory", _) => self.memory(at, tag)?,
            ("numanode", _) if tag.get("type") == "NUMANode" => {
                let memory = self.next(at, "memory");
                self.memory(memory, tag)?;
            }
            ("node" | "socket" | "l3cache", Some("NUMANode")) => return Ok(Some(self.next(at, "numanode"))),
            _ => {}
        }
        Ok(Some(at))
    }

    fn count(&mut self, kind: &'static str) -> i64 {
        *self.counts.entry(kind).and_modify(|n| *n += 1).or_insert(0)
    }

    /// One more of a kind.
    fn next(&mut self, above: NodeIndex, kind: &'static str) -> NodeIndex {
        let id = self.count(kind);
        self.put(Some(above), kind, &format!("{kind}{id}"), id)
    }

    /// How much memory a domain has.
    fn memory(&mut self, at: NodeIndex, tag: &Tag<'_>) -> Result<(), String> {
        let bytes: u64 = match tag.get("local_memory") {
            "" => 0,
            digits => {
                let bytes = digits.parse().ok().filter(|bytes| bytes >> 20 <= SIZE_MAX);
                bytes.ok_or_else(|| format!("`{digits}` is no number of bytes"))?
            }
        };
        self.tree.set_size(at, bytes >> 20, "MiB");
        Ok(())
    }

    fn put(&mut self, above: Option<NodeIndex>, kind: &str, name: &str, id: i64) -> NodeIndex {
        self.tree.put_as(above, kind, kind, name, id, above.map(|_| 0))
    }
}

/// Is this what a driver calls a whole card: `cuda0`, `rsmi0`, `ze0`?
fn is_card(name: &str) -> bool {
    let number = ["cuda", "rsmi", "ze"].iter().find_map(|driver| name.strip_prefix(driver));
    number.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
}

/// The type of the object that comes next, if one opens before another closes.
fn next_type(text: &str) -> Option<&str> {
    let mut rest = text;
    loop {
        rest = &rest[rest.find('<')? + 1..];
        if rest.starts_with("/object") {
            return None;
        }
        if let Some(attributes) = rest.strip_prefix("object") {
            let kind = attributes[..attributes.find('>')?].split_once(" type=")?.1;
            return kind.get(1..)?.split(['"', '\'']).next();
        }
    }
}

/// The tag that the text opens with, if it is one with a name, and what is behind it.
fn tag(text: &str) -> Result<(Option<Tag<'_>>, &str), String> {
    for (open, close) in [("<?", "?>"), ("<!--", "-->"), ("<!", ">")] {
        if let Some(inside) = text.strip_prefix(open) {
            let end = inside.find(close).ok_or_else(|| format!("`{open}` without `{close}`"))?;
            return Ok((None, &inside[end + close.len()..]));
        }
    }
    let inside = &text[1..];
    let (closes, inside) = inside.strip_prefix('/').map_or((false, inside), |inside| (true, inside));
    let end = inside.find(|c: char| c.is_whitespace() || c == '>' || c == '/').ok_or("a tag does not end")?;
    let (name, mut left) = inside.split_at(end);
    let mut attributes = BTreeMap::new();
    loop {
        left = left.trim_start();
        if let Some(behind) = left.strip_prefix("/>") {
            return Ok((Some(Tag { name, attributes, closes, alone: true }), behind));
        }
        if let Some(behind) = left.strip_prefix('>') {
            return Ok((Some(Tag { name, attributes, closes, alone: false }), behind));
        }
        let (key, value) = left.split_once('=').ok_or("a tag does not end")?;
        let quote =
            value.chars().next().filter(|c| ['"', '\''].contains(c)).ok_or("a value without quotes")?;
        let (value, behind) = value[1..].split_once(quote).ok_or("a quote does not end")?;
        attributes.insert(key.trim_end(), unescaped(value)?);
        left = behind;
    }
}

fn unescaped(value: &str) -> Result<String, String> {
    if !value.contains('&') {
        return Ok(value.to_owned());
    }
    let mut out = String::new();
    let mut parts = value.split('&');
    out.push_str(parts.next().unwrap_or(""));
    for part in parts {
        let (name, rest) = part.split_once(';').ok_or("`&` without `;`")?;
        let sign = match name {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            "apos" => '\'',
            _ => name
                .strip_prefix('#')
                .and_then(|digits| match digits.strip_prefix('x') {
                    Some(hex) => u32::from_str_radix(hex, 16).ok(),
                    None => digits.parse().ok(),
                })
                .and_then(char::from_u32)
                .ok_or_else(|| format!("unknown entity `&{name};`"))?,
        };
        out.push(sign);
        out.push_str(rest);
    }
    Ok(out)
}
