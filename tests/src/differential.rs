//! One table of command lines, run twice: against a real slurmctld and against an instance. Here: the table, the script
//! that runs its rows, and what two runs have to have in common. `tests/slurm/differential.txt` says how rows look.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

/// What is done with a row's command.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Job,
    Env,
    Files,
    Each,
    Run,
    Setup,
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Row {
    kind: Kind,
    name: String,
    command: String,
    words: Vec<String>,
}

/// A difference that is known.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Known {
    check: String,
    lab: String,
    ours: String,
}

/// What `tests/slurm/differential.txt` says.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Row>,
    known: Vec<Known>,
}

/// What has no equal on two machines at two times, whatever its value.
const UNLIKE: [&str; 3] = ["SLURM_CONF", "SLURM_TASK_PID", "SLURM_JOB_START_TIME"];

/// Row by row until two ends of a pipe: `name | command | words`, where the command may have pipes.
fn three(line: &str) -> (&str, &str, &str) {
    let (name, rest) = line.split_once('|').unwrap_or_else(|| panic!("no `|` in {line}"));
    let (command, words) = rest.rsplit_once('|').unwrap_or((rest, ""));
    (name.trim(), command.trim(), words.trim())
}

impl Table {
    /// # Panics
    /// When a line is not a row.
    pub fn parse(text: &str) -> Self {
        let mut table = Table { rows: Vec::new(), known: Vec::new() };
        for line in text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
            let (word, rest) = line.split_once(' ').unwrap_or_else(|| panic!("{line}"));
            let (name, command, words) = three(rest.trim());
            let kind = match word {
                "~" => {
                    let (lab, ours) = command.split_once("=>").unwrap_or_else(|| panic!("no `=>`: {line}"));
                    assert!(!words.is_empty(), "a difference has a reason: {line}");
                    let check = name.replacen(' ', "/", 1);
                    table.known.push(Known { check, lab: lab.trim().into(), ours: ours.trim().into() });
                    continue;
                }
                "job" => Kind::Job,
                "env" => Kind::Env,
                "files" => Kind::Files,
                "each" => Kind::Each,
                "run" => Kind::Run,
                "setup" => Kind::Setup,
                _ => panic!("{line}"),
            };
            let (name, command, words) = match kind {
                Kind::Job | Kind::Env | Kind::Files | Kind::Each => (name, command, words),
                Kind::Run => (name, rest.split_once('|').map_or("", |(_, shell)| shell.trim()), ""),
                Kind::Setup => ("setup", rest.trim().trim_start_matches('|').trim(), ""),
            };
            let words = words.split_whitespace().map(str::to_owned).collect();
            let row = Row { kind, name: name.to_owned(), command: command.to_owned(), words };
            assert!(table.rows.iter().all(|other| other.name != row.name), "twice: {}", row.name);
            table.rows.push(row);
        }
        table
    }

    /// Writes what the driver runs into a folder: a script for each row, and the names of those that go one after the
    /// other and of those that go side by side.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        let (mut quiet, mut beside) = (String::new(), String::new());
        for row in &self.rows {
            let rows = folder.join(&row.name);
            fs::create_dir_all(&rows)?;
            fs::write(rows.join("row.sh"), row.script())?;
            let list = if matches!(row.kind, Kind::Each | Kind::Setup) { &mut quiet } else { &mut beside };
            let _ = writeln!(list, "{}", row.name);
        }
        // The views need what the setup makes.
        let setup = self.rows.iter().find(|row| row.kind == Kind::Setup).map(|_| "setup\n");
        fs::write(
            folder.join("in-order.list"),
            setup.unwrap_or_default().to_owned() + &quiet.replace("setup\n", ""),
        )?;
        fs::write(folder.join("beside.list"), beside)?;
        fs::write(folder.join("driver.sh"), DRIVER)
    }

    /// What two runs found, check by check.
    ///
    /// # Panics
    /// When a run is not complete.
    pub fn compare(&self, lab: &Path, ours: &Path) -> Vec<Check> {
        let mut checks = Vec::new();
        for row in &self.rows {
            let (lab, ours) = (row.results(lab), row.results(ours));
            for (word, lab) in lab {
                let none = if ours.is_empty() { NOTHING } else { MISSING };
                let ours = ours.get(&word).cloned().unwrap_or_else(|| none.to_owned());
                let name = if word.is_empty() { row.name.clone() } else { format!("{}/{word}", row.name) };
                checks.push(Check { name, lab, ours });
            }
        }
        checks
    }

    /// What is wrong with a comparison: differences that nobody knows, and known ones that are not there.
    pub fn wrong(&self, checks: &[Check]) -> Vec<String> {
        let known: BTreeMap<&str, &Known> =
            self.known.iter().map(|known| (known.check.as_str(), known)).collect();
        let mut wrong = Vec::new();
        for check in checks {
            match known.get(check.name.as_str()) {
                None if check.lab != check.ours => wrong.push(check.to_string()),
                Some(known) if (known.lab != check.lab) || (known.ours != check.ours) => {
                    wrong.push(format!("not the known difference any more: {check}"));
                }
                None | Some(_) => {}
            }
        }
        let names: BTreeSet<&str> = checks.iter().map(|check| check.name.as_str()).collect();
        let gone = self.known.iter().filter(|known| !names.contains(known.check.as_str()));
        wrong.extend(gone.map(|known| format!("a difference of no check: {}", known.check)));
        wrong
    }
}

/// Where a job has no such thing.
const MISSING: &str = "(missing)";
/// Where there is no job.
const NOTHING: &str = "(nothing)";

/// One thing that was compared, normalised.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Check {
    pub name: String,
    pub lab: String,
    pub ours: String,
}

impl Check {
    pub fn agrees(&self) -> bool {
        self.lab == self.ours
    }
}

impl std::fmt::Display for Check {
    /// As a row of the table that makes it known.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "~ {} | {} => {} | ", self.name.replacen('/', " ", 1), self.lab, self.ours)
    }
}

/// Runs the rows: `driver.sh FOLDER`. Who is to answer is said by the environment.
const DRIVER: &str = r#"#!/bin/bash
cd "$1" || exit 1
# Numbers that are like no other number.
A=$(sbatch --parsable --hold -J numbers -a 0-999 -o /dev/null --wrap true) && scancel "$A"
export OLD=$(sbatch --parsable --hold -J old -o /dev/null --wrap true)
export BAR=inherited TZ=UTC
row() {
  cd "$1" && { timeout "${ROW_MAX:-100}" bash row.sh >stdout 2>stderr </dev/null; echo $? >code; }
}
export -f row
while read -r name; do (row "$name"); done <in-order.list
xargs -P "${SIDE_BY_SIDE:-6}" -I{} bash -c 'row {}' <beside.list
scancel --me
: >ready
"#;

/// A batch script that says what it finds.
const ENV_SCRIPT: &str = r"#!/bin/sh
env | grep -E '^(SLURM|SBATCH|FOO|BAR)' >env
echo $SLURM_JOB_ID >>ids
: >done
";

/// One that says something on either stream, and what it was given.
const FILES_SCRIPT: &str = r"#!/bin/sh
echo to stdout
echo to stderr >&2
cat
";

impl Row {
    fn script(&self) -> String {
        let Row { command, .. } = self;
        match self.kind {
            Kind::Job => format!(
                "A=$(sbatch --parsable --hold {command} --wrap true) || exit\necho ${{A%%;*}} >ids\nscontrol show job $A\n"
            ),
            Kind::Env => format!(
                "cat >job.sh <<'EOF'\n{ENV_SCRIPT}EOF\nA=$(sbatch --parsable -o /dev/null {command} job.sh) || exit\n\
                 echo $A >>ids\nfor i in $(seq 600); do [ ! -e done ] || break; sleep .1; done\ncat env\n"
            ),
            Kind::Files => format!(
                "cat >job.sh <<'EOF'\n{FILES_SCRIPT}EOF\nmkdir sub; echo words >given; echo before >kept; ls >was\n\
                 A=$(sbatch --parsable -W {command} job.sh); echo code $?; echo $A >ids; seq -f '%.0f' $A $((A + 3)) >>ids\n\
                 for f in $(ls; ls sub/*); do grep -qxF \"$f\" was && [ $f != kept ] || \
                 case $f in was|ids|sub|sub:) ;; *) echo \"== $f\"; cat $f ;; esac; done\n"
            ),
            Kind::Each => {
                self.words.iter().fold(String::new(), |mut script, word| {
                    let line = command.replace("{}", word);
                    // As many at a time as two processors like.
                    let _ =
                        writeln!(script, "{{ ( {line} ) >'out {word}' 2>&1; echo $? >>'out {word}'; }} &");
                    let _ = writeln!(script, "[ $(jobs -pr | wc -l) -lt 6 ] || wait -n");
                    script
                }) + "wait\n"
            }
            Kind::Run if command.contains("$J") => format!(
                "J=$(sbatch --parsable --hold -o /dev/null --wrap true) || exit\necho $J >ids\n{command}\n"
            ),
            Kind::Run | Kind::Setup => format!("{command}\n"),
        }
    }

    /// By word, normalised. Of the row as a whole the word is empty.
    fn results(&self, folder: &Path) -> BTreeMap<String, String> {
        let here = folder.join(&self.name);
        let read = |name: &str| fs::read(here.join(name)).unwrap_or_default();
        let text = |name: &str| String::from_utf8_lossy(&read(name)).into_owned();
        let ids: BTreeSet<u64> = text("ids").lines().filter_map(|id| id.trim().parse().ok()).collect();
        let plain = |found: &str| normal(found, &ids, &here.display().to_string());
        match self.kind {
            Kind::Setup => BTreeMap::new(),
            Kind::Job => {
                let fields = fields(&text("stdout"));
                let none = if fields.is_empty() { NOTHING } else { MISSING };
                let of = |word: &String| fields.get(word).map_or(none.to_owned(), |value| plain(value));
                self.words.iter().map(|word| (word.clone(), of(word))).collect()
            }
            Kind::Env => {
                let stdout = text("stdout");
                let set: BTreeMap<&str, &str> =
                    stdout.lines().filter_map(|line| line.split_once('=')).collect();
                let none = if set.is_empty() { NOTHING } else { MISSING };
                let of = |name: &str| set.get(name).map_or(none.to_owned(), |value| plain(value));
                let every = self.words == ["*"];
                let names: Vec<&str> = if every {
                    set.keys().copied().filter(|name| !UNLIKE.contains(name)).collect()
                } else {
                    self.words.iter().map(String::as_str).collect()
                };
                names.into_iter().map(|name| (name.to_owned(), of(name))).collect()
            }
            Kind::Each => {
                let of = |word: &String| plain(&text(&format!("out {word}")));
                self.words.iter().map(|word| (word.clone(), of(word))).collect()
            }
            Kind::Files | Kind::Run => {
                let all = format!("{}{}{}", text("stdout"), text("stderr"), text("code"));
                BTreeMap::from([(String::new(), plain(&all))])
            }
        }
    }
}

/// `Key=value` of `scontrol show`; a value goes on until the next key.
fn fields(text: &str) -> BTreeMap<String, String> {
    let mut found: Vec<(String, String)> = Vec::new();
    for word in text.split_whitespace() {
        let key = word.split_once('=').filter(|(key, _)| key.starts_with(|c: char| c.is_ascii_uppercase()));
        match (key, found.last_mut()) {
            (Some((key, value)), _) => found.push((key.to_owned(), value.to_owned())),
            (None, Some((_, value))) => {
                value.push(' ');
                value.push_str(word);
            }
            (None, None) => {}
        }
    }
    found.into_iter().collect()
}

/// Without what differs by nature, on one line.
fn normal(text: &str, ids: &BTreeSet<u64>, here: &str) -> String {
    let text = text.replace(here, "DIR");
    let mut out = String::new();
    let mut rest = text.as_str();
    while let Some(c) = rest.chars().next() {
        let (taken, put) = time(rest)
            .or_else(|| date(rest))
            .or_else(|| nodes(rest))
            .or_else(|| number(rest, ids))
            .unwrap_or_else(|| (c.len_utf8(), c.to_string()));
        // A name is taken whole, so that digits in it are not ids.
        out.push_str(&put);
        rest = &rest[taken..];
    }
    for cluster in ["stb", "flurm"] {
        out = replace_word(&out, cluster, "CLUSTER");
    }
    let lines: Vec<&str> = out.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    lines.join(" / ").replace(" | ", " ¦ ")
}

fn replace_word(text: &str, word: &str, by: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(word) {
        let (before, after) = (&rest[..at], &rest[at + word.len()..]);
        let part = |c: char| c.is_ascii_alphanumeric() || c == '/' || c == '.';
        let inside = before.ends_with(part) || after.starts_with(part);
        out.push_str(before);
        out.push_str(if inside { word } else { by });
        rest = after;
    }
    out + rest
}

/// `2026-11-22T02:59:12`.
fn time(text: &str) -> Option<(usize, String)> {
    shaped(text, "0000-00-00T00:00:00").then(|| (19, "TIME".to_owned()))
}

/// `Sun Nov 22 03:04:19 2026`.
fn date(text: &str) -> Option<(usize, String)> {
    shaped(text, "Aaa Aaa 00 00:00:00 0000").then(|| (24, "DATE".to_owned()))
}

/// A text that begins with letters and digits where these are, and with the same elsewhere. A digit may be a blank.
fn shaped(text: &str, shape: &str) -> bool {
    text.len() >= shape.len()
        && text.bytes().zip(shape.bytes()).all(|(byte, shape)| match shape {
            b'0' => byte.is_ascii_digit() || byte == b' ',
            b'A' => byte.is_ascii_uppercase(),
            b'a' => byte.is_ascii_lowercase(),
            other => byte == other,
        })
}

/// `node2`, `node[1-3]`: which ones is chance, how many is not.
fn nodes(text: &str) -> Option<(usize, String)> {
    let rest = text.strip_prefix("node")?;
    if let Some((inside, _)) = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        let count: u32 = inside
            .split(',')
            .map(|range| {
                let (low, high) = range.split_once('-').unwrap_or((range, range));
                high.parse::<u32>().unwrap_or(0).saturating_sub(low.parse().unwrap_or(0)) + 1
            })
            .sum();
        return Some((inside.len() + 6, format!("{count}xNODE")));
    }
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    (digits > 0).then(|| (4 + digits, "NODE".to_owned()))
}

/// An id.
fn number(text: &str, ids: &BTreeSet<u64>) -> Option<(usize, String)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number = &text[..digits];
    let is = number.parse().is_ok_and(|id: u64| ids.contains(&id) || FREE.contains(&id));
    (digits > 0).then(|| (digits, if is { "ID".to_owned() } else { number.to_owned() }))
}

/// Numbers of jobs in both runs, see [`DRIVER`].
const FREE: std::ops::Range<u64> = 1000..3000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_by_nature_is_left_out_and_nothing_else() {
        let ids = BTreeSet::from([17]);
        let normal = |text: &str| normal(text, &ids, "/home/u/lab/x");
        for (text, expected) in [
            ("Submitted batch job 17", "Submitted batch job ID"),
            ("slurm-00017.out 170", "slurm-ID.out 170"),
            ("/home/u/lab/x/o.17", "DIR/o.ID"),
            ("node2 node[1-3] node[1,3]", "NODE 3xNODE 2xNODE"),
            ("at 2026-11-22T02:59:12.", "at TIME."),
            ("Sun Nov  2 03:04:19 2026", "DATE"),
            ("stb /home/flurm/a flurm", "CLUSTER /home/flurm/a CLUSTER"),
            ("a\n\nb | c \n", "a / b ¦ c"),
            ("5017 9", "5017 9"),
        ] {
            assert_eq!(normal(text), expected);
        }
    }

    #[test]
    fn fields_are_taken_apart_at_their_keys() {
        let found = fields("JobId=1 JobName=a b\n   ReqB:S:C:T=0:0:*:* Comment=x y=z\n   Power=\n");
        assert_eq!(found["JobName"], "a b");
        assert_eq!(found["ReqB:S:C:T"], "0:0:*:*");
        assert_eq!(found["Comment"], "x y=z");
        assert_eq!(found["Power"], "");
    }

    #[test]
    fn a_row_has_its_command_with_pipes_and_a_difference_is_wrong_when_it_is_gone() {
        let table = Table::parse(
            "# words\njob one | -n3 | A B\nrun two | a | b\neach three | x | y {} | c\n~ one A | 1 => 2 | why\n",
        );
        assert_eq!(table.rows[1].command, "a | b");
        assert_eq!(
            (table.rows[2].command.as_str(), &table.rows[2].words[..]),
            ("x | y {}", &["c".to_owned()][..])
        );
        let check = |name: &str, lab: &str, ours: &str| Check {
            name: name.to_owned(),
            lab: lab.to_owned(),
            ours: ours.to_owned(),
        };
        assert_eq!(table.wrong(&[check("one/A", "1", "2"), check("one/B", "3", "3")]), [""; 0]);
        assert_eq!(table.wrong(&[check("one/A", "1", "1")]).len(), 1);
        assert_eq!(table.wrong(&[check("one/A", "1", "2"), check("one/B", "3", "4")]).len(), 1);
        assert_eq!(table.wrong(&[]).len(), 1);
    }
}
