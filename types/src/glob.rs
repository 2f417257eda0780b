//! Patterns as a shell has them for file names, over whole names: `*`, `?`, `[a-z]`, `[!…]`.

/// Does the name match the pattern? `*` goes over everything, a slash too.
pub fn matches(pattern: &str, name: &str) -> bool {
    let (mut pattern, mut name) = (pattern, name);
    // Where to go on when the last star takes one character more.
    let mut star: Option<(&str, &str)> = None;
    loop {
        if let Some(rest) = pattern.strip_prefix('*') {
            star = Some((rest, name));
            pattern = rest;
            continue;
        }
        if pattern.is_empty() && name.is_empty() {
            return true;
        }
        match one(pattern, name) {
            Some(rest) => (pattern, name) = rest,
            None => {
                let Some((after, from)) = star else { return false };
                let mut chars = from.chars();
                if chars.next().is_none() {
                    return false;
                }
                star = Some((after, chars.as_str()));
                (pattern, name) = (after, chars.as_str());
            }
        }
    }
}

/// What is left of both behind one character, if it matches.
fn one<'a>(pattern: &'a str, name: &'a str) -> Option<(&'a str, &'a str)> {
    let (mut signs, mut chars) = (pattern.chars(), name.chars());
    let (sign, c) = (signs.next()?, chars.next()?);
    let rest = signs.as_str();
    let behind = match sign {
        '?' => rest,
        '[' => match rest.char_indices().skip(1).find(|(_, c)| *c == ']') {
            Some((end, _)) => {
                let set = &rest[..end];
                let (negated, set) = set.strip_prefix('!').map_or((false, set), |set| (true, set));
                if in_set(set, c) == negated {
                    return None;
                }
                &rest[end + 1..]
            }
            None if c == '[' => rest,
            None => return None,
        },
        sign if sign == c => rest,
        _ => return None,
    };
    Some((behind, chars.as_str()))
}

fn in_set(set: &str, c: char) -> bool {
    let set: Vec<char> = set.chars().collect();
    let mut at = 0;
    while at < set.len() {
        if set.get(at + 1) == Some(&'-') && at + 2 < set.len() {
            if (set[at]..=set[at + 2]).contains(&c) {
                return true;
            }
            at += 3;
        } else if set[at] == c {
            return true;
        } else {
            at += 1;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_whole_names() {
        for (pattern, name, wanted) in [
            ("*", "", true),
            ("*", "a/b", true),
            ("", "a", false),
            ("a?c", "aßc", true),
            ("a?c", "ac", false),
            ("*.dat", "in/x.dat", true),
            ("*.dat", "x.data", false),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b", "xxbxxa", false),
            ("[a-c]x[!0-9]", "bxy", true),
            ("[a-c]x[!0-9]", "bx1", false),
            ("[]]", "]", true),
            ("[", "[", true),
            ("[-]", "-", true),
            ("SLURM_*", "SLURM_JOB_ID", true),
        ] {
            assert_eq!(matches(pattern, name), wanted, "{pattern} {name}");
        }
        // Every star more costs no more than the one before.
        assert!(!matches(&"*a".repeat(200), &"a".repeat(199)));
        assert!(!matches(&("*a".repeat(30) + "b"), &"a".repeat(10_000)));
    }
}
