//! Slurm's own commands, as Debian packages them, inside an instance.

use crate::{DEADLINE, Instance, Options, Ran, eventually, kill, processes_with, run};
use std::path::{Path, PathBuf};
use std::process::Command;

/// An instance whose leader answers Slurm's commands.
#[derive(Debug)]
pub struct Answering {
    pub conf: PathBuf,
    pub instance: Instance,
}

impl Answering {
    /// None (said on standard error) where these commands are not installed; with `FLURM_REQUIRE_LAB` set, as in CI, that
    /// fails.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start(name: &str, commands: &[&str]) -> Option<Answering> {
        let installed =
            |program: &str| ["/usr/bin", "/usr/sbin"].iter().any(|dir| Path::new(dir).join(program).exists());
        let missing: Vec<&&str> =
            commands.iter().chain(&["munged"]).filter(|program| !installed(program)).collect();
        if !missing.is_empty() {
            assert!(std::env::var_os("FLURM_REQUIRE_LAB").is_none(), "missing: {missing:?}");
            eprintln!("SKIPPED {name}: missing: {missing:?}; as root, `make test` installs them");
            return None;
        }
        let args = vec!["--slurm=on".to_owned()];
        let instance = Instance::with(Options { size: 3, args, ..Options::default() });
        let conf = instance.rundir(0).join("slurm/slurm.conf");
        Some(Answering { conf, instance })
    }

    /// One of Slurm's commands, in the test's folder.
    pub fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(args).env_clear().env("SLURM_CONF", &self.conf).env("TZ", "UTC");
        command.env("PATH", "/usr/bin:/bin").env("HOME", self.instance.dir.path());
        command.current_dir(self.instance.dir.path());
        command
    }

    /// Runs it to its end; the words of `line` have no blanks in them.
    #[track_caller]
    pub fn run(&self, program: &str, line: &str) -> Ran {
        run(self.command(program, &line.split_whitespace().collect::<Vec<_>>()), b"")
    }

    /// `sbatch --parsable LINE --wrap SCRIPT`: the job's number.
    #[track_caller]
    pub fn sbatch(&self, line: &str, script: &str) -> u32 {
        let mut args = vec!["--parsable"];
        args.extend(line.split_whitespace());
        args.extend(["--wrap", script]);
        let said = run(self.command("sbatch", &args), b"").ok();
        said.trim().parse().unwrap_or_else(|_| panic!("{said:?} is no number"))
    }

    /// What stands in a file of the test's folder, once it ends with `end`.
    #[track_caller]
    pub fn file(&self, name: &str, end: &str) -> String {
        let path = self.instance.dir.path().join(name);
        eventually(&format!("`{end}` at the end of {name}"), DEADLINE, || {
            std::fs::read_to_string(&path).ok().filter(|text| text.ends_with(end))
        })
    }

    /// Waits until a field of a job, by its number, is like that: as `flurm jobs -o` names it.
    #[track_caller]
    pub fn until(&self, number: u32, field: &str, wanted: &str) {
        let format = format!("{{number}} {{{field}}}");
        let line = format!("{number} {wanted}");
        eventually(&format!("{field} of job {number} is {wanted}"), DEADLINE, || {
            let all = self.instance.ok(&["jobs", "-a", "-n", "-c", "0", "-o", &format]);
            all.lines().any(|found| found.trim_end() == line).then_some(())
        });
    }

    /// Ends the leader's service without warning, and waits until another one answers.
    pub fn crash(&self) {
        let uri = self.instance.uri_of(0);
        let is_it = |pid: &i32| {
            let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.contains("\0slurm-service\0") && line.contains(&uri)
        };
        let service = || processes_with(&uri).into_iter().find(is_it);
        let before = eventually("the service", DEADLINE, service);
        kill(before, 9);
        eventually("the next service", DEADLINE, || {
            let next = service().is_some_and(|pid| pid != before);
            (next && self.run("sinfo", "").status.success()).then_some(())
        });
    }
}
