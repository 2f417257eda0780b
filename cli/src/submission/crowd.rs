//! All jobs of one command line: each row of inputs, and each copy of it, one after the other.
//!
//! Nothing is made before it is asked for, so a hundred thousand jobs need no more room here than one.

use super::array;
use super::copies::{Copies, Jobs, Which, tell};
use super::fill::{Row, fill, stays};
use super::inputs::Rows;
use super::{Options, Stdin};
use crate::failure::Failure;
use flurm_client::job::NewJob;
use flurm_jobspec::Jobspec;
use std::sync::Arc;

/// Files for our own lines: which, and what is said of it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Logs {
    pub out: Option<Arc<str>>,
    pub err: Option<Arc<str>>,
}

/// A job, and where what we say of it goes.
#[derive(Clone, Debug)]
pub struct Made {
    pub job: NewJob,
    pub logs: Logs,
}

/// What each row fills.
#[derive(Clone, Debug)]
struct Form {
    options: Options,
    cc: Option<String>,
    bcc: Option<String>,
    array: Option<String>,
    logs: Logs,
}

/// The jobs of one command line.
#[derive(Debug)]
pub struct Crowd {
    form: Form,
    rows: Rows,
    /// A row is the words of its program.
    commands: bool,
}

impl Crowd {
    /// A job of these options, in copies.
    pub fn new(options: Options, cc: Option<String>, bcc: Option<String>, logs: Logs) -> Crowd {
        Crowd { form: Form { options, cc, bcc, array: None, logs }, rows: Rows::one(), commands: false }
    }

    /// The jobs of an array (`--array`).
    #[must_use]
    pub fn in_array(mut self, array: Option<String>) -> Crowd {
        self.form.array = array;
        self
    }

    /// Is all of it one array?
    pub fn is_array(&self) -> bool {
        self.form.array.is_some()
    }

    /// One for each row.
    #[must_use]
    pub fn over(self, rows: Rows) -> Crowd {
        let commands = self.form.options.command.is_empty();
        Crowd { rows, commands, ..self }
    }

    /// How many there are, where that is known before.
    pub fn len(&self) -> Option<usize> {
        let copies = self.form.which().ok()?;
        Some(self.rows.len()? * copies.len())
    }

    /// Has each job a log of its own?
    pub fn has_many_logs(&self) -> bool {
        [&self.form.logs.out, &self.form.logs.err].into_iter().flatten().any(|name| name.contains('{'))
    }

    pub fn logs(&self) -> &Logs {
        &self.form.logs
    }

    /// A word in braces that looks like a place for a value and is none.
    pub fn stays(&mut self) -> Option<String> {
        let Form { options, cc, bcc, .. } = &mut self.form;
        let mut texts = options.texts().chain(cc).chain(bcc);
        texts.find_map(|text| stays(text).map(str::to_owned))
    }

    /// The jobspecs, each whole.
    pub fn jobspecs(self) -> impl Iterator<Item = Result<Jobspec, Failure>> {
        let mut parts = self.parts();
        let mut now: Option<Box<dyn Iterator<Item = Result<Jobspec, Failure>>>> = None;
        std::iter::from_fn(move || {
            loop {
                if let Some(next) = now.as_mut().and_then(Iterator::next) {
                    return Some(next);
                }
                match parts.next()? {
                    Ok((copies, _)) => now = Some(Box::new(copies.jobspecs())),
                    Err(failure) => return Some(Err(failure)),
                }
            }
        })
    }

    /// What each row would submit, as one could type it.
    pub fn lines(mut self) -> impl Iterator<Item = Result<String, Failure>> {
        let rows = std::mem::replace(&mut self.rows, Rows::one());
        rows.map(move |row| {
            let form = self.form.filled(&row?, self.commands)?;
            Ok(form.line())
        })
    }

    /// The jobs, ready to be submitted.
    pub fn jobs(mut self) -> Result<impl Iterator<Item = Result<Made, Failure>>, Failure> {
        self.form.options.share_environment()?;
        if (self.form.cc.is_some() || self.form.array.is_some())
            && let Some(shared) = &mut self.form.options.shared
        {
            // Once for all rows.
            tell(shared, self.form.array.is_some());
        }
        let mut parts = self.parts();
        let mut now: Option<(Jobs, Logs)> = None;
        Ok(std::iter::from_fn(move || {
            loop {
                if let Some((jobs, logs)) = &mut now
                    && let Some(job) = jobs.next()
                {
                    return Some(job.map(|(number, job)| Made { job, logs: of_copy(logs, number) }));
                }
                let next = parts.next()?.and_then(|(copies, logs)| Ok((copies.jobs()?, logs)));
                match next {
                    Ok(next) => now = Some(next),
                    Err(failure) => return Some(Err(failure)),
                }
            }
        }))
    }

    fn parts(mut self) -> impl Iterator<Item = Result<(Copies, Logs), Failure>> {
        let rows = std::mem::replace(&mut self.rows, Rows::one());
        rows.map(move |row| {
            let form = self.form.filled(&row?, self.commands)?;
            let which = form.which()?;
            Ok((Copies::new(form.options, Stdin::Nothing, which), form.logs))
        })
    }
}

impl Form {
    fn which(&self) -> Result<Which, Failure> {
        match &self.array {
            Some(array) => array::parse(array),
            None => Which::of(self.cc.as_deref(), self.bcc.as_deref()),
        }
    }

    /// The same with the row's values in it, or with the row as its command.
    fn filled(&self, row: &Row, is_command: bool) -> Result<Form, Failure> {
        let mut form = self.clone();
        if row.values.is_empty() {
            // A single job has no places for values: its braces are its own.
            return Ok(form);
        }
        let Form { options, cc, bcc, array: _, logs } = &mut form;
        for text in options.texts().chain(cc).chain(bcc) {
            if let Some(filled) = fill(text, row)? {
                *text = filled;
            }
        }
        for log in [&mut logs.out, &mut logs.err].into_iter().flatten() {
            if let Some(filled) = fill(log, row)? {
                *log = filled.into();
            }
        }
        if is_command {
            let line = row.values.join(" ");
            options.command = shlex::split(&line)
                .filter(|words| !words.is_empty())
                .ok_or_else(|| Failure::usage(format!("`{line}` is no command: a quote is not closed")))?;
        }
        Ok(form)
    }

    /// Options and command in Flux's order, as its users know the lines of `bulksubmit --dry-run`.
    fn line(&self) -> String {
        let Form { options, cc, bcc, array: _, logs } = self;
        let Options { size, what, io, place, .. } = options;
        let text = |text: &Option<String>| text.iter().cloned().collect::<Vec<_>>();
        let count = |count: &Option<super::Given<u32>>| {
            count.iter().map(|count| count.as_str().to_owned()).collect::<Vec<_>>()
        };
        let plain = |name: Option<&str>| name.map(str::to_owned).into_iter().collect::<Vec<_>>();
        let given = [
            ("-q", text(&what.queue)),
            ("-n", count(&size.ntasks)),
            ("-N", count(&size.nodes)),
            ("-c", count(&size.cores_per_task)),
            ("-g", count(&size.gpus_per_task)),
            ("--cores=", count(&size.cores)),
            ("--tasks-per-node=", count(&size.tasks_per_node)),
            ("--tasks-per-core=", count(&size.tasks_per_core)),
            ("--gpus-per-node=", count(&size.gpus_per_node)),
            ("--shape=", text(&size.shape)),
            ("-x", size.exclusive.then(String::new).into_iter().collect()),
            ("-t", text(&what.time_limit)),
            ("--env=", options.rules.typed().to_vec()),
            ("--urgency=", what.urgency.iter().map(|urgency| urgency.as_str().to_owned()).collect()),
            ("-o", what.setopt.clone()),
            ("--setattr=", what.setattr.clone()),
            ("--job-name=", text(&what.job_name)),
            ("--dependency=", what.dependency.clone()),
            ("--requires=", what.requires.clone()),
            ("--begin-time=", text(&what.begin_time)),
            ("--bank=", text(&what.bank)),
            ("--rlimit=", what.rlimit.clone()),
            ("--signal=", text(&what.signal)),
            ("--taskmap=", text(&what.taskmap)),
            ("--add-file=", what.add_file.clone()),
            ("--cwd=", text(&what.cwd)),
            ("--placement=", text(&place.placement)),
            ("--spread=", text(&place.spread)),
            ("--cosched=", text(&place.cosched)),
            ("--cosched-class=", text(&place.cosched_class)),
            ("--input=", text(&io.input)),
            ("--output=", text(&io.output)),
            ("--error=", text(&io.error)),
            ("--output-archive=", text(&io.output_archive)),
            ("--cc=", text(cc)),
            ("--bcc=", text(bcc)),
            ("--log=", plain(logs.out.as_deref())),
            ("--log-stderr=", plain(logs.err.as_deref())),
        ];
        let plugins = options.chosen.words();
        let words =
            given.into_iter().flat_map(|(sign, texts)| texts.into_iter().map(move |t| format!("{sign}{t}")));
        words.chain(plugins).chain(options.command.iter().cloned()).collect::<Vec<_>>().join(" ")
    }
}

fn of_copy(logs: &Logs, number: Option<u32>) -> Logs {
    let Some(number) = number else { return logs.clone() };
    let fill = |name: &Option<Arc<str>>| {
        let name = name.as_ref()?;
        if !name.contains("{cc}") {
            return Some(name.clone());
        }
        Some(name.replace("{cc}", &number.to_string()).into())
    };
    Logs { out: fill(&logs.out), err: fill(&logs.err) }
}

#[cfg(test)]
mod tests {
    use super::super::inputs::{List, Separator, split};
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[arg(long)]
        cc: Option<String>,
        #[arg(long)]
        log: Option<String>,
        #[command(flatten)]
        options: Options,
    }

    fn crowd(line: &str) -> Crowd {
        let mut line = Line::parse_from(line.split(' '));
        let (command, lists) = split(std::mem::take(&mut line.options.command)).unwrap();
        line.options.command = command;
        let rows = Rows::new(&lists, &Separator::new(None).unwrap()).unwrap();
        let logs = Logs { out: line.log.map(Into::into), err: None };
        Crowd::new(line.options, line.cc, None, logs).over(rows)
    }

    #[test]
    fn rows_fill_options_and_words_and_copies_come_after() {
        for (line, shown) in [
            ("x echo {} ::: a b", "echo a;echo b"),
            (
                "x -n {0} --job-name=j{seq} echo {1} ::: 1 2 ::: u v",
                "-n1 --job-name=j0 echo u;-n1 --job-name=j1 echo v;-n2 --job-name=j2 echo u;-n2 --job-name=j3 echo v",
            ),
            ("x --cc={} echo {cc} ::: 0-1 0-3", "--cc=0-1 echo {cc};--cc=0-3 echo {cc}"),
            ("x --env=A={} -o verbose={} p ::: 1", "--env=A=1 -overbose=1 p"),
        ] {
            let lines: Vec<String> = crowd(line).lines().map(Result::unwrap).collect();
            assert_eq!(lines.join(";"), shown, "{line}");
        }
        let jobs: Vec<Made> = crowd("x --cc={} --log={0}.{cc} echo {cc} ::: 0-1 5")
            .jobs()
            .unwrap()
            .map(Result::unwrap)
            .collect();
        assert_eq!(jobs.len(), 3);
        let logs: Vec<&str> = jobs.iter().filter_map(|made| made.logs.out.as_deref()).collect();
        assert_eq!(logs, ["0-1.0", "0-1.1", "5.5"]);
        assert!(jobs[2].job.jobspec.get().contains(r#"["echo","5"]"#));
    }

    #[test]
    fn without_a_command_the_inputs_are_the_commands() {
        let mut crowd = crowd("x -n2 --job-name={seq1} ::: a");
        let rows = Rows::new(
            &[List { words: vec!["sh -c 'echo {}'".into()], files: false, linked: false, commented: false }],
            &Separator::Blanks,
        );
        crowd = crowd.over(rows.unwrap());
        let jobs: Vec<Made> = crowd.jobs().unwrap().map(Result::unwrap).collect();
        let jobspec = Jobspec::parse(jobs[0].job.jobspec.get()).unwrap();
        assert_eq!(
            (jobspec.command(), &*jobspec.name()),
            (&["sh", "-c", "echo {}"].map(String::from)[..], "1")
        );
    }

    #[test]
    fn all_jobs_share_their_environment() {
        let jobs: Vec<Made> = crowd("x echo {} ::: a b c").jobs().unwrap().map(Result::unwrap).collect();
        assert!(jobs.iter().all(|made| Arc::ptr_eq(&made.job.environment, &jobs[0].job.environment)));
    }
}
