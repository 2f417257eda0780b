//! The orders in which pending jobs are tried, one a file.

pub(crate) mod fcfs;
