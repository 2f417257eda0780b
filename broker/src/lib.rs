//! The broker process: links, disk, clock, guests, bootstrap. No decisions.

pub mod boot;
pub mod bootstrap;
pub mod config;
pub mod hw;
pub mod start;

pub use start::{BrokerArgs, DoctorArgs, StartArgs};
