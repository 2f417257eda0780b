//! What tasks are bound to, asked from inside: their masks and devices are those of R, and nobody else's.

use flurm_tests::{Instance, Options};
use std::collections::BTreeSet;
use std::fmt::Write;

const NODES: u32 = 3;
const CORES: u32 = 16;
const GPUS: u32 = 4;

fn start() -> Instance {
    let config = format!(
        "[fake-resources]\nnnodes = {NODES}\ncores-per-node = {CORES}\nsockets-per-node = 2\n\
         gpus-per-node = {GPUS}\nhost-prefix = \"n\"\n"
    );
    Instance::with(Options { size: NODES, config: Some(config), ..Options::default() })
}

/// `0-1,4` as its members.
fn set(text: &str) -> BTreeSet<u32> {
    let number = |text: &str| text.parse::<u32>().unwrap_or_else(|_| panic!("{text} is no number"));
    let parts = text.split(',').filter(|part| !part.is_empty());
    parts
        .flat_map(|part| match part.split_once('-') {
            Some((from, to)) => number(from)..=number(to),
            None => number(part)..=number(part),
        })
        .collect()
}

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, from: u32, to: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        from + (self.0 % u64::from(to - from + 1)) as u32
    }
}

/// A task holds a mark for each of its devices while it lives; a mark that is there already is another job's.
const TASK: &str = r#"
for gpu in $(echo "$CUDA_VISIBLE_DEVICES" | tr , ' '); do
    [ "$gpu" = -1 ] || mkdir "$MARKS/$SLURMD_NODENAME.$gpu" || echo clash
done
echo "seen $CUDA_VISIBLE_DEVICES $ROCR_VISIBLE_DEVICES $ZE_AFFINITY_MASK"
sleep 0.03
for gpu in $(echo "$CUDA_VISIBLE_DEVICES" | tr , ' '); do
    [ "$gpu" = -1 ] || rmdir "$MARKS/$SLURMD_NODENAME.$gpu"
done
"#;

/// Cores, and GPUs from 1000 on, with their hosts.
type Things = BTreeSet<(String, u32)>;

/// One task, as its own output tells.
#[derive(Debug)]
struct Told {
    host: String,
    cores: BTreeSet<u32>,
    gpus: BTreeSet<u32>,
}

fn told(text: &str) -> Told {
    assert!(!text.contains("clash"), "another job had the device: {text}");
    let line =
        text.lines().find(|line| line.starts_with("flurm-shell: task ")).expect("a line on the binding");
    let (who, what) = line.split_once(": cores ").expect("bound to cores");
    let cores = what.split(", ").next().expect("the first of them");
    let seen = text.lines().find_map(|line| line.strip_prefix("seen ")).expect("what it sees");
    let mut lists = seen.split_whitespace();
    let cuda = lists.next().expect("always a list");
    let gpus = if cuda == "-1" { BTreeSet::new() } else { set(cuda) };
    for other in lists {
        assert_eq!(set(other), gpus, "{seen}");
    }
    assert_eq!(line.contains(", GPUs "), !gpus.is_empty(), "{line}");
    let host = who.rsplit(' ').next().expect("a host").trim_end_matches(':');
    Told { host: host.to_owned(), cores: set(cores), gpus }
}

#[test]
fn two_hundred_shapes_are_bound_to_what_they_were_given_and_to_nothing_else() {
    let instance = start();
    let marks = instance.dir.path().join("marks");
    std::fs::create_dir(&marks).expect("a folder");
    let marks = format!("--env=MARKS={}", marks.display());
    let mut dice = Dice(20_261_121);
    let mut jobs = Vec::new();
    for _ in 0..200 {
        let (nodes, each) = (dice.roll(1, NODES), dice.roll(1, 4));
        let (cores, gpus) = (dice.roll(1, CORES / each / 2), dice.roll(0, GPUS / each));
        let shape = [nodes, nodes * each, cores, gpus];
        let [n, tasks, c, g] = shape.map(|n| n.to_string());
        let map = ["block", "cyclic"][dice.roll(0, 1) as usize];
        let id = instance.ok(&[
            "submit",
            "-N",
            &n,
            "-n",
            &tasks,
            "-c",
            &c,
            "-g",
            &g,
            "--taskmap",
            map,
            "--env=*",
            &marks,
            "--output=out.{{id.dec}}.{{taskid}}",
            "-o",
            "cpu-affinity=verbose,per-task",
            "-o",
            "pmi=off",
            "sh",
            "-c",
            TASK,
        ]);
        jobs.push((id, shape));
    }
    instance.ok(&["queue", "drain"]);
    let list = instance.ok(&["jobs", "-a", "-n", "--count=0", "-o", "{id.dec} {result} {t_run} {t_cleanup}"]);
    // What every job held, and when.
    let mut held: Vec<(f64, f64, Things)> = Vec::new();
    for (id, [nodes, tasks, cores, gpus]) in jobs {
        let dec = instance.ok(&["job", "id", "--to=dec", &id]);
        let line = list.lines().find(|line| line.split(' ').next() == Some(&dec)).expect("it is listed");
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!(words[1], "COMPLETED", "{line}");
        let time = |at: usize| words[at].parse::<f64>().expect("a time");
        let r = instance.json(&["job", "info", &id, "R"]);
        let hosts = r["execution"]["nodelist"].to_string();
        let mut problems = String::new();
        let mut all = Things::new();
        let outputs: Vec<Told> = (0..tasks)
            .map(|task| {
                let path = instance.dir.path().join(format!("out.{dec}.{task}"));
                told(&std::fs::read_to_string(path).expect("output of a task"))
            })
            .collect();
        for task in &outputs {
            if task.cores.len() != cores as usize || task.gpus.len() != gpus as usize {
                write!(problems, "{task:?} ").expect("a String takes it");
            }
            let things = task.cores.iter().copied().chain(task.gpus.iter().map(|gpu| 1000 + gpu));
            for thing in things {
                assert!(
                    all.insert((task.host.clone(), thing)),
                    "{id}: two tasks have {thing} of {}",
                    task.host
                );
            }
        }
        assert_eq!(problems, "", "{id}: {nodes} nodes, {tasks} tasks, {cores} cores, {gpus} GPUs");
        // R says the same.
        let lines = r["execution"]["R_lite"].as_array().expect("R").clone();
        let size = |kind: &str| -> usize {
            let of = |line: &serde_json::Value| {
                let ranks = set(line["rank"].as_str().expect("ranks")).len();
                ranks * line["children"][kind].as_str().map_or(0, |ids| set(ids).len())
            };
            lines.iter().map(of).sum()
        };
        assert_eq!(size("core") + size("gpu"), all.len(), "{id}: {hosts}");
        for (host, thing) in &all {
            let rank: u32 = host.trim_start_matches('n').parse().expect("named by its rank");
            let (kind, number) = if *thing < 1000 { ("core", *thing) } else { ("gpu", thing - 1000) };
            let has = |line: &serde_json::Value| {
                set(line["rank"].as_str().expect("ranks")).contains(&rank)
                    && line["children"][kind].as_str().is_some_and(|ids| set(ids).contains(&number))
            };
            assert!(lines.iter().any(has), "{id}: {kind} {number} of {host} is not in R: {lines:?}");
        }
        held.push((time(2), time(3), all));
    }
    held.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut together = 0;
    for (at, (_, end, mine)) in held.iter().enumerate() {
        for (_, _, theirs) in held[at + 1..].iter().take_while(|(begin, ..)| begin < end) {
            together += 1;
            assert!(mine.is_disjoint(theirs), "two running jobs share something");
        }
    }
    assert!(together > 100, "hardly any two jobs ran at once: {together}");
}

/// A broker that looks at the machine itself.
fn real() -> Instance {
    Instance::with(Options { size: 1, config: Some(String::new()), ..Options::default() })
}

fn masks(instance: &Instance, options: &[&str]) -> Vec<BTreeSet<u32>> {
    let script = "grep Cpus_allowed_list /proc/self/status";
    let ran = instance.run(&[&["run"], options, &["sh", "-c", script]].concat());
    let text = ran.ok();
    text.lines().map(|line| set(line.split_whitespace().nth(1).expect("a list"))).collect()
}

#[test]
fn masks_on_real_cores_are_as_asked() {
    let instance = real();
    let mine = std::fs::read_to_string("/proc/self/status").expect("proc");
    let mine = mine.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).expect("a mask");
    let mine = set(mine.trim());
    let cores: u32 =
        instance.ok(&["resource", "list", "-n", "-s", "up", "-o", "{ncores}"]).parse().expect("a number");
    let (all, alone) = (&*cores.to_string(), std::slice::from_ref(&mine));
    // One task each: disjoint, and together everything, with all threads of each core.
    let each = masks(&instance, &["-n", all]);
    assert_eq!(each.iter().map(BTreeSet::len).sum::<usize>(), mine.len());
    assert_eq!(each.into_iter().flatten().collect::<BTreeSet<u32>>(), mine);
    assert_eq!(masks(&instance, &["-c", all]), *alone);
    assert_eq!(masks(&instance, &["-n1", "-c1", "-o", "cpu-affinity=off"]), *alone);
    let shared = masks(&instance, &["-n", all, "-o", "cpu-affinity=on"]);
    assert_eq!(shared, vec![mine.clone(); cores as usize]);
    let dry = masks(&instance, &["-n1", "-c1", "-o", "cpu-affinity=dry-run,per-task"]);
    assert_eq!(dry, *alone);
    // Given by hand: as a list, as a mask; the list begins again for further tasks.
    let first = *mine.first().expect("one CPU at least");
    let list = format!("cpu-affinity=map:{first}");
    let mask = format!("cpu-affinity=map:{:#x}", 1_u64 << (first % 64));
    for option in [&list, &mask].into_iter().take(if first < 64 { 2 } else { 1 }) {
        let found = masks(&instance, &["-n", all, "-o", option]);
        assert_eq!(found, vec![BTreeSet::from([first]); cores as usize], "{option}");
    }
    let ran = instance.run(&["run", "-o", "cpu-affinity=map:0x", "true"]);
    assert!(ran.code() != 0 && ran.stderr.contains("`0x` is not a mask"), "{}", ran.stderr);
}

#[test]
fn a_program_sees_its_gpus_in_the_ways_of_all_vendors() {
    let instance = start();
    let seen = |options: &[&str]| {
        let script = "echo $CUDA_VISIBLE_DEVICES/$CUDA_DEVICE_ORDER/$ROCR_VISIBLE_DEVICES/$HIP_VISIBLE_DEVICES/\
                      $GPU_DEVICE_ORDINAL/$ZE_AFFINITY_MASK";
        let mut command =
            instance.command(&[&["run", "--label-io"], options, &["sh", "-c", script]].concat());
        command.env("CUDA_VISIBLE_DEVICES", "7").env("HIP_VISIBLE_DEVICES", "7");
        let mut lines: Vec<String> = flurm_tests::run(command, b"").ok().lines().map(str::to_owned).collect();
        lines.sort();
        lines.join(" ")
    };
    assert_eq!(
        seen(&["-n2", "-g2", "-N1"]),
        "0: 0,1/PCI_BUS_ID/0,1/0,1/0,1/0,1 1: 2,3/PCI_BUS_ID/2,3/0,1/0,1/2,3"
    );
    assert_eq!(seen(&["-n1", "-g2", "-o", "gpu-affinity=on"]), "0: 0,1/PCI_BUS_ID/0,1/0,1/0,1/0,1");
    assert_eq!(
        seen(&["-n2", "-N1", "-g1", "-o", "gpu-affinity=map:3;0x5"]),
        "0: 3/PCI_BUS_ID/3/0/0/3 1: 0,2/PCI_BUS_ID/0,2/0,1/0,1/0,2"
    );
    assert_eq!(seen(&["-n1", "-g1", "-o", "gpu-affinity=off"]), "0: 7///7//");
    assert_eq!(seen(&["-n1"]), "0: -1/////");
    let ran = instance.run(&["run", "-n1", "-c2", "-g1", "-o", "verbose", "true"]);
    assert!(ran.stderr.starts_with("flurm-shell: task 0 on n"), "{}", ran.stderr);
    assert!(ran.stderr.contains(": cores 0-1, ") && ran.stderr.contains(", GPUs 0"), "{}", ran.stderr);
}

#[test]
fn a_host_file_says_which_node_gets_which_task() {
    let instance = start();
    let file = instance.dir.path().join("hosts");
    std::fs::write(&file, "# the last first\nn2\nn[0-1]\n").expect("a file");
    let map = format!("--taskmap=hostfile:{}", file.display());
    let ran = instance.run(&["run", "-N3", "-n6", "--label-io", &map, "sh", "-c", "echo $SLURMD_NODENAME"]);
    let text = ran.ok();
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["0: n2", "1: n0", "2: n1", "3: n2", "4: n0", "5: n1"]);
    std::fs::write(&file, "n2 nowhere\n").expect("a file");
    let ran = instance.run(&["run", "-N3", "-n6", &map, "true"]).code_is(1);
    assert!(ran.stderr.contains("`nowhere` is no node of this job"), "{}", ran.stderr);
}
