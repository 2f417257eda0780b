//! The bodies of the fuzz targets, on texts that are nearly right.

mod mutation;
#[path = "../../fuzz/src/types.rs"]
mod targets;

#[test]
fn texts_are_read_or_refused() {
    mutation::run(targets::TARGETS, 2048);
}
