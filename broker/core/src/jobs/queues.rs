//! Queues as clients see them: their gates, how they are, and waiting until they are empty.

use super::{Jobs, wire_error};
use crate::cx::{Cx, asker};
use crate::site::{Rules, Site};
use flurm_job_manager::{Gate, Request, Turn};
use flurm_types::{Idset, R};
use flurm_wire::job::{Queue, QueueAct, QueueInfo, QueueSize, QueueStatus};
use flurm_wire::{Address, ErrorCode, Message, WireError};

/// Who waits until queues are empty, or nothing of them runs.
#[derive(Debug, Default)]
pub(super) struct QueueWaits(Vec<Wait>);

#[derive(Debug)]
struct Wait {
    asker: Message,
    queues: Vec<String>,
    idle: bool,
}

impl QueueWaits {
    pub fn cancel(&mut self, src: Address, tag: u64) {
        self.0.retain(|wait| (wait.asker.src, wait.asker.tag) != (src, tag));
    }
}

impl Jobs {
    pub(super) fn queue(&mut self, cx: &mut Cx, m: &Message) -> Result<(), WireError> {
        let Queue { act, queues, all } = m.body()?;
        let site = &cx.config.site;
        if let Some(unknown) = queues.iter().find(|name| !site.queues.contains_key(*name)) {
            return Err(not_found(unknown, site));
        }
        let turn = match act {
            QueueAct::Status => {
                cx.respond(m, &self.queue_status(site, &queues));
                return Ok(());
            }
            QueueAct::Drain | QueueAct::Idle => {
                let idle = matches!(act, QueueAct::Idle);
                self.queue_waits.0.push(Wait { asker: asker(m), queues, idle });
                return Ok(());
            }
            QueueAct::Enable => Turn::Enable,
            QueueAct::Disable { reason } => Turn::Disable { reason },
            QueueAct::Start => Turn::Start,
            QueueAct::Stop { reason } => Turn::Stop { reason },
        };
        if queues.is_empty() && !all && !site.queues.is_empty() {
            let text = "no queue named: this instance has several";
            return Err(WireError::new(ErrorCode::Invalid, text).hint("name queues, or say --all"));
        }
        let opens = matches!(turn, Turn::Enable | Turn::Start);
        let names: Vec<Option<&String>> = match (queues.is_empty(), site.queues.is_empty()) {
            (false, _) => queues.iter().map(Some).collect(),
            // What an earlier life has closed for all is opened for all.
            (true, false) => site.queues.keys().map(Some).chain(opens.then_some(None)).collect(),
            (true, true) => vec![None],
        };
        for name in names {
            let queue = name.map(|name| name.as_str().into());
            let gate = Gate { queue, turn: turn.clone() };
            self.decide(cx, &Request::Queue(gate)).map_err(|r| wire_error(&r))?;
        }
        cx.respond(m, &self.queue_status(&cx.config.site, &queues));
        Ok(())
    }

    /// Answers whoever waited for what is so now.
    pub(super) fn answer_queue_waits(&mut self, cx: &mut Cx) {
        for wait in std::mem::take(&mut self.queue_waits.0) {
            let status = self.queue_status(&cx.config.site, &wait.queues);
            if status.running == 0 && (wait.idle || status.pending == 0) {
                cx.respond(&wait.asker, &status);
            } else {
                self.queue_waits.0.push(wait);
            }
        }
    }

    /// Are submission and scheduling open anywhere?
    pub fn gates(&self, site: &Site) -> (bool, bool) {
        let gates = self.manager.gates();
        let names = || site.queues.keys().map(String::as_str);
        let alone = site.queues.is_empty().then_some("");
        let of = || names().chain(alone).map(|name| gates.of(name));
        let enabled = !self.stopping && of().any(|closed| closed.disabled.is_none());
        (enabled, of().any(|closed| closed.stopped.is_none()))
    }

    /// Of these queues, or of all.
    fn queue_status(&self, site: &Site, wanted: &[String]) -> QueueStatus {
        let all = &self.manager.gates().all;
        let inventory = self.sched.graph().inventory();
        let mut status = QueueStatus {
            enabled: all.disabled.is_none(),
            disable_reason: all.disabled.clone(),
            started: all.stopped.is_none(),
            stop_reason: all.stopped.clone(),
            pending: 0,
            running: 0,
            queues: Vec::new(),
            scheduler: self.seat.describe(&site.policy.to_string()),
        };
        if wanted.is_empty() {
            let stats = self.manager.stats();
            status.pending = stats.depend + stats.priority + stats.sched;
            status.running = stats.run + stats.cleanup;
        }
        if site.queues.is_empty() {
            status.queues = vec![QueueInfo {
                pending: status.pending,
                running: status.running,
                ranks: inventory.ranks(),
                ..self.queue_info("", site, &site.rules, inventory)
            }];
            return status;
        }
        let queues = site.queues.iter().filter(|(name, _)| wanted.is_empty() || wanted.contains(name));
        status.queues =
            queues.map(|(name, queue)| self.queue_info(name, site, &queue.rules, inventory)).collect();
        if !wanted.is_empty() {
            status.pending = status.queues.iter().map(|queue| queue.pending).sum();
            status.running = status.queues.iter().map(|queue| queue.running).sum();
        }
        // Of several queues, that one is closed is said with that queue.
        let (enabled, started) =
            (status.queues.iter().any(|q| q.enabled), status.queues.iter().any(|q| q.started));
        (status.enabled, status.started) = (enabled, started);
        status
    }

    fn queue_info(&self, name: &str, site: &Site, rules: &Rules, inventory: &R) -> QueueInfo {
        let (closed, count) = (self.manager.gates().of(name), self.manager.count_of(name));
        let size = |size: crate::site::Size| QueueSize {
            nnodes: size.nnodes,
            ncores: size.ncores,
            ngpus: size.ngpus,
        };
        let ranks: Idset = site.ranks(name, inventory);
        let own = site.queues.get(name);
        QueueInfo {
            name: name.to_owned(),
            default: site.default_queue.as_deref() == Some(name),
            enabled: closed.disabled.is_none(),
            disable_reason: closed.disabled,
            started: closed.stopped.is_none(),
            stop_reason: closed.stopped,
            pending: count.pending,
            running: count.running,
            duration: rules.duration,
            duration_max: rules.duration_max,
            max: size(rules.max),
            min: size(rules.min),
            ranks,
            priority: own.map_or(0, |queue| queue.priority),
            jobs_max: own.and_then(|queue| queue.jobs_max),
            cores_max: own.and_then(|queue| queue.cores_max),
        }
    }
}

/// There is no such queue.
pub(super) fn not_found(name: &str, site: &Site) -> WireError {
    let names: Vec<&str> = site.queues.keys().map(String::as_str).collect();
    let error = WireError::new(ErrorCode::NotFound, format!("queue {name} not found"));
    match names.as_slice() {
        [] => error.hint("this instance has no named queues: leave the name out"),
        names => error.hint(format!("the queues are {}", names.join(", "))),
    }
}
