//! How processes ended, as one number.

/// A wait status as a shell prints it: the exit code, or 128 and the signal that ended the process.
pub fn exit_code(status: i32) -> i32 {
    match status & 0x7f {
        0 => status >> 8 & 0xff,
        signum => 128 + signum,
    }
}

/// The signal that such a code stands for, if it does. A program may end with 128 and more by itself; nobody can tell.
pub fn signal_of(code: i32) -> Option<i32> {
    // Real-time signals go to 64.
    (129..=192).contains(&code).then_some(code - 128)
}

/// The wait status of a whole job (RFC 21's `finish`): that of a shell which ends with the code of its task. No signal
/// ended the job, whatever ended a task of it.
pub fn job_status(status: i32) -> i32 {
    exit_code(status) << 8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_a_code_of_the_job() {
        for (status, code, signal) in [
            (0, 0, None),
            (3 << 8, 3, None),
            (15, 143, Some(15)),
            // With a core.
            (11 | 0x80, 139, Some(11)),
            (64, 192, Some(64)),
            (255 << 8, 255, None),
            (128 << 8, 128, None),
        ] {
            assert_eq!((exit_code(status), signal_of(exit_code(status))), (code, signal), "{status}");
            assert_eq!(exit_code(job_status(status)), code, "{status}");
        }
        assert_eq!((job_status(15), job_status(9)), (36608, 35072));
    }
}
