//! A document as both clusters have it, for the one client that asked. Its values are the application's data: they are in
//! no snapshot, event, journal, report or log.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A document read from both clusters at once. Values are canonical extended JSON, so that types are told apart; a very
/// long one is cut, and says so.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShownDocument {
    /// `db.collection`.
    pub namespace: String,
    /// Its `_id` as it was asked for.
    pub id: String,
    /// When both were read.
    pub at: Timestamp,
    /// What the source has.
    pub source: Option<String>,
    /// What the destination has.
    pub destination: Option<String>,
    /// Where they differ; empty when they do not, or when one side has none.
    pub fields: Vec<ShownField>,
}

/// One place at which they differ.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShownField {
    /// Dotted path.
    pub path: String,
    /// The value on the source; `None` when it has no such field.
    pub source: Option<String>,
    /// The value on the destination.
    pub destination: Option<String>,
}

impl ShownDocument {
    /// True when both sides have the same bytes.
    pub fn is_equal(&self) -> bool {
        self.source.is_some() == self.destination.is_some() && self.fields.is_empty()
    }
}

// Whatever is printed for debugging may end in a log.
impl fmt::Debug for ShownDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ShownDocument({} {})", self.namespace, self.id)
    }
}

impl fmt::Debug for ShownField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ShownField({})", self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_is_printed_for_debugging() {
        let some = |text: &str| Some(text.to_string());
        let field = ShownField { path: "a".into(), source: some("hush"), destination: some("hush") };
        let shown = ShownDocument {
            namespace: "shop.c".into(),
            id: "1".into(),
            at: Timestamp::UNIX_EPOCH,
            source: some("hush"),
            destination: some("hush"),
            fields: vec![field.clone()],
        };
        let printed = format!("{shown:?} {field:?}");
        assert_eq!(printed, "ShownDocument(shop.c 1) ShownField(a)");
    }
}
