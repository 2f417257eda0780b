//! What a broker can be asked for, and how often it was: `flurm module list`.

use crate::cx::Cx;
use flurm_types::Now;
use flurm_wire::Message;
use flurm_wire::state::{Modules, Service, ServiceList};
use std::collections::BTreeMap;

/// All services, and whether the leader alone has them.
const ALL: &[(&str, bool)] = &[
    ("attr", false),
    ("broker", false),
    ("event", true),
    ("exec", true),
    ("job-info", true),
    ("job-ingest", true),
    ("job-list", true),
    ("job-manager", true),
    ("kvs", true),
    ("log", false),
    ("module", false),
    ("overlay", false),
    ("resource", true),
    ("rexec", false),
    ("sched", true),
    ("shell", false),
    ("state", false),
];

/// Does the leader alone answer it?
pub(crate) fn is_leaders(service: &str) -> bool {
    ALL.iter().any(|(name, leaders)| *name == service && *leaders)
}

/// Requests since the broker has started, and when the last one came.
#[derive(Debug, Default)]
pub(crate) struct Tally(BTreeMap<&'static str, (u64, u64)>);

impl Tally {
    pub fn count(&mut self, now: Now, topic: &str) {
        let service = topic.split('.').next().unwrap_or_default();
        if let Some((name, _)) = ALL.iter().find(|(name, _)| *name == service) {
            let (requests, last_ms) = self.0.entry(name).or_default();
            *requests += 1;
            *last_ms = now.mono_ms;
        }
    }

    pub fn request(&self, cx: &mut Cx, m: &Message) {
        if let Err(error) = m.body::<Modules>() {
            return cx.at_once().refuse(m, error);
        }
        let leads = cx.config.rank.0 == 0;
        let here = ALL.iter().filter(|(_, leaders)| leads || !leaders);
        let service = |(name, leaders): &(&'static str, bool)| {
            let counted = self.0.get(name);
            Service {
                name: (*name).to_owned(),
                leaders: *leaders,
                requests: counted.map_or(0, |(requests, _)| *requests),
                idle_secs: counted.map(|(_, last)| cx.now.mono_ms.saturating_sub(*last) as f64 / 1000.0),
            }
        };
        let services = here.map(service).collect();
        cx.at_once().respond(m, &ServiceList { services });
    }
}
