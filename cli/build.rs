//! Links the unwinder statically, so that `flurm` needs no `libgcc_s.so.1` on the nodes it is copied to.
//!
//! Everything else the binary carries is decided in `.cargo/config.toml`.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=CC");
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let Ok(answer) = Command::new(&compiler).arg("-print-file-name=libgcc_eh.a").output() else {
        println!("cargo:warning=`{compiler}` does not run: flurm will need libgcc_s.so.1");
        return;
    };
    let answer = String::from_utf8_lossy(&answer.stdout);
    let archive = Path::new(answer.trim());
    // A compiler that has no such file prints the bare name back.
    match archive.parent().filter(|_| archive.is_absolute() && archive.exists()) {
        Some(folder) => {
            println!("cargo:rustc-link-search=native={}", folder.display());
            // Whole: the linker must prefer these symbols over libgcc_s's in whatever order it reads.
            println!("cargo:rustc-link-lib=static:-bundle,+whole-archive=gcc_eh");
        }
        None => println!("cargo:warning=no libgcc_eh.a beside `{compiler}`: flurm will need libgcc_s.so.1"),
    }
}
