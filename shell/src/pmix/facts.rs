//! What a PMIx server says about a job to those who ask. Pure; the names are the standard's.

use super::sys::{Fact, Is};
use super::{Node, Setup};
use flurm_types::Idset;

/// About the server itself.
pub fn of_server(setup: &Setup, dir: &str) -> Vec<Fact> {
    let host = &setup.nodes[setup.node].host;
    vec![
        Fact { key: "pmix.srv.nspace", is: Is::Text(format!("{}.server", setup.nspace)) },
        Fact { key: "pmix.srv.rank", is: Is::Rank(setup.node as u32) },
        // Nothing of it lies where others can look.
        Fact { key: "pmix.srvr.tmpdir", is: Is::Text(dir.to_owned()) },
        Fact { key: "pmix.sys.tmpdir", is: Is::Text(dir.to_owned()) },
        Fact { key: "pmix.hname", is: Is::Text(host.clone()) },
        // No debugger, no remote tool: only the tasks connect.
        Fact { key: "pmix.srvr.tool", is: Is::Flag(false) },
        Fact { key: "pmix.srvr.sys", is: Is::Flag(false) },
    ]
}

/// About the job and each of its processes. `nodes` and `processes` are their maps as the library abbreviates them.
pub fn of_job(setup: &Setup, nodes: String, processes: String) -> Vec<Fact> {
    let ntasks: usize = setup.nodes.iter().map(|node| node.tasks.len()).sum();
    let ntasks = ntasks as u32;
    let here = &setup.nodes[setup.node].tasks;
    let local = here.len() as u32;
    let mut facts = vec![
        Fact { key: "pmix.jobid", is: Is::Text(setup.job.clone()) },
        Fact { key: "pmix.univ.size", is: Is::U32(ntasks) },
        Fact { key: "pmix.job.size", is: Is::U32(ntasks) },
        Fact { key: "pmix.max.size", is: Is::U32(ntasks) },
        Fact { key: "pmix.job.napps", is: Is::U32(1) },
        Fact { key: "pmix.app.size", is: Is::U32(ntasks) },
        Fact { key: "pmix.offset", is: Is::Rank(0) },
        Fact { key: "pmix.aldr", is: Is::Rank(0) },
        Fact { key: "pmix.num.nodes", is: Is::U32(setup.nodes.len() as u32) },
        Fact { key: "pmix.local.size", is: Is::U32(local) },
        Fact { key: "pmix.node.size", is: Is::U32(local) },
        Fact { key: "pmix.lldr", is: Is::Rank(here.first().unwrap_or(0)) },
        Fact { key: "pmix.lpeers", is: Is::Text(listed(here)) },
        Fact { key: "pmix.nmap", is: Is::Text(nodes) },
        Fact { key: "pmix.pmap", is: Is::Text(processes) },
        Fact { key: "pmix.anlmap", is: Is::Text(setup.mapping.clone()) },
        Fact { key: "pmix.spawned", is: Is::Flag(false) },
        // Session directories of Open MPI: ours, so that an aborted job leaves nothing in /tmp.
        Fact { key: "pmix.tmpdir", is: Is::Text(setup.tmpdir.clone()) },
        Fact { key: "pmix.nsdir", is: Is::Text(setup.tmpdir.clone()) },
        Fact { key: "pmix.tdir.rmclean", is: Is::Flag(true) },
    ];
    for (index, node) in setup.nodes.iter().enumerate() {
        for (local, task) in node.tasks.iter().enumerate() {
            let mine = index == setup.node;
            facts.push(Fact { key: "pmix.pdata", is: Is::All(of_task(setup, index, task, local, mine)) });
        }
    }
    facts
}

fn of_task(setup: &Setup, node: usize, task: u32, local: usize, mine: bool) -> Vec<Fact> {
    let local = u16::try_from(local).unwrap_or(u16::MAX);
    let mut facts = vec![
        // The library wants this one first.
        Fact { key: "pmix.rank", is: Is::Rank(task) },
        Fact { key: "pmix.grank", is: Is::Rank(task) },
        Fact { key: "pmix.apprank", is: Is::Rank(task) },
        Fact { key: "pmix.appnum", is: Is::U32(0) },
        Fact { key: "pmix.lrank", is: Is::U16(local) },
        Fact { key: "pmix.nrank", is: Is::U16(local) },
        Fact { key: "pmix.nodeid", is: Is::U32(node as u32) },
        Fact { key: "pmix.hname", is: Is::Text(setup.nodes[node].host.clone()) },
    ];
    if mine {
        facts.push(Fact { key: "pmix.pdir", is: Is::Text(directory(setup, task)) });
    }
    facts
}

/// A task's own session directory.
pub fn directory(setup: &Setup, task: u32) -> String {
    format!("{}/mpi.{task}", setup.tmpdir)
}

/// `0,1,2,5`: not abbreviated, since that is how the library reads it.
fn listed(tasks: &Idset) -> String {
    tasks.iter().map(|task| task.to_string()).collect::<Vec<_>>().join(",")
}

/// Names of the nodes, in a row.
pub fn node_list(nodes: &[Node]) -> String {
    nodes.iter().map(|node| node.host.as_str()).collect::<Vec<_>>().join(",")
}

/// Tasks by node.
pub fn task_list(nodes: &[Node]) -> String {
    nodes.iter().map(|node| listed(&node.tasks)).collect::<Vec<_>>().join(";")
}

/// Every node under a name of its own: brokers of a test share one host, and a name that comes twice would make one
/// node of two.
pub fn tell_apart(nodes: &mut [Node]) {
    let hosts: Vec<String> = nodes.iter().map(|node| node.host.clone()).collect();
    for (at, node) in nodes.iter_mut().enumerate() {
        let before = hosts[..at].iter().filter(|host| **host == node.host).count();
        if before > 0 {
            node.host = format!("{}-{before}", node.host);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setup() -> Setup {
        let node = |host: &str, tasks: &str| Node { host: host.into(), tasks: tasks.parse().unwrap() };
        let mut nodes = vec![node("a", "0,2"), node("b", "1"), node("a", "3-4")];
        tell_apart(&mut nodes);
        Setup {
            library: Vec::new(),
            nspace: "n".into(),
            job: "f".into(),
            nodes,
            node: 2,
            tmpdir: "/t".into(),
            mapping: "(vector,(0,3,1))".into(),
        }
    }

    #[test]
    fn every_task_is_told_of_and_every_node_has_a_name_of_its_own() {
        let setup = setup();
        assert_eq!(node_list(&setup.nodes), "a,b,a-1");
        assert_eq!(task_list(&setup.nodes), "0,2;1;3,4");
        let facts = of_job(&setup, "nodes".into(), "processes".into());
        let find = |key: &str| facts.iter().find(|fact| fact.key == key).map(|fact| &fact.is);
        assert_eq!(find("pmix.job.size"), Some(&Is::U32(5)));
        assert_eq!(find("pmix.lpeers"), Some(&Is::Text("3,4".into())));
        assert_eq!(find("pmix.lldr"), Some(&Is::Rank(3)));
        let tasks: Vec<_> = facts.iter().filter(|fact| fact.key == "pmix.pdata").collect();
        assert_eq!(tasks.len(), 5);
        let Is::All(last) = &tasks[4].is else { panic!() };
        assert_eq!(last[0], Fact { key: "pmix.rank", is: Is::Rank(4) });
        assert!(last.contains(&Fact { key: "pmix.lrank", is: Is::U16(1) }));
        assert!(last.contains(&Fact { key: "pmix.pdir", is: Is::Text("/t/mpi.4".into()) }));
    }
}
