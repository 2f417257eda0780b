//! What was read lately: bulk submissions are thousands of equal jobspecs in equal environments, and each is read once.
//!
//! A text that came before is known by itself; copies come as the text of one of them and their numbers. Long ones are not kept:
//! whoever sends much with a job waits for it anyway.

use crate::env::{self, Base};
use crate::spec::Spec;
use flurm_jobspec::Mould;
use flurm_types::Environment;
use std::collections::VecDeque;
use std::sync::Arc;

/// Texts that are kept, of either kind.
const KNOWN_MAX: usize = 4;
/// Bytes of one. An environment that people work in has some kilobytes.
const LEN_MAX: usize = 64 << 10;

#[derive(Debug, Default)]
pub(crate) struct Known {
    bases: Texts<Base>,
    /// With Slurm's variables as they came.
    exact: Texts<Base>,
    jobspecs: Texts<Spec>,
}

impl Known {
    /// What jobs with this environment share.
    ///
    /// # Errors
    /// It is none.
    pub fn base(&mut self, environment: &str, exact: bool) -> Result<Arc<Base>, String> {
        let bases = if exact { &mut self.exact } else { &mut self.bases };
        bases.get(environment, |text| {
            let environment: Environment =
                serde_json::from_str(text).map_err(|e| format!("environment: {e}"))?;
            Ok(env::base(&environment, exact))
        })
    }

    /// The jobspec of this text, or the one of which the text's is a copy; then with the number that it has instead.
    ///
    /// # Errors
    /// It is no jobspec.
    pub fn jobspec(&mut self, text: &str, copy: Option<u32>) -> Result<(Arc<Spec>, Option<u32>), String> {
        let read = |text: &str| Spec::parse(text).map_err(|e| e.to_string());
        let Some(number) = copy else { return Ok((self.jobspecs.get(text, read)?, None)) };
        let spec = self.jobspecs.get(text, read)?;
        if spec.is_copy() {
            return Ok((spec, copy));
        }
        // A number that is not the copy's alone.
        let text =
            Mould::of(text).ok_or("a jobspec that is no copy came with the number of one")?.with(number);
        Ok((self.jobspecs.get(&text, read)?, None))
    }
}

#[derive(Debug)]
struct Texts<T>(VecDeque<(Box<str>, Arc<T>)>);

impl<T> Default for Texts<T> {
    fn default() -> Texts<T> {
        Texts(VecDeque::new())
    }
}

impl<T> Texts<T> {
    fn get(&mut self, text: &str, read: impl FnOnce(&str) -> Result<T, String>) -> Result<Arc<T>, String> {
        if let Some((_, known)) = self.0.iter().find(|(known, _)| **known == *text) {
            return Ok(Arc::clone(known));
        }
        let new = Arc::new(read(text)?);
        if text.len() <= LEN_MAX {
            self.0.truncate(KNOWN_MAX - 1);
            self.0.push_front((text.into(), Arc::clone(&new)));
        }
        Ok(new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_read_once_and_a_long_one_each_time() {
        let mut known = Known::default();
        let (short, long) = (r#"{"A":"1"}"#, format!(r#"{{"A":"{}"}}"#, "x".repeat(LEN_MAX)));
        let first = known.base(short, false).unwrap();
        for n in 1..KNOWN_MAX {
            known.base(&format!(r#"{{"B":"{n}"}}"#), false).unwrap();
        }
        assert!(Arc::ptr_eq(&first, &known.base(short, false).unwrap()));
        assert!(!Arc::ptr_eq(&known.base(&long, false).unwrap(), &known.base(&long, false).unwrap()));
        assert!(known.base("[]", false).is_err() && known.jobspec("{}", None).is_err());
        known.base(r#"{"C":"1"}"#, false).unwrap();
        assert!(
            !Arc::ptr_eq(&first, &known.base(short, false).unwrap()),
            "as many as are kept came after it"
        );
    }
}
