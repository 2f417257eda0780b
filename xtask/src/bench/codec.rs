//! What it costs to read and write Slurm's messages.

use flurm_slurm_protocol::structures::{JobDescMsg, JobInfo, JobInfoResponse};
use flurm_slurm_protocol::{Body, Envelope, Limits, Message, Text, Version, hash};
use std::hint::black_box;

use super::Effort;
use super::measure::{Figure, times_ms};

/// As a login shell at a site has them.
const VARIABLES: usize = 80;
const SCRIPT_LINES: usize = 60;
const JOBS: usize = 1_000;

/// A request of `sbatch`: a script and an environment of the usual size.
fn submit() -> Body {
    let line = "srun --ntasks=4 ./solver --input case.in --output result.h5\n";
    let environment =
        (0..VARIABLES).map(|at| format!("VARIABLE_{at}=/opt/software/some/tree/{at}/lib:/usr/lib"));
    let environment: Vec<Text> = environment.map(Text::from).collect();
    Body::RequestSubmitBatchJob(Box::new(JobDescMsg {
        name: "solver".into(),
        script: format!("#!/bin/bash\n{}", line.repeat(SCRIPT_LINES)).into(),
        environment,
        argv: vec!["job.sh".into(), "case.in".into()],
        work_dir: "/home/somebody/project/run".into(),
        partition: "batch".into(),
        std_out: "slurm-%j.out".into(),
        min_nodes: 2,
        user_id: 1000,
        ..JobDescMsg::default()
    }))
}

/// An answer to `squeue`.
fn listing() -> Body {
    let job = JobInfo {
        name: "solver".into(),
        partition: "batch".into(),
        nodes: "node[0001-0004]".into(),
        work_dir: "/home/somebody/project/run".into(),
        ..JobInfo::default()
    };
    let list =
        JobInfoResponse { record_count: JOBS as u32, job_ptr: vec![job; JOBS], ..JobInfoResponse::default() };
    Body::ResponseJobInfo(Box::new(list))
}

fn us(samples: Vec<f64>) -> Vec<f64> {
    samples.into_iter().map(|ms| ms * 1000.0).collect()
}

pub fn codec(effort: Effort) -> Result<Vec<Figure>, String> {
    let count = if effort == Effort::Quick { 200 } else { 20_000 };
    let limits = Limits::default();
    let mut figures = Vec::new();
    for version in [Version::FIRST, Version::LAST] {
        let message = Message::new(version, submit());
        let frame = message.write().map_err(|error| error.to_string())?;
        let bytes = frame.len();
        let text = |error: flurm_slurm_protocol::Error| error.to_string();
        let encode = times_ms(count, || message.write().map(|frame| drop(black_box(frame))).map_err(text))?;
        let decode = times_ms(count, || {
            Message::read(&frame, &limits).map(|read| drop(black_box(read))).map_err(text)
        })?;
        let both = encode.iter().zip(&decode).map(|(a, b)| a + b).collect();
        figures.push(Figure::samples(format!("sbatch {version}, {bytes} bytes: encode"), "us", us(encode)));
        figures.push(Figure::samples(format!("sbatch {version}: decode"), "us", us(decode)));
        figures.push(Figure::samples(format!("sbatch {version}: both"), "us", us(both)));
        let envelope = Envelope::read(&frame, &limits).map_err(text)?;
        let hashed = times_ms(count, || {
            black_box(hash::k12(envelope.header.msg_type, envelope.body_bytes));
            Ok(())
        })?;
        figures.push(Figure::samples(format!("sbatch {version}: hash of its body"), "us", us(hashed)));
    }
    let message = Message::new(Version::LAST, listing());
    let bytes = message.write().map_err(|error| error.to_string())?.len();
    let rows = times_ms(count / 100, || {
        message.write().map(|frame| drop(black_box(frame))).map_err(|error| error.to_string())
    })?;
    figures.push(Figure::samples(format!("{JOBS} jobs for squeue, {bytes} bytes: encode"), "us", us(rows)));
    Ok(figures)
}
