//! Why a request is not taken: Slurm's own number, which its clients explain in Slurm's words, and a sentence of ours.

use flurm_slurm_protocol::errors;

/// An answer, not an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub code: u32,
    /// Names the option.
    pub text: String,
}

impl Refusal {
    pub fn new(code: u32, text: impl Into<String>) -> Refusal {
        Refusal { code, text: text.into() }
    }

    /// There is nothing here that could do it.
    pub fn unsupported(option: &str, why: &str) -> Refusal {
        Refusal::new(errors::ESLURM_NOT_SUPPORTED, format!("{option}: {why}"))
    }
}
