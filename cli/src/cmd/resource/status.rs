//! `flurm resource status`: nodes as their administrator sees them.

use super::{ask, drained};
use crate::face::Face;
use crate::failure::Failure;
use crate::format::{self, Column, Value};
use crate::out::{self, Script};
use flurm_types::{Hostlist, Idset, R, Timestamp};
use flurm_wire::resource::StatusInfo;

/// Nodes in one state, for one reason.
pub struct Row {
    state: &'static str,
    online: bool,
    ranks: Idset,
    hosts: Hostlist,
    reason: String,
    since: Timestamp,
    script: Script,
}

pub static COLUMNS: &[Column<Row>] = &[
    Column { name: "state", header: "STATE", value: |row, _| row.state.into() },
    Column {
        name: "statex",
        header: "STATE",
        value: |row, _| format!("{}{}", row.state, if row.online { "" } else { "*" }).into(),
    },
    Column {
        name: "status",
        header: "STATUS",
        value: |row, _| if row.online { "online" } else { "offline" }.into(),
    },
    Column {
        name: "up",
        header: "UP",
        value: |row, _| {
            match (row.online, row.script.ascii) {
                (true, true) => "y",
                (false, true) => "n",
                (true, false) => "✔",
                (false, false) => "✗",
            }
            .into()
        },
    },
    Column { name: "nnodes", header: "NNODES", value: |row, _| row.ranks.len().into() },
    Column { name: "ranks", header: "RANKS", value: |row, _| row.ranks.to_string().into() },
    Column { name: "nodelist", header: "NODELIST", value: |row, _| row.hosts.to_string().into() },
    Column { name: "timestamp", header: "TIME", value: |row, _| row.since.into() },
    Column {
        name: "reason",
        header: "REASON",
        value: |row, _| if row.reason.is_empty() { Value::Empty } else { row.reason.clone().into() },
    },
];

const NAMED: format::Named = &[
    ("default", "{statex:>10} {up:>2} {nnodes:>6} {nodelist:h}"),
    ("long", "{statex:>10} {up:>2} {nnodes:>6} +:{ranks:>6} ?+:{reason:<25.25+} {nodelist:h}"),
];

/// List nodes by what their administrator says of them
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only these: avail, allocated, drain, drained, draining, online, offline, all
    #[arg(short, long, value_name = "STATE,…", value_delimiter = ',')]
    states: Vec<State>,
    /// Only these ranks or hosts
    #[arg(short, long, value_name = "TARGETS")]
    include: Option<String>,
    /// Only nodes of these queues
    #[arg(short, long, value_name = "QUEUE,…", value_delimiter = ',')]
    queue: Vec<String>,
    /// Leave out states that nothing is in (they are never shown)
    #[arg(long)]
    skip_empty: bool,
    #[command(flatten)]
    format: format::Options,
    /// Print the whole answer as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Copy, Clone, Debug, Eq, PartialEq, clap::ValueEnum)]
enum State {
    Avail,
    /// Drained or draining
    Drain,
    Drained,
    Draining,
    Online,
    Offline,
    All,
    /// Nodes with jobs
    Allocated,
    /// Nothing is ever in these here, but scripts ask
    #[value(alias("excluded"))]
    Exclude,
    Torpid,
    Housekeeping,
}

impl State {
    fn holds(self, row: &Row) -> bool {
        match self {
            State::Avail => row.state == "avail",
            State::Drain => row.state != "avail",
            State::Drained => row.state == "drained",
            State::Draining => row.state == "draining",
            State::Online => row.online,
            State::Offline => !row.online,
            State::All => true,
            // Rows do not tell them apart; the R that they are made of does.
            State::Allocated => true,
            State::Exclude | State::Torpid | State::Housekeeping => false,
        }
    }
}

impl Args {
    pub fn run(mut self, face: &Face) -> Result<u8, Failure> {
        self.json |= self.format.take_json();
        let format = self.format.read("FLUX_RESOURCE_STATUS_FORMAT_DEFAULT", NAMED, COLUMNS)?;
        let Some(format) = format else { return Ok(0) };
        let client = face.connect()?;
        let mut info = ask(&client)?;
        super::narrow(&client, &mut info, self.include.as_deref(), &self.queue)?;
        if self.states.contains(&State::Allocated) && !self.states.contains(&State::All) {
            info.all = info.all.restrict(&info.allocated.ranks());
        }
        if self.json {
            out::json(&info)?;
            return Ok(0);
        }
        let mut rows = rows(&info, Script::of_locale());
        rows.retain(|row| self.states.is_empty() || self.states.iter().any(|state| state.holds(row)));
        format.print(&mut out::stdout(), &mut rows, !self.format.no_header, |_| None)?;
        Ok(0)
    }
}

/// Available nodes first, then drained ones in the order of their draining; online before offline.
pub fn rows(info: &StatusInfo, script: Script) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut push = |state, ranks: &Idset, reason: &str, since| {
        for online in [true, false] {
            let here = if online { ranks.intersection(&info.online) } else { ranks.difference(&info.online) };
            let here = here.intersection(&info.all.ranks());
            if !here.is_empty() {
                let hosts = info.all.restrict(&here).hostlist();
                let reason = reason.to_owned();
                rows.push(Row { state, online, ranks: here, hosts, reason, since, script });
            }
        }
    };
    push("avail", &info.all.ranks().difference(&drained(info)), "", Timestamp::ZERO);
    let busy = R::ranks(&info.allocated);
    for drained in &info.drained {
        push("draining", &drained.ranks.intersection(&busy), &drained.reason, drained.since);
        push("drained", &drained.ranks.difference(&busy), &drained.reason, drained.since);
    }
    rows
}

/// Is the node taken out of service?
pub fn is_drained(row: &Row) -> bool {
    State::Drain.holds(row)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flurm_types::RNode;
    use flurm_wire::resource::Drained;

    #[test]
    fn drained_nodes_with_jobs_are_draining_and_offline_ones_starred() {
        let node = |rank: u32| RNode {
            rank,
            host: format!("n{rank}"),
            cores: "0".parse().unwrap(),
            gpus: Idset::new(),
        };
        let info = StatusInfo {
            all: R::from_nodes((0..5).map(node)),
            allocated: R::from_nodes([node(1)]),
            up: "0-2".parse().unwrap(),
            online: "0-2,4".parse().unwrap(),
            drained: vec![Drained {
                ranks: "1-2".parse().unwrap(),
                reason: "fan".into(),
                since: Timestamp::ZERO,
            }],
            expiration: Timestamp::ZERO,
            expiring: Vec::new(),
        };
        let format = format::Format::parse("{statex} {ranks} {reason:h}", COLUMNS).unwrap();
        let mut out = Vec::new();
        format.print(&mut out, &mut rows(&info, Script { ascii: true }), false, |_| None).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "avail 0,4 -\navail* 3 -\ndraining 1 fan\ndrained 2 fan\n"
        );
    }
}
