//! Samples to figures, and figures to a table.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// One line of a benchmark's result.
#[derive(Clone, Debug)]
pub struct Figure {
    pub what: String,
    pub unit: &'static str,
    /// How many samples, or how many operations behind a single rate.
    pub count: usize,
    pub median: f64,
    /// Absent where there is a single value.
    pub p99: Option<f64>,
}

impl Figure {
    /// A single value, got from `count` operations.
    pub fn value(what: impl Into<String>, unit: &'static str, count: usize, value: f64) -> Figure {
        Figure { what: what.into(), unit, count, median: value, p99: None }
    }

    /// Median and 99th percentile of samples.
    ///
    /// # Panics
    /// Without a sample.
    pub fn samples(what: impl Into<String>, unit: &'static str, mut samples: Vec<f64>) -> Figure {
        assert!(!samples.is_empty(), "a figure needs a sample");
        samples.sort_by(f64::total_cmp);
        let at = |share: f64| samples[((samples.len() - 1) as f64 * share).round() as usize];
        Figure { what: what.into(), unit, count: samples.len(), median: at(0.5), p99: Some(at(0.99)) }
    }

    pub fn to_json(&self) -> Value {
        json!({"what": self.what, "unit": self.unit, "count": self.count, "median": self.median, "p99": self.p99})
    }
}

/// Milliseconds that each of `count` calls took.
pub fn times_ms(count: usize, mut call: impl FnMut() -> Result<(), String>) -> Result<Vec<f64>, String> {
    let timed = |_| {
        let start = Instant::now();
        call()?;
        Ok(ms(start.elapsed()))
    };
    (0..count).map(timed).collect()
}

pub fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// The figures as aligned lines.
pub fn table(figures: &[Figure]) -> String {
    let number = |value: f64| match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    };
    let mut out = format!("  {:44} {:>10} {:>10} {:>8}  unit\n", "", "median", "p99", "count");
    for figure in figures {
        let p99 = figure.p99.map(number).unwrap_or_default();
        let (what, median, count, unit) = (&figure.what, number(figure.median), figure.count, figure.unit);
        out.push_str(&format!("  {what:44} {median:>10} {p99:>10} {count:>8}  {unit}\n"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_and_p99_are_samples_that_were_seen() {
        let figure = Figure::samples("x", "ms", (1..=101).rev().map(f64::from).collect());
        assert_eq!((figure.median, figure.p99, figure.count), (51.0, Some(100.0), 101));
        let one = Figure::samples("x", "ms", vec![7.0]);
        assert_eq!((one.median, one.p99), (7.0, Some(7.0)));
    }

    #[test]
    fn a_table_lines_up() {
        let text =
            table(&[Figure::value("bare", "1/s", 3, 1234.5), Figure::samples("call", "ms", vec![0.5])]);
        let widths: Vec<usize> = text.lines().map(|line| line.rfind("  ").unwrap_or_default()).collect();
        assert_eq!(widths, [77, 77, 77], "{text}");
    }
}
