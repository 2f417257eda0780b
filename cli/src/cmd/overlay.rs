//! `flurm overlay`: the tree of brokers and its health.

use crate::face::Face;
use crate::failure::Failure;
use crate::out::{self, Color, Script};
use crate::when;
use clap::Subcommand;
use flurm_wire::Dest;
use flurm_wire::overlay::{Health, Status, TreeStatus};
use std::io::Write;
use std::time::Duration;

/// The tree of brokers
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the health of each broker and of what hangs below it
    Status(StatusArgs),
}

#[derive(Debug, clap::Args)]
struct StatusArgs {
    /// Print the tree as JSON
    #[arg(long)]
    json: bool,
    /// Say only how the whole tree is
    #[arg(long, conflicts_with = "json")]
    summary: bool,
    /// Only what is not well
    #[arg(long, conflicts_with = "json")]
    down: bool,
    /// Wait until the whole tree is so
    #[arg(short, long, value_name = "STATE", value_parser = health)]
    wait: Option<Health>,
    /// Say for how long it has been so
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Draw no tree
    #[arg(long)]
    no_pretty: bool,
    #[arg(short = 'L', long, value_enum, value_name = "WHEN", default_value_t, num_args = 0..=1, require_equals = true, default_missing_value = "always")]
    color: Color,
}

impl Args {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        let Command::Status(args) = self.command;
        let client = face.connect()?;
        let mut tree = client.call(Dest::Leader, &Status {})?;
        while args.wait.is_some_and(|wanted| tree.status != wanted) {
            // The tree has no events of its own.
            std::thread::sleep(PAUSE);
            tree = client.call(Dest::Leader, &Status {})?;
        }
        if args.json {
            out::json(&tree)?;
        } else if args.summary {
            writeln!(out::stdout(), "{}", name(tree.status))?;
        } else {
            let paper = Paper { args: &args, script: Script::of_locale(), color: args.color.wanted() };
            let mut text = String::new();
            if !args.down || tree.status != Health::Full {
                paper.draw(&tree, "", "", &mut text);
            }
            out::stdout().write_all(text.as_bytes())?;
        }
        Ok(0)
    }
}

/// Between two looks at a tree that is not as it should be.
const PAUSE: Duration = Duration::from_millis(200);

fn health(text: &str) -> Result<Health, String> {
    let all = [Health::Full, Health::Partial, Health::Degraded, Health::Lost, Health::Offline];
    let names = || all.map(name).join(", ");
    all.into_iter().find(|health| name(*health) == text).ok_or_else(|| format!("expected one of {}", names()))
}

struct Paper<'a> {
    args: &'a StatusArgs,
    script: Script,
    color: bool,
}

impl Paper<'_> {
    /// One line for the node, after `head`; what hangs below it begins with `indent`.
    fn draw(&self, node: &TreeStatus, head: &str, indent: &str, text: &mut String) {
        let (on, off) = if self.color { (colour(node.status), "\x1b[0m") } else { ("", "") };
        text.push_str(&format!("{head}{} {}: {on}{}{off}", node.rank, node.host, name(node.status)));
        if self.args.verbose > 0 {
            text.push_str(&format!(" for {}", when::rough(node.for_secs)));
        }
        text.push('\n');
        let shown = |child: &&TreeStatus| !self.args.down || child.status != Health::Full;
        let mut children = node.children.iter().filter(shown).peekable();
        while let Some(child) = children.next() {
            let last = children.peek().is_none();
            let (branch, below) = if self.args.no_pretty { ("", "") } else { self.script.branch(last) };
            self.draw(child, &format!("{indent}{branch}"), &format!("{indent}{below}"), text);
        }
    }
}

fn name(health: Health) -> &'static str {
    match health {
        Health::Full => "full",
        Health::Partial => "partial",
        Health::Degraded => "degraded",
        Health::Lost => "lost",
        Health::Offline => "offline",
    }
}

fn colour(health: Health) -> &'static str {
    match health {
        Health::Full => "",
        Health::Partial | Health::Degraded => "\x1b[33m",
        Health::Lost | Health::Offline => "\x1b[31m",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flurm_types::Rank;

    #[test]
    fn the_tree_is_drawn_with_its_branches() {
        let node = |rank, status, children| TreeStatus {
            rank: Rank(rank),
            host: format!("n{rank}"),
            status,
            for_secs: 1.0,
            children,
        };
        let leaf = node(3, Health::Lost, Vec::new());
        let tree = node(
            0,
            Health::Degraded,
            vec![node(1, Health::Degraded, vec![leaf]), node(2, Health::Full, Vec::new())],
        );
        let args = StatusArgs {
            wait: None,
            json: false,
            summary: false,
            down: false,
            verbose: 0,
            no_pretty: false,
            color: Color::Never,
        };
        let mut text = String::new();
        Paper { args: &args, script: Script { ascii: false }, color: false }.draw(&tree, "", "", &mut text);
        assert_eq!(text, "0 n0: degraded\n├─ 1 n1: degraded\n│  └─ 3 n3: lost\n└─ 2 n2: full\n");
        let args = StatusArgs { down: true, ..args };
        text.clear();
        Paper { args: &args, script: Script { ascii: true }, color: false }.draw(&tree, "", "", &mut text);
        assert_eq!(text, "0 n0: degraded\n`- 1 n1: degraded\n   `- 3 n3: lost\n");
    }
}
