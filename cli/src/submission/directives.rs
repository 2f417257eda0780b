//! Options inside a script (RFC 36): `# flux: -N4 --queue=debug`, behind any sign of a comment.
//!
//! ```text
//! search ──a line with the tag──▶ directives ──anything else──▶ body, where none may follow
//!                                  │     ▲
//!                                  └─""" ┘  text of many lines
//! ```

/// What stands before the colon.
const TAGS: [&str; 4] = ["flux", "FLUX", "flurm", "FLURM"];

/// Open and close a text of many lines.
const QUOTES: [&str; 2] = ["\"\"\"", "'''"];

/// Words that others have before their options.
const OF_OTHERS: [&str; 3] = ["PBS", "BSUB", "COBALT"];

/// What is wrong in which line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Wrong {
    pub line: usize,
    pub rule: String,
}

/// The words of all directives, in their order.
pub fn find(script: &str) -> Result<Vec<String>, Wrong> {
    let mut words = Vec::new();
    let mut sentinel: Option<&str> = None;
    let mut over = false;
    let mut lines = (1..).zip(script.lines());
    while let Some((at, line)) = lines.next() {
        let wrong = |rule: String| Wrong { line: at, rule };
        let Some(begun) = sentinel_of(line) else {
            over |= sentinel.is_some() && !line.trim().is_empty();
            continue;
        };
        if over {
            return Err(wrong(format!("`{}` stands apart from the ones before", line.trim_end())));
        }
        if let Some(first) = sentinel.filter(|first| *first != begun) {
            return Err(wrong(format!("directives begin with `{first}` here, as the first one does")));
        }
        sentinel = Some(begun);
        let text = &line[begun.len()..];
        let (text, block) = match opening(text) {
            None => (text, None),
            Some((head, quote)) => (head, Some(block(&mut lines, begun, quote, at)?)),
        };
        let mut found = shlex::split(text).ok_or_else(|| wrong("a quote is not closed".to_owned()))?;
        if let Some(block) = block {
            match found.last_mut().filter(|_| !text.ends_with(char::is_whitespace)) {
                Some(last) => last.push_str(&block),
                None => found.push(block),
            }
        }
        if let Some(word) = found.first().filter(|word| !word.starts_with('-')) {
            return Err(wrong(format!("`{word}` is no option")));
        }
        words.append(&mut found);
    }
    Ok(words)
}

/// Comments that somebody meant as directives, with their lines: a colon is missing, the case is mixed, or the word is
/// that of another launcher.
pub fn near(script: &str) -> Vec<(usize, &str)> {
    let is_near = |line: &str| {
        let Some(text) = line.strip_prefix('#').map(str::trim_start) else { return false };
        let end = text.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(text.len());
        let (word, rest) = text.split_at(end);
        let is_tag = TAGS.iter().any(|tag| tag.eq_ignore_ascii_case(word));
        let options = rest.strip_prefix(':').filter(|_| is_tag).unwrap_or(rest);
        (is_tag || OF_OTHERS.contains(&word))
            && sentinel_of(line).is_none()
            && options.trim_start().starts_with('-')
            && (options.len() < rest.len() || options.starts_with(char::is_whitespace))
    };
    (1..).zip(script.lines()).filter(|(_, line)| is_near(line)).collect()
}

/// `# flux:` of such a line.
fn sentinel_of(line: &str) -> Option<&str> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let at = line.find(is_word)?;
    let tag =
        TAGS.iter().find(|tag| line[at..].strip_prefix(**tag).is_some_and(|rest| rest.starts_with(':')))?;
    Some(&line[..at + tag.len() + 1])
}

/// What is before a quote that opens at the end of the line.
fn opening(text: &str) -> Option<(&str, &'static str)> {
    let text = text.trim_end();
    let quote = QUOTES.into_iter().find(|quote| text.ends_with(quote) && text.matches(quote).count() == 1)?;
    Some((&text[..text.len() - quote.len()], quote))
}

/// The lines up to the closing quote, without the indentation that all have.
fn block<'a>(
    lines: &mut impl Iterator<Item = (usize, &'a str)>,
    sentinel: &str,
    quote: &str,
    opened: usize,
) -> Result<String, Wrong> {
    let mut texts: Vec<&str> = Vec::new();
    let open = || Wrong { line: opened, rule: format!("{quote} is not closed") };
    loop {
        let (_, line) = lines.next().ok_or_else(open)?;
        let text = line.strip_prefix(sentinel).ok_or_else(open)?;
        match text.trim_end().strip_suffix(quote) {
            Some(last) => {
                // The quote alone ends the line before.
                texts.push(if last.trim().is_empty() { "" } else { last });
                break;
            }
            None => texts.push(text),
        }
    }
    let filled = texts.iter().filter(|text| !text.trim().is_empty());
    let indent = filled.map(|text| text.len() - text.trim_start().len()).min().unwrap_or(0);
    let texts: Vec<&str> = texts.iter().map(|text| text.get(indent..).unwrap_or("")).collect();
    Ok(texts.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_stand_behind_any_sign_of_a_comment() {
        for (script, words) in [
            (
                "#!/bin/sh\n# flux: -N4 --queue=debug\n# flux: -t 10m # long\n\n# flux: -x\nls\n",
                &["-N4", "--queue=debug", "-t", "10m", "-x"] as &[&str],
            ),
            ("#!/usr/bin/python3\n#FLUX: --job-name=\"a b\"\nprint()", &["--job-name=a b"]),
            ("-- flurm: -n1\n", &["-n1"]),
            ("#!/bin/sh\nls # flux: -N4\n", &[]),
            ("# fluxes: -N4\n", &[]),
        ] {
            assert_eq!(find(script).unwrap(), words, "{script}");
        }
    }

    #[test]
    fn what_looks_like_a_directive_is_told_from_prose() {
        let script = "#!/bin/sh\n#FLUX -N1\n# Flux: -N9\n#PBS -N1\n# flux is -N1\n#flux:-n1\n# flux\n# PBS\nflux -N1\n";
        let lines: Vec<usize> = near(script).into_iter().map(|(line, _)| line).collect();
        assert_eq!(lines, [2, 3, 4]);
    }

    #[test]
    fn a_text_of_many_lines_is_in_three_quotes() {
        let script =
            "# flux: --add-file=x=\"\"\"\n# flux:   one\n# flux:     two\n# flux:   \"\"\"\n# flux: -n2\n";
        assert_eq!(find(script).unwrap(), ["--add-file=x=one\n  two\n", "-n2"]);
        let script = "# flux: --conf '''\n# flux: [a]\n# flux: b=1'''\n";
        assert_eq!(find(script).unwrap(), ["--conf", "[a]\nb=1"]);
    }

    #[test]
    fn what_is_wrong_has_its_line() {
        for (script, line, rule) in [
            ("# flux: -N1\nls\n# flux: -n1\n", 3, "stands apart"),
            ("# flux: -N1\n## flux: -n1\n", 2, "begin with `# flux:`"),
            ("#!x\n# flux: '-N1\n", 2, "quote"),
            ("# flux: --a=\"\"\"\n# flux: b\n", 1, "not closed"),
            ("# flux: nodes 4\n", 1, "`nodes` is no option"),
        ] {
            let wrong = find(script).unwrap_err();
            assert_eq!(wrong.line, line, "{script}");
            assert!(wrong.rule.contains(rule), "{script}: {wrong:?}");
        }
    }
}
