//! How a command fails: two lines on standard error, `error:` and `hint:`, and an exit code.

use crate::face::Face;
use flurm_client::ClientError;
use flurm_types::{JobId, SyntaxError};
use flurm_wire::WireError;
use std::ffi::OsString;
use std::io;

/// The operation failed.
pub const FAILED: u8 = 1;
/// The command line makes no sense, or there was nothing to wait for.
pub const USAGE: u8 = 2;
/// As a shell reports a program that SIGPIPE has ended.
const PIPE_CLOSED: u8 = 141;

/// Why a command ended without doing what it should.
#[derive(Debug, Eq, PartialEq)]
pub struct Failure {
    /// None: everything has been said already.
    text: Option<String>,
    hint: Option<String>,
    code: u8,
}

impl Failure {
    pub fn new(text: impl Into<String>) -> Failure {
        Failure { text: Some(text.into()), hint: None, code: FAILED }
    }

    /// The caller has to write something else.
    pub fn usage(text: impl Into<String>) -> Failure {
        Failure { code: USAGE, ..Failure::new(text) }
    }

    /// Everything has been said; only the exit code is left.
    pub fn silent(code: u8) -> Failure {
        Failure { text: None, hint: None, code }
    }

    /// Did we fail only because nobody reads our output any more?
    pub fn is_unread(&self) -> bool {
        *self == Failure::silent(PIPE_CLOSED)
    }

    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Failure {
        Failure { hint: Some(hint.into()), ..self }
    }

    /// A way out for a failure that came without one.
    #[must_use]
    pub fn or_hint(self, hint: &str) -> Failure {
        let hint = self.hint.or_else(|| Some(hint.to_owned()));
        Failure { hint, ..self }
    }

    /// The same, with the place of what was wrong before it.
    #[must_use]
    pub fn within(self, place: &str) -> Failure {
        Failure { text: self.text.map(|text| format!("{place}: {text}")), ..self }
    }

    /// A job that is not there is called what the user has called it, in whatever encoding.
    #[must_use]
    pub fn with_typed_id(self, words: &[OsString]) -> Failure {
        let Some((before, id)) = self.text.as_deref().and_then(|text| text.rsplit_once("there is no job "))
        else {
            return self;
        };
        let typed = words.iter().skip(1).filter_map(|word| word.to_str());
        let wanted = id.parse::<JobId>().ok();
        match typed.into_iter().find(|word| wanted.is_some() && word.parse::<JobId>().ok() == wanted) {
            Some(word) => Failure { text: Some(format!("{before}there is no job {word}")), ..self },
            None => self,
        }
    }

    /// What is wrong and the way out, for those who print them elsewhere.
    pub fn said(&self) -> (&str, Option<&str>) {
        (self.text.as_deref().unwrap_or(""), self.hint.as_deref())
    }

    #[must_use]
    pub fn code(self, code: u8) -> Failure {
        Failure { code, ..self }
    }

    /// Says it on standard error, with the commands in it by the name that we were called by, and gives the exit code.
    pub fn say(&self) -> u8 {
        let name = Face::own_name();
        if let Some(text) = &self.text {
            crate::say!("error: {}", renamed(text, name));
        }
        if let Some(hint) = &self.hint {
            crate::say!("hint: {}", renamed(hint, name));
        }
        self.code
    }
}

/// A text of ours or of the instance, in which commands have this name.
pub fn renamed(text: &str, name: &str) -> String {
    if name == "flurm" {
        return text.to_owned();
    }
    let text = text.replace("`flurm ", &format!("`{name} ")).replace(" flurm ", &format!(" {name} "));
    match text.strip_prefix("flurm ") {
        Some(rest) => format!("{name} {rest}"),
        None => text,
    }
}

#[cfg(test)]
impl Failure {
    pub fn lines(&self) -> (&str, Option<&str>) {
        (self.text.as_deref().unwrap_or(""), self.hint.as_deref())
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        let hint = error.hint();
        let text = match &error {
            // The service's own words are whole; ours complete "cannot …".
            ClientError::Refused(refused) => refused.text.clone(),
            ClientError::NoInstance
            | ClientError::Uri { .. }
            | ClientError::Connect { .. }
            | ClientError::Lost
            | ClientError::Frame(_)
            | ClientError::TooLong { .. }
            | ClientError::Runtime(_) => format!("cannot {error}"),
        };
        Failure { text: Some(text), hint, code: FAILED }
    }
}

impl From<WireError> for Failure {
    fn from(error: WireError) -> Failure {
        Failure { text: Some(error.text), hint: error.hint, code: FAILED }
    }
}

impl From<SyntaxError> for Failure {
    fn from(error: SyntaxError) -> Failure {
        Failure::usage(format!("cannot {error}"))
    }
}

impl From<io::Error> for Failure {
    /// For what goes to our own standard output; whoever opens files says which one.
    fn from(error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::silent(PIPE_CLOSED),
            _ => Failure::new(format!("cannot print: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flurm_wire::ErrorCode;

    #[test]
    fn a_refusal_is_said_in_the_services_words() {
        let refused = WireError::new(ErrorCode::Invalid, "no node here has 64 cores").hint("ask for fewer");
        let failure = Failure::from(ClientError::from(refused));
        assert_eq!(failure.lines(), ("no node here has 64 cores", Some("ask for fewer")));
    }

    #[test]
    fn without_an_instance_both_lines_tell_what_to_do() {
        let failure = Failure::from(ClientError::NoInstance);
        let (text, hint) = failure.lines();
        assert_eq!(text, "cannot find an instance: neither FLURM_URI nor FLUX_URI is set");
        assert!(hint.is_some_and(|h| h.contains("flurm start")));
    }

    #[test]
    fn a_job_that_is_not_there_has_the_name_that_the_user_gave_it() {
        let words = |words: &str| words.split(' ').map(OsString::from).collect::<Vec<_>>();
        let said = |id: u64, typed: &str| {
            let failure = Failure::new(format!("there is no job {}", JobId(id))).with_typed_id(&words(typed));
            failure.lines().0.to_owned()
        };
        assert_eq!(said(123, "flurm job why 123"), "there is no job 123");
        assert_eq!(said(123, "flurm job why 0x7b"), "there is no job 0x7b");
        assert_eq!(said(123, "flurm job why ƒ38"), "there is no job ƒ38");
        assert_eq!(said(123, "flurm job why --last"), "there is no job ƒ38");
        let other = Failure::new("job ƒ38 is over").with_typed_id(&words("flurm cancel 123"));
        assert_eq!(other.lines().0, "job ƒ38 is over");
    }

    #[test]
    fn called_as_flux_we_speak_of_flux() {
        let said = ["flurm x: /tmp/flurm y", "`flurm jobs`, or flurm start; FLURM_URI"];
        assert_eq!(said.map(|text| renamed(text, "flurm")), said);
        let flux = ["flux x: /tmp/flurm y", "`flux jobs`, or flux start; FLURM_URI"];
        assert_eq!(said.map(|text| renamed(text, "flux")), flux);
    }

    #[test]
    fn a_closed_pipe_is_no_news() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(failure, Failure::silent(141));
    }
}
