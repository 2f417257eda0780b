//! Small services that every broker has: its attributes and its log ring.

pub(crate) mod attr;
pub(crate) mod log;
