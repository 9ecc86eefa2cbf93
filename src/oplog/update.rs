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

/// Levels of a diff and components of a path beyond which no pipeline is tried.
const LEVELS: usize = 40;
/// BSON levels of a stage. A command may have 200 (error 15 "exceeds maximum nested object depth"), and the stage stands
/// at the fifth.
const NESTING: usize = 190;
/// Bytes of a stage; a command may have 16 MiB and 16 KiB.
const BYTES: usize = (16 << 20) + 8_192;
/// Paths of a `$v:1` update, each a stage; a pipeline may have 1000.
const PATHS: usize = 500;
/// Numeric components of a path: each may be an index or a field name, so that the expression doubles with each.
const INDEXES: usize = 6;

/// Decides the form by the server's own rule (OPLOG.md section 0, rule 3).
pub fn form(update: &RawDocument, dialect: Dialect) -> Result<Form, OplogError> {
    let unknown = || OplogError::unsupported("an unknown update format", update);
    if matches!(update.get("_id"), Ok(Some(_))) {
        return Ok(Form::Replacement(update.to_owned()));
    }
    let version = update.get("$v").ok().flatten().and_then(number);
    match (version, update.get_document("diff")) {
        (Some(2), Ok(_)) if dialect.internal_stage => Ok(internal(update)),
        (Some(2), Ok(diff)) => {
            if holds_binary_diff(diff) {
                return Ok(Form::Refetch("a binary diff"));
            }
            if levels(diff) > LEVELS {
                return Ok(TOO_DEEP);
            }
            let expression = pipeline::document("$$ROOT", diff, dialect.major).ok_or_else(unknown)?;
            let mut stage = RawDocumentBuf::new();
            stage.append(cstr!("$replaceWith"), expression);
            Ok(checked(vec![stage]))
        }
        (None | Some(1), _) if !is_set_and_unset(update)? => {
            // Only a user's own applyOps logs `$inc` and the like as it was sent.
            Ok(Form::Refetch("an operator whose result is not in the oplog"))
        }
        (None | Some(1), _) if dialect.internal_stage => Ok(internal(update)),
        (None | Some(1), _) => dotted_form(update),
        _ => Err(unknown()),
    }
}

const TOO_DEEP: Form = Form::Refetch("the update is nested too deeply for a pipeline");

/// The server's own stage, which takes the update as it is (OPLOG.md B.4).
fn internal(update: &RawDocument) -> Form {
    Form::Stages(vec![rawdoc! { "$_internalApplyOplogUpdate": { "oplogUpdate": update.to_owned() } }])
}

fn checked(stages: Vec<RawDocumentBuf>) -> Form {
    if stages.iter().any(|stage| nesting(stage) > NESTING) {
        return TOO_DEEP;
    }
    if stages.iter().map(|stage| stage.as_bytes().len()).sum::<usize>() > BYTES {
        return Form::Refetch("the update is too large for a pipeline");
    }
    Form::Stages(stages)
}

fn is_set_and_unset(update: &RawDocument) -> Result<bool, OplogError> {
    let mut modifies = false;
    for element in update {
        match element.map_err(|_| OplogError::Corrupt)?.0.as_str() {
            "$set" | "$unset" => modifies = true,
            "$v" => {}
            _ => return Ok(false),
        }
    }
    Ok(modifies)
}

fn dotted_form(update: &RawDocument) -> Result<Form, OplogError> {
    let mut paths = 0;
    for section in ["$set", "$unset"] {
        for element in update.get_document(section).ok().into_iter().flatten() {
            let path = element.map_err(|_| OplogError::Corrupt)?.0.as_str();
            let indexes = path.split('.').skip(1).filter(|component| dotted::is_index(component)).count();
            if path.split('.').count() > LEVELS || indexes > INDEXES {
                return Ok(TOO_DEEP);
            }
            paths += 1;
        }
    }
    if paths > PATHS {
        return Ok(Form::Refetch("the update has too many paths for a pipeline"));
    }
    Ok(match dotted::stages(update) {
        Some(stages) => checked(stages),
        None => Form::Classic(dotted::classic(update)),
    })
}

/// Any numeric type: a user's own applyOps may log `$v` as a double or a long.
fn number(value: RawBsonRef<'_>) -> Option<i64> {
    let double = || value.as_f64().filter(|value| value.fract() == 0.0).map(|value| value as i64);
    value.as_i64().or_else(|| value.as_i32().map(i64::from)).or_else(double)
}

/// Levels of BSON, the document itself included.
fn nesting(document: &RawDocument) -> usize {
    fn of(value: RawBsonRef<'_>) -> usize {
        match value {
            RawBsonRef::Document(document) => nesting(document),
            RawBsonRef::Array(array) => 1 + array.into_iter().flatten().map(of).max().unwrap_or(0),
            _ => 0,
        }
    }
    1 + document.iter().flatten().map(|(_, value)| of(value)).max().unwrap_or(0)
}

fn subdocuments(diff: &RawDocument) -> impl Iterator<Item = &RawDocument> {
    diff.iter().filter_map(|element| {
        let (name, value) = element.ok()?;
        if name.as_str().starts_with('s') { value.as_document() } else { None }
    })
}

fn levels(diff: &RawDocument) -> usize {
    1 + subdocuments(diff).map(levels).max().unwrap_or(0)
}

fn holds_binary_diff(diff: &RawDocument) -> bool {
    matches!(diff.get("b"), Ok(Some(RawBsonRef::Document(_)))) || subdocuments(diff).any(holds_binary_diff)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIPELINE: Dialect = Dialect { major: 5, internal_stage: false };
    const INTERNAL: Dialect = Dialect { major: 6, internal_stage: true };

    fn deep(levels: usize, leaf: RawDocumentBuf) -> RawDocumentBuf {
        let diff = (0..levels).fold(leaf, |inner, _| rawdoc! { "sx": inner });
        rawdoc! { "$v": 2, "diff": diff }
    }

    #[test]
    fn a_document_with_an_id_is_a_replacement_whatever_else_it_holds() {
        let update = rawdoc! { "_id": 1, "$v": 2, "diff": {}, "$set": { "a": 1 } };
        for dialect in [PIPELINE, INTERNAL] {
            assert_eq!(form(&update, dialect), Ok(Form::Replacement(update.clone())));
        }
    }

    #[test]
    fn operators_without_a_result_are_never_replayed() {
        for update in [rawdoc! { "$inc": { "a": 1 } }, rawdoc! { "$v": 1, "$set": { "b": 1 }, "$inc": { "a": 1 } }] {
            for dialect in [PIPELINE, INTERNAL] {
                assert!(matches!(form(&update, dialect), Ok(Form::Refetch(_))), "{update:?}");
            }
        }
    }

    #[test]
    fn the_version_may_be_any_number() {
        let diff = rawdoc! { "u": { "a": 1 } };
        for update in [rawdoc! { "$v": 2.0, "diff": diff.clone() }, rawdoc! { "$v": 2_i64, "diff": diff }] {
            assert!(matches!(form(&update, PIPELINE), Ok(Form::Stages(_))));
        }
    }

    #[test]
    fn what_is_not_known_is_an_error_with_the_text() {
        for update in [rawdoc! { "$v": 3, "diff": {} }, rawdoc! { "$v": 2, "diff": { "z": { "marker": 1 } } }] {
            let error = form(&update, PIPELINE).unwrap_err();
            assert!(error.to_string().contains("unknown update format"), "{error}");
        }
        let length = rawdoc! { "$v": 2, "diff": { "sa": { "a": true, "l": "two" } } };
        assert!(form(&length, PIPELINE).is_err());
    }

    #[test]
    fn what_a_pipeline_cannot_hold_is_fetched_again() {
        let leaf = || rawdoc! { "u": { "a": 1 } };
        assert!(matches!(form(&deep(10, leaf()), PIPELINE), Ok(Form::Stages(_))));
        assert!(matches!(form(&deep(60, leaf()), PIPELINE), Ok(Form::Refetch(_))));
        assert!(matches!(form(&deep(60, leaf()), INTERNAL), Ok(Form::Stages(_))));
        let value = (0..150).fold(rawdoc! {}, |inner, _| rawdoc! { "v": inner });
        assert!(matches!(form(&deep(15, rawdoc! { "u": { "a": value } }), PIPELINE), Ok(Form::Refetch(_))));
        assert!(matches!(form(&deep(1, rawdoc! { "b": { "o": 1 } }), PIPELINE), Ok(Form::Refetch(_))));
        let indexes = rawdoc! { "$v": 1, "$set": { "a.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0": 1 } };
        assert!(matches!(form(&indexes, PIPELINE), Ok(Form::Refetch(_))));
        let paths: RawDocumentBuf = (0..1_500)
            .map(|n| (bson::raw::CString::try_from(format!("f{n}")).unwrap(), bson::RawBson::Int32(n)))
            .collect();
        assert!(matches!(form(&rawdoc! { "$v": 1, "$set": paths }, PIPELINE), Ok(Form::Refetch(_))));
    }

    #[test]
    fn a_path_that_no_pipeline_addresses_stays_classic() {
        let update = rawdoc! { "$v": 1, "$set": { "ref.$id": 1 } };
        assert_eq!(form(&update, PIPELINE), Ok(Form::Classic(rawdoc! { "$set": { "ref.$id": 1 } })));
        let top = rawdoc! { "$v": 1, "$set": { "a.2147483647": 1 } };
        assert!(matches!(form(&top, PIPELINE), Ok(Form::Stages(_))));
    }
}
