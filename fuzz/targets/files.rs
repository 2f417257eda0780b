//! Fuzz target; see `flurm_fuzz::wire::files`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| flurm_fuzz::wire::files(bytes));
