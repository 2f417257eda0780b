//! The machine a figure was taken on: without it a figure says nothing.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::source::workspace_root;

/// What is noted beside every figure.
#[derive(Debug)]
pub struct Machine {
    cpu: String,
    cores: usize,
    memory_gib: u64,
    kernel: String,
    pub load: f64,
    date: String,
    revision: String,
}

impl Machine {
    /// The machine at this moment. What cannot be read is left empty.
    pub fn now() -> Machine {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let after = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
            line.split_once(':').map_or("", |(_, value)| value.trim()).to_owned()
        };
        let memory_kib: u64 =
            after(&read("/proc/meminfo"), "MemTotal").trim_end_matches(" kB").parse().unwrap_or_default();
        Machine {
            cpu: after(&read("/proc/cpuinfo"), "model name"),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_gib: memory_kib >> 20,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            load: read("/proc/loadavg")
                .split(' ')
                .next()
                .and_then(|load| load.parse().ok())
                .unwrap_or_default(),
            date: answer("date", &["-u", "+%Y-%m-%d %H:%M"]),
            revision: answer("git", &["describe", "--always", "--dirty", "--abbrev=8"]),
        }
    }

    pub fn line(&self) -> String {
        let Machine { cpu, cores, memory_gib, kernel, date, revision, .. } = self;
        format!("{date}Z, rev {revision}, {cores} cores ({cpu}), {memory_gib} GiB, Linux {kernel},")
    }

    pub fn to_json(&self) -> Value {
        json!({
            "cpu": self.cpu, "cores": self.cores, "memory_gib": self.memory_gib, "kernel": self.kernel,
            "load": self.load, "date": self.date, "revision": self.revision,
        })
    }
}

fn answer(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(workspace_root()).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}
