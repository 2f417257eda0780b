//! `cargo xtask options`: does the test of each of Flux's options fail when the option is taken and ignored?
//!
//! `cli/src/compat.txt` names a test for each option that works. Here each of these tests runs once more, and every
//! `flurm` or `flux` that it calls loses that option on the way: the test must fail, or it looks at nothing that the
//! option does. (A command without options of its own does nothing instead.) Options that read `nothing`, since there
//! is nothing that they could change here, must make no difference.
//!
//! The tests call what `FLURM_BIN` names. That is this program under another name: [`front`] takes the option out and
//! becomes the real binary.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::source::workspace_root;

/// The real binary, for those that are [`front`].
const REAL: &str = "XTASK_OPTIONS_REAL";

/// `COMMAND | WORD`: the row of the table whose option is lost. The tests take it from the environment of the
/// instance that they start, which is not what they look at.
const ROW: &str = "XTASK_OPTIONS_ROW";

/// Commands that leave what follows their first word without a dash to others.
const POSIX: &[&str] = &["run", "submit", "bulksubmit", "batch", "alloc", "start", "exec", "proxy"];

/// Which commands have the options of a row's command.
fn family(command: &str) -> Vec<&str> {
    match command {
        "run" => vec!["run", "submit", "bulksubmit", "batch", "alloc"],
        "batch" => vec!["batch", "alloc"],
        _ => vec![command],
    }
}

/// A row that works.
#[derive(Clone, Copy, Debug)]
struct Row<'a> {
    command: &'a str,
    word: &'a str,
    test: &'a str,
    reads: &'a str,
}

fn table() -> Result<String, String> {
    let file = workspace_root().join("cli/src/compat.txt");
    std::fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))
}

fn rows(table: &str) -> Vec<Row<'_>> {
    let mut command = "";
    let mut rows = Vec::new();
    for line in table.lines() {
        if let Some(name) = line.strip_prefix("= ") {
            command = name;
        } else if let [word, test, reads] = line.split(" | ").collect::<Vec<_>>()[..] {
            rows.push(Row { command, word, test, reads });
        }
    }
    rows
}

/// `-n` and `--ntasks`, and whether a value follows as a word of its own.
fn spellings(word: &str) -> impl Iterator<Item = (&str, bool)> {
    let valued = word.find('=').is_some_and(|at| word.find('[').is_none_or(|optional| at < optional));
    let all = word.split(", ").map(|s| s.split(['=', '[']).next().expect("a split has a first part"));
    all.map(move |spelling| (spelling, valued))
}

/// All options of some commands that the table knows, and whether a value follows.
fn known<'a>(table: &'a str, commands: &[&str]) -> BTreeMap<&'a str, bool> {
    let mut command = "";
    let mut known = BTreeMap::new();
    for line in table.lines() {
        if let Some(name) = line.strip_prefix("= ") {
            command = name;
        } else if commands.contains(&command) {
            known.extend(spellings(line.split(" | ").next().expect("a first part")));
        }
    }
    known
}

/// What is left of the words behind `flurm` when an option is lost; nothing when the command itself is.
fn without(table: &str, words: &[String], command: &str, lost: &str) -> Option<Vec<String>> {
    if command == "COMMANDS" {
        return behind(words, lost).is_none().then(|| words.to_vec());
    }
    let row: Vec<&str> =
        lost.split(", ").map(|s| s.split(['=', '[']).next().expect("a first part")).collect();
    for name in family(command) {
        let (start, options_first) = match name {
            "flux" => (Some(0), true),
            _ => (behind(words, name), POSIX.contains(&name) || name == "kvs"),
        };
        let Some(start) = start else { continue };
        let known =
            known(table, &[name, "run", "submit", "batch"][..if POSIX.contains(&name) { 4 } else { 1 }]);
        let mut left = words[..start].to_vec();
        let mut rest = words[start..].iter();
        while let Some(word) = rest.next() {
            if word == "--" || options_first && !word.starts_with('-') {
                left.push(word.clone());
                break;
            }
            let end = word.find('=').unwrap_or(word.len());
            if word.starts_with("--") {
                let valued = known.get(&word[..end]).is_some_and(|v| *v) && end == word.len();
                let value = if valued { rest.next() } else { None };
                if !row.contains(&&word[..end]) {
                    left.push(word.clone());
                    left.extend(value.cloned());
                }
                continue;
            }
            let Some(letters) = word.strip_prefix('-').filter(|l| !l.is_empty()) else {
                left.push(word.clone());
                continue;
            };
            let mut kept = String::from("-");
            let mut value = None;
            for (at, letter) in letters.char_indices() {
                let spelling = format!("-{letter}");
                let loses = row.contains(&spelling.as_str());
                if !loses {
                    kept.push(letter);
                }
                if known.get(spelling.as_str()).is_some_and(|v| *v) {
                    let inside = &letters[at + letter.len_utf8()..];
                    let next = if inside.is_empty() { rest.next().cloned() } else { None };
                    if !loses {
                        kept.push_str(inside);
                        value = next;
                    }
                    break;
                }
            }
            if kept.len() > 1 {
                left.push(kept);
            }
            left.extend(value);
        }
        left.extend(rest.cloned());
        return Some(left);
    }
    Some(words.to_vec())
}

/// Where the words behind a command begin, when it is the one that is called.
fn behind(words: &[String], command: &str) -> Option<usize> {
    let mut at = 0;
    for name in command.split(' ') {
        // `kvs -N NAME get` has an option between.
        while let Some(word) = words.get(at).filter(|word| word.starts_with('-')) {
            at += if word == "-N" || word == "--namespace" { 2 } else { 1 };
        }
        at += usize::from(words.get(at).is_some_and(|word| word == "mini"));
        if words.get(at)? != name {
            return None;
        }
        at += 1;
    }
    Some(at)
}

/// Whether this process is one that tests call as `flurm`; then it becomes the real one, without the option.
pub fn front() -> Option<String> {
    let real = std::env::var_os(REAL)?;
    let mut all = std::env::args_os();
    let name = all.next().unwrap_or_else(|| OsString::from("flurm"));
    let given: Vec<OsString> = all.collect();
    let text: Option<Vec<String>> = given.iter().map(|word| word.to_str().map(str::to_owned)).collect();
    let row = std::env::var(ROW).ok();
    let row = row.as_deref().and_then(|row| row.split_once(" | "));
    let table = match row.map(|_| table()).transpose() {
        Ok(table) => table.unwrap_or_default(),
        Err(message) => return Some(message),
    };
    let left = match (text, row) {
        (Some(words), Some((command, lost))) => match without(&table, &words, command, lost) {
            Some(left) => left.into_iter().map(OsString::from).collect(),
            None => std::process::exit(0),
        },
        _ => given,
    };
    let error = Command::new(&real).arg0(name).args(left).exec();
    Some(format!("{}: {error}", real.display()))
}

/// Looks at the rows of these commands, or all, with the binary that is built. with the binary that is built.
pub fn main(only: &[&str]) -> Result<u8, String> {
    let root = workspace_root();
    let cargo = |arguments: &[&str]| {
        let ran = Command::new("cargo").args(arguments).current_dir(&root).stderr(Stdio::inherit()).output();
        let ran = ran.map_err(|error| format!("cargo: {error}"))?;
        match ran.status.success() {
            true => Ok(String::from_utf8_lossy(&ran.stdout).into_owned()),
            false => Err("cargo build failed".to_owned()),
        }
    };
    let built = cargo(&["test", "--package", "flurm-tests", "--no-run", "--message-format=json"])?;
    let tests = executables(&built)?;
    let me = std::env::current_exe().map_err(|error| error.to_string())?;
    let real = me.with_file_name("flurm");
    let folder = std::env::temp_dir().join(format!("flurm-options-{}", std::process::id()));
    std::fs::create_dir(&folder).map_err(|error| error.to_string())?;
    let front = folder.join("flurm");
    std::os::unix::fs::symlink(&me, &front).map_err(|error| error.to_string())?;
    let wanted = |row: &Row<'_>| only.is_empty() || only.contains(&row.command) || only.contains(&row.word);
    let table = table()?;
    let wanted: Vec<Row<'_>> = rows(&table).into_iter().filter(wanted).collect();
    let run = |test: &str, lost: Option<String>| {
        let (program, filter) = test_of(test, &tests)?;
        let mut command = Command::new(&program);
        command.args(&filter).env("FLURM_BIN", &front).env(REAL, &real).current_dir(root.join("tests"));
        command.env_remove(ROW).envs(lost.map(|row| (ROW, row)));
        let ran = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        ran.map(|status| status.success()).map_err(|error| format!("{}: {error}", program.display()))
    };
    let mut broken = BTreeSet::new();
    for test in wanted.iter().map(|row| row.test).collect::<BTreeSet<_>>() {
        if !run(test, None)? {
            println!("{test} fails as it is");
            broken.insert(test);
        }
    }
    let judge = |row: &Row<'_>| -> Result<usize, String> {
        if broken.contains(row.test) {
            return Ok(1);
        }
        let passes = run(row.test, Some(format!("{} | {}", row.command, row.word)))?;
        let said = match (passes, row.reads == "nothing") {
            (true, false) => "passes without it",
            (false, true) => "fails without it, and it reads nothing",
            (true, true) | (false, false) => return Ok(0),
        };
        println!("{} {}: {} {said}", row.command, row.word, row.test);
        Ok(1)
    };
    // Each test has brokers of its own, which mostly wait.
    let next = AtomicUsize::new(0);
    let work = || -> Result<usize, String> {
        let mut blind = 0;
        while let Some(row) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
            blind += judge(row)?;
        }
        Ok(blind)
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let blind: usize = std::thread::scope(|scope| {
        let started: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        started
            .into_iter()
            .map(|worker| worker.join().expect("a worker does not panic"))
            .sum::<Result<_, _>>()
    })?;
    std::fs::remove_dir_all(&folder).map_err(|error| error.to_string())?;
    println!("options: {blind} of {} are not looked at", wanted.len());
    Ok(u8::from(blind > 0))
}

/// The test binaries that cargo has built, by name.
fn executables(messages: &str) -> Result<BTreeMap<String, PathBuf>, String> {
    let mut found = BTreeMap::new();
    for line in messages.lines() {
        let message: serde_json::Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
        if let (Some(name), Some(path)) = (message["target"]["name"].as_str(), message["executable"].as_str())
        {
            found.insert(name.to_owned(), PathBuf::from(path));
        }
    }
    Ok(found)
}

/// What runs the tests of a file.
fn test_of(file: &str, tests: &BTreeMap<String, PathBuf>) -> Result<(PathBuf, Vec<String>), String> {
    let path = Path::new(file);
    let stem = path.file_stem().and_then(OsStr::to_str).unwrap_or_default();
    let (name, filter) = match path.extension().and_then(OsStr::to_str) {
        Some("sh") => ("flux_scripts", vec!["--exact".to_owned(), stem.to_owned()]),
        Some("md") => ("docs", Vec::new()),
        _ => (stem, Vec::new()),
    };
    let program = tests.get(name).ok_or_else(|| format!("{file}: there is no test binary {name}"))?;
    Ok((program.clone(), filter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_is_lost_with_its_value_wherever_it_stands() {
        let table = table().expect("the table");
        for (line, command, lost, left) in [
            ("run -n2 a -n 3", "run", "-n, --ntasks=N", Some("run a -n 3")),
            ("submit --ntasks 2 -c2 a", "run", "-n, --ntasks=N", Some("submit -c2 a")),
            ("batch -vn 4 --wrap a", "run", "-v, --verbose", Some("batch -n 4 --wrap a")),
            ("jobs -ano {id}", "jobs", "-o, --format=FMT", Some("jobs -an")),
            ("jobs -no {id}", "jobs", "-n, --no-header", Some("jobs -o {id}")),
            ("job attach -E f1 -l", "job attach", "-l, --label-io", Some("job attach -E f1")),
            ("kvs -N x get -r a", "kvs get", "-r, --raw", Some("kvs -N x get a")),
            ("kvs -N x get -N y a", "kvs", "-N, --namespace=NAME", Some("kvs get -N y a")),
            ("-p -p getattr size", "flux", "-p, --parent", Some("getattr size")),
            ("hostlist -- -e", "hostlist", "-e, --expand", Some("hostlist -- -e")),
            ("watch --since -e", "watch", "--since=WHEN", Some("watch")),
            ("run -S a=1 -Sb b", "run", "-S, --setattr=KEY[=VAL]", Some("run b")),
            ("top --color=always", "top", "--color[=WHEN]", Some("top")),
            ("run getattr size", "COMMANDS", "getattr", Some("run getattr size")),
            ("kvs -N x move a b", "COMMANDS", "kvs move", None),
        ] {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            assert_eq!(
                without(&table, &words, command, lost).map(|words| words.join(" ")).as_deref(),
                left,
                "{line}"
            );
        }
    }
}
