//! What is known of jobs: listings, the keys of one job, the same keys as a part of the KVS (RFC 16).

use super::guest::said;
use super::{Jobs, exec_log, no_such_job};
use crate::cx::Cx;
use crate::site::Site;
use flurm_job_manager::Job;
use flurm_types::{JobId, JobState};
use flurm_wire::fact::GuestLog;
use flurm_wire::job::{JobRecord, JobStats, List, Listed, LookedUp, Lookup, Pids, PidsOf};
use flurm_wire::kvs::{Node, NodeKind};
use flurm_wire::{ErrorCode, Message, WireError};
use serde_json::Value;

/// Jobs in one answer: a megabyte or two, so that the leader is soon there for others.
const PAGE_MAX: usize = 4096;

/// Keys below `job.<id>`; `guest` is a directory.
const KEYS: &[&str] = &["J", "R", "eventlog", "jobspec"];
/// Of hexadecimal digits, in an id as the KVS has it.
const GROUPS: usize = 4;
const GUEST_KEYS: &[&str] = &["exec.eventlog", "input", "output"];

impl Jobs {
    pub(super) fn list(&mut self, cx: &mut Cx, m: &Message) -> Result<(), WireError> {
        let list: List = m.body()?;
        let (jobs, more) = if list.ids.is_empty() {
            self.matching(&list, &cx.config.site)?
        } else {
            let mut jobs = Vec::with_capacity(list.ids.len());
            for id in &list.ids {
                match self.manager.job(*id) {
                    Some(job) if of_user(job, &list) => jobs.push(self.record(job)),
                    None if !list.known => return Err(no_such_job(*id)),
                    Some(_) | None => {}
                }
            }
            (jobs, false)
        };
        cx.respond(m, &Listed { jobs, more, stats: self.stats_of(&list.queues) });
        Ok(())
    }

    /// A page, and whether there is another one.
    fn matching(&self, list: &List, site: &Site) -> Result<(Vec<JobRecord>, bool), WireError> {
        let limit = if list.max_entries == 0 { PAGE_MAX } else { list.max_entries.min(PAGE_MAX) };
        let only_active = !list.states.is_empty() && !list.states.contains(&JobState::Inactive);
        let last = JobId(list.before.map_or(u64::MAX, |before| before.0.saturating_sub(1)));
        // Active jobs are few; the others may be a million.
        let found: Box<dyn Iterator<Item = &Job>> = if only_active {
            Box::new(self.manager.active_within(JobId(0)..=last).rev())
        } else {
            Box::new(self.manager.jobs_within(JobId(0)..=last).rev())
        };
        let mut found = found.filter(|job| matches(job, list));
        let records: Vec<JobRecord> = found.by_ref().take(limit).map(|job| self.record(job)).collect();
        // Jobs of an earlier life may have been in a queue that is no more.
        let unknown = list.queues.iter().find(|queue| !site.queues.contains_key(*queue));
        if let Some(queue) = unknown.filter(|_| records.is_empty()) {
            return Err(super::queues::not_found(queue, site));
        }
        let more = records.len() == limit && found.next().is_some();
        Ok((records, more))
    }

    fn stats_of(&self, queues: &[String]) -> JobStats {
        if queues.is_empty() {
            return *self.manager.stats();
        }
        let mut stats = JobStats::default();
        for job in self
            .manager
            .jobs()
            .filter(|job| job.within().is_none())
            .filter(|job| queues.iter().any(|queue| **queue == *job.brief().queue))
        {
            stats.count(job.state(), job.result());
        }
        stats
    }

    fn record(&self, job: &Job) -> JobRecord {
        let mut record = job.record();
        if let (Some(array), Some(number)) = (&mut record.array, self.manager.array_number(job)) {
            array.number = number;
        }
        if let Some(said) = self.annotations.get(&job.id()) {
            let annotations = record.annotations.get_or_insert_with(|| Value::Object(Default::default()));
            if let (Some(all), Some(said)) = (annotations.as_object_mut(), said.as_object()) {
                all.extend(said.iter().map(|(key, value)| (key.clone(), value.clone())));
            }
        }
        if let Some(reason) = self.untold(job, record.annotations.as_ref()) {
            let annotations = record.annotations.get_or_insert_with(|| Value::Object(Default::default()));
            if let Some(all) = annotations.as_object_mut() {
                let sched = all.entry("sched").or_insert_with(|| Value::Object(Default::default()));
                sched["reason_pending"] = reason.into();
            }
        }
        record
    }

    /// Why a job waits about which the scheduler has said nothing, or something that counts no more.
    fn untold(&self, job: &Job, said: Option<&Value>) -> Option<String> {
        if job.state() != JobState::Sched || job.priority() == 0 {
            return None;
        }
        let queue = &*job.brief().queue;
        if self.manager.gates().of(queue).stopped.is_some() {
            return Some(if queue.is_empty() {
                "queue is stopped".into()
            } else {
                format!("queue {queue} is stopped")
            });
        }
        let told = said.and_then(|said| said.pointer("/sched/reason_pending")).is_some();
        if told { None } else { self.seat.waits().or_else(|| self.sched.not_tried(job.id())) }
    }

    pub(super) fn lookup(&mut self, cx: &mut Cx, m: &Message) -> Result<(), WireError> {
        let Lookup { id, keys } = m.body()?;
        let job = self.manager.job(id).ok_or_else(|| no_such_job(id))?;
        // A log that nothing was written to yet is there, and empty, as soon as the job has a place to run.
        let placed = job.r_json().is_some();
        let is_log = |key: &str| matches!(key, "guest.exec.eventlog" | "guest.output" | "guest.input");
        let value = |key: &String| {
            let empty = || (placed && is_log(key)).then(String::new);
            self.text_of(job, key).or_else(empty).ok_or_else(|| {
                WireError::new(ErrorCode::NotFound, format!("job {id} has no `{key}`")).hint(
                    "keys are jobspec, J, R, eventlog, guest.exec.eventlog, guest.input and guest.output",
                )
            })
        };
        let values = keys.iter().map(value).collect::<Result<_, _>>()?;
        cx.respond(m, &LookedUp { values });
        Ok(())
    }

    pub(super) fn pids(&mut self, cx: &mut Cx, m: &Message) -> Result<(), WireError> {
        let Pids { id } = m.body()?;
        let job = self.manager.job(id).ok_or_else(|| no_such_job(id))?;
        let runs = job.state() == JobState::Run;
        let pids = self.runs.pids(id).filter(|pids| runs && !pids.is_empty());
        let pids = pids.ok_or_else(|| {
            WireError::new(ErrorCode::Invalid, format!("job {id} has no tasks that are known to run"))
        })?;
        cx.respond(m, &PidsOf { ranks: pids.iter().map(|(rank, pids)| (*rank, pids.clone())).collect() });
        Ok(())
    }

    fn text_of(&self, job: &Job, key: &str) -> Option<String> {
        let guest =
            |log| self.guests.get(&job.id()).map(|g| g.text(log).into_owned()).filter(|t| !t.is_empty());
        match key {
            "jobspec" => Some(job.text().jobspec.to_string()),
            "J" => Some(with_environment(job)),
            "R" => job.r_json(),
            "eventlog" => {
                let mut text = String::new();
                for entry in job.entries(0) {
                    text.push_str(&entry.to_line());
                    text.push('\n');
                }
                Some(text)
            }
            "guest.exec.eventlog" => {
                let text = exec_log::whole(job, &guest(GuestLog::Exec).unwrap_or_default());
                (!text.is_empty()).then_some(text)
            }
            "guest.output" => {
                let mut text = guest(GuestLog::Output)?;
                if self.guests.get(&job.id()).is_some_and(|guest| guest.is_spilled()) {
                    let more = "more is kept in a file: `flurm job output` has all of it";
                    text.push_str(&said(job.t_last(), more).to_line());
                    text.push('\n');
                }
                Some(text)
            }
            "guest.input" => guest(GuestLog::Input),
            _ => None,
        }
    }

    /// `job.<id>` with the id in four groups of hexadecimal digits (or any other form without dots), and below.
    pub fn lookup_kvs(&self, key: &str) -> Option<Node> {
        if let Some(part) = self.ids_below(key) {
            return Some(part);
        }
        let rest = key.strip_prefix("job.")?;
        let groups = rest.match_indices('.').nth(3).map_or(rest.len(), |(at, _)| at);
        let (id, below) = match rest[..groups].parse::<JobId>() {
            Ok(id) => (id, rest[groups..].strip_prefix('.').unwrap_or("")),
            Err(_) => {
                let (id, below) = rest.split_once('.').unwrap_or((rest, ""));
                (id.parse().ok()?, below)
            }
        };
        let job = self.manager.job(id)?;
        let value = |key: &&&str| self.text_of(job, key).is_some();
        match below {
            "" => {
                let mut names: Vec<(String, NodeKind)> =
                    KEYS.iter().filter(value).map(|key| ((*key).to_owned(), NodeKind::Value)).collect();
                if self.guests.contains_key(&id) {
                    names.push(("guest".to_owned(), NodeKind::Dir));
                }
                Some(Node::Dir(names))
            }
            "guest" => {
                let there = |key: &&str| {
                    self.text_of(job, &format!("guest.{key}")).is_some_and(|text| !text.is_empty())
                };
                let name = |key: &str| match key.split_once('.') {
                    Some((dir, _)) => (dir.to_owned(), NodeKind::Dir),
                    None => (key.to_owned(), NodeKind::Value),
                };
                let names: Vec<_> = GUEST_KEYS.iter().filter(|k| there(k)).map(|k| name(k)).collect();
                (!names.is_empty()).then_some(Node::Dir(names))
            }
            "guest.exec" => self
                .text_of(job, "guest.exec.eventlog")
                .map(|_| Node::Dir(vec![("eventlog".to_owned(), NodeKind::Value)])),
            key => {
                let text = self.text_of(job, key)?;
                let is_document = matches!(key, "R" | "jobspec" | "J");
                let parsed = if is_document { serde_json::from_str(&text).ok() } else { None };
                Some(Node::Value(parsed.unwrap_or(Value::String(text))))
            }
        }
    }

    /// `job` and the first groups of ids below it, as directories of what comes next in the ids that there are.
    fn ids_below(&self, key: &str) -> Option<Node> {
        let mut names = key.split('.');
        let groups: Vec<&str> = names.next().filter(|name| *name == "job").map(|_| names.collect())?;
        if groups.len() >= GROUPS || groups.iter().any(|group| group.len() != 4) {
            return None;
        }
        let above =
            groups.iter().try_fold(0, |id, group| Some(id << 16 | u64::from_str_radix(group, 16).ok()?))?;
        let left = 16 * (GROUPS - groups.len());
        let first = above.checked_shl(left as u32).unwrap_or(0);
        let last = first | u64::MAX >> (64 - left);
        let mut names: Vec<(String, NodeKind)> = Vec::new();
        for job in self.manager.jobs_within(JobId(first)..=JobId(last)) {
            let name = format!("{:04x}", job.id().0 >> (left - 16) & 0xffff);
            // Ids come in order.
            if names.last().is_none_or(|(before, _)| *before != name) {
                names.push((name, NodeKind::Dir));
            }
        }
        (groups.is_empty() || !names.is_empty()).then_some(Node::Dir(names))
    }
}

fn of_user(job: &Job, list: &List) -> bool {
    list.userid.is_none_or(|userid| userid == job.userid())
}

fn matches(job: &Job, list: &List) -> bool {
    let brief = job.brief();
    let any = |empty: bool, found: bool| empty || found;
    let asked_for = match (job.within(), list.within) {
        (Some(_), None) => list.steps,
        (within, Some(wanted)) => within == Some(wanted),
        (None, None) => true,
    };
    asked_for
        && of_user(job, list)
        && any(list.states.is_empty(), list.states.contains(&job.state()))
        && any(list.results.is_empty(), job.result().is_none_or(|r| list.results.contains(&r)))
        && list.name.as_ref().is_none_or(|name| **name == *brief.name)
        && any(list.queues.is_empty(), list.queues.iter().any(|queue| **queue == *brief.queue))
        && list.ranks.as_ref().is_none_or(|ranks| job.has_been_on(ranks))
        && list.since.is_none_or(|since| job.t_inactive().is_none_or(|t| t >= since))
}

fn with_environment(job: &Job) -> String {
    let text = job.text();
    let mut jobspec: Value = serde_json::from_str(&text.jobspec).expect("a canonical jobspec is JSON");
    let environment = serde_json::to_value(&*text.environment).expect("names and strings always serialize");
    jobspec["attributes"]["system"]["environment"] = environment;
    jobspec.to_string()
}
