//! Test: the tables of options in `docs/cli.md` are those of the definition. `UPDATE_DOCS=1` rewrites them.

use std::fmt::Write as _;
use std::path::Path;

const BEGIN: &str = "<!-- options: ";
const END: &str = "<!-- end -->\n";

/// Options of these describe a job; the page has them once.
const SAME: [(&str, &[&str]); 6] = [
    ("submit", &["run"]),
    ("bulksubmit", &["submit", "run"]),
    ("retry", &["submit"]),
    ("batch", &["run"]),
    ("alloc", &["batch", "run"]),
    ("jobspec emit", &["run"]),
];

fn find<'a>(root: &'a clap::Command, path: &str) -> Option<&'a clap::Command> {
    path.split(' ').filter(|name| !name.is_empty()).try_fold(root, |at, name| at.find_subcommand(name))
}

/// Visible commands that do something themselves, with the words that lead to them.
fn leaves(command: &clap::Command, path: &str, out: &mut Vec<String>) {
    for inner in command.get_subcommands().filter(|c| !c.is_hide_set() && c.get_name() != "help") {
        let path = format!("{path} {}", inner.get_name()).trim_start().to_owned();
        if inner.has_subcommands() {
            leaves(inner, &path, out);
        } else {
            out.push(path);
        }
    }
}

fn table(root: &clap::Command, path: &str) -> String {
    let command = find(root, path).unwrap_or_else(|| panic!("docs/cli.md: there is no command `{path}`"));
    let known = SAME.iter().filter(|(name, _)| *name == path).flat_map(|(_, known)| known.iter());
    let known: Vec<_> = known.filter_map(|name| find(root, name)).collect();
    let is_known = |arg: &clap::Arg| {
        known.iter().any(|known| {
            known.get_arguments().any(|a| a.get_id() == arg.get_id() && a.get_help() == arg.get_help())
        })
    };
    let mut rows = String::new();
    let shown = |a: &clap::Arg| !a.is_hide_set() && !a.is_global_set() && a.get_id() != "help";
    for arg in command.get_arguments().filter(|a| shown(a) && !is_known(a)) {
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        writeln!(rows, "| `{}` | {} |", signature(arg), help.replace('|', "\\|")).expect("a String takes it");
    }
    if rows.is_empty() { String::new() } else { format!("| | |\n| --- | --- |\n{rows}") }
}

/// `-n, --ntasks=N`, or the name of a positional argument.
fn signature(arg: &clap::Arg) -> String {
    let names: Vec<&str> =
        arg.get_value_names().unwrap_or_default().iter().map(|name| name.as_str()).collect();
    let value = names.join(" ");
    let takes = arg.get_action().takes_values();
    let short = arg.get_short().map(|c| format!("-{c}"));
    let long = arg.get_long().map(|long| format!("--{long}"));
    let text = match (short, long) {
        (None, None) => return if value.is_empty() { arg.get_id().to_string() } else { value },
        (Some(short), None) => short,
        (None, Some(long)) => long,
        (Some(short), Some(long)) => format!("{short}, {long}"),
    };
    let may_be_alone = arg.get_num_args().is_some_and(|range| range.min_values() == 0);
    let text = match (takes, may_be_alone) {
        (false, _) => text,
        (true, true) => format!("{text}[={value}]"),
        (true, false) => format!("{text}={value}"),
    };
    text.replace('|', "\\|")
}

#[test]
fn the_page_lists_every_command_with_its_options() {
    let mut root = super::definition();
    root.build();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/cli.md");
    let page = std::fs::read_to_string(&file).expect("docs/cli.md");
    let (mut fresh, mut rest, mut described) = (String::new(), page.as_str(), Vec::new());
    while let Some((before, after)) = rest.split_once(BEGIN) {
        let (path, after) = after.split_once(" -->\n").expect("the end of the marker");
        let (_, after) = after.split_once(END).expect("the end of the table");
        let table = table(&root, path);
        write!(fresh, "{before}{BEGIN}{path} -->\n{table}{END}").expect("a String takes it");
        described.push(path.to_owned());
        rest = after;
    }
    fresh.push_str(rest);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&file, &fresh).expect("docs/cli.md is ours");
    } else {
        assert!(fresh == page, "docs/cli.md is behind: UPDATE_DOCS=1 cargo test -p flurm page");
    }
    let mut there = Vec::new();
    leaves(&root, "", &mut there);
    there.retain(|path| !described.contains(path));
    assert_eq!(there, [] as [&str; 0], "not in docs/cli.md");
}
