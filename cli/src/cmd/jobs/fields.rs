//! What a listing knows of a job: the fields of `flurm jobs -o`.

use super::inside::Inside;
use crate::format::{Column, Value};
use crate::out::{self, Script};
use crate::signals;
use flurm_types::{Encoding, JobResult, JobState, Status, Timestamp, exit_code, signal_of};
use flurm_wire::job::JobRecord;
use serde_json::json;
use std::rc::Rc;

/// What all rows of a listing share.
#[derive(Debug)]
pub struct View {
    pub now: Timestamp,
    pub script: Script,
    /// The owner of the instance, and so of all its jobs.
    owner: (u32, String),
}

impl View {
    pub fn new(now: Timestamp, script: Script) -> View {
        let uid = rustix::process::getuid().as_raw();
        View { now, script, owner: (uid, out::user_name(uid)) }
    }
}

/// A job in a listing.
#[derive(Debug)]
pub struct Row {
    pub job: JobRecord,
    pub view: Rc<View>,
    /// Asked for where the format shows it.
    pub inside: Option<Inside>,
}

/// The exit code that stands for a job which was cancelled before it started.
const NEVER_STARTED: i64 = -128;

/// Of a job that failed before it started.
const FAILED_EARLY: i64 = 1;

pub static COLUMNS: &[Column<Row>] = &[
    Column { name: "id", header: "JOBID", value: |r, _| r.view.script.id(r.job.id).into() },
    Column { name: "id.f58", header: "JOBID", value: |r, _| r.view.script.id(r.job.id).into() },
    Column { name: "id.f58plain", header: "JOBID", value: |r, _| r.job.id.f58_plain().into() },
    Column { name: "id.dec", header: "JOBID", value: |r, _| r.job.id.encode(Encoding::Dec).into() },
    Column { name: "id.hex", header: "JOBID", value: |r, _| r.job.id.encode(Encoding::Hex).into() },
    Column { name: "id.dothex", header: "JOBID", value: |r, _| r.job.id.encode(Encoding::Dothex).into() },
    Column { name: "id.kvs", header: "JOBID", value: |r, _| r.job.id.encode(Encoding::Kvs).into() },
    Column { name: "id.words", header: "JOBID", value: |r, _| r.job.id.encode(Encoding::Words).into() },
    Column { name: "id.emoji", header: "JOBID", value: |r, _| r.job.id.encode(Encoding::Emoji).into() },
    Column { name: "userid", header: "UID", value: |r, _| r.job.userid.into() },
    Column { name: "username", header: "USER", value: |r, _| r.username().into() },
    Column { name: "name", header: "NAME", value: |r, _| r.job.name.as_str().into() },
    Column { name: "cwd", header: "CWD", value: |r, _| r.job.cwd.as_str().into() },
    Column { name: "queue", header: "QUEUE", value: |r, _| r.job.queue.as_str().into() },
    Column { name: "project", header: "PROJECT", value: |r, _| r.job.project.as_str().into() },
    Column { name: "bank", header: "BANK", value: |r, _| r.job.bank.as_str().into() },
    Column { name: "urgency", header: "URG", value: |r, _| u32::from(r.job.urgency).into() },
    Column { name: "priority", header: "PRI", value: |r, _| r.job.priority.into() },
    Column { name: "state", header: "STATE", value: |r, _| r.job.state.name().into() },
    Column { name: "state_single", header: "S", value: |r, _| r.job.state.letter().to_string().into() },
    Column { name: "state_emoji", header: "STATE", value: |r, _| emoji(Status::State(r.job.state)).into() },
    Column { name: "result", header: "RESULT", value: |r, _| r.job.result.map(JobResult::name).into() },
    Column { name: "result_abbrev", header: "RS", value: |r, _| r.job.result.map(JobResult::abbrev).into() },
    Column {
        name: "result_emoji",
        header: "RESULT",
        value: |r, _| r.job.result.map(|result| emoji(Status::Result(result))).into(),
    },
    Column { name: "status", header: "STATUS", value: |r, _| r.status().name().into() },
    Column { name: "status_abbrev", header: "ST", value: |r, _| r.status().abbrev().into() },
    Column { name: "status_emoji", header: "ST", value: |r, _| emoji(r.status()).into() },
    Column { name: "success", header: "SUCCESS", value: |r, _| r.job.success.into() },
    Column { name: "waitstatus", header: "WSTATUS", value: |r, _| r.job.waitstatus.map(i64::from).into() },
    Column { name: "returncode", header: "RC", value: |r, _| r.returncode().into() },
    Column {
        name: "exception.occurred",
        header: "EXCEPTION-OCCURRED",
        value: |r, _| r.exception_occurred().into(),
    },
    Column {
        name: "exception.severity",
        header: "EXCEPTION-SEVERITY",
        value: |r, _| r.job.exception.as_ref().map(|e| u32::from(e.severity)).into(),
    },
    Column {
        name: "exception.type",
        header: "EXCEPTION-TYPE",
        value: |r, _| r.job.exception.as_ref().map(|e| e.kind.as_str()).into(),
    },
    Column {
        name: "exception.note",
        header: "EXCEPTION-NOTE",
        value: |r, _| r.job.exception.as_ref().map(|e| e.note.as_str()).into(),
    },
    Column { name: "inactive_reason", header: "INACTIVE-REASON", value: |r, _| r.inactive_reason().into() },
    Column { name: "ntasks", header: "NTASKS", value: |r, _| r.job.ntasks.into() },
    Column { name: "ncores", header: "NCORES", value: |r, _| r.job.ncores.into() },
    Column { name: "nnodes", header: "NNODES", value: |r, _| r.nnodes().into() },
    Column { name: "ranks", header: "RANKS", value: |r, _| r.job.ranks.to_string().into() },
    Column { name: "nodelist", header: "NODELIST", value: |r, _| r.job.nodelist.as_str().into() },
    Column { name: "duration", header: "DURATION", value: |r, _| r.job.duration.into() },
    Column { name: "t_submit", header: "T_SUBMIT", value: |r, _| r.job.t_submit.into() },
    Column { name: "t_depend", header: "T_DEPEND", value: |r, _| time(r.job.t_depend) },
    Column { name: "t_priority", header: "T_PRIORITY", value: |r, _| time(r.job.t_priority) },
    Column { name: "t_sched", header: "T_SCHED", value: |r, _| time(r.job.t_sched) },
    Column { name: "t_run", header: "T_RUN", value: |r, _| time(r.job.t_run) },
    Column { name: "t_cleanup", header: "T_CLEANUP", value: |r, _| time(r.job.t_cleanup) },
    Column { name: "t_inactive", header: "T_INACTIVE", value: |r, _| time(r.job.t_inactive) },
    Column { name: "runtime", header: "RUNTIME", value: |r, _| r.runtime().into() },
    Column { name: "expiration", header: "EXPIRATION", value: |r, _| time(Some(r.job.expiration)) },
    Column { name: "t_remaining", header: "T_REMAINING", value: |r, _| r.remaining().into() },
    Column {
        name: "dependencies",
        header: "DEPENDENCIES",
        value: |r, _| r.job.dependencies.join(",").into(),
    },
    Column { name: "array", header: "ARRAY", value: |r, _| r.array().into() },
    Column {
        name: "array.id",
        header: "ARRAY_ID",
        value: |r, _| r.job.array.map(|array| r.view.script.id(array.id)).into(),
    },
    Column {
        name: "array.index",
        header: "ARRAY_IDX",
        value: |r, _| r.job.array.map(|array| array.index).into(),
    },
    Column { name: "number", header: "NUMBER", value: |r, _| r.job.number.into() },
    Column {
        name: "array.number",
        header: "ARRAY_NUM",
        value: |r, _| r.job.array.map(|array| array.number).into(),
    },
    Column {
        name: "retry_of",
        header: "RETRY_OF",
        value: |r, _| r.job.retry_of.map(|id| r.view.script.id(id)).into(),
    },
    Column { name: "contextual_info", header: "INFO", value: |r, _| r.info().into() },
    Column { name: "contextual_time", header: "TIME", value: |r, _| r.time().into() },
    Column { name: "uri", header: "URI", value: |r, _| r.annotation("user.uri") },
    // That is the only form there is.
    Column { name: "uri.local", header: "URI", value: |r, _| r.annotation("user.uri") },
    Column { name: "instance.stats", header: "STATS", value: |r, _| r.inside(|i| i.counts().into()) },
    Column { name: "instance.stats.total", header: "NJOBS", value: |r, _| r.inside(|i| i.total().into()) },
    Column { name: "instance.utilization", header: "CPU%", value: |r, _| r.inside(Inside::utilization) },
    Column {
        name: "instance.gpu_utilization",
        header: "GPU%",
        value: |r, _| r.inside(Inside::gpu_utilization),
    },
    Column { name: "instance.progress", header: "PROG", value: |r, _| r.inside(Inside::progress) },
    Column {
        name: "instance.resources.all.ncores",
        header: "CORES",
        value: |r, _| r.inside(|i| i.all().ncores().into()),
    },
    Column {
        name: "instance.resources.all.ngpus",
        header: "GPUS",
        value: |r, _| r.inside(|i| i.all().ngpus().into()),
    },
    Column {
        name: "instance.resources.all.nnodes",
        header: "NODES",
        value: |r, _| r.inside(|i| i.all().nnodes().into()),
    },
    Column {
        name: "instance.resources.up.ncores",
        header: "CORES",
        value: |r, _| r.inside(|i| i.up().ncores().into()),
    },
    Column {
        name: "instance.resources.up.ngpus",
        header: "GPUS",
        value: |r, _| r.inside(|i| i.up().ngpus().into()),
    },
    Column {
        name: "instance.resources.up.nnodes",
        header: "NODES",
        value: |r, _| r.inside(|i| i.up().nnodes().into()),
    },
    Column {
        name: "instance.resources.down.ncores",
        header: "CORES",
        value: |r, _| r.inside(|i| i.down().ncores().into()),
    },
    Column {
        name: "instance.resources.down.ngpus",
        header: "GPUS",
        value: |r, _| r.inside(|i| i.down().ngpus().into()),
    },
    Column {
        name: "instance.resources.down.nnodes",
        header: "NODES",
        value: |r, _| r.inside(|i| i.down().nnodes().into()),
    },
    Column {
        name: "instance.resources.allocated.ncores",
        header: "CORES",
        value: |r, _| r.inside(|i| i.allocated().ncores().into()),
    },
    Column {
        name: "instance.resources.allocated.ngpus",
        header: "GPUS",
        value: |r, _| r.inside(|i| i.allocated().ngpus().into()),
    },
    Column {
        name: "instance.resources.allocated.nnodes",
        header: "NODES",
        value: |r, _| r.inside(|i| i.allocated().nnodes().into()),
    },
    Column {
        name: "instance.resources.free.ncores",
        header: "CORES",
        value: |r, _| r.inside(|i| i.free().ncores().into()),
    },
    Column {
        name: "instance.resources.free.ngpus",
        header: "GPUS",
        value: |r, _| r.inside(|i| i.free().ngpus().into()),
    },
    Column {
        name: "instance.resources.free.nnodes",
        header: "NODES",
        value: |r, _| r.inside(|i| i.free().nnodes().into()),
    },
    Column { name: "annotations", header: "ANNOTATIONS", value: |r, _| r.annotation("") },
    Column { name: "annotations.", header: "ANNOTATIONS", value: |r, rest| r.annotation(rest) },
    Column { name: "sched", header: "SCHED", value: |r, _| r.annotation("sched") },
    Column { name: "user", header: "USER", value: |r, _| r.annotation("user") },
    Column { name: "sched.", header: "SCHED", value: |r, rest| r.annotation(&format!("sched.{rest}")) },
    Column { name: "user.", header: "USER", value: |r, rest| r.annotation(&format!("user.{rest}")) },
];

impl Row {
    pub fn status(&self) -> Status {
        Status::new(self.job.state, self.job.result)
    }

    /// The record with what is derived from it, in the shape that Flux gives it: what is unset is left out, but there
    /// are always annotations, and always the word whether there was an exception.
    pub fn json(&self) -> serde_json::Value {
        let mut value = serde_json::to_value(&self.job).expect("a record has string keys");
        let fields = value.as_object_mut().expect("a record is an object");
        fields.insert("id_f58".into(), self.job.id.f58().into());
        fields.insert("username".into(), self.username().into());
        fields.insert("status".into(), self.status().name().into());
        fields.insert("runtime".into(), self.runtime().into());
        fields.insert("t_remaining".into(), self.remaining().into());
        fields.insert("returncode".into(), self.returncode().into());
        fields.insert("nnodes".into(), self.nnodes().into());
        fields.insert("dependencies".into(), self.job.dependencies.as_slice().into());
        let zero_is_unset = |key: &str| key.starts_with("t_") || key == "runtime" || key == "expiration";
        fields.retain(|key, value| {
            let unset = zero_is_unset(key) && value.as_f64() == Some(0.0);
            !(unset || value.is_null() || value == "")
        });
        match fields.get_mut("exception") {
            Some(exception) => exception["occurred"] = true.into(),
            None => drop(fields.insert("exception".into(), json!({ "occurred": false }))),
        }
        let annotations = fields.entry("annotations").or_insert_with(|| json!({}));
        let user = annotations.get_mut("user").and_then(serde_json::Value::as_object_mut);
        // The address of an instance is a field of its own.
        if let Some(user) = user
            && let Some(uri) = user.remove("uri")
        {
            if user.is_empty() {
                drop(annotations.as_object_mut().and_then(|all| all.remove("user")));
            }
            fields.insert("uri".into(), uri);
        }
        value
    }

    /// Known once it has resources, or where it asks for nodes.
    fn nnodes(&self) -> Option<u32> {
        Some(self.job.nnodes).filter(|nnodes| *nnodes > 0)
    }

    /// Nobody knows before its end that there will be none.
    fn exception_occurred(&self) -> Option<bool> {
        let occurred = self.job.exception.is_some();
        (occurred || self.job.state == JobState::Inactive).then_some(occurred)
    }

    fn inside(&self, value: impl Fn(&Inside) -> Value) -> Value {
        self.inside.as_ref().map_or(Value::Empty, value)
    }

    /// The array and the index in it, as Slurm writes them.
    fn array(&self) -> Option<String> {
        self.job.array.map(|array| format!("{}_{}", self.view.script.id(array.id), array.index))
    }

    fn username(&self) -> String {
        match &self.view.owner {
            (uid, name) if *uid == self.job.userid => name.clone(),
            _ => out::user_name(self.job.userid),
        }
    }

    /// Seconds that the job has run, so far or in all.
    fn runtime(&self) -> f64 {
        let Some(start) = self.job.t_run else { return 0.0 };
        let end = self.job.t_cleanup.or(self.job.t_inactive).unwrap_or(self.view.now);
        end.secs_since(start).max(0.0)
    }

    /// Seconds until its time is up; 0 when it does not run or has no limit.
    fn remaining(&self) -> f64 {
        if self.job.state != JobState::Run || self.job.expiration.is_zero() {
            return 0.0;
        }
        self.job.expiration.secs_since(self.view.now).max(0.0)
    }

    fn time(&self) -> f64 {
        if self.job.state < JobState::Run { self.job.duration } else { self.runtime() }
    }

    /// Exit code, as a shell counts it: 128 and the signal where one ended its tasks.
    fn returncode(&self) -> Option<i64> {
        match (self.job.waitstatus, self.job.result) {
            (Some(status), _) => Some(exit_code(status).into()),
            (None, Some(JobResult::Canceled)) => Some(NEVER_STARTED),
            (None, Some(JobResult::Failed)) => Some(FAILED_EARLY),
            (None, Some(JobResult::Completed | JobResult::Timeout) | None) => None,
        }
    }

    fn inactive_reason(&self) -> Option<String> {
        let result = self.job.result.filter(|_| self.job.state == JobState::Inactive)?;
        let exception = self.job.exception.as_ref();
        Some(match result {
            JobResult::Timeout => "Timeout".to_owned(),
            JobResult::Canceled => match exception.map(|e| e.note.as_str()).filter(|note| !note.is_empty()) {
                Some(note) => format!("Canceled: {note}"),
                None => "Canceled".to_owned(),
            },
            JobResult::Completed | JobResult::Failed => match exception.filter(|e| e.kind != "exec") {
                Some(e) if e.note.is_empty() => format!("Exception: type={}", e.kind),
                Some(e) => format!("Exception: type={} note={}", e.kind, e.note),
                // What went wrong when it ran says its exit code.
                None => ended_as(self.returncode().unwrap_or(0)),
            },
        })
    }

    /// Why it waits, or where it runs.
    fn info(&self) -> String {
        let reason = || match self.annotation("sched.reason_pending") {
            Value::Text(text) => Some(text),
            Value::Empty | Value::Int(_) | Value::Float(_) | Value::Bool(_) => None,
        };
        match self.job.state {
            JobState::New => String::new(),
            JobState::Depend => format!("depends:{}", self.job.dependencies.join(",")),
            JobState::Priority if self.job.urgency == 0 => "held".to_owned(),
            JobState::Priority => "priority-wait".to_owned(),
            JobState::Sched if self.job.priority == 0 => "held".to_owned(),
            JobState::Sched => reason().unwrap_or_default(),
            JobState::Run | JobState::Cleanup | JobState::Inactive => self.job.nodelist.clone(),
        }
    }

    /// An annotation by its dotted path.
    fn annotation(&self, path: &str) -> Value {
        let keys = path.split('.').filter(|key| !key.is_empty());
        let found = keys.into_iter().try_fold(self.job.annotations.as_ref(), |at, key| Some(at?.get(key)));
        match found.flatten() {
            None | Some(serde_json::Value::Null) => Value::Empty,
            Some(serde_json::Value::String(text)) => text.as_str().into(),
            Some(serde_json::Value::Bool(truth)) => (*truth).into(),
            Some(serde_json::Value::Number(n)) => match n.as_i64() {
                Some(n) => n.into(),
                None => n.as_f64().into(),
            },
            Some(other) => other.to_string().into(),
        }
    }
}

/// An exit code in Flux's words, which are those of shells.
fn ended_as(code: i64) -> String {
    match code {
        126 => "Command invoked cannot execute".to_owned(),
        127 => "command not found".to_owned(),
        128 => "Invalid argument to exit".to_owned(),
        code => match i32::try_from(code).ok().and_then(signal_of) {
            Some(signum) => signals::describe(signum),
            None => format!("Exit {code}"),
        },
    }
}

/// A point in time; 0 stands for one that has not come.
fn time(time: Option<Timestamp>) -> Value {
    Value::Float(time.unwrap_or(Timestamp::ZERO).as_secs_f64())
}

fn emoji(status: Status) -> &'static str {
    match status {
        Status::State(JobState::New | JobState::Depend | JobState::Priority | JobState::Sched) => "⌛",
        Status::State(JobState::Run) => "🏃",
        Status::State(JobState::Cleanup | JobState::Inactive) => "🧹",
        Status::Result(JobResult::Completed) => "✅",
        Status::Result(JobResult::Failed) => "❌",
        Status::Result(JobResult::Canceled) => "🚫",
        Status::Result(JobResult::Timeout) => "⏰",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Format;

    fn row(record: &serde_json::Value) -> Row {
        let mut record_json = json!({
            "id": 16_777_219_079_u64, "userid": 4_294_967_290_u32, "urgency": 16, "priority": 16,
            "t_submit": 100.0, "state": "SCHED", "name": "solver", "cwd": "/", "ntasks": 4, "ncores": 4,
            "nnodes": 0, "duration": 3600.0,
        });
        let fields = record_json.as_object_mut().unwrap();
        for (key, value) in record.as_object().unwrap() {
            fields.insert(key.clone(), value.clone());
        }
        let view = View::new(Timestamp(200_000_000), Script { ascii: false });
        Row { job: serde_json::from_value(record_json).unwrap(), view: Rc::new(view), inside: None }
    }

    fn shown(format: &str, record: &serde_json::Value) -> String {
        let mut rows = [row(record)];
        let format = Format::parse(format, COLUMNS).unwrap();
        let mut out = Vec::new();
        format.print(&mut out, &mut rows, false, |_| None).unwrap();
        String::from_utf8(out).unwrap().trim_end().to_owned()
    }

    #[test]
    fn the_fields_say_what_a_job_is_doing() {
        let running = json!({ "state": "RUN", "t_run": 150.0, "nodelist": "n[1-2]", "expiration": 250.5 });
        let failed = json!({
            "state": "INACTIVE", "result": "FAILED", "waitstatus": 768, "success": false, "t_run": 150.0,
            "t_cleanup": 151.5,
        });
        let killed = json!({ "state": "INACTIVE", "result": "FAILED", "waitstatus": 35072 });
        let exec = json!({ "type": "exec", "severity": 0, "note": "nope: No such file or directory" });
        let nothing =
            json!({ "state": "INACTIVE", "result": "FAILED", "waitstatus": 32512, "exception": exec });
        let never = json!({ "type": "dependency", "severity": 0, "note": "never" });
        let refused = json!({ "state": "INACTIVE", "result": "FAILED", "exception": never });
        let canceled = json!({ "state": "INACTIVE", "result": "CANCELED" });
        let completed =
            json!({ "state": "INACTIVE", "result": "COMPLETED", "waitstatus": 0, "success": true });
        let exception = json!({ "type": "cancel", "severity": 0, "note": "" });
        let cancelled = json!({ "state": "INACTIVE", "result": "CANCELED", "exception": exception });
        let instance = json!({ "state": "RUN", "annotations": { "user": { "uri": "local:///x" } } });
        for (format, record, text) in [
            ("{id.f58:>12} {id.dec}", json!({}), "     ƒSZYdiv 16777219079"),
            ("{status} {status_abbrev} {result:h} {state_single}", json!({}), "SCHED S - S"),
            ("{contextual_time!F} {contextual_info:h}", json!({}), "1h -"),
            (
                "{contextual_info}",
                json!({ "annotations": { "sched": { "reason_pending": "queue stopped" } } }),
                "queue stopped",
            ),
            (
                "{contextual_info}",
                json!({ "state": "DEPEND", "dependencies": ["afterok=ƒ1"] }),
                "depends:afterok=ƒ1",
            ),
            ("{contextual_info}", json!({ "priority": 0 }), "held"),
            (
                "{contextual_time!F} {t_remaining!F} {contextual_info} {returncode:h}",
                running,
                "50s 50.5s n[1-2] -",
            ),
            (
                "{status} {returncode} {runtime:.1f} {inactive_reason} {success}",
                failed,
                "FAILED 3 1.5 Exit 3 False",
            ),
            ("{waitstatus} {returncode} {inactive_reason}", killed, "35072 137 Killed"),
            ("{returncode} {inactive_reason}", nothing, "127 command not found"),
            ("{returncode:h} {inactive_reason}", refused, "1 Exception: type=dependency note=never"),
            ("{returncode} {inactive_reason} {status_abbrev}", canceled, "-128 Canceled CA"),
            ("{username} {user.x:h} {ntasks:>3}", json!({}), "4294967290 -   4"),
            ("{t_run} {t_cleanup} {t_inactive} {expiration} {t_run:h}", json!({}), "0.0 0.0 0.0 0.0 -"),
            ("<{nnodes}> {nnodes:h} <{exception.occurred}> {exception.occurred:h}", json!({}), "<> - <> -"),
            ("{waitstatus:h},{returncode:h} {exception.occurred}", completed, "0,0 False"),
            ("{exception.severity:h} {exception.occurred}", cancelled, "0 True"),
            ("{uri.local} {user} {sched:h}", instance, "local:///x {\"uri\":\"local:///x\"} -"),
        ] {
            assert_eq!(shown(format, &record), text, "{format}");
        }
    }

    #[test]
    fn json_has_the_shape_of_flux() {
        let json = |record: serde_json::Value| row(&record).json();
        let waits = json(json!({}));
        assert_eq!((&waits["exception"], &waits["annotations"]), (&json!({ "occurred": false }), &json!({})));
        assert_eq!((&waits["dependencies"], &waits["duration"]), (&json!([]), &json!(3600.0)));
        for unset in
            ["bank", "queue", "returncode", "expiration", "runtime", "t_remaining", "t_run", "nnodes", "uri"]
        {
            assert_eq!(waits.get(unset), None, "{unset}");
        }
        let exception = json!({ "type": "cancel", "severity": 0, "note": "" });
        let ended = json(json!({ "state": "INACTIVE", "result": "CANCELED", "exception": exception }));
        assert_eq!(
            ended["exception"],
            json!({ "occurred": true, "type": "cancel", "severity": 0, "note": "" })
        );
        let said = json!({ "user": { "uri": "local:///x" }, "sched": { "queue": 1 } });
        let instance = json(json!({ "state": "RUN", "annotations": said }));
        assert_eq!(
            (&instance["uri"], &instance["annotations"]),
            (&json!("local:///x"), &json!({ "sched": { "queue": 1 } }))
        );
    }
}
