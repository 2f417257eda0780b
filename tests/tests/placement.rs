//! Where jobs and their tasks go, as users ask for it: one socket or halves of several, alone or beside others.
//!
//! Most nodes here are made up, and a task cannot be bound to a core that does not exist. So what a shell would bind
//! its tasks to is read from what `cpu-affinity=verbose` makes it say, and compared with the masks of the tasks wherever
//! this machine has the cores.

use flurm_tests::{DEADLINE, Instance, Options, eventually, fake_nodes, flurm, run};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

fn start(size: u32, cores: u32, more: &str) -> Instance {
    let config = Some(format!("{}{more}", fake_nodes(size, cores)));
    Instance::with(Options { size, config, ..Options::default() })
}

/// `0-2,7` as numbers.
fn set(text: &str) -> BTreeSet<u32> {
    let number = |text: &str| text.parse::<u32>().unwrap_or_else(|_| panic!("`{text}` is no number"));
    let ends = |part: &str| match part.split_once('-') {
        Some((from, to)) => number(from)..=number(to),
        None => number(part)..=number(part),
    };
    text.split(',').flat_map(ends).collect()
}

/// Runs tasks and gives the node and the cores that each was bound to. Where the cores exist, the task has seen the
/// same CPUs.
#[track_caller]
fn bound(instance: &Instance, options: &[&str]) -> Vec<(String, BTreeSet<u32>)> {
    let before = ["run", "-l", "-o", "cpu-affinity=verbose"];
    let show = ["grep", "Cpus_allowed_list", "/proc/self/status"];
    let ran = instance.run(&[&before[..], options, &show].concat()).code_is(0);
    let mut masks = BTreeMap::new();
    for line in ran.stdout.lines() {
        let (task, rest) = line.split_once(": ").expect("a label");
        masks.insert(task.to_owned(), rest.split('\t').nth(1).expect("a list").to_owned());
    }
    let mut tasks = BTreeMap::new();
    for line in ran.stderr.lines() {
        // `0: flurm-shell: task 0 on node0: cores 0-1, CPUs 0-1`
        let (task, said) = line.split_once(": flurm-shell: ").expect("what the shell says");
        let said = said.strip_prefix(&format!("task {task} on ")).expect("the task's own line");
        let (host, cores) = said.split_once(": cores ").expect("cores");
        let (cores, cpus) = cores.split_once(", ").expect("CPUs");
        match cpus.strip_prefix("CPUs ") {
            Some(cpus) => assert_eq!(set(cpus), set(&masks[task]), "{line}"),
            None => assert_eq!(cpus, "which are not on this machine"),
        }
        tasks.insert(task.parse::<u32>().expect("a rank"), (host.to_owned(), set(cores)));
    }
    assert_eq!(tasks.len(), masks.len(), "{}", ran.stderr);
    tasks.into_values().collect()
}

/// Cores by host of a job's R.
fn held(instance: &Instance, id: &str) -> BTreeMap<String, BTreeSet<u32>> {
    let r = instance.json(&["job", "info", id, "R"]);
    let hosts = |text: &str| -> Vec<String> {
        match text.split_once('[') {
            Some((prefix, ids)) => {
                set(ids.trim_end_matches(']')).iter().map(|n| format!("{prefix}{n}")).collect()
            }
            None => vec![text.to_owned()],
        }
    };
    let names = r["execution"]["nodelist"].as_array().expect("a list");
    let names = names.iter().flat_map(|text| hosts(text.as_str().expect("text")));
    let mut by_rank: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
    for group in r["execution"]["R_lite"].as_array().expect("a list") {
        for rank in set(group["rank"].as_str().expect("ranks")) {
            by_rank.entry(rank).or_default().extend(set(group["children"]["core"].as_str().expect("cores")));
        }
    }
    names.zip(by_rank.into_values()).collect()
}

#[test]
fn compact_takes_one_socket_and_spread_two_halves() {
    let instance = start(2, 8, "");
    let compact = bound(&instance, &["-n4", "--placement=compact"]);
    let cores: BTreeSet<u32> = compact.iter().flat_map(|(_, cores)| cores.clone()).collect();
    assert!(cores == set("0-3") || cores == set("4-7"), "{compact:?}");
    assert!(compact.iter().all(|(host, own)| *host == compact[0].0 && own.len() == 1), "{compact:?}");

    for spread in ["--placement=spread", "--alloc-type=spread:1/2", "--spread", "--spread=50%"] {
        let tasks = bound(&instance, &["-n4", spread]);
        let on = |socket: &str| tasks.iter().filter(|(_, own)| own.is_subset(&set(socket))).count();
        assert_eq!((on("0-3"), on("4-7")), (2, 2), "{spread}: {tasks:?}");
        let cores: BTreeSet<(&str, u32)> =
            tasks.iter().flat_map(|(host, own)| own.iter().map(|core| (host.as_str(), *core))).collect();
        assert_eq!(cores.len(), 4, "each task has its own: {tasks:?}");
    }
    // Two cores for each task, a quarter of each socket at most: every socket there is.
    let ran = instance.run(&["run", "-n4", "-c2", "--spread=1/4", "true"]).code_is(1);
    assert!(ran.stderr.contains("socket"), "{}", ran.stderr);
    let quarter = bound(&instance, &["-n4", "--spread=1/4"]);
    let sockets: BTreeSet<(&str, bool)> =
        quarter.iter().map(|(host, own)| (host.as_str(), own.is_subset(&set("0-3")))).collect();
    assert_eq!(sockets.len(), 4, "{quarter:?}");
}

#[test]
fn tasks_are_bound_to_cores_that_are_here() {
    let available = std::thread::available_parallelism().expect("a number").get();
    let cores = u32::try_from(available).expect("few").min(8);
    let instance = start(1, cores, "");
    let ntasks = format!("-n{cores}");
    let tasks = bound(&instance, &[&ntasks]);
    let own: BTreeSet<u32> = tasks.iter().flat_map(|(_, own)| own.clone()).collect();
    assert_eq!(own, (0..cores).collect(), "a core for each: {tasks:?}");
    let all = bound(&instance, &[&ntasks, "-o", "cpu-affinity=verbose,on"]);
    assert!(all.iter().all(|(_, own)| own.len() == cores as usize), "{all:?}");
}

#[test]
fn placements_that_mean_nothing_are_refused_by_name() {
    let instance = start(1, 4, "");
    for (options, why) in [
        (&["--placement=tight"][..], "--placement: no placement is called `tight`"),
        (&["--spread=2"], "--spread: `2` is not a share"),
        (&["--cosched=g:17"], "--cosched: a group is of 2 to 16 jobs"),
        (&["--cosched", "--placement=low"], "co-scheduled jobs"),
        (&["--spread", "--placement=low"], "cannot be used with"),
    ] {
        let ran = instance.run(&[&["run"][..], options, &["true"]].concat()).code_is(2);
        assert!(ran.stderr.contains(why), "{options:?}: {}", ran.stderr);
    }
}

#[test]
fn willing_jobs_share_their_sockets_half_and_half() {
    let instance = start(2, 20, "");
    let submit = |class: &str| {
        let class = format!("--cosched-class={class}");
        instance.ok(&["submit", "-n20", "--cosched", &class, "--wait-event=start", "sleep", "1000"])
    };
    let (one, two) = (submit("compute"), submit("memory"));
    let (one, two) = (held(&instance, &one), held(&instance, &two));
    for held in [&one, &two] {
        assert_eq!(held.keys().collect::<Vec<_>>(), ["node0", "node1"]);
        for cores in held.values() {
            let first = cores.iter().filter(|core| **core < 10).count();
            assert_eq!((first, cores.len()), (5, 10), "{held:?}");
        }
    }
    assert!(one.iter().all(|(host, cores)| cores.is_disjoint(&two[host])), "{one:?} {two:?}");
    instance.ok(&["cancel", "--all"]);
}

#[test]
fn a_group_starts_together_or_not_at_all() {
    let instance = start(2, 12, "");
    let submit = || instance.ok(&["submit", "-n4", "--cosched=trio:3", "sleep", "1000"]);
    let mut ids = vec![submit(), submit()];
    let why = instance.ok(&["job", "why", &ids[0]]);
    assert!(why.contains("group trio") && why.contains('3'), "{why}");
    instance.ok(&["run", "true"]);
    assert_eq!(instance.ok(&["jobs", "-no{state}"]), "SCHED\nSCHED", "nobody else is held up");
    ids.push(submit());
    let mut taken: BTreeSet<(String, u32)> = BTreeSet::new();
    for id in &ids {
        instance.ok(&["job", "wait-event", "-q", "-t30s", id, "start"]);
        for (host, cores) in held(&instance, id) {
            assert!(cores.into_iter().all(|core| taken.insert((host.clone(), core))), "taken twice");
        }
    }
    let hosts: BTreeSet<&str> = taken.iter().map(|(host, _)| host.as_str()).collect();
    assert_eq!((taken.len(), hosts.len()), (12, 1), "{taken:?}");
    instance.ok(&["cancel", "--all"]);
}

/// R as a site's generator writes it: no times, hosts one by one, two classes of nodes, and a graph with sockets whose
/// cores are numbered through the node.
fn site_r() -> Value {
    let mut nodes = Vec::new();
    let mut edges = Vec::new();
    let mut put = |parent: Option<(u64, &str)>,
                   kind: &str,
                   name: &str,
                   id: i64,
                   rank: i64,
                   properties: Value| {
        let unique = nodes.len() as u64;
        let path = format!("{}/{name}", parent.map_or("", |(_, path)| path));
        nodes.push(serde_json::json!({"id": unique.to_string(), "metadata": {
            "type": kind, "basename": kind, "name": name, "id": id, "uniq_id": unique, "rank": rank,
            "exclusive": false, "unit": "", "size": 1, "properties": properties, "paths": {"containment": path},
        }}));
        if let Some((parent, _)) = parent {
            edges.push(serde_json::json!({
                "source": parent.to_string(), "target": unique.to_string(),
                "metadata": {"subsystem": "containment"},
            }));
        }
        (unique, path)
    };
    let none = || serde_json::json!({});
    let (root, root_path) = put(None, "cluster", "site0", 0, -1, none());
    for rank in 0..4_i64 {
        let name = format!("n{}", 101 + rank);
        let cosched = serde_json::json!({"cosched": ""});
        let (node, path) = put(Some((root, &root_path)), "node", &name, -1, rank, cosched);
        for socket in 0..2_i64 {
            let (at, path) =
                put(Some((node, &path)), "socket", &format!("socket{socket}"), socket, -1, none());
            for core in socket * 4..socket * 4 + 4 {
                put(Some((at, &path)), "core", &format!("core{core}"), core, -1, none());
            }
        }
    }
    serde_json::json!({
        "version": 1,
        "execution": {
            "R_lite": [{"rank": "0-3", "children": {"core": "0-7"}}],
            "nodelist": ["n101", "n102", "n103", "n104"],
            "properties": {"thin": "0-1", "fat": "2-3"},
            "starttime": 0.0, "expiration": 0.0,
        },
        "scheduling": {"graph": {"nodes": nodes, "edges": edges}},
    })
}

#[test]
fn a_site_with_a_graph_two_classes_and_queues_uses_all_of_its_nodes() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("R.json");
    std::fs::write(&path, site_r().to_string()).expect("R is written");
    let config = format!(
        "[resource]\npath = \"{}\"\n[sched]\npolicy = \"easy\"\n\
         [queues.thin]\nrequires = [\"thin\"]\n[queues.fat]\nrequires = [\"fat\"]\nplacement = \"spread\"\n\
         policy.limits.job-size.max.nnodes = 1\n\
         [policy.jobspec.defaults.system]\nqueue = \"thin\"\n[policy.limits]\nduration = \"1h\"\n\
         [ingest.validator]\ndisable = false\n",
        path.display()
    );
    let instance = Instance::with(Options { size: 4, config: Some(config), ..Options::default() });
    assert_eq!(instance.ok(&["resource", "info"]), "4 Nodes, 32 Cores, 0 GPUs");
    // All eight cores of rank 0's node as well.
    let whole = instance.ok(&["submit", "-N2", "-n16", "-t1m", "--wait", "true"]);
    let nodes = held(&instance, &whole);
    assert_eq!(nodes.keys().collect::<Vec<_>>(), ["n101", "n102"]);
    assert!(nodes.values().all(|cores| *cores == set("0-7")), "{nodes:?}");
    // The graph's sockets are known: the queue's jobs are spread over them.
    let tasks = bound(&instance, &["-qfat", "-t1m", "-n4"]);
    let on = |socket: &str| tasks.iter().filter(|(_, own)| own.is_subset(&set(socket))).count();
    assert_eq!((on("0-3"), on("4-7")), (2, 2), "{tasks:?}");
    assert!(tasks.iter().all(|(host, _)| host == "n103" || host == "n104"), "{tasks:?}");
    let compact = bound(&instance, &["-t1m", "-n4"]);
    assert!(compact.iter().all(|(host, own)| host == &compact[0].0 && own.len() == 1), "{compact:?}");
    for (options, why) in [
        (&["-qfat", "-t1m", "-N2", "-n2"][..], "requested nnodes 2 exceeds limit of queue fat of 1"),
        (&["-t1m", "-n1", "-c9"], "9 cores"),
        (&["-qthin", "-t1m", "--requires=fat"], "no node"),
    ] {
        let ran = instance.run(&[&["submit"][..], options, &["true"]].concat()).code_is(1);
        assert!(ran.stderr.contains(why), "{options:?}: {}", ran.stderr);
    }
}

#[test]
fn a_waiting_job_says_why_and_when() {
    let instance = start(1, 4, "[sched]\npolicy = \"easy\"\n");
    let runs = instance.ok(&["submit", "-n4", "-t10m", "--wait-event=start", "sleep", "1000"]);
    assert_eq!(instance.ok(&["job", "why", &runs]), "runs on node0");
    let waits = instance.ok(&["submit", "-n4", "-t1m", "true"]);
    let reason = eventually("an estimate", DEADLINE, || {
        let reason = instance.json(&["job", "why", "--json", &waits]);
        reason["earliest"].is_number().then_some(reason)
    });
    let now = instance.json(&["uptime", "--json"])["now"].as_f64().expect("seconds");
    let left = reason["earliest"].as_f64().expect("seconds") - now;
    assert!((0.0..=600.0).contains(&left), "{reason}");
    let depends = instance.ok(&["submit", &format!("--dependency=afterok:{waits}"), "true"]);
    assert_eq!(instance.ok(&["job", "why", &depends]), format!("waits until {waits} has completed"));
    let later = instance.ok(&["submit", "--begin-time=+1h", "true"]);
    let why = instance.ok(&["job", "why", &later]);
    assert!(why.starts_with("waits until its begin time\nearliest start: 20"), "{why}");
    let held = instance.ok(&["submit", "--urgency=hold", "true"]);
    assert!(instance.ok(&["job", "why", &held]).contains("is held"));
    instance.ok(&["cancel", "--all"]);
    assert_eq!(instance.ok(&["job", "why", &held]), "is over: CANCELED");
}

/// A job of this many GiB of a node's memory.
fn of_memory(gib: u32) -> String {
    serde_json::json!({
        "version": 1,
        "resources": [{"type": "slot", "count": 1, "label": "task", "with": [
            {"type": "core", "count": 1}, {"type": "memory", "count": gib, "unit": "GiB"},
        ]}],
        "tasks": [{"command": ["sleep", "1000"], "slot": "task", "count": {"per_slot": 1}}],
        "attributes": {"system": {"duration": 0, "cwd": "/"}},
    })
    .to_string()
}

#[test]
fn a_jobspec_of_any_shape_is_submitted_as_it_is() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("R.json");
    let sizes = ["--nodes=2", "--sockets=1", "--cores=4", "--memory=16", "--output=R+jgf"];
    let made = run(flurm(&[&["resource", "jgf"][..], &sizes].concat()), b"").ok();
    std::fs::write(&path, made).expect("R is written");
    let config = format!("[resource]\npath = \"{}\"\n", path.display());
    let instance = Instance::with(Options { size: 2, config: Some(config), ..Options::default() });
    let submit = |gib| instance.run_with_input(&["job", "submit"], of_memory(gib).as_bytes());
    let ids: Vec<String> = (0..3).map(|_| submit(10).ok().trim().to_owned()).collect();
    let mut ranks: Vec<String> = Vec::new();
    for id in &ids[..2] {
        instance.ok(&["job", "wait-event", id, "start"]);
        let r: serde_json::Value = serde_json::from_str(&instance.ok(&["job", "info", id, "R"])).expect("R");
        ranks.push(r["execution"]["R_lite"][0]["rank"].to_string());
        assert!(r["scheduling"].to_string().contains("memory"), "{r}");
    }
    assert_ne!(ranks[0], ranks[1], "10 of 16 GiB are there once on each node");
    let why = instance.ok(&["job", "why", &ids[2]]);
    assert!(why.contains("memory"), "{why}");
    let refused = submit(20).code_is(1);
    assert!(refused.stderr.contains("memory"), "{}", refused.stderr);
    let refused = instance.run_with_input(&["job", "submit"], b"{}").code_is(1);
    assert!(refused.stderr.contains("error: -: read jobspec"), "{}", refused.stderr);
}
