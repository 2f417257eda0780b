//! At a terminal, with keys: a shell in a job, and what Tab completes.

use flurm_tests::screen::Screen;
use flurm_tests::{Instance, Options, bin_folder, fake_nodes};
use std::path::Path;

/// What a user's shell begins with.
fn setup(below: &Path) -> String {
    let bin = bin_folder(below);
    format!("export PATH={}:$PATH SHELL=/bin/sh PS1='> '", bin.display())
}

#[test]
fn alloc_is_a_shell_in_the_job_until_it_is_left() {
    let instance = Instance::start(2);
    let setup = setup(instance.dir.path());
    let screen = Screen::start(&instance, &format!("{setup}; flurm alloc -N2"));
    screen.shows(">");
    screen.press(&["flurm getattr size; stty size", "Enter"]);
    screen.shows("> flurm getattr size; stty size\n2\n16 80\n>");
    // Ctrl-C is for what runs in it.
    screen.press(&["sh -c 'echo on; sleep 1000'", "Enter"]);
    screen.shows("...\n> sh -c 'echo on; sleep 1000'\non");
    screen.press(&["C-c"]);
    screen.shows("...\non\n^C[..]\n...\n>");
    // A shell in a job in the job.
    screen.press(&["clear", "Enter"]);
    screen.shows(">");
    screen.press(&["flurm alloc -n1", "Enter"]);
    screen.shows("> flurm alloc -n1\n>");
    screen.press(&["flurm getattr instance-level", "Enter"]);
    screen.shows("...\n> flurm getattr instance-level\n2\n>");
    screen.press(&["exit 3", "Enter"]);
    screen.shows("...\n> exit 3\n[..]exit[..]3\n>");
    assert_eq!(instance.ok(&["jobs", "-n", "-o", "{state} {name}"]), "RUN alloc");
    screen.press(&["C-d"]);
    // The end of its input ends a shell with the code of what it has run last.
    screen.shows("...\nflurm-job: task(s) exited with exit code 3\nexit 3");
    assert_eq!(instance.ok(&["jobs", "-a", "-n", "-o", "{status} {returncode}"]), "FAILED 3");
}

#[test]
fn alloc_that_waits_says_so_and_is_given_up_with_ctrl_c() {
    let instance = Instance::start(1);
    let setup = setup(instance.dir.path());
    instance.ok(&["submit", "--quiet", "--wait-event=start", "-N1", "sleep", "1000"]);
    let screen = Screen::start(&instance, &format!("{setup}; flurm alloc -N1"));
    screen.shows("flurm-job: ƒ[..] waiting for [..]:[..]");
    screen.press(&["C-c"]);
    screen.shows("...\nexit [..]");
    assert_eq!(
        instance.ok(&["jobs", "-a", "-n", "-f", "inactive", "-o", "{name} {status}"]),
        "alloc CANCELED"
    );
}

#[test]
fn tab_completes_commands_jobs_queues_and_formats() {
    let config = format!(
        "{}\n[queues.batch]\n[queues.debug]\n[policy]\njobspec.defaults.system.queue = \"batch\"\n",
        fake_nodes(1, 4)
    );
    let instance = Instance::with(Options { size: 1, config: Some(config), ..Options::default() });
    let dir = instance.dir.path();
    let setup = setup(dir);
    let folder = dir.join("scripts");
    std::fs::create_dir(&folder).expect("a directory");
    std::fs::write(folder.join("long-name.sh"), "#!/bin/sh\n").expect("a script");
    std::fs::write(dir.join("rc"), "PS1='> '; source <(flurm completion bash); cd scripts\n")
        .expect("a file");
    let id = instance.ok(&["submit", "--wait-event=start", "sleep", "1000"]);
    let over = instance.ok(&["submit", "--wait", "true"]);
    let plain = id.replace('ƒ', "f");
    let screen = Screen::start(&instance, &format!("{setup}; bash --noprofile --rcfile rc -i"));
    screen.shows(">");
    for (typed, completed) in [
        ("flurm upt", "flurm uptime".to_owned()),
        ("flurm job urg", "flurm job urgency".to_owned()),
        ("flurm submit --job-n", "flurm submit --job-name=".to_owned()),
        ("flurm submit -q d", "flurm submit -q debug".to_owned()),
        ("flurm submit --queue=b", "flurm submit --queue=batch".to_owned()),
        ("flurm jobs -o lo", "flurm jobs -o long".to_owned()),
        ("flurm jobs --filter=pending,run", "flurm jobs --filter=pending,run".to_owned()),
        ("flurm cancel ", format!("flurm cancel {id}")),
        ("flurm cancel f", format!("flurm cancel {plain}")),
        ("flurm submit --dependency=aftero", "flurm submit --dependency=afterok:".to_owned()),
        ("flurm getattr instance-i", "flurm getattr instance-id".to_owned()),
        ("flurm batch lo", "flurm batch long-name.sh".to_owned()),
        ("flurm submit --output=lo", "flurm submit --output=long-name.sh".to_owned()),
        ("flurm run -n1 cat lo", "flurm run -n1 cat long-name.sh".to_owned()),
    ] {
        screen.press(&[typed, "Tab"]);
        screen.shows(&format!("> {completed}"));
        screen.press(&["C-a", "C-k", "C-l"]);
        screen.shows(">");
    }
    // What they have in common comes first; a second Tab shows them all.
    screen.press(&["flurm job info ", "Tab", "Tab", "Tab"]);
    screen.shows(&format!("...\n[..]{over}[..]\n..."));
    screen.press(&["C-c"]);
    instance.ok(&["cancel", "--all"]);
}
