//! Whether what somebody else has chosen for a job is what the job asks for.

use crate::{
    Graph,
    allowed::Filter,
    ask::{Ask, Refusal},
    counts::Counts,
    index::{Index, View},
    lifetime::span,
    place::{self, Field},
    say,
};
use flurm_jobspec::{Jobspec, Placement};
use flurm_types::{Idset, R, RNode, Timestamp, counted};
use std::cell::Cell;

impl Graph {
    /// Could a job that begins now run on this part of the inventory, with all of it? Whether it is free is not asked, and
    /// how the job wants to be placed was for the other one to heed.
    ///
    /// # Errors
    /// What is missing, for whoever has chosen.
    pub fn serves(&self, jobspec: &Jobspec, r: &R, now: Timestamp) -> Result<(), String> {
        let ask = Ask::of(jobspec, self.placement, &Counts::default()).map_err(|refusal| match refusal {
            Refusal::Shape(why) => format!("{why} is for the built-in scheduler alone"),
            Refusal::Never(why) => why,
        })?;
        // A share of each socket is one of the whole socket, not of what was given of it.
        let ask = Ask { placement: Placement::First, fresh: false, ..ask };
        let part = R { nodes: r.nodes.clone(), ..self.inventory.restrict(&r.ranks()) };
        if let Some(asked) = ask.nodes.filter(|asked| *asked as usize != part.nnodes()) {
            let nodes = counted(part.nnodes() as u64, "node");
            return Err(format!("it has {nodes}, the job asks for {asked}"));
        }
        let allowed = self.names.allowed(ask.constraint, &self.index);
        let kept: Idset = allowed.positions(self.index.len()).map(|at| at as u32).collect();
        let is_kept = |rank: u32| self.index.position(rank).is_some_and(|at| kept.contains(at as u32));
        if let Some(node) = part.nodes.iter().find(|node| !is_kept(node.rank)) {
            let rule = ask.constraint;
            return Err(format!("rank {} ({}) in it does not satisfy `{rule}`", node.rank, node.host));
        }
        let (index, allowed, visited) = (Index::new(&part), Filter::All, &Cell::new(0));
        let field = Field { ask: &ask, index: &index, view: View::Ever, allowed: &allowed, visited };
        if place::place(field).is_none() {
            let (piece, on) = (ask.piece, ask.nodes.map_or("", |_| " on each node"));
            let sockets = piece.sockets.map_or(String::new(), |sockets| {
                format!(" on each of {}", counted(sockets.count.into(), "socket"))
            });
            let each = say::both(piece.cores.into(), piece.gpus.into());
            return Err(format!("it has no room for {} times {each}{sockets}{on}", ask.pieces));
        }
        if let Some(slots) = r.nslots.filter(|slots| *slots < ask.slots) {
            return Err(format!("it has nslots {slots}, the job asks for {}", ask.slots));
        }
        for node in &part.nodes {
            if ask.takes_all()
                && let Some(left) = self.left_out(&ask, node)
            {
                return Err(format!(
                    "the job takes all of {left} on rank {}, and not all is in it",
                    node.rank
                ));
            }
        }
        self.lasts(jobspec, r, now)
    }

    /// What of a node a job should have had that takes all.
    fn left_out(&self, ask: &Ask<'_>, given: &RNode) -> Option<&'static str> {
        let all = self.inventory.node(given.rank)?;
        if ask.exclusive {
            let whole = all.cores.is_subset(&given.cores) && all.gpus.is_subset(&given.gpus);
            return (!whole).then_some("the node");
        }
        let sockets = self.inventory.topology.get(&given.rank)?.sockets.iter();
        let divided = sockets
            .map(|socket| socket.cores.intersection(&all.cores))
            .any(|cores| !cores.is_disjoint(&given.cores) && !cores.is_subset(&given.cores));
        divided.then_some("its sockets")
    }

    /// Are the nodes here long enough?
    fn lasts(&self, jobspec: &Jobspec, r: &R, now: Timestamp) -> Result<(), String> {
        let last = self.instance_end().into_iter().chain(self.lifetimes.first_end(&r.nodes)).min();
        let Some(last) = last else { return Ok(()) };
        let duration = jobspec.attributes().duration;
        let end = now.checked_add_secs(duration.max(1e-6)).unwrap_or(Timestamp(i64::MAX));
        if end <= last {
            return Ok(());
        }
        Err(format!("the job needs {}, but that ends in {}", span(duration), span(last.secs_since(now))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flurm_jobspec::build::Builder;
    use flurm_types::Constraint;

    /// Two nodes with two sockets of two cores; the second one is `fat`.
    fn graph() -> Graph {
        let text = r#"{"version":1,"execution":{"R_lite":[{"rank":"0-1","children":{"core":"0-3","gpu":"0"}}],
            "nodelist":["n[0-1]"],"properties":{"fat":"1"},"starttime":0,"expiration":1000},
            "scheduling":{"writer":"TreePool","children":[{"ranks":"0-1","topo":{"socket":[
            {"cores":"0-1","gpus":"0"},{"cores":"2-3"}]}}]}}"#;
        Graph::from_r(&R::parse(text).unwrap())
    }

    fn given(parts: &[(u32, &str)]) -> R {
        R::from_nodes(parts.iter().map(|(rank, cores)| RNode {
            rank: *rank,
            host: format!("n{rank}"),
            cores: cores.parse().unwrap(),
            gpus: Idset::new(),
        }))
    }

    #[test]
    fn what_others_choose_is_what_the_job_asks_for() {
        let job = || Builder::new(vec!["true".to_owned()]);
        let (one, all) = (|cores| given(&[(0, cores)]), || given(&[(0, "0-3"), (1, "0-3")]));
        let fat = || job().constraint(Constraint::parse_query("fat").unwrap());
        let spread = || job().setattr("system.placement", &"spread".into());
        let few = R { nslots: Some(1), ..one("0-1") };
        for (job, r, wrong) in [
            (job().ntasks(2), one("0-1"), ""),
            (job().ntasks(2), all(), ""),
            (job().ntasks(2), one("0"), "it has no room for 2 times 1 core"),
            (job().ntasks(2), few, "it has nslots 1, the job asks for 2"),
            (
                job().cores_per_task(2).ntasks(2),
                given(&[(0, "0-2"), (1, "0")]),
                "no room for 2 times 2 cores",
            ),
            (job().gpus_per_task(1), one("0"), "it has no room for 1 times 1 core and 1 GPU"),
            (job().nnodes(2).ntasks(2), one("0-1"), "it has 1 node, the job asks for 2"),
            (job().nnodes(1).ntasks(1), all(), "it has 2 nodes, the job asks for 1"),
            (fat(), one("0"), "rank 0 (n0) in it does not satisfy `fat`"),
            (fat(), given(&[(1, "0")]), ""),
            (spread().ntasks(2), one("0,2"), ""),
            (job().setattr("system.cosched", &true.into()).ntasks(2), one("0,2"), ""),
            (job().nnodes(1).ntasks(1).exclusive(true), one("0-2"), "takes all of the node on rank 0"),
            (job().duration(200.0), one("0"), ""),
            (job().duration(1200.0), one("0"), "the job needs 20 min, but that ends in 10 min"),
        ] {
            let job = job.build().unwrap();
            let said = graph().serves(&job, &r, Timestamp(400_000_000)).err().unwrap_or_default();
            assert!(said.contains(wrong) && said.is_empty() == wrong.is_empty(), "{wrong:?}: {said:?}");
        }
    }
}
