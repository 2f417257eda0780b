//! Constraints as people type them: `thin -host:node[1-2]` (RFC 35).
//!
//! A blank joins with `and`, which binds tighter than `or`; `-` negates one term, `not` also a parenthesis.

use super::{Constraint, MAX_DEPTH, MAX_TERMS, Property};
use crate::SyntaxError;
use std::fmt;

impl Constraint {
    /// Reads a query. Terms without an operator are properties. A blank query holds for every node.
    ///
    /// # Errors
    /// With the position where the query stops making sense.
    pub fn parse_query(text: &str) -> Result<Constraint, SyntaxError> {
        let tokens = tokens(text)?;
        if tokens.is_empty() {
            return Ok(Constraint::True);
        }
        let mut parser = Parser { text, tokens, at: 0, depth: 0 };
        let constraint = parser.any()?;
        match parser.tokens.get(parser.at) {
            None => Ok(constraint),
            Some((at, _)) => Err(fail(text, *at, "`)` without `(`")),
        }
    }
}

/// As a query. Empty lists, which no query makes, are JSON.
impl fmt::Display for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, Within::Nothing)
    }
}

/// What a part of a query stands in.
#[derive(Copy, Clone, PartialEq, PartialOrd)]
enum Within {
    Nothing,
    Or,
    And,
    Not,
}

impl Constraint {
    fn write(&self, f: &mut fmt::Formatter<'_>, within: Within) -> fmt::Result {
        match self {
            Constraint::True => Ok(()),
            Constraint::Hostlist(hosts) => write!(f, "hosts:{hosts}"),
            Constraint::Ranks(ranks) => write!(f, "ranks:{ranks}"),
            Constraint::Properties(list) if !list.is_empty() => {
                let word = |f: &mut fmt::Formatter<'_>, property: &Property| {
                    let sign = if property.negated { "^" } else { "" };
                    let name = &property.name;
                    let special = name.starts_with('-')
                        || name.contains(|c: char| c.is_whitespace() || c == ':')
                        || matches!(name.as_str(), "and" | "or" | "not");
                    if special { write!(f, "'{sign}{name}'") } else { write!(f, "{sign}{name}") }
                };
                joined(f, list, " ", within >= Within::Not, word)
            }
            Constraint::And(list) if !list.is_empty() => {
                joined(f, list, " ", within >= Within::And, |f, part| part.write(f, Within::And))
            }
            Constraint::Or(list) if !list.is_empty() => {
                joined(f, list, " | ", within >= Within::Or, |f, part| part.write(f, Within::Or))
            }
            Constraint::Not(list) if !list.is_empty() => {
                let is_term = |part: &Constraint| match part {
                    Constraint::Hostlist(_) | Constraint::Ranks(_) => true,
                    Constraint::Properties(names) => names.len() == 1,
                    Constraint::True | Constraint::And(_) | Constraint::Or(_) | Constraint::Not(_) => false,
                };
                f.write_str(if list.len() == 1 && is_term(&list[0]) { "-" } else { "not " })?;
                joined(f, list, " ", true, |f, part| part.write(f, Within::Not))
            }
            Constraint::Properties(_) | Constraint::And(_) | Constraint::Or(_) | Constraint::Not(_) => {
                write!(f, "{}", self.to_json())
            }
        }
    }
}

/// Parentheses where there are several parts.
fn joined<T>(
    f: &mut fmt::Formatter<'_>,
    list: &[T],
    between: &str,
    closed: bool,
    write: impl Fn(&mut fmt::Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    let closed = closed && list.len() > 1;
    f.write_str(if closed { "(" } else { "" })?;
    for (at, part) in list.iter().enumerate() {
        f.write_str(if at > 0 { between } else { "" })?;
        write(f, part)?;
    }
    f.write_str(if closed { ")" } else { "" })
}

fn fail(text: &str, at: usize, rule: impl Into<std::borrow::Cow<'static, str>>) -> SyntaxError {
    SyntaxError::new("constraint query", text, at, rule)
}

#[derive(Debug, PartialEq)]
enum Token {
    Open,
    Close,
    And,
    Or,
    Not,
    /// A `-` in front of a term.
    Minus,
    /// A term with its quotes resolved: operator, if any, and operand.
    Term(Option<String>, String),
}

fn tokens(text: &str) -> Result<Vec<(usize, Token)>, SyntaxError> {
    let mut tokens = Vec::new();
    let mut chars = text.char_indices().peekable();
    while let Some(&(at, c)) = chars.peek() {
        if tokens.len() >= MAX_TERMS {
            return Err(fail(text, at, format!("more than {MAX_TERMS} terms")));
        }
        let token = match c {
            c if c.is_whitespace() => {
                chars.next();
                continue;
            }
            '(' => Token::Open,
            ')' => Token::Close,
            '&' | '|' => {
                chars.next();
                // Doubled signs mean the same; the second is eaten here, the first below.
                if chars.peek().is_none_or(|(_, next)| *next != c) {
                    tokens.push((at, if c == '&' { Token::And } else { Token::Or }));
                    continue;
                }
                if c == '&' { Token::And } else { Token::Or }
            }
            '-' => Token::Minus,
            _ => {
                tokens.push((at, term(text, &mut chars)?));
                continue;
            }
        };
        chars.next();
        tokens.push((at, token));
    }
    Ok(tokens)
}

/// Reads up to a blank or a sign outside quotes.
fn term(
    text: &str,
    chars: &mut std::iter::Peekable<std::str::CharIndices<'_>>,
) -> Result<Token, SyntaxError> {
    let (mut operator, mut word, mut quoted) = (None, String::new(), false);
    while let Some(&(at, c)) = chars.peek() {
        match c {
            c if c.is_whitespace() || matches!(c, '(' | ')' | '&' | '|') => break,
            '\'' | '"' => {
                chars.next();
                quoted = true;
                loop {
                    match chars.next() {
                        Some((_, end)) if end == c => break,
                        Some((_, inner)) => word.push(inner),
                        None => return Err(fail(text, at, "the quote is not closed")),
                    }
                }
            }
            ':' if operator.is_none() && !quoted => {
                chars.next();
                if word.is_empty() {
                    return Err(fail(text, at, "expected an operator before `:`"));
                }
                operator = Some(std::mem::take(&mut word));
            }
            c => {
                chars.next();
                word.push(c);
            }
        }
    }
    Ok(match (operator.is_none() && !quoted, word.as_str()) {
        (true, "and") => Token::And,
        (true, "or") => Token::Or,
        (true, "not") => Token::Not,
        _ => Token::Term(operator, word),
    })
}

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<(usize, Token)>,
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(_, token)| token)
    }

    fn place(&self) -> usize {
        self.tokens.get(self.at).map_or(self.text.len(), |(at, _)| *at)
    }

    fn eat(&mut self, token: &Token) -> bool {
        let found = self.peek() == Some(token);
        self.at += usize::from(found);
        found
    }

    /// Terms joined by `or`.
    fn any(&mut self) -> Result<Constraint, SyntaxError> {
        let mut list = vec![self.all()?];
        while self.eat(&Token::Or) {
            list.push(self.all()?);
        }
        Ok(if list.len() == 1 { list.remove(0) } else { Constraint::Or(list) })
    }

    /// Terms joined by `and` or just standing side by side.
    fn all(&mut self) -> Result<Constraint, SyntaxError> {
        let mut list = vec![self.one()?];
        loop {
            if !self.eat(&Token::And) && matches!(self.peek(), None | Some(Token::Or | Token::Close)) {
                break;
            }
            match (self.one()?, list.last_mut()) {
                // Neighbouring properties become one list, as other tools write them.
                (Constraint::Properties(more), Some(Constraint::Properties(names))) => names.extend(more),
                (next, _) => list.push(next),
            }
        }
        Ok(if list.len() == 1 { list.remove(0) } else { Constraint::And(list) })
    }

    fn one(&mut self) -> Result<Constraint, SyntaxError> {
        let start = self.place();
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(fail(self.text, start, format!("nested deeper than {MAX_DEPTH}")));
        }
        let constraint = if self.eat(&Token::Not) {
            Constraint::Not(vec![self.one()?])
        } else if self.eat(&Token::Open) {
            let inner = self.any()?;
            if !self.eat(&Token::Close) {
                return Err(fail(self.text, start, "`(` without `)`"));
            }
            inner
        } else if self.eat(&Token::Minus) {
            if !matches!(self.peek(), Some(Token::Term(..))) {
                return Err(fail(self.text, start, "`-` negates one term; write `not` before anything else"));
            }
            Constraint::Not(vec![self.term()?])
        } else {
            self.term()?
        };
        self.depth -= 1;
        Ok(constraint)
    }

    fn term(&mut self) -> Result<Constraint, SyntaxError> {
        let start = self.place();
        let Some((_, Token::Term(operator, operand))) = self.tokens.get(self.at) else {
            return Err(fail(self.text, start, "expected a term"));
        };
        self.at += 1;
        let said = |rule: String| fail(self.text, start, rule);
        match operator.as_deref() {
            None | Some("properties" | "property") => {
                let names = operand.split(',').map(|name| Property::read(name).map_err(said));
                Ok(Constraint::Properties(names.collect::<Result<_, _>>()?))
            }
            Some("host" | "hosts" | "hostlist") => operand
                .parse()
                .map(Constraint::Hostlist)
                .map_err(|error: SyntaxError| said(error.to_string())),
            Some("rank" | "ranks") => {
                operand.parse().map(Constraint::Ranks).map_err(|error: SyntaxError| said(error.to_string()))
            }
            Some(other) => Err(said(format!(
                "unknown operator `{other}` (known: properties, host, hosts, hostlist, rank, ranks)"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constraint_is_said_as_it_would_be_typed() {
        for (typed, said) in [
            ("thin&-host:c1", "thin -hosts:c1"),
            ("a b | not (c or d)", "a b | not (c | d)"),
            ("(a|b) ranks:0-3", "(a | b) ranks:0-3"),
            ("not (a hosts:n[1-2])", "not (a hosts:n[1-2])"),
            ("not (a b)", "not (a b)"),
            ("not not a", "not -a"),
            ("'not' ^x", "'not' ^x"),
        ] {
            let constraint = Constraint::parse_query(typed).unwrap();
            assert_eq!(constraint.to_string(), said, "{typed}");
            assert_eq!(Constraint::parse_query(said), Ok(constraint), "{typed}");
        }
    }
}
