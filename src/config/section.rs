//! One table of a plan file: typed access to its keys, with the line of each in errors.

use super::ConfigError;
use std::path::{Path, PathBuf};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// One table and where it stands.
pub(super) struct Section<'a> {
    file: &'a Path,
    text: &'a str,
    name: &'a str,
    table: &'a DeTable<'a>,
}

impl<'a> Section<'a> {
    /// The table `name` of `file`, whose whole text is `text`.
    pub fn new(file: &'a Path, text: &'a str, name: &'a str, table: &'a DeTable<'a>) -> Self {
        Self { file, text, name, table }
    }

    /// The plan file.
    pub fn file(&self) -> &Path {
        self.file
    }

    /// The table's name without brackets.
    pub fn name(&self) -> &str {
        self.name
    }

    /// `file` beside the plan, unless absolute.
    pub fn beside(&self, file: &str) -> PathBuf {
        self.file.parent().map_or_else(|| PathBuf::from(file), |folder| folder.join(file))
    }

    /// Refuses every key that is not in `known`, with the nearest one.
    pub fn allow(&self, known: &[&str]) -> Result<(), ConfigError> {
        let unknown = self.table.keys().filter(|key| !known.contains(&key.get_ref().as_ref()));
        let Some(key) = unknown.min_by_key(|key| key.span().start) else { return Ok(()) };
        let place = if self.name.contains(' ') {
            format!("at the top of {}", self.name)
        } else {
            format!("in [{}]", self.name)
        };
        let hint = match nearest(key.get_ref(), known) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known keys: {}", known.join(", ")),
        };
        Err(self.line(key.span().start, format!("unknown key `{}` {place}; {hint}", key.get_ref())))
    }

    /// True when the key is there.
    pub fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// A string.
    pub fn text(&self, key: &str) -> Result<Option<&'a str>, ConfigError> {
        self.value(key, "a string in quotes", DeValue::as_str)
    }

    /// `true` or `false`.
    pub fn flag(&self, key: &str) -> Result<Option<bool>, ConfigError> {
        self.value(key, "true or false", DeValue::as_bool)
    }

    /// A table.
    pub fn table(&self, key: &'a str) -> Result<Option<Section<'a>>, ConfigError> {
        let table = self.value(key, "a section", DeValue::as_table)?;
        Ok(table.map(|table| Section { name: key, table, ..*self }))
    }

    /// A list of strings; empty when absent.
    pub fn list(&self, key: &str) -> Result<Vec<&'a str>, ConfigError> {
        let accepted = "a list of strings in brackets";
        let Some(array) = self.value(key, accepted, DeValue::as_array)? else { return Ok(Vec::new()) };
        let texts = array.iter().map(|value| value.get_ref().as_str());
        texts.collect::<Option<_>>().ok_or_else(|| self.at(key, format!("{key} takes {accepted}")))
    }

    /// An error on the line of `key`.
    pub fn at(&self, key: &str, message: impl Into<String>) -> ConfigError {
        let key = self.table.keys().find(|known| known.get_ref() == key);
        self.line(key.map_or(0, |key| key.span().start), message)
    }

    /// An error about something that stands nowhere.
    pub fn missing(&self, message: impl Into<String>) -> ConfigError {
        ConfigError::Missing { file: self.file.to_path_buf(), message: message.into() }
    }

    fn line(&self, at: usize, message: impl Into<String>) -> ConfigError {
        let line = self.text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1;
        ConfigError::Line { file: self.file.to_path_buf(), line, message: message.into() }
    }

    fn value<T>(
        &self,
        key: &str,
        accepted: &str,
        read: impl Fn(&'a DeValue<'a>) -> Option<T>,
    ) -> Result<Option<T>, ConfigError> {
        let Some(value) = self.table.get(key).map(Spanned::get_ref) else { return Ok(None) };
        match read(value) {
            Some(value) => Ok(Some(value)),
            None => Err(self.at(key, format!("{key} takes {accepted}"))),
        }
    }
}

/// The known key that is at most a third of its length away.
fn nearest<'a>(key: &str, known: &[&'a str]) -> Option<&'a str> {
    let best = known.iter().min_by_key(|candidate| distance(key, candidate))?;
    (distance(key, best) <= (best.len() / 3).max(2)).then_some(best)
}

/// Insertions, deletions and replacements between two words.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(left != *right);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_key_is_offered_and_nothing_far() {
        let known = ["password_file", "password_env", "username"];
        assert_eq!(nearest("pasword_file", &known), Some("password_file"));
        assert_eq!(nearest("user", &known), None);
        assert_eq!(nearest("usrname", &known), Some("username"));
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
