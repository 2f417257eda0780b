//! Fuzz target; see `flurm_fuzz::sched::trace`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| flurm_fuzz::sched::trace(bytes));
