//! Every shell option there is, ours and Flux's: the one place that says which of them work here. Pure.
//!
//! `docs/shell.md` shows this table; the test at the end writes it there.

use super::{OptionError, bad};
use serde_json::Value;

/// One option by its dotted name; `NAME.*` stands for names that the reader of the option checks.
#[derive(Debug, Copy, Clone)]
pub struct Known {
    pub name: &'static str,
    /// How much people depend on it: 1 most, 3 hardly; 0 is ours alone.
    pub priority: u8,
    pub what: &'static str,
    /// None: it works. Otherwise why not, and what to do instead.
    pub refused: Option<&'static str>,
}

const fn works(name: &'static str, priority: u8, what: &'static str) -> Known {
    Known { name, priority, what, refused: None }
}

const fn refused(name: &'static str, priority: u8, what: &'static str, why: &'static str) -> Known {
    Known { name, priority, what, refused: Some(why) }
}

pub const TABLE: &[Known] = &[
    works(
        "verbose",
        1,
        "the shell says more: what tasks are bound to; from 2 also what it took from their environment",
    ),
    works(
        "cpu-affinity",
        1,
        "`on` (all cores that the job has here), `off`, `per-task`, `map:A;B`; `verbose,` or `dry-run,` in front",
    ),
    works("gpu-affinity", 1, "the same words for the GPUs that a task sees"),
    works("pty", 1, "a terminal for every task"),
    works("pty.ranks", 1, "which tasks get one: a set, or `all`"),
    works("pty.capture", 1, "what a terminal shows is kept as output; here it always is"),
    works("pty.interactive", 1, "a terminal for rank 0, for who attaches"),
    works("pty.size", 0, "`ROWSxCOLUMNS` until somebody attaches; the command line sets it"),
    works("exit-timeout", 1, "how long tasks may outlive the first that ends, 30 s; `none`"),
    works("kill-timeout", 0, "when the job is ended: how long after TERM comes KILL, 5 s"),
    works("exit-on-error", 1, "the first task that fails ends the job"),
    works("signal", 1, "`1`: a signal before the job's time is over"),
    works("signal.signum", 1, "which signal; SIGUSR1"),
    works("signal.timeleft", 1, "how many seconds before; 60"),
    works("signal.alone", 1, "`1`: for the tasks, and not for what they have started"),
    works("output.mode", 1, "`truncate` or `append` for files"),
    works("output.stdout.type", 1, "`kvs` (kept with the job) or `file`"),
    works("output.stdout.path", 1, "the file; tags make one for each task or node"),
    works("output.stdout.label", 1, "lines begin with the task's rank"),
    works("output.stdout.buffer.type", 1, "`line`, or `none` for bytes as they come"),
    works("output.stderr.type", 1, "as for standard output, which it follows"),
    works("output.stderr.path", 1, "the file"),
    works("output.stderr.label", 1, "lines begin with the task's rank"),
    works("output.stderr.buffer.type", 1, "`line` or `none`"),
    works("output.archive", 0, "a file for the output of many jobs, as far as it is for no other file"),
    works(
        "output.follow",
        0,
        "output that is for no file goes to clients on the node that follow this name, and nowhere else",
    ),
    works("output.limit", 2, "bytes of output that are kept with the job, in its log and then in a file; 1G"),
    works(
        "output.batch-timeout",
        2,
        "how long output for the log is collected, at most; else for as long as what went before is on its way",
    ),
    refused(
        "output.client",
        3,
        "`lwm`, `hwm`: flow control",
        "output is held back where it arises, there is nothing to tune",
    ),
    works("input.stdin.type", 1, "`service` (from attached clients) or `file`"),
    works("input.stdin.path", 1, "the file"),
    refused(
        "input.limit",
        2,
        "bytes of input that are kept",
        "the first 10M are kept, and all of it reaches the tasks; that is not to be changed",
    ),
    refused(
        "input.batch-timeout",
        2,
        "how long input is collected before it is sent",
        "input goes on at once here",
    ),
    works(
        "mpi",
        1,
        "`auto`, `openmpi`, `mpich`, `intel`, `mvapich`, `cray`, `pmi1`, `pmi2`, `pmix` or `none`",
    ),
    works("pmi", 1, "exactly these ways to PMI: a list of `simple` (or `pmi1`, `pmi2`) and `pmix`, or `off`"),
    refused("pmi-simple", 3, "`nomap`, `exchange.k`: tuning of PMI-1", "there is nothing to tune here"),
    works("taskmap.scheme", 2, "`block`, `cyclic`, `manual` or `hosts`: which node gets which task"),
    works("taskmap.value", 2, "stride of `cyclic`, map of `manual` (RFC 34), list of `hosts`"),
    works("stage-in", 2, "unpack archives of files (`flurm archive`) on each node before tasks start"),
    works("stage-in.names", 2, "which ones, a list; `main`"),
    works("stage-in.pattern", 2, "only what matches: `*.dat`"),
    works("stage-in.destination", 2, "where to, `{{tmpdir}}`; `global:DIR`: one node unpacks for all"),
    refused(
        "hwloc.xmlfile",
        2,
        "tasks find the topology in a file",
        "hwloc in a task finds the topology itself; a file can travel: --add-file=topo.xml --env=HWLOC_XMLFILE={{tmpdir}}/topo.xml",
    ),
    refused(
        "hwloc.restrict",
        2,
        "with only what the job may use in it",
        "hwloc in a task finds what the task may use by its mask",
    ),
    works("rlimit.*", 1, "soft limit of that name: a number or `unlimited`"),
    refused(
        "nosetpgrp",
        3,
        "tasks stay in the shell's process group",
        "each task has a process group of its own, by which it is ended",
    ),
    refused("stop-tasks-in-exec", 3, "tasks stop for a debugger", "no debugger's interface is served here"),
    works("oom.adjust", 3, "the tasks' `oom_score_adj`, -1000 to 1000; else it is 500 above the shell's"),
    works("sysmon", 2, "peak memory and load on each node, said at the end"),
    works("sysmon.period", 2, "the same, and how often it looks; 2s"),
    refused("coprocess", 3, "helpers beside the job", "start them in the job's own script"),
    refused("coprocess-kill-timeout", 3, "how they end", "there are no coprocesses here"),
    refused("initrc", 3, "a start-up script in Lua", "the shell is not programmable in Lua; see its hooks"),
    refused("userrc", 3, "a start-up script in Lua", "the shell is not programmable in Lua; see its hooks"),
    refused(
        "rexec-shutdown-timeout",
        3,
        "how long remote processes may take to end",
        "they end with the job",
    ),
    refused(
        "rexec.sign-required",
        3,
        "remote processes need a signature",
        "an instance has one user, who needs none",
    ),
    works("prolog", 0, "a program of the user's that runs on each node before the job's tasks; `none`"),
    works("epilog", 0, "one that runs there after them; `none`"),
    works("task-prolog", 0, "one that runs before each task, in its environment; `none`"),
    works("task-epilog", 0, "one that runs after it; `none`"),
    works("hook-timeout", 0, "how long each of these may take (5 minutes); `none`"),
    works("per-resource.*", 1, "tasks for each `node`, `core` or `gpu`: `type`, `count`"),
    works(
        "memory-watchdog",
        0,
        "when a node's memory is nearly full, the job goes that is furthest beyond this size, or beyond its request (`1`)",
    ),
    works(
        "slurm-environment",
        0,
        "variables `SLURM_*` are those submitted; only what differs between tasks is added",
    ),
    works("umask", 0, "octal; the command line sets it where it has another one than 022"),
    works("cc", 0, "which of many copies the job is, for `{{cc}}`; the command line sets it"),
];

/// A known name leads to each value, however deep the client has nested it.
///
/// # Errors
/// A name that is not known, or that is known not to work.
pub fn check(name: &str, value: &Value) -> Result<(), OptionError> {
    let is_free = |top: &str| TABLE.iter().any(|known| known.name.strip_suffix(".*") == Some(top));
    // What is in there is for whoever reads it to refuse.
    if is_free(name) || name.rsplit_once('.').is_some_and(|(top, _)| is_free(top)) {
        return Ok(());
    }
    let known = TABLE.iter().find(|known| known.name == name);
    match (known.map(|known| known.refused), value) {
        (None | Some(None), Value::Object(deeper)) if !deeper.is_empty() => {
            deeper.iter().try_for_each(|(part, value)| check(&format!("{name}.{part}"), value))
        }
        (Some(None), _) => Ok(()),
        (Some(Some(why)), Value::Object(deeper)) if has_parts(name) && !deeper.is_empty() => {
            let (part, value) = deeper.iter().next().expect("it is not empty");
            check(&format!("{name}.{part}"), value).and_then(|()| bad(name, why))
        }
        (Some(Some(why)), _) => bad(name, why),
        (None, _) => bad(name, format!("is not known here{}", near(name))),
    }
}

fn has_parts(name: &str) -> bool {
    TABLE.iter().any(|known| known.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')))
}

fn near(name: &str) -> String {
    let top = |name: &str| name.split('.').next().map(str::to_owned);
    let works = TABLE.iter().filter(|known| known.refused.is_none() && top(known.name) == top(name));
    let names: Vec<&str> = works.map(|known| known.name).collect();
    if names.is_empty() { String::new() } else { format!(" (there is {})", names.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::fmt::Write;
    use std::path::Path;

    const BEGIN: &str = "<!-- shell options -->\n";
    const END: &str = "<!-- end -->";

    #[test]
    fn the_page_shows_every_option() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/shell.md");
        let page = std::fs::read_to_string(&file).expect("docs/shell.md");
        let (before, rest) = page.split_once(BEGIN).expect("where the table begins");
        let (_, after) = rest.split_once(END).expect("where the table ends");
        let mut table = "| option | what it does | |\n| --- | --- | --- |\n".to_owned();
        for known in TABLE {
            let state = known.refused.map(|why| format!("refused: {why}")).unwrap_or_default();
            writeln!(table, "| `{}` | {} | {state} |", known.name, known.what).expect("a String takes it");
        }
        let fresh = format!("{before}{BEGIN}{table}{END}{after}");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(&file, fresh).expect("docs/shell.md is ours");
        } else {
            assert!(
                fresh == page,
                "docs/shell.md is behind: UPDATE_DOCS=1 cargo test -p flurm-shell shows_every"
            );
        }
    }

    /// Flux's options that people use.
    const FLUX: [&str; 38] = [
        "verbose",
        "cpu-affinity",
        "gpu-affinity",
        "pty",
        "pty.ranks",
        "pty.capture",
        "pty.interactive",
        "exit-timeout",
        "exit-on-error",
        "signal.signum",
        "signal.timeleft",
        "output.stdout.type",
        "output.stderr.type",
        "output.stdout.path",
        "output.stderr.path",
        "output.stdout.label",
        "output.stderr.label",
        "output.stdout.buffer.type",
        "output.stderr.buffer.type",
        "output.mode",
        "output.limit",
        "input.limit",
        "output.batch-timeout",
        "input.batch-timeout",
        "input.stdin.type",
        "mpi",
        "pmi",
        "taskmap.scheme",
        "taskmap.value",
        "stage-in",
        "stage-in.names",
        "stage-in.pattern",
        "stage-in.destination",
        "hwloc.xmlfile",
        "hwloc.restrict",
        "rlimit.*",
        "sysmon",
        "sysmon.period",
    ];

    #[test]
    fn no_option_of_flux_that_people_use_is_unknown() {
        let unknown: Vec<&&str> =
            FLUX.iter().filter(|name| !TABLE.iter().any(|known| known.name == **name)).collect();
        assert_eq!(unknown, [] as [&&str; 0]);
    }

    #[test]
    fn every_option_works_or_is_refused_by_its_name() {
        let mut names: Vec<&str> = TABLE.iter().map(|known| known.name).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "no name twice");
        for known in TABLE {
            let nested =
                known.name.trim_end_matches(".*").rsplit('.').fold(json!(1), |v, part| json!({ part: v }));
            let (top, value) = nested.as_object().unwrap().iter().next().unwrap();
            let found = check(top, value).map_err(|e| (e.name, e.rule));
            let wanted = known.refused.map_or(Ok(()), |why| Err((known.name.to_owned(), why.to_owned())));
            assert_eq!(found, wanted, "{}", known.name);
            assert_eq!(check(known.name.trim_end_matches(".*"), &json!(1)).is_ok(), known.refused.is_none());
        }
    }
}
