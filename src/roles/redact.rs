//! Replaces what belongs to the operator (hosts, users, set names, databases, collections) by numbered words, the same word
//! for the same name everywhere, so that a bug report can be read and tells nothing. Pure.

use std::collections::BTreeMap;

/// Names that were seen, and the words for them.
#[derive(Debug, Default)]
pub struct Redaction {
    words: BTreeMap<String, String>,
    counts: BTreeMap<&'static str, usize>,
}

impl Redaction {
    /// From now on `name` is `kind-N`. Very short names stay: replacing them would spoil every other word.
    pub fn hide(&mut self, kind: &'static str, name: &str) {
        let name = name.trim();
        if name.len() < 2 || self.words.contains_key(name) || name.chars().all(|c| c.is_ascii_digit()) {
            return;
        }
        let count = self.counts.entry(kind).or_default();
        *count += 1;
        self.words.insert(name.to_string(), format!("{kind}-{count}"));
    }

    /// Hides the hosts of `host:port[,…]` or of a connection string.
    pub fn hide_hosts(&mut self, text: &str) {
        let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
        let hosts = rest.split(['/', '?']).next().unwrap_or_default();
        for host in hosts.split(',') {
            let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
            self.hide("host", name);
        }
    }

    /// Hides a database, a collection, and their namespace.
    pub fn hide_namespace(&mut self, namespace: &str) {
        if let Some((database, collection)) = namespace.split_once('.') {
            self.hide("db", database);
            self.hide("coll", collection);
        }
    }

    /// `text` without the hidden names; longer names first, and only where they stand as a whole word.
    pub fn apply(&self, text: &str) -> String {
        let mut names: Vec<(&String, &String)> = self.words.iter().collect();
        names.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        let is_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '-');
        let (mut out, mut rest, mut before) = (String::with_capacity(text.len()), text, None);
        while let Some(first) = rest.chars().next() {
            let found = names.iter().find(|(name, _)| {
                !is_word(before) && rest.starts_with(name.as_str()) && !is_word(rest[name.len()..].chars().next())
            });
            if let Some((name, word)) = found {
                out.push_str(word);
                before = name.chars().next_back();
                rest = &rest[name.len()..];
            } else {
                out.push(first);
                before = Some(first);
                rest = &rest[first.len_utf8()..];
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_name_is_the_same_word_and_only_whole_words_go() {
        let mut redaction = Redaction::default();
        redaction.hide_hosts("mongodb://db-01.example.net:27017,db-02.example.net:27017/?replicaSet=rs0");
        redaction.hide_namespace("shop.orders");
        redaction.hide("user", "ferry");
        let text = "db-01.example.net:27017 shop.orders shopping ferryman ferry@db-02.example.net orders.";
        assert_eq!(redaction.apply(text), "host-1:27017 db-1.coll-1 shopping ferryman user-1@host-2 coll-1.");
    }
}
