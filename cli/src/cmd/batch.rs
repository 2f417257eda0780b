//! `flurm batch`: queue a script that gets an instance of its own.

use crate::face::Face;
use crate::failure::Failure;
use crate::out;
use crate::plugins::Plugins;
use crate::submission::{Crowd, Follow, Instance, Logs, directives, sbatch};
use clap::{Args as _, FromArgMatches};
use std::ffi::OsString;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

/// Queue a script that runs in an instance of its own, and print the job's id
///
/// The script is kept with the job and runs on its first node, where `flurm run` and all the others speak to an instance
/// that has just what the job was given. Lines `# flux: OPTIONS` at its beginning are options as well; those of the
/// command line win. A script that has none of them may have `#SBATCH` lines: what they have in common with us is taken over.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Make a script for sh out of the words that follow, or of standard input
    #[arg(long)]
    wrap: bool,
    /// A job for each index, of which so many may run at a time: `0-99`, `0-98:2%5`
    #[arg(long, value_name = "INDICES[%N]")]
    array: Option<String>,
    #[command(flatten)]
    pub instance: Instance,
    /// The script and its arguments (default: the script is standard input)
    #[arg(trailing_var_arg = true, value_name = "SCRIPT")]
    script: Vec<String>,
}

/// Where output goes when nobody says, behind the name we were called by.
const OUTPUT: &str = "-{{id}}.out";

/// The name of a job whose script has none.
const NAME: &str = "batch";

impl Args {
    /// `words` are all of the command line.
    pub fn run(self, face: &Face, words: &[OsString]) -> Result<u8, Failure> {
        let (name, text) = self.text()?;
        let readable = String::from_utf8_lossy(&text);
        let inside = directives::find(&readable)
            .map_err(|wrong| Failure::usage(format!("{name}:{}: {}", wrong.line, wrong.rule)))?;
        let quiet = self.instance.quiet;
        let slurms =
            if inside.is_empty() { sbatch::read(&name, &readable)? } else { sbatch::Taken::default() };
        if !quiet {
            slurms.say(&name);
        }
        for (line, text) in directives::near(&readable).into_iter().filter(|_| !quiet) {
            crate::say!(
                "warning: {name}:{line}: `{}` is no directive; they begin with `# flux: `",
                text.trim_end()
            );
        }
        let plugins = self.instance.chosen.plugins().clone();
        let mut args = if !inside.is_empty() {
            with_directives(&name, "# flux:", &inside, words, &plugins)?
        } else if !slurms.words.is_empty() {
            with_directives(&name, "#SBATCH", &slurms.words, words, &plugins)?
        } else {
            self
        };
        if slurms.is_there {
            // As Slurm has it: one task, unless something else is said.
            args.instance.default_to_one_slot();
        }
        let arguments = if args.wrap { &[] } else { args.script.get(1..).unwrap_or_default() };
        let arguments = arguments.to_vec();
        let mut instance = args.instance;
        instance.what.job_name.get_or_insert(name);
        instance.io.output.get_or_insert_with(|| format!("{}{OUTPUT}", face.name));
        let options = instance.batch(text, &arguments)?;
        let (dry_run, quiet) = (options.dry_run, options.quiet);
        let crowd = Crowd::new(options, None, None, Logs::default()).in_array(args.array);
        if dry_run {
            let mut out = out::stdout();
            for jobspec in crowd.jobspecs() {
                writeln!(out, "{}", jobspec?.to_json())?;
            }
            return Ok(0);
        }
        face.connected(async |client| Follow::default().submit(&client, crowd, quiet, false).await)
    }

    /// The script and what it is called.
    fn text(&self) -> Result<(String, Vec<u8>), Failure> {
        let shell = |body: &str| format!("#!/bin/sh\n{}\n", body.trim_end()).into_bytes();
        let (name, text) = match (self.wrap, self.script.first()) {
            (true, Some(_)) => return Ok((NAME.to_owned(), shell(&self.script.join(" ")))),
            (wrap, None) => {
                let mut text = Vec::new();
                std::io::stdin().read_to_end(&mut text)?;
                if wrap {
                    return Ok((NAME.to_owned(), shell(&String::from_utf8_lossy(&text))));
                }
                (NAME.to_owned(), text)
            }
            (false, Some(path)) => {
                let text =
                    std::fs::read(path).map_err(|e| Failure::new(format!("cannot read {path}: {e}")))?;
                let name = Path::new(path).file_name().and_then(|name| name.to_str()).unwrap_or(NAME);
                (name.to_owned(), text)
            }
        };
        let called = if self.script.is_empty() { "standard input" } else { &name };
        if !text.starts_with(b"#!") {
            return Err(Failure::usage(format!("{called} is no script: it does not begin with #!"))
                .hint("`flurm batch --wrap COMMAND` makes one of a command"));
        }
        if text.split(|byte| *byte == b'\n').next().is_some_and(|line| line.ends_with(b"\r")) {
            return Err(Failure::usage(format!("{called} has the line ends of Windows (CR LF)")).hint(
                "the kernel would look for an interpreter with CR in its name: sed -i 's/\\r$//' FILE",
            ));
        }
        Ok((name, text))
    }
}

/// The command line again, with the script's options before it. Of an option that is there twice the last one counts.
fn with_directives(
    name: &str,
    tag: &str,
    inside: &[String],
    words: &[OsString],
    plugins: &Arc<Plugins>,
) -> Result<Args, Failure> {
    let command = Args::augment_args(clap::Command::new(NAME).no_binary_name(true).args_override_self(true));
    let command = plugins.add_options(command)?;
    let parse = |words: Vec<OsString>| {
        let matches = command.clone().try_get_matches_from(words)?;
        let mut args = Args::from_arg_matches(&matches)?;
        args.instance.chosen = plugins.chosen(&matches);
        Ok(args)
    };
    let inside: Vec<OsString> = inside.iter().map(OsString::from).collect();
    let wrong = |error: clap::Error| {
        let text = error.to_string();
        let first = text.lines().next().unwrap_or_default();
        Failure::usage(format!("{name}: {}", first.strip_prefix("error: ").unwrap_or(first)))
            .hint(format!("the options of `flurm batch` can stand in `{tag}` lines"))
    };
    let alone = parse(inside.clone()).map_err(wrong)?;
    if let Some(word) = alone.script.first() {
        return Err(Failure::usage(format!("{name}: `{word}` in a `{tag}` line is no option")));
    }
    if alone.wrap {
        return Err(Failure::usage(format!("{name}: --wrap in a script")));
    }
    // `flurm [-p…] batch` comes before them.
    let typed = words.iter().skip(1).skip_while(|word| *word != NAME).skip(1).cloned();
    parse(inside.into_iter().chain(typed).collect()).map_err(wrong)
}
