//! The key-value store at the command line.

use flurm_tests::{DEADLINE, Instance, eventually};
use std::io::{BufRead, BufReader};
use std::process::Stdio;

#[test]
fn put_get_dir_unlink() {
    let instance = Instance::start(2);
    instance.ok(&["kvs", "put", "a.b=1", "a.c=text", r#"a.d={"x":[1,2]}"#]);
    assert_eq!(instance.ok(&["kvs", "get", "a.b"]), "1");
    assert_eq!(instance.ok(&["kvs", "get", "a.c"]), "text");
    assert_eq!(instance.ok(&["kvs", "get", "a.d"]), r#"{"x":[1,2]}"#);
    assert_eq!(instance.ok(&["kvs", "ls", "-1", "a"]), "b\nc\nd");
    assert!(instance.ok(&["kvs", "dir", "a"]).contains("a.b = 1"));
    instance.ok(&["kvs", "unlink", "a.b"]);
    let gone = instance.run(&["kvs", "get", "a.b"]).code_is(1);
    assert!(gone.stderr.contains("a.b"), "{}", gone.stderr);
    instance.run(&["kvs", "unlink", "a"]).code_is(1);
    instance.ok(&["kvs", "unlink", "-R", "a"]);
    instance.run(&["kvs", "get", "a.c"]).code_is(1);
    let bad = instance.run(&["kvs", "put", "nokey"]);
    assert_ne!(bad.code(), 0);
}

#[test]
fn watch_shows_every_change_in_order() {
    let instance = Instance::start(2);
    instance.ok(&["kvs", "put", "w=0"]);
    let mut watcher = instance
        .command(&["kvs", "get", "--watch", "--count=4", "w"])
        .env("FLURM_URI", instance.uri_of(1))
        .stdout(Stdio::piped())
        .spawn()
        .expect("flurm runs");
    let mut lines = BufReader::new(watcher.stdout.take().expect("piped")).lines();
    assert_eq!(lines.next().expect("a first value").expect("text"), "0");
    for value in 1..4 {
        instance.ok(&["kvs", "put", &format!("w={value}")]);
        assert_eq!(lines.next().expect("a change").expect("text"), value.to_string());
    }
    let status = eventually("the watcher's end", DEADLINE, || watcher.try_wait().expect("our child"));
    assert!(status.success());
}
