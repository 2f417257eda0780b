//! Fuzz target; see `flurm_fuzz::wire::frame`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| flurm_fuzz::wire::frame(bytes));
