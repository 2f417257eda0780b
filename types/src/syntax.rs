//! The error of every reader of short texts: which format, where, and which rule was broken.

use std::borrow::Cow;

/// A text that breaks a rule of its format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read {format} `{text}`: {rule} (column {column})")]
pub struct SyntaxError {
    /// Name of the format, for example `idset`.
    pub format: &'static str,
    /// The text, shortened when it is long.
    pub text: String,
    /// Where reading stopped, counted in characters from 1.
    pub column: usize,
    /// The rule that was broken.
    pub rule: Cow<'static, str>,
}

/// Longest piece of the caller's text that an error repeats, so that an error stays one readable line.
const EXCERPT_MAX: usize = 64;

impl SyntaxError {
    /// An error at byte offset `at` of `text`.
    #[must_use]
    pub fn new(
        format: &'static str,
        text: &str,
        at: usize,
        rule: impl Into<Cow<'static, str>>,
    ) -> SyntaxError {
        let column = text.char_indices().take_while(|(offset, _)| *offset < at).count() + 1;
        SyntaxError { format, text: excerpt(text), column, rule: rule.into() }
    }
}

/// The beginning of a text on one line, with control characters shown as escapes.
fn excerpt(text: &str) -> String {
    let mut out = String::new();
    for (taken, c) in text.chars().enumerate() {
        if taken == EXCERPT_MAX {
            out.push('…');
            break;
        }
        if c.is_control() {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}
