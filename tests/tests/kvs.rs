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

#[test]
fn the_store_is_dumped_and_restored() {
    let instance = Instance::start(1);
    let long = format!("deep.{}", ["long"; 40].join("."));
    instance.ok(&["kvs", "put", "a.b=1", "a.text=two words", r#"a.list=[1,{"x":null}]"#, "slash/in=3"]);
    instance.ok(&["kvs", "put", &format!("{long}=end")]);
    instance.ok(&["kvs", "link", "a.text", "a.link"]);
    instance.ok(&["kvs", "mkdir", "empty"]);
    let id = instance.ok(&["submit", "--wait", "echo", "said"]);
    let dumped = instance.run(&["dump", "--verbose", "all.tar"]).code_is(0);
    assert!(dumped.stderr.contains("a.text\n") && dumped.stderr.contains("written to all.tar"));
    for key in ["a", "deep", "slash/in", "empty"] {
        instance.ok(&["kvs", "unlink", "-R", key]);
    }
    let quiet = instance.run(&["restore", "--quiet", "all.tar"]).code_is(0);
    assert_eq!(quiet.stderr, "");
    for (key, wanted) in [
        ("a.b", "1"),
        ("a.text", "two words"),
        ("a.list", r#"[1,{"x":null}]"#),
        ("slash/in", "3"),
        (&long, "end"),
    ] {
        assert_eq!(instance.ok(&["kvs", "get", key]), wanted);
    }
    assert_eq!(instance.ok(&["kvs", "readlink", "a.link"]), "a.text");
    assert_eq!(instance.ok(&["kvs", "ls", "empty"]), "");

    // In another instance: its jobs as well, below a key.
    let other = Instance::start(1);
    let tar = instance.dir.path().join("all.tar").display().to_string();
    let restored = other.run(&["restore", "--key=old", "-v", &tar]).code_is(0);
    assert!(restored.stderr.contains("old.a.text\n"), "{}", restored.stderr);
    let path = instance.ok(&["job", "id", "--to=kvs", &id]);
    assert!(other.ok(&["kvs", "get", &format!("old.{path}.eventlog")]).contains("finish"));
    assert_eq!(other.ok(&["kvs", "get", "old.a.text"]), "two words");
    let small = other.run(&["restore", "--key=few", "--size-limit=2", &tar]).code_is(0);
    assert!(small.stderr.contains("left out: too large"), "{}", small.stderr);
    assert_eq!(other.ok(&["kvs", "get", "few.a.b"]), "1");
    other.run(&["kvs", "get", "few.a.text"]).code_is(1);
    let piped = instance.run(&["dump", "-q", "-"]).code_is(0);
    assert_eq!(piped.stderr, "");
    other.run_with_input(&["restore", "-q", "-"], piped.stdout.as_bytes()).code_is(0);
    assert_eq!(other.ok(&["kvs", "get", "a.list"]), r#"[1,{"x":null}]"#);
    for (args, wanted) in [
        (["dump", "x.tgz"], "only plain tar archives"),
        (["restore", "none.tar"], "cannot read none.tar: No such file"),
        (["restore", "flurm.toml"], "cannot read flurm.toml: it is no tar archive"),
        (["dump", "/no/such/dir/x.tar"], "cannot write /no/such/dir/x.tar"),
        (["dump", "/dev/full"], "cannot write /dev/full: No space left"),
    ] {
        let ran = other.run(&args);
        assert!(ran.code() != 0 && ran.stderr.contains(wanted), "{args:?}: {}", ran.stderr);
    }
}
