//! What a misspelt name was meant to be.

use strsim::levenshtein;

/// The name that takes the fewest edits, if they are few for its length.
pub fn nearest<'a>(typed: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let few = 1 + typed.chars().count() / 4;
    let near = names.map(|name| (levenshtein(typed, name), name)).filter(|(edits, _)| *edits <= few);
    near.min_by_key(|(edits, _)| *edits).map(|(_, name)| name)
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
        let edits = levenshtein;
        assert_eq!((edits("kitten", "sitting"), edits("", "ab"), edits("ab", "")), (3, 2, 2));
    }
}
