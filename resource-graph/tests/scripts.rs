//! Conversations with a graph: each file of `data/` has commands, and below each what the graph answers.
//!
//! `UPDATE_SCRIPTS=1 cargo test -p flurm-resource-graph` writes the answers anew; the difference is for review.

mod conversation;
mod shape;

use conversation::{answer, parts};
use flurm_jobspec::Jobspec;
use flurm_resource_graph::{Found, Graph, Mark, MatchOp, SlowDowns, Unit};
use flurm_types::{Constraint, Idset, JobId, R, RNode, Socket, Timestamp, Topology};
use std::{fmt::Write as _, sync::Arc};

#[test]
fn every_conversation_goes_as_written() {
    conversation::play("data", || {
        let mut graph = Graph::from_r(&R::default());
        move |words| run(&mut graph, words)
    });
}

fn run(graph: &mut Graph, words: &[&str]) -> String {
    match words {
        ["define", rest @ ..] => *graph = Graph::from_r(&inventory(rest)),
        ["redefine", rest @ ..] => graph.redefine(&inventory(rest)),
        ["up", ranks] => graph.mark(&ranks.parse().unwrap(), Mark::Up),
        ["down", ranks] => graph.mark(&ranks.parse().unwrap(), Mark::Down),
        ["drain", ranks] => graph.mark(&ranks.parse().unwrap(), Mark::Drain),
        ["undrain", ranks] => graph.mark(&ranks.parse().unwrap(), Mark::Undrain),
        ["expires", at] => graph.set_expiration(seconds(at)),
        ["alloc", id, options @ ..] => {
            let found = graph.find(&jobspec(options), MatchOp::Allocate, Timestamp::ZERO);
            if let Found::Now(r) = &found {
                graph.take(JobId(id.parse().unwrap()), r);
            }
            return answer(found);
        }
        ["slowdowns", pairs @ ..] => {
            let mut table = SlowDowns::default();
            for pair in pairs {
                let (classes, factor) = pair.split_once('=').unwrap();
                let (one, beside) = classes.split_once('/').unwrap();
                table.set(one, beside, factor.parse().unwrap());
            }
            graph.set_slowdowns(table);
        }
        // Members of a group one behind the other: id, shape and placement of each.
        ["group", members @ ..] => {
            let jobs = members.chunks(3).map(|member| Arc::new(jobspec(&member[1..])));
            let jobs: Vec<Arc<Jobspec>> = jobs.collect();
            let unit = Unit::Group(&jobs);
            let found = graph.find(unit, MatchOp::Allocate, Timestamp::ZERO);
            let Found::Now(r) = found else {
                let why = if found == Found::NotNow {
                    graph.shortage(unit, Timestamp::ZERO)
                } else {
                    String::new()
                };
                return format!("{}\n{why}", answer(found)).trim_end().to_owned();
            };
            let mut out = format!("on {}\n", r.ranks());
            for (member, r) in members.chunks(3).zip(graph.split(unit, r).unwrap()) {
                graph.take(JobId(member[0].parse().unwrap()), &r);
                parts(&r).lines().for_each(|part| writeln!(out, "{}: {part}", member[0]).unwrap());
            }
            return out;
        }
        ["times", at, options @ ..] => {
            let found = graph.find(&jobspec(options), MatchOp::Allocate, seconds(at));
            let Found::Now(r) = found else { return answer(found) };
            return format!("{} to {}", r.starttime.as_secs_f64(), r.expiration.as_secs_f64());
        }
        ["can", options @ ..] => {
            return match graph.find(&jobspec(options), MatchOp::Satisfiability, Timestamp::ZERO) {
                Found::Now(_) => "yes".to_owned(),
                other => answer(other),
            };
        }
        ["why", options @ ..] => return graph.shortage(&jobspec(options), Timestamp::ZERO),
        ["free", id, ranks] => graph.give_back(JobId(id.parse().unwrap()), &ranks.parse().unwrap()),
        ["show", "free"] => return parts(&graph.free()),
        ["show", "allocated"] => return parts(&graph.allocated()),
        ["json", options @ ..] => {
            let Found::Now(r) = graph.find(&jobspec(options), MatchOp::Allocate, Timestamp::ZERO) else {
                panic!("nothing found")
            };
            return r.to_json();
        }
        _ => panic!("unknown command: {words:?}"),
    }
    String::new()
}

fn seconds(text: &str) -> Timestamp {
    Timestamp::from_secs_f64(text.parse().unwrap())
}

/// `nodes=4 sockets=2 cores=10 gpus=1`, the last two per socket; `gap` numbers ranks and ids with holes,
/// `fat=RANKS` doubles the cores there, `NAME:RANKS` is a property.
fn inventory(words: &[&str]) -> R {
    let value = |key: &str| words.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
    let number = |key: &str, default: u32| value(key).map_or(default, |text| text.parse().unwrap());
    let (sockets, step) = (number("sockets", 1), if words.contains(&"gap") { 3 } else { 1 });
    let fat: Idset = value("fat").unwrap_or("").parse().unwrap();
    let mut r = R::default();
    for n in 0..number("nodes", 1) {
        let rank = n * step;
        let cores = number("cores", 1) * if fat.contains(rank) { 2 } else { 1 };
        let ids = |each: u32, s: u32| (s * each..(s + 1) * each).map(|id| id * step).collect::<Idset>();
        let inside: Vec<Socket> = (0..sockets)
            .map(|s| Socket { cores: ids(cores, s), gpus: ids(number("gpus", 0), s), memory_gib: None })
            .collect();
        let all = |part: fn(&Socket) -> &Idset| inside.iter().flat_map(|s| part(s).iter()).collect();
        let (cores, gpus) = (all(|s| &s.cores), all(|s| &s.gpus));
        r.nodes.push(RNode { rank, host: format!("n{n}"), cores, gpus });
        if sockets > 1 {
            r.topology.insert(rank, Topology { sockets: inside.into() });
        }
    }
    for word in words {
        if let Some((name, ranks)) = word.split_once(':') {
            r.properties.insert(name.to_owned(), ranks.parse().unwrap());
        }
    }
    r
}

/// A shape such as `node=2/slot=3/core`, seconds behind `t` and a placement behind `@` if wanted, and a constraint
/// in quotes at the end.
fn jobspec(words: &[&str]) -> Jobspec {
    let (shape, rest) = words.split_first().expect("a shape");
    let (mut duration, mut placement, mut query) = (0.0, "", String::new());
    for word in rest {
        match (word.strip_prefix('t'), word.strip_prefix('@')) {
            (Some(seconds), _) if query.is_empty() => duration = seconds.parse().unwrap(),
            (_, Some(name)) if query.is_empty() => placement = name,
            _ => query.extend([word.trim_matches('"'), " "]),
        }
    }
    shape::jobspec(shape, duration, placement, &Constraint::parse_query(&query).unwrap())
}
