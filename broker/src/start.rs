//! `flurm start`, `flurm broker`: from options and environment to a running broker, and its exit code.

use crate::boot::Boot;
use crate::bootstrap::{JobOf, Mistake, NoBoot, Ready, Vars, bootstrap, rundir, slurm, testsize};
use crate::guard::{self, Line};
use flurm_types::{Environment, Rank};
use flurm_wire::shell::StartInitial;
use std::fs::DirBuilder;
use std::net::TcpListener;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// What `flurm start` was told.
#[derive(Debug, Clone, Default)]
pub struct StartArgs {
    /// `--test-size`: so many brokers on this host, as children of this process.
    pub test_size: Option<u32>,
    pub broker: BrokerArgs,
}

/// What one broker is told; `flurm broker` takes the same options as `flurm start` but `--test-size`.
#[derive(Debug, Clone, Default)]
pub struct BrokerArgs {
    /// `--config-path`: a TOML file, or a directory of them.
    pub config_path: Option<PathBuf>,
    /// `-S NAME=VALUE`, in order; the last one of a name wins.
    pub setattr: Vec<(String, String)>,
    /// The initial program; empty: the user's `$SHELL`.
    pub command: Vec<String>,
    /// `--rejoin`: take the place of the broker that ran in this directory. Everything else is then read from there.
    pub rejoin: Option<PathBuf>,
}

/// What `flurm doctor` was told.
#[derive(Debug, Clone, Default)]
pub struct DoctorArgs {
    pub config_path: Option<PathBuf>,
    pub setattr: Vec<(String, String)>,
}

/// `flurm start`: brings up an instance, or this node's part of it, and runs the initial program; its exit code.
pub fn start(args: &StartArgs) -> i32 {
    match args.test_size {
        Some(size) => testsize::start(size, &args.broker, &vars()),
        None => guard::guarded(|line| exit_code(join(&vars(), &args.broker, Some(line)))),
    }
}

/// `flurm broker`: one broker, whoever started it.
pub fn broker(args: &BrokerArgs) -> i32 {
    let done = match &args.rejoin {
        Some(rundir) => rejoin(rundir).map_err(NoBoot::Mistake),
        None => join(&vars(), args, None),
    };
    exit_code(done)
}

/// An attribute of Flux: no initial program, the instance lives until somebody ends it.
const NO_PROGRAM: &str = "broker.rc2_none";

fn exit_code(done: Result<i32, NoBoot>) -> i32 {
    match done {
        Ok(code) | Err(NoBoot::Quiet { code }) => code,
        Err(NoBoot::Mistake(mistake)) => {
            mistake.print_error();
            1
        }
    }
}

fn join(vars: &Vars, args: &BrokerArgs, guard: Option<Line>) -> Result<i32, NoBoot> {
    let ready = bootstrap(vars, args)?;
    if let Some(guard) = guard {
        guard.tell(&ready.boot);
    }
    if let Some(dir) = ready.boot.statedir.as_ref().filter(|_| ready.boot.rank == Rank(0)) {
        make_statedir(dir)?;
    }
    let leads = ready.boot.rank == Rank(0);
    let without = ready.boot.attributes.get(NO_PROGRAM).is_some_and(|set| !matches!(set.as_str(), "" | "0"));
    let initial = (leads && !without).then(|| StartInitial {
        command: initial_command(vars, &args.command),
        cwd: current_dir(),
        environment: initial_environment(vars, &ready, own_program().as_deref()),
    });
    Ok(crate::run::broker(ready.boot, ready.listener, initial, ready.job_of))
}

/// Only the last part of the path is made: one that is wrong further up is a typing error, and not a wish.
fn make_statedir(dir: &Path) -> Result<(), Mistake> {
    if dir.is_dir() {
        return Ok(());
    }
    DirBuilder::new().mode(0o700).create(dir).map_err(|error| {
        Mistake::new(
            format!("cannot make the state directory {}: {error}", dir.display()),
            "-Sstatedir=DIR is a directory, or the name of a new one in a directory that is there",
        )
    })
}

/// Takes the place of the broker that ran in `rundir`.
fn rejoin(rundir: &Path) -> Result<i32, Mistake> {
    let hint = "--rejoin names the run directory of a broker that has ended while its instance goes on";
    let wrong = |error: std::io::Error| Mistake::new(format!("{}: {error}", rundir.display()), hint);
    let rundir = rundir.canonicalize().map_err(wrong)?;
    rundir::open_private(&rundir).map_err(wrong)?;
    let boot = Boot::load(&rundir).map_err(wrong)?;
    if UnixStream::connect(boot.socket()).is_ok() {
        return Err(Mistake::new(format!("a broker still runs in {}", rundir.display()), hint));
    }
    let listener = match boot.peers.get(&boot.rank) {
        // The others know the old address.
        Some(address) => Some(TcpListener::bind(address).map_err(|error| {
            Mistake::new(
                format!("rank {} cannot listen on {address} again: {error}", boot.rank),
                "its port has been taken by another program; its children cannot reach a new one",
            )
        })?),
        None => None,
    };
    Ok(crate::run::broker(boot, listener, None, None))
}

/// The environment. What is not UTF-8 has no meaning to us and passes by inheritance alone.
pub(crate) fn vars() -> Vars {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

fn current_dir() -> String {
    // A directory that has been removed, or has no name in UTF-8, can be no one's.
    std::env::current_dir().ok().and_then(|dir| dir.into_os_string().into_string().ok()).unwrap_or("/".into())
}

fn own_program() -> Option<PathBuf> {
    std::env::current_exe().ok()
}

fn initial_command(vars: &Vars, command: &[String]) -> Vec<String> {
    if command.is_empty() {
        return vec![vars.get("SHELL").filter(|shell| !shell.is_empty()).map_or("/bin/sh", |s| s).to_owned()];
    }
    command.to_vec()
}

/// What says of a program that it is a rank of something.
const RANK_PREFIXES: &[&str] = &["PMI_", "PMIX_"];

/// What says of a program that it is a task of the job which this instance is.
const OF_OUR_JOB: &[&str] = &[
    "JOB_CC",
    "JOB_ID",
    "JOB_NNODES",
    "JOB_SIZE",
    "JOB_TMPDIR",
    "KVS_NAMESPACE",
    "TASK_LOCAL_ID",
    "TASK_RANK",
];

/// Ours, with the instance's names in it. The outer launcher's stay, for scripts that ask Slurm about their job; but
/// nothing may tell the initial program that it is an MPI rank or a task.
fn initial_environment(vars: &Vars, ready: &Ready, program: Option<&Path>) -> Environment {
    let of_job = |name: &str| {
        let bare = name.strip_prefix("FLURM_").or_else(|| name.strip_prefix("FLUX_"));
        bare.is_some_and(|bare| OF_OUR_JOB.contains(&bare))
    };
    let keep = |name: &str| !RANK_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) && !of_job(name);
    let mut out: Environment =
        vars.iter().map(|(name, value)| (name.clone(), keep(name).then(|| value.clone()))).collect();
    let uri = ready.boot.uri();
    let path = program.and_then(|program| path_with(vars.get("PATH").map_or("", |path| path), program));
    let enclosing = ready.job_of.as_ref().and_then(JobOf::id);
    let ours = [
        ("FLURM_ENCLOSING_ID", enclosing.clone()),
        ("FLUX_ENCLOSING_ID", enclosing),
        ("FLURM_URI", Some(uri.clone())),
        ("FLUX_URI", Some(uri)),
        (slurm::OUTER_STEP, ready.outer_step.clone()),
        ("PATH", path),
    ];
    for (name, value) in ours {
        if value.is_some() {
            out.insert(name.to_owned(), value);
        }
    }
    out
}

/// `PATH` with our directory in front, unless `flurm` is found as us already.
fn path_with(path: &str, program: &Path) -> Option<String> {
    let dir = program.parent()?.to_str()?;
    let found = path.split(':').map(|dir| Path::new(dir).join("flurm")).find(|file| file.is_file());
    if found.is_some_and(|found| found.canonicalize().is_ok_and(|found| found == program)) {
        return None;
    }
    Some(if path.is_empty() { dir.to_owned() } else { format!("{dir}:{path}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(dir: &Path) -> Ready {
        let boot = crate::boot::tests::boot(dir, 0, 1);
        Ready { boot, listener: None, outer_step: Some("stb-1.0-h-1".into()), job_of: None }
    }

    #[test]
    fn an_initial_program_knows_its_instance_and_is_no_rank() {
        let vars: Vars = [
            ("PMI_FD", "7"),
            ("PMIX_RANK", "0"),
            ("SLURM_JOB_ID", "123"),
            ("FLURM_JOB_ID", "f1"),
            ("FLUX_TASK_RANK", "0"),
            ("FLURM_URI", "local:///outer"),
            ("HOME", "/home/x"),
            ("PATH", "/usr/bin"),
        ]
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .into();
        let env =
            initial_environment(&vars, &ready(Path::new("/run/i/0")), Some(Path::new("/opt/flurm/flurm")));
        let get = |name: &str| env.get(name).cloned().flatten();
        assert_eq!(get("FLURM_URI").as_deref(), Some("local:///run/i/0/local"));
        assert_eq!(get("FLURM_URI"), get("FLUX_URI"));
        assert_eq!(get("SLURM_JOB_ID").as_deref(), Some("123"));
        assert_eq!(get("PATH").as_deref(), Some("/opt/flurm:/usr/bin"));
        assert_eq!(get(slurm::OUTER_STEP).as_deref(), Some("stb-1.0-h-1"));
        for gone in ["PMI_FD", "PMIX_RANK", "FLURM_JOB_ID", "FLUX_TASK_RANK"] {
            assert_eq!(env.get(gone), Some(&None), "{gone} is unset, not merely left out");
        }
    }

    #[test]
    fn a_path_that_finds_us_stays() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().canonicalize().unwrap().join("flurm");
        std::fs::write(&program, "").unwrap();
        let path = format!("/nonexistent:{}", dir.path().display());
        assert_eq!(path_with(&path, &program), None);
        let other = tempfile::tempdir().unwrap();
        std::fs::write(other.path().join("flurm"), "").unwrap();
        let shadowed = format!("{}:{path}", other.path().display());
        assert!(
            path_with(&shadowed, &program).unwrap().starts_with(program.parent().unwrap().to_str().unwrap())
        );
    }

    #[test]
    fn without_a_command_the_users_shell_is_run() {
        let shell = Vars::from([("SHELL".to_owned(), "/bin/zsh".to_owned())]);
        assert_eq!(initial_command(&shell, &[]), ["/bin/zsh"]);
        assert_eq!(initial_command(&Vars::new(), &[]), ["/bin/sh"]);
        assert_eq!(initial_command(&shell, &["true".into()]), ["true"]);
    }

    #[test]
    fn only_a_private_directory_with_a_boot_value_can_be_rejoined() {
        let dir = tempfile::tempdir().unwrap();
        assert!(rejoin(dir.path()).unwrap_err().what.contains(dir.path().to_str().unwrap()));
        assert!(rejoin(&dir.path().join("none")).is_err());
    }

    #[test]
    fn of_a_state_directory_only_the_last_part_is_made() {
        let base = tempfile::tempdir().unwrap();
        make_statedir(&base.path().join("state")).unwrap();
        make_statedir(&base.path().join("state")).unwrap();
        let wrong = make_statedir(&base.path().join("nonexistent/x")).unwrap_err();
        assert!(
            wrong.what.contains("cannot make the state directory")
                && !base.path().join("nonexistent").exists()
        );
    }
}
