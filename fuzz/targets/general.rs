//! Fuzz target; see `flurm_fuzz::resource_graph::general`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| flurm_fuzz::resource_graph::general(bytes));
