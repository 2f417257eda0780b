//! What a misspelt name was meant to be.

/// The name that takes the fewest edits, if they are few for its length.
pub fn nearest<'a>(typed: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let few = 1 + typed.chars().count() / 4;
    let near = names.map(|name| (edits(typed, name), name)).filter(|(edits, _)| *edits <= few);
    near.min_by_key(|(edits, _)| *edits).map(|(_, name)| name)
}

/// Characters to add, drop or replace (Levenshtein's distance).
fn edits(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut costs: Vec<usize> = (0..=to.len()).collect();
    for (row, a) in from.chars().enumerate() {
        let mut above_left = std::mem::replace(&mut costs[0], row + 1);
        for (at, b) in to.iter().enumerate() {
            let replaced = above_left + usize::from(a != *b);
            above_left = costs[at + 1];
            costs[at + 1] = replaced.min(costs[at] + 1).min(above_left + 1);
        }
    }
    costs[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_recognized() {
        let names = ["id", "id.f58", "nnodes", "returncode", "exception.type", "t_submit"];
        for (typed, near) in [
            ("return_code", Some("returncode")),
            ("nodes", Some("nnodes")),
            ("exceptions.type", Some("exception.type")),
            ("tsubmit", Some("t_submit")),
            ("id.f5", Some("id.f58")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed, names.into_iter()), near, "{typed}");
        }
        assert_eq!((edits("kitten", "sitting"), edits("", "ab"), edits("ab", "")), (3, 2, 2));
    }
}
