//! Families of processes: which job a process belongs to, and how a job's last descendant is found and ended.
//!
//! ```text
//! Open --end(): TERM to all--> Terming --grace over: KILL to all--> Killing
//!   |                              |                                   |
//!   `-- all tasks gone, nobody left: over <----------------------------'
//! ```
//!
//! The shell is a subreaper: whatever loses its parent below it becomes its child. Tasks are children of launcher
//! threads; only adopted orphans are children of the main thread. So one system call tells whether a finished job can
//! have left anything behind (`wait4` for the main thread's children only), and `/proc` is read only when it did.
//!
//! An orphan's job is known by its tag, a soft `RLIMIT_LOCKS` that is inherited across fork, exec, setsid and a cleared
//! environment. A tag is a path: a shell inside a job of another shell writes its numbers behind its own tag, so that
//! the outer one still recognizes all below. Who changes that limit is recognized by process group and session.
//!
//! A shell that is killed leaves its orphans to the guard of its broker. The next shell of that place finds them: a tag ends
//! with a number for the place.

use rustix::process::{Pid, PidfdFlags, Resource, Signal};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

/// Number of a family; not given to another one while it lives.
pub type Field = u16;

/// Time between TERM and KILL when nobody says otherwise.
pub const GRACE_MS: u64 = 5000;

/// While leftovers are awaited, `/proc` is looked at this often at most.
const SCAN_EVERY: Duration = Duration::from_millis(20);

/// Processes below us, by whom they belong to.
#[derive(Debug)]
pub struct Families {
    me: i32,
    tags: Tags,
    next: Field,
    families: BTreeMap<Field, Family>,
    /// Tasks that have not been reaped.
    tasks: BTreeMap<i32, Field>,
    /// Adopted processes of families that live, or of nobody we know.
    orphans: BTreeMap<i32, Option<Field>>,
    scan_after: Instant,
    grace: Duration,
}

#[derive(Debug)]
struct Family {
    /// Its tasks may still be on their way.
    starting: bool,
    alive: BTreeSet<i32>,
    /// Process groups of its tasks.
    groups: BTreeSet<i32>,
    end: End,
}

#[derive(Debug)]
enum End {
    Open,
    /// Who has had its TERM; and when the grace time is over.
    Terming {
        told: BTreeSet<i32>,
        kill_at: Instant,
    },
    Killing,
}

/// A child that has ended.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Exit {
    pub pid: i32,
    /// Wait status.
    pub status: i32,
    /// The largest that it, or a descendant it has waited for, has been.
    pub peak_kib: u64,
    /// Processor time of all of them.
    pub cpu: Duration,
}

impl Families {
    /// Makes this process adopt orphans. To be called on the main thread. `place` is ours alone on this host.
    pub fn new(grace_ms: u64, place: &Path) -> Families {
        let me = rustix::process::getpid();
        // Without it (kernels before 3.4) orphans would be lost to us, but jobs run.
        let _ = rustix::process::set_child_subreaper(Some(me));
        let limit = rustix::process::getrlimit(Resource::Locks);
        Families {
            me: me.as_raw_pid(),
            tags: Tags::below(limit.current, limit.maximum, place),
            next: 0,
            families: BTreeMap::new(),
            tasks: BTreeMap::new(),
            orphans: BTreeMap::new(),
            scan_after: Instant::now(),
            grace: Duration::from_millis(grace_ms),
        }
    }

    /// A new family and the tag for its tasks. None when 65,535 live.
    pub fn found(&mut self) -> Option<(Field, Option<u64>)> {
        let used = &self.families;
        let next = self.next;
        let field =
            (1..=Field::MAX).map(|n| next.wrapping_add(n)).find(|n| *n != 0 && !used.contains_key(n))?;
        self.next = field;
        let family =
            Family { starting: true, alive: BTreeSet::new(), groups: BTreeSet::new(), end: End::Open };
        self.families.insert(field, family);
        Some((field, self.tags.tag(field)))
    }

    /// Does no family live?
    pub fn is_empty(&self) -> bool {
        self.families.is_empty()
    }

    /// These tasks have started; no more will come. Those in `ended` have been reaped already: nothing must be sent to
    /// their numbers, but a process that they have left can still be known by its group.
    pub fn started(&mut self, field: Field, pids: impl IntoIterator<Item = i32>, ended: &[i32]) {
        let Some(family) = self.families.get_mut(&field) else { return };
        family.starting = false;
        for pid in pids {
            family.groups.insert(pid);
            if !ended.contains(&pid) {
                family.alive.insert(pid);
                self.tasks.insert(pid, field);
            }
        }
    }

    /// Signal all tasks of a family, each with its process group.
    pub fn signal(&self, field: Field, signum: i32) {
        for pid in self.families.get(&field).iter().flat_map(|family| &family.alive) {
            signal_group(*pid, signum);
        }
    }

    /// Signal all tasks of a family, and nothing that they have started.
    pub fn signal_alone(&self, field: Field, signum: i32) {
        for pid in self.families.get(&field).iter().flat_map(|family| &family.alive) {
            // SAFETY: sending a signal touches no memory of ours. The number is that of a child not reaped yet.
            unsafe { libc::kill(*pid, signum) };
        }
    }

    /// Begins to end a family, or shortens the grace time of one that ends already.
    pub fn end(&mut self, field: Field, now: Instant, grace: Duration) {
        let Some(family) = self.families.get_mut(&field) else { return };
        let at = now + grace;
        match &mut family.end {
            End::Open => {
                family.end = End::Terming { told: family.alive.clone(), kill_at: at };
                for pid in &family.alive {
                    signal_group(*pid, libc::SIGTERM);
                    // A stopped process would not see it.
                    signal_group(*pid, libc::SIGCONT);
                }
            }
            End::Terming { kill_at, .. } => *kill_at = at.min(*kill_at),
            End::Killing => {}
        }
    }

    pub fn end_all(&mut self, now: Instant, grace: Duration) {
        let all: Vec<Field> = self.families.keys().copied().collect();
        all.into_iter().for_each(|field| self.end(field, now, grace));
    }

    /// Takes the exits of all children that have ended.
    pub fn reap(&mut self) -> Vec<Exit> {
        let mut exits = Vec::new();
        while let Some(exit) = wait() {
            self.buried(exit.pid);
            exits.push(exit);
        }
        exits
    }

    /// A task that has ended and been reaped.
    pub fn buried(&mut self, pid: i32) {
        self.orphans.remove(&pid);
        if let Some(family) = self.tasks.remove(&pid).and_then(|field| self.families.get_mut(&field)) {
            family.alive.remove(&pid);
        }
    }

    /// Kills what is due and finds families of which nobody is left; they are forgotten. Exits that this took along
    /// are added.
    pub fn settle(&mut self, now: Instant, exits: &mut Vec<Exit>) -> Vec<Field> {
        let mut urgent = false;
        for family in self.families.values_mut() {
            if matches!(&family.end, End::Terming { kill_at, .. } if *kill_at <= now) {
                family.end = End::Killing;
                urgent = true;
            }
        }
        let killing = self.families.values().any(|f| matches!(f.end, End::Killing));
        let bereft = self.families.iter().filter(|(_, f)| !f.starting && f.alive.is_empty());
        let mut over: Vec<Field> = bereft.map(|(field, _)| *field).collect();
        let left = !over.is_empty() && self.has_orphans(exits);
        if !left {
            self.orphans.clear();
        }
        if left || killing {
            if urgent || now >= self.scan_after {
                self.scan(now, &over);
                over.retain(|field| !self.orphans.values().any(|of| *of == Some(*field)));
            } else if left {
                over.clear();
            }
        }
        for field in &over {
            self.families.remove(field);
        }
        over
    }

    /// Is any adopted process left? Buries those that have ended.
    fn has_orphans(&mut self, exits: &mut Vec<Exit>) -> bool {
        loop {
            match wait_for(libc::WNOHANG | libc::__WNOTHREAD) {
                Ok(None) => return true,
                Ok(Some(exit)) => {
                    self.buried(exit.pid);
                    exits.push(exit);
                }
                // ECHILD.
                Err(()) => return false,
            }
        }
    }

    /// Looks through `/proc` for the descendants of families that end, and of those in `bereft`.
    fn scan(&mut self, now: Instant, bereft: &[Field]) {
        let tree = Tree::read();
        // On a node with very many processes a look takes long, so it is taken less often.
        self.scan_after = now + SCAN_EVERY.max(now.elapsed() * 10);
        self.attribute(&tree);
        for field in bereft {
            let left = self.orphans.values().any(|of| *of == Some(*field));
            if left
                && let Some(family) = self.families.get_mut(field)
                && matches!(family.end, End::Open)
            {
                family.end = End::Terming { told: BTreeSet::new(), kill_at: now + self.grace };
            }
        }
        for (field, family) in &mut self.families {
            if matches!(family.end, End::Open) {
                continue;
            }
            let orphans = self.orphans.iter().filter(|(_, of)| **of == Some(*field)).map(|(pid, _)| *pid);
            match &mut family.end {
                End::Open => {}
                // Tasks have had theirs, and what they start since then may be what they do before they end. What they
                // leave is told once, with all that is below it then.
                End::Terming { told, .. } if family.alive.is_empty() => {
                    let left = orphans.filter(|pid| !told.contains(pid));
                    let mut members = tree.below(left);
                    members.retain(|p| !told.contains(&p.pid));
                    for member in &members {
                        member.signal(libc::SIGTERM, self.me);
                        member.signal(libc::SIGCONT, self.me);
                    }
                    told.extend(members.iter().map(|p| p.pid));
                }
                End::Terming { .. } => {}
                End::Killing => {
                    let members = tree.below(family.alive.iter().copied().chain(orphans));
                    family.alive.iter().for_each(|pid| signal_group(*pid, libc::SIGKILL));
                    members.iter().for_each(|p| p.signal(libc::SIGKILL, self.me));
                }
            }
        }
    }

    /// Finds out whose the adopted processes are.
    fn attribute(&mut self, tree: &Tree) {
        let found = tree.children(self.me).filter(|p| !self.tasks.contains_key(&p.pid));
        let mut orphans = BTreeMap::new();
        for process in found {
            let known = self.orphans.get(&process.pid).copied().flatten();
            orphans.insert(process.pid, known.or_else(|| self.family_of(process)));
        }
        self.orphans = orphans;
    }

    fn family_of(&self, process: &Process) -> Option<Field> {
        let by_tag = read_tag(process.pid).and_then(|tag| self.tags.field(tag));
        by_tag.filter(|field| self.families.contains_key(field)).or_else(|| {
            let of = |f: &Family| f.groups.contains(&process.group) || f.groups.contains(&process.session);
            self.families.iter().find(|(_, family)| of(family)).map(|(field, _)| *field)
        })
    }

    /// Who is there now, by family.
    pub fn members(&mut self) -> Vec<(Field, Vec<i32>)> {
        let tree = Tree::read();
        self.attribute(&tree);
        let of = |(field, family): (&Field, &Family)| {
            let orphans = self.orphans.iter().filter(|(_, of)| **of == Some(*field)).map(|(pid, _)| *pid);
            let roots = family.alive.iter().copied().chain(orphans);
            (*field, tree.below(roots).into_iter().map(|process| process.pid).collect())
        };
        self.families.iter().map(of).collect()
    }

    /// When to call [`Families::settle`] again without an exit.
    pub fn next_due(&self) -> Option<Instant> {
        self.families
            .values()
            .filter_map(|family| match &family.end {
                End::Open if !family.starting && family.alive.is_empty() => Some(self.scan_after),
                End::Open => None,
                End::Terming { kill_at, .. } if family.alive.is_empty() => {
                    Some((*kill_at).min(self.scan_after))
                }
                End::Terming { kill_at, .. } => Some(*kill_at),
                End::Killing => Some(self.scan_after),
            })
            .min()
    }

    /// Before the shell leaves: kills every descendant, whose ever it is. True when there is none.
    pub fn nobody_left(&mut self) -> bool {
        let mut exits = Vec::new();
        while wait().is_some() {}
        if self.tasks.is_empty() && !self.has_orphans(&mut exits) {
            return true;
        }
        let tree = Tree::read();
        tree.below([self.me])
            .iter()
            .filter(|p| p.pid != self.me)
            .for_each(|p| p.signal(libc::SIGKILL, self.me));
        false
    }
}

/// How long what a killed shell has left is looked for.
const LEFTOVERS_MAX: Duration = Duration::from_secs(1);
/// Between two looks at it.
const LOOK: Duration = Duration::from_millis(2);

/// Kills what the tasks of a killed shell have started: the kernel has killed the tasks themselves. They are known by
/// the directory that each job was given below `base`; who has cleared its environment, by its tag.
///
/// One look may miss some: a process forks behind our back, and one in the middle of its exec shows no environment. So
/// we look until there is nothing left to be seen.
pub fn kill_leftovers(base: &Path) {
    let name = "\0FLURM_JOB_TMPDIR=";
    let mark = format!("{name}{}/", base.display());
    let me = rustix::process::getpid().as_raw_pid();
    let limit = rustix::process::getrlimit(Resource::Locks);
    let tags = Tags::below(limit.current, limit.maximum, base);
    let end = Instant::now() + LEFTOVERS_MAX;
    loop {
        let tree = Tree::read();
        let mut again = false;
        for process in tree.by_parent.values().flatten().filter(|process| process.pid != me) {
            // Unreadable ones are not ours.
            let environment = std::fs::read(format!("/proc/{}/environ", process.pid)).unwrap_or_default();
            let has = |text: &str| environment.windows(text.len()).any(|part| part == text.as_bytes());
            // With such a variable it is known whose it is.
            let hides = || !has(name) && read_tag(process.pid).is_some_and(|tag| tags.is_ours(tag));
            if has(&mark) || hides() {
                tracing::warn!(pid = process.pid, "kill what a shell before us has left");
                process.signal(libc::SIGKILL, me);
                again = true;
            }
        }
        if !again || Instant::now() >= end {
            return;
        }
        std::thread::sleep(LOOK);
    }
}

fn wait() -> Option<Exit> {
    // Children of all threads of this process are ours to reap.
    wait_for(libc::WNOHANG).ok().flatten()
}

/// None when nobody has ended yet; an error when there is nobody.
fn wait_for(flags: i32) -> Result<Option<Exit>, ()> {
    let mut status = 0;
    // SAFETY: all zeros is a value of it.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: a writable status and usage; no child means no effect.
    let pid = unsafe { libc::wait4(-1, &raw mut status, flags, &raw mut usage) };
    let time = |time: libc::timeval| {
        Duration::from_micros(time.tv_sec.unsigned_abs() * 1_000_000 + time.tv_usec.unsigned_abs())
    };
    match pid {
        0 => Ok(None),
        pid if pid > 0 => Ok(Some(Exit {
            pid,
            status,
            peak_kib: usage.ru_maxrss.unsigned_abs(),
            cpu: time(usage.ru_utime) + time(usage.ru_stime),
        })),
        _ => Err(()),
    }
}

/// To a task's process group, and to the task itself should it have left the group. The pid is a child of ours that has
/// not been reaped, so its number cannot be anybody else's.
fn signal_group(pid: i32, signum: i32) {
    // SAFETY: sending a signal touches no memory of ours.
    unsafe {
        if libc::getpgid(pid) != pid || libc::kill(-pid, signum) != 0 {
            libc::kill(pid, signum);
        }
    }
}

/// Numbers of families, nested: a field of 16 bits for each shell on the way down, and a number for the last one's place.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
struct Tags {
    /// What all tags of this shell begin with; none when this host's limit leaves no room.
    prefix: Option<(u64, u32)>,
    place: u64,
}

/// Tells our numbers from limits that somebody has really set.
const MARK: u64 = 1 << 62;
/// Where the fields of nested shells begin. Deeper ones are found as descendants of the deepest that has one.
const SHIFTS: [u32; 3] = [46, 30, 14];
const FIELD: u64 = 0xffff;
/// Below the last field.
const PLACE: u64 = (1 << 14) - 1;

impl Tags {
    fn below(own: Option<u64>, hard: Option<u64>, place: &Path) -> Tags {
        let place = number_of(place);
        if hard.is_some_and(|hard| hard < MARK << 1) {
            return Tags { prefix: None, place };
        }
        match own {
            Some(own) if is_tag(own) => {
                let free = SHIFTS.into_iter().find(|shift| own >> shift & FIELD == 0);
                Tags { prefix: free.map(|shift| (own & !PLACE, shift)), place }
            }
            _ => Tags { prefix: Some((MARK, SHIFTS[0])), place },
        }
    }

    fn tag(self, field: Field) -> Option<u64> {
        self.prefix.map(|(prefix, shift)| prefix | u64::from(field) << shift | self.place)
    }

    /// Has a shell of this place given it to its own tasks?
    fn is_ours(self, tag: u64) -> bool {
        self.field(tag).is_some_and(|field| self.tag(field) == Some(tag))
    }

    fn field(self, tag: u64) -> Option<Field> {
        let (prefix, shift) = self.prefix?;
        let above = shift + Field::BITS;
        (tag >> above == prefix >> above)
            .then_some((tag >> shift & FIELD) as Field)
            .filter(|field| *field != 0)
    }
}

/// A number for a directory: of two places on one host, it is the same once in 16,384 times (FNV-1a, folded).
fn number_of(place: &Path) -> u64 {
    let bytes = place.as_os_str().as_encoded_bytes().iter();
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (hash ^ hash >> 14 ^ hash >> 28 ^ hash >> 42 ^ hash >> 56) & PLACE
}

/// Not a limit that somebody has set, nor none.
fn is_tag(limit: u64) -> bool {
    limit >> 62 == 1
}

/// Readable for everybody, whatever the process has become.
fn read_tag(pid: i32) -> Option<u64> {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max file locks"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// All processes of this host at one moment (or nearly), by parent.
#[derive(Debug, Default)]
struct Tree {
    by_parent: BTreeMap<i32, Vec<Process>>,
}

#[derive(Copy, Clone, Debug, Eq, PartialEq)]
struct Process {
    pid: i32,
    parent: i32,
    group: i32,
    session: i32,
}

impl Tree {
    fn read() -> Tree {
        let mut tree = Tree::default();
        let Ok(entries) = std::fs::read_dir("/proc") else { return tree };
        for entry in entries.flatten() {
            let pid = entry.file_name().to_str().and_then(|name| name.parse().ok());
            if let Some(process) = pid.and_then(Process::read) {
                tree.by_parent.entry(process.parent).or_default().push(process);
            }
        }
        tree
    }

    fn children(&self, pid: i32) -> impl Iterator<Item = &Process> {
        self.by_parent.get(&pid).into_iter().flatten()
    }

    /// These processes and all below them.
    fn below(&self, roots: impl IntoIterator<Item = i32>) -> Vec<Process> {
        let roots: BTreeSet<i32> = roots.into_iter().collect();
        let all = self.by_parent.values().flatten();
        let mut members: Vec<Process> = all.filter(|p| roots.contains(&p.pid)).copied().collect();
        let mut seen: BTreeSet<i32> = roots;
        let mut at = 0;
        while at < members.len() {
            let pid = members[at].pid;
            members.extend(self.children(pid).filter(|p| seen.insert(p.pid)));
            at += 1;
        }
        members
    }
}

impl Process {
    /// None for one that is gone, or dead and only waits to be reaped.
    fn read(pid: i32) -> Option<Process> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in parentheses may hold anything.
        let mut fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace();
        if fields.next()? == "Z" {
            return None;
        }
        let mut number = || fields.next()?.parse().ok();
        Some(Process { pid, parent: number()?, group: number()?, session: number()? })
    }

    /// A child of ours keeps its number until we reap it. Any other may have gone and its number be another's: the
    /// pidfd holds on to the process, and then its parent is looked at again.
    fn signal(&self, signum: i32, me: i32) {
        let (Some(pid), Some(signal)) = (Pid::from_raw(self.pid), Signal::from_named_raw(signum)) else {
            return;
        };
        if self.parent == me {
            // It may be a zombie by now.
            let _ = rustix::process::kill_process(pid, signal);
            return;
        }
        match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
            Ok(fd) if Process::read(self.pid).is_some_and(|again| again.session == self.session) => {
                // It may have gone; that is what we want.
                let _ = rustix::process::pidfd_send_signal(fd, signal);
            }
            Ok(_) => {}
            Err(rustix::io::Errno::NOSYS) => {
                let _ = rustix::process::kill_process(pid, signal);
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_nest_and_are_recognized_from_outside() {
        let below = |own, hard| Tags::below(own, hard, Path::new("/run/a/0"));
        let outer = below(None, None);
        let tag = outer.tag(7).unwrap();
        let inner = below(Some(tag), None);
        let deep = inner.tag(9).unwrap();
        assert_eq!((outer.field(tag), outer.field(deep), inner.field(deep)), (Some(7), Some(7), Some(9)));
        assert_eq!((inner.field(tag), inner.field(outer.tag(8).unwrap())), (None, None));
        assert_eq!(outer.field(1000), None);
        assert_eq!(below(None, Some(4096)).tag(1), None);
        let deepest = below(Some(below(Some(deep), None).tag(1).unwrap()), None);
        assert_eq!(deepest.tag(1), None);
        // The next shell of a place knows its tags, and no other's.
        assert!(outer.is_ours(tag) && inner.is_ours(deep));
        assert!(!outer.is_ours(deep) && !inner.is_ours(tag));
        let elsewhere = Tags::below(None, None, Path::new("/run/a/1"));
        assert!(!elsewhere.is_ours(tag) && elsewhere.field(tag) == Some(7));
    }

    #[test]
    fn a_task_that_was_reaped_before_it_was_known_gets_no_signal() {
        let mut families = Families {
            me: 0,
            tags: Tags::below(None, None, Path::new("/run/a/0")),
            next: 0,
            families: BTreeMap::new(),
            tasks: BTreeMap::new(),
            orphans: BTreeMap::new(),
            scan_after: Instant::now(),
            grace: Duration::ZERO,
        };
        let (field, _) = families.found().unwrap();
        // Stands for a process that was given the number of a task which has ended.
        let mut other = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = other.id().cast_signed();
        families.started(field, [pid], &[pid]);
        families.signal(field, libc::SIGKILL);
        families.end(field, Instant::now(), Duration::ZERO);
        let told = |family: &Family| matches!(&family.end, End::Terming { told, .. } if told.is_empty());
        assert!(told(&families.families[&field]));
        assert!(other.try_wait().unwrap().is_none(), "it lives");
        other.kill().unwrap();
        other.wait().unwrap();
    }
}
