//! Rows of a table that are handed on far more often than they change: one of each collection, in every snapshot.

use serde::{Deserialize, Serialize};
use std::{ops::Deref, sync::Arc, time::Duration};

/// All rows are made anew for each time that they are shown, and sent to every client: 2 s for a hundred thousand.
const PAUSE_OF_ROW: Duration = Duration::from_micros(20);

/// So many rows are not shown sooner than this after the last time.
pub fn pause_of(rows: usize) -> Duration {
    PAUSE_OF_ROW * u32::try_from(rows).unwrap_or(u32::MAX)
}

/// Shared rows: cloning and comparing what is the same costs nothing, however many there are.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rows<T>(Arc<Vec<T>>);

impl<T: Clone> Rows<T> {
    /// The rows to change; copied before when somebody else has them, too.
    pub fn change(&mut self) -> &mut Vec<T> {
        Arc::make_mut(&mut self.0)
    }
}

impl<T: PartialEq> Rows<T> {
    /// Takes the earlier rows when none of them changed, so that whoever has them sees that at once.
    pub fn keep(&mut self, before: &Self) {
        if self == before {
            self.0 = before.0.clone();
        }
    }
}

impl<T> Default for Rows<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T: PartialEq> PartialEq for Rows<T> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl<T> Deref for Rows<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T> From<Vec<T>> for Rows<T> {
    fn from(rows: Vec<T>) -> Self {
        Self(Arc::new(rows))
    }
}

impl<'a, T> IntoIterator for &'a Rows<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_shared_until_one_changes() {
        let first: Rows<u8> = vec![1, 2].into();
        let is_same = |a: &Rows<u8>, b: &Rows<u8>| Arc::ptr_eq(&a.0, &b.0);
        let mut second = first.clone();
        assert!(is_same(&second, &first));
        second.change().push(3);
        assert!(!is_same(&second, &first) && second != first);
        assert_eq!((&first[..], &second[..]), (&[1, 2][..], &[1, 2, 3][..]));
        let mut third = Rows::from(vec![1, 2]);
        third.keep(&second);
        assert!(!is_same(&third, &second));
        third.keep(&first);
        assert!(is_same(&third, &first));
        assert_eq!(serde_json::to_string(&second).expect("JSON"), "[1,2,3]");
    }
}
