//! Who hinders whom how much: run time beside another by run time alone, by what jobs stress.
//!
//! Run times are compared for jobs that have half of the cores of each of their sockets, with the other half idle or
//! full of the other one. A table knows three kinds of pairs, and the later ones win: our guesses, what a site says in a
//! file, and what was learnt from runs.
//!
//! ```toml
//! unknown = 1.3           # for pairs that nobody knows
//! [slowdown.memory]       # who
//! memory = 1.9            # beside whom: takes 1.9 times as long
//! compute = 1.15
//! ```

use std::collections::BTreeMap;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// How much longer jobs run beside others, by what they stress.
#[derive(Debug, Clone, PartialEq)]
pub struct SlowDowns {
    /// Run time beside another by run time alone.
    said: Pairs,
    learnt: Pairs,
    /// For pairs that nobody knows.
    unknown: f64,
}

/// By who, then by beside whom, to be looked up without a copy of the names.
type Pairs = BTreeMap<String, BTreeMap<String, f64>>;

/// Longest file that is read, in bytes.
const LEN_MAX: usize = 1 << 16;

/// Most classes that a file tells of.
const CLASSES_MAX: usize = 256;

/// Nobody is slowed down more than that; the two had better not meet at all.
const FACTOR_MAX: f64 = 1000.0;

/// A table that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read table of slow-downs at line {line}: {rule}")]
pub struct SlowDownsError {
    /// From 1.
    pub line: usize,
    /// What is wrong there.
    pub rule: String,
}

impl Default for SlowDowns {
    /// Guesses for halves of a socket: memory bandwidth is shared, cores and their caches mostly are not.
    fn default() -> SlowDowns {
        let mut table = SlowDowns { said: Pairs::new(), learnt: Pairs::new(), unknown: 1.3 };
        for (one, beside, factor) in [
            ("compute", "compute", 1.1),
            ("compute", "memory", 1.1),
            ("compute", "io", 1.02),
            ("memory", "compute", 1.15),
            ("memory", "memory", 1.9),
            ("memory", "io", 1.1),
            ("io", "compute", 1.05),
            ("io", "memory", 1.1),
            ("io", "io", 1.5),
        ] {
            table.set(one, beside, factor);
        }
        table
    }
}

impl SlowDowns {
    /// Reads a file of a site, whose pairs come on top of the guesses.
    ///
    /// # Errors
    /// The first line that cannot be read.
    pub fn parse(text: &str) -> Result<SlowDowns, SlowDownsError> {
        let line = |at: usize| text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1;
        let fail = |at: usize, rule: String| Err(SlowDownsError { line: line(at), rule });
        if text.len() > LEN_MAX {
            return fail(0, format!("longer than {LEN_MAX} bytes"));
        }
        let document = match DeTable::parse(text) {
            Ok(document) => document,
            Err(error) => return fail(error.span().map_or(0, |span| span.start), error.message().to_owned()),
        };
        let mut table = SlowDowns::default();
        for (key, value) in document.get_ref() {
            let at = key.span().start;
            match (key.get_ref().as_ref(), value.get_ref()) {
                ("unknown", _) => match factor(value) {
                    Ok(factor) => table.unknown = factor,
                    Err(rule) => return fail(value.span().start, rule),
                },
                ("slowdown", DeValue::Table(classes)) => {
                    if let Err((at, rule)) = table.read(classes) {
                        return fail(at, rule);
                    }
                }
                ("slowdown", _) => return fail(at, "`slowdown` is a table of classes".to_owned()),
                (other, _) => return fail(at, format!("unknown key `{other}` (known: slowdown, unknown)")),
            }
        }
        Ok(table)
    }

    /// On error, where in the text, and what is wrong.
    fn read(&mut self, classes: &DeTable<'_>) -> Result<(), (usize, String)> {
        if classes.len() > CLASSES_MAX {
            return Err((0, format!("more than {CLASSES_MAX} classes")));
        }
        for (one, others) in classes {
            let one_name = class(one)?;
            let DeValue::Table(others) = others.get_ref() else {
                return Err((
                    one.span().start,
                    format!("`{one_name}` is a table: beside whom, how much longer"),
                ));
            };
            if others.len() > CLASSES_MAX {
                return Err((one.span().start, format!("more than {CLASSES_MAX} classes")));
            }
            for (beside, value) in others {
                let factor = factor(value).map_err(|rule| (value.span().start, rule))?;
                self.set(one_name, class(beside)?, factor);
            }
        }
        Ok(())
    }

    /// What is said from now on of a class beside another. A factor below 1 or not a number is taken as 1.
    pub fn set(&mut self, one: &str, beside: &str, factor: f64) {
        self.said.entry(one.to_owned()).or_default().insert(beside.to_owned(), factor.max(1.0));
    }

    /// What was learnt, which wins over what is said. A factor below 1 or not a number is taken as 1.
    pub fn learn(&mut self, one: &str, beside: &str, factor: f64) {
        self.learnt.entry(one.to_owned()).or_default().insert(beside.to_owned(), factor.max(1.0));
    }

    /// Forgets all that was learnt.
    pub fn unlearn(&mut self) {
        self.learnt.clear();
    }

    /// Run time beside the other by run time alone.
    #[must_use]
    pub fn of(&self, one: &str, beside: &str) -> f64 {
        let known = |pairs: &Pairs| pairs.get(one)?.get(beside).copied();
        known(&self.learnt).or_else(|| known(&self.said)).unwrap_or(self.unknown)
    }

    /// The work that two do together in the time in which one would do one alone: at most 2, and with less than 1 they
    /// had better run one after the other.
    #[must_use]
    pub fn gain(&self, one: &str, other: &str) -> f64 {
        1.0 / self.of(one, other) + 1.0 / self.of(other, one)
    }
}

/// A name as jobspecs have it.
fn class<'a>(name: &'a Spanned<std::borrow::Cow<'_, str>>) -> Result<&'a str, (usize, String)> {
    let text = name.get_ref();
    match flurm_jobspec::Cosched::check_class(text) {
        Ok(()) => Ok(text),
        Err(rule) => Err((name.span().start, rule)),
    }
}

fn factor(value: &Spanned<DeValue<'_>>) -> Result<f64, String> {
    let number = match value.get_ref() {
        DeValue::Integer(digits) => digits.as_str().parse().ok(),
        DeValue::Float(digits) => digits.as_str().parse().ok(),
        DeValue::String(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_)
        | DeValue::Table(_) => None,
    };
    let good = number.filter(|factor: &f64| (1.0..=FACTOR_MAX).contains(factor));
    good.ok_or_else(|| format!("a slow-down is a number from 1 to {FACTOR_MAX}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_that_waste_least_gain_most() {
        let table = SlowDowns::default();
        assert!(table.gain("compute", "memory") > table.gain("compute", "compute") - 0.1);
        assert!(table.gain("memory", "memory") < table.gain("memory", "compute"));
        let mut own = SlowDowns::default();
        own.set("memory", "memory", 2.5);
        assert!(own.gain("memory", "memory") < 1.0);
        own.set("x", "y", 0.1);
        assert_eq!((own.of("x", "y"), own.of("y", "x")), (1.0, 1.3));
    }

    #[test]
    fn what_was_learnt_wins_over_the_file_and_the_file_over_guesses() {
        let text = "unknown = 2\n[slowdown.memory]\nmemory = 3.5 # hot\n[slowdown]\nfft.memory = 1.25\n";
        let mut table = SlowDowns::parse(text).unwrap();
        assert_eq!((table.of("memory", "memory"), table.of("fft", "memory")), (3.5, 1.25));
        assert_eq!((table.of("memory", "compute"), table.of("x", "y")), (1.15, 2.0));
        table.learn("memory", "memory", 1.5);
        assert_eq!(table.of("memory", "memory"), 1.5);
        table.unlearn();
        assert_eq!(table.of("memory", "memory"), 3.5);
    }

    #[test]
    fn errors_name_the_line() {
        for (text, said) in [
            ("unknown = 0.5", "line 1: a slow-down is a number from 1 to 1000"),
            ("\n[slowdown.a]\nb = \"much\"", "line 3: a slow-down is a number from 1 to 1000"),
            ("[slowdown.a]\nb = nan", "line 2: a slow-down is a number from 1 to 1000"),
            ("\n\n[slowdowns]", "line 3: unknown key `slowdowns` (known: slowdown, unknown)"),
            ("slowdown = 3", "line 1: `slowdown` is a table of classes"),
            ("[slowdown]\na = 3", "line 2: `a` is a table: beside whom, how much longer"),
            ("[slowdown.\"a b\"]", "line 1: `a b` is no class: up to 64 letters, digits, `_` and `-`"),
            ("[slowdown.a]\nb = 1.1\nb = 1.2", "line 3: duplicate key"),
        ] {
            let error = SlowDowns::parse(text).unwrap_err().to_string();
            assert!(error.ends_with(said), "{error}");
        }
    }
}
