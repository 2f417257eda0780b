//! Units of memory and other room for bytes. Where people write GB they mean what machines have, which is GiB.

/// Units with the power of two that they stand for; the first of each is the one that is written.
const UNITS: &[(&[&str], u32)] = &[
    (&["B", "byte", "bytes"], 0),
    (&["KiB", "KB", "kB", "K", "k"], 10),
    (&["MiB", "MB", "M"], 20),
    (&["GiB", "GB", "G"], 30),
    (&["TiB", "TB", "T"], 40),
    (&["PiB", "PB", "P"], 50),
];

/// How many bytes one of a unit is, if it is a unit of bytes.
pub(crate) fn bytes(unit: &str) -> Option<u64> {
    let (_, power) = UNITS.iter().find(|(names, _)| names.contains(&unit))?;
    Some(1 << power)
}

/// So much memory in bytes; what has no unit is in GiB.
pub(crate) fn memory(size: u64, unit: &str) -> Option<u64> {
    Some(size.saturating_mul(bytes(if unit.is_empty() { "GiB" } else { unit })?))
}

/// So much of something as text; bytes in the largest unit that has no fraction.
///
/// ```
/// use flurm_resource_graph::amount;
///
/// assert_eq!((amount(4 << 30, "B").as_str(), amount(3, "W").as_str(), amount(2, "").as_str()), ("4 GiB", "3 W", "2"));
/// ```
#[must_use]
pub fn amount(amount: u64, unit: &str) -> String {
    let (amount, unit) = if unit == "B" { largest(amount) } else { (amount, unit) };
    format!("{amount} {unit}").trim_end().to_owned()
}

/// So many bytes, in the largest unit that has no fraction.
pub(crate) fn largest(amount: u64) -> (u64, &'static str) {
    let whole = UNITS.iter().rev().find(|(_, power)| amount > 0 && amount.trailing_zeros() >= *power);
    whole.map_or((amount, "B"), |(names, power)| (amount >> power, names[0]))
}
