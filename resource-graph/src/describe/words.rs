//! Texts as small numbers: a description has few of them, and each many times.

use std::collections::BTreeMap;
use std::sync::Arc;

/// A text by its number.
pub(crate) type Word = u32;

/// The texts, each once.
#[derive(Debug, Default, Clone)]
pub(crate) struct Words {
    texts: Vec<Arc<str>>,
    known: BTreeMap<Arc<str>, Word>,
}

impl Words {
    /// The number of a text, which gets one if it has none.
    pub(crate) fn word(&mut self, text: &str) -> Word {
        if let Some(word) = self.known.get(text) {
            return *word;
        }
        let (word, text) = (self.texts.len() as Word, Arc::<str>::from(text));
        self.texts.push(Arc::clone(&text));
        self.known.insert(text, word);
        word
    }

    /// The number of a text, if it has one.
    pub(crate) fn find(&self, text: &str) -> Option<Word> {
        self.known.get(text).copied()
    }

    /// All of them in the order of their numbers.
    pub(crate) fn all(&self) -> &[Arc<str>] {
        &self.texts
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.texts.len()
    }

    pub(crate) fn text(&self, word: Word) -> &str {
        &self.texts[word as usize]
    }
}
