//! The oplog module against entries recorded on real servers (4.4.2, 5.0.4, 6.0.5, 6.0.27).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use bson::{Document, RawDocumentBuf};
use mongoferry::oplog::{
    Batch, Body, ChangeKind, Dialect, Entry, Inner, OplogError, Traits,
    entry::operations,
    update::{self, Form},
};
use std::{collections::BTreeMap, fs};

const PIPELINE_44: Dialect = Dialect { major: 4, internal_stage: false };
const PIPELINE_50: Dialect = Dialect { major: 5, internal_stage: false };
const INTERNAL: Dialect = Dialect { major: 6, internal_stage: true };

fn samples(version: &str) -> Vec<(String, RawDocumentBuf)> {
    let path = format!("{}/tests/fixtures/oplog-samples-{version}.jsonl", env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| {
            // Read as BSON at once: the order of fields matters, and a JSON map would sort them.
            let sample: Document = serde_json::from_str(line).unwrap();
            let case = sample.get_str("case").unwrap().to_string();
            let document = sample.get_document("entry").unwrap();
            (case, RawDocumentBuf::try_from(document).unwrap())
        })
        .collect()
}

fn class(entry: &Entry<'_>) -> String {
    match &entry.body {
        Body::Noop => "noop".into(),
        Body::System => "system".into(),
        Body::Change(change) => match change.kind {
            ChangeKind::Insert(_) => "insert".into(),
            ChangeKind::Update { .. } => "update".into(),
            ChangeKind::Delete(_) => "delete".into(),
        },
        Body::Command(command) => format!("command {}", command.name),
        Body::Transaction(_) => "transaction".into(),
        Body::ApplyOps(_) => "applyOps".into(),
    }
}

fn inner_class(inner: &Inner<'_>) -> String {
    match inner {
        Inner::Change(_) => "inner change".into(),
        Inner::Command(command) => format!("inner command {}", command.name),
        Inner::Nothing => "inner nothing".into(),
    }
}

#[test]
fn every_recorded_entry_is_understood() {
    for version in ["4.4.2", "5.0.4", "6.0.5", "6.0.27"] {
        let mut classes: BTreeMap<String, usize> = BTreeMap::new();
        for (case, raw) in samples(version) {
            let entry = Entry::parse(&raw).unwrap_or_else(|error| panic!("{version} {case}: {error}"));
            *classes.entry(class(&entry)).or_default() += 1;
            let arrays = match &entry.body {
                Body::Transaction(part) => Some(part.operations),
                Body::ApplyOps(array) => Some(*array),
                _ => None,
            };
            for inner in arrays.into_iter().flat_map(operations) {
                // Long arrays are trimmed in the samples; a string stands for what was cut.
                if matches!(inner, Err(OplogError::Corrupt)) {
                    continue;
                }
                let inner = inner.unwrap_or_else(|error| panic!("{version} {case}: {error}"));
                *classes.entry(inner_class(&inner)).or_default() += 1;
            }
        }
        insta::assert_debug_snapshot!(format!("classes_{version}"), classes);
    }
}

#[test]
fn every_recorded_update_has_a_form_in_every_dialect() {
    let (mut lines, mut old_lines) = (String::new(), String::new());
    for version in ["4.4.2", "5.0.4", "6.0.5", "6.0.27"] {
        for (case, raw) in samples(version) {
            let entry = Entry::parse(&raw).unwrap();
            let Body::Change(change) = &entry.body else { continue };
            let ChangeKind::Update { update, .. } = &change.kind else { continue };
            for dialect in [PIPELINE_44, PIPELINE_50, INTERNAL] {
                let form = update::form(update, dialect).unwrap_or_else(|error| panic!("{version} {case}: {error}"));
                let is_replacement = update.get("_id").unwrap().is_some();
                assert_eq!(is_replacement, matches!(form, Form::Replacement(_)), "{version} {case}");
                assert!(!matches!(form, Form::Refetch(_)), "{version} {case}: {form:?}");
                let mut batch = Batch::new(dialect);
                batch.push(change.uuid.unwrap(), Traits::default(), change).unwrap();
                let commands: Vec<_> =
                    batch.into_collections().iter().flat_map(|collection| collection.commands("c")).collect();
                assert_eq!(commands.len(), 1, "{version} {case}");
                let lines = match (version, dialect) {
                    ("6.0.5", PIPELINE_50) => Some(&mut lines),
                    ("4.4.2", PIPELINE_44) => Some(&mut old_lines),
                    _ => None,
                };
                if let Some(lines) = lines.filter(|_| change.ns == "t2.a") {
                    let text = Document::try_from(commands[0].command.as_ref()).unwrap().to_string();
                    lines.push_str(&format!("{case}\n    {}\n", text.chars().take(1_200).collect::<String>()));
                }
            }
        }
    }
    insta::assert_snapshot!("update_commands_6.0.5", lines);
    insta::assert_snapshot!("update_commands_4.4.2", old_lines);
}
