//! Turns the tables of `schema/` into Rust: a type per structure with its layout as data, an enum of all message bodies,
//! constants, return codes. What decodes and encodes by those layouts is written by hand, once, in `src/`.

mod emit;
mod expr;
mod schema;

use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=schema");
    println!("cargo::rerun-if-changed=build");
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("cargo says where the manifest is"));
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo says where output goes"));
    let schema = schema::Schema::read(&root.join("schema"));
    write(&out.join("structures.rs"), &emit::structures(&schema));
    write(&out.join("body.rs"), &emit::body(&schema));
    write(&out.join("constants.rs"), &emit::constants(&schema));
    write(&out.join("errors.rs"), &emit::errors(&schema));
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
