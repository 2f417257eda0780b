//! Small services: attributes and log ring of a broker, events of users, and what there is to ask for.

pub(crate) mod attr;
pub(crate) mod event;
pub(crate) mod log;
pub(crate) mod tally;
