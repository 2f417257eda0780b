//! One rank's part in the collectives of a job, without messages or clocks.
//!
//! ```text
//!           own part given and all children's parts here
//! gathering ------------------------------------------------> asked the parent --answer--> gathering the next one
//!     |                                                       (the root needs no answer)
//!     `--a child has left, the parent refuses, too much data--> failed, for good
//! ```

use flurm_wire::shell::Part;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Children of one shell in the tree: the overlay's default, so that on a whole instance both trees are the same.
pub const FANOUT: usize = 32;

/// What all shells give to one collective, as it travels: half of what a message may hold.
const BYTES_MAX: usize = 32 << 20;

/// Collectives of different names in one job: communicators that exchange something on their own.
const NAMES_MAX: usize = 4096;

/// Of all collectives of a job. `W` is who waits for an answer: a child's message.
#[derive(Debug)]
pub struct Collectives<W> {
    /// Our index in R.
    me: u32,
    by_name: BTreeMap<String, Collective<W>>,
    /// Whose tasks have ended, and why.
    left: BTreeMap<u32, String>,
}

#[derive(Debug)]
struct Collective<W> {
    /// How many are through; the next one has this number.
    done: u64,
    /// The next one, once our own part is given: who takes part, by index in R.
    members: Option<Vec<u32>>,
    parts: Vec<Part>,
    bytes: usize,
    came: BTreeMap<u32, W>,
    asked: bool,
    /// Of the one before: whose answer is lost asks again.
    last: Option<Arc<RawValue>>,
    failed: Option<String>,
    /// Our parent in the latest that we have entered, which may wait for us in the next one.
    above: Option<u32>,
}

/// What is to be done now.
#[derive(Debug)]
pub enum Step<W> {
    /// Others are still missing.
    Wait,
    /// Send this to the shell with that index.
    Ask { to: u32, seq: u64, parts: Vec<Part> },
    /// We are the root: all is here.
    Through { parts: Vec<Part>, waiting: Vec<W> },
    /// The asker has missed the answer.
    Again(W, Arc<RawValue>),
    /// This one cannot be answered.
    Refuse(W, String),
    /// The collective will never be through.
    Fail(Failure<W>),
}

/// Who has to be told that a collective cannot be completed.
#[derive(Debug)]
pub struct Failure<W> {
    pub name: String,
    pub why: String,
    /// Our own tasks wait in it.
    pub own: bool,
    pub waiting: Vec<W>,
    /// The parent does not know.
    pub parent: Option<u32>,
}

impl<W> Default for Collective<W> {
    fn default() -> Self {
        Collective {
            done: 0,
            members: None,
            parts: Vec::new(),
            bytes: 0,
            came: BTreeMap::new(),
            asked: false,
            last: None,
            failed: None,
            above: None,
        }
    }
}

/// Parent of `me` in the tree over the members; none for the root.
pub fn parent(members: &[u32], me: u32) -> Option<u32> {
    let at = members.binary_search(&me).ok()?;
    (at > 0).then(|| members[(at - 1) / FANOUT])
}

fn children(members: &[u32], me: u32) -> &[u32] {
    let Ok(at) = members.binary_search(&me) else { return &[] };
    let end = members.len();
    &members[(at * FANOUT + 1).min(end)..((at + 1) * FANOUT + 1).min(end)]
}

impl<W> Collectives<W> {
    pub fn new(me: u32) -> Collectives<W> {
        Collectives { me, by_name: BTreeMap::new(), left: BTreeMap::new() }
    }

    /// Our own part; `members` ascend and hold us.
    ///
    /// # Errors
    /// It cannot be entered, and nobody else has to hear of it.
    pub fn enter(&mut self, name: &str, members: Vec<u32>, data: String) -> Result<Step<W>, String> {
        let me = self.me;
        let one = self.named(name).ok_or("too many collectives of different names")?;
        if let Some(why) = one.failed.clone() {
            one.members = Some(members);
            return Ok(Step::Fail(one.fail(name, me, why)));
        }
        if one.members.is_some() {
            return Err(format!("the collective `{name}` is under way already"));
        }
        if members.binary_search(&me).is_err() {
            return Err(format!("rank {me} of the job does not take part in `{name}`"));
        }
        one.above = parent(&members, me);
        one.members = Some(members);
        one.add(vec![Part(me, data)]);
        Ok(self.look(name))
    }

    /// A child's parts of the collective `seq`.
    pub fn part(&mut self, name: &str, seq: u64, from: u32, parts: Vec<Part>, who: W) -> Step<W> {
        let Some(one) = self.named(name) else {
            return Step::Refuse(who, "too many collectives of different names".into());
        };
        if let Some(why) = &one.failed {
            return Step::Refuse(who, why.clone());
        }
        match &one.last {
            Some(last) if seq.checked_add(1) == Some(one.done) => return Step::Again(who, Arc::clone(last)),
            _ if seq != one.done => {
                let text = format!("collective {seq} of `{name}` is over, {} is the next one", one.done);
                return Step::Refuse(who, text);
            }
            _ => {}
        }
        // Asked again over a connection that was lost: the parts are the same, who waits is another.
        if one.came.insert(from, who).is_none() {
            one.add(parts);
        }
        self.look(name)
    }

    /// The parent's answer to what we have asked.
    pub fn answered(&mut self, name: &str, seq: u64, answer: Arc<RawValue>) -> Option<Vec<W>> {
        let one = self.by_name.get_mut(name).filter(|one| one.asked && one.done == seq)?;
        one.members = None;
        Some(one.over(Some(answer)))
    }

    /// The parent has refused for good.
    pub fn refused(&mut self, name: &str, seq: u64, why: String) -> Option<Failure<W>> {
        let one = self.by_name.get_mut(name).filter(|one| one.asked && one.done == seq)?;
        Some(Failure { parent: None, ..one.fail(name, self.me, why) })
    }

    /// A child says that `name` cannot be completed (none: nor any other, its tasks have ended).
    pub fn lost(&mut self, from: u32, name: Option<&str>, why: &str) -> Vec<Failure<W>> {
        match name {
            Some(name) => {
                let me = self.me;
                let one = self.named(name).filter(|one| one.failed.is_none());
                one.map(|one| one.fail(name, me, why.to_owned())).into_iter().collect()
            }
            None => {
                self.left.insert(from, why.to_owned());
                let names: Vec<String> = self.by_name.keys().cloned().collect();
                names.iter().filter_map(|name| self.missing(name)).collect()
            }
        }
    }

    /// Our own tasks have ended: the children that wait for them, and the parents that may.
    pub fn leave(&mut self, why: &str) -> (Vec<W>, BTreeSet<u32>) {
        let entered = std::mem::take(&mut self.by_name);
        let above = entered.values().filter_map(|one| one.above).collect();
        self.left.insert(self.me, why.to_owned());
        (entered.into_values().flat_map(|one| one.came.into_values()).collect(), above)
    }

    /// Why no part can be taken any more.
    pub fn is_left(&self) -> Option<&str> {
        self.left.get(&self.me).map(String::as_str)
    }

    fn named(&mut self, name: &str) -> Option<&mut Collective<W>> {
        if !self.by_name.contains_key(name) {
            if self.by_name.len() >= NAMES_MAX {
                return None;
            }
            self.by_name.insert(name.to_owned(), Collective::default());
        }
        self.by_name.get_mut(name)
    }

    /// A child that will not come any more.
    fn missing(&mut self, name: &str) -> Option<Failure<W>> {
        let one = self.by_name.get_mut(name)?;
        let members = one.members.as_ref().filter(|_| !one.asked)?;
        let gone = children(members, self.me)
            .iter()
            .filter(|child| !one.came.contains_key(child))
            .find_map(|child| self.left.get(child))?;
        Some(one.fail(name, self.me, gone.clone()))
    }

    fn look(&mut self, name: &str) -> Step<W> {
        if let Some(failure) = self.missing(name) {
            return Step::Fail(failure);
        }
        let Some(one) = self.by_name.get_mut(name) else { return Step::Wait };
        if one.bytes > BYTES_MAX {
            let why = format!("the tasks exchange more than {} MiB at once", BYTES_MAX >> 20);
            return Step::Fail(one.fail(name, self.me, why));
        }
        let Some(members) = one.members.as_ref().filter(|_| !one.asked) else { return Step::Wait };
        if children(members, self.me).iter().any(|child| !one.came.contains_key(child)) {
            return Step::Wait;
        }
        match parent(members, self.me) {
            Some(to) => {
                one.asked = true;
                one.bytes = 0;
                Step::Ask { to, seq: one.done, parts: std::mem::take(&mut one.parts) }
            }
            None => {
                let mut parts = std::mem::take(&mut one.parts);
                parts.sort_by_key(|part| part.0);
                one.members = None;
                let waiting = one.over(None);
                Step::Through { parts, waiting }
            }
        }
    }

    /// What `Through` has given, kept for a child that does not get it.
    pub fn keep(&mut self, name: &str, answer: Arc<RawValue>) {
        if let Some(one) = self.by_name.get_mut(name) {
            one.last = Some(answer);
        }
    }
}

impl<W> Collective<W> {
    fn add(&mut self, parts: Vec<Part>) {
        self.bytes += parts.iter().map(|part| part.1.len()).sum::<usize>();
        self.parts.extend(parts);
    }

    /// The next one begins.
    fn over(&mut self, last: Option<Arc<RawValue>>) -> Vec<W> {
        self.done += 1;
        (self.asked, self.bytes, self.last) = (false, 0, last);
        std::mem::take(&mut self.came).into_values().collect()
    }

    fn fail(&mut self, name: &str, me: u32, why: String) -> Failure<W> {
        self.failed = Some(why.clone());
        self.parts = Vec::new();
        let members = self.members.take();
        Failure {
            name: name.to_owned(),
            why,
            own: members.is_some(),
            waiting: std::mem::take(&mut self.came).into_values().collect(),
            // Without a part of our own we do not know the tree yet; the parent is told when it comes.
            parent: members.and_then(|members| parent(&members, me)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All shells of a job, and messages between them that arrive in any order.
    struct Job {
        shells: Vec<Collectives<u32>>,
        members: Vec<u32>,
        asked: Vec<(u32, u32, u64, Vec<Part>)>,
        results: BTreeMap<u32, Vec<Part>>,
        failures: BTreeMap<u32, String>,
        most_at_one: BTreeMap<u32, usize>,
    }

    impl Job {
        fn of(n: u32, members: impl Iterator<Item = u32>) -> Job {
            Job {
                shells: (0..n).map(Collectives::new).collect(),
                members: members.collect(),
                asked: Vec::new(),
                results: BTreeMap::new(),
                failures: BTreeMap::new(),
                most_at_one: BTreeMap::new(),
            }
        }

        fn enter(&mut self, at: u32) {
            let step = self.shells[at as usize].enter("x", self.members.clone(), format!("of {at}"));
            self.step(at, step.expect("nothing is wrong"));
        }

        fn step(&mut self, at: u32, step: Step<u32>) {
            match step {
                Step::Wait => {}
                Step::Ask { to, seq, parts } => self.asked.push((at, to, seq, parts)),
                Step::Through { parts, waiting } => self.through(at, parts, waiting),
                Step::Fail(failure) => self.fail(at, failure),
                Step::Refuse(child, why) => {
                    let failure = self.shells[child as usize].refused("x", 0, why);
                    self.fail(child, failure.expect("it has asked"));
                }
                other => panic!("{other:?}"),
            }
        }

        fn through(&mut self, at: u32, parts: Vec<Part>, waiting: Vec<u32>) {
            for child in waiting {
                let raw = serde_json::value::to_raw_value(&parts).expect("JSON").into();
                let below = self.shells[child as usize].answered("x", 0, raw).expect("it has asked");
                self.through(child, parts.clone(), below);
            }
            self.results.insert(at, parts);
        }

        fn fail(&mut self, at: u32, failure: Failure<u32>) {
            self.failures.insert(at, failure.why.clone());
            for child in failure.waiting {
                if let Some(failure) = self.shells[child as usize].refused("x", 0, failure.why.clone()) {
                    self.fail(child, failure);
                }
            }
            if let Some(parent) = failure.parent {
                for failure in self.shells[parent as usize].lost(at, Some("x"), &failure.why) {
                    self.fail(parent, failure);
                }
            }
        }

        fn deliver(&mut self) {
            while let Some((from, to, seq, parts)) = self.asked.pop() {
                *self.most_at_one.entry(to).or_default() += 1;
                let step = self.shells[to as usize].part("x", seq, from, parts, from);
                self.step(to, step);
            }
        }
    }

    #[test]
    fn all_get_what_all_have_given_and_nobody_hears_more_than_its_children() {
        for (n, members) in [(1024u32, (0..1024).collect()), (2000, (3..2000).step_by(3).collect::<Vec<_>>())]
        {
            let mut job = Job::of(n, members.iter().copied());
            let (early, late) = members.split_at(members.len() / 2);
            late.iter().rev().for_each(|at| job.enter(*at));
            job.deliver();
            early.iter().for_each(|at| job.enter(*at));
            job.deliver();
            assert_eq!(job.results.len(), members.len());
            let expected: Vec<Part> = members.iter().map(|at| Part(*at, format!("of {at}"))).collect();
            assert!(job.results.values().all(|parts| *parts == expected));
            assert!(job.most_at_one.values().all(|n| *n <= FANOUT));
        }
    }

    #[test]
    fn one_that_leaves_fails_it_for_all_with_its_reason() {
        // 40 hangs below 1, which waits for it.
        for before in [true, false] {
            let mut job = Job::of(100, 0..100);
            if before {
                assert!(job.shells[1].lost(40, None, "gone").is_empty(), "nobody waits yet");
            }
            (0..100).filter(|at| *at != 40).for_each(|at| job.enter(at));
            job.deliver();
            if !before {
                let failures = job.shells[1].lost(40, None, "gone");
                failures.into_iter().for_each(|failure| job.fail(1, failure));
            }
            assert_eq!(job.failures.len(), 99);
            assert!(job.failures.values().all(|why| why == "gone"));
            assert!(matches!(job.shells[1].part("x", 0, 41, Vec::new(), 41), Step::Refuse(41, _)));
            let again = job.shells[1].enter("x", vec![0, 1], String::new());
            assert!(matches!(again, Ok(Step::Fail(Failure { own: true, parent: Some(0), .. }))), "{again:?}");
        }
    }

    #[test]
    fn who_has_missed_the_answer_gets_it_again_and_parts_do_not_count_twice() {
        let mut root = Collectives::new(0);
        let part = || vec![Part(1, "a".into())];
        assert!(matches!(root.part("x", 0, 1, part(), "first"), Step::Wait));
        assert!(matches!(root.part("x", 0, 1, part(), "second"), Step::Wait));
        let Ok(Step::Through { parts, waiting }) = root.enter("x", vec![0, 1], "b".into()) else { panic!() };
        assert_eq!((parts, waiting), (vec![Part(0, "b".into()), Part(1, "a".into())], vec!["second"]));
        root.keep("x", serde_json::value::to_raw_value("answer").expect("JSON").into());
        assert!(matches!(root.part("x", 0, 1, part(), "third"), Step::Again("third", _)));
        assert!(matches!(root.part("x", 1, 1, part(), "next"), Step::Wait));
        assert!(matches!(root.part("x", 7, 2, part(), "odd"), Step::Refuse("odd", _)));
        assert!(matches!(root.part("y", 0, 1, part(), "other"), Step::Wait));
        let odd = root.part("x", u64::MAX, 2, part(), "odd");
        assert!(matches!(odd, Step::Refuse("odd", _)), "{odd:?}");
        assert_eq!((root.leave("over").0.len(), root.is_left()), (2, Some("over")));
    }

    #[test]
    fn who_leaves_knows_every_parent_that_may_wait() {
        let mut one: Collectives<()> = Collectives::new(40);
        let all = one.enter("all", (0..100).collect(), String::new());
        assert!(matches!(all, Ok(Step::Ask { to: 1, .. })), "{all:?}");
        let some = one.enter("some", vec![7, 40], String::new());
        assert!(matches!(some, Ok(Step::Ask { to: 7, .. })), "{some:?}");
        // It is over, and may come again.
        one.answered("some", 0, serde_json::value::to_raw_value("").expect("JSON").into());
        assert_eq!(one.leave("over").1, BTreeSet::from([1, 7]));
    }

    #[test]
    fn too_much_is_refused() {
        let mut root = Collectives::new(0);
        let much = vec![Part(1, "x".repeat(BYTES_MAX + 1))];
        let Step::Fail(failure) = root.part("x", 0, 1, much, 1) else { panic!() };
        assert_eq!((failure.waiting, failure.own), (vec![1], false));
        let Ok(Step::Fail(failure)) = root.enter("x", vec![0, 1], String::new()) else { panic!() };
        assert!(failure.own && failure.why.contains("32 MiB"), "{failure:?}");
    }
}
