//! Constraints as people type them: `thin -host:node[1-2]` (RFC 35).
//!
//! A blank joins with `and`, which binds tighter than `or`; `-` negates one term, `not` also a parenthesis.

use super::{Constraint, MAX_DEPTH, MAX_TERMS, Property};
use crate::SyntaxError;

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
