//! Which namespaces are migrated: include and exclude patterns, exclusion wins.

use serde::{Deserialize, Serialize};

/// Prefix of every database that mongoferry creates for a moment on a destination.
pub const TEMPORARY_PREFIX: &str = "mongoferry_check_";
/// The database on the destination that says who works on it.
pub const LEASE_DB: &str = "mongoferry_lease";

/// True for databases that are never migrated: the servers' own and mongoferry's own.
pub fn is_reserved(database: &str) -> bool {
    matches!(database, "admin" | "local" | "config" | "" | LEASE_DB) || database.starts_with(TEMPORARY_PREFIX)
}

/// One pattern: `db` and `db.*` select a whole database, `db.coll` one collection. `*` stands for any characters
/// inside the collection part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pattern(String);

/// Include and exclude lists. Empty include means everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespaceFilter {
    /// Patterns of what is migrated; empty: all user databases.
    pub include: Vec<Pattern>,
    /// Patterns of what is left out; wins over `include`.
    pub exclude: Vec<Pattern>,
}

impl Pattern {
    /// Parses one pattern; the error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let database = text.split('.').next().unwrap_or_default();
        if database.is_empty() {
            return Err(format!("namespace pattern {text:?} has no database name"));
        }
        if database.contains('*') {
            return Err(format!("namespace pattern {text:?}: a database name cannot hold '*'"));
        }
        if text.ends_with('.') {
            return Err(format!("namespace pattern {text:?} ends with a dot"));
        }
        Ok(Self(text.to_string()))
    }

    /// The pattern as written.
    pub fn text(&self) -> &str {
        &self.0
    }

    fn matches(&self, database: &str, collection: &str) -> bool {
        match self.0.split_once('.') {
            None => self.0 == database,
            Some((db, coll)) => db == database && glob(coll.as_bytes(), collection.as_bytes()),
        }
    }
}

fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((b'*', rest)) => (0..=text.len()).any(|skip| glob(rest, &text[skip..])),
        Some((first, rest)) => text.first() == Some(first) && glob(rest, &text[1..]),
    }
}

impl NamespaceFilter {
    /// Exactly one collection.
    pub fn only(database: &str, collection: &str) -> Self {
        Self { include: vec![Pattern(format!("{database}.{collection}"))], exclude: Vec::new() }
    }

    /// True when the collection `database.collection` is migrated. A time-series bucket collection follows its
    /// time-series collection: `system.buckets.x` is asked as `x`. Reserved databases are never selected.
    pub fn selects(&self, database: &str, collection: &str) -> bool {
        if is_reserved(database) {
            return false;
        }
        let collection = collection.strip_prefix("system.buckets.").unwrap_or(collection);
        let any = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.matches(database, collection));
        (self.include.is_empty() || any(&self.include)) && !any(&self.exclude)
    }

    /// True when some collection of `database` could be selected.
    pub fn may_select_in(&self, database: &str) -> bool {
        if is_reserved(database) {
            return false;
        }
        let names = |pattern: &Pattern| pattern.0.split('.').next() == Some(database);
        let whole = |pattern: &Pattern| names(pattern) && matches!(pattern.0.split_once('.'), None | Some((_, "*")));
        (self.include.is_empty() || self.include.iter().any(names)) && !self.exclude.iter().any(whole)
    }

    /// True when everything is migrated.
    pub fn is_everything(&self) -> bool {
        self.include.is_empty() && self.exclude.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(include: &[&str], exclude: &[&str]) -> NamespaceFilter {
        let parse = |list: &[&str]| list.iter().map(|text| Pattern::parse(text).expect("pattern")).collect();
        NamespaceFilter { include: parse(include), exclude: parse(exclude) }
    }

    #[test]
    fn exclusion_wins_and_empty_include_is_everything() {
        assert!(filter(&[], &[]).selects("shop", "orders"));
        assert!(!filter(&[], &[]).selects("admin", "system.users"));
        assert!(!filter(&[], &[]).selects(LEASE_DB, "lease"));
        assert!(!filter(&["mongoferry_check_1"], &[]).may_select_in("mongoferry_check_1"));
        assert!(filter(&["shop.*"], &[]).selects("shop", "a.b"));
        assert!(filter(&["shop"], &[]).selects("shop", "orders"));
        assert!(!filter(&["shop"], &[]).selects("shopping", "orders"));
        assert!(!filter(&["shop.*"], &["shop.orders"]).selects("shop", "orders"));
        assert!(filter(&["shop.or*s"], &[]).selects("shop", "orders"));
        assert!(filter(&["shop.readings"], &[]).selects("shop", "system.buckets.readings"));
    }

    #[test]
    fn databases_that_cannot_match_are_skipped() {
        assert!(filter(&["shop.orders"], &[]).may_select_in("shop"));
        assert!(!filter(&["shop.orders"], &[]).may_select_in("crm"));
        assert!(!filter(&[], &["crm.*"]).may_select_in("crm"));
        assert!(filter(&[], &["crm.notes"]).may_select_in("crm"));
    }

    #[test]
    fn nonsense_is_refused_with_the_reason() {
        assert!(Pattern::parse("*.orders").is_err());
        assert!(Pattern::parse("").is_err());
        assert!(Pattern::parse("shop.").is_err());
    }
}
