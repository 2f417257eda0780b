//! A job as listings show it (names are RFC 43's).

use crate::event::Event;
use crate::job::{Job, Line};
use flurm_types::{JobState, Timestamp};
use flurm_wire::job::{JobArray, JobRecord};

/// When each state was entered first.
#[derive(Default)]
struct Times {
    depend: Option<Timestamp>,
    priority: Option<Timestamp>,
    sched: Option<Timestamp>,
    run: Option<Timestamp>,
    cleanup: Option<Timestamp>,
    inactive: Option<Timestamp>,
}

impl Times {
    fn of(job: &Job) -> Times {
        let mut times = Times::default();
        for (time, line) in &job.log {
            let entered = match line {
                Line::Submit => continue,
                Line::Alloc(_) => &mut times.run,
                Line::Event(event) => match event {
                    Event::Validate => &mut times.depend,
                    Event::Depend => &mut times.priority,
                    Event::Priority(_) => &mut times.sched,
                    Event::Finish(_) => &mut times.cleanup,
                    Event::Exception(raised) if raised.is_fatal() => &mut times.cleanup,
                    Event::Clean => &mut times.inactive,
                    _ => continue,
                },
            };
            entered.get_or_insert(*time);
        }
        times
    }
}

impl Job {
    /// When the job became INACTIVE.
    pub fn t_inactive(&self) -> Option<Timestamp> {
        (self.state() == JobState::Inactive).then(|| Times::of(self).inactive).flatten()
    }

    pub fn record(&self) -> JobRecord {
        let times = Times::of(self);
        let brief = self.brief();
        let placed = self.placed();
        let result = self.result();
        let text = |text: &str| text.to_owned();
        JobRecord {
            id: self.id(),
            number: self.number(),
            userid: self.userid(),
            urgency: self.urgency().get(),
            priority: self.priority(),
            t_submit: self.t_submit(),
            t_depend: times.depend,
            t_priority: times.priority,
            t_sched: times.sched,
            t_run: times.run,
            t_cleanup: times.cleanup,
            t_inactive: times.inactive,
            state: self.state(),
            name: text(&brief.name),
            cwd: text(&brief.cwd),
            queue: text(&brief.queue),
            project: text(&brief.project),
            bank: text(&brief.bank),
            ntasks: brief.ntasks,
            ncores: placed.map_or(brief.ncores, |p| p.ncores),
            nnodes: placed.map_or(brief.nnodes, |p| u32::try_from(p.ranks.len()).unwrap_or(u32::MAX)),
            ranks: placed.map(|p| p.ranks.clone()).unwrap_or_default(),
            nodelist: placed.map(|p| text(&p.nodelist)).unwrap_or_default(),
            duration: brief.duration,
            expiration: placed.map_or(Timestamp::ZERO, |p| p.expiration),
            success: result.map(|r| r == flurm_types::JobResult::Completed),
            result,
            waitstatus: self.status(),
            exception: self.exception().cloned(),
            annotations: self.annotations(),
            dependencies: self.dependencies(),
            array: brief.array.map(|array| JobArray {
                id: array.id.unwrap_or(self.id()),
                index: array.index,
                throttle: array.throttle,
                number: self.number(),
            }),
            retry_of: brief.retry_of,
            slurm: brief.slurm,
            within: brief.within,
        }
    }
}
