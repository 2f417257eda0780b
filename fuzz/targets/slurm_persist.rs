//! Fuzz target; see `flurm_fuzz::slurm_protocol::persist`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| flurm_fuzz::slurm_protocol::persist(bytes));
