//! The bodies of the fuzz targets, on texts that are nearly right.

#[path = "../../types/tests/mutation/mod.rs"]
mod mutation;
#[path = "../../fuzz/src/sched.rs"]
mod targets;

#[test]
fn texts_are_read_or_refused() {
    mutation::run(targets::TARGETS, 2048);
}
