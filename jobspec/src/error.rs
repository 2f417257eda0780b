//! What is wrong with a jobspec, and where.

use std::fmt::Write as _;

/// A jobspec that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read jobspec at `{path}`: {rule}")]
pub struct JobspecError {
    /// Keys and indices from the top, as in `.resources[0].with[1].count`; `.` is the top itself.
    pub path: String,
    /// The rule that was broken.
    pub rule: String,
}

/// Where reading is: a chain of borrowed links, so that a good jobspec does not pay for error messages.
#[derive(Debug, Copy, Clone)]
pub(crate) enum Place<'a> {
    Top,
    Key(&'a Place<'a>, &'a str),
    Item(&'a Place<'a>, usize),
}

impl Place<'_> {
    pub(crate) fn key<'b>(&'b self, key: &'b str) -> Place<'b> {
        Place::Key(self, key)
    }

    pub(crate) fn item(&self, index: usize) -> Place<'_> {
        Place::Item(self, index)
    }

    pub(crate) fn error(&self, rule: impl Into<String>) -> JobspecError {
        let mut path = String::new();
        self.write(&mut path);
        if path.is_empty() {
            path.push('.');
        }
        JobspecError { path, rule: rule.into() }
    }

    pub(crate) fn fail<T>(&self, rule: impl Into<String>) -> Result<T, JobspecError> {
        Err(self.error(rule))
    }

    fn write(&self, path: &mut String) {
        match self {
            Place::Top => {}
            Place::Key(parent, key) => {
                parent.write(path);
                path.push('.');
                path.push_str(key);
            }
            Place::Item(parent, index) => {
                parent.write(path);
                write!(path, "[{index}]").expect("a String takes every text");
            }
        }
    }
}
