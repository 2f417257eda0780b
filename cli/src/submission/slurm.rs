//! Habits of Slurm: options that mean something else here, or nothing, each with the way out.

use crate::failure::Failure;

/// Slurm's options that have no equal here. They are known only to be refused in words that help.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Habits {
    #[arg(long, hide = true)]
    mem: Option<String>,
    #[arg(long, hide = true)]
    mem_per_cpu: Option<String>,
    #[arg(long, hide = true)]
    gres: Option<String>,
    #[arg(long, hide = true)]
    gpus: Option<String>,
    #[arg(long, hide = true)]
    export: Option<String>,
    #[arg(long, hide = true)]
    nodelist: Option<String>,
    #[arg(long, hide = true)]
    exclude: Option<String>,
    #[arg(long, hide = true)]
    hold: bool,
    #[arg(long, hide = true)]
    cpu_bind: Option<String>,
    #[arg(long, hide = true)]
    mpi: Option<String>,
    #[arg(long, hide = true)]
    pty: bool,
    #[arg(long, hide = true)]
    multi_prog: Option<String>,
    #[arg(long, hide = true)]
    ntasks_per_socket: Option<String>,
}

impl Habits {
    pub fn check(&self) -> Result<(), Failure> {
        let nodes = |option: &str, sign: &str, value: &Option<String>| {
            value.as_ref().map(|v| (format!("--{option}"), format!("use --requires='{sign}hosts:{v}'")))
        };
        let said = |option: &str, value: &Option<String>, hint: &str| {
            value.as_ref().map(|_| (format!("--{option}"), hint.to_owned()))
        };
        let set =
            |option: &str, value: bool, hint: &str| value.then(|| (format!("--{option}"), hint.to_owned()));
        let memory = "memory is not scheduled here: ask for more cores, or whole nodes with -N";
        let refused = said("mem", &self.mem, memory)
            .or_else(|| said("mem-per-cpu", &self.mem_per_cpu, memory))
            .or_else(|| {
                said("gres", &self.gres, "use -g N for GPUs of each task, or --gpus-per-node=N with -N")
            })
            .or_else(|| {
                said("gpus", &self.gpus, "use -g N for GPUs of each task, or --gpus-per-node=N with -N")
            })
            .or_else(|| {
                said("export", &self.export, "use --env=NAME=VALUE, and --env=-* for an empty environment")
            })
            .or_else(|| nodes("nodelist", "", &self.nodelist))
            .or_else(|| nodes("exclude", "-", &self.exclude))
            .or_else(|| set("hold", self.hold, "use --urgency=hold, later `job urgency ID default`"))
            .or_else(|| {
                said("cpu-bind", &self.cpu_bind, "use -o cpu-affinity=per-task, or -o cpu-affinity=off")
            })
            .or_else(|| {
                set(
                    "pty",
                    self.pty,
                    "use -o pty.interactive for a terminal to type at, -o pty for tasks that only need one",
                )
            })
            .or_else(|| {
                said("mpi", &self.mpi, "MPI programs start without it; -o mpi=NAME says which library it is")
            })
            .or_else(|| said("multi-prog", &self.multi_prog, "run `flurm multi-prog FILE` as the program"))
            .or_else(|| said("ntasks-per-socket", &self.ntasks_per_socket, "use --tasks-per-node"));
        match refused {
            None => Ok(()),
            Some((option, hint)) => Err(Failure::usage(format!("{option} is not taken here")).hint(hint)),
        }
    }
}

/// A file name with Slurm's `%j` in it, in an option for a file.
pub fn check_template(option: &str, template: &str) -> Result<(), Failure> {
    let ours = [
        ("%j", "{{number}}"),
        ("%J", "{{number}}"),
        ("%A", "{{array.number}}"),
        ("%a", "{cc}"),
        ("%t", "{{task.id}}"),
        ("%N", "{{node.name}}"),
        ("%n", "{{node.id}}"),
        ("%x", "{{name}}"),
    ];
    match ours.iter().find(|(theirs, _)| template.contains(theirs)) {
        None => Ok(()),
        Some((theirs, _)) => {
            let better = ours.iter().fold(template.to_owned(), |t, (theirs, ours)| t.replace(theirs, ours));
            Err(Failure::usage(format!("`{theirs}` means nothing in --{option}"))
                .hint(format!("write --{option}='{better}'")))
        }
    }
}

/// `-o FILE`, which is an output file for Slurm and a shell option here.
pub fn check_shell_option(name: &str, whole: &str) -> Result<(), Failure> {
    if name.contains(['/', '%']) || name.ends_with(".out") || name.ends_with(".txt") || name.ends_with(".log")
    {
        let better = whole.replace("%j", "{{number}}");
        return Err(Failure::usage(format!("`{whole}` is no option of the job's shell"))
            .hint(format!("for an output file write --output='{better}'")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        habits: Habits,
    }

    #[test]
    fn each_habit_is_answered_with_a_way_out() {
        for (word, hint) in [
            ("--mem=4G", "memory is not scheduled"),
            ("--nodelist=n[1-2]", "hosts:n[1-2]"),
            ("--exclude=n3", "-hosts:n3"),
            ("--hold", "--urgency=hold"),
            ("--pty", "-o pty.interactive"),
        ] {
            let failure = Line::parse_from(["x", word]).habits.check().unwrap_err();
            let (text, given) = failure.lines();
            assert!(text.starts_with("--") && given.is_some_and(|h| h.contains(hint)), "{word}: {failure:?}");
        }
        assert!(Line::parse_from(["x"]).habits.check().is_ok());
    }

    #[test]
    fn file_names_of_slurm_are_rewritten_in_the_hint() {
        let failure = check_template("output", "o.%A_%a.out").unwrap_err();
        assert_eq!(failure.lines().1, Some("write --output='o.{{array.number}}_{cc}.out'"));
        assert!(check_template("output", "o.{{id}}").is_ok());
        assert!(check_shell_option("out.%j", "out.%j").is_err());
        assert!(check_shell_option("output.stdout.path", "output.stdout.path=/x").is_ok());
    }
}
