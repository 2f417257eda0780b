//! Slurm's own `sacct` and `sacctmgr`, as Debian packages them, ask the accounting daemon of an instance.
//!
//! Without these programs the tests print so, and fail if `FLURM_REQUIRE_LAB` is set (as it is in CI).

use flurm_tests::{DEADLINE, Instance, Options, Ran, eventually, run};
use std::path::{Path, PathBuf};
use std::process::Command;

/// An instance that answers Slurm's commands.
struct Answering {
    conf: PathBuf,
    instance: Instance,
}

impl Answering {
    /// None (said on stderr) where Slurm's commands are not installed.
    fn start(name: &str) -> Option<Self> {
        let missing: Vec<&str> = ["/usr/bin/sacct", "/usr/bin/sacctmgr", "/usr/sbin/munged"]
            .into_iter()
            .filter(|program| !Path::new(program).exists())
            .collect();
        if !missing.is_empty() {
            assert!(std::env::var_os("FLURM_REQUIRE_LAB").is_none(), "missing: {missing:?}");
            eprintln!("SKIPPED {name}: missing: {missing:?}; as root, `make test` installs them");
            return None;
        }
        let options = Options { size: 3, args: vec!["--slurm".to_owned()], ..Options::default() };
        let instance = Instance::with(options);
        let conf = instance.rundir(0).join("slurm/slurm.conf");
        eventually("the private slurm.conf", DEADLINE, || conf.exists().then_some(()));
        Some(Self { conf, instance })
    }

    fn command(&self, program: &str, line: &str) -> Command {
        let mut command = Command::new(program);
        command.args(line.split_whitespace());
        command.env_clear().env("SLURM_CONF", &self.conf).env("TZ", "UTC").env("PATH", "/usr/bin:/bin");
        command
    }

    #[track_caller]
    fn sacct(&self, line: &str) -> Vec<String> {
        let ran = run(self.command("sacct", &format!("--noheader --parsable2 {line}")), b"");
        ran.ok().lines().map(str::to_owned).collect()
    }

    fn sacctmgr(&self, line: &str) -> Ran {
        run(self.command("sacctmgr", &format!("--noheader --parsable2 --immediate {line}")), b"")
    }

    #[track_caller]
    fn show(&self, line: &str) -> Vec<String> {
        self.sacctmgr(&format!("show {line}")).ok().lines().map(str::to_owned).collect()
    }
}

/// What `id` says.
fn id(line: &str) -> String {
    let mut id = Command::new("id");
    id.args(line.split(' '));
    run(id, b"").ok().trim().to_owned()
}

#[test]
fn sacct_tells_what_became_of_every_job() {
    let Some(lab) = Answering::start("sacct") else { return };
    let flurm = |line: &str| lab.instance.run(&line.split(' ').collect::<Vec<_>>());
    flurm("run -n2 --job-name=good --bank=physics true").ok();
    flurm("run -N2 -n4 --job-name=bad false").code_is(1);
    let gone = flurm("submit -n1 --job-name=gone sleep 1000").ok();
    flurm(&format!("job wait-event {} start", gone.trim())).ok();
    flurm(&format!("cancel {}", gone.trim())).ok();
    flurm(&format!("job wait-event {} clean", gone.trim())).ok();
    flurm("run -n1 --job-name=late -t1s sleep 1000");
    let here = flurm("submit -n3 --job-name=here sleep 1000").ok();
    flurm(&format!("job wait-event {} start", here.trim())).ok();
    flurm("submit -N3 --exclusive --job-name=next true").ok();
    flurm("submit --urgency=0 --array=0-9%3 --job-name=many true").ok();

    let me = id("-un");
    let rows = lab
        .sacct("--allocations --format=JobID,JobName,State,ExitCode,AllocCPUS,NNodes,NodeList,Account,User");
    let cancelled = format!("CANCELLED by {}", id("-u"));
    assert_eq!(
        rows,
        [
            format!("1|good|COMPLETED|0:0|2|1|node0|physics|{me}"),
            format!("2|bad|FAILED|1:0|4|2|node[0-1]||{me}"),
            format!("3|gone|{cancelled}|0:0|1|1|node0||{me}"),
            format!("4|late|TIMEOUT|0:0|1|1|node0||{me}"),
            format!("5|here|RUNNING|0:0|3|1|node0||{me}"),
            format!("6|next|PENDING|0:0|3|3|None assigned||{me}"),
            format!("7_[0-9%3]|many|PENDING|0:0|1|1|None assigned||{me}"),
        ]
    );
    // A job's own tasks are its step 0.
    let steps = lab.sacct("-j 2 --format=JobID,State,ExitCode,NTasks,AllocTRES");
    assert_eq!(
        steps,
        ["2|FAILED|1:0||billing=4,cpu=4,mem=2M,node=2", "2.0|FAILED|1:0|4|cpu=4,mem=2M,node=2"]
    );
    assert_eq!(lab.sacct("-j 2.0 --format=JobID"), ["2.0"]);

    // Each of the filters leaves out what it should.
    let names = |line: &str| lab.sacct(&format!("--allocations --format=JobName {line}")).join(" ");
    assert_eq!(names("--state=F --starttime=now-1hour --endtime=now"), "bad");
    assert_eq!(names("--state=CA,TO --starttime=now-1hour --endtime=now"), "gone late");
    assert_eq!(names("--name=good,next"), "good next");
    assert_eq!(names("--account=physics"), "good");
    assert_eq!(names("--nodelist=node1"), "bad");
    assert_eq!(names("--nnodes=2-2"), "bad");
    assert_eq!(names("--jobs=1,5"), "good here");
    assert_eq!(names("--user=nobody"), "");
    assert_eq!(names("--partition=batch --jobs=1"), "good");
    assert_eq!(names("--partition=other"), "");
    assert_eq!(names("--starttime=2000-01-01 --endtime=2000-01-02"), "");
    assert_eq!(names("--clusters=other"), "");
    // Times: a running job's grow, one that waits has none.
    let times = lab.sacct("--allocations --jobs=5,6 --format=Start,End,Elapsed,Submit,Timelimit");
    assert!(
        times[0].contains("|Unknown|00:0") && times[1].starts_with("Unknown|Unknown|00:00:00|20"),
        "{times:?}"
    );
    let json = run(lab.command("sacct", "--json -j 1"), b"").ok();
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["jobs"][0]["job_id"], 1);
}

#[test]
fn sacctmgr_shows_one_cluster_one_user_and_the_accounts_in_use() {
    let Some(lab) = Answering::start("sacctmgr") else { return };
    lab.instance.ok(&["run", "-n1", "--bank=physics", "true"]);
    let me = id("-un");
    let cluster = lab.show("cluster format=Cluster,ControlHost,RPC,TRES");
    assert_eq!(cluster.len(), 1);
    assert!(cluster[0].starts_with("flurm|127.0.0.1|9728|"), "{cluster:?}");
    assert_eq!(lab.show("user format=User,DefaultAccount"), [format!("{me}|physics")]);
    assert_eq!(lab.show("user nobody"), [""; 0]);
    assert_eq!(lab.show("account format=Account"), ["physics", "root"]);
    let mut assocs = lab.show("assoc format=Cluster,Account,User,QOS");
    assocs.sort();
    let mut expected = vec![
        "flurm|physics||normal".to_owned(),
        format!("flurm|physics|{me}|normal"),
        "flurm|root||normal".to_owned(),
        format!("flurm|root|{me}|normal"),
    ];
    expected.sort();
    assert_eq!(assocs, expected);
    assert_eq!(lab.show("qos format=Name"), ["normal"]);
    let tres = lab.show("tres format=Type,Name,ID");
    for row in ["cpu||1", "mem||2", "node||4", "billing||5", "gres|gpu|1001"] {
        assert!(tres.iter().any(|found| found == row), "{row}: {tres:?}");
    }
    for nothing in ["event", "reservation", "wckey", "transaction", "problem", "resource", "federation"] {
        assert_eq!(lab.show(nothing), [""; 0], "{nothing}");
    }
    assert!(lab.show("config").iter().any(|line| line.contains("accounting_storage/flurm")));
    assert!(!lab.show("stats").is_empty());

    // What would change something is refused with Slurm's own words.
    for change in [
        "add account chemistry",
        "add qos high",
        "modify user where name=root set fairshare=5",
        "modify job where jobid=1 set comment=x",
        "remove account physics",
        "remove qos normal",
    ] {
        let ran = lab.sacctmgr(change);
        assert_ne!(ran.code(), 0, "{change}");
        let said = format!("{}{}", ran.stdout, ran.stderr);
        assert!(said.contains("Requested operation not supported on this system"), "{change}: {said}");
    }
    assert_eq!(lab.show("account format=Account"), ["physics", "root"]);
}
