//! Runs as text: a table of policies side by side, CSV of all jobs, and pictures (SVG).

use super::{Outcome, Report, Run};
use flurm_types::{Idset, Timestamp};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Size of the picture in its own units.
const WIDTH: f64 = 1200.0;
const SCHEDULE_HEIGHT: f64 = 600.0;
const CURVE_HEIGHT: f64 = 160.0;
const MARGIN: f64 = 50.0;

/// Points of the curve; more are not seen.
const POINTS: usize = 600;

impl Report {
    /// Reports side by side, each with its name.
    #[must_use]
    pub fn table(reports: &[(String, Report)]) -> String {
        let mut out = format!(
            "{:16} {:>8} {:>8} {:>12} {:>12} {:>12} {:>12} {:>10} {:>8}\n",
            "policy",
            "jobs",
            "refused",
            "makespan s",
            "mean wait s",
            "p95 wait s",
            "max wait s",
            "slow-down",
            "used"
        );
        for (name, r) in reports {
            writeln!(
                out,
                "{name:16} {:>8} {:>8} {:>12.0} {:>12.1} {:>12.1} {:>12.1} {:>10.2} {:>7.2}%",
                r.jobs,
                r.refused,
                r.makespan_s,
                r.wait_mean_s,
                r.wait_p95_s,
                r.wait_max_s,
                r.bounded_slowdown_mean,
                r.utilisation * 100.0
            )
            .expect("a String takes every text");
        }
        out
    }
}

impl Run {
    /// A line for each job; times from the beginning of the trace.
    #[must_use]
    pub fn to_csv(&self) -> String {
        let mut out = "job,submit_s,start_s,end_s,wait_s,cores,nodes,ranks\n".to_owned();
        let begin = self.begin();
        for Outcome { number, submit, ran, .. } in &self.outcomes {
            let since = |at: Timestamp| at.secs_since(begin);
            let line = match ran {
                Some(ran) => format!(
                    "{number},{},{},{},{},{},{},\"{}\"",
                    since(*submit),
                    since(ran.start),
                    since(ran.end),
                    ran.start.secs_since(*submit),
                    ran.r.ncores(),
                    ran.r.nnodes(),
                    ran.r.ranks()
                ),
                None => format!("{number},{},,,,,,", since(*submit)),
            };
            out.push_str(&line);
            out.push('\n');
        }
        out
    }

    /// Who ran where and when: time to the right, cores upwards; below it the share of cores that were held.
    #[must_use]
    pub fn to_svg(&self) -> String {
        let (begin, end) = (self.begin(), self.end());
        let span = end.secs_since(begin).max(1.0);
        let x = |at: Timestamp| MARGIN + at.secs_since(begin) / span * (WIDTH - 2.0 * MARGIN);
        let height = SCHEDULE_HEIGHT + CURVE_HEIGHT + 3.0 * MARGIN;
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
             font-size=\"12\">\n<rect width=\"{WIDTH}\" height=\"{height}\" fill=\"white\"/>\n"
        );
        let rows = self.rows();
        let all = self.inventory.ncores().max(1) as f64;
        let y = |row: f64| MARGIN + SCHEDULE_HEIGHT - row / all * SCHEDULE_HEIGHT;
        for outcome in &self.outcomes {
            let Some(ran) = &outcome.ran else { continue };
            let (left, right) = (x(ran.start), x(ran.end));
            // Neighbours get colours far apart.
            let hue = outcome.number.wrapping_mul(137) % 360;
            for node in &ran.r.nodes {
                for (lo, hi) in rows_of(&rows, node.rank, &node.cores) {
                    let (top, bottom) = (y(hi), y(lo));
                    writeln!(
                        out,
                        "<rect x=\"{left:.2}\" y=\"{top:.2}\" width=\"{:.2}\" height=\"{:.2}\" \
                         fill=\"hsl({hue},60%,65%)\" stroke=\"#444\" stroke-width=\"0.2\"><title>job {}: {:.0} s to \
                         {:.0} s</title></rect>",
                        (right - left).max(0.2),
                        bottom - top,
                        outcome.number,
                        ran.start.secs_since(begin),
                        ran.end.secs_since(begin)
                    )
                    .expect("a String takes every text");
                }
            }
        }
        let floor = height - MARGIN;
        let curve = self.held(begin, span).into_iter().enumerate().map(|(n, held)| {
            let x = MARGIN + (n as f64 + 0.5) / POINTS as f64 * (WIDTH - 2.0 * MARGIN);
            format!("{x:.1},{:.1}", floor - held / all * CURVE_HEIGHT)
        });
        let points: Vec<String> = curve.collect();
        let right = WIDTH - MARGIN;
        write!(
            out,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"#036\"/>\n<path d=\"M{MARGIN},{floor} H{right} M{MARGIN},{floor} \
             v-{CURVE_HEIGHT} M{MARGIN},{} H{right} M{MARGIN},{MARGIN} v{SCHEDULE_HEIGHT}\" stroke=\"#888\" \
             fill=\"none\"/>\n<text x=\"{MARGIN}\" y=\"{}\">{} cores, {span:.0} s</text>\n<text x=\"{MARGIN}\" y=\"{}\">share of \
             cores held</text>\n</svg>\n",
            points.join(" "),
            MARGIN + SCHEDULE_HEIGHT,
            MARGIN - 10.0,
            self.inventory.ncores(),
            floor - CURVE_HEIGHT - 6.0,
        )
        .expect("a String takes every text");
        out
    }

    fn begin(&self) -> Timestamp {
        self.outcomes.iter().map(|job| job.submit).min().unwrap_or_default()
    }

    fn end(&self) -> Timestamp {
        self.outcomes.iter().filter_map(|job| Some(job.ran.as_ref()?.end)).max().unwrap_or(self.begin())
    }

    /// The row of the first core of each rank, with its cores.
    fn rows(&self) -> BTreeMap<u32, (usize, &Idset)> {
        let mut row = 0;
        let rows = self.inventory.nodes.iter().map(|node| {
            let first = row;
            row += node.cores.len();
            (node.rank, (first, &node.cores))
        });
        rows.collect()
    }

    /// Mean number of cores held in each of the curve's points.
    fn held(&self, begin: Timestamp, span: f64) -> Vec<f64> {
        // What is added at the beginning of a job and taken away at its end, within a point and behind it.
        let mut change = vec![0.0; POINTS + 2];
        let mut ramp = |at: f64, cores: f64| {
            let place = (at / span * POINTS as f64).clamp(0.0, POINTS as f64);
            let (point, part) = (place as usize, place.fract());
            change[point] += cores * (1.0 - part);
            change[point + 1] += cores * part;
        };
        for ran in self.outcomes.iter().filter_map(|job| job.ran.as_ref()) {
            let cores = ran.r.ncores() as f64;
            ramp(ran.start.secs_since(begin), cores);
            ramp(ran.end.secs_since(begin), -cores);
        }
        let mut sum = 0.0;
        let sums = change.into_iter().take(POINTS).map(|change| {
            sum += change;
            sum
        });
        sums.collect()
    }
}

/// Runs of neighbouring rows that these cores of a rank take.
fn rows_of(rows: &BTreeMap<u32, (usize, &Idset)>, rank: u32, cores: &Idset) -> Vec<(f64, f64)> {
    let Some((first, all)) = rows.get(&rank) else { return Vec::new() };
    let mut out: Vec<(f64, f64)> = Vec::new();
    for core in cores.iter() {
        let row = (first + all.position(core)) as f64;
        match out.last_mut() {
            Some((_, hi)) if *hi == row => *hi = row + 1.0,
            _ => out.push((row, row + 1.0)),
        }
    }
    out
}
