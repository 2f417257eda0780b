//! Readers of `flurm-sched`: any bytes are a trace or are refused, and what was read is written and read again as the
//! same.

use flurm_sched::simulate::Trace;

type Body = fn(&[u8]);

/// Name, body, and texts to start from.
pub const TARGETS: &[(&str, Body, &[&str])] = &[(
    "trace",
    trace,
    &[
        "; UnixStartTime: 0\n1 0 -1 1451 128 -1 -1 128 2000 -1 1 1 1 1 1 -1 -1 -1\n2 10.5 3 60 4 -1 -1 8 -1 -1 0 -1 -1 7 -1\n",
        "# a mix\n{\"submit\":0,\"runtime\":10.25,\"ntasks\":4,\"class\":\"memory\",\"cosched\":true,\"wait\":3}\n{\"id\":7,\"submit\":1,\"runtime\":5,\"nodes\":2,\"ntasks\":3,\"exclusive\":true,\"priority\":-3,\"queue\":\"q\",\"constraint\":\"thin -host:n1\"}\n{\"submit\":2,\"runtime\":9,\"group\":\"g:3\",\"cores_per_task\":2,\"gpus_per_task\":1,\"duration\":60,\"name\":\"x\"}\n{\"submit\":3,\"runtime\":1,\"jobspec\":{\"version\":1,\"resources\":[{\"type\":\"slot\",\"count\":\"2-4\",\"label\":\"a\",\"with\":[{\"type\":\"core\",\"count\":1}]}],\"tasks\":[{\"command\":[\"x\"],\"slot\":\"a\",\"count\":{\"per_slot\":1}}],\"attributes\":{\"system\":{\"placement\":\"high\"}}}}\n",
    ],
)];

pub fn trace(bytes: &[u8]) {
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    if let Ok(mut trace) = Trace::parse(text) {
        let read = Trace::parse(&trace.to_json_lines());
        // Who never ran is not written, and of the others what has no part in scheduling is left out.
        trace.never_ran = 0;
        for job in &mut trace.jobs {
            let jobspec = flurm_jobspec::Jobspec::parse(&job.jobspec.to_json_without_environment());
            job.jobspec = jobspec.expect("it was written").into();
        }
        assert_eq!(read, Ok(trace));
    }
}
