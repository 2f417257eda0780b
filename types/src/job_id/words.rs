//! Job ids as words that can be told apart over the telephone (mnemonicode, as RFC 19 asks).
//!
//! 32 bits are three words of a list of 1626. The list is its author's, with its own licence, so it comes from the
//! crate that carries it; the arithmetic is here.

use mnemonic::MN_WORDS;

/// Words that stand for a digit; the list has some more, for remainders that 64 bits do not leave.
const BASE: u32 = 1626;

/// Two groups of three words, the lower half of the id first.
pub(super) fn encode(id: u64) -> String {
    let half = |bits: u32| {
        let digits = [bits % BASE, bits / BASE % BASE, bits / BASE / BASE];
        let word = |digit: u32| std::str::from_utf8(MN_WORDS[digit as usize]).expect("the list is ASCII");
        digits.map(word).join("-")
    };
    format!("{}--{}", half(id as u32), half((id >> 32) as u32))
}

/// The id of six words, whatever the number of dashes between them.
pub(super) fn decode(text: &str) -> Option<u64> {
    let mut digits = [0_u64; 6];
    let mut words = text.split('-').filter(|word| !word.is_empty());
    for digit in &mut digits {
        let word = words.next()?.as_bytes();
        *digit = MN_WORDS[..BASE as usize].iter().position(|known| *known == word)? as u64;
    }
    if words.next().is_some() {
        return None;
    }
    let base = u64::from(BASE);
    let half =
        |digits: &[u64]| u32::try_from(digits.iter().rev().fold(0, |sum, digit| sum * base + digit)).ok();
    Some(u64::from(half(&digits[3..])?) << 32 | u64::from(half(&digits[..3])?))
}
