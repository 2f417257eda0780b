//! Durations and points in time as people type them.
//!
//! Flux's durations (RFC 23), Slurm's clock forms in time limits, and dates in the local time zone.

use crate::failure::Failure;
use flurm_types::{Fsd, Timestamp};
use jiff::civil::{Date, DateTime, Time};
use jiff::{ToSpan, Zoned};

const DATE_HINT: &str =
    "use `+2h`, `-30m`, `13:30`, `tomorrow 6am`, `2026-11-21 13:30`, or seconds since 1970";

/// The wall clock.
pub fn now() -> Timestamp {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// A time limit in seconds: 0 for what the instance says, infinity for none. A bare number is minutes; `1:30:00` and `1-12` are Slurm's forms.
pub fn time_limit(text: &str) -> Result<f64, Failure> {
    let bad = |rule: &str| {
        Failure::usage(format!("cannot read time limit `{text}`: {rule}"))
            .hint("use minutes (`30`), a duration (`1.5h`, `90s`), or `[DAYS-]HOURS:MINUTES:SECONDS`")
    };
    if let Ok(minutes) = text.parse::<f64>() {
        if !minutes.is_finite() || minutes < 0.0 {
            return if text.eq_ignore_ascii_case("inf") || text.eq_ignore_ascii_case("infinity") {
                Ok(f64::INFINITY)
            } else {
                Err(bad("a time limit is a number above zero"))
            };
        }
        return Ok(minutes * 60.0);
    }
    if text.contains([':', '-']) && !text.starts_with('-') {
        return clock(text).ok_or_else(|| bad("not a clock time"));
    }
    let duration: Fsd = text.parse().map_err(|e: flurm_types::SyntaxError| bad(&e.rule))?;
    Ok(duration.as_secs())
}

/// `MM:SS`, `HH:MM:SS`, `D-HH`, `D-HH:MM`, `D-HH:MM:SS` in seconds.
fn clock(text: &str) -> Option<f64> {
    let (days, rest) = match text.split_once('-') {
        Some((days, rest)) => (Some(days.parse::<u32>().ok()?), rest),
        None => (None, text),
    };
    let parts = rest.split(':').map(|part| part.parse::<u32>().ok()).collect::<Option<Vec<u32>>>()?;
    let [hours, minutes, seconds] = match (days, parts.as_slice()) {
        (Some(_), [h]) => [*h, 0, 0],
        (Some(_), [h, m]) => [*h, *m, 0],
        (None, [m, s]) => [0, *m, *s],
        (_, [h, m, s]) => [*h, *m, *s],
        _ => return None,
    };
    let [days, hours, minutes, seconds] = [days.unwrap_or(0), hours, minutes, seconds].map(f64::from);
    Some(((days * 24.0 + hours) * 60.0 + minutes) * 60.0 + seconds)
}

/// A duration with a unit, or seconds.
pub fn duration(text: &str) -> Result<f64, String> {
    text.parse::<Fsd>().map(Fsd::as_secs).map_err(|e| e.rule.into_owned())
}

/// A point in time, seen from `now`.
pub fn instant(text: &str, now: Timestamp) -> Result<Timestamp, Failure> {
    let text = text.trim();
    let bad = || Failure::usage(format!("cannot read time `{text}`")).hint(DATE_HINT);
    let offset = |text: &str, sign: f64| {
        let secs = text.parse::<Fsd>().ok().filter(|d| !d.is_infinite())?.as_secs();
        now.checked_add_secs(sign * secs)
    };
    if let Some(back) = text.strip_prefix('-') {
        return offset(back, -1.0).ok_or_else(bad);
    }
    if let Some(ahead) = text.strip_prefix('+') {
        return offset(ahead, 1.0).ok_or_else(bad);
    }
    if let Ok(epoch) = text.parse::<f64>() {
        return Timestamp::ZERO.checked_add_secs(epoch).filter(|t| t.0 > 0).ok_or_else(bad);
    }
    let here = zoned(now);
    let civil = civil(text, &here).ok_or_else(bad)?;
    let zoned = civil.to_zoned(here.time_zone().clone()).map_err(|_| bad())?;
    Ok(Timestamp(zoned.timestamp().as_microsecond()))
}

/// A date, a time, or a date and a time, from the point of view of `here`.
fn civil(text: &str, here: &Zoned) -> Option<DateTime> {
    let lower = text.to_ascii_lowercase();
    if lower == "now" {
        return Some(here.datetime());
    }
    // Between numbers a `t` separates; words have some of their own.
    let is_number = lower.starts_with(|c: char| c.is_ascii_digit());
    let words = lower.split(|c| c == ' ' || is_number && c == 't');
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    match words.as_slice() {
        [one] => day(one, here.date())
            .map(|date| date.to_datetime(Time::midnight()))
            .or_else(|| Some(here.date().to_datetime(clock_time(one)?))),
        [date, time] => Some(day(date, here.date())?.to_datetime(clock_time(time)?)),
        _ => None,
    }
}

fn day(word: &str, today: Date) -> Option<Date> {
    match word {
        "today" => Some(today),
        "yesterday" => today.checked_sub(1.day()).ok(),
        "tomorrow" => today.checked_add(1.day()).ok(),
        _ => Date::strptime("%Y-%m-%d", word).ok(),
    }
}

/// `13:30`, `13:30:15`, `6am`, `6:30pm`, `noon`, `midnight`.
fn clock_time(word: &str) -> Option<Time> {
    match word {
        "noon" => return Some(Time::constant(12, 0, 0, 0)),
        "midnight" => return Some(Time::midnight()),
        _ => {}
    }
    let half = word.strip_suffix("am").map(|t| (t, 0)).or_else(|| word.strip_suffix("pm").map(|t| (t, 12)));
    let (digits, base) = half.map_or((word, None), |(digits, base)| (digits, Some(base)));
    let mut parts = digits.split(':').map(str::parse::<i8>);
    let mut next = || parts.next().map_or(Some(0), Result::ok);
    let (hour, minute, second) = (next()?, next()?, next()?);
    if parts.next().is_some() || (base.is_none() && !digits.contains(':')) {
        return None;
    }
    let hour = match base {
        Some(base) if (1..=12).contains(&hour) => hour % 12 + base,
        Some(_) => return None,
        None => hour,
    };
    Time::new(hour, minute, second, 0).ok()
}

/// A point in time in the local zone.
pub fn zoned(time: Timestamp) -> Zoned {
    let timestamp = jiff::Timestamp::from_microsecond(time.0).unwrap_or_default();
    timestamp.to_zoned(jiff::tz::TimeZone::system())
}

/// `H:MM:SS`, with days as hours, as elapsed times are shown.
pub fn hms(secs: f64) -> String {
    let whole = secs.max(0.0) as u64;
    format!("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60)
}

/// A duration with few digits: `2.1h`.
pub fn rough(secs: f64) -> String {
    let units = [("d", 86400.0), ("h", 3600.0), ("m", 60.0), ("s", 1.0)];
    for (unit, len) in units {
        if secs >= len {
            return format!("{}{unit}", format_args!("{}", round3(secs / len)));
        }
    }
    format!("{}ms", round3(secs.max(0.0) * 1000.0))
}

/// Three significant digits are as many as a person compares.
fn round3(value: f64) -> f64 {
    format!("{value:.2e}").parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_limits_are_minutes_durations_or_slurms_clock() {
        for (text, secs) in [
            ("30", 1800.0),
            ("0.5", 30.0),
            ("1s", 1.0),
            ("1.5h", 5400.0),
            ("5:30", 330.0),
            ("1:00:00", 3600.0),
            ("1-12", 129_600.0),
            ("1-0:30", 88_200.0),
            ("2-03:04:05", 183_845.0),
            ("inf", f64::INFINITY),
            ("0", 0.0),
        ] {
            assert_eq!(time_limit(text), Ok(secs), "{text}");
        }
        for text in ["", "x", "-5", "1:2:3:4", "1-", "1:x", "1-2-3", "nan"] {
            assert!(time_limit(text).is_err(), "{text}");
        }
    }

    #[test]
    fn points_in_time_are_read_from_now_on_or_from_the_calendar() {
        let now = Timestamp(1_790_000_000_000_000);
        let at = |text: &str| instant(text, now).map(|t| t.secs_since(now));
        assert_eq!(at("+2h"), Ok(7200.0));
        assert_eq!(at("-1m"), Ok(-60.0));
        assert_eq!(at("1790000001"), Ok(1.0));
        assert_eq!(at("now"), Ok(0.0));
        let civil = |text: &str| zoned(instant(text, now).unwrap()).datetime().to_string();
        assert_eq!(civil("2021-06-21 6am"), "2021-06-21T06:00:00");
        assert_eq!(civil("2021-06-21T13:30:15"), "2021-06-21T13:30:15");
        assert_eq!(civil("2021-06-21"), "2021-06-21T00:00:00");
        assert!(civil("tomorrow noon") > civil("today 11:59pm"));
        assert!(civil("yesterday") < civil("today"));
        for bad in ["", "soon", "25:00", "13pm", "7", "+x", "2021-13-01", "last monday"] {
            let read = instant(bad, now);
            // A bare number is seconds since 1970, however long ago.
            assert_eq!(read.is_ok(), bad == "7", "{bad}");
        }
    }

    #[test]
    fn elapsed_times_are_short() {
        assert_eq!(hms(3725.9), "1:02:05");
        assert_eq!(rough(7560.0), "2.1h");
        assert_eq!(rough(0.25), "250ms");
        assert_eq!(rough(59.96), "60s");
    }
}
