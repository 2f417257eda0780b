//! Fuzz target; see `flurm_fuzz::jobspec::resources`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| flurm_fuzz::jobspec::resources(bytes));
