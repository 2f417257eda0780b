//! Fuzz target; see `flurm_fuzz::types::hostlist`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| flurm_fuzz::types::hostlist(bytes));
