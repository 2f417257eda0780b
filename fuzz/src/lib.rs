//! Bodies of the fuzz targets. Each crate's `tests/never_panics.rs` runs the same ones for a bounded time.

pub mod jobspec;
pub mod pmi;
pub mod resource_graph;
pub mod sched;
pub mod slurm_protocol;
pub mod types;
pub mod wire;
