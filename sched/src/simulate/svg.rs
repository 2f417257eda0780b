//! A run as a picture (SVG): who ran where and when, below it the share of cores that were held.
//!
//! Jobs are coloured by what tells them apart best: class of co-scheduling, queue, name, else each by itself. The size of
//! the text has a bound: with many jobs there is a path for each colour instead of a rectangle with a title for each
//! job, and with very many a grid of cells.

use super::{Outcome, Run, Trace};
use flurm_types::{Idset, Timestamp};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Size of the picture and places in it, in its own units.
const WIDTH: f64 = 1200.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 1180.0;
const TOP: f64 = 64.0;
const SCHEDULE: f64 = 560.0;
const GAP: f64 = 56.0;
const CURVE: f64 = 140.0;
const HEIGHT: f64 = TOP + SCHEDULE + GAP + CURVE + 48.0;

/// Points of the curve; more are not seen.
const POINTS: usize = 600;

/// Most rectangles with a title each, and most of any kind; behind that come the cells.
const TITLED_MAX: usize = 2000;
const DRAWN_MAX: usize = 40_000;
/// Cells of the grid, each two units wide and high.
const COLUMNS: usize = ((RIGHT - LEFT) / 2.0) as usize;
const ROWS: usize = (SCHEDULE / 2.0) as usize;

/// Colours that can be told apart, by those who see fewer of them as well; those behind share the last one.
const COLOURS: [&str; 10] = [
    "#4e79a7", "#f28e2b", "#59a14f", "#e15759", "#76b7b2", "#edc948", "#b07aa1", "#9c755f", "#ff9da7",
    "#bab0ac",
];

/// Hues for jobs that have a colour each.
const HUES: u64 = 24;

/// More nodes than this have no room for a name each.
const NAMED_MAX: usize = 24;

/// Ticks of an axis are as many or fewer.
const TICKS_MAX: f64 = 10.0;

/// Steps of the time axis in seconds, and from where on a unit is used.
const STEPS: [f64; 22] = [
    1.0,
    2.0,
    5.0,
    10.0,
    15.0,
    30.0,
    60.0,
    120.0,
    300.0,
    600.0,
    900.0,
    1800.0,
    3600.0,
    7200.0,
    10_800.0,
    21_600.0,
    43_200.0,
    86_400.0,
    172_800.0,
    432_000.0,
    864_000.0,
    1_728_000.0,
];
const UNITS: [(f64, &str); 4] = [(86_400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s")];

/// What was where: times in seconds from the beginning, rows of cores counted from below.
struct Part {
    colour: usize,
    outcome: usize,
    time: (f64, f64),
    rows: (f64, f64),
}

/// The colours of jobs in the order of the trace, and what they stand for.
struct Palette {
    of_job: Vec<usize>,
    /// Colour and meaning; none where every job has its own.
    legend: Vec<String>,
    colours: Vec<String>,
}

impl Run {
    /// The picture; the trace is the one that was run.
    #[must_use]
    pub fn to_svg(&self, trace: &Trace, title: &str) -> String {
        let begin = self.begin();
        let span = self.end().secs_since(begin).max(1.0);
        let palette = palette(trace);
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" \
             height=\"{HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\" fill=\"#222\">\n\
             <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n\
             <text x=\"{LEFT}\" y=\"24\" font-size=\"16\">{}</text>\n",
            escaped(title)
        );
        legend(&mut out, &palette);
        self.time_axis(&mut out, span);
        self.parts(&mut out, begin, span, &palette);
        self.core_axis(&mut out);
        self.curve(&mut out, begin, span);
        out.push_str("</svg>\n");
        out
    }

    /// Lines and labels of time, through both pictures.
    fn time_axis(&self, out: &mut String, span: f64) {
        let floor = HEIGHT - 48.0;
        let step = STEPS.into_iter().find(|step| span / step <= TICKS_MAX);
        // Beyond weeks, days in round numbers.
        let step = step.unwrap_or_else(|| round_step(span / 86_400.0) * 86_400.0);
        let (unit, name) = UNITS.into_iter().find(|(unit, _)| step >= *unit).unwrap_or((1.0, "s"));
        let count = (span / step) as usize;
        out.push_str("<g stroke=\"#ddd\" text-anchor=\"middle\">\n");
        for n in 0..=count {
            let at = n as f64 * step;
            let x = LEFT + at / span * (RIGHT - LEFT);
            put(
                out,
                format_args!(
                    "<path d=\"M{x:.1} {TOP}V{}M{x:.1} {}V{}\"/><text x=\"{x:.1}\" y=\"{}\" stroke=\"none\">{}</text>\n",
                    TOP + SCHEDULE,
                    floor - CURVE,
                    floor + 4.0,
                    floor + 18.0,
                    at / unit
                ),
            );
        }
        put(
            out,
            format_args!(
                "<text x=\"{}\" y=\"{}\" stroke=\"none\">time since the first submission ({name})</text>\n</g>\n",
                (LEFT + RIGHT) / 2.0,
                floor + 38.0
            ),
        );
    }

    /// Nodes by name if there are few, else numbers of cores.
    fn core_axis(&self, out: &mut String) {
        let all = self.inventory.ncores().max(1) as f64;
        let y = |row: f64| TOP + SCHEDULE - row / all * SCHEDULE;
        out.push_str("<g stroke=\"#888\" fill=\"none\" text-anchor=\"end\">\n");
        let label = |out: &mut String, row: f64, text: &str| {
            let (x, y) = (LEFT - 8.0, y(row) + 4.0);
            put(
                out,
                format_args!("<text x=\"{x}\" y=\"{y:.1}\" stroke=\"none\" fill=\"#222\">{text}</text>\n"),
            );
        };
        if self.inventory.nnodes() <= NAMED_MAX {
            let mut row = 0.0;
            for node in &self.inventory.nodes {
                let cores = node.cores.len() as f64;
                label(out, row + cores / 2.0, &escaped(&short(&node.host)));
                row += cores;
                if row < all {
                    put(
                        out,
                        format_args!(
                            "<path d=\"M{} {:.1}H{RIGHT}\" stroke-width=\"0.6\"/>\n",
                            LEFT - 4.0,
                            y(row)
                        ),
                    );
                }
            }
        } else {
            let step = round_step(all);
            for n in 0..=(all / step) as usize {
                label(out, n as f64 * step, &format!("{}", n as f64 * step));
            }
            let middle = TOP + SCHEDULE / 2.0;
            put(
                out,
                format_args!(
                    "<text transform=\"translate(18 {middle}) rotate(-90)\" text-anchor=\"middle\" stroke=\"none\" \
                     fill=\"#222\">cores of {} nodes</text>\n",
                    self.inventory.nnodes()
                ),
            );
        }
        put(out, format_args!("<path d=\"M{LEFT} {TOP}V{}H{RIGHT}\"/>\n</g>\n", TOP + SCHEDULE));
    }

    /// The jobs.
    fn parts(&self, out: &mut String, begin: Timestamp, span: f64, palette: &Palette) {
        let rows = self.rows();
        let mut parts: Vec<Part> = Vec::new();
        for (n, outcome) in self.outcomes.iter().enumerate() {
            let Some(ran) = &outcome.ran else { continue };
            let time = (ran.start.secs_since(begin), ran.end.secs_since(begin));
            let colour = palette.of_job.get(n).copied().unwrap_or(0);
            let first = parts.len();
            for node in &ran.r.nodes {
                for rows in rows_of(&rows, node.rank, &node.cores) {
                    // Neighbouring nodes are drawn in one piece.
                    match parts[first..].last_mut() {
                        Some(last) if last.rows.1 == rows.0 => last.rows.1 = rows.1,
                        _ => parts.push(Part { colour, outcome: n, time, rows }),
                    }
                }
            }
        }
        let all = self.inventory.ncores().max(1) as f64;
        let mut paths = vec![String::new(); palette.colours.len()];
        let mut put_box = |colour: usize, x: f64, y: f64, width: f64, height: f64| {
            put(&mut paths[colour], format_args!("M{x:.1} {y:.1}h{width:.1}v{height:.1}h-{width:.1}z"));
        };
        let place = |part: &Part| {
            let (x, right) = (part.time.0 / span, part.time.1 / span);
            let (y, bottom) = (1.0 - part.rows.1 / all, 1.0 - part.rows.0 / all);
            let (x, width) = (LEFT + x * (RIGHT - LEFT), (right - x) * (RIGHT - LEFT));
            (x, TOP + y * SCHEDULE, width, (bottom - y) * SCHEDULE)
        };
        if parts.len() > DRAWN_MAX {
            cells(&parts, span, all, &mut put_box);
        } else if parts.len() > TITLED_MAX {
            for part in &parts {
                let (x, y, width, height) = place(part);
                put_box(part.colour, x, y, width.max(0.1), height.max(0.1));
            }
        } else {
            out.push_str("<g stroke=\"white\" stroke-width=\"0.5\">\n");
            for part in &parts {
                let (x, y, width, height) = place(part);
                let Outcome { number, submit, .. } = &self.outcomes[part.outcome];
                let submit = submit.secs_since(begin);
                put(
                    out,
                    format_args!(
                        "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{height:.1}\" fill=\"{}\"><title>job \
                         {number}: submitted at {submit:.0} s, ran from {:.0} s to {:.0} s</title></rect>\n",
                        width.max(0.3),
                        palette.colours[part.colour],
                        part.time.0,
                        part.time.1,
                    ),
                );
            }
            out.push_str("</g>\n");
        }
        for (path, colour) in paths.iter().zip(&palette.colours).filter(|(path, _)| !path.is_empty()) {
            put(out, format_args!("<path fill=\"{colour}\" d=\"{path}\"/>\n"));
        }
    }

    fn curve(&self, out: &mut String, begin: Timestamp, span: f64) {
        let all = self.inventory.ncores().max(1) as f64;
        let floor = HEIGHT - 48.0;
        let width = (RIGHT - LEFT) / POINTS as f64;
        let mut area = format!("M{LEFT} {floor}");
        for (n, held) in self.held(begin, span).into_iter().enumerate() {
            let y = floor - (held / all).clamp(0.0, 1.0) * CURVE;
            put(&mut area, format_args!("V{y:.1}H{:.1}", LEFT + (n + 1) as f64 * width));
        }
        put(
            out,
            format_args!(
                "<path d=\"{area}V{floor}z\" fill=\"#4e79a7\" fill-opacity=\"0.35\" stroke=\"#4e79a7\"/>\n"
            ),
        );
        put(
            out,
            format_args!(
                "<path d=\"M{LEFT} {}V{floor}H{RIGHT}\" stroke=\"#888\" fill=\"none\"/>\n<g text-anchor=\"end\">\n",
                floor - CURVE
            ),
        );
        for percent in [0.0, 50.0, 100.0] {
            let y = floor - percent / 100.0 * CURVE + 4.0;
            put(out, format_args!("<text x=\"{}\" y=\"{y}\">{percent}%</text>\n", LEFT - 8.0));
        }
        put(out, format_args!("</g>\n<text x=\"{LEFT}\" y=\"{}\">cores held</text>\n", floor - CURVE - 10.0));
    }

    pub(super) fn begin(&self) -> Timestamp {
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

/// Parts as cells, equal neighbours to the right in one piece; whoever comes last has the cell.
fn cells(parts: &[Part], span: f64, all: f64, put_box: &mut impl FnMut(usize, f64, f64, f64, f64)) {
    let mut grid = vec![usize::MAX; COLUMNS * ROWS];
    let place = |at: f64, of: f64, count: usize| ((at / of * count as f64) as usize).min(count);
    for part in parts {
        let (left, right) = (place(part.time.0, span, COLUMNS), place(part.time.1, span, COLUMNS));
        let (low, high) = (place(part.rows.0, all, ROWS), place(part.rows.1, all, ROWS));
        // Even the smallest one is seen, unless another comes after it.
        for row in low.min(ROWS - 1)..high.max(low + 1).min(ROWS) {
            let first = row * COLUMNS;
            grid[first + left.min(COLUMNS - 1)..first + right.max(left + 1).min(COLUMNS)].fill(part.colour);
        }
    }
    for (row, line) in grid.chunks(COLUMNS).enumerate() {
        let mut from = 0;
        for run in line.chunk_by(|a, b| a == b) {
            if run[0] != usize::MAX {
                let (x, y) = (LEFT + 2.0 * from as f64, TOP + SCHEDULE - 2.0 * (row + 1) as f64);
                put_box(run[0], x, y, 2.0 * run.len() as f64, 2.0);
            }
            from += run.len();
        }
    }
}

/// What tells the jobs apart, the most frequent first.
fn palette(trace: &Trace) -> Palette {
    let attribute = |n: usize, which: usize| -> &str {
        let attributes = trace.jobs[n].jobspec.attributes();
        let word = match which {
            0 => trace.jobs[n].class.as_deref(),
            1 => attributes.queue.as_deref(),
            _ => attributes.job_name.as_deref(),
        };
        word.unwrap_or("")
    };
    for (which, nothing) in [(0, "no class"), (1, "no queue"), (2, "no name")] {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for n in 0..trace.jobs.len() {
            *counts.entry(attribute(n, which)).or_default() += 1;
        }
        // Names tell apart only where there are few of them.
        if counts.len() < 2 || which == 2 && counts.len() > COLOURS.len() {
            continue;
        }
        let mut words: Vec<(&str, usize)> = counts.into_iter().collect();
        words.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let last = COLOURS.len() - 1;
        let place: BTreeMap<&str, usize> =
            words.iter().enumerate().map(|(n, (word, _))| (*word, n.min(last))).collect();
        let of_job = (0..trace.jobs.len()).map(|n| place[attribute(n, which)]).collect();
        let mut legend: Vec<String> =
            words.iter().take(COLOURS.len()).map(|(word, _)| (*word).to_owned()).collect();
        legend.iter_mut().filter(|word| word.is_empty()).for_each(|word| nothing.clone_into(word));
        if words.len() > COLOURS.len() {
            "others".clone_into(&mut legend[last]);
        }
        return Palette { of_job, legend, colours: COLOURS.map(str::to_owned).to_vec() };
    }
    // Neighbours get colours far apart.
    let of_job =
        trace.jobs.iter().map(|job| (job.number.wrapping_mul(137) % 360 * HUES / 360) as usize).collect();
    let colours = (0..HUES).map(|n| format!("hsl({},55%,62%)", n * 360 / HUES)).collect();
    Palette { of_job, legend: Vec::new(), colours }
}

fn legend(out: &mut String, palette: &Palette) {
    let mut x = LEFT;
    for (word, colour) in palette.legend.iter().zip(&palette.colours) {
        let word = short(word);
        put(
            out,
            format_args!(
                "<rect x=\"{x:.0}\" y=\"38\" width=\"12\" height=\"12\" fill=\"{colour}\"/><text x=\"{:.0}\" y=\"48\">{}</text>\n",
                x + 16.0,
                escaped(&word)
            ),
        );
        // The width of a letter is a guess on the safe side.
        x += 34.0 + 7.5 * word.chars().count() as f64;
    }
}

/// 1, 2 or 5 with zeros behind, such that there are few enough ticks; at least 1.
fn round_step(span: f64) -> f64 {
    let mut ten = 1.0;
    loop {
        if let Some(step) = [1.0, 2.0, 5.0].map(|n| n * ten).into_iter().find(|step| span / step <= TICKS_MAX)
        {
            return step;
        }
        ten *= 10.0;
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

/// A name of a length for which there is room.
fn short(name: &str) -> String {
    if name.chars().count() <= 12 { name.to_owned() } else { name.chars().take(11).chain(['…']).collect() }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a String takes every text");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round_and_few() {
        for (span, step) in
            [(0.5, 1.0), (10.0, 1.0), (11.0, 2.0), (21.0, 5.0), (51.0, 10.0), (101.0, 20.0), (1e4, 1e3)]
        {
            assert_eq!(round_step(span), step, "{span}");
        }
    }
}
