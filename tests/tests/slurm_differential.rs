//! The same lines of Slurm's own commands against the lab's slurmctld and against an instance inside one of its jobs:
//! what they say is the same. The lines and the differences that are known: `slurm/differential.txt`.

use flurm_tests::differential::{Check, Table};
use flurm_tests::lab::Lab;
use flurm_tests::{Ran, eventually};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// All rows of one run, on a loaded machine.
const RUN_MAX: Duration = Duration::from_secs(300);

/// As the lab's nodes are, whatever this machine has.
const NODES: &str = r#"{"version": 1,
 "execution": {"R_lite": [{"rank": "0-2", "children": {"core": "0-19"}}], "nodelist": ["node[1-3]"],
               "starttime": 0, "expiration": 0},
 "scheduling": {"writer": "TreePool", "children": [{"ranks": "0-2", "topo": {"socket": [
     {"cores": "0-9", "memory": 4}, {"cores": "10-19", "memory": 4}]}}]}}"#;

/// And its partition.
const CONFIG: &str = "[resource]\npath = \"nodes.json\"\n\n\
                      [policy]\njobspec.defaults.system.queue = \"main\"\n\n\
                      [queues.main]\npolicy.jobspec.defaults.system.duration = \"10m\"\n";

/// Fewer would not be worth the cluster.
const CHECKS_MIN: usize = 200;

fn table() -> Table {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("slurm/differential.txt");
    Table::parse(&fs::read_to_string(path).expect("the table is there"))
}

/// Runs all rows on node1 as the user, in a folder of his.
fn run(lab: &Lab, table: &Table, name: &str, environment: &str) -> PathBuf {
    let folder = lab.home.join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir(&folder).expect("the user's home is shared");
    table.write(&folder).expect("its rows");
    // The user writes beside them.
    let entries = fs::read_dir(&folder).expect("it was made").map(|entry| entry.expect("an entry").path());
    for path in entries.filter(|path| path.is_dir()).chain([folder.clone()]) {
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).expect("ours");
    }
    let line = format!("{environment} setsid bash {name}/driver.sh ~/{name} >{name}/log 2>&1 </dev/null &");
    let started = Instant::now();
    on_node1(lab, &line).ok();
    eventually(name, RUN_MAX, || folder.join("ready").exists().then_some(()));
    eprintln!("{name}: {:.1} s", started.elapsed().as_secs_f64());
    folder
}

fn on_node1(lab: &Lab, line: &str) -> Ran {
    lab.script(&["exec", "node1", "-u", "flurmer", "bash", "-c", line])
}

fn report(what: &str, checks: &[Check]) {
    let agree = checks.iter().filter(|check| check.agrees()).count();
    eprintln!("{what}: {agree} of {} checks agree", checks.len());
}

#[test]
fn slurms_commands_find_in_an_instance_what_they_find_in_a_cluster() {
    let Some(lab) = Lab::with("differential", &["--mem", "8192", "--extra", "FirstJobId=1000"]) else {
        return;
    };
    let table = table();
    let reference = run(&lab, &table, "diff-lab", "");

    // Each check fails where every question is answered with an error, as a slurmd does with those of a controller.
    let errors = "ClusterName=stb\nSlurmctldHost=node1\nSlurmctldPort=6818\nMessageTimeout=2\n\
                  NodeName=node[1-3] CPUs=20\nPartitionName=main Nodes=ALL Default=YES\n";
    fs::write(lab.home.join("errors.conf"), errors).expect("the user's home is shared");
    let refused =
        run(&lab, &table, "diff-errors", "export SIDE_BY_SIDE=12 ROW_MAX=10 SLURM_CONF=~/errors.conf;");
    let refused = table.compare(&reference, &refused);
    let blind: Vec<&Check> = refused.iter().filter(|check| check.agrees()).collect();
    report("a server that answers errors only", &refused);

    fs::write(lab.home.join("nodes.json"), NODES).expect("the user's home is shared");
    fs::write(lab.home.join("like-the-lab.toml"), CONFIG).expect("the user's home is shared");
    let start = "srun --mpi=none --overlap flurm start --slurm --config-path=like-the-lab.toml \
                 sh -c \"flurm slurm env >env.new; mv env.new slurm.env; exec sleep 3600\"";
    let _ = fs::remove_file(lab.home.join("slurm.env"));
    let batch =
        format!("sbatch -N3 --ntasks-per-node=1 --exclusive -t UNLIMITED -o instance.out --wrap '{start}'");
    lab.login(&batch).ok();
    let env = lab.home.join("slurm.env");
    eventually("the instance", Duration::from_secs(60), || env.exists().then_some(()));
    let ours = run(&lab, &table, "diff-ours", ". ~/slurm.env;");
    let checks = table.compare(&reference, &ours);
    report("the instance", &checks);
    let wrong = table.wrong(&checks);
    assert!(wrong.is_empty(), "{} differences\n{}", wrong.len(), wrong.join("\n"));
    assert!(checks.len() >= CHECKS_MIN, "{} checks", checks.len());
    assert!(blind.is_empty(), "pass against a server that answers errors only: {blind:#?}");
    lab.login("scancel --me").ok();
    lab.nothing_remains();
}
