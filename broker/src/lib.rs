//! The broker process: links, disk, clock, guests, bootstrap. No decisions.

pub mod boot;
pub mod hw;
