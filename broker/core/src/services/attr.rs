//! Attributes of one broker: what bootstrap and configuration said, what follows from it, what users add.

use crate::cx::Cx;
use crate::door::CoreConfig;
use flurm_types::Hostlist;
use flurm_wire::attr::{All, Get, List, Set, Value};
use flurm_wire::job::Done;
use flurm_wire::{ErrorCode, Message, Topic, WireError};
use std::collections::{BTreeMap, BTreeSet};

/// User attributes of one broker.
const ATTRIBUTES_MAX: usize = 4096;
/// Bytes of a name with its value.
const ATTRIBUTE_BYTES_MAX: usize = 64 << 10;

/// Known names whose value was used at the start: changing it later would change nothing.
const FIXED: &[&str] = &[
    "broker.cleanup-timeout",
    "broker.join-timeout",
    "broker.orphan-timeout",
    "broker.pid",
    "config",
    "jobid",
    "parent-uri",
    "rundir",
    "statedir",
    "tbon.interface-hint",
    "tbon.lost-timeout",
];

#[derive(Debug)]
pub(crate) struct Attributes {
    all: BTreeMap<String, String>,
    fixed: BTreeSet<String>,
}

impl Attributes {
    pub fn new(config: &CoreConfig) -> Attributes {
        let hosts: Hostlist = config.hosts.iter().cloned().collect();
        let hostname = config.hosts.get(config.rank.0 as usize).cloned().unwrap_or_default();
        let derived = [
            ("size", config.size.to_string()),
            ("rank", config.rank.to_string()),
            ("hostlist", hosts.to_string()),
            ("hostname", hostname),
            ("instance-id", config.instance_id.clone()),
            ("instance-level", config.instance_level.to_string()),
            ("local-uri", config.uri.clone()),
            ("broker.starttime", format!("{:.2}", config.starttime.as_secs_f64())),
            ("security.owner", config.owner.to_string()),
            ("tbon.fanout", config.fanout.to_string()),
            ("tbon.topo", format!("kary:{}", config.fanout)),
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ];
        let fixed = derived.iter().map(|(name, _)| *name).chain(FIXED.iter().copied()).map(str::to_owned);
        let fixed = fixed.collect();
        let mut all = config.attributes.clone();
        all.extend(derived.map(|(name, value)| (name.to_owned(), value)));
        Attributes { all, fixed }
    }

    pub fn request(&mut self, cx: &mut Cx, m: &Message) {
        let mut cx = cx.at_once();
        let answered = match &*m.topic {
            Get::NAME => m.body::<Get>().and_then(|get| {
                let value = self.all.get(&get.name).cloned().ok_or_else(|| unknown(&get.name))?;
                cx.respond(m, &Value { value });
                Ok(())
            }),
            Set::NAME => m.body::<Set>().and_then(|set| self.set(set)).map(|()| cx.respond(m, &Done {})),
            List::NAME => {
                cx.respond(m, &All { attributes: self.all.clone() });
                Ok(())
            }
            topic => Err(WireError::new(ErrorCode::NoService, format!("no service for {topic}"))),
        };
        if let Err(error) = answered {
            cx.refuse(m, error);
        }
    }

    fn set(&mut self, set: Set) -> Result<(), WireError> {
        let Set { name, value, force } = set;
        if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(WireError::new(ErrorCode::Invalid, format!("`{name}` is no attribute name")));
        }
        if self.fixed.contains(&name) && !force {
            return Err(WireError::new(ErrorCode::Denied, format!("attribute {name} cannot be changed")));
        }
        if name.len() + value.len() > ATTRIBUTE_BYTES_MAX || self.all.len() >= ATTRIBUTES_MAX {
            return Err(WireError::new(ErrorCode::TooBig, "too many or too large attributes"));
        }
        self.all.insert(name, value);
        Ok(())
    }
}

fn unknown(name: &str) -> WireError {
    WireError::new(ErrorCode::NotFound, format!("no attribute {name}"))
        .hint("`flurm lsattr` lists those that there are")
}
