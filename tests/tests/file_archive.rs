//! Archives of files: `flurm archive`, and `-o stage-in` before tasks.

use flurm_tests::{DEADLINE, Instance, eventually, run};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// Bytes that do not get smaller, in more than one piece.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    (0..len).map(next).collect()
}

/// A directory `in` with files of all kinds.
fn input(dir: &Path) -> Vec<u8> {
    let large = noise(2_500_000);
    std::fs::create_dir_all(dir.join("in/sub/empty")).unwrap();
    std::fs::write(dir.join("in/large.dat"), &large).unwrap();
    std::fs::write(dir.join("in/sub/small.txt"), "small\n").unwrap();
    std::fs::write(dir.join("in/nothing"), "").unwrap();
    std::fs::write(dir.join("in/tool"), "#!/bin/sh\necho tool of $FLURM_TASK_RANK\n").unwrap();
    std::fs::set_permissions(dir.join("in/tool"), PermissionsExt::from_mode(0o750)).unwrap();
    std::fs::set_permissions(dir.join("in/sub"), PermissionsExt::from_mode(0o550)).unwrap();
    std::os::unix::fs::symlink("large.dat", dir.join("in/link")).unwrap();
    large
}

/// A directory that nobody may write to would stay behind.
fn may_go(dir: &Path) {
    std::fs::set_permissions(dir, PermissionsExt::from_mode(0o755)).unwrap();
}

#[test]
fn files_come_out_of_an_archive_as_they_went_in() {
    let instance = Instance::start(1);
    let dir = instance.dir.path();
    let large = input(dir);
    let said = instance.ok(&["archive", "create", "-v", "-C", "in", "."]);
    let names = "large.dat\nlink\nnothing\nsub\nsub/empty\nsub/small.txt\ntool";
    assert_eq!(said, names);
    assert_eq!(instance.ok(&["archive", "list"]), names);
    assert_eq!(instance.ok(&["archive", "list", "sub/*"]), "sub/empty\nsub/small.txt");
    let long = instance.ok(&["archive", "list", "--long"]);
    assert!(long.contains("-rwxr-x---") && long.contains("2500000") && long.contains("link -> large.dat"));
    let raw = instance.ok(&["archive", "list", "--raw", "tool"]);
    assert!(raw.contains("\"mode\":33256") && raw.contains("\"path\":\"tool\""), "{raw}");

    std::fs::create_dir(dir.join("out")).unwrap();
    assert_eq!(instance.ok(&["archive", "extract", "-C", "out", "--list-only", "*.dat"]), "large.dat");
    assert_eq!(std::fs::read_dir(dir.join("out")).unwrap().count(), 0);
    assert_eq!(instance.ok(&["archive", "extract", "--directory=out", "--verbose"]), names);
    assert!(std::fs::read(dir.join("out/large.dat")).unwrap() == large);
    assert_eq!(std::fs::read_to_string(dir.join("out/sub/small.txt")).unwrap(), "small\n");
    assert_eq!(std::fs::read_link(dir.join("out/link")).unwrap(), Path::new("large.dat"));
    for name in ["large.dat", "nothing", "sub", "sub/small.txt", "tool"] {
        let meta = |top: &str| std::fs::metadata(dir.join(top).join(name)).unwrap();
        let of = |meta: std::fs::Metadata| (meta.mode(), meta.mtime(), meta.mtime_nsec(), meta.is_dir());
        assert_eq!(of(meta("in")), of(meta("out")), "{name}");
    }
    let refused = instance.run(&["archive", "extract", "-C", "out", "tool"]).code_is(1);
    assert!(refused.stderr.contains("tool: it is there already") && refused.stderr.contains("--overwrite"));
    std::fs::write(dir.join("out/tool"), "changed").unwrap();
    instance.ok(&["archive", "extract", "-C", "out", "--overwrite", "tool"]);
    assert!(std::fs::read_to_string(dir.join("out/tool")).unwrap().starts_with("#!"));
    let none = instance.run(&["archive", "extract", "*.none"]).code_is(1);
    assert!(none.stderr.contains("nothing in archive `main` matches `*.none`"), "{}", none.stderr);
    may_go(&dir.join("in/sub"));
    may_go(&dir.join("out/sub"));
}

#[test]
fn an_archive_is_replaced_added_to_awaited_and_removed() {
    let instance = Instance::start(2);
    let dir = instance.dir.path();
    for (name, text) in [("a", "first"), ("b", "of b"), ("c", "of c")] {
        std::fs::write(dir.join(name), text).unwrap();
    }
    let show = |args: &[&str], wanted: &str| {
        let out = tempfile::tempdir().unwrap();
        let path = out.path().display().to_string();
        instance.ok(&[&["archive", "extract", "-C", &path], args].concat());
        let mut all: Vec<String> = std::fs::read_dir(out.path())
            .unwrap()
            .map(|entry| {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                format!("{name}={}", std::fs::read_to_string(path).unwrap())
            })
            .collect();
        all.sort_unstable();
        assert_eq!(all.join(" "), wanted);
    };
    let mut waits = instance.command(&["archive", "extract", "--name=late", "--waitcreate", "-t"]);
    waits.env("FLURM_URI", instance.uri_of(1)).stdout(std::process::Stdio::piped());
    let waits = waits.spawn().unwrap();

    instance.ok(&["archive", "create", "--preserve", "a", "b"]);
    let refused = instance.run(&["archive", "create", "c"]).code_is(1);
    assert!(refused.stderr.contains("archive `main` is there already"), "{}", refused.stderr);
    std::fs::write(dir.join("a"), "second").unwrap();
    instance.ok(&["archive", "create", "--append", "a", "c"]);
    show(&[], "a=second b=of b c=of c");
    show(&["[bc]"], "b=of b c=of c");
    instance.ok(&["archive", "create", "--overwrite", "c"]);
    show(&[], "c=of c");
    // What was there before is not kept: an index and the contents of one `create` are left.
    assert_eq!(instance.ok(&["kvs", "ls", "-1", "archive.main"]).lines().count(), 2);

    instance.ok(&["archive", "create", "--name=late", "b"]);
    let ended = waits.wait_with_output().unwrap();
    assert_eq!((ended.status.code(), &*ended.stdout), (Some(0), &b"b\n"[..]));
    let late = instance.run(&["archive", "extract", "-n", "never", "--waitcreate=0.1s"]).code_is(1);
    assert!(late.stderr.contains("has not come within 0.1 s"), "{}", late.stderr);

    instance.ok(&["kvs", "namespace", "create", "own"]);
    let own = |args: &[&str]| {
        let mut command = instance.command(&[&["archive"], args].concat());
        command.env("FLUX_KVS_NAMESPACE", "own");
        run(command, b"")
    };
    own(&["create", "--no-force-primary", "-n", "mine", "b"]).ok();
    assert_eq!(own(&["list", "--no-force-primary", "-n", "mine"]).ok(), "b\n");
    assert_eq!(own(&["extract", "--no-force-primary", "-n", "mine", "-t"]).ok(), "b\n");
    own(&["list", "-n", "mine"]).code_is(1);
    own(&["remove", "-n", "mine"]).code_is(1);
    own(&["remove", "--no-force-primary", "-n", "mine"]).ok();
    own(&["list", "--no-force-primary", "-n", "mine"]).code_is(1);

    instance.ok(&["archive", "remove", "--name=late"]);
    instance.run(&["archive", "list", "-n", "late"]).code_is(1);
    instance.ok(&["archive", "list"]);
    instance.ok(&["archive", "remove"]);
    let gone = instance.run(&["archive", "list"]).code_is(1);
    assert!(gone.stderr.contains("there is no archive `main`"), "{}", gone.stderr);
    instance.run(&["archive", "remove"]).code_is(1);
    instance.ok(&["archive", "remove", "--force"]);
    for (args, wanted) in [
        (["create", "-n", "x", "/etc/passwd"], "is no path below"),
        (["create", "-n", "x", "../a"], "is no path below"),
        (["create", "-n", "x", "none"], "No such file"),
        (["create", "-n", "a.b", "a"], "is no name of an archive"),
    ] {
        let ran = instance.run(&[&["archive"], &args[..]].concat()).code_is(1);
        assert!(ran.stderr.contains(wanted), "{args:?}: {}", ran.stderr);
    }
    // One that says where it wants to be written is not believed.
    let bad = r#"{"v":1,"runs":[],"entries":[{"path":"../x","mode":420,"mtime":0,"type":"dir"}]}"#;
    instance.ok(&["kvs", "put", &format!("archive.evil.index={bad}")]);
    let ran = instance.run(&["archive", "extract", "-n", "evil"]).code_is(1);
    assert!(ran.stderr.contains("`../x` is no path below"), "{}", ran.stderr);
}

#[test]
fn archives_are_unpacked_on_every_node_before_tasks_start() {
    let instance = Instance::start(3);
    let dir = instance.dir.path();
    let large = input(dir);
    instance.ok(&["archive", "create", "-C", "in", "."]);
    std::fs::write(dir.join("extra"), "extra\n").unwrap();
    instance.ok(&["archive", "create", "-n", "second", "extra"]);
    may_go(&dir.join("in/sub"));
    let same = "cmp $FLUX_JOB_TMPDIR/large.dat in/large.dat && $FLUX_JOB_TMPDIR/tool && cat $FLUX_JOB_TMPDIR/sub/small.txt";
    let lines = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    };
    let said = instance.ok(&["run", "-N3", "-n3", "-o", "stage-in", "sh", "-c", same]);
    let tools = ["small", "small", "small", "tool of 0", "tool of 1", "tool of 2"];
    assert_eq!(lines(&said), tools);
    // Alone, with a program out of the archive, some of the files, and two archives.
    assert_eq!(instance.ok(&["run", "-o", "stage-in", "{{tmpdir}}/tool"]), "tool of 0");
    // What MPI would need lies in that directory, too.
    let names = ["-o", "stage-in.names=main,second", "-o", "stage-in.pattern=*[xt]*"];
    let args = [&["run", "-N2", "-o", "pmi=off"][..], &names, &["sh", "-c"]].concat();
    let ls = "cd $FLUX_JOB_TMPDIR; ls | paste -sd' '";
    assert_eq!(lines(&instance.ok(&[&args[..], &[ls]].concat())), ["extra large.dat nothing sub tool"; 2]);

    let local = format!("stage-in.destination=local:{}/node{{{{node.id}}}}", dir.display());
    instance.ok(&["run", "-N3", "-o", &local, "true"]);
    for node in 0..3 {
        assert!(std::fs::read(dir.join(format!("node{node}/large.dat"))).unwrap() == large);
        may_go(&dir.join(format!("node{node}/sub")));
    }
    let check = "test -e all/sub/small.txt && echo there";
    let shared = ["run", "-N3", "-n3", "-o", "stage-in.destination=global:all", "sh", "-c", check];
    assert_eq!(instance.ok(&shared), "there\nthere\nthere");
    may_go(&dir.join("all/sub"));
}

#[test]
fn what_cannot_be_staged_fails_the_job_with_the_reason() {
    let instance = Instance::start(2);
    let dir = instance.dir.path();
    std::fs::write(dir.join("a"), "text").unwrap();
    instance.ok(&["archive", "create", "a"]);
    for (options, wanted) in [
        (["-o", "stage-in.names=other"], "there is no archive `other`"),
        (["-o", "stage-in.pattern=*.dat"], "nothing in archive `main` matches `*.dat`"),
        (["-o", "stage-in.destination=/proc/none"], "/proc/none: "),
    ] {
        for nodes in ["-N1", "-N2"] {
            let ran = instance.run(&[&["run", nodes][..], &options, &["touch", "ran"]].concat()).code_is(1);
            let said = ran.stderr.contains("type=stage-in severity=0") && ran.stderr.contains(wanted);
            assert!(said, "{options:?}: {}", ran.stderr);
        }
    }
    assert!(!dir.join("ran").exists(), "no task has started");
    let refused = instance.run(&["run", "-o", "stage-in.nmes=x", "true"]);
    assert!(refused.code() != 0 && refused.stderr.contains("stage-in.nmes"), "{}", refused.stderr);

    // On one node of two: none starts.
    std::fs::write(dir.join("node1"), "in the way").unwrap();
    let options = ["-o", "stage-in.destination=local:node{{node.id}}"];
    let ran = instance.run(&[&["run", "-N2"][..], &options, &["touch", "ran"]].concat()).code_is(1);
    assert!(ran.stderr.contains("node1: ") && !dir.join("ran").exists(), "{}", ran.stderr);
    // A job that is cancelled meanwhile leaves nothing, and the next one is not held up.
    std::fs::write(dir.join("large"), noise(3_000_000)).unwrap();
    instance.ok(&["archive", "create", "--overwrite", "large"]);
    let id = instance.ok(&["submit", "-N2", "-o", "stage-in", "true"]);
    instance.ok(&["job", "wait-event", &id, "alloc"]);
    instance.ok(&["cancel", &id]);
    instance.ok(&["job", "wait-event", &id, "clean"]);
    assert_eq!(instance.ok(&["run", "-N2", "-n2", "echo", "next"]), "next\nnext");
    eventually("directories of jobs that have ended to be removed", DEADLINE, || {
        let left = (0..2).flat_map(|rank| std::fs::read_dir(instance.rundir(rank)).unwrap());
        let left = left.filter(|entry| {
            let path = entry.as_ref().unwrap().path();
            path.join("large").exists()
        });
        (left.count() == 0).then_some(())
    });
}

#[test]
fn many_add_to_an_archive_at_once_and_none_is_lost() {
    let instance = Instance::start(1);
    let dir = instance.dir.path();
    let names: Vec<String> = (0..8).map(|n| format!("file{n}")).collect();
    for name in &names {
        std::fs::write(dir.join(name), name).unwrap();
    }
    let adds = |name: &String| instance.command(&["archive", "create", "--append", name]).spawn().unwrap();
    let children: Vec<_> = names.iter().map(adds).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let mut listed: Vec<String> = instance.ok(&["archive", "list"]).lines().map(str::to_owned).collect();
    listed.sort_unstable();
    assert_eq!(listed, names);
    let out = tempfile::tempdir().unwrap();
    instance.ok(&["archive", "extract", "-C", &out.path().display().to_string()]);
    for name in &names {
        assert_eq!(std::fs::read_to_string(out.path().join(name)).unwrap(), *name);
    }
}
