//! `libpmi.so` as a program finds it: a C program that opens what `FLUX_PMI_LIBRARY_PATH` names, over two brokers.

use flurm_tests::{Instance, flurm_bin};
use std::process::Command;

/// Opens the library as MPI libraries do, exchanges cards through `PMI_*` (or `PMI2_*`), and aborts when told to.
const PROGRAM: &str = r#"
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *library;

#define FUNCTION(name) ((int (*)()) find(name))

static void *find(const char *name)
{
    void *found = dlsym(library, name);
    if (!found) {
        fprintf(stderr, "no %s\n", name);
        exit(9);
    }
    return found;
}

static void check(int code, const char *what)
{
    if (code) {
        fprintf(stderr, "%s: %d\n", what, code);
        exit(8);
    }
}

int main(int argc, char **argv)
{
    const char *path = getenv("FLUX_PMI_LIBRARY_PATH");
    int two = argc > 1 && !strcmp(argv[1], "two"), spawned, rank, size, appnum, length;
    char key[64], value[64], name[64], all[1024] = "";

    if (!path || strcmp(path, getenv("I_MPI_PMI_LIBRARY")) || !(library = dlopen(path, RTLD_NOW))) {
        fprintf(stderr, "no library: %s\n", dlerror());
        return 7;
    }
    if (two) {
        check(FUNCTION("PMI2_Init")(&spawned, &size, &rank, &appnum), "init");
        check(FUNCTION("PMI2_Job_GetId")(name, 64), "name");
    } else {
        check(FUNCTION("PMI_Init")(&spawned), "init");
        check(FUNCTION("PMI_Get_rank")(&rank), "rank");
        check(FUNCTION("PMI_Get_size")(&size), "size");
        check(FUNCTION("PMI_KVS_Get_my_name")(name, 64), "name");
    }
    if (argc > 2 && rank == 1)
        FUNCTION("PMI_Abort")(atoi(argv[2]), "enough");
    snprintf(key, 64, "card-%d", rank);
    snprintf(value, 64, "of %d", rank);
    check(two ? FUNCTION("PMI2_KVS_Put")(key, value) : FUNCTION("PMI_KVS_Put")(name, key, value), "put");
    check(two ? FUNCTION("PMI2_KVS_Fence")() : FUNCTION("PMI_Barrier")(), "fence");
    for (int i = 0; i < size; i++) {
        snprintf(key, 64, "card-%d", i);
        if (two)
            check(FUNCTION("PMI2_KVS_Get")(name, -1, key, value, 64, &length), "get");
        else
            check(FUNCTION("PMI_KVS_Get")(name, key, value, 64), "get");
        strcat(strcat(all, value), ",");
    }
    printf("%d: %s local %s of %s\n", rank, all, getenv("MPI_LOCALRANKID"), getenv("MPI_LOCALNRANKS"));
    fflush(stdout);
    check(two ? FUNCTION("PMI2_Finalize")() : FUNCTION("PMI_Finalize")(), "finalize");
    return 0;
}
"#;

#[test]
fn programs_that_open_a_library_meet_across_brokers_and_end_the_job() {
    let library = flurm_bin().with_file_name("libpmi.so");
    assert!(library.exists(), "{} is missing: run `cargo build -p flurm-libpmi` first", library.display());
    let dir = tempfile::tempdir().expect("a directory");
    let source = dir.path().join("client.c");
    std::fs::write(&source, PROGRAM).expect("a file");
    let program = dir.path().join("client");
    let mut cc = Command::new("cc");
    cc.args(["-std=gnu11", "-w", "-o"]).arg(&program).arg(&source).arg("-ldl");
    assert!(cc.status().expect("a C compiler").success());
    let program = program.to_str().expect("text");
    let instance = Instance::start(2);
    for way in ["one", "two"] {
        let stdout = instance.ok(&["run", "-N2", "-n4", program, way]);
        let mut lines: Vec<&str> = stdout.lines().collect();
        lines.sort_unstable();
        let line = |rank| format!("{rank}: of 0,of 1,of 2,of 3, local {} of 2", rank % 2);
        assert_eq!(lines, (0..4).map(line).collect::<Vec<_>>(), "{way}");
    }
    // Slurm's client of PMI-2 was written by others: what it understands is PMI-2, and not only what we think it is.
    if let Some(theirs) = slurms_library() {
        let script = format!("FLUX_PMI_LIBRARY_PATH={theirs} I_MPI_PMI_LIBRARY={theirs} exec {program} two");
        let stdout = instance.ok(&["run", "-N2", "-n4", "sh", "-c", &script]);
        assert_eq!(stdout.matches("of 0,of 1,of 2,of 3,").count(), 4, "{stdout}");
    }
    // The others wait in a barrier that task 1 will never enter.
    let ran = instance.run(&["run", "-N2", "-n4", program, "one", "42"]).code_is(42);
    assert!(ran.stderr.contains("task 1 aborted through PMI"), "{}", ran.stderr);
}

/// Debian's package libpmi2-0, which `scripts/deps.sh test` installs where it may.
fn slurms_library() -> Option<String> {
    let folders = std::fs::read_dir("/usr/lib").ok()?.flatten();
    let file = folders.map(|folder| folder.path().join("libpmi2.so.0")).find(|file| file.exists())?;
    file.into_os_string().into_string().ok()
}
