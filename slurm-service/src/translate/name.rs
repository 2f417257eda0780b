//! What Slurm's commands call jobs: `5`, `5_3`, `5_[1-3]`, `5_*`.

use super::array;
use super::refusal::Refusal;
use flurm_slurm_protocol::errors::ESLURM_INVALID_JOB_ID;
use flurm_types::Idset;

/// A job, or jobs of an array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    pub number: u32,
    /// Of an array; none is the job, or all of them.
    pub indices: Option<Idset>,
}

/// Reads one, or several behind commas.
///
/// # Errors
/// It is none.
pub fn parse(text: &str) -> Result<Vec<Name>, Refusal> {
    let bad = || Refusal::new(ESLURM_INVALID_JOB_ID, format!("`{text}` is no job"));
    let mut names: Vec<Name> = Vec::new();
    for word in outside_brackets(text) {
        let (number, indices) =
            word.split_once('_').map_or((word, None), |(number, rest)| (number, Some(rest)));
        // `5+0` is the first part of a job that has several.
        let number = number.strip_suffix("+0").unwrap_or(number).parse().map_err(|_| bad())?;
        let indices = match indices {
            None | Some("*") => None,
            // Commands that filter name what they were shown, `5_[1-3%2]`: how many at a time is nothing of the name.
            Some(list) => {
                let list = list.split_once('%').map_or(list, |(list, _)| list);
                Some(array::parse(list).map_err(|_| bad())?.ids)
            }
        };
        names.push(Name { number, indices });
    }
    if names.is_empty() { Err(bad()) } else { Ok(names) }
}

/// Pieces between commas, but for those in brackets.
fn outside_brackets(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0;
    text.split(move |c: char| {
        match c {
            '[' => depth += 1,
            ']' => depth -= 1,
            _ => {}
        }
        c == ',' && depth == 0
    })
    .filter(|piece| !piece.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_named_as_slurm_has_them() {
        let name =
            |number, indices: Option<&str>| Name { number, indices: indices.map(|ids| ids.parse().unwrap()) };
        for (text, wanted) in [
            ("5", vec![name(5, None)]),
            ("5_3", vec![name(5, Some("3"))]),
            ("5_[1-3,7],6", vec![name(5, Some("1-3,7")), name(6, None)]),
            ("5_*", vec![name(5, None)]),
            ("5_[1-3,7%1],5_3", vec![name(5, Some("1-3,7")), name(5, Some("3"))]),
        ] {
            assert_eq!(parse(text), Ok(wanted), "{text}");
        }
        for text in ["", "x", "5_", "5_[", "-5"] {
            assert_eq!(parse(text).unwrap_err().code, ESLURM_INVALID_JOB_ID, "{text}");
        }
    }
}
