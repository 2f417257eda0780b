//! Lists of inputs of `bulksubmit`, and the rows that are made of them.
//!
//! `::: A B` begins a list, `:::: FILE` one from files; each value is joined with each of the other lists, the last one
//! runs fastest. `:::+` and `::::+` belong to the list before: they give one value for each of its values. Values of the
//! first list are read as they are needed, so that standard input may be endless; the others are kept.

use super::fill::Row;
use crate::failure::Failure;
use std::collections::VecDeque;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, BufReader};
use std::sync::Arc;

/// What stands before a list: the sign, whether files follow, whether it belongs to the list before.
const SIGNS: [(&str, bool, bool); 4] =
    [(":::", false, false), (":::+", false, true), ("::::", true, false), ("::::+", true, true)];

/// Standard input among files.
const STDIN: &str = "-";

/// A list as it was typed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct List {
    pub words: Vec<String>,
    pub files: bool,
    pub linked: bool,
    /// Lines that begin with `#` are none of it.
    pub commented: bool,
}

impl List {
    /// The lines of a file.
    pub fn of_file(name: &str) -> List {
        List { words: vec![name.to_owned()], files: true, linked: false, commented: false }
    }

    /// The lines of a file, which may have comments between them.
    pub fn of_commands(name: &str) -> List {
        List { commented: true, ..List::of_file(name) }
    }

    pub fn of_stdin() -> List {
        List::of_file(STDIN)
    }
}

/// What is between the values of a file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Separator {
    Text(String),
    /// `none`: any blanks.
    Blanks,
}

impl Separator {
    pub fn lines() -> Separator {
        Separator::Text("\n".to_owned())
    }

    pub fn new(text: Option<&str>) -> Result<Separator, Failure> {
        match text {
            None => Ok(Separator::lines()),
            Some("none") => Ok(Separator::Blanks),
            Some("") => Err(Failure::usage("--sep is empty").hint("--sep=none takes any blanks")),
            Some(text) => {
                Ok(Separator::Text(text.replace("\\n", "\n").replace("\\t", "\t").replace("\\0", "\0")))
            }
        }
    }
}

/// The command, and the lists behind it.
pub fn split(words: Vec<String>) -> Result<(Vec<String>, Vec<List>), Failure> {
    let mut command = Vec::new();
    let mut lists: Vec<List> = Vec::new();
    for word in words {
        let sign = SIGNS.iter().find(|(sign, ..)| *sign == word);
        match (sign, lists.last_mut()) {
            (Some((sign, _, true)), None) => {
                return Err(Failure::usage(format!(
                    "`{sign}` belongs to a list, and there is none before it"
                ))
                .hint("`:::` begins a list"));
            }
            (Some((_, files, linked)), _) => {
                lists.push(List { words: Vec::new(), files: *files, linked: *linked, commented: false });
            }
            (None, None) => command.push(word),
            (None, Some(list)) => list.words.push(word),
        }
    }
    let empty = lists.iter().find(|list| list.words.is_empty() && list.files);
    match empty {
        Some(_) => Err(Failure::usage("`::::` is followed by no file").hint("`-` is standard input")),
        None => Ok((command, lists)),
    }
}

/// Rows of values, in their order.
#[derive(Debug)]
pub struct Rows {
    first: First,
    /// All others, last one fastest.
    others: Vec<Group>,
    at: Vec<usize>,
    /// Values of the first group that the row now has.
    head: Vec<Arc<str>>,
    seq: u64,
    over: bool,
}

#[derive(Debug)]
enum First {
    /// No lists: one row of nothing.
    Once(bool),
    Kept {
        group: Group,
        next: usize,
    },
    Read {
        values: Values,
        linked: Vec<Vec<Arc<str>>>,
        next: usize,
    },
    /// In another order than the lists'.
    Shuffled {
        groups: Vec<Group>,
        order: Vec<u64>,
    },
}

/// A list with those that belong to it; the first one counts.
#[derive(Debug)]
struct Group {
    lists: Vec<Vec<Arc<str>>>,
}

impl Group {
    fn len(&self) -> usize {
        self.lists[0].len()
    }

    fn push(&self, at: usize, into: &mut Vec<Arc<str>>) {
        into.extend(self.lists.iter().map(|list| list[at % list.len()].clone()));
    }
}

impl Rows {
    /// One job, without inputs.
    pub fn one() -> Rows {
        Rows {
            first: First::Once(true),
            others: Vec::new(),
            at: Vec::new(),
            head: Vec::new(),
            seq: 0,
            over: false,
        }
    }

    pub fn new(lists: &[List], separator: &Separator) -> Result<Rows, Failure> {
        let (first, rest) = groups(lists);
        let (base, linked) = first.split_first().ok_or_else(|| Failure::usage("there are no inputs"))?;
        let others = rest.into_iter().map(|lists| kept(lists, separator)).collect::<Result<Vec<_>, _>>()?;
        let first = if base.files {
            let linked = linked.iter().map(|list| values(list, separator)).collect::<Result<Vec<_>, _>>()?;
            check_linked(&linked)?;
            First::Read { values: Values::new(base, separator.clone()), linked, next: 0 }
        } else {
            First::Kept { group: kept(first, separator)?, next: 0 }
        };
        let at = vec![0; others.len()];
        Ok(Rows { first, others, at, head: Vec::new(), seq: 0, over: false })
    }

    /// The same rows in random order: all are read before.
    pub fn shuffled(lists: &[List], separator: &Separator) -> Result<Rows, Failure> {
        let (first, rest) = groups(lists);
        let groups = std::iter::once(first).chain(rest).map(|lists| kept(lists, separator));
        let groups = groups.collect::<Result<Vec<_>, _>>()?;
        let count: u64 = groups.iter().map(|group| group.len() as u64).product();
        // The standard library seeds its hashes from the system's random source.
        let (state, mut drawn) = (RandomState::new(), 0u64);
        let order = shuffle(count, || {
            drawn += 1;
            state.hash_one(drawn)
        });
        let first = First::Shuffled { groups, order };
        Ok(Rows { first, others: Vec::new(), at: Vec::new(), head: Vec::new(), seq: 0, over: false })
    }

    /// How many there will be, where that is known.
    pub fn len(&self) -> Option<usize> {
        let first = match &self.first {
            First::Once(_) => 1,
            First::Kept { group, .. } => group.len(),
            First::Read { .. } => return None,
            First::Shuffled { order, .. } => order.len(),
        };
        Some(self.others.iter().map(Group::len).product::<usize>() * first)
    }

    /// The next values of the first list.
    fn advance(&mut self) -> Result<bool, Failure> {
        self.head.clear();
        match &mut self.first {
            First::Once(due) => Ok(std::mem::take(due)),
            First::Kept { group, next } => {
                if *next == group.len() {
                    return Ok(false);
                }
                group.push(*next, &mut self.head);
                *next += 1;
                Ok(true)
            }
            First::Read { values, linked, next } => {
                let Some(value) = values.next()? else { return Ok(false) };
                self.head.push(value);
                self.head.extend(linked.iter().map(|list| list[*next % list.len()].clone()));
                *next += 1;
                Ok(true)
            }
            First::Shuffled { groups, order } => {
                let Some(mut at) = order.pop() else { return Ok(false) };
                for group in groups {
                    let len = group.len() as u64;
                    let place = usize::try_from(at % len).expect("below the length of a list");
                    group.push(place, &mut self.head);
                    at /= len;
                }
                Ok(true)
            }
        }
    }

    fn row(&mut self) -> Row {
        let mut values = self.head.clone();
        for (group, at) in self.others.iter().zip(&self.at) {
            group.push(*at, &mut values);
        }
        let seq = self.seq;
        self.seq += 1;
        Row { values, seq }
    }
}

impl Iterator for Rows {
    type Item = Result<Row, Failure>;

    fn next(&mut self) -> Option<Result<Row, Failure>> {
        // Who asks again at the end is told the same.
        if self.over || self.others.iter().any(|group| group.len() == 0) {
            return None;
        }
        // The last list that has another value; those behind it begin again.
        let again = if self.seq == 0 {
            None
        } else {
            (0..self.at.len()).rev().find(|i| self.at[*i] + 1 < self.others[*i].len())
        };
        match again {
            Some(i) => {
                self.at[i] += 1;
                self.at[i + 1..].fill(0);
            }
            None => {
                self.at.fill(0);
                match self.advance() {
                    Ok(true) => {}
                    Ok(false) => {
                        self.over = true;
                        return None;
                    }
                    Err(failure) => {
                        self.over = true;
                        return Some(Err(failure));
                    }
                }
            }
        }
        Some(Ok(self.row()))
    }
}

/// The first list with those that belong to it, and the others.
fn groups(lists: &[List]) -> (&[List], Vec<&[List]>) {
    let mut groups = lists.chunk_by(|_, next| next.linked);
    (groups.next().unwrap_or(&[]), groups.collect())
}

fn kept(lists: &[List], separator: &Separator) -> Result<Group, Failure> {
    let lists = lists.iter().map(|list| values(list, separator)).collect::<Result<Vec<_>, _>>()?;
    if lists[0].is_empty() {
        return Ok(Group { lists: vec![Vec::new()] });
    }
    check_linked(&lists[1..])?;
    Ok(Group { lists })
}

fn check_linked(lists: &[Vec<Arc<str>>]) -> Result<(), Failure> {
    match lists.iter().any(Vec::is_empty) {
        true => Err(Failure::usage("a linked list is empty")
            .hint("`:::+` gives one value for each of the list before")),
        false => Ok(()),
    }
}

fn values(list: &List, separator: &Separator) -> Result<Vec<Arc<str>>, Failure> {
    if !list.files {
        return Ok(list.words.iter().map(|word| word.as_str().into()).collect());
    }
    let mut values = Values::new(list, separator.clone());
    let mut all = Vec::new();
    while let Some(value) = values.next()? {
        all.push(value);
    }
    Ok(all)
}

/// Values of files, one after the other.
struct Values {
    files: VecDeque<String>,
    open: Option<(String, Box<dyn BufRead>)>,
    separator: Separator,
    commented: bool,
    /// Of a line, when blanks are between values.
    words: VecDeque<Arc<str>>,
}

impl std::fmt::Debug for Values {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Values").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Values {
    fn new(list: &List, separator: Separator) -> Values {
        let files = list.words.clone().into();
        Values { files, open: None, separator, commented: list.commented, words: VecDeque::new() }
    }

    /// Empty ones are none: a file that ends with its separator has no value behind it.
    fn next(&mut self) -> Result<Option<Arc<str>>, Failure> {
        loop {
            if let Some(word) = self.words.pop_front() {
                return Ok(Some(word));
            }
            let Some((name, from)) = &mut self.open else {
                let Some(name) = self.files.pop_front() else { return Ok(None) };
                let from: Box<dyn BufRead> = if name == STDIN {
                    Box::new(BufReader::new(std::io::stdin()))
                } else {
                    let file = File::open(&name);
                    Box::new(BufReader::new(
                        file.map_err(|e| Failure::new(format!("cannot read {name}: {e}")))?,
                    ))
                };
                self.open = Some((name, from));
                continue;
            };
            let end = match &self.separator {
                Separator::Text(text) => text.as_str(),
                Separator::Blanks => "\n",
            };
            let piece = piece(from.as_mut(), end.as_bytes())
                .map_err(|e| Failure::new(format!("cannot read {name}: {e}")))?;
            match piece {
                None => self.open = None,
                Some(piece) if self.separator == Separator::Blanks => {
                    self.words.extend(piece.split_whitespace().map(Arc::from));
                }
                Some(piece) => {
                    // What ends a line ends the last value of a file as well.
                    let value = piece.strip_suffix('\n').unwrap_or(&piece);
                    let is_comment = self.commented && value.trim_start().starts_with('#');
                    if !value.trim().is_empty() && !is_comment {
                        return Ok(Some(value.into()));
                    }
                }
            }
        }
    }
}

/// The bytes before the next `end`; none at the end of the file.
fn piece(from: &mut dyn BufRead, end: &[u8]) -> std::io::Result<Option<String>> {
    let last = *end.last().expect("a separator is not empty");
    let mut bytes = Vec::new();
    loop {
        if from.read_until(last, &mut bytes)? == 0 {
            break;
        }
        if bytes.ends_with(end) {
            bytes.truncate(bytes.len() - end.len());
            return text(bytes).map(Some);
        }
    }
    if bytes.is_empty() { Ok(None) } else { text(bytes).map(Some) }
}

fn text(bytes: Vec<u8>) -> std::io::Result<String> {
    String::from_utf8(bytes)
        .map_err(|_| std::io::Error::new(std::io::ErrorKind::InvalidData, "it is not UTF-8"))
}

/// 0 to `count` in an order that `random` makes (Fisher and Yates).
fn shuffle(count: u64, mut random: impl FnMut() -> u64) -> Vec<u64> {
    let mut order: Vec<u64> = (0..count).collect();
    for at in (1..order.len()).rev() {
        let other = usize::try_from(random() % (at as u64 + 1)).expect("below the length of the list");
        order.swap(at, other);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(line: &str, separator: Option<&str>) -> Vec<String> {
        let (_, lists) = split(line.split(' ').map(str::to_owned).collect()).unwrap();
        let mut all = Rows::new(&lists, &Separator::new(separator).unwrap()).unwrap();
        let len = all.len();
        let rows: Vec<String> = all.by_ref().map(|row| row.unwrap().values.join(",")).collect();
        assert!(all.next().is_none(), "{line}: the end is the end");
        assert!(len.is_none_or(|len| len == rows.len()), "{line}");
        rows
    }

    #[test]
    fn lists_are_joined_each_with_each_and_linked_ones_side_by_side() {
        for (line, expected) in [
            ("x ::: a b", "a b"),
            ("x ::: a b ::: 1 2", "a,1 a,2 b,1 b,2"),
            ("x ::: a b c :::+ 1 2", "a,1 b,2 c,1"),
            ("x ::: a b :::+ A B ::: 1 2 :::+ I II", "a,A,1,I a,A,2,II b,B,1,I b,B,2,II"),
            ("x ::: a ::: b ::: c d", "a,b,c a,b,d"),
        ] {
            assert_eq!(rows(line, None).join(" "), expected, "{line}");
        }
    }

    #[test]
    fn files_are_lists_of_lines_or_of_what_is_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let (one, two) = (write("one", "a b\n\nc\n"), write("two", "d"));
        assert_eq!(rows(&format!(":::: {one} {two}"), None), ["a b", "c", "d"]);
        assert_eq!(rows(&format!(":::: {one}"), Some("none")), ["a", "b", "c"]);
        assert_eq!(rows(&format!("::: 1 2 ::: x ::::+ {two}"), None), ["1,x,d", "2,x,d"]);
        let three = write("three", "a b, c, d\n");
        assert_eq!(rows(&format!(":::: {three}"), Some(", ")), ["a b", "c", "d"]);
        let missing = List::of_file("/no/such");
        let mut rows = Rows::new(&[missing], &Separator::Blanks).unwrap();
        assert!(rows.next().unwrap().is_err());
    }

    #[test]
    fn shuffled_rows_are_the_same_rows() {
        let (_, lists) = split("::: a b c ::: 1 2".split(' ').map(str::to_owned).collect()).unwrap();
        let rows = Rows::shuffled(&lists, &Separator::Blanks).unwrap();
        let mut all: Vec<String> = rows.map(|row| row.unwrap().values.join("")).collect();
        all.sort();
        assert_eq!(all, ["a1", "a2", "b1", "b2", "c1", "c2"]);
        let mut state = 0u64;
        let order = shuffle(10, || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state >> 33
        });
        assert_ne!(order, (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn signs_stand_where_they_mean_something() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let (command, lists) = split(words("echo {} ::: a ::::+ f")).unwrap();
        assert_eq!(command, ["echo", "{}"]);
        assert!(lists[1].files && lists[1].linked && lists[1].words == ["f"]);
        assert!(split(words("echo :::+ a")).is_err() && split(words("echo ::::")).is_err());
    }
}
