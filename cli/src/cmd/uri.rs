//! `flurm uri`: where an instance can be reached: a job of this one, a process, a Slurm job.

use crate::face::Face;
use crate::failure::Failure;
use crate::out;
use flurm_client::{Client, attr, job, uri};
use flurm_types::{Entry, JobId};
use flurm_wire::job::{Log, Watch};
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Print where an instance can be reached
///
/// TARGET is a job of this instance that is one itself (`ƒA`, or `ƒA/ƒB` for one inside that; `/`, `.` and `..` are the
/// outermost, this, and the one around), `pid:PID`, `slurm:JOBID`, or an address.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The address as another machine has it: ssh://HOST/PATH
    #[arg(long, conflicts_with = "local")]
    remote: bool,
    /// The address on its own machine: local://PATH
    #[arg(long)]
    local: bool,
    /// Wait until the job is an instance
    #[arg(long)]
    wait: bool,
    target: String,
}

impl Args {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        let mut target = Target::parse(&self.target)?;
        target.wait |= self.wait;
        let place = target.place(face)?;
        let form = match (self.remote, self.local) {
            (true, _) => Some(Form::Remote),
            (_, true) => Some(Form::Local),
            (false, false) => target.form,
        };
        writeln!(out::stdout(), "{}", place.text(form))?;
        Ok(0)
    }
}

/// Where a broker listens.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Place {
    pub host: String,
    pub socket: PathBuf,
}

#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Form {
    Local,
    Remote,
}

impl Place {
    fn local(text: &str) -> Result<Place, Failure> {
        Ok(Place { host: this_host(), socket: flurm_client::Uri::parse(text)?.path().to_owned() })
    }

    /// Of this machine, unless another form is asked for, what programs here can use.
    fn text(&self, form: Option<Form>) -> String {
        let here = self.is_here() || std::env::var_os("FLUX_URI_RESOLVE_LOCAL").is_some();
        match form {
            Some(Form::Local) => format!("local://{}", self.socket.display()),
            None if here => format!("local://{}", self.socket.display()),
            Some(Form::Remote) | None => format!("ssh://{}{}", self.host, self.socket.display()),
        }
    }

    pub fn is_here(&self) -> bool {
        self.host == this_host() || self.socket.exists()
    }
}

pub fn this_host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// What a user calls an instance.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Target {
    pub scheme: Scheme,
    wait: bool,
    form: Option<Form>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Scheme {
    /// Steps from this instance.
    Jobs(String),
    Pid(u32),
    Slurm(String),
    Place(Place),
}

impl Target {
    pub fn parse(text: &str) -> Result<Target, Failure> {
        let (plain, query) = text.split_once('?').unwrap_or((text, ""));
        let mut target = Target { scheme: Scheme::Jobs(plain.to_owned()), wait: false, form: None };
        for word in query.split('&').filter(|word| !word.is_empty()) {
            match word {
                "wait" => target.wait = true,
                "local" => target.form = Some(Form::Local),
                "remote" => target.form = Some(Form::Remote),
                _ => {
                    return Err(Failure::usage(format!("`?{word}` says nothing of an instance"))
                        .hint("there are ?wait, ?local and ?remote"));
                }
            }
        }
        target.scheme = if let Some(address) = plain.strip_prefix("ssh://") {
            let (host, path) = address.split_once('/').unwrap_or((address, ""));
            let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
            Scheme::Place(Place { host: host.to_owned(), socket: Path::new("/").join(path) })
        } else if plain.starts_with("local://") {
            Scheme::Place(Place::local(plain)?)
        } else if let Some(pid) = plain.strip_prefix("pid:") {
            let pid = pid.parse().map_err(|_| Failure::usage(format!("`{pid}` is no process id")))?;
            Scheme::Pid(pid)
        } else if let Some(id) = plain.strip_prefix("slurm:") {
            // It becomes a word of a command line.
            if id.is_empty() || !id.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '+' | '.'))
            {
                return Err(Failure::usage(format!("`{id}` is no id of a Slurm job")));
            }
            Scheme::Slurm(id.to_owned())
        } else if let Some((scheme, _)) = plain.split_once(':').filter(|(scheme, _)| *scheme != "jobid") {
            return Err(Failure::usage(format!("there are no targets `{scheme}:`"))
                .hint("jobid: (a job's id is enough), pid:, slurm:, local:// and ssh://"));
        } else {
            Scheme::Jobs(plain.strip_prefix("jobid:").unwrap_or(plain).to_owned())
        };
        Ok(target)
    }

    pub fn place(&self, face: &Face) -> Result<Place, Failure> {
        match &self.scheme {
            Scheme::Place(place) => Ok(place.clone()),
            Scheme::Pid(pid) => of_process(*pid),
            Scheme::Slurm(id) => of_slurm(id),
            Scheme::Jobs(path) => {
                let mut found = None;
                let slot = &mut found;
                face.connected(async |client| {
                    *slot = Some(of_path(face, client, path, self.wait).await?);
                    Ok(0)
                })?;
                Ok(found.expect("it is there when the search has not failed"))
            }
        }
    }
}

/// Goes from instance to instance, as a path says.
async fn of_path(face: &Face, mut client: Client, path: &str, wait: bool) -> Result<Place, Failure> {
    if path.starts_with('/') {
        client = uri::connect(&face.uri()?, uri::Level::Root).await?;
    }
    let mut steps = path.split('/').filter(|step| !step.is_empty() && *step != ".").peekable();
    let mut place = Place::local(&attr::get(&client, "local-uri").await?)?;
    while let Some(step) = steps.next() {
        place = if step == ".." {
            Place::local(&attr::get(&client, "parent-uri").await?)?
        } else {
            of_job(&client, step.parse()?, wait).await?
        };
        if steps.peek().is_some() {
            if !place.is_here() {
                let text =
                    format!("the instance {step} is on {}, and the way goes on from there", place.host);
                return Err(Failure::new(text).hint(format!("`flurm proxy {step} flurm uri …` asks there")));
            }
            client = Client::connect(&flurm_client::Uri::from_path(&place.socket)).await?;
        }
    }
    Ok(place)
}

/// An instance that is a job has told in a memo where it is.
async fn of_job(client: &Client, id: JobId, wait: bool) -> Result<Place, Failure> {
    let wanted = Watch { id, logs: vec![Log::Eventlog], follow: wait, paced: false };
    let mut batches = job::watch(client, &wanted).await?;
    let (mut address, mut host) = (None, None);
    let text = |entry: &Entry, key: &str| Some(entry.context.as_ref()?.get(key)?.as_str()?.to_owned());
    while let Some(batch) = batches.next().await? {
        for (_, entry) in batch.entries.iter().filter(|(_, entry)| entry.name == "memo") {
            address = text(entry, "uri").or(address);
            host = text(entry, "host").or(host);
        }
        if address.is_some() {
            break;
        }
    }
    let address = address.ok_or_else(|| {
        Failure::new(format!("job {id} is no instance that can be reached"))
            .hint("jobs of `flurm batch` and `flurm alloc` are, once they run; --wait waits for that")
    })?;
    let place = Place::local(&address)?;
    Ok(Place { host: host.unwrap_or(place.host), ..place })
}

/// A broker, or a process in an instance.
fn of_process(pid: u32) -> Result<Place, Failure> {
    let gone = || Failure::new(format!("process {pid} is not there, or not yours"));
    let environ = std::fs::read(format!("/proc/{pid}/environ")).map_err(|_| gone())?;
    let found = shells().into_iter().find(|shell| is_below(shell.pid, pid)).map(|shell| shell.uri);
    let variable = |name: &str| {
        let words = environ.split(|byte| *byte == 0).filter_map(|word| std::str::from_utf8(word).ok());
        words.filter_map(|word| word.strip_prefix(name)?.strip_prefix('=')).next().map(str::to_owned)
    };
    let address = found.or_else(|| variable("FLURM_URI")).or_else(|| variable("FLUX_URI"));
    Place::local(&address.ok_or_else(|| Failure::new(format!("process {pid} is in no instance")))?)
}

/// Is `pid` that process, or descended from it?
fn is_below(mut pid: u32, above: u32) -> bool {
    while pid > 1 {
        if pid == above {
            return true;
        }
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
        // The name, in parentheses, may hold anything.
        let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok());
        let Some(parent) = parent else { return false };
        pid = parent;
    }
    false
}

/// The shell of a broker on this machine, whose command line says where the broker listens.
struct Shell {
    pid: u32,
    uri: String,
}

/// All that are ours, the oldest first.
fn shells() -> Vec<Shell> {
    let read = |entry: std::fs::DirEntry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        let words: Vec<&str> =
            line.split(|byte| *byte == 0).filter_map(|word| std::str::from_utf8(word).ok()).collect();
        let at = words.iter().position(|word| *word == "--uri").filter(|_| words.get(1) == Some(&"shell"))?;
        // That we may read its environment says that it is ours.
        std::fs::File::open(entry.path().join("environ")).ok()?;
        Some(Shell { pid, uri: (*words.get(at + 1)?).to_owned() })
    };
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut all: Vec<Shell> = entries.filter_map(read).collect();
    all.sort_by_key(|shell| shell.pid);
    all
}

/// The outermost instance of a Slurm job, seen from one of its nodes.
pub fn in_slurm_job(id: &str) -> Result<Place, Failure> {
    let wanted = format!("SLURM_JOB_ID={id}");
    let is_of_job = |shell: &Shell| {
        std::fs::read(format!("/proc/{}/environ", shell.pid))
            .is_ok_and(|environ| environ.split(|byte| *byte == 0).any(|word| word == wanted.as_bytes()))
    };
    let found = shells().into_iter().find(is_of_job);
    let missing = || {
        Failure::new(format!("no instance of Slurm job {id} on {}", this_host()))
            .hint("start one there with `srun … flurm start`")
    };
    Place::local(&found.ok_or_else(missing)?.uri)
}

/// A command that runs on the first node of a Slurm job, or on `host`, beside what runs there.
pub fn srun(job: &str, host: Option<&str>) -> Command {
    let mut command = Command::new("srun");
    command.args(["--overlap", "--quiet", "--mpi=none", "--cpu-bind=none", "-N1", "-n1"]);
    command.arg(format!("--jobid={job}"));
    command.args(host.map(|host| format!("--nodelist={host}")));
    command
}

/// What is asked of the far side.
pub fn own_program() -> Result<OsString, Failure> {
    let path = std::env::current_exe().map_err(|e| Failure::new(format!("cannot find this program: {e}")))?;
    Ok(path.into_os_string())
}

fn of_slurm(id: &str) -> Result<Place, Failure> {
    let mut command = srun(id, None);
    command.arg(own_program()?).args(["relay", "--where", "--slurm", id]).stdin(Stdio::null());
    let done = command.output().map_err(|error| {
        Failure::new(format!("cannot run srun: {error}"))
            .hint("`slurm:` is for machines with Slurm's commands")
    })?;
    let said = String::from_utf8_lossy(&done.stdout).trim().to_owned();
    match said.strip_prefix("ssh://").and_then(|address| address.split_once('/')) {
        Some((host, path)) if done.status.success() => {
            Ok(Place { host: host.to_owned(), socket: Path::new("/").join(path) })
        }
        Some(_) | None => {
            let why = String::from_utf8_lossy(&done.stderr);
            let why = why.lines().next_back().unwrap_or("srun says nothing").to_owned();
            Err(Failure::new(format!("cannot find the instance of Slurm job {id}: {why}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read() {
        let scheme = |text: &str| Target::parse(text).map(|target| target.scheme);
        let place = Place { host: "n1".into(), socket: "/tmp/x/local".into() };
        assert_eq!(scheme("ƒ1/ƒ2"), Ok(Scheme::Jobs("ƒ1/ƒ2".into())));
        assert_eq!(scheme("jobid:.."), Ok(Scheme::Jobs("..".into())));
        assert_eq!(scheme("pid:12"), Ok(Scheme::Pid(12)));
        assert_eq!(scheme("slurm:77"), Ok(Scheme::Slurm("77".into())));
        assert_eq!(scheme("ssh://me@n1/tmp/x/local"), Ok(Scheme::Place(place.clone())));
        for wrong in ["lsf:1", "pid:x", "slurm:", "slurm:1;x", "ƒ1?soon", "local://x"] {
            assert!(Target::parse(wrong).is_err(), "{wrong}");
        }
        let target = Target::parse("ƒ1?wait&local").unwrap();
        assert_eq!((target.wait, target.form), (true, Some(Form::Local)));
        assert_eq!(place.text(None), "ssh://n1/tmp/x/local");
        assert_eq!(place.text(Some(Form::Local)), "local:///tmp/x/local");
    }

    #[test]
    fn we_are_below_ourselves() {
        assert!(is_below(std::process::id(), std::process::id()));
        assert!(!is_below(1, std::process::id()));
    }
}
