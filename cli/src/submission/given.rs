//! A value as it was typed. It is checked at once, unless a placeholder in it waits for the job it is of.

use crate::failure::Failure;
use std::fmt::Display;
use std::marker::PhantomData;
use std::str::FromStr;

/// The text of a `T`, or one that becomes it when its `{…}` are filled in.
#[derive(Clone, Debug)]
pub struct Given<T> {
    text: String,
    kind: PhantomData<fn() -> T>,
}

impl<T: FromStr> FromStr for Given<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Given<T>, T::Err> {
        if !text.contains('{') {
            text.parse::<T>()?;
        }
        Ok(Given { text: text.to_owned(), kind: PhantomData })
    }
}

impl<T: Display> From<T> for Given<T> {
    fn from(value: T) -> Given<T> {
        Given { text: value.to_string(), kind: PhantomData }
    }
}

impl<T: FromStr> Given<T>
where
    T::Err: Display,
{
    /// The value, once all is filled in.
    pub fn get(&self) -> Result<T, Failure> {
        self.text.parse().map_err(|e: T::Err| Failure::usage(format!("`{}`: {e}", self.text)))
    }
}

impl<T> Given<T> {
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn text(&mut self) -> &mut String {
        &mut self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_placeholder_may_be_checked_later() {
        assert!("x".parse::<Given<u32>>().is_err());
        assert_eq!("7".parse::<Given<u32>>().unwrap().get(), Ok(7));
        let mut given: Given<u32> = "{0}".parse().unwrap();
        assert!(given.get().is_err());
        *given.text() = "12".to_owned();
        assert_eq!(given.get(), Ok(12));
    }
}
