//! What real slurmdbds of eight releases answered `sacct`, asked of ours: the same jobs are chosen, with the same steps.

#[path = "../../slurm-protocol/tests/frames/mod.rs"]
mod frames;

use flurm_slurm_protocol::structures::{DbJobCond, DbJobRec};
use flurm_slurm_protocol::{Body, Limits, persist};
use flurm_slurm_service::translate::account::Selection;
use frames::Framing;

/// Each question with its answer, in order, and all jobs of the longest answer.
struct Release {
    asked: Vec<(DbJobCond, Vec<DbJobRec>)>,
    all: Vec<DbJobRec>,
}

fn captured(release: &str) -> Release {
    let mut found = Release { asked: Vec::new(), all: Vec::new() };
    let mut open = None;
    for frame in frames::of(release).iter().filter(|frame| frame.framing == Framing::Persist) {
        let body = persist::read(&frame.bytes, frame.version, &Limits::default()).expect("a real frame");
        assert_eq!(body.name(), frame.name);
        match body {
            Body::DbdGetJobsCond(question) => open = Some(question.cond),
            Body::DbdGotJobs(answer) => {
                let jobs = answer.my_list.unwrap_or_default();
                if let Some(question) = open.take() {
                    found.asked.push((question, jobs.clone()));
                }
                let steps =
                    |jobs: &[DbJobRec]| jobs.iter().filter_map(|job| job.step.as_ref()).flatten().count();
                if steps(&jobs) > steps(&found.all) {
                    found.all = jobs;
                }
            }
            _ => {}
        }
    }
    found
}

fn chosen(cond: &DbJobCond, jobs: &[DbJobRec]) -> Vec<DbJobRec> {
    let selection = Selection::new(cond);
    jobs.iter().cloned().filter_map(|job| selection.keep(job)).collect()
}

#[test]
fn what_slurmdbd_chose_is_chosen_and_left_as_it_is() {
    for release in frames::releases() {
        let captured = captured(&release);
        assert_eq!(captured.asked.len(), 3, "{release}");
        for (cond, answer) in &captured.asked {
            assert_eq!(&chosen(cond, answer), answer, "{release}: {cond:?}");
        }
    }
}

#[test]
fn of_all_jobs_the_named_ones_are_chosen() {
    for release in frames::releases() {
        let captured = captured(&release);
        let (cond, answer) = &captured.asked[2];
        assert!(captured.all.len() > answer.len(), "{release}");
        let ids = |jobs: &[DbJobRec]| jobs.iter().map(|job| job.jobid).collect::<Vec<_>>();
        assert_eq!(ids(&chosen(cond, &captured.all)), ids(answer), "{release}");
    }
}

#[test]
fn each_condition_leaves_those_it_fits() {
    let captured = captured("22.05.8");
    let all = &captured.all;
    let base = DbJobCond { flags: captured.asked[0].0.flags, ..DbJobCond::default() };
    let count = |cond: DbJobCond| chosen(&cond, all).len();
    let by_hand = |fits: &dyn Fn(&DbJobRec) -> bool| all.iter().filter(|job| fits(job)).count();
    let list = |texts: &[&str]| Some(texts.iter().map(|text| (*text).into()).collect());
    assert_eq!(count(base.clone()), all.len());
    let cases: Vec<(&str, DbJobCond, usize)> = vec![
        ("user", DbJobCond { userid_list: list(&["4711"]), ..base.clone() }, 0),
        (
            "group",
            DbJobCond { groupid_list: list(&["3001"]), ..base.clone() },
            by_hand(&|job| job.gid == 3001),
        ),
        (
            "account",
            DbJobCond { acct_list: list(&["acc1"]), ..base.clone() },
            by_hand(&|job| job.account == *"acc1"),
        ),
        (
            "name",
            DbJobCond { jobname_list: list(&["zap", "wrap"]), ..base.clone() },
            by_hand(&|job| job.jobname == *"zap" || job.jobname == *"wrap"),
        ),
        ("partition", DbJobCond { partition_list: list(&["nope"]), ..base.clone() }, 0),
        ("cluster", DbJobCond { cluster_list: list(&["other"]), ..base.clone() }, 0),
        ("qos", DbJobCond { qos_list: list(&["1"]), ..base.clone() }, by_hand(&|job| job.qosid == 1)),
        ("reservation", DbJobCond { resv_list: list(&["r"]), ..base.clone() }, 0),
        (
            "exactly two nodes",
            DbJobCond { nodes_min: 2, ..base.clone() },
            by_hand(&|job| job.alloc_nodes == 2),
        ),
        (
            "one or two nodes",
            DbJobCond { nodes_min: 1, nodes_max: 2, ..base.clone() },
            by_hand(&|job| (1..=2).contains(&job.alloc_nodes)),
        ),
        (
            "cpus",
            DbJobCond { cpus_min: 2, cpus_max: 8, ..base.clone() },
            by_hand(&|job| (2..=8).contains(&job.req_cpus)),
        ),
        ("backfill", DbJobCond { db_flags: 8, ..base.clone() }, by_hand(&|job| job.flags & 8 != 0)),
        ("failed", DbJobCond { state_list: list(&["5"]), ..base.clone() }, by_hand(&|job| job.state == 5)),
        (
            "failed or cancelled",
            DbJobCond { state_list: list(&["5", "4"]), ..base.clone() },
            by_hand(&|job| matches!(job.state, 4 | 5)),
        ),
        (
            "ended before it was asked",
            DbJobCond { usage_start: i64::MAX, ..base.clone() },
            by_hand(&|job| job.end == 0),
        ),
        ("not there yet", DbJobCond { usage_end: 1, ..base.clone() }, 0),
        (
            "on a host",
            DbJobCond { used_nodes: "lab[3,9]".into(), ..base.clone() },
            by_hand(&|job| job.nodes.lossy().contains('3') || job.nodes == *"lab[2-4]"),
        ),
    ];
    for (what, cond, expected) in cases {
        assert_eq!(count(cond), expected, "{what}");
        assert!(expected < all.len(), "{what} leaves something out");
    }
}

#[test]
fn a_step_that_is_named_comes_without_the_others() {
    let captured = captured("22.05.8");
    let (job, step) = captured
        .all
        .iter()
        .find_map(|job| job.step.as_ref().filter(|steps| steps.len() > 1).map(|steps| (job, &steps[1])))
        .expect("a job of several steps");
    let named = flurm_slurm_protocol::structures::SelectedStep {
        step_id: step.step_id.clone(),
        array_task_id: flurm_slurm_protocol::NO_VAL,
        het_job_offset: flurm_slurm_protocol::NO_VAL,
        ..Default::default()
    };
    let cond = DbJobCond { job: Some(vec![named]), flags: 4, ..DbJobCond::default() };
    let found = chosen(&cond, &captured.all);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].jobid, found[0].show_full), (job.jobid, 0));
    assert_eq!(found[0].step.as_deref(), Some(std::slice::from_ref(step)));
}

#[test]
fn with_truncation_a_job_lasts_as_long_as_the_time_that_is_asked_for() {
    let captured = captured("22.05.8");
    let long = captured.all.iter().max_by_key(|job| job.elapsed).expect("jobs");
    assert!(long.elapsed >= 10 && long.end == long.start + i64::from(long.elapsed), "{long:?}");
    let cond = DbJobCond { usage_start: long.start + 2, usage_end: long.end - 3, ..DbJobCond::default() };
    let [cut] = &chosen(&cond, std::slice::from_ref(long))[..] else { panic!("one job") };
    assert_eq!((cut.start, cut.end, cut.elapsed), (long.start + 2, 0, long.elapsed - 5));
}
