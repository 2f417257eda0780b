//! The place of the jobs' services until they are in: nothing is submitted, nothing runs.

use crate::cx::Cx;
use crate::door::CoreConfig;
use flurm_sched::ResourceChange;
use flurm_types::{R, Rank};
use flurm_wire::fact::JobFact;
use flurm_wire::{Address, ErrorCode, Message, WireError};

#[derive(Debug)]
pub(crate) struct Jobs;

impl Jobs {
    pub fn new(_config: &CoreConfig, _seed: u64) -> Jobs {
        Jobs
    }
    pub fn request(&mut self, cx: &mut Cx, m: &Message) {
        cx.refuse(m, WireError::new(ErrorCode::NoService, format!("no service for {}", m.topic)));
    }
    pub fn cancel(&mut self, _src: Address, _tag: u64) {}
    pub fn apply(&mut self, _fact: &JobFact) {}
    pub fn lead(&mut self, _cx: &mut Cx) {}
    pub fn resources(&mut self, _cx: &mut Cx, _change: ResourceChange) {}
    pub fn rank_lost(&mut self, _cx: &mut Cx, _rank: Rank) {}
    pub fn settle(&mut self, _cx: &mut Cx) {}
    pub fn stop(&mut self, _cx: &mut Cx) {}
    pub fn idle(&self) -> bool {
        true
    }
    pub fn sched(&self) -> &Jobs {
        self
    }
    pub fn graph(&self) -> &Jobs {
        self
    }
    pub fn allocated(&self) -> R {
        R::default()
    }
    pub fn gates(&self) -> (bool, bool) {
        (true, true)
    }
    pub fn lookup_kvs(&self, _key: &str) -> Option<flurm_wire::kvs::Node> {
        None
    }
    pub fn restart(&mut self, _cx: &mut Cx) {}
}
