//! Conversations about requests of any shape: each file of `data/general/` describes a machine, and asks.
//!
//! `UPDATE_SCRIPTS=1 cargo test -p flurm-resource-graph` writes the answers anew; the difference is for review.

mod conversation;
mod request;

use conversation::{answer, parts};
use flurm_resource_graph::describe::{Description, Shape};
use flurm_resource_graph::{Criteria, Found, Graph, Info, Mark, MatchOp};
use flurm_types::{JobId, R, Timestamp};
use serde_json::{Value, json};
use std::fmt::Write as _;

#[test]
fn every_conversation_goes_as_written() {
    conversation::play("data/general", || {
        let mut talk = Talk { graph: Graph::from_r(&R::default()), machine: json!(null) };
        move |words| talk.say(words)
    });
}

struct Talk {
    graph: Graph,
    /// As JGF.
    machine: Value,
}

impl Talk {
    fn say(&mut self, words: &[&str]) -> String {
        let graph = &mut self.graph;
        match words {
            ["machine", sizes @ ..] => {
                self.machine = serde_json::from_str(&shape(sizes).describe().to_jgf()).unwrap();
                self.define();
            }
            // One more vertex: `add /cluster0/rack0 ssd0 ssd 8 TiB`.
            ["add", path, name, kind, size, unit @ ..] => {
                self.add(path, name, kind, size.parse().unwrap(), unit.first().unwrap_or(&""));
                self.define();
            }
            // The inventory that a broker would read: R with this JGF.
            ["restart"] => {
                let described = Description::from_jgf_value(&self.machine).unwrap();
                let mut r = described.to_r().unwrap();
                r.scheduling = Some(self.machine.clone().into());
                let held: Vec<JobId> = graph.holders().collect();
                let old = std::mem::replace(graph, Graph::from_r(&R::parse(&r.to_json()).unwrap()));
                graph.mark(&old.up(), Mark::Up);
                assert!(held.is_empty(), "what jobs hold is given back by `take`");
            }
            ["redefine", sizes @ ..] => {
                let described = shape(sizes).describe();
                let mut r = described.to_r().unwrap();
                r.scheduling = Some(serde_json::from_str(&described.to_jgf()).unwrap());
                graph.redefine(&r);
                graph.mark(&r.ranks(), Mark::Up);
            }
            ["up", ranks] => graph.mark(&ranks.parse().unwrap(), Mark::Up),
            ["down", ranks] => graph.mark(&ranks.parse().unwrap(), Mark::Down),
            ["drain", ranks] => graph.mark(&ranks.parse().unwrap(), Mark::Drain),
            ["undrain", ranks] => graph.mark(&ranks.parse().unwrap(), Mark::Undrain),
            ["status", path, word] => {
                return graph.set_status(path, *word == "up").err().unwrap_or_default();
            }
            ["alloc", id, options @ ..] => {
                let found = graph.find(&request::jobspec(options), MatchOp::Allocate, Timestamp::ZERO);
                if let Found::Now(r) = &found {
                    // What another instance of the same broker would be told.
                    let r = R::parse(&r.to_json()).unwrap();
                    graph.take(JobId(id.parse().unwrap()), &r);
                    let (_, portions) = graph.held_by(JobId(id.parse().unwrap())).unwrap();
                    let mut out = answer(found);
                    for portion in portions {
                        writeln!(out, "{} of {}", portion.amount, portion.path).unwrap();
                    }
                    return out;
                }
                return answer(found);
            }
            ["can", options @ ..] => {
                let jobspec = request::jobspec(options);
                return match graph.find(&jobspec, MatchOp::Satisfiability, Timestamp::ZERO) {
                    Found::Now(_) => "yes".to_owned(),
                    other => answer(other),
                };
            }
            ["json", options @ ..] => {
                let found = graph.find(&request::jobspec(options), MatchOp::Allocate, Timestamp::ZERO);
                let Found::Now(r) = found else { panic!("nothing found") };
                return r.to_json();
            }
            // When it would start at the earliest, behind those that run.
            ["earliest", options @ ..] => {
                let mut plan = graph.plan(Timestamp::ZERO, []);
                let jobspec = request::jobspec(options);
                let times = (Timestamp::ZERO, Timestamp(i64::MAX));
                let r = graph.earliest(&mut plan, JobId(u64::MAX), &jobspec, times, &mut 0);
                return r
                    .map_or("never".to_owned(), |r| format!("{}\n{}", r.starttime.as_secs_f64(), parts(&r)));
            }
            ["why", options @ ..] => return graph.shortage(&request::jobspec(options), Timestamp::ZERO),
            ["free", id, ranks] => graph.give_back(JobId(id.parse().unwrap()), &ranks.parse().unwrap()),
            ["show", "free"] => return parts(&graph.free()),
            ["find", criteria @ ..] => {
                return match Criteria::parse(&criteria.join(" ")) {
                    Ok(criteria) => {
                        graph.select(&criteria).iter().map(|info| info.path.clone() + "\n").collect()
                    }
                    Err(why) => why,
                };
            }
            ["info", path] => return graph.info(path).map_or("nothing there".to_owned(), |info| said(&info)),
            _ => panic!("unknown command: {words:?}"),
        }
        String::new()
    }

    fn define(&mut self) {
        let described = Description::from_jgf_value(&self.machine).unwrap();
        self.graph = Graph::from_description(&described).unwrap();
    }

    fn add(&mut self, path: &str, name: &str, kind: &str, size: u64, unit: &str) {
        let nodes = self.machine["graph"]["nodes"].as_array_mut().unwrap();
        let above = nodes.iter().find(|node| node["metadata"]["paths"]["containment"] == path);
        let above = above.expect(path)["id"].clone();
        let id = nodes.len().to_string();
        let digits = name.trim_start_matches(|c: char| !c.is_ascii_digit());
        nodes.push(json!({ "id": id, "metadata": { "type": kind, "name": name,
            "id": digits.parse().unwrap_or(-1), "size": size, "unit": unit } }));
        let edge = json!({ "source": above, "target": id, "metadata": { "subsystem": "containment" } });
        self.machine["graph"]["edges"].as_array_mut().unwrap().push(edge);
    }
}

/// `nodes=4 racks=2 sockets=2 numa=2 l3=2 cores=4 threads=2 gpus=1 memory=32`, all but the first two per what is around.
fn shape(words: &[&str]) -> Shape {
    let mut shape = Shape { sockets: 1, cores: 1, ..Shape::default() };
    for word in words {
        let (key, value) = word.split_once('=').unwrap();
        let number = || value.parse::<u32>().unwrap();
        match key {
            "nodes" => shape.hosts = format!("n[0-{}]", number() - 1).parse().unwrap(),
            "racks" => shape.racks = number(),
            "sockets" => shape.sockets = number(),
            "numa" => shape.numa = number(),
            "l3" => shape.l3 = number(),
            "cores" => shape.cores = number(),
            "threads" => shape.threads = number(),
            "gpus" => shape.gpus = number(),
            "memory" => shape.memory_gib = Some(number().into()),
            "property" => shape.properties.push((value.to_owned(), "big".to_owned())),
            _ => panic!("{word}"),
        }
    }
    shape.check().unwrap();
    shape
}

fn said(info: &Info) -> String {
    let rank = info.rank.map_or(String::new(), |rank| format!(" rank {rank}"));
    let up = if info.up { "up" } else { "down" };
    let drained = if info.drained { " drained" } else { "" };
    let jobs: Vec<String> = info.jobs.iter().map(|id| id.0.to_string()).collect();
    let properties: Vec<&str> = info.properties.keys().map(String::as_str).collect();
    format!(
        "{} {} {}{rank}, {} {}, {up}{drained}, {} taken by [{}], properties [{}]",
        info.kind,
        info.name,
        info.id,
        info.size,
        info.unit,
        info.taken,
        jobs.join(" "),
        properties.join(" ")
    )
}
