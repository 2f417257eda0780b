//! `{{tag}}` in file names, arguments and the environment.

use flurm_types::{Encoding, JobId};

/// What tags stand for: the job, this node of it, and maybe one task.
#[derive(Debug, Copy, Clone)]
pub struct Tags<'a> {
    pub id: JobId,
    pub name: &'a str,
    pub nnodes: usize,
    pub ntasks: u32,
    pub node: Node<'a>,
    pub tmpdir: &'a str,
    /// Which one of many copies the job is, if it is one of them.
    pub copy: Option<u32>,
    /// The first job of the array that the job belongs to; itself without one.
    pub array: JobId,
    /// What Slurm's commands call the job, and the array; 0 without one.
    pub number: u32,
    pub array_number: u32,
    /// Global and local rank.
    pub task: Option<(u32, u32)>,
}

#[derive(Debug, Copy, Clone)]
pub struct Node<'a> {
    /// Counts from 0 within the job.
    pub id: u32,
    pub name: &'a str,
    pub rank: u32,
    pub cores: &'a str,
    pub gpus: &'a str,
    pub ncores: usize,
}

/// The tag that nobody knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{{{{{0}}}}}` is not a tag")]
pub struct Unknown(pub String);

/// Whether every tag of a file name means something for some job; `of_task`: each task may have a file of its own.
///
/// # Errors
/// A tag that nobody knows.
pub fn check(text: &str, of_task: bool) -> Result<(), Unknown> {
    let node = Node { id: 0, name: "", rank: 0, cores: "", gpus: "", ncores: 0 };
    let task = of_task.then_some((0, 0));
    let (id, copy) = (JobId(0), Some(0));
    let (number, array_number) = (0, 0);
    let tags = Tags {
        id,
        name: "",
        nnodes: 0,
        ntasks: 0,
        node,
        tmpdir: "",
        copy,
        array: id,
        number,
        array_number,
        task,
    };
    tags.render(text).map(drop)
}

/// No number of 32 bits is longer.
const WIDTH_MAX: usize = 10;

impl Tags<'_> {
    fn value(&self, tag: &str) -> Option<String> {
        let ids = [("array.id", self.array), ("id", self.id), ("jobid", self.id)];
        if let Some((id, encoding)) = ids.iter().find_map(|(name, id)| Some((id, tag.strip_prefix(name)?))) {
            return Some(id.encode(match encoding {
                "" | ".f58" => Encoding::F58,
                ".f58plain" => Encoding::F58Plain,
                ".dec" => Encoding::Dec,
                ".hex" => Encoding::Hex,
                ".dothex" => Encoding::Dothex,
                ".kvs" => Encoding::Kvs,
                ".words" => Encoding::Words,
                _ => return None,
            }));
        }
        if let Some(number) = self.number(tag) {
            return Some(number);
        }
        Some(match tag {
            "name" => self.name.to_owned(),
            "nnodes" => self.nnodes.to_string(),
            "size" | "ntasks" => self.ntasks.to_string(),
            "node.id" => self.node.id.to_string(),
            "node.name" => self.node.name.to_owned(),
            "node.broker_rank" => self.node.rank.to_string(),
            "node.cores" => self.node.cores.to_owned(),
            "node.gpus" => self.node.gpus.to_owned(),
            "node.ncores" => self.node.ncores.to_string(),
            "tmpdir" => self.tmpdir.to_owned(),
            // For those who write braces that are meant for somebody else.
            "brace" => "{".to_owned(),
            "cc" => self.copy?.to_string(),
            "task.id" | "task.rank" | "taskid" => self.task?.0.to_string(),
            "task.index" | "task.localid" => self.task?.1.to_string(),
            _ => return None,
        })
    }

    /// Numbers with zeros in front up to a width: `number.6`, `task.id.3`.
    fn number(&self, tag: &str) -> Option<String> {
        let (name, width) = match tag.rsplit_once('.') {
            Some((name, digits)) if digits != "number" => {
                (name, digits.parse().ok().filter(|n| *n <= WIDTH_MAX)?)
            }
            Some(_) | None => (tag, 0_usize),
        };
        let number = match name {
            "array.number" if self.array_number != 0 => self.array_number,
            "number" | "array.number" => self.number,
            "node.id" => self.node.id,
            "task.id" => self.task?.0,
            _ => return None,
        };
        Some(format!("{number:0width$}"))
    }

    /// The text with its tags replaced.
    ///
    /// # Errors
    /// A tag that nobody knows, or one of a task where there is none.
    pub fn render(&self, text: &str) -> Result<String, Unknown> {
        let mut unknown = None;
        let out = self.replace(text, |tag| {
            unknown.get_or_insert_with(|| Unknown(tag.to_owned()));
        });
        match unknown {
            Some(unknown) => Err(unknown),
            None => Ok(out),
        }
    }

    /// The same for arguments and variables, where braces may be meant for somebody else: what is no tag of ours
    /// stays as it is.
    pub fn render_known(&self, text: &str) -> String {
        self.replace(text, |_| {})
    }

    fn replace(&self, text: &str, mut unknown: impl FnMut(&str)) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            out.push_str(before);
            let Some((tag, behind)) = after.split_once("}}") else {
                out.push_str("{{");
                rest = after;
                continue;
            };
            match self.value(tag.trim()) {
                Some(value) => out.push_str(&value),
                None => {
                    unknown(tag.trim());
                    out.push_str("{{");
                    out.push_str(tag);
                    out.push_str("}}");
                }
            }
            rest = behind;
        }
        out.push_str(rest);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_replaced_and_unknown_ones_are_refused_or_left() {
        let node = Node { id: 1, name: "c7", rank: 5, cores: "0-3", gpus: "", ncores: 4 };
        let tags = Tags {
            id: JobId(1),
            name: "sim",
            nnodes: 2,
            ntasks: 8,
            node,
            tmpdir: "/t",
            copy: Some(7),
            array: JobId(0),
            number: 12,
            array_number: 11,
            task: Some((3, 1)),
        };
        for (text, wanted) in [
            ("out.{{id.dec}}.{{task.id}}", "out.1.3"),
            ("{{ name }}-{{node.name}}-{{node.id}}", "sim-c7-1"),
            ("{{taskid}}{{task.localid}}/{{size}}", "31/8"),
            ("{{id}}", "ƒ2"),
            ("o-{{array.id.dec}}_{{cc}}", "o-0_7"),
            ("{{array.id}}", "ƒ1"),
            ("{{number}}-{{array.number}}", "12-11"),
            ("{{number.4}}_{{array.number.3}}", "0012_011"),
            ("{{tmpdir}}/a{{", "/t/a{{"),
            ("c{{cc}}", "c7"),
            ("{{brace}}{{brace}}id}}-{{brace}}{{number}}", "{{id}}-{12"),
            ("{{task.id.3}}{{node.id.2}}", "00301"),
            ("plain", "plain"),
        ] {
            assert_eq!(tags.render(text).as_deref(), Ok(wanted), "{text}");
        }
        assert!(tags.render("{{number.x}}").is_err() && tags.render("{{number.99}}").is_err());
        assert_eq!(tags.render("{{nobody}}"), Err(Unknown("nobody".into())));
        assert_eq!(tags.render_known("{{nobody}} {{name}}"), "{{nobody}} sim");
        assert!(Tags { task: None, ..tags }.render("{{task.id}}").is_err());
        assert!(Tags { copy: None, ..tags }.render("{{cc}}").is_err());
    }
}
