//! Listings: the format language of `-o`, for rows of any kind.
//!
//! A format is text with fields in braces, as in Python, and some signs more:
//!
//! ```text
//! sort:-t_submit ?:{id.f58:>12} +:{name:<10.10+} {t_submit!D:h}
//! ```
//!
//! `?:` leaves the column out when it is empty in all rows, `+:` widens it to its longest value, `?+:` does both.
//! In the spec, a final `+` marks values that were cut, `h` shows `-` for empty ones. Conversions are `!D` date,
//! `!d` date by `strftime`, `!F` duration, `!H` hours, `!P` percent. `sort:` names keys. What a row knows is a
//! table of [`Column`]s; `cell.rs` has values and their specs, `like.rs` finds what was meant, `number.rs` Python's
//! numbers, `own.rs` the formats that people keep in files.

mod cell;
mod like;
mod number;
mod own;

pub use cell::Value;

use crate::failure::Failure;
use cell::Spec;
use std::io::{self, Write};

/// One thing a listing knows about a row. A name that ends in `.` stands for all names that begin so.
pub struct Column<T: 'static> {
    pub name: &'static str,
    pub header: &'static str,
    /// The second argument is what follows a name that ends in `.`.
    pub value: fn(&T, &str) -> Value,
}

/// A format that has been read: which columns, and how wide.
pub struct Format<T: 'static> {
    fields: Vec<Field<T>>,
    /// After the last field.
    tail: String,
    sort: Vec<(Chosen<T>, bool)>,
    /// Longer lines are cut.
    len_max: Option<usize>,
}

struct Field<T: 'static> {
    /// The text before it, which goes when the column goes.
    before: String,
    chosen: Chosen<T>,
    spec: Spec,
    drop_empty: bool,
    widen: bool,
}

/// A column, and the rest of the name where it stands for many.
struct Chosen<T: 'static> {
    column: &'static Column<T>,
    rest: String,
}

impl<T> Chosen<T> {
    fn find(name: &str, columns: &'static [Column<T>]) -> Result<Chosen<T>, Failure> {
        let exact = columns.iter().find(|column| column.name == name);
        let found = exact.map(|column| Chosen { column, rest: String::new() }).or_else(|| {
            columns.iter().filter(|column| column.name.ends_with('.')).find_map(|column| {
                let rest = name.strip_prefix(column.name).filter(|rest| !rest.is_empty())?;
                Some(Chosen { column, rest: rest.to_owned() })
            })
        });
        found.ok_or_else(|| {
            let names = columns.iter().map(|column| column.name);
            let all = "`-o help` lists all fields";
            let hint = match like::nearest(name, names) {
                Some(near) => format!("did you mean `{near}`? {all}"),
                None => all.to_owned(),
            };
            Failure::usage(format!("no field `{name}` here")).hint(hint)
        })
    }

    fn value(&self, row: &T) -> Value {
        (self.column.value)(row, &self.rest)
    }

    fn header(&self) -> String {
        if self.rest.is_empty() { self.column.header.to_owned() } else { self.rest.to_uppercase() }
    }
}

/// What a listing is called with.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// A named format or a format string; `help` lists the names and fields, `get-config=NAME` prints one as a file has it
    #[arg(short = 'o', long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Print no header line
    #[arg(short, long, alias = "suppress-header")]
    pub no_header: bool,
}

/// Formats by name; the first one is the default.
pub type Named = &'static [(&'static str, &'static str)];

impl Options {
    /// `-o json`, which is `--json`; the listing needs no format then.
    pub fn take_json(&mut self) -> bool {
        self.format.take_if(|format| format == "json").is_some()
    }

    /// Was one asked for?
    pub fn is_asked(&self) -> bool {
        self.format.is_some()
    }

    /// The format that is asked for; none when something was printed instead: `help`, or one for a file.
    pub fn read<T>(
        &self,
        variable: &str,
        named: Named,
        columns: &'static [Column<T>],
    ) -> Result<Option<Format<T>>, Failure> {
        let from_environment = || std::env::var(variable).ok().filter(|v| !v.is_empty());
        let asked = self.format.clone().or_else(from_environment).unwrap_or_else(|| "default".to_owned());
        let known = named.iter().find(|(name, _)| *name == asked);
        if let Some((_, text)) = known {
            return Format::parse(text, columns).map(Some);
        }
        if asked.contains('{') {
            return Format::parse(&asked, columns).map(Some);
        }
        let own = own::Files::of(variable).read()?;
        if asked == "help" {
            let mut out = crate::out::stdout();
            for (name, text) in named {
                writeln!(out, "{name:<10} {text}")?;
            }
            for (name, own) in &own.formats {
                let about = if own.description.is_empty() { &own.format } else { &own.description };
                writeln!(out, "{name:<10} {about}")?;
            }
            for column in columns {
                writeln!(out, "  {{{}}}", column.name)?;
            }
            return Ok(None);
        }
        let find = |name: &str| {
            let ours = named.iter().find(|(n, _)| *n == name).map(|(_, text)| (*text, ""));
            ours.or_else(|| own.formats.get(name).map(|own| (&*own.format, &*own.description))).ok_or_else(
                || {
                    let names = named.iter().map(|(name, _)| *name);
                    let names: Vec<&str> = names.chain(own.formats.keys().map(String::as_str)).collect();
                    Failure::usage(format!("no format is called `{name}`"))
                        .hint(format!("named formats: {}; others have fields in braces", names.join(" ")))
                },
            )
        };
        if let Some(name) = asked.strip_prefix("get-config=") {
            let (text, about) = find(name)?;
            write!(crate::out::stdout(), "{}", own.snippet(name, about, text))?;
            return Ok(None);
        }
        Format::parse(find(&asked)?.0, columns).map(Some)
    }
}

impl<T> Format<T> {
    /// Reads a format.
    pub fn parse(text: &str, columns: &'static [Column<T>]) -> Result<Format<T>, Failure> {
        let bad = |rule: &str| Failure::usage(format!("cannot read format `{text}`: {rule}"));
        let (mut rest, mut sort) = (text, Vec::new());
        if let Some(keys) = text.strip_prefix("sort:") {
            let (keys, after) = keys.split_once(' ').unwrap_or((keys, ""));
            sort = sort_keys(keys, columns)?;
            rest = after;
        }
        let mut fields = Vec::new();
        let mut before = String::new();
        while let Some(at) = rest.find(['{', '}']) {
            before.push_str(&rest[..at]);
            let doubled = rest[at..].starts_with("{{") || rest[at..].starts_with("}}");
            if doubled {
                before.push_str(&rest[at..=at]);
                rest = &rest[at + 2..];
                continue;
            }
            if rest[at..].starts_with('}') {
                return Err(bad("a `}` without its `{`; write `}}` for the sign itself"));
            }
            let len = rest[at..].find('}').ok_or_else(|| bad("a `{` is not closed"))?;
            let inside = &rest[at + 1..at + len];
            let (drop_empty, widen) = take_flags(&mut before);
            let name_len = inside.find(['!', ':']).unwrap_or(inside.len());
            let spec = Spec::parse(&inside[name_len..]).map_err(|rule| bad(&rule))?;
            let chosen = Chosen::find(&inside[..name_len], columns)?;
            fields.push(Field { before: std::mem::take(&mut before), chosen, spec, drop_empty, widen });
            rest = &rest[at + len + 1..];
        }
        before.push_str(rest);
        if fields.is_empty() {
            return Err(bad("there is no field in it"));
        }
        Ok(Format { fields, tail: before, sort, len_max: None })
    }

    /// Adds or replaces the order of rows.
    pub fn sort_by(&mut self, keys: &str, columns: &'static [Column<T>]) -> Result<(), Failure> {
        self.sort = sort_keys(keys, columns)?;
        Ok(())
    }

    /// Cuts lines that are longer.
    pub fn cut_at(&mut self, len: usize) {
        self.len_max = Some(len);
    }

    /// Does the format show this column, or order by it?
    pub fn shows(&self, name: &str) -> bool {
        self.needs(|column| column == name)
    }

    /// Does the format show a column that is called so, or order by it?
    pub fn needs(&self, called: impl Fn(&str) -> bool) -> bool {
        let sorted = self.sort.iter().map(|(chosen, _)| chosen);
        self.fields.iter().map(|field| &field.chosen).chain(sorted).any(|chosen| called(chosen.column.name))
    }

    /// Prints all rows, each line in the colour that `paint` gives it.
    pub fn print(
        &self,
        out: &mut impl Write,
        rows: &mut [T],
        header: bool,
        paint: impl Fn(&T) -> Option<&'static str>,
    ) -> io::Result<()> {
        if !self.sort.is_empty() {
            rows.sort_by_cached_key(|row| self.order(row));
        }
        let shown = self.settled(&rows.iter().collect::<Vec<_>>());
        if header {
            self.line(out, shown.iter().map(|(field, spec)| (*field, spec.header(&field.chosen.header()))))?;
        }
        for row in rows.iter() {
            let cells = shown.iter().map(|(field, spec)| (*field, spec.show(&field.chosen.value(row))));
            match paint(row) {
                None => self.line(out, cells)?,
                Some(colour) => {
                    let mut line = Vec::new();
                    self.line(&mut line, cells)?;
                    line.pop();
                    out.write_all(colour.as_bytes())?;
                    out.write_all(&line)?;
                    out.write_all(b"\x1b[0m\n")?;
                }
            }
        }
        Ok(())
    }

    /// One row on its own.
    pub fn text(&self, row: &T) -> String {
        self.lines(&[row]).1.pop().unwrap_or_default()
    }

    /// The header and a line for each row, as they are.
    pub fn lines(&self, rows: &[&T]) -> (String, Vec<String>) {
        let shown = self.settled(rows);
        let line = |cell: &dyn Fn(&Field<T>, &Spec) -> String| {
            let cells = shown.iter().map(|(field, spec)| format!("{}{}", field.before, cell(field, spec)));
            cells.chain([self.tail.clone()]).collect::<String>()
        };
        let header = line(&|field, spec| spec.header(&field.chosen.header()));
        let rows = rows.iter().map(|row| line(&|field, spec| spec.show(&field.chosen.value(row))));
        (header, rows.collect())
    }

    /// What the whole column decides is decided once.
    fn settled(&self, rows: &[&T]) -> Vec<(&Field<T>, Spec)> {
        self.fields.iter().filter_map(|field| Some((field, field.settled(rows)?))).collect()
    }

    fn line<'a>(
        &self,
        out: &mut impl Write,
        cells: impl Iterator<Item = (&'a Field<T>, String)>,
    ) -> io::Result<()> {
        let mut line = String::new();
        for (field, cell) in cells {
            line.push_str(&field.before);
            line.push_str(&cell);
        }
        line.push_str(&self.tail);
        // Padding after the last column is nothing anybody wants to copy.
        let line = line.trim_end();
        let cut = self.len_max.and_then(|max| line.char_indices().nth(max)).map_or(line.len(), |(at, _)| at);
        out.write_all(&line.as_bytes()[..cut])?;
        out.write_all(b"\n")
    }

    /// A key that orders rows as `sort:` says.
    fn order(&self, row: &T) -> Vec<cell::Order> {
        self.sort.iter().map(|(chosen, down)| cell::Order::new(chosen.value(row), *down)).collect()
    }
}

impl<T> Field<T> {
    /// The spec for these rows; none when the column is left out.
    fn settled(&self, rows: &[&T]) -> Option<Spec> {
        if !self.drop_empty && !self.widen {
            return Some(self.spec.clone());
        }
        let values: Vec<Value> = rows.iter().map(|row| self.chosen.value(row)).collect();
        if self.drop_empty && values.iter().all(|value| self.spec.is_empty(value)) {
            return None;
        }
        Some(if self.widen { self.spec.widened(&values, &self.chosen.header()) } else { self.spec.clone() })
    }
}

/// Takes `?:`, `+:` or `?+:` off the end of the text before a field.
fn take_flags(before: &mut String) -> (bool, bool) {
    for (sign, flags) in [("?+:", (true, true)), ("+:", (false, true)), ("?:", (true, false))] {
        if before.ends_with(sign) {
            before.truncate(before.len() - sign.len());
            return flags;
        }
    }
    (false, false)
}

fn sort_keys<T>(keys: &str, columns: &'static [Column<T>]) -> Result<Vec<(Chosen<T>, bool)>, Failure> {
    let read = |key: &str| {
        let (name, down) = key.strip_prefix('-').map_or((key, false), |name| (name, true));
        Ok((Chosen::find(name, columns)?, down))
    };
    keys.split(',').map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Row(&'static str, i64, f64);

    static COLUMNS: &[Column<Row>] = &[
        Column { name: "name", header: "NAME", value: |r, _| r.0.into() },
        Column { name: "n", header: "N", value: |r, _| r.1.into() },
        Column { name: "time", header: "TIME", value: |r, _| r.2.into() },
        Column { name: "user.", header: "USER", value: |r, rest| format!("{rest}={}", r.0).into() },
        Column { name: "none", header: "NONE", value: |_, _| Value::Empty },
    ];

    fn shown(format: &str, header: bool) -> String {
        let format = Format::parse(format, COLUMNS).unwrap_or_else(|e| panic!("{format}: {e:?}"));
        let mut rows = [Row("alpha", 3, 90.5), Row("beta-and-more", 12, 0.0), Row("", 0, 3700.0)];
        let mut out = Vec::new();
        format.print(&mut out, &mut rows, header, |_| None).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_format_says_how_wide_and_where() {
        for (format, lines) in [
            ("{name}", "alpha\nbeta-and-more\n\n"),
            ("{name:<7.7+}|", "alpha  |\nbeta-a+|\n       |\n"),
            ("{name:>6.4}|", "  alph|\n  beta|\n      |\n"),
            ("{name:^7.3}|", "  alp  |\n  bet  |\n       |\n"),
            ("{n:>3h} {n}", "  3 3\n 12 12\n  0 0\n"),
            ("{n:03d}", "003\n012\n000\n"),
            ("{time:.1f} {time!F:h} {time!H}", "90.5 1.508m 0:01:30\n0.0 - 0:00:00\n3700.0 1.028h 1:01:40\n"),
            ("{{{n}}}", "{3}\n{12}\n{0}\n"),
            ("{user.x}", "x=alpha\nx=beta-and-more\nx=\n"),
            ("{name:-<6.6}{n}", "alpha-3\nbeta-a12\n------0\n"),
        ] {
            assert_eq!(shown(format, false), lines, "{format}");
        }
    }

    #[test]
    fn columns_leave_and_grow() {
        assert_eq!(shown("{n} ?:{none:>6} {name:.1}", true), "N NAME\n3 a\n12 b\n0\n");
        assert_eq!(
            shown("?+:{name:<2.2}|{n}", true),
            "NAME         |N\nalpha        |3\nbeta-and-more|12\n             |0\n"
        );
    }

    #[test]
    fn rows_are_sorted_by_the_keys() {
        assert_eq!(shown("sort:-n {n}", false), "12\n3\n0\n");
        assert_eq!(shown("sort:name,n {name:.1}{n}", false), "0\na3\nb12\n");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (format, word) in [
            ("{bogus}", "no field `bogus`"),
            ("{name", "not closed"),
            ("name}", "without its"),
            ("plain", "no field in it"),
            ("{name:<y}", "`<y`"),
            ("{name!Q}", "!Q"),
        ] {
            let failure = Format::parse(format, COLUMNS).err().expect(format);
            assert!(failure.lines().0.contains(word), "{format}: {failure:?}");
        }
    }
}
