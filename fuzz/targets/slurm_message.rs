//! Fuzz target; see `flurm_fuzz::slurm_protocol::message`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| flurm_fuzz::slurm_protocol::message(bytes));
