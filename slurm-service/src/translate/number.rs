//! Numbers of Slurm's messages, of which some mean that nobody has said one.

use flurm_slurm_protocol::{INFINITE, INFINITE16, NO_VAL, NO_VAL16};

/// The number, if one was given.
pub fn given(number: u32) -> Option<u32> {
    (number != NO_VAL && number != INFINITE).then_some(number)
}

/// The same in 16 bits.
pub fn given_u16(number: u16) -> Option<u32> {
    some_u16(number).map(u32::from)
}

/// The same, as narrow as it came.
pub fn some_u16(number: u16) -> Option<u16> {
    (number != NO_VAL16 && number != INFINITE16).then_some(number)
}
