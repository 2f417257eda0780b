//! Slurm's `%j` in file names, as tags of our shells.

/// What is known of a job before it has a number.
#[derive(Debug, Clone, Copy)]
pub struct Named<'a> {
    pub job: &'a str,
    pub user: &'a str,
    /// Its index in an array.
    pub index: Option<u32>,
}

/// What `%a` is where there is no array.
const NO_INDEX: u32 = flurm_slurm_protocol::NO_VAL;

/// Longest number that `%9j` may ask for.
const WIDTH_MAX: usize = 10;

/// The batch script's file name: it is task 0 on node 0 of a step that is called `batch`.
pub fn template(pattern: &str, named: Named<'_>) -> String {
    // A backslash anywhere says that nothing is meant.
    if pattern.contains('\\') {
        return pattern.replace('\\', "");
    }
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut rest = pattern;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let letter = after.trim_start_matches(|c: char| c.is_ascii_digit());
        let digits = &after[..after.len() - letter.len()];
        let width = digits.parse::<usize>().unwrap_or(0).min(WIDTH_MAX);
        let tag = |name: &str| {
            if width == 0 { format!("{{{{{name}}}}}") } else { format!("{{{{{name}.{width}}}}}") }
        };
        let number = |number: u32| format!("{number:0width$}");
        let mut letters = letter.chars();
        let meant = match letters.next() {
            Some('A') => tag("array.number"),
            Some('a') => number(named.index.unwrap_or(NO_INDEX)),
            Some('b') => number(named.index.unwrap_or(NO_INDEX) % 10),
            Some('j') => tag("number"),
            Some('J') => format!("{}.batch", tag("number")),
            Some('n' | 't') => number(0),
            Some('N') => "{{node.name}}".to_owned(),
            Some('s') => "batch".to_owned(),
            Some('u') => named.user.to_owned(),
            Some('x') => named.job.to_owned(),
            Some('%') => "%".to_owned(),
            Some(other) => format!("%{digits}{other}"),
            None => format!("%{digits}"),
        };
        out.push_str(&meant);
        rest = letters.as_str();
    }
    out + rest
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
        ] {
            let named = Named { job: "name", user: "me", index };
            assert_eq!(template(pattern, named), wanted, "{pattern}");
        }
    }
}
