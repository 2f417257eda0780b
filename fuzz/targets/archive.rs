//! Fuzz target; see `flurm_fuzz::wire::archive`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| flurm_fuzz::wire::archive(bytes));
