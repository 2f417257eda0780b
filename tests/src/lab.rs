//! A real Slurm cluster of three nodes on this machine, with an ordinary user.
//!
//! Needs root (namespaces) and Debian's Slurm packages. Where they cannot be had tests print why and what to do, and
//! fail if `FLURM_REQUIRE_LAB` is set (as it is in CI).

use crate::{Ran, eventually, flurm_bin, run};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// One cluster at a time: two cores carry three nodes' daemons well, not nine's.
static ONE: Mutex<()> = Mutex::new(());

/// A cluster that is taken down when the test ends, however it ends.
#[derive(Debug)]
pub struct Lab {
    dir: PathBuf,
    /// Of the user, on all nodes.
    pub home: PathBuf,
    _one: MutexGuard<'static, ()>,
}

fn script() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("lab/slurm-testbed.sh")
}

impl Lab {
    /// None (said on stderr) where there can be no cluster.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn up(name: &str) -> Option<Lab> {
        Lab::with(name, &[])
    }

    /// The same, with more arguments of the script's `up`.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn with(name: &str, more: &[&str]) -> Option<Lab> {
        // SAFETY: no arguments, cannot fail.
        let root = unsafe { libc::geteuid() } == 0;
        let missing: Vec<&str> = ["slurmctld", "slurmd", "munged", "ip", "nsenter"]
            .into_iter()
            .filter(|program| {
                !["/usr/sbin", "/usr/bin", "/sbin", "/bin"]
                    .iter()
                    .any(|d| PathBuf::from(d).join(program).exists())
            })
            .collect();
        if !root || !missing.is_empty() {
            let why = if root { format!("missing: {}", missing.join(" ")) } else { "not root".to_owned() };
            assert!(std::env::var_os("FLURM_REQUIRE_LAB").is_none(), "no Slurm lab here: {why}");
            eprintln!("SKIPPED {name}: no Slurm lab here ({why}); as root, `make test` installs and runs it");
            return None;
        }
        let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = PathBuf::from(format!("/run/flurm-lab-{}-{name}", std::process::id()));
        let mut lab = Lab { dir, home: PathBuf::new(), _one: one };
        let up = ["up", "--nodes", "3", "--sockets", "2", "--cores", "10"];
        lab.script(&[&up, more].concat()).ok();
        lab.home = lab.login("echo $HOME").ok().trim().into();
        let bin = lab.home.join("bin");
        std::fs::create_dir_all(&bin).expect("the user's home is shared");
        // A new inode, so that a broker of an earlier cluster that still runs it is no matter.
        let new = bin.join("flurm.new");
        std::fs::copy(flurm_bin(), &new).expect("a copy");
        std::fs::rename(&new, bin.join("flurm")).expect("in place");
        Some(lab)
    }

    /// Runs the lab's script.
    #[track_caller]
    pub fn script(&self, args: &[&str]) -> Ran {
        let mut command = Command::new("bash");
        command.arg(script()).arg("--dir").arg(&self.dir).args(args);
        // Tasks that spin may starve a slurmd; were its node taken for lost, srun would end with 0 in mid-output.
        command.env("STB_SLURMD_TIMEOUT", "300");
        run(command, b"")
    }

    /// A shell line on the login node, as the ordinary user, with his own `~/bin` first in PATH.
    #[track_caller]
    pub fn login(&self, line: &str) -> Ran {
        let mut command = Command::new("bash");
        command.arg(script()).arg("--dir").arg(&self.dir);
        command.args(["login", "bash", "-c", &format!("export PATH=$HOME/bin:$PATH; cd; {line}")]);
        run(command, b"")
    }

    /// Processes of flurm on a node.
    pub fn flurms(&self, node: &str) -> usize {
        let ps = self.script(&["exec", node, "ps", "-eo", "args"]).ok();
        ps.lines()
            .filter(|l| l.contains("bin/flurm") || l.starts_with("flurm ") || l.contains("sleep 77123"))
            .count()
    }

    /// Waits for every node to be as if there had never been an instance.
    #[track_caller]
    pub fn nothing_remains(&self) {
        eventually("nodes without a trace", Duration::from_secs(20), || {
            let clean = ["node1", "node2", "node3"].iter().all(|node| {
                self.flurms(node) == 0 && !self.script(&["exec", node, "ls", "/tmp"]).ok().contains("flurm")
            });
            clean.then_some(())
        });
        assert_eq!(
            self.login("ls -A ~/.flurm/rendezvous 2>/dev/null; true").ok(),
            "",
            "no rendezvous file is left"
        );
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = Command::new("bash").arg(script()).arg("--dir").arg(&self.dir).arg("down").output();
    }
}
