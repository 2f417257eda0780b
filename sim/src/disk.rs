//! The log of rank 0: records as bytes, written in groups, torn by a crash.

use crate::rng::Rng;
use flurm_types::JobId;
use flurm_wire::fact::{Fact, decode_record, encode_record};
use std::collections::{BTreeMap, VecDeque};

#[derive(Debug, Default)]
pub struct Disk {
    durable: Vec<Vec<u8>>,
    pending: VecDeque<Vec<u8>>,
    /// Records of the write under way.
    writing: usize,
    /// Files of jobs. What is proposed is in them at once, as it may be after a crash.
    spills: BTreeMap<JobId, Vec<u8>>,
}

impl Disk {
    /// Takes a proposal; tells whether a write must be begun for it.
    pub fn propose(&mut self, facts: &[Fact]) -> bool {
        self.pending.push_back(encode_record(facts));
        for fact in facts {
            let Fact::Job(fact) = fact else { continue };
            if let Some(spilled) = &fact.spilled {
                let file = self.spills.entry(fact.id).or_default();
                file.truncate(spilled.offset as usize);
                file.extend_from_slice(&spilled.frames);
            }
        }
        let idle = self.writing == 0;
        if idle {
            self.writing = self.pending.len();
        }
        idle
    }

    /// The write under way has reached the disk: its records with their indices, and whether another one begins.
    pub fn written(&mut self) -> (Vec<(u64, Vec<Fact>)>, bool) {
        let mut done = Vec::new();
        for _ in 0..self.writing {
            let record = self.pending.pop_front().expect("what is being written was pending");
            done.push((self.durable.len() as u64 + 1, read(&record)));
            self.durable.push(record);
        }
        self.writing = self.pending.len();
        (done, self.writing > 0)
    }

    /// The process is killed: of what was being written some records are there, and perhaps half of one more.
    /// Gives back the ones that made it.
    pub fn crash(&mut self, rng: &mut Rng) -> Vec<Vec<Fact>> {
        let survive = rng.range(0, self.writing as u64 + 1) as usize;
        let saved: Vec<Vec<u8>> = self.pending.drain(..survive).collect();
        if let Some(torn) = self.pending.front() {
            let half = &torn[..rng.range(0, torn.len() as u64) as usize];
            assert!(decode_record(half).is_err(), "half a record is read as a whole one");
        }
        self.pending.clear();
        self.writing = 0;
        let facts = saved.iter().map(|record| read(record)).collect();
        self.durable.extend(saved);
        facts
    }

    /// A piece of a job's file.
    pub fn read_spill(&self, id: JobId, offset: u64, len: usize) -> Result<Vec<u8>, String> {
        let file = self.spills.get(&id).ok_or("no such file")?;
        let rest = &file[file.len().min(offset as usize)..];
        Ok(rest[..rest.len().min(len)].to_vec())
    }

    /// Everything that a broker which starts now reads.
    pub fn read_all(&self) -> impl Iterator<Item = (u64, Vec<Fact>)> + '_ {
        (1..).zip(&self.durable).map(|(index, record)| (index, read(record)))
    }
}

fn read(record: &[u8]) -> Vec<Fact> {
    decode_record(record).expect("we wrote it")
}
