//! A process without a launcher: it reads what it has put.

use std::collections::BTreeMap;

/// Name of its key-value space.
pub(crate) const NAME: &str = "singleton";

#[derive(Debug, Default)]
pub(crate) struct Alone {
    pub(crate) values: BTreeMap<String, String>,
}

impl Alone {
    pub(crate) fn new() -> Alone {
        let mapping = ("PMI_process_mapping".to_owned(), "(vector,(0,1,1))".to_owned());
        Alone { values: BTreeMap::from([mapping]) }
    }
}
