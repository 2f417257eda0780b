//! `flurm pstree`: jobs as a tree, with those of instances below the jobs that these are.

use super::jobs::inside::{self, Inside};
use super::jobs::{COLUMNS, COUNT_DEFAULT, Row, Selection, View, colour_of, say_cut};
use crate::face::Face;
use crate::failure::Failure;
use crate::format::Format;
use crate::out::{self, Color, Script};
use crate::when;
use clap::ValueEnum;
use flurm_client::{blocking, job};
use flurm_types::JobId;
use flurm_wire::job::{JobRecord, List};
use std::io::Write;
use std::rc::Rc;

/// Show jobs and the jobs of instances among them as a tree
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Jobs in any state, with the state behind their names
    #[arg(short, long)]
    all: bool,
    /// At most so many jobs of each instance (1000); 0 for all
    #[arg(short, long, value_name = "N")]
    count: Option<usize>,
    /// Only jobs in these states or with these results
    #[arg(short, long, value_name = "STATE|RESULT,…", value_delimiter = ',')]
    filter: Vec<String>,
    /// Do not cut lines at the edge of the terminal
    #[arg(short, long)]
    long: bool,
    /// At most so many levels of instances
    #[arg(short = 'L', long, value_name = "N")]
    level: Option<usize>,
    /// Put ids before the names of instances
    #[arg(short, long)]
    parent_ids: bool,
    /// Show what is known of each job before the tree
    #[arg(short = 'x', long)]
    extended: bool,
    /// Show this before the tree
    #[arg(short, long, value_enum, value_name = "NAME")]
    details: Option<Details>,
    /// Show this before the tree: a format string as of `jobs -o`
    #[arg(long, value_name = "FORMAT", conflicts_with = "details")]
    detail_format: Option<String>,
    /// No header over what is before the tree
    #[arg(short, long)]
    no_header: bool,
    /// Show each of several equal jobs
    #[arg(short = 'X', long)]
    no_combine: bool,
    /// How jobs are called: a format string as of `jobs -o`
    #[arg(short = 'o', long, value_name = "FORMAT")]
    label: Option<String>,
    /// How jobs are called that are instances
    #[arg(long, value_name = "FORMAT")]
    parent_label: Option<String>,
    /// Leave out the instance around all (the default with ids or details)
    #[arg(long, value_enum, value_name = "WHETHER")]
    skip_root: Option<Whether>,
    /// Narrower lines of the tree
    #[arg(short = 'C', long)]
    compact: bool,
    /// Lines of the tree in ASCII
    #[arg(long)]
    ascii: bool,
    /// Colour lines by what became of the job
    #[arg(long, value_enum, value_name = "WHEN", default_value_t, num_args = 0..=1, require_equals = true, default_missing_value = "always")]
    color: Color,
    /// Begin with these
    #[arg(value_name = "ID")]
    ids: Vec<JobId>,
}

#[derive(Copy, Clone, Debug, Eq, PartialEq, ValueEnum)]
enum Whether {
    Yes,
    No,
}

#[derive(Copy, Clone, Debug, Eq, PartialEq, ValueEnum)]
enum Details {
    /// User, state, sizes and time
    Default,
    /// What instances have
    Resources,
    /// How far instances are
    Progress,
    /// Jobs of instances by what became of them
    Stats,
}

impl Details {
    fn format(self) -> &'static str {
        match self {
            Details::Default => {
                "{id.f58:>12} {username:<8.8} {status_abbrev:>2.2} {ntasks:>6h} {nnodes:>6h} {runtime!F:>8h}"
            }
            Details::Resources => {
                "{id.f58:>12} {instance.resources.all.nnodes:>5h} {instance.resources.all.ncores:>6h} \
                 {instance.resources.all.ngpus:>5h} {instance.resources.free.ncores:>6h}"
            }
            Details::Progress => {
                "{id.f58:>12} {ntasks:>6h} {nnodes:>6h} {instance.progress!P:>8h} {instance.utilization!P:>8h} \
                 {runtime!F:>8h}"
            }
            Details::Stats => {
                "{id.f58:>12} {instance.stats:>28.28h} {instance.utilization!P:>8h} {runtime!F:>8h}"
            }
        }
    }
}

/// How a name is called that stands for no job.
const ROOT: &str = ".";

/// A job with those below it, or the instance around all.
struct Node {
    row: Option<Row>,
    label: String,
    below: Vec<Node>,
    /// So many of them.
    times: usize,
}

/// A line: of which job, the tree, the label.
struct Line<'a> {
    row: Option<&'a Row>,
    text: String,
}

/// What draws the tree: before one of several, before the last one, and below these.
type Branches = [&'static str; 4];

impl Args {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        let details = match (&self.detail_format, self.details, self.extended) {
            (Some(format), ..) => Some(format.as_str()),
            (None, Some(details), _) => Some(details.format()),
            (None, None, true) => Some(Details::Default.format()),
            (None, None, false) => None,
        };
        let details = details.map(|format| Format::parse(format, COLUMNS)).transpose()?;
        let label =
            self.label.as_deref().unwrap_or(if self.all { "{name}:{status_abbrev}" } else { "{name}" });
        let parent = self.parent_label.as_deref().unwrap_or(label);
        let parent = if self.parent_ids { format!("{{id.f58}} {parent}") } else { parent.to_owned() };
        let tree = Tree {
            face,
            args: &self,
            inside: details.as_ref().is_some_and(|d| d.needs(|name| name.starts_with("instance."))),
            combine: !self.no_combine && details.is_none(),
            label: Format::parse(label, COLUMNS)?,
            parent: Format::parse(&parent, COLUMNS)?,
            list: List {
                max_entries: self.count.unwrap_or(COUNT_DEFAULT),
                ..Selection::of_states(self.filter.clone()).list(self.all)?
            },
            view: Rc::new(View::new(when::now(), Script::of_locale())),
        };
        let client = face.connect()?;
        let here = match self.ids.is_empty() {
            true => tree.list.clone(),
            false => List { ids: self.ids.clone(), ..List::default() },
        };
        let mut nodes = tree.nodes(&client, &here, 0)?;
        let skip = match self.skip_root {
            Some(whether) => whether == Whether::Yes,
            None => !self.ids.is_empty() || details.is_some(),
        };
        if !skip {
            nodes = vec![Node { row: None, label: ROOT.to_owned(), below: nodes, times: 1 }];
        }
        let branches: Branches = match (self.ascii || tree.view.script.ascii, self.compact) {
            (false, false) => ["├── ", "└── ", "│   ", "    "],
            (false, true) => ["├─", "└─", "│ ", "  "],
            (true, false) => ["|-- ", "`-- ", "|   ", "    "],
            (true, true) => ["|-", "`-", "| ", "  "],
        };
        let mut lines = Vec::new();
        nodes.iter().for_each(|node| lines_of(node, ["", ""], branches, &mut lines));
        self.print(&lines, details.as_ref())?;
        Ok(0)
    }

    fn print(&self, lines: &[Line<'_>], details: Option<&Format<Row>>) -> std::io::Result<()> {
        let max = if self.long { None } else { out::columns() };
        let colour = self.color.wanted();
        let mut out = out::stdout();
        let rows: Vec<&Row> = lines.iter().filter_map(|line| line.row).collect();
        let (header, rows) = details.map(|details| details.lines(&rows)).unwrap_or_default();
        // A line of no job has blanks of that width.
        let width = header.chars().count();
        let mut rows = rows.into_iter();
        if details.is_some() && !self.no_header {
            writeln!(out, "{}", header.trim_end())?;
        }
        for Line { row, text } in lines {
            let before = row.and_then(|_| rows.next());
            let line = match details {
                None => text.clone(),
                Some(_) => format!("{:<width$}  {text}", before.unwrap_or_default()),
            };
            let cut: String = line.trim_end().chars().take(max.unwrap_or(usize::MAX)).collect();
            match row.and_then(|row| colour_of(row.status())).filter(|_| colour) {
                Some(colour) => writeln!(out, "{colour}{cut}\x1b[0m")?,
                None => writeln!(out, "{cut}")?,
            }
        }
        out.flush()
    }
}

/// How a tree is made.
struct Tree<'a> {
    face: &'a Face,
    args: &'a Args,
    label: Format<Row>,
    parent: Format<Row>,
    list: List,
    view: Rc<View>,
    /// Something is shown of what goes on inside instances.
    inside: bool,
    /// Equal jobs become one line.
    combine: bool,
}

impl Tree<'_> {
    fn nodes(&self, client: &blocking::Client, list: &List, level: usize) -> Result<Vec<Node>, Failure> {
        let listed = client.run(async |client| job::list(&client, list).await)?;
        say_cut(self.face, "pstree", self.args.count, &listed);
        let mut nodes: Vec<Node> = Vec::with_capacity(listed.jobs.len());
        for job in listed.jobs {
            let node = self.node(job, level);
            let known = nodes.iter_mut().find(|known| {
                self.combine && known.below.is_empty() && node.below.is_empty() && known.label == node.label
            });
            match known {
                Some(known) => known.times += 1,
                None => nodes.push(node),
            }
        }
        Ok(nodes)
    }

    fn node(&self, job: JobRecord, level: usize) -> Node {
        let client = inside::connect(&job);
        let mut row = Row { job, view: self.view.clone(), inside: None };
        let label = if client.is_some() { self.parent.text(&row) } else { self.label.text(&row) };
        let mut below = Vec::new();
        let descends = self.args.level.is_none_or(|max| level < max);
        match client {
            Some(Ok(client)) => {
                if self.inside {
                    row.inside = Inside::ask(&client).ok();
                }
                if descends {
                    // It may have ended a moment ago.
                    below = self.nodes(&client, &self.list, level + 1).unwrap_or_default();
                }
            }
            Some(Err(failure)) if descends => {
                failure.within(&self.view.script.id(row.job.id)).say();
            }
            Some(Err(_)) | None => {}
        }
        Node { row: Some(row), label, below, times: 1 }
    }
}

fn lines_of<'a>(node: &'a Node, before: [&str; 2], branches: Branches, lines: &mut Vec<Line<'a>>) {
    let [own, under] = before;
    let label = match node.times {
        1 => node.label.clone(),
        times => format!("{times}*[{}]", node.label),
    };
    lines.push(Line { row: node.row.as_ref(), text: format!("{own}{label}") });
    for (at, child) in node.below.iter().enumerate() {
        let (branch, below) = match at + 1 == node.below.len() {
            true => (branches[1], branches[3]),
            false => (branches[0], branches[2]),
        };
        lines_of(child, [&format!("{under}{branch}"), &format!("{under}{below}")], branches, lines);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_tree_lead_to_its_leaves() {
        let leaf = |label: &str, times| Node { row: None, label: label.into(), below: Vec::new(), times };
        let inner =
            Node { row: None, label: "flurm".into(), below: vec![leaf("sleep", 5), leaf("x", 1)], times: 1 };
        let root = Node { row: None, label: ROOT.into(), below: vec![inner, leaf("last", 1)], times: 1 };
        let mut lines = Vec::new();
        lines_of(&root, ["", ""], ["|-- ", "`-- ", "|   ", "    "], &mut lines);
        let lines: Vec<&str> = lines.iter().map(|line| &*line.text).collect();
        assert_eq!(lines, [".", "|-- flurm", "|   |-- 5*[sleep]", "|   `-- x", "`-- last"]);
    }

    #[test]
    fn details_can_be_read() {
        for details in Details::value_variants() {
            assert!(Format::parse(details.format(), COLUMNS).is_ok(), "{details:?}");
        }
    }
}
