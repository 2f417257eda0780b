//! Fuzz target; see `flurm_fuzz::types::idset`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| flurm_fuzz::types::idset(bytes));
