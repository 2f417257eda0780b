//! Fuzz target; see `flurm_fuzz::pmi::pmi`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| flurm_fuzz::pmi::pmi(bytes));
