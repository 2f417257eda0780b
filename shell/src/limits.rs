//! Resource limits of tasks: their names, and what a job's rules come to on this node.

use crate::spawn::Limit;

/// Names as users write them, small.
const LIMITS: [(&str, Limit); 15] = [
    ("as", libc::RLIMIT_AS),
    ("core", libc::RLIMIT_CORE),
    ("cpu", libc::RLIMIT_CPU),
    ("data", libc::RLIMIT_DATA),
    ("fsize", libc::RLIMIT_FSIZE),
    ("memlock", libc::RLIMIT_MEMLOCK),
    ("msgqueue", libc::RLIMIT_MSGQUEUE),
    ("nice", libc::RLIMIT_NICE),
    ("nofile", libc::RLIMIT_NOFILE),
    ("nproc", libc::RLIMIT_NPROC),
    ("rss", libc::RLIMIT_RSS),
    ("rtprio", libc::RLIMIT_RTPRIO),
    ("rttime", libc::RLIMIT_RTTIME),
    ("sigpending", libc::RLIMIT_SIGPENDING),
    ("stack", libc::RLIMIT_STACK),
];

/// The limit of that name; `ofile` is Flux's other word for `nofile`.
pub fn find(name: &str) -> Option<Limit> {
    let small = name.to_ascii_lowercase();
    let small = if small == "ofile" { "nofile" } else { &small };
    LIMITS.iter().find(|(name, _)| *name == small).map(|(_, limit)| *limit)
}

/// Its name, for messages.
pub fn name(limit: Limit) -> &'static str {
    LIMITS.iter().find(|(_, known)| *known == limit).map_or("locks", |(name, _)| name)
}

/// What a job's rules come to on this node.
#[derive(Debug, Default)]
pub struct Limits {
    /// Other than ours, which tasks have anyway: every job brings its submitter's, and they mostly are the same.
    pub set: Vec<(Limit, libc::rlimit)>,
    /// Those for which a hard limit of this node is lower, in words.
    pub lowered: Vec<String>,
}

/// What `rules` (soft limits, none is "unlimited") come to here.
///
/// # Errors
/// A name that is no limit.
pub fn read(rules: &[(String, Option<u64>)]) -> Result<Limits, String> {
    let mut limits = Limits::default();
    for (name, soft) in rules {
        let resource = find(name).ok_or_else(|| name.clone())?;
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: a known resource and a writable limit.
        unsafe { libc::getrlimit(resource, &raw mut limit) };
        let wanted = soft.unwrap_or(libc::RLIM_INFINITY);
        if wanted > limit.rlim_max {
            limits.lowered.push(format!("{name} is {}, the hard limit here", limit.rlim_max));
        }
        let ours = std::mem::replace(&mut limit.rlim_cur, wanted.min(limit.rlim_max));
        if ours != limit.rlim_cur {
            limits.set.push((resource, limit));
        }
    }
    Ok(limits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_above_the_hard_limit_is_lowered_and_said() {
        let rules = |list: &[(&str, Option<u64>)]| -> Vec<(String, Option<u64>)> {
            list.iter().map(|(name, soft)| ((*name).to_owned(), *soft)).collect()
        };
        let Limits { set, lowered } = read(&rules(&[("CPU", Some(1000)), ("OFILE", None)])).unwrap();
        assert_eq!((set[0].0, set[0].1.rlim_cur), (libc::RLIMIT_CPU, 1000));
        // No kernel gives anybody an unlimited number of files.
        assert!(lowered.len() == 1 && lowered[0].starts_with("OFILE is "), "{lowered:?}");
        assert!(
            set[1..].iter().all(|(limit, to)| *limit == libc::RLIMIT_NOFILE && to.rlim_cur == to.rlim_max)
        );
        let cpu = rustix::process::getrlimit(rustix::process::Resource::Cpu).current;
        assert!(read(&rules(&[("cpu", cpu)])).unwrap().set.is_empty(), "there is nothing to set");
        assert_eq!(read(&rules(&[("much", None)])).err().as_deref(), Some("much"));
        assert_eq!((name(libc::RLIMIT_NOFILE), name(libc::RLIMIT_LOCKS)), ("nofile", "locks"));
    }
}
