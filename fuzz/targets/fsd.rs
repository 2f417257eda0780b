//! Fuzz target; see `flurm_fuzz::types::fsd`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| flurm_fuzz::types::fsd(bytes));
