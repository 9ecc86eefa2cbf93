//! From an update entry's `o` to pipeline stages that reproduce it exactly.

use super::{Dialect, OplogError, dotted, pipeline};
use bson::{RawBsonRef, RawDocument, RawDocumentBuf, raw::cstr, rawdoc};

/// What an update entry asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Form {
    /// The whole document afterwards.
    Replacement(RawDocumentBuf),
    /// Pipeline stages for one update statement.
    Stages(Vec<RawDocumentBuf>),
    /// A classic `$set`/`$unset` document: `$v:1` paths that no pipeline can address (DBRef's `$id`).
    Classic(RawDocumentBuf),
    /// No update can express it: fetch the document again from the source and replace it (OPLOG.md B.3).
    Refetch(&'static str),
}

/// Deepest diff that a pipeline may express: command depth is limited to 200 and each level costs several (B.3 (a):
/// about 36 levels of plain names, 20 of arrays, 15 of odd names).
const DEEPEST: usize = 14;

/// Decides the form by the server's own rule (OPLOG.md section 0, rule 3).
pub fn form(update: &RawDocument, dialect: Dialect) -> Result<Form, OplogError> {
    let has = |field: &str| matches!(update.get(field), Ok(Some(_)));
    if has("_id") {
        return Ok(Form::Replacement(update.to_owned()));
    }
    let version = update.get("$v").ok().flatten().and_then(number);
    if dialect.internal_stage && (version.is_some() || has("$set") || has("$unset")) {
        return Ok(Form::Stages(vec![rawdoc! { "$_internalApplyOplogUpdate": { "oplogUpdate": update.to_owned() } }]));
    }
    match (version, update.get_document("diff")) {
        (Some(2), Ok(diff)) => {
            if diff_depth(diff) > DEEPEST {
                return Ok(Form::Refetch("the update is nested too deeply for a pipeline"));
            }
            if holds_binary_diff(diff) {
                return Ok(Form::Refetch("a binary diff"));
            }
            let expression = pipeline::document("$$ROOT", diff, dialect.major)
                .ok_or_else(|| OplogError::unsupported("an unknown update format", update))?;
            let mut stage = RawDocumentBuf::new();
            stage.append(cstr!("$replaceWith"), expression);
            Ok(Form::Stages(vec![stage]))
        }
        (None | Some(1), _) if has("$set") || has("$unset") => Ok(match dotted::stages(update) {
            Some(stages) => Form::Stages(stages),
            None => Form::Classic(dotted::classic(update)),
        }),
        _ => Err(OplogError::unsupported("an unknown update format", update)),
    }
}

fn number(value: RawBsonRef<'_>) -> Option<i64> {
    value.as_i64().or_else(|| value.as_i32().map(i64::from))
}

fn subdocuments(diff: &RawDocument) -> impl Iterator<Item = &RawDocument> {
    diff.iter().filter_map(|element| {
        let (name, value) = element.ok()?;
        if name.as_str().starts_with('s') { value.as_document() } else { None }
    })
}

fn diff_depth(diff: &RawDocument) -> usize {
    1 + subdocuments(diff).map(diff_depth).max().unwrap_or(0)
}

fn holds_binary_diff(diff: &RawDocument) -> bool {
    matches!(diff.get("b"), Ok(Some(RawBsonRef::Document(_)))) || subdocuments(diff).any(holds_binary_diff)
}
