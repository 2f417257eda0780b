//! Fuzz target; see `flurm_fuzz::types::job_id`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| flurm_fuzz::types::job_id(bytes));
