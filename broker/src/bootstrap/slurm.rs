//! What Slurm's environment says of the step that this process is a task of.
//!
//! No PMI is needed: a step's task sees its rank, the size and the hosts. What is missing, each other's addresses, is
//! exchanged by `rendezvous.rs`. Everything here but [`clients`] works on a map of variables and decides nothing by looking around.

use super::{Mistake, Vars};
use crate::hw::NodeHardware;
use flurm_types::{Hostlist, Timestamp};

/// The step of a broker that an instance has been started in: what runs below it is no task of that step.
pub const OUTER_STEP: &str = "FLURM_OUTER_STEP";

/// From this number on, step ids stand for the batch script, an interactive shell and the like.
const SPECIAL_STEP: u32 = 0xffff_fff0;

/// A job, seen from anywhere in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    pub id: String,
    pub nnodes: u32,
    pub hosts: Vec<String>,
    /// CPUs of the job on its nodes, in their order.
    pub cpus: Vec<u32>,
    /// Zero when Slurm does not say.
    pub end: Timestamp,
}

/// A step that srun started, seen by one of its tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The same for all tasks of the step and for no other step.
    pub key: String,
    pub rank: u32,
    pub size: u32,
    /// The nodes in order, and how many tasks are on each.
    pub nodes: Vec<(String, u32)>,
}

/// Where munged is when it is not on the path of an ordinary user, and where a site's listens.
const MUNGED: [&str; 3] = ["/run/munge/munge.socket.2", "/usr/sbin/munged", "/usr/local/sbin/munged"];

/// Are Slurm's commands here, and a munged to vouch for who uses them?
pub fn clients(vars: &Vars) -> bool {
    let path = vars.get("PATH").map(String::as_str).unwrap_or_default();
    let found = |name: &str| std::env::split_paths(path).any(|folder| folder.join(name).is_file());
    found("squeue") && (found("munged") || MUNGED.iter().any(|place| std::path::Path::new(place).exists()))
}

impl Job {
    /// None outside of a job.
    pub fn find(vars: &Vars) -> Option<Job> {
        let get = |name: &str| vars.get(name).map(String::as_str);
        let id = get("SLURM_JOB_ID").or_else(|| get("SLURM_JOBID"))?;
        let list = get("SLURM_JOB_NODELIST").or_else(|| get("SLURM_NODELIST")).unwrap_or_default();
        let hosts: Vec<String> = list.parse::<Hostlist>().map(Vec::from_iter).unwrap_or_default();
        let nnodes = number(vars, "SLURM_JOB_NUM_NODES").or_else(|| number(vars, "SLURM_NNODES"));
        let end = get("SLURM_JOB_END_TIME").and_then(|text| text.parse::<i64>().ok());
        Some(Job {
            id: id.to_owned(),
            nnodes: nnodes.unwrap_or_else(|| u32::try_from(hosts.len()).unwrap_or(u32::MAX)),
            hosts,
            cpus: get("SLURM_JOB_CPUS_PER_NODE").and_then(repeated).unwrap_or_default(),
            end: end.map_or(Timestamp::ZERO, |secs| Timestamp(secs.saturating_mul(1_000_000))),
        })
    }

    /// CPUs of the job on this node.
    pub fn cpus_on(&self, host: &str) -> Option<u32> {
        let at = self.hosts.iter().position(|name| name == host)?;
        self.cpus.get(at).copied()
    }

    /// An instance of one broker where the user has more nodes.
    pub fn too_many_nodes(&self) -> Option<Mistake> {
        let Job { id, nnodes: n, .. } = self;
        (*n > 1).then(|| {
            Mistake::new(
                format!("this instance has 1 broker but Slurm job {id} has {n} nodes"),
                format!("srun -N{n} -n{n} flurm start …"),
            )
        })
    }

    /// A broker that may use less of its node than the job has there, which `--cpu-bind` and `-c` are wont to do.
    pub fn too_few_cores(&self, host: &str, node: &NodeHardware) -> Option<Mistake> {
        // With one node there is no doubt, whatever its name.
        let only = || self.cpus.first().copied().filter(|_| self.nnodes == 1);
        let asked = self.cpus_on(host).or_else(only)?;
        too_few_cores(host, asked, node)
    }
}

fn too_few_cores(host: &str, asked: u32, node: &NodeHardware) -> Option<Mistake> {
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let cores = count(node.cores.len());
    let cpus = count(node.cores.iter().map(|core| core.cpus.len()).sum());
    let cpus_total = count(node.sockets.iter().map(|socket| socket.cpus.len()).sum());
    // Slurm counts threads at some sites and cores at others: enough of either is enough. And it may believe in
    // more than the machine has.
    if cpus >= asked.min(cpus_total) || cores >= asked.min(node.cores_total) {
        return None;
    }
    let threads = (cpus_total / node.cores_total.max(1)).max(1);
    Some(Mistake::new(
        format!("{host}: only {cores} of {} cores visible", asked.div_ceil(threads)),
        format!("srun --cpu-bind=none -c{asked} …"),
    ))
}

impl Step {
    /// None where this process is no task of a step: in a batch script, in an interactive shell, or below a broker
    /// that has already taken the step for its instance.
    ///
    /// # Errors
    /// Slurm's variables contradict each other.
    pub fn find(vars: &Vars) -> Result<Option<Step>, Mistake> {
        let Some(key) = key(vars) else { return Ok(None) };
        if vars.get(OUTER_STEP) == Some(&key) {
            return Ok(None);
        }
        let (Some(rank), Some(size)) = (number(vars, "SLURM_PROCID"), size(vars)) else { return Ok(None) };
        let nodes = nodes(vars).unwrap_or_default();
        let tasks: u32 = nodes.iter().map(|(_, tasks)| tasks).sum();
        if tasks != size || rank >= size {
            return Err(Mistake::new(
                format!(
                    "Slurm's variables disagree: SLURM_PROCID={rank}, {size} tasks, and {tasks} tasks on {} nodes",
                    nodes.len()
                ),
                "start with srun -N… --ntasks-per-node=1 flurm start, and pass no SLURM_STEP_* of another step on",
            ));
        }
        Ok(Some(Step { key, rank, size, nodes }))
    }

    /// The host of each broker, if there is one on each node.
    ///
    /// # Errors
    /// There are several on a node; `job` knows how many cores each should have instead.
    pub fn hosts(&self, job: Option<&Job>) -> Result<Vec<String>, Mistake> {
        if let Some((host, tasks)) = self.nodes.iter().find(|(_, tasks)| *tasks != 1) {
            let cores = job.and_then(|job| job.cpus_on(host)).unwrap_or(*tasks).max(*tasks);
            return Err(Mistake::new(
                format!("{tasks} brokers on node {host}"),
                format!("use --ntasks-per-node=1 -c {cores}"),
            ));
        }
        Ok(self.nodes.iter().map(|(host, _)| host.clone()).collect())
    }

    /// A PMI that counts other processes than Slurm does would make n instances of one.
    ///
    /// # Errors
    /// `PMI_SIZE` is there and not the step's.
    pub fn agrees(&self, vars: &Vars) -> Result<(), Mistake> {
        match number(vars, "PMI_SIZE").filter(|size| *size != self.size) {
            None => Ok(()),
            Some(pmi) => Err(Mistake::new(
                format!("Slurm says that there are {} brokers, PMI_SIZE says {pmi}", self.size),
                "start the brokers with srun --mpi=none, or unset PMI_FD, PMI_RANK and PMI_SIZE",
            )),
        }
    }
}

/// What only the tasks of one step share, as a file name: job, step, and the place of the srun that started it.
pub fn key(vars: &Vars) -> Option<String> {
    let get = |name: &str| vars.get(name).map(String::as_str);
    let job = get("SLURM_JOB_ID").or_else(|| get("SLURM_JOBID"))?;
    let step = get("SLURM_STEP_ID").or_else(|| get("SLURM_STEPID"))?;
    if step.parse::<u32>().is_ok_and(|id| id >= SPECIAL_STEP) {
        return None;
    }
    let cluster = get("SLURM_CLUSTER_NAME").unwrap_or("slurm");
    let host = get("SLURM_SRUN_COMM_HOST").or_else(|| get("SLURM_LAUNCH_NODE_IPADDR")).unwrap_or("");
    let port = get("SLURM_SRUN_COMM_PORT").or_else(|| get("SLURM_STEP_LAUNCHER_PORT")).unwrap_or("");
    // A job of flurm has Slurm variables of its own, but no srun of Slurm's behind them.
    if vars.contains_key("FLURM_JOB_ID") && port.is_empty() {
        return None;
    }
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
    Some(format!("{cluster}-{job}.{step}-{host}-{port}").chars().map(plain).collect())
}

/// The name that Slurm has for this node.
pub fn host(vars: &Vars) -> Option<String> {
    if let Some(name) = vars.get("SLURMD_NODENAME") {
        return Some(name.clone());
    }
    let at = number(vars, "SLURM_NODEID")?;
    let hosts: Hostlist = vars.get("SLURM_STEP_NODELIST")?.parse().ok()?;
    hosts.get(at as usize).map(str::to_owned)
}

fn size(vars: &Vars) -> Option<u32> {
    number(vars, "SLURM_STEP_NUM_TASKS").or_else(|| number(vars, "SLURM_NTASKS"))
}

fn nodes(vars: &Vars) -> Option<Vec<(String, u32)>> {
    let get = |name: &str| vars.get(name).map(String::as_str);
    let hosts: Hostlist = get("SLURM_STEP_NODELIST").or_else(|| get("SLURM_NODELIST"))?.parse().ok()?;
    let tasks =
        repeated(get("SLURM_STEP_TASKS_PER_NODE").or_else(|| get("SLURM_TASKS_PER_NODE")).unwrap_or("1"))?;
    (tasks.len() == hosts.len()).then(|| hosts.into_iter().zip(tasks).collect())
}

fn number(vars: &Vars, name: &str) -> Option<u32> {
    vars.get(name)?.trim().parse().ok()
}

/// `2(x3),1`: a number for each node.
fn repeated(text: &str) -> Option<Vec<u32>> {
    let mut out = Vec::new();
    for part in text.split(',') {
        let (value, times) = match part.split_once("(x") {
            Some((value, times)) => (value, times.strip_suffix(')')?.parse().ok()?),
            None => (part, 1),
        };
        if times > flurm_types::limits::MAX_HOSTS - out.len() {
            return None;
        }
        out.extend(std::iter::repeat_n(value.parse::<u32>().ok()?, times));
    }
    Some(out)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::hw::{Core, SocketHardware};
    use flurm_types::Idset;

    pub(in crate::bootstrap) fn vars(pairs: &[(&str, &str)]) -> Vars {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    /// What a task of `srun -N4 --ntasks-per-node=1` sees.
    pub(in crate::bootstrap) fn step(rank: &str) -> Vars {
        vars(&[
            ("SLURM_CLUSTER_NAME", "stb"),
            ("SLURM_JOB_ID", "123"),
            ("SLURM_JOB_NODELIST", "c[1-4]"),
            ("SLURM_JOB_NUM_NODES", "4"),
            ("SLURM_JOB_CPUS_PER_NODE", "20(x3),16"),
            ("SLURM_STEP_ID", "0"),
            ("SLURM_STEP_NODELIST", "c[1-4]"),
            ("SLURM_STEP_NUM_TASKS", "4"),
            ("SLURM_STEP_TASKS_PER_NODE", "1(x4)"),
            ("SLURM_PROCID", rank),
            ("SLURM_NODEID", rank),
            ("SLURM_SRUN_COMM_HOST", "198.51.100.11"),
            ("SLURM_SRUN_COMM_PORT", "36473"),
        ])
    }

    fn with(mut vars: Vars, pairs: &[(&str, &str)]) -> Vars {
        vars.extend(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
        vars
    }

    #[test]
    fn a_task_of_a_step_knows_rank_size_and_hosts() {
        let found = Step::find(&step("2")).unwrap().unwrap();
        assert_eq!((found.rank, found.size), (2, 4));
        assert_eq!(found.hosts(None).unwrap(), ["c1", "c2", "c3", "c4"]);
        assert_eq!(found.key, "stb-123.0-198.51.100.11-36473");
        assert_eq!(host(&step("2")).as_deref(), Some("c3"));
        assert_eq!(host(&with(step("2"), &[("SLURMD_NODENAME", "n9")])).as_deref(), Some("n9"));
        let job = Job::find(&step("2")).unwrap();
        assert_eq!((job.cpus_on("c4"), job.cpus_on("x")), (Some(16), None));
    }

    #[test]
    fn outside_of_a_step_there_is_none() {
        let mut batch = step("0");
        batch.retain(|name, _| !name.contains("STEP"));
        for vars in [
            Vars::new(),
            batch,
            with(step("0"), &[("SLURM_STEP_ID", "4294967290")]),
            with(step("0"), &[(OUTER_STEP, "stb-123.0-198.51.100.11-36473")]),
            {
                let mut job = with(step("0"), &[("FLURM_JOB_ID", "f1")]);
                job.retain(|name, _| !name.contains("SRUN_COMM"));
                job
            },
        ] {
            assert_eq!(Step::find(&vars), Ok(None), "{vars:?}");
        }
        let other = with(step("0"), &[(OUTER_STEP, "stb-99.0-198.51.100.11-1"), ("FLURM_JOB_ID", "f1")]);
        assert!(Step::find(&other).unwrap().is_some(), "leftovers of an instance elsewhere do not count");
    }

    #[test]
    fn several_brokers_on_a_node_are_a_mistake() {
        let many = &[("SLURM_STEP_NUM_TASKS", "80"), ("SLURM_STEP_TASKS_PER_NODE", "20(x4)")];
        let vars = with(step("0"), many);
        let wrong = Step::find(&vars).unwrap().unwrap().hosts(Job::find(&vars).as_ref()).unwrap_err();
        assert_eq!(wrong.what, "20 brokers on node c1");
        assert_eq!(wrong.hint, "use --ntasks-per-node=1 -c 20");
        let uneven = &[("SLURM_STEP_NUM_TASKS", "5"), ("SLURM_STEP_TASKS_PER_NODE", "1(x2),2,1")];
        let step = Step::find(&with(step("0"), uneven)).unwrap().unwrap();
        assert_eq!(step.hosts(None).unwrap_err().what, "2 brokers on node c3");
    }

    #[test]
    fn sources_that_disagree_are_a_mistake() {
        let found = Step::find(&step("0")).unwrap().unwrap();
        let wrong = found.agrees(&vars(&[("PMI_SIZE", "2")])).unwrap_err();
        assert_eq!(wrong.what, "Slurm says that there are 4 brokers, PMI_SIZE says 2");
        assert_eq!(found.agrees(&vars(&[("PMI_SIZE", "4")])), Ok(()));
        assert_eq!(found.agrees(&Vars::new()), Ok(()));
        assert!(Step::find(&with(step("4"), &[])).is_err(), "rank 4 of 4");
        assert!(Step::find(&with(step("0"), &[("SLURM_STEP_NODELIST", "c[1-3]")])).is_err());
    }

    #[test]
    fn one_broker_in_a_larger_job_is_warned_of() {
        let warning = Job::find(&step("0")).unwrap().too_many_nodes().unwrap();
        assert_eq!(warning.what, "this instance has 1 broker but Slurm job 123 has 4 nodes");
        assert_eq!(warning.hint, "srun -N4 -n4 flurm start …");
        let one = Job::find(&vars(&[("SLURM_JOB_ID", "1"), ("SLURM_JOB_NODELIST", "c1")])).unwrap();
        assert_eq!(one.too_many_nodes(), None);
    }

    /// `usable` of `cores` cores with `threads` each, numbered as Linux does.
    fn node(usable: &str, cores: u32, threads: u32) -> NodeHardware {
        let usable: Idset = usable.parse().unwrap();
        let cpus = |core: u32| -> Idset { (0..threads).map(|t| core + t * cores).collect() };
        let socket = SocketHardware { cpus: (0..cores * threads).collect(), memory_bytes: 0 };
        let all =
            (0..cores).map(|id| Core { id, cpus: cpus(id).intersection(&usable), socket: 0, numa: None });
        NodeHardware {
            cores: all.filter(|core| !core.cpus.is_empty()).collect(),
            sockets: vec![socket],
            cores_total: cores,
            ..NodeHardware::default()
        }
    }

    #[test]
    fn too_few_visible_cores_are_warned_of() {
        let said = |asked, usable, cores, threads| {
            too_few_cores("c1", asked, &node(usable, cores, threads)).map(|w| (w.what, w.hint))
        };
        let one = Some(("c1: only 1 of 20 cores visible".into(), "srun --cpu-bind=none -c20 …".to_owned()));
        assert_eq!(said(20, "0", 20, 1), one);
        assert_eq!(said(20, "0", 2, 1), one, "Slurm may believe in more than there is");
        assert_eq!(said(20, "0-1", 2, 1), None);
        assert_eq!(said(20, "0-19", 20, 1), None);
        assert_eq!(said(10, "0-9", 20, 1), None, "half a node was asked for and given");
        assert_eq!(said(40, "0-19", 20, 2), None, "all cores, one thread of each");
        assert_eq!(said(20, "0-9,20-29", 20, 2), None, "ten cores with both threads, counted as 20");
        let two = said(40, "0,20", 20, 2).unwrap();
        assert_eq!(two.0, "c1: only 1 of 20 cores visible");
        assert_eq!(two.1, "srun --cpu-bind=none -c40 …");
    }

    #[test]
    fn counts_per_node_are_read() {
        assert_eq!(repeated("2(x3),1"), Some(vec![2, 2, 2, 1]));
        assert_eq!(repeated("7"), Some(vec![7]));
        for wrong in ["", "x", "2(x)", "2(x3", "1(x99999999999)", "1,"] {
            assert_eq!(repeated(wrong), None, "{wrong}");
        }
    }
}
