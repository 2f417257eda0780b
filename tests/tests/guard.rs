//! A broker that is killed leaves nothing behind: its guard, the process that was started, sees to that.

use flurm_tests::terminal::Terminal;
use flurm_tests::{DEADLINE, alive, eventually, flurm, kill, run, wait_child};
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// An instance of one broker, started as a launcher would.
struct Alone {
    guard: Child,
    uri: String,
    rundir: PathBuf,
}

impl Alone {
    fn start(orphan: &str) -> Alone {
        let config = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(config.path(), flurm_tests::fake_nodes(1, 4)).expect("it is written");
        let mut guard = flurm(&["start", &format!("-Sbroker.orphan-timeout={orphan}"), "--config-path"])
            .arg(config.path())
            .args(["sh", "-c", r#"echo "$FLURM_URI"; exec sleep 77123500"#])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("flurm starts");
        let mut uri = String::new();
        BufReader::new(guard.stdout.take().expect("piped")).read_line(&mut uri).expect("it is said");
        let uri = uri.trim().to_owned();
        let socket = PathBuf::from(uri.strip_prefix("local://").expect("a local URI"));
        Alone { guard, rundir: socket.parent().expect("DIR/0/local").to_owned(), uri }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = flurm(args);
        command.env("FLURM_URI", &self.uri);
        command
    }

    fn ok(&self, args: &[&str]) -> String {
        run(self.command(args), b"").ok().trim().to_owned()
    }

    fn broker(&self) -> i32 {
        self.ok(&["getattr", "broker.pid"]).parse().expect("a pid")
    }

    fn guard(&self) -> i32 {
        self.guard.id().cast_signed()
    }

    fn wait(&mut self) -> ExitStatus {
        wait_child(&mut self.guard, DEADLINE).expect("the guard ends")
    }

    /// Nothing of the instance is left on this host.
    fn is_gone(&self) -> bool {
        let top = self.rundir.parent().expect("DIR/0");
        !top.exists() && flurm_tests::processes_with(top.to_str().expect("UTF-8")).is_empty()
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        let _ = self.guard.kill();
        let _ = self.guard.wait();
    }
}

#[test]
fn a_killed_broker_leaves_nothing_when_its_guard_ends() {
    let mut alone = Alone::start("1s");
    let id = alone.ok(&["submit", "sh", "-c", "setsid sleep 77123501 & exec sleep 77123501"]);
    alone.ok(&["job", "wait-event", &id, "start"]);
    let broker = alone.broker();
    assert_ne!(broker, alone.guard());
    kill(broker, libc::SIGKILL);
    assert_eq!(alone.wait().code(), Some(137));
    assert!(alone.is_gone(), "at once, for a launcher ends what is left");
    assert_eq!(flurm_tests::processes_with("77123501"), [] as [i32; 0]);
}

#[test]
fn a_shell_that_does_not_end_is_killed_with_all_it_holds() {
    let mut alone = Alone::start("1s");
    let shell = flurm_tests::processes_with(alone.rundir.to_str().expect("UTF-8"))
        .into_iter()
        .find(|pid| {
            std::fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|c| c.contains("\0shell\0"))
        })
        .expect("a shell");
    kill(shell, libc::SIGSTOP);
    kill(alone.broker(), libc::SIGKILL);
    assert_eq!(alone.wait().code(), Some(137));
    assert!(alone.is_gone());
}

#[test]
fn signals_reach_the_broker_and_the_code_is_the_brokers() {
    let mut alone = Alone::start("5s");
    kill(alone.guard(), libc::SIGUSR1);
    assert_eq!(alone.ok(&["run", "echo", "fine"]), "fine");
    kill(alone.guard(), libc::SIGTERM);
    let status = alone.wait();
    assert_eq!(status.code(), Some(143), "it is the signal's: {:?}", status.signal());
    assert!(alone.is_gone());
}

#[test]
fn an_interrupt_at_whatever_moment_of_a_start_says_nothing() {
    // Of one broker: guard, broker, shell, initial program; of two: no guards, and their parent.
    for (option, count) in [("--", 4), ("--test-size=2", 6)] {
        for moment in 1..=count {
            let mut terminal = Terminal::start(flurm(&["start", option, "sleep", "77123502"]), 24, 80);
            // It may be over that number at one look; it stays so.
            eventually("that moment", DEADLINE, || (terminal.processes() >= moment).then_some(()));
            terminal.type_in("\x03");
            terminal.expect("^C");
            assert!(!terminal.wait().success());
            assert_eq!(terminal.shown().trim(), "^C", "{option} {moment}");
        }
    }
    assert_eq!(flurm_tests::processes_with("77123502"), [] as [i32; 0]);
}

#[test]
fn a_killed_guard_ends_the_instance_in_order() {
    let mut alone = Alone::start("60s");
    let broker = alone.broker();
    kill(alone.guard(), libc::SIGKILL);
    assert_eq!(alone.wait().signal(), Some(libc::SIGKILL));
    eventually("the end of the instance", Duration::from_secs(10), || {
        (!alive(broker) && alone.is_gone()).then_some(())
    });
}

#[test]
fn a_broker_that_takes_its_place_again_is_waited_for() {
    let mut alone = Alone::start("2s");
    kill(alone.broker(), libc::SIGKILL);
    let mut again =
        flurm(&["broker", "--rejoin"]).arg(&alone.rundir).stdin(Stdio::null()).spawn().expect("it starts");
    eventually("the instance to be back", DEADLINE, || {
        run(alone.command(&["getattr", "broker.pid"]), b"").status.success().then_some(())
    });
    assert_eq!(alone.broker(), again.id().cast_signed());
    assert_eq!(alone.ok(&["run", "echo", "back"]), "back");
    // Longer than any shell would have been waited for.
    let ended = wait_child(&mut alone.guard, Duration::from_secs(8));
    assert_eq!(ended, None, "the guard stays while a broker is there");
    kill(alone.guard(), libc::SIGTERM);
    assert!(wait_child(&mut again, DEADLINE).is_some(), "the signal has been passed on");
    assert_eq!(alone.wait().code(), Some(137), "its own broker was killed");
    assert!(alone.is_gone());
}
