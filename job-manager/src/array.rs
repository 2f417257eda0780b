//! An array as the one thing that others wait for: a dependency on its first job means all of them, as Slurm's users
//! expect.

use crate::depend::Course;
use flurm_types::{JobId, JobResult};

/// How far the jobs of one array are.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Crowd {
    /// Slurm's number of the first one.
    pub number: u32,
    /// As the submitter has counted them, who may still be submitting; 0 if nobody has.
    count: u32,
    members: u32,
    forgotten: u32,
    started: u32,
    ended: u32,
    completed: u32,
    /// One of them has ended by a fatal exception.
    excepted: bool,
}

impl Crowd {
    /// `number` if it is the first one.
    pub fn join(&mut self, count: Option<u32>, number: Option<u32>) {
        self.number = number.unwrap_or(self.number);
        self.count = count.unwrap_or(0).max(self.count);
        self.members += 1;
    }

    /// One of them has started, or has ended.
    pub fn note(&mut self, course: Course) {
        match course.result {
            None => self.started += u32::from(course.started),
            Some(result) => {
                self.ended += 1;
                self.completed += u32::from(result == JobResult::Completed);
                self.excepted |= course.excepted;
            }
        }
    }

    /// One of them is forgotten; was it the last?
    pub fn forget(&mut self) -> bool {
        self.forgotten += 1;
        self.forgotten >= self.members
    }

    /// All of them as if they were one job: started when the last has, over when the last is, good if all were.
    pub fn course(&self, first: JobId) -> Course {
        let size = self.members.max(self.count);
        let good = if self.completed == size { JobResult::Completed } else { JobResult::Failed };
        Course {
            id: first,
            started: self.started >= size,
            result: (self.ended >= size).then_some(good),
            excepted: self.excepted,
        }
    }
}
