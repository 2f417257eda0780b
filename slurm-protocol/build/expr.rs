//! Conditions and counts of the tables: C's expressions over earlier fields, made into a program for a small stack.

/// What a name in an expression stands for, as the text of an `Op`.
pub type Resolve<'a> = &'a dyn Fn(&str) -> String;

/// The program, as a list of `Op`s in Rust.
pub fn compile(text: &str, resolve: Resolve<'_>) -> String {
    let mut parser = Parser { tokens: tokens(text), at: 0, out: Vec::new(), resolve };
    parser.binary(0);
    assert_eq!(parser.at, parser.tokens.len(), "`{text}`: words left over");
    format!("&[{}]", parser.out.join(", "))
}

fn tokens(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = if first.is_ascii_alphanumeric() || first == '_' {
            rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.')).unwrap_or(rest.len())
        } else if ["==", "!=", "<=", ">=", "&&", "||"].iter().any(|sign| rest.starts_with(sign)) {
            2
        } else {
            1
        };
        found.push(rest[..length].to_owned());
        rest = rest[length..].trim_start();
    }
    found
}

/// From the loosest to the tightest, as in C.
const LEVELS: &[&[(&str, &str)]] = &[
    &[("||", "Or")],
    &[("&&", "And")],
    &[("&", "BitAnd")],
    &[("==", "Equal"), ("!=", "Unequal")],
    &[("<", "Less"), ("<=", "AtMost"), (">", "Greater"), (">=", "AtLeast")],
];

struct Parser<'a> {
    tokens: Vec<String>,
    at: usize,
    out: Vec<String>,
    resolve: Resolve<'a>,
}

impl Parser<'_> {
    fn next(&mut self) -> String {
        self.at += 1;
        self.tokens.get(self.at - 1).expect("an expression that is whole").clone()
    }

    fn expect(&mut self, sign: &str) {
        assert_eq!(self.next(), sign);
    }

    fn binary(&mut self, level: usize) {
        let Some(signs) = LEVELS.get(level) else { return self.unary() };
        self.binary(level + 1);
        while let Some((_, op)) =
            signs.iter().find(|(sign, _)| self.tokens.get(self.at).is_some_and(|token| token == sign))
        {
            self.at += 1;
            self.binary(level + 1);
            self.out.push(format!("Op::{op}"));
        }
    }

    fn unary(&mut self) {
        let token = self.next();
        match token.as_str() {
            "!" => {
                self.unary();
                self.out.push("Op::Not".to_owned());
            }
            "(" => {
                self.binary(0);
                self.expect(")");
            }
            number if number.starts_with(|c: char| c.is_ascii_digit()) => {
                self.out.push(format!("Op::Const({number})"));
            }
            name => {
                let op = (self.resolve)(name);
                self.out.push(op);
            }
        }
    }
}
