//! Slurm's `%j` in file names, as tags of our shells.

/// What is known of a job before it has a number.
#[derive(Debug, Clone, Copy)]
pub struct Named<'a> {
    pub job: &'a str,
    pub user: &'a str,
    /// Its index in an array.
    pub index: Option<u32>,
    /// Numbers of the job and the step, if it is one that tasks of have files of.
    pub step: Option<(u32, u32)>,
}

/// A text of somebody's, in which our shells see no tags: braces are said by name.
fn literal(text: &str) -> String {
    text.replace('{', "{{brace}}")
}

/// The same for arguments and variables, which stay as they are where they have nothing that looks like a tag.
pub fn word(text: &str) -> String {
    if text.contains("{{") { literal(text) } else { text.to_owned() }
}

/// What `%a` is where there is no array.
const NO_INDEX: u32 = flurm_slurm_protocol::NO_VAL;

/// Longest number that `%9j` may ask for.
const WIDTH_MAX: usize = 10;

/// A file name: a batch script is task 0 on node 0 of a step that is called `batch`.
pub fn template(pattern: &str, named: Named<'_>) -> String {
    // A backslash anywhere says that nothing is meant.
    if pattern.contains('\\') {
        return literal(&pattern.replace('\\', ""));
    }
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut rest = pattern;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(&literal(before));
        let letter = after.trim_start_matches(|c: char| c.is_ascii_digit());
        let digits = &after[..after.len() - letter.len()];
        let width = digits.parse::<usize>().unwrap_or(0).min(WIDTH_MAX);
        let tag = |name: &str| {
            if width == 0 { format!("{{{{{name}}}}}") } else { format!("{{{{{name}.{width}}}}}") }
        };
        let number = |number: u32| format!("{number:0width$}");
        let mut letters = letter.chars();
        let meant = match letters.next() {
            Some('t') if named.step.is_some() => tag("task.id"),
            Some('n') if named.step.is_some() => tag("node.id"),
            Some('A') if named.step.is_none() => tag("array.number"),
            Some('a') => number(named.index.unwrap_or(NO_INDEX)),
            Some('b') => number(named.index.unwrap_or(NO_INDEX) % 10),
            Some('A' | 'j') => named.step.map_or_else(|| tag("number"), |(job, _)| number(job)),
            Some('J') => match named.step {
                Some((job, step)) => format!("{}.{step}", number(job)),
                None => format!("{}.batch", tag("number")),
            },
            Some('n' | 't') => number(0),
            Some('N') => "{{node.name}}".to_owned(),
            Some('s') => named.step.map_or_else(|| "batch".to_owned(), |(_, step)| step.to_string()),
            Some('u') => literal(named.user),
            Some('x') => literal(named.job),
            Some('%') => "%".to_owned(),
            Some(other) => format!("%{digits}{}", literal(&other.to_string())),
            None => format!("%{digits}"),
        };
        out.push_str(&meant);
        rest = letters.as_str();
    }
    out + &literal(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_of_slurm_become_tags() {
        for (pattern, index, wanted) in [
            ("/x/slurm-%j.out", None, "/x/slurm-{{number}}.out"),
            ("/x/%A_%a", Some(7), "/x/{{array.number}}_7"),
            ("/x/%A_%4a.%6j", Some(7), "/x/{{array.number}}_0007.{{number.6}}"),
            ("/x/%a", None, "/x/4294967294"),
            ("/x/%x-%u-%N-%n-%t-%s-%J", None, "/x/name-me-{{node.name}}-0-0-batch-{{number}}.batch"),
            ("/x/%3t%%j%q%", None, "/x/000%j%q%"),
            (r"/x/\%j", None, "/x/%j"),
            ("/x/%b", Some(123), "/x/3"),
            ("/x/{{id}}{%j%{", None, "/x/{{brace}}{{brace}}id}}{{brace}}{{number}}%{{brace}}"),
            (r"/\{{id}}", None, "/{{brace}}{{brace}}id}}"),
        ] {
            let named = Named { job: "name", user: "me", index, step: None };
            assert_eq!(template(pattern, named), wanted, "{pattern}");
        }
        let step = Named { job: "name", user: "me", index: None, step: Some((5, 2)) };
        assert_eq!(template("%3t.%n.%s.%J.%j{", step), "{{task.id.3}}.{{node.id}}.2.5.2.5{{brace}}");
        assert_eq!((word("a{b}"), word("{{id}}")), ("a{b}".into(), "{{brace}}{{brace}}id}}".into()));
    }
}
