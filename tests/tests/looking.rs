//! Looking at jobs: listings, trees, patterns, output of many, a screen with keys, a report at the end.

use flurm_tests::screen::Screen;
use flurm_tests::terminal::Terminal;
use flurm_tests::{DEADLINE, Instance, Options, eventually, fake_nodes, flurm, flurm_bin, kill, run};

/// Four nodes of four cores, two queues.
fn queues() -> Instance {
    let config = format!(
        "{}\n[queues.batch]\nhosts = \"node[0-2]\"\n[queues.debug]\nhosts = \"node3\"\n\n[policy]\njobspec.defaults.system.queue = \"batch\"\n",
        fake_nodes(4, 4)
    );
    Instance::with(Options { size: 4, config: Some(config), ..Options::default() })
}

fn words(line: &str) -> Vec<&str> {
    line.split(' ').filter(|word| !word.is_empty()).collect()
}

/// Runs a line of words with `~` for blanks inside a word; its code, and what it says on both streams.
fn typed(instance: &Instance, line: &str) -> (i32, String) {
    let words: Vec<String> = words(line).into_iter().map(|word| word.replace('~', " ")).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let ran = instance.run(&words);
    (ran.code(), format!("{}{}", ran.stdout, ran.stderr).trim_end().to_owned())
}

#[test]
fn listings_have_the_jobs_that_are_asked_for() {
    let instance = queues();
    for line in [
        "submit --wait --quiet --job-name=good true",
        "submit --wait --quiet --job-name=bad sh -c exit~3",
        "submit --quiet --wait-event=start --job-name=here --requires=host:node1 -n2 sleep 1000",
        "submit --quiet --wait-event=start --job-name=there -q debug sleep 1000",
        "submit --quiet --job-name=held --urgency=hold true",
    ] {
        typed(&instance, line);
    }
    let since = instance.ok(&["jobs", "-n", "-o", "{t_submit}", "--name=here"]);
    for (line, code, said) in [
        ("jobs -n -o {name}", 0, "held\nthere\nhere"),
        ("jobs -a -n -o {name} --sort=name", 0, "bad\ngood\nheld\nhere\nthere"),
        ("jobs -a -n -o sort:-name~{name:<5.4+}|", 0, "the+ |\nhere |\nheld |\ngood |\nbad  |"),
        ("jobs -n -o {name} -f failed,pending", 0, "held\nbad"),
        ("jobs -n -o {name} -q debug", 0, "there"),
        ("jobs -n -o {name} -q debug,batch -f running", 0, "there\nhere"),
        ("jobs -n -o {name} -i node1", 0, "here"),
        ("jobs -n -o {name} -i 1,3", 0, "there\nhere"),
        ("jobs -a -n -o {name} -c 2", 0, "held\nthere"),
        ("jobs -n -o {name} --name=here", 0, "here"),
        ("jobs -o {name:>6}|{ntasks}|?:{bank} --name=here", 0, "  NAME|NTASKS\n  here|2"),
        ("jobs -w=4 -n -o {name}{name}", 0, "held\nther\nhere"),
        ("jobs -n -o {state_emoji}{result_emoji}{status_emoji} --name=good -a", 0, "🧹✅✅"),
        ("jobs --suppress-header -o {inactive_reason}|{returncode} --name=bad -a", 0, "Exit 3|3"),
        ("jobs --stats-only", 0, "2 running, 1 completed, 1 failed, 1 pending"),
        ("jobs --stats-only -q debug", 0, "1 running, 0 completed, 0 failed, 0 pending"),
        ("jobs -n -o {contextual_info} --name=held", 0, "held"),
        ("jobs -q none", 1, "error: queue none not found\nhint: the queues are batch, debug"),
        ("jobs -u nobody-here", 1, "error: there is no user nobody-here here"),
        ("pgrep -n -o {name} ^(here|held)$", 0, "held\nhere"),
        ("pgrep -n -a -o {name} d$", 0, "held\nbad\ngood"),
        ("pgrep -c 1 -n -o {name} e", 0, "held"),
        ("pgrep --max-entries=1 -n -o {name} e", 0, "held"),
        ("pgrep nothing", 1, ""),
        ("pgrep (", 2, "error: cannot read pattern `(`: "),
        ("cancel -n --all", 0, "Would cancel 3 jobs"),
        ("cancel -n -S pending", 0, "Would cancel 1 job"),
        ("job killall", 0, "Would signal 2 jobs; -f does it"),
        ("pkill ^th", 0, ""),
        ("watch", 2, "error: no jobs to watch\nhint: give ids, or -a for all active jobs"),
        ("job taskmap --to=raw [[0,2,1,2]]", 0, "0,2;1,3"),
        (
            "job taskmap --hostname=1 0-3",
            2,
            "error: a map alone does not name hosts\nhint: give the id of a job",
        ),
    ] {
        let (ended, text) = typed(&instance, line);
        let as_said = if code == 2 { text.starts_with(said) } else { text == said };
        assert!(ended == code && as_said, "{line}\nexit {ended}, said:\n{text}\nnot:\n{said}");
    }
    let before = instance.ok(&["jobs", "-a", "-n", "-o", "{name}", &format!("--since={since}")]);
    assert_eq!(before, "held\nthere\nhere", "what ended before is left out");
    let ids = instance.ok(&["jobs", "-a", "-n", "-o", "{id}"]);
    let ids: Vec<&str> = ids.lines().collect();
    let range = format!("{}..{}", ids[4], ids[3]);
    assert_eq!(instance.ok(&["pgrep", "-a", "-n", "-o", "{name}", &range]), "bad\ngood");
    let one = instance.json(&["jobs", "--json", ids[3]]);
    assert_eq!((&one["name"], &one["returncode"]), (&"bad".into(), &3.into()));
    assert_eq!(instance.json(&["jobs", "-o", "json", ids[3]]), one);
    let lines = instance.ok(&["job", "list-inactive", "-c", "2"]);
    let newest: serde_json::Value =
        serde_json::from_str(lines.lines().next().expect("a line")).expect("JSON");
    assert_eq!(newest["name"], "there");
    assert_eq!(instance.json(&["job", "stats"])["job_states"]["total"], 5);
    instance.ok(&["job", "raiseall", "-f", "-s", "0", "stop", "in", "time"]);
    assert_eq!(
        instance.ok(&["jobs", "-n", "-a", "-o", "{exception.type}: {exception.note}", ids[0]]),
        "stop: in time"
    );
}

#[test]
fn more_jobs_than_a_page_has_are_all_listed() {
    let instance = Instance::start(1);
    instance.ok(&["queue", "stop"]);
    instance.ok(&["submit", "--quiet", "--cc=1-5000", "true"]);
    let ids = instance.ok(&["jobs", "-c", "0", "-n", "-o", "{id.dec}"]);
    let ids: Vec<u64> = ids.lines().map(|id| id.parse().expect("an id")).collect();
    assert_eq!(ids.len(), 5000);
    assert!(ids.windows(2).all(|two| two[0] > two[1]), "newest first, each once");
    assert_eq!(instance.ok(&["jobs", "-c", "4500", "-n", "-o", "{id}"]).lines().count(), 4500);
    let cut = instance.run(&["jobs", "-n", "-o", "{id}"]);
    assert_eq!(cut.stderr, "flurm-jobs: output truncated at 1000 jobs; -c 0 shows all\n");
    assert_eq!(cut.ok().lines().count(), 1000);
    for (tool, words) in [("job", ["job", "list"]), ("pstree", ["pstree", "-a"])] {
        let said = instance.run(&words).stderr;
        assert!(
            said.starts_with(&format!("flurm-{tool}: output truncated at 1000 jobs")),
            "{words:?}: {said}"
        );
    }
    assert_eq!(instance.ok(&["job", "last", "[4998:]"]).lines().count(), 2);
}

#[test]
fn instances_inside_are_looked_into() {
    let instance = Instance::start(2);
    let bin = flurm_bin().display().to_string();
    let script = format!("{bin} submit --quiet --cc=1-3 --job-name=deep sleep 1000; {bin} queue drain");
    let args = [
        "submit",
        "--quiet",
        "--wait-event=memo",
        "-c2",
        "--job-name=inner",
        &bin,
        "start",
        "sh",
        "-c",
        &script,
    ];
    instance.ok(&args);
    instance.ok(&["submit", "--quiet", "--wait-event=start", "--job-name=outer", "sleep", "1000"]);
    let deep = ["jobs", "-n", "-R", "-o", "{name}:{status_abbrev}"];
    let text = eventually("the jobs inside", DEADLINE, || {
        Some(instance.ok(&deep)).filter(|text| text.matches("deep:R").count() == 2)
    });
    let id = instance.ok(&["pgrep", "inner"]);
    assert_eq!(text, format!("outer:R\ninner:R\n\n{id}:\ndeep:S\ndeep:R\ndeep:R"));
    assert_eq!(instance.ok(&["jobs", "-n", "-R", "-L", "0", "-o", "{name}"]), "outer\ninner");
    let told = "{name} {instance.stats} {instance.stats.total:h} {instance.utilization!P:h} {instance.resources.all.ncores:h}";
    assert_eq!(instance.ok(&["jobs", "-n", "-o", told, &id]), "inner PD:1 R:2 CD:0 F:0 3 100.000% 2");
    let jobs = instance.json(&["jobs", "-R", "--json"]);
    assert_eq!(jobs["jobs"][1]["jobs"].as_array().map(Vec::len), Some(3));
    let tree = |args: &[&str]| instance.ok(&[&["pstree", "--ascii"], args].concat());
    assert_eq!(tree(&[]), ".\n|-- outer\n`-- inner\n    `-- 3*[deep]");
    assert_eq!(tree(&["-X", "-C", "-a"]), ".\n|-outer:R\n`-inner:R\n  |-deep:S\n  |-deep:R\n  `-deep:R");
    assert_eq!(tree(&["-L", "0", "-p"]), format!(".\n|-- outer\n`-- {id} inner"));
    assert_eq!(tree(&["-n", "--detail-format={ntasks}", &id]).lines().next(), Some("1       inner"));
    instance.ok(&["cancel", "--all"]);
}

#[test]
fn the_output_of_many_jobs_is_shown_with_the_worst_of_their_codes() {
    let instance = Instance::start(2);
    instance.ok(&["submit", "--quiet", "--cc=0-99", "sh", "-c", "echo from {cc}; exit $(({cc} % 3))"]);
    let ran = instance.run(&["watch", "-A"]).code_is(2);
    let mut lines: Vec<&str> = ran.stdout.lines().collect();
    lines.sort_by_key(|line| line.rsplit(' ').next().and_then(|n| n.parse::<u32>().ok()));
    let all: Vec<String> = (0..100).map(|n| format!("from {n}")).collect();
    assert_eq!(lines, all);
    assert_eq!(instance.run(&["watch", "-f", "completed", "-c", "1"]).code_is(0).stdout, "from 99\n");
}

#[test]
fn top_is_a_screen_with_keys() {
    let instance = queues();
    let bin = flurm_bin().display().to_string();
    let script = format!("{bin} submit --quiet --cc=1-2 --job-name=deep sleep 1000; {bin} queue drain");
    let args = [
        "submit",
        "--quiet",
        "--wait-event=memo",
        "-c1",
        "--job-name=inner",
        &bin,
        "start",
        "sh",
        "-c",
        &script,
    ];
    instance.ok(&args);
    instance.ok(&["run", "true"]);
    instance.ok(&[
        "submit",
        "--quiet",
        "-q",
        "debug",
        "-n2",
        "--wait-event=start",
        "--job-name=outer",
        "sleep",
        "1000",
    ]);
    instance.ok(&["submit", "--quiet", "-q", "debug", "-n4", "--job-name=waits", "true"]);
    let screen = Screen::start(&instance, &format!("{bin} top"));
    screen.shows(
        "flurm[..]∞\n nodes [||||[..]2/4]\n cores [||[..]3/16]\n  gpus [[..]0/0]\n 1 pending, 2 running, 1 inactive\n \
         size 4, depth 0, up [..], flurm [..]\n\n       JOBID QUEUE    USER     ST NTASKS NNODES     TIME NAME\n\
         [..] debug    [..]  R      2      1 [..] outer\n[..] batch    [..]  R      1      1 [..] inner\n\
         [..] debug    [..]  S      4      -        - waits\n...\nj k move [..] q back, quit",
    );
    screen.press(&["d"]);
    screen.shows("...\n 1 pending, 2 running, 1 completed, 0 failed, 0 canceled, 0 timeout\n...");
    // From all queues to the second one, and back.
    screen.press(&["l", "l"]);
    screen.shows(
        "...\n[..]queue debug: 1 pending, 1 running, 0 completed[..]\n...\n[..] outer\n[..] waits\n...",
    );
    screen.press(&["Right"]);
    screen.shows("...\n[..] outer\n[..] inner\n[..] waits\n...");
    screen.press(&["Enter"]);
    screen.shows("...\nchoose a job with j and k first");
    screen.press(&["j", "Enter"]);
    screen.shows("...\nƒ[..] is no instance");
    screen.press(&["Down", "Enter"]);
    screen.shows("flurm/ƒ[..]\n...\n[..]depth 1[..]\n...\n[..] deep\n[..] deep\n...");
    // What is looked at may end.
    instance.ok(&["pkill", "--wait", "inner"]);
    screen.shows("flurm [..]\n...\n[..] outer\n[..] waits\n...\nflurm/ƒ[..] has ended");
    let styled = |screen: &Screen| screen.tmux(&["capture-pane", "-p", "-e"]).contains("\x1b[1m");
    assert!(!styled(&screen), "NO_COLOR is set");
    screen.press(&["q"]);
    screen.shows("exit 0");
    drop(screen);
    let screen = Screen::start(&instance, &format!("{bin} top --queue=debug --color=always"));
    screen.shows("...\n[..]queue debug: 1 pending, 1 running, 0 inactive\n...\n[..] outer\n[..] waits\n...");
    assert!(styled(&screen));
}

#[test]
fn top_gives_the_terminal_back_however_it_ends() {
    let instance = Instance::start(1);
    let start = || {
        let mut terminal = Terminal::start(instance.command(&["top"]), 24, 80);
        terminal.expect("\x1b[?1049h");
        terminal.expect("q back, quit");
        assert!(terminal.is_raw());
        terminal
    };
    let mut terminal = start();
    terminal.type_in("\x03");
    terminal.expect("\x1b[?1049l");
    assert_eq!(terminal.wait().code(), Some(0));
    assert!(!terminal.is_raw());
    let mut terminal = start();
    kill(terminal.child.id() as i32, libc::SIGTERM);
    terminal.expect("\x1b[?1049l");
    assert_eq!(terminal.wait().code(), Some(128 + libc::SIGTERM));
    assert!(!terminal.is_raw());
    let mut terminal = start();
    kill(instance.broker_pid(0), libc::SIGKILL);
    terminal.expect("\x1b[?1049l");
    terminal.expect("error: ");
    assert_eq!(terminal.wait().code(), Some(1));
    assert!(!terminal.is_raw());
    let nowhere = run(instance.command(&["top"]), b"").code_is(1);
    assert!(nowhere.stderr.starts_with("error: top needs a terminal"), "{}", nowhere.stderr);
}

#[test]
fn an_instance_tells_what_it_did_with_its_time() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let bin = flurm_bin().display().to_string();
    let script =
        format!("{bin} run -n2 --job-name=solver true; {bin} run --job-name=bad sh -c 'exit 3'; exit 7");
    let start = |option: &str| {
        let mut command = flurm(&["start", option, "sh", "-c", &script]);
        command.current_dir(folder.path());
        run(command, b"").code_is(7)
    };
    let said = start("--report").stderr;
    for words in ["jobs: 1 completed, 1 failed", "used by jobs", "  exit code 3", "slowest starts"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let quiet = start("--report=page.html");
    assert!(!quiet.stderr.contains("used by jobs"), "{}", quiet.stderr);
    let page = std::fs::read_to_string(folder.path().join("page.html")).expect("it was written");
    let data =
        page.split_once("const data = ").and_then(|(_, rest)| rest.split_once(";\n")).expect("the data").0;
    let data: serde_json::Value = serde_json::from_str(data).expect("JSON");
    let names: Vec<&str> =
        data["jobs"].as_array().expect("jobs").iter().filter_map(|job| job[1].as_str()).collect();
    assert_eq!(names, ["solver", "bad"]);
    assert_eq!(data["report"]["results"]["FAILED"], 1);
}

#[test]
fn purged_jobs_are_gone_with_their_files_also_for_another_life() {
    let state = tempfile::tempdir().expect("a directory");
    let dir = format!("-Sstatedir={}", state.path().display());
    let life = |script: &str| {
        let ran = run(flurm(&["start", "-s1", &dir, "sh", "-c", script]), b"");
        assert_eq!(ran.code(), 0, "{}{}", ran.stdout, ran.stderr);
        ran.stdout
    };
    let flurm = flurm_bin().display().to_string();
    let files = || std::fs::read_dir(state.path().join("output")).map_or(0, Iterator::count);
    let said = life(&format!(
        "{flurm} submit --quiet --wait --job-name=says sh -c 'yes | head -c 2000000'
         {flurm} submit --quiet --cc=1-4 --wait --job-name=other true
         {flurm} job purge --num-limit=4; {flurm} job purge --age-limit=1h -f
         ls {}/output | wc -l
         {flurm} job purge --num-limit=4 -f --batch=1; {flurm} jobs -a -n -o '{{name}}'",
        state.path().display()
    ));
    let lines: Vec<&str> = said.lines().collect();
    let others = ["other"; 4];
    assert_eq!(
        lines[..4],
        [
            "Would purge 1 of 5 inactive jobs; -f does it",
            "Purged 0 inactive jobs, 5 left",
            "1",
            "Purged 1 inactive job, 4 left"
        ]
    );
    assert_eq!((&lines[4..], files()), (&others[..], 0));
    let said = life(&format!("{flurm} jobs -a -n -o '{{name}}'; {flurm} job purge --num-limit=1 --force"));
    assert_eq!(said.lines().collect::<Vec<_>>(), [&others[..], &["Purged 3 inactive jobs, 1 left"]].concat());
}
