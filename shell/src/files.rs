//! Descriptors of tasks: files, pipes and terminals, opened before the task starts.
//!
//! A file that one task alone writes is the task's own descriptor, and costs nothing here. One that several tasks or both
//! streams of labelled lines go to is written by the shell, whole lines at a time.

use crate::archive;
use crate::io::Lines;
use crate::launch::{Failure, Outlet};
use crate::options::{Sink, Source};
use crate::plan::Plan;
use crate::pty;
use flurm_wire::rexec::Stream;
use rustix::fs::{Mode, OFlags};
use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, OnceLock};

/// Files of the job's tasks. One that several tasks share is written by us, line by line.
#[derive(Debug, Default)]
pub(crate) struct Files {
    /// Standard input by local number of the task.
    inputs: BTreeMap<usize, File>,
    paths: BTreeMap<String, Shared>,
}

#[derive(Debug)]
struct Shared {
    file: Arc<Lines>,
    tasks: usize,
}

/// Descriptors of one task, and what keeps them open until it has started.
pub(crate) struct Stdio {
    pub stdio: [i32; 3],
    pub stdin: Option<OwnedFd>,
    pub outlets: Vec<Outlet>,
    /// Our end of its terminal, if it has one.
    pub terminal: Option<OwnedFd>,
    theirs: Vec<OwnedFd>,
    files: Vec<Arc<Lines>>,
}

impl Files {
    /// Opens every output file of this rank once, and an input file for each task that has one.
    pub fn open(plan: &Plan) -> Result<Files, Failure> {
        let mut inputs = BTreeMap::new();
        if let Source::File(template) = &plan.options.stdin {
            for local in 0..plan.tasks.len() {
                let path = rendered(plan, local, template)?;
                inputs.insert(local, File::open(&path).map_err(|e| Failure::of(&path, &e))?);
            }
        }
        let mut paths: BTreeMap<String, Shared> = BTreeMap::new();
        for local in 0..plan.tasks.len() {
            let mut of_task: Vec<String> = Vec::new();
            for sink in [&plan.options.stdout, &plan.options.stderr] {
                let Sink::File { template, .. } = sink else { continue };
                let path = rendered(plan, local, template)?;
                if of_task.contains(&path) {
                    continue;
                }
                match paths.get_mut(&path) {
                    Some(shared) => shared.tasks += 1,
                    None => {
                        let file = Arc::new(Lines::new(open_output(plan, &path)?));
                        paths.insert(path.clone(), Shared { file, tasks: 1 });
                    }
                }
                of_task.push(path);
            }
        }
        if let Some(path) =
            plan.archive().map_err(|note| Failure { note, status: 1 << 8, errno: libc::EINVAL })?
        {
            archive::check(&path, plan.options.file_mode()).map_err(|e| Failure::of_archive(&path, &e))?;
        }
        Ok(Files { inputs, paths })
    }

    pub fn stdio(&mut self, plan: &Plan, local: usize) -> Result<Stdio, Failure> {
        let mut out = Stdio {
            stdio: [0, 1, 2],
            stdin: None,
            outlets: Vec::new(),
            terminal: None,
            theirs: Vec::new(),
            files: Vec::new(),
        };
        let terminal = plan.options.pty.as_ref().filter(|pty| pty.has(plan.tasks[local]));
        let opened = terminal.map(|pty| pty::open(pty.size)).transpose();
        let opened = opened.map_err(|e| Failure::of("pseudo terminal", &e))?;
        out.stdio[0] = match (&plan.options.stdin, &opened) {
            (Source::Nothing, None) => null()?,
            (Source::Nothing, Some(pty)) => {
                // Nobody will type there: who reads it finds the end of input.
                let _ = rustix::io::write(&pty.ours, &[pty::END_OF_INPUT]);
                pty.theirs.as_raw_fd()
            }
            (Source::Service, Some(pty)) => {
                out.stdin = Some(pty.ours_again()?);
                pty.theirs.as_raw_fd()
            }
            (Source::Service, None) => {
                let (ours, theirs) = pipe(false)?;
                out.stdin = Some(ours);
                out.holds(theirs)
            }
            (Source::File(_), _) => {
                let file = self.inputs.remove(&local).expect("opened for each task, used once");
                out.holds(file.into())
            }
        };
        if let Some(pty) = opened {
            let file = self.written_by_us(plan, local, &plan.options.stdout)?;
            out.terminal = Some(pty.ours_again()?);
            out.outlets.push(Outlet { stream: Stream::Stdout, pipe: pty.ours, file });
            let theirs = out.holds(pty.theirs);
            (out.stdio[1], out.stdio[2]) = (theirs, theirs);
            return Ok(out);
        }
        let sinks = [(Stream::Stdout, &plan.options.stdout), (Stream::Stderr, &plan.options.stderr)];
        for (at, (stream, sink)) in (1..).zip(sinks) {
            if let Sink::File { template, label: false } = sink {
                let shared = &self.paths[&rendered(plan, local, template)?];
                if shared.tasks == 1 {
                    out.files.push(Arc::clone(&shared.file));
                    out.stdio[at] = shared.file.file.as_raw_fd();
                    continue;
                }
            }
            let file = self.written_by_us(plan, local, sink)?;
            let (ours, theirs) = pipe(true)?;
            out.stdio[at] = out.holds(theirs);
            out.outlets.push(Outlet { stream, pipe: ours, file });
        }
        Ok(out)
    }

    /// Where we write what comes from a task, and what each line begins with; none: to the job's log.
    fn written_by_us(
        &self,
        plan: &Plan,
        local: usize,
        sink: &Sink,
    ) -> Result<Option<(Arc<Lines>, String)>, Failure> {
        let Sink::File { template, label } = sink else { return Ok(None) };
        let file = Arc::clone(&self.paths[&rendered(plan, local, template)?].file);
        let label = if *label { format!("{}: ", plan.tasks[local]) } else { String::new() };
        Ok(Some((file, label)))
    }
}

impl Stdio {
    /// A line on the task's standard error, before its program writes there: the pipe is still empty.
    pub fn tell(&self, line: &str) {
        let stderr = self.stdio[2];
        // Whoever closed the other end does not want to know.
        if let Some(pipe) = self.theirs.iter().find(|fd| fd.as_raw_fd() == stderr) {
            let _ = rustix::io::write(pipe, line.as_bytes());
        } else if let Some(file) = self.files.iter().find(|lines| lines.file.as_raw_fd() == stderr) {
            let _ = rustix::io::write(&file.file, line.as_bytes());
        }
    }

    fn holds(&mut self, fd: OwnedFd) -> i32 {
        let raw = fd.as_raw_fd();
        self.theirs.push(fd);
        raw
    }
}

pub(crate) fn rendered(plan: &Plan, local: usize, template: &str) -> Result<String, Failure> {
    let path = plan.with_tags(Some(local), |tags| tags.render(template));
    let path = path.map_err(|unknown| Failure {
        note: format!("file name `{template}`: {unknown}"),
        status: 1 << 8,
        errno: libc::EINVAL,
    })?;
    Ok(Path::new(&plan.cwd).join(path).to_string_lossy().into_owned())
}

/// Emptied here, by each node that opens it: none of them writes before all have ([`Plan::shares_files`]).
fn open_output(plan: &Plan, path: &str) -> Result<File, Failure> {
    // With O_APPEND every write lands whole at the end, whoever else writes.
    File::options()
        .append(true)
        .create(true)
        .mode(plan.options.file_mode())
        .custom_flags(if plan.options.append { 0 } else { libc::O_TRUNC })
        .open(path)
        .map_err(|e| Failure::of(path, &e))
}

/// `/dev/null`, opened once.
pub(crate) fn null() -> Result<i32, Failure> {
    static NULL: OnceLock<OwnedFd> = OnceLock::new();
    if let Some(fd) = NULL.get() {
        return Ok(fd.as_raw_fd());
    }
    let fd = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(|e| Failure::of("/dev/null", &e.into()))?;
    Ok(NULL.get_or_init(|| fd).as_raw_fd())
}

/// A pipe whose end on our side does not block.
pub(crate) fn pipe(ours_reads: bool) -> Result<(OwnedFd, OwnedFd), Failure> {
    let fail = |e: rustix::io::Errno| Failure::of("pipe", &e.into());
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(fail)?;
    let (ours, theirs) = if ours_reads { (read, write) } else { (write, read) };
    rustix::io::ioctl_fionbio(&ours, true).map_err(fail)?;
    Ok((ours, theirs))
}
