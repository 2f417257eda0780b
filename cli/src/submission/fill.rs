//! Placeholders of `bulksubmit`: `{}`, `{0}`, `{./%}`, `{seq}` in options and words of the command.
//!
//! `{{…}}` is for the job's shell, `{cc}` for the copies that are made later, and other braces are the program's own:
//! all of them stay as they are.

use crate::failure::Failure;
use std::sync::Arc;

/// What one job is made of: a value of each list, and its place in the row of jobs.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Row {
    pub values: Vec<Arc<str>>,
    pub seq: u64,
}

/// What is between a pair of braces.
enum Part<'a> {
    /// A value, cut to what its form asks for; without a number the next one.
    Value(Option<usize>, Form),
    Seq(u64),
    /// `{.NAME}` of a definition.
    Defined(&'a str),
    Other,
}

#[derive(Clone, Copy)]
enum Form {
    Whole,
    NoExtension,
    Basename,
    Stem,
    Dirname,
}

const FORMS: [(&str, Form); 6] = [
    ("", Form::Whole),
    (".", Form::NoExtension),
    (".%", Form::NoExtension),
    ("./", Form::Basename),
    ("./%", Form::Stem),
    (".//", Form::Dirname),
];

/// The text with the row's values in it; none: it has no place for them.
pub fn fill(text: &str, row: &Row) -> Result<Option<String>, Failure> {
    if !text.contains('{') {
        return Ok(None);
    }
    let (mut out, mut rest, mut next) = (String::with_capacity(text.len()), text, 0);
    while let Some(open) = rest.find('{') {
        out.push_str(&rest[..open]);
        rest = &rest[open..];
        if rest.starts_with("{{") {
            let end = rest.find("}}").map_or(rest.len(), |end| end + 2);
            out.push_str(&rest[..end]);
            rest = &rest[end..];
            continue;
        }
        let Some(close) = rest.find('}') else { break };
        let whole = &rest[..=close];
        match part(&whole[1..close]) {
            Part::Value(index, form) => {
                // Where there is one list it is always meant; of several, each pair of braces takes the next.
                let index = index.unwrap_or(if row.values.len() == 1 { 0 } else { next });
                next = index + 1;
                let value = row.values.get(index).ok_or_else(|| out_of_range(whole, row.values.len()))?;
                out.push_str(form.of(value));
            }
            Part::Seq(from) => out.push_str(&(row.seq + from).to_string()),
            Part::Defined(name) => {
                return Err(Failure::usage(format!("`{whole}`: nothing defines {name}")).hint(NO_DEFINE));
            }
            Part::Other => {
                // A brace inside may be one of ours: `awk '{print {}}'`.
                out.push('{');
                rest = &rest[1..];
                continue;
            }
        }
        rest = &rest[close + 1..];
    }
    out.push_str(rest);
    Ok((out != text).then_some(out))
}

/// Braces around a name that no list fills and that no shell means, `{x}`: a typo, most likely. `${x}` is a shell's.
pub fn stays(text: &str) -> Option<&str> {
    let mut rest = text;
    while let Some(open) = rest.find('{') {
        let (before, from) = rest.split_at(open);
        if from.starts_with("{{") {
            let end = from.find("}}").map_or(from.len(), |end| end + 2);
            rest = &from[end..];
            continue;
        }
        let close = from.find('}')?;
        let inside = &from[1..close];
        let is_name = !inside.is_empty() && inside.chars().all(|c| c.is_alphanumeric() || c == '_');
        if is_name && inside != "cc" && !before.ends_with('$') && matches!(part(inside), Part::Other) {
            return Some(&from[..=close]);
        }
        rest = &from[1..];
    }
    None
}

/// The way out for who would have Python compute values.
pub const NO_DEFINE: &str =
    "values are computed before: a second list behind `:::+`, or a program whose output is the list";

fn part(inside: &str) -> Part<'_> {
    match inside {
        "seq" | "seq0" => return Part::Seq(0),
        "seq1" => return Part::Seq(1),
        _ => {}
    }
    let digits = inside.find(|c: char| !c.is_ascii_digit()).unwrap_or(inside.len());
    let (number, form) = inside.split_at(digits);
    match FORMS.iter().find(|(sign, _)| *sign == form) {
        Some((_, form)) if number.is_empty() => Part::Value(None, *form),
        Some((_, form)) => number.parse().map_or(Part::Other, |index| Part::Value(Some(index), *form)),
        None => match form.strip_prefix('.') {
            Some(name)
                if name.starts_with(|c: char| c.is_alphabetic() || c == '_')
                    && name.chars().all(|c| c.is_alphanumeric() || c == '_') =>
            {
                Part::Defined(name)
            }
            Some(_) | None => Part::Other,
        },
    }
}

fn out_of_range(whole: &str, lists: usize) -> Failure {
    let failure = Failure::usage(format!("`{whole}`: there is no such list of inputs"));
    match lists {
        0 => failure.hint("inputs stand behind `:::`, in files behind `::::`, or come from standard input"),
        1 => failure.hint("there is one list: {} or {0}"),
        lists => failure.hint(format!("there are {lists} lists: {{0}} to {{{}}}", lists - 1)),
    }
}

impl Form {
    fn of(self, value: &str) -> &str {
        let base = value.rfind('/').map_or(0, |slash| slash + 1);
        // A dot at the beginning of a name begins no extension.
        let dots = value[base..].len() - value[base..].trim_start_matches('.').len();
        let extension = value[base + dots..].rfind('.').map_or(value.len(), |dot| base + dots + dot);
        match self {
            Form::Whole => value,
            Form::NoExtension => &value[..extension],
            Form::Basename => &value[base..],
            Form::Stem => &value[base..extension],
            Form::Dirname => match value[..base].trim_end_matches('/') {
                "" => &value[..base.min(1)],
                dir => dir,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(values: &[&str]) -> Row {
        Row { values: values.iter().map(|v| (*v).into()).collect(), seq: 4 }
    }

    #[test]
    fn placeholders_take_values_and_leave_other_braces() {
        for (text, values, filled) in [
            ("{}", &["a b"] as &[&str], "a b"),
            ("x{0}y{1}", &["a", "b"], "xayb"),
            ("{}-{}", &["a", "b"], "a-b"),
            (
                "{.%} {./} {./%} {.//} {.}",
                &["d/e.f/g.tar.gz"; 5],
                "d/e.f/g.tar g.tar.gz g.tar d/e.f d/e.f/g.tar",
            ),
            ("{1./}|{1.//}|{0.//}|{0./%}", &["/a", "b"], "b||/|a"),
            ("{./%}", &[".profile"], ".profile"),
            ("{.//}/{./%}.o", &["src/a.c"], "src/a.o"),
            ("{seq} {seq1} {cc} {{id}} {{{}", &["z"], "4 5 {cc} {{id}} {{{}"),
            ("{ print $1 } {x} {0", &["z"], "{ print $1 } {x} {0"),
            ("{print {}}", &["z"], "{print z}"),
        ] {
            let row = row(values);
            assert_eq!(fill(text, &row).unwrap().as_deref().unwrap_or(text), filled, "{text}");
        }
    }

    #[test]
    fn a_name_that_nothing_fills_is_found() {
        for (text, found) in [
            ("echo {x}", Some("{x}")),
            ("{} {0} {seq} {seq1} {cc} {./%} {{id}} {.up}", None),
            ("sh -c 'echo ${x} {a b} {a,b}'", None),
            ("{print {}}", None),
            ("out.{{name}}.{inptu}", Some("{inptu}")),
            ("{", None),
        ] {
            assert_eq!(stays(text), found, "{text}");
        }
    }

    #[test]
    fn what_no_list_has_is_refused() {
        for (text, hint) in [("{2}", "{0} to {1}"), ("{.up}", "computed before"), ("{} {} {}", "{0} to {1}")]
        {
            let failure = fill(text, &row(&["a", "b"])).unwrap_err();
            assert!(failure.lines().1.is_some_and(|h| h.contains(hint)), "{text}: {failure:?}");
        }
    }
}
