//! The broker process: links, disk, clock, guests, bootstrap. No decisions.

pub mod boot;
pub mod bootstrap;
pub mod config;
pub mod doctor;
pub mod hw;
pub mod run;
pub mod start;

mod clock;
mod event;
mod guard;
mod guests;
mod link;
mod local;
mod log;
mod unsent;

pub use doctor::doctor;
pub use start::{BrokerArgs, DoctorArgs, StartArgs, broker, start};
