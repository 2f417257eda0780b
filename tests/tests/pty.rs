//! Jobs with a terminal: somebody types at them, as at a shell of their own.

use flurm_tests::terminal::Terminal;
use flurm_tests::{Instance, eventually, kill};
use std::time::Duration;

/// A shell that says only what it is told to say.
const BASH: &[&str] = &["run", "-o", "pty.interactive", "bash", "--norc", "--noprofile"];

fn at_terminal(instance: &Instance, args: &[&str], rows: u16, cols: u16) -> Terminal {
    let mut command = instance.command(args);
    command.env("PS1", "ready> ").env_remove("PROMPT_COMMAND").env("INPUTRC", "/dev/null");
    Terminal::start(command, rows, cols)
}

#[test]
fn a_shell_at_a_terminal_has_sizes_signals_and_job_control() {
    let instance = Instance::start(1);
    let mut terminal = at_terminal(&instance, BASH, 33, 101);
    terminal.expect("ready> ");
    assert!(terminal.is_raw());
    // Echoed commands must not look like their answers.
    terminal.type_in("stty size; tty; test -t 0 && echo ter''minal\r");
    terminal.expect("\n33 101\r\n");
    terminal.expect("/dev/pts/");
    terminal.expect("terminal\r\n");
    terminal
        .type_in("sh -c 'trap \"stty size; exit\" WINCH; echo wait\"\"ing; while :; do sleep 0.1; done'\r");
    terminal.expect("waiting\r\n");
    terminal.resize(40, 120);
    terminal.expect("40 120\r\n");
    terminal.expect("ready> ");

    // What says that it is up is in the foreground by then.
    terminal.type_in("sh -c 'echo u\"\"p; exec sleep 1000'\r");
    terminal.expect("up\r\n");
    terminal.type_in("\x03");
    terminal.expect("^C");
    terminal.expect("ready> ");
    terminal.type_in("echo co''de $?\r");
    terminal.expect("code 130");
    terminal.expect("ready> ");

    terminal.type_in("sh -c 'echo u\"\"p; exec sleep 2000'\r");
    terminal.expect("up\r\n");
    terminal.type_in("\x1a");
    terminal.expect("Stopped");
    terminal.expect("ready> ");
    terminal.type_in("jobs; fg\r");
    terminal.expect("Stopped");
    terminal.expect("\nsh -c");
    terminal.expect("\r\n");
    terminal.type_in("\x1c");
    terminal.expect("Quit");
    terminal.expect("ready> ");
    terminal.type_in("cat\r");
    terminal.expect("cat\r\n");
    terminal.type_in("through\r");
    terminal.expect("through\r\nthrough\r\n");
    terminal.type_in("\x04");
    terminal.expect("ready> ");
    terminal.type_in("exit 7\r");
    assert_eq!(terminal.wait().code(), Some(7));
    assert!(!terminal.is_raw(), "the terminal is as it was");
    let logged = instance.ok(&["job", "info", instance.ok(&["job", "last"]).trim(), "guest.input"]);
    assert!(!logged.contains("through"), "what is typed is not kept: {logged}");
}

#[test]
fn who_leaves_can_come_back() {
    let instance = Instance::start(1);
    let mut terminal = at_terminal(&instance, BASH, 24, 80);
    terminal.expect("ready> ");
    terminal.type_in("here=st''ill\r");
    terminal.expect("ready> ");
    terminal.type_in("~.");
    terminal.expect("goes on");
    assert_eq!(terminal.wait().code(), Some(0));
    assert!(!terminal.is_raw());

    let id = instance.ok(&["job", "last"]).trim().to_owned();
    let mut again = at_terminal(&instance, &["job", "attach", &id], 24, 80);
    again.expect("ready> ");
    again.type_in("echo $here there\r");
    again.expect("still there");
    // A signal ends who only attached, and the terminal is given back.
    kill(again.child.id() as i32, libc::SIGTERM);
    assert_eq!(again.wait().code(), Some(128 + libc::SIGTERM));
    assert!(!again.is_raw());

    let mut last = at_terminal(&instance, &["job", "attach", &id], 24, 80);
    last.expect("still there");
    instance.ok(&["cancel", &id]);
    last.expect("type=cancel");
    assert_ne!(last.wait().code(), Some(0));
    assert!(!last.is_raw());
}

#[test]
fn a_lost_instance_gives_the_terminal_back() {
    let instance = Instance::start(1);
    let mut terminal = at_terminal(&instance, BASH, 24, 80);
    terminal.expect("ready> ");
    assert!(terminal.is_raw());
    kill(instance.broker_pid(0), libc::SIGKILL);
    terminal.wait();
    assert!(!terminal.is_raw());
}

#[test]
fn tasks_get_terminals_without_anybody_at_one() {
    let instance = Instance::start(1);
    let tty = ["sh", "-c", "test -t 1 && test -t 2 && echo yes || echo no"];
    let run = |args: &[&str]| instance.ok(&[&["run"], args, &tty[..]].concat()).replace('\r', "");
    assert_eq!(run(&["-o", "pty"]), "yes");
    let mut both: Vec<String> = run(&["-n2", "-l", "-o", "pty.ranks=1"]).lines().map(str::to_owned).collect();
    both.sort_unstable();
    assert_eq!(both, ["0: no", "1: yes"]);
    run(&["-o", "pty", "--output=tty.out"]);
    let file = instance.dir.path().join("tty.out");
    eventually("the file", Duration::from_secs(10), || {
        std::fs::read_to_string(&file).ok().filter(|text| text == "yes\r\n")
    });
    // The end of input is typed.
    let through = instance.run_with_input(&["run", "-o", "pty", "cat"], b"one\nend");
    assert!(through.stdout.contains("one\r\n") && through.stdout.contains("end"), "{}", through.stdout);
    assert_eq!(through.code(), 0);
    let refused = instance.run(&["run", "-o", "pty.interactive", "--output=x", "true"]);
    assert!(refused.stderr.contains("output.stdout.type"), "{}", refused.stderr);
    // All three are the terminal, and it is as large as was said; who reads what nobody types finds the end.
    let size = ["run", "-o", "pty", "-o", "pty.size=30x90", "sh", "-c", "tty | cut -c1-9; stty size; cat"];
    assert_eq!(instance.ok(&size).replace('\r', ""), "/dev/pts/\n30 90");
    let err = instance.dir.path().join("err");
    std::fs::write(&err, "before").unwrap();
    let refused = instance.run(&["run", "-o", "pty", "--error=err", "true"]);
    assert!(refused.stderr.contains("output.stderr.type"), "{}", refused.stderr);
    assert_eq!(std::fs::read_to_string(&err).unwrap(), "before");
}
