//! Fuzz target; see `flurm_fuzz::types::r`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| flurm_fuzz::types::r(bytes));
