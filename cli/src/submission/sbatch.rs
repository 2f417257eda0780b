//! `#SBATCH` lines of a script, as options of `flurm batch`: what can be taken over is, and it is said what is not.

use crate::face::Face;
use crate::failure::{Failure, renamed};

/// What the lines come down to.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Taken {
    /// Options of `flurm batch`.
    pub words: Vec<String>,
    /// Options that have no equal, each with the reason.
    pub left: Vec<(String, &'static str)>,
    /// There are such lines.
    pub is_there: bool,
}

impl Taken {
    /// Tells the user what has become of the lines of his script.
    pub fn say(&self, name: &str) {
        if !self.words.is_empty() {
            let quoted = |word: &String| match word.contains(char::is_whitespace) {
                true => format!("'{word}'"),
                false => word.clone(),
            };
            let words: Vec<String> = self.words.iter().map(quoted).collect();
            crate::say!("note: {name}: taken over from #SBATCH: {}", words.join(" "));
        }
        for (word, why) in &self.left {
            let why = renamed(why, Face::own_name());
            crate::say!("note: {name}: not taken over: {word} ({why})");
        }
    }
}

const TAG: &str = "#SBATCH";

/// Does an option have a value?
#[derive(Clone, Copy, Eq, PartialEq)]
enum Value {
    No,
    Yes,
    /// Only behind `=`.
    Maybe,
}

/// What becomes of an option.
#[derive(Clone, Copy)]
enum Fate {
    /// The value of this option of ours.
    Is(&'static str),
    /// This word of ours.
    Word(&'static str),
    /// It goes into the size of the job.
    Size,
    /// By a function of its own.
    Own(fn(&str) -> Result<Vec<String>, &'static str>),
    /// A file name with `%j`.
    File(&'static str),
    Left(&'static str),
    /// It means what happens here anyway.
    Already,
}

const MEMORY: &str = "memory is shared out with cores and nodes, not by itself";
const MAIL: &str = "nobody sends mail here";
const OUTER: &str = "that is for Slurm to decide, with the allocation";
const PLACE: &str = "see --placement";

/// Short and long name, value, fate.
const OPTIONS: &[(char, &str, Value, Fate)] = &[
    ('N', "nodes", Value::Yes, Fate::Size),
    ('n', "ntasks", Value::Yes, Fate::Size),
    ('c', "cpus-per-task", Value::Yes, Fate::Size),
    (' ', "ntasks-per-node", Value::Yes, Fate::Size),
    (' ', "tasks-per-node", Value::Yes, Fate::Size),
    ('G', "gpus", Value::Yes, Fate::Size),
    (' ', "gpus-per-task", Value::Yes, Fate::Size),
    (' ', "gpus-per-node", Value::Yes, Fate::Size),
    (' ', "gres", Value::Yes, Fate::Size),
    (' ', "exclusive", Value::Maybe, Fate::Size),
    ('t', "time", Value::Yes, Fate::Own(time)),
    ('J', "job-name", Value::Yes, Fate::Is("--job-name")),
    ('o', "output", Value::Yes, Fate::File("--output")),
    ('e', "error", Value::Yes, Fate::File("--error")),
    ('i', "input", Value::Yes, Fate::File("--input")),
    ('p', "partition", Value::Yes, Fate::Is("--queue")),
    ('A', "account", Value::Yes, Fate::Is("--bank")),
    ('a', "array", Value::Yes, Fate::Is("--array")),
    ('D', "chdir", Value::Yes, Fate::Is("--cwd")),
    ('d', "dependency", Value::Yes, Fate::Own(dependency)),
    ('b', "begin", Value::Yes, Fate::Own(begin)),
    (' ', "signal", Value::Yes, Fate::Own(signal)),
    ('w', "nodelist", Value::Yes, Fate::Own(|hosts| Ok(vec![format!("--requires=hosts:{hosts}")]))),
    ('x', "exclude", Value::Yes, Fate::Own(|hosts| Ok(vec![format!("--requires=-hosts:{hosts}")]))),
    ('C', "constraint", Value::Yes, Fate::Own(constraint)),
    (' ', "export", Value::Yes, Fate::Own(export)),
    (' ', "open-mode", Value::Yes, Fate::Own(|mode| Ok(vec![format!("-ooutput.mode={mode}")]))),
    (' ', "comment", Value::Yes, Fate::Own(|text| Ok(vec![format!("--setattr=user.comment={text}")]))),
    ('H', "hold", Value::No, Fate::Word("--urgency=hold")),
    ('Q', "quiet", Value::No, Fate::Word("--quiet")),
    (' ', "no-requeue", Value::No, Fate::Already),
    (' ', "parsable", Value::Maybe, Fate::Already),
    ('v', "verbose", Value::No, Fate::Already),
    (' ', "mem", Value::Yes, Fate::Left(MEMORY)),
    (' ', "mem-per-cpu", Value::Yes, Fate::Left(MEMORY)),
    (' ', "mem-per-gpu", Value::Yes, Fate::Left(MEMORY)),
    (' ', "mail-type", Value::Yes, Fate::Left(MAIL)),
    (' ', "mail-user", Value::Yes, Fate::Left(MAIL)),
    ('q', "qos", Value::Yes, Fate::Left(OUTER)),
    ('M', "clusters", Value::Yes, Fate::Left(OUTER)),
    ('L', "licenses", Value::Yes, Fate::Left(OUTER)),
    (' ', "reservation", Value::Yes, Fate::Left(OUTER)),
    (' ', "switches", Value::Yes, Fate::Left(OUTER)),
    (' ', "wckey", Value::Yes, Fate::Left(OUTER)),
    (' ', "tmp", Value::Yes, Fate::Left(OUTER)),
    (' ', "requeue", Value::No, Fate::Left("`flurm retry ID` submits a job again")),
    ('W', "wait", Value::No, Fate::Left("`flurm job status ID` waits")),
    (' ', "nice", Value::Maybe, Fate::Left("see --urgency")),
    ('m', "distribution", Value::Yes, Fate::Left("tasks are started inside, with `flurm run --taskmap`")),
    (' ', "ntasks-per-core", Value::Yes, Fate::Left("tasks are started inside, with `flurm run`")),
    (' ', "ntasks-per-socket", Value::Yes, Fate::Left(PLACE)),
    (' ', "sockets-per-node", Value::Yes, Fate::Left(PLACE)),
    (' ', "cores-per-socket", Value::Yes, Fate::Left(PLACE)),
    (' ', "threads-per-core", Value::Yes, Fate::Left("a core is a core here, with all its threads")),
    (' ', "hint", Value::Yes, Fate::Left("a core is a core here, with all its threads")),
    ('B', "extra-node-info", Value::Yes, Fate::Left(PLACE)),
    ('F', "nodefile", Value::Yes, Fate::Left("--requires=hosts:LIST names nodes")),
    ('s', "oversubscribe", Value::No, Fate::Left("a core is one job's here")),
    ('O', "overcommit", Value::No, Fate::Left("a core is one job's here")),
    ('k', "no-kill", Value::Maybe, Fate::Left("a lost node ends the jobs on it")),
    (' ', "propagate", Value::Maybe, Fate::Left("see --rlimit")),
    (' ', "cpu-freq", Value::Yes, Fate::Left("clocks are not set here")),
    (' ', "profile", Value::Yes, Fate::Left("see -o sysmon")),
    (' ', "contiguous", Value::No, Fate::Left(PLACE)),
    (' ', "get-user-env", Value::Maybe, Fate::Left("the job has the environment of who submits it")),
];

/// Numbers that make up the size.
#[derive(Default)]
struct Sizes {
    nodes: Option<u32>,
    ntasks: Option<u32>,
    cpus: Option<u32>,
    per_node: Option<u32>,
    exclusive: bool,
    /// With the option as it stands there.
    gpus: Option<(Gpus, u32, String)>,
}

#[derive(Clone, Copy)]
enum Gpus {
    All,
    OfTask,
    OfNode,
}

/// The lines of a script, up to its first command.
pub fn read(name: &str, script: &str) -> Result<Taken, Failure> {
    let mut taken = Taken::default();
    let mut sizes = Sizes::default();
    let head = (1..).zip(script.lines()).take_while(|(_, line)| {
        let line = line.trim_start();
        line.is_empty() || line.starts_with('#')
    });
    for (at, line) in head {
        let Some(text) = line.strip_prefix(TAG).filter(|text| text.starts_with(char::is_whitespace)) else {
            continue;
        };
        taken.is_there = true;
        let wrong = |rule: &str| Failure::usage(format!("{name}:{at}: {rule}"));
        let words = shlex::split(text).ok_or_else(|| wrong("a quote is not closed"))?;
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let (option, mut value) =
                option_of(&word).ok_or_else(|| wrong(&format!("`{word}` is no option")))?;
            let Some((_, long, takes, fate)) = option else {
                taken.left.push((word, "it is not known here"));
                continue;
            };
            if *takes == Value::Yes && value.is_none() {
                value = Some(words.next().ok_or_else(|| wrong(&format!("`{word}` has no value")))?);
            }
            let value = value.unwrap_or_default();
            let shown = if *takes == Value::No { format!("--{long}") } else { format!("--{long}={value}") };
            match fate {
                Fate::Is(ours) => taken.words.push(format!("{ours}={value}")),
                Fate::Word(ours) => taken.words.push((*ours).to_owned()),
                Fate::File(ours) => taken.words.push(format!("{ours}={value}")),
                Fate::Own(read) => match read(&value) {
                    Ok(words) => taken.words.extend(words),
                    Err(why) => taken.left.push((shown, why)),
                },
                Fate::Size => {
                    if let Err(why) = sizes.note(long, &value, &shown) {
                        taken.left.push((shown, why));
                    }
                }
                Fate::Left(why) => taken.left.push((shown, why)),
                Fate::Already => {}
            }
        }
    }
    let is_array = taken.words.iter().any(|word| word.starts_with("--array="));
    for word in &mut taken.words {
        if ["--output=", "--error=", "--input="].iter().any(|option| word.starts_with(option)) {
            *word = file(word, is_array);
        }
    }
    let (words, left) = sizes.words();
    taken.words.splice(0..0, words);
    taken.left.extend(left);
    Ok(taken)
}

type Known = &'static (char, &'static str, Value, Fate);

/// The option of a word, if it is known, and the value that stands in the same word; none for what is no option.
fn option_of(word: &str) -> Option<(Option<Known>, Option<String>)> {
    if let Some(long) = word.strip_prefix("--") {
        let (name, value) = long.split_once('=').map_or((long, None), |(n, v)| (n, Some(v.to_owned())));
        return Some((OPTIONS.iter().find(|(_, long, ..)| *long == name), value));
    }
    let mut chars = word.strip_prefix('-')?.chars();
    let short = chars.next()?;
    let rest = chars.as_str();
    let rest = rest.strip_prefix('=').unwrap_or(rest);
    let value = (!rest.is_empty()).then(|| rest.to_owned());
    Some((OPTIONS.iter().find(|(s, ..)| *s == short && short != ' '), value))
}

impl Sizes {
    fn note(&mut self, option: &str, value: &str, shown: &str) -> Result<(), &'static str> {
        const NO_NUMBER: &str = "it is no number";
        let number = |text: &str| text.parse::<u32>().ok().filter(|n| *n > 0).ok_or(NO_NUMBER);
        // `2-4`: the least that will do.
        let least = value.split('-').next().unwrap_or(value);
        // `a100:4`, `gpu:a100:4`, `gpu`.
        let last = value.rsplit(':').next().unwrap_or(value);
        let count = || last.parse::<u32>().map_err(|_| NO_NUMBER);
        let gpus = |of, count| (count > 0).then(|| (of, count, shown.to_owned()));
        match option {
            "nodes" => self.nodes = Some(number(least)?),
            "ntasks" => self.ntasks = Some(number(value)?),
            "cpus-per-task" => self.cpus = Some(number(value)?),
            "ntasks-per-node" | "tasks-per-node" => self.per_node = Some(number(value)?),
            "exclusive" => self.exclusive = true,
            "gpus" => self.gpus = gpus(Gpus::All, count()?),
            "gpus-per-task" => self.gpus = gpus(Gpus::OfTask, count()?),
            "gpus-per-node" => self.gpus = gpus(Gpus::OfNode, count()?),
            _ => match value.split(':').next() {
                Some("gpu") if value.contains(',') => return Err("one kind of GPU is enough here"),
                Some("gpu") => {
                    let count = if value == "gpu" { 1 } else { count().unwrap_or(1) };
                    self.gpus = gpus(Gpus::OfNode, count);
                }
                _ => return Err("GPUs are the only such resource here"),
            },
        }
        Ok(())
    }

    /// As options of `batch`, where a task is a slot.
    fn words(self) -> (Vec<String>, Option<(String, &'static str)>) {
        let slots = match (self.ntasks, self.nodes, self.per_node) {
            (Some(ntasks), ..) => Some(ntasks),
            (None, nodes, Some(per_node)) => Some(nodes.unwrap_or(1).saturating_mul(per_node)),
            (None, _, None) => None,
        };
        // Slurm takes fewer nodes where there are fewer tasks.
        let nodes = self.nodes.map(|nodes| slots.map_or(nodes, |slots| nodes.min(slots)));
        let nodes = nodes.or_else(|| Some(slots?.div_ceil(self.per_node?)));
        let mut words = Vec::new();
        words.extend(nodes.map(|n| format!("-N{n}")));
        words.extend(slots.map(|n| format!("-n{n}")));
        words.extend(self.cpus.map(|n| format!("-c{n}")));
        let mut left = None;
        if let Some((of, count, shown)) = self.gpus {
            let slots = slots.or(nodes).unwrap_or(1);
            let each = match (of, nodes) {
                (Gpus::OfTask, _) => Some(count),
                (Gpus::All, _) => count.is_multiple_of(slots).then(|| count / slots),
                (Gpus::OfNode, nodes) => {
                    let all = count.saturating_mul(nodes.unwrap_or(1));
                    all.is_multiple_of(slots).then(|| all / slots)
                }
            };
            match each.filter(|each| *each > 0) {
                Some(each) => words.push(format!("-g{each}")),
                None => left = Some((shown, "the GPUs cannot be shared evenly by the tasks: see -g")),
            }
        }
        if self.exclusive {
            match nodes {
                Some(_) => words.push("-x".to_owned()),
                None => left = Some(("--exclusive".to_owned(), "whole nodes need their number, -N")),
            }
        }
        (words, left)
    }
}

fn time(value: &str) -> Result<Vec<String>, &'static str> {
    Ok(vec![match value.to_ascii_uppercase().as_str() {
        "UNLIMITED" | "INFINITE" => "--time-limit=inf".to_owned(),
        _ => format!("--time-limit={value}"),
    }])
}

/// `afterok:1:2,singleton`.
fn dependency(value: &str) -> Result<Vec<String>, &'static str> {
    if value.contains('?') {
        return Err("one of several is not a dependency here");
    }
    let mut words = Vec::new();
    for part in value.split(',') {
        let mut ids = part.split(':');
        let scheme = ids.next().unwrap_or_default();
        match scheme {
            "singleton" => words.push("--dependency=singleton".to_owned()),
            "after" | "afterany" | "afterok" | "afternotok" => {
                for id in ids {
                    if id.contains(['+', '_']) {
                        return Err(
                            "a time after a job's start, and one of an array, are no dependencies here",
                        );
                    }
                    words.push(format!("--dependency={scheme}:{id}"));
                }
            }
            _ => return Err("this kind of dependency is not here"),
        }
    }
    Ok(words)
}

/// `now+1hour`, `2026-01-20T12:34:00`, `16:00`.
fn begin(value: &str) -> Result<Vec<String>, &'static str> {
    let Some(after) = value.strip_prefix("now") else {
        return Ok(vec![format!("--begin-time={}", value.replacen('T', " ", 1))]);
    };
    let Some(after) = after.strip_prefix('+') else { return Ok(Vec::new()) };
    let digits = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
    let (number, unit) = after.split_at(digits);
    let number: u64 = number.parse().map_err(|_| "it is no time")?;
    let (number, unit) = match unit.trim_end_matches('s') {
        "" | "second" => (number, 's'),
        "minute" => (number, 'm'),
        "hour" => (number, 'h'),
        "day" => (number, 'd'),
        "week" => (number.saturating_mul(7), 'd'),
        _ => return Err("it is no time"),
    };
    Ok(vec![format!("--begin-time=+{number}{unit}")])
}

/// `[B:]USR1[@60]`.
fn signal(value: &str) -> Result<Vec<String>, &'static str> {
    let value = value.strip_prefix("B:").or_else(|| value.strip_prefix("R:")).unwrap_or(value);
    Ok(vec![match value.split_once('@') {
        Some((name, seconds)) => format!("--signal={name}@{seconds}s"),
        None => format!("--signal={value}@60s"),
    }])
}

fn constraint(value: &str) -> Result<Vec<String>, &'static str> {
    if value.contains(['[', '*']) {
        return Err("a number of nodes for each feature is not here: see --requires");
    }
    Ok(vec![format!("--requires={value}")])
}

/// `ALL`, `NONE`, `ALL,A=1`, `A,B=2`.
fn export(value: &str) -> Result<Vec<String>, &'static str> {
    let names: Vec<&str> = value.split(',').collect();
    let all = names.contains(&"ALL");
    let none = (!all).then(|| "--env-remove=*".to_owned());
    let named = names.into_iter().filter(|name| !matches!(*name, "ALL" | "NONE" | "NIL" | ""));
    Ok(none.into_iter().chain(named.map(|name| format!("--env={name}"))).collect())
}

/// Slurm's `%j` as ours.
fn file(word: &str, is_array: bool) -> String {
    let mut out = String::with_capacity(word.len());
    let mut rest = word;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        // A width fills up with zeros; numbers are as long as they are here.
        let letter = after.trim_start_matches(|c: char| c.is_ascii_digit());
        rest = letter.get(1..).unwrap_or("");
        match letter.chars().next() {
            Some('A') if is_array => out.push_str("{{array.number}}"),
            Some('j' | 'J' | 'A') => out.push_str("{{number}}"),
            Some('a') if is_array => out.push_str("{cc}"),
            Some('a' | 'n' | 's' | 't') => out.push('0'),
            Some('x') => out.push_str("{{name}}"),
            Some('N') => out.push_str("{{node.name}}"),
            Some('u') => out.push_str(&crate::out::user_name(rustix::process::getuid().as_raw())),
            Some('%') => out.push('%'),
            other => {
                out.push('%');
                rest = if other.is_some() { after } else { "" };
            }
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(lines: &str) -> (String, String) {
        let script: String = lines.split(';').map(|line| format!("#SBATCH {line}\n")).collect();
        let taken = read("x", &format!("#!/bin/bash\n# about\n\n{script}\nsrun ./a\n#SBATCH -N9\n")).unwrap();
        let left: Vec<String> = taken.left.into_iter().map(|(word, _)| word).collect();
        (taken.words.join(" "), left.join(" "))
    }

    #[test]
    fn what_slurm_means_is_taken_over() {
        for (lines, taken, left) in [
            ("-N 4 -n 16;--cpus-per-task=2", "-N4 -n16 -c2", ""),
            ("--nodes=2-4;--ntasks-per-node=8", "-N2 -n16", ""),
            ("-N4;--exclusive", "-N4 -x", ""),
            ("-N8;-n2", "-N2 -n2", ""),
            ("-n 16 --ntasks-per-node 4", "-N4 -n16", ""),
            (
                "-t 1-0:0;-J 'a b';-p short;-A acc",
                "--time-limit=1-0:0 --job-name=a b --queue=short --bank=acc",
                "",
            ),
            ("-o out/%x.%j.%N -e e.%a", "--output=out/{{name}}.{{number}}.{{node.name}} --error=e.0", ""),
            ("-a 0-9%2;-o o.%A_%4a", "--array=0-9%2 --output=o.{{array.number}}_{cc}", ""),
            (
                "-d afterok:1:2,singleton",
                "--dependency=afterok:1 --dependency=afterok:2 --dependency=singleton",
                "",
            ),
            ("-n4;--gres=gpu:4", "-n4 -g1", ""),
            // None is a number as well, also of a kind, and the last word counts.
            ("-N1;--gres=gpu:0", "-N1", ""),
            ("-N1;--gres=gpu:a100:0", "-N1", ""),
            ("-n2;--gpus=0;--gpus-per-node=0;--gpus-per-task=0", "-n2", ""),
            ("-n4;--gres=gpu:4;--gres=gpu:0", "-n4", ""),
            ("-n2;--gpus=some", "-n2", "--gpus=some"),
            ("-N2;-n4;--gres=gpu:a100:4", "-N2 -n4 -g2", ""),
            ("-n4;--gpus=2", "-n4", "--gpus=2"),
            ("-G4;-n4;--mem=4G", "-n4 -g1", "--mem=4G"),
            ("--signal=B:USR1@60", "--signal=USR1@60s", ""),
            ("-b now+2hours;-H", "--begin-time=+2h --urgency=hold", ""),
            ("--begin=2026-01-20T12:34", "--begin-time=2026-01-20 12:34", ""),
            ("-w n[1-2] -x n3 -C 'a&b'", "--requires=hosts:n[1-2] --requires=-hosts:n3 --requires=a&b", ""),
            ("--export=NONE,A=1;--mail-type=END", "--env-remove=* --env=A=1", "--mail-type=END"),
            ("-t UNLIMITED --no-requeue # why not", "--time-limit=inf", ""),
            ("--no-such=1", "", "--no-such=1"),
        ] {
            assert_eq!(words(lines), (taken.to_owned(), left.to_owned()), "{lines}");
        }
        assert!(read("x", "#SBATCH --time\n").is_err() && read("x", "#SBATCH job.sh\n").is_err());
        assert_eq!(read("x", "#!/bin/sh\n#SBATCHx -N2\n"), Ok(Taken::default()));
    }
}
