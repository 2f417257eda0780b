//! Signals by name and number, and how their victims are spoken of.

use libc::{
    SIGABRT, SIGALRM, SIGBUS, SIGCHLD, SIGCONT, SIGFPE, SIGHUP, SIGILL, SIGINT, SIGIO, SIGKILL, SIGPIPE,
    SIGPROF, SIGPWR, SIGQUIT, SIGSEGV, SIGSTOP, SIGSYS, SIGTERM, SIGTRAP, SIGTSTP, SIGTTIN, SIGTTOU, SIGURG,
    SIGUSR1, SIGUSR2, SIGVTALRM, SIGWINCH, SIGXCPU, SIGXFSZ,
};

/// Number, name without `SIG`, and what a shell says of a process that it ended.
const SIGNALS: &[(i32, &str, &str)] = &[
    (SIGHUP, "HUP", "Hangup"),
    (SIGINT, "INT", "Interrupt"),
    (SIGQUIT, "QUIT", "Quit"),
    (SIGILL, "ILL", "Illegal instruction"),
    (SIGTRAP, "TRAP", "Trace/breakpoint trap"),
    (SIGABRT, "ABRT", "Aborted"),
    (SIGBUS, "BUS", "Bus error"),
    (SIGFPE, "FPE", "Floating point exception"),
    (SIGKILL, "KILL", "Killed"),
    (SIGUSR1, "USR1", "User defined signal 1"),
    (SIGSEGV, "SEGV", "Segmentation fault"),
    (SIGUSR2, "USR2", "User defined signal 2"),
    (SIGPIPE, "PIPE", "Broken pipe"),
    (SIGALRM, "ALRM", "Alarm clock"),
    (SIGTERM, "TERM", "Terminated"),
    (SIGCHLD, "CHLD", "Child exited"),
    (SIGCONT, "CONT", "Continued"),
    (SIGSTOP, "STOP", "Stopped (signal)"),
    (SIGTSTP, "TSTP", "Stopped"),
    (SIGTTIN, "TTIN", "Stopped (tty input)"),
    (SIGTTOU, "TTOU", "Stopped (tty output)"),
    (SIGURG, "URG", "Urgent I/O condition"),
    (SIGXCPU, "XCPU", "CPU time limit exceeded"),
    (SIGXFSZ, "XFSZ", "File size limit exceeded"),
    (SIGVTALRM, "VTALRM", "Virtual timer expired"),
    (SIGPROF, "PROF", "Profiling timer expired"),
    (SIGWINCH, "WINCH", "Window changed"),
    (SIGIO, "IO", "I/O possible"),
    (SIGPWR, "PWR", "Power failure"),
    (SIGSYS, "SYS", "Bad system call"),
];

/// Real-time signals go to here.
const SIGNUM_MAX: i32 = 64;

/// A signal as people type it: `USR1`, `SIGUSR1`, `10`.
pub fn parse(text: &str) -> Result<i32, String> {
    if let Ok(number) = text.parse() {
        return match number {
            1..=SIGNUM_MAX => Ok(number),
            _ => Err(format!("signals go from 1 to {SIGNUM_MAX}")),
        };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    SIGNALS
        .iter()
        .find(|(_, known, _)| *known == name)
        .map(|(number, ..)| *number)
        .ok_or_else(|| "no such signal; use a name as USR1 or a number".to_owned())
}

/// What a shell says of a process that the signal ended.
pub fn describe(signum: i32) -> String {
    SIGNALS
        .iter()
        .find(|(number, ..)| *number == signum)
        .map_or_else(|| format!("Signal {signum}"), |(_, _, text)| (*text).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_numbers() {
        for (text, number) in [("USR1", SIGUSR1), ("sigterm", SIGTERM), ("9", 9), ("64", 64)] {
            assert_eq!(parse(text), Ok(number), "{text}");
        }
        for text in ["", "0", "65", "-1", "NOPE", "SIG"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert_eq!(describe(9), "Killed");
    }
}
