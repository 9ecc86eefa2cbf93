//! Rows of a table that are handed on far more often than they change: one of each collection, in every snapshot.

use serde::{Deserialize, Serialize};
use std::{ops::Deref, sync::Arc};

/// Shared rows: cloning and comparing what is the same costs nothing, however many there are.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rows<T>(Arc<Vec<T>>);

impl<T: Clone> Rows<T> {
    /// The rows to change; copied before when somebody else has them, too.
    pub fn change(&mut self) -> &mut Vec<T> {
        Arc::make_mut(&mut self.0)
    }

    /// Takes the earlier rows when none of them changed, so that whoever has them sees that at once.
    pub fn keep(&mut self, before: &Self)
    where
        T: PartialEq,
    {
        if self == before {
            *self = before.clone();
        }
    }

    /// True when both are the very same, so that none can differ.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<T> Default for Rows<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T: Clone + PartialEq> PartialEq for Rows<T> {
    fn eq(&self, other: &Self) -> bool {
        self.is_same(other) || self.0 == other.0
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
        let mut second = first.clone();
        assert!(second.is_same(&first));
        second.change().push(3);
        assert!(!second.is_same(&first) && second != first);
        assert_eq!((&first[..], &second[..]), (&[1, 2][..], &[1, 2, 3][..]));
        assert_eq!(serde_json::to_string(&second).expect("JSON"), "[1,2,3]");
    }
}
