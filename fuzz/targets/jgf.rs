//! Fuzz target; see `flurm_fuzz::resource_graph::jgf`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| flurm_fuzz::resource_graph::jgf(bytes));
