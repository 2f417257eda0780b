//! `flurm proxy` through an srun that is a script: its other end is on this machine.

use flurm_tests::{DEADLINE, Instance, eventually, flurm_bin, wait_child};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// In the place of srun: notes its process, which becomes the relay, unless the way is said to be broken.
const SRUN: &str = r#"#!/bin/sh
[ ! -e "$TEST_DIR/broken" ] || exit 1
while [ "${1#-}" != "$1" ]; do shift; done
echo $$ >"$TEST_DIR/relay.new" && mv "$TEST_DIR/relay.new" "$TEST_DIR/relay"
exec "$1" relay "$TEST_SOCKET"
"#;

fn proxy(instance: &Instance, options: &[&str], script: &str) -> Command {
    let dir = instance.dir.path();
    let bin = dir.join("bin");
    std::fs::create_dir(&bin).expect("a directory");
    std::fs::write(bin.join("srun"), SRUN).expect("a script");
    std::fs::set_permissions(bin.join("srun"), std::fs::Permissions::from_mode(0o755)).expect("ours");
    std::os::unix::fs::symlink(flurm_bin(), bin.join("flurm")).expect("a link");
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").expect("a PATH"));
    let words = [&["proxy"], options, &["ssh://elsewhere/tmp/x/local", "sh", "-c", script]].concat();
    let mut command = instance.command(&words);
    let socket = instance.uri.strip_prefix("local://").expect("a local URI");
    command.env("PATH", path).env("TEST_DIR", dir).env("TEST_SOCKET", socket).env("SLURM_JOB_ID", "1");
    command
}

#[test]
fn a_connection_that_cannot_be_had_again_at_once_is_tried_again_while_the_command_lives() {
    let instance = Instance::start(1);
    let dir = instance.dir.path();
    let script = "flurm getattr size && read word && flurm getattr rank && exit 7";
    let mut command = proxy(&instance, &["--reconnect"], script);
    let open = |name: &str| std::fs::File::create(dir.join(name)).expect("a file");
    let read = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap_or_default();
    let says =
        |name: &str, words: &str| eventually(words, DEADLINE, || read(name).contains(words).then_some(()));
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(open("out"))
        .stderr(open("err"))
        .spawn()
        .expect("the proxy starts");
    says("out", "1\n");
    open("broken");
    kill(&dir.join("relay"));
    says("err", "another try in 2 s");
    std::fs::remove_file(dir.join("broken")).expect("ours");
    says("err", "connected again");
    writeln!(child.stdin.take().expect("piped"), "on").expect("it reads");
    let status = wait_child(&mut child, DEADLINE).expect("it ends");
    assert_eq!((status.code(), read("out").as_str()), (Some(7), "1\n0\n"), "{}", read("err"));
}

fn kill(file: &Path) {
    let pid = std::fs::read_to_string(file).expect("a process").trim().parse().expect("a number");
    // SAFETY: a plain call; the process is a relay that this test has started.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGKILL) }, 0);
}
