//! Output archives: the output of many jobs in one file, also after the instance.

use flurm_tests::{Instance, Options, fake_nodes, flurm, run};
use std::collections::BTreeSet;
use std::io::Write;

/// Eight shells on one host write to one file.
#[test]
fn many_jobs_share_one_file_that_outlives_the_instance() {
    let config = Some(fake_nodes(3, 8));
    let instance = Instance::with(Options { size: 3, config, ..Options::default() });
    let dir = instance.dir.path().to_owned();
    let say = "echo out {cc}; echo err {cc} >&2; seq 1 {cc}";
    let ids = instance.ok(&["submit", "--cc=1-60", "--wait", "--output-archive=all.out", "sh", "-c", say]);
    let ids: Vec<&str> = ids.lines().collect();
    let wide = instance.ok(&[
        "submit",
        "--wait",
        "-N3",
        "-n6",
        "--output-archive=all.out",
        "sh",
        "-c",
        "echo $FLUX_TASK_RANK",
    ]);
    let mut files: Vec<String> = std::fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("all."))
        .collect();
    files.sort_unstable();
    assert_eq!(files, ["all.out", "all.out.index"]);

    let said = instance.run(&["job", "output", ids[4]]);
    assert_eq!((said.stdout.as_str(), said.stderr.as_str()), ("out 5\n1\n2\n3\n4\n5\n", "err 5\n"));
    let of_all = instance.ok(&["job", "output", "-l", wide.trim()]);
    let lines: BTreeSet<&str> = of_all.lines().collect();
    assert_eq!(lines, ["0: 0", "1: 1", "2: 2", "3: 3", "4: 4", "5: 5"].into());
    let attached = instance.run(&["job", "attach", ids[0]]);
    assert!(attached.stderr.contains("all.out"), "{}", attached.stderr);
    instance.ok(&["run", "--output=own.{{task.id}}", "-n2", "sh", "-c", "echo of $FLUX_TASK_RANK"]);
    let last = instance.ok(&["job", "last"]);
    assert_eq!(instance.ok(&["job", "output", last.trim()]), "of 0\nof 1");
    instance.ok(&["output", "export", "here"]);
    assert_eq!(
        std::fs::read_to_string(dir.join("here").join(plain(ids[2]) + ".out")).unwrap(),
        "out 3\n1\n2\n3\n"
    );
    let ids: Vec<String> = ids.iter().map(|id| plain(id)).collect();

    // What a crash leaves behind at the end hides nothing.
    std::fs::OpenOptions::new()
        .append(true)
        .open(dir.join("all.out"))
        .unwrap()
        .write_all(b"\x01recxxxx")
        .unwrap();
    let dir = {
        let kept = tempfile::tempdir().unwrap();
        for file in ["all.out", "all.out.index"] {
            std::fs::copy(dir.join(file), kept.path().join(file)).unwrap();
        }
        instance.end();
        kept
    };
    let after = |args: &[&str]| {
        let mut command = flurm(args);
        command.current_dir(dir.path());
        run(command, b"")
    };
    assert_eq!(after(&["job", "output", "--from=all.out", &ids[1]]).ok(), "out 2\n1\n2\n");
    after(&["output", "export", "--from=all.out", "each"]).ok();
    assert_eq!(std::fs::read_dir(dir.path().join("each")).unwrap().count(), 60 * 2 + 1);
    for (n, id) in (1..).zip(&ids) {
        let text = std::fs::read_to_string(dir.path().join(format!("each/{id}.err"))).unwrap();
        assert_eq!(text, format!("err {n}\n"));
    }
    assert!(after(&["job", "output", "--from=all.out", "f1"]).code_is(1).stderr.contains("no output of"));
}

/// `ƒ` is written as `f` in the names of files.
fn plain(id: &str) -> String {
    id.trim().replace('ƒ', "f")
}

#[test]
fn large_output_goes_through_and_what_is_no_archive_is_refused() {
    let instance = Instance::start(1);
    let all = "seq 1 2700000";
    let expected: String = (1..=2_700_000).map(|n| format!("{n}\n")).collect();
    let id = instance.ok(&["submit", "--wait", "--output-archive=a", "sh", "-c", all]);
    assert!(instance.run(&["job", "output", &id]).ok() == expected, "every byte");
    let len = std::fs::metadata(instance.dir.path().join("a")).unwrap().len();
    assert!(len < expected.len() as u64, "compressed: {len}");

    std::fs::write(instance.dir.path().join("text"), "a text\n").unwrap();
    let refused = instance.run(&["run", "--output-archive=text", "true"]);
    assert!(refused.stderr.contains("no output archive"), "{}", refused.stderr);
    let refused = instance.run(&["run", "--output-archive=no/where", "true"]);
    assert!(refused.stderr.contains("no/where"), "{}", refused.stderr);
    // A file that never answers holds nobody up who wants to go.
    let fifo = instance.dir.path().join("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let id = instance.ok(&["submit", "--output-archive=fifo", "echo", "x"]);
    instance.ok(&["job", "wait-event", &id, "alloc"]);
    instance.ok(&["cancel", &id]);
    instance.ok(&["job", "wait-event", &id, "clean"]);
    let refused = instance.run(&["run", "--output-archive={{nobody}}", "true"]);
    assert!(refused.stderr.contains("nobody"), "{}", refused.stderr);
}

#[test]
fn what_one_job_has_written_elsewhere_does_not_keep_the_others_from_being_exported() {
    let instance = Instance::start(1);
    let dir = instance.dir.path();
    let fifo = std::ffi::CString::new(dir.join("pipe").to_str().unwrap()).unwrap();
    // SAFETY: a valid path.
    assert_eq!(unsafe { libc::mkfifo(fifo.as_ptr(), 0o600) }, 0);
    let reader = std::thread::spawn({
        let path = dir.join("pipe");
        move || std::fs::read_to_string(path).unwrap()
    });
    let submit = |args: &[&str]| plain(instance.ok(&[&["submit", "--wait"], args].concat()).trim());
    let last = submit(&["echo", "in the log"]);
    let piped = submit(&["--output=pipe", "echo", "to the pipe"]);
    let both = "echo to the file; echo to the log >&2";
    let removed = submit(&["--output=gone", "-o", "output.stderr.type=kvs", "sh", "-c", both]);
    assert_eq!(reader.join().unwrap(), "to the pipe\n");
    std::fs::remove_file(dir.join("gone")).unwrap();

    // The newest comes first.
    let ran = instance.run(&["output", "export", "here"]).code_is(1);
    for said in ["cannot read ", "/gone", "/pipe, which is no file", "2 jobs written"] {
        assert!(ran.stderr.contains(said), "{said}: {}", ran.stderr);
    }
    let read = |name: String| std::fs::read_to_string(dir.join("here").join(name)).ok();
    assert_eq!(read(last + ".out").as_deref(), Some("in the log\n"));
    assert_eq!(read(removed.clone() + ".err").as_deref(), Some("to the log\n"));
    assert_eq!((read(removed + ".out"), read(piped.clone() + ".out")), (None, None));
    let ran = instance.run(&["job", "output", &piped]).code_is(1);
    assert!(ran.stderr.contains("/pipe, which is no file"), "{}", ran.stderr);
}
