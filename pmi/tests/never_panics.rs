//! The bodies of the fuzz targets, on texts that are nearly right.

#[path = "../../types/tests/mutation/mod.rs"]
mod mutation;
#[path = "../../fuzz/src/pmi.rs"]
mod targets;

#[test]
fn bytes_are_read_or_refused() {
    mutation::run(targets::TARGETS, 2048);
}
