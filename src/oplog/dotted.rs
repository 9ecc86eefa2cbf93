//! `$v:1` updates (OPLOG.md B.2): `$set`/`$unset` of dotted paths, as a pipeline that never fails on a newer document.

use super::pipeline::{guarded, is_simple, list, literal, padded};
use bson::{RawBson, RawBsonRef, RawDocument, RawDocumentBuf, raw::CString, rawdoc};

#[derive(Clone, Copy)]
enum Change<'a> {
    Set(RawBsonRef<'a>),
    Unset,
}

const ROOT: &str = "$$ROOT";

/// A guard, then one stage per path; `None` when a path holds a name that a pipeline path cannot address (DBRef's `$id`).
pub fn stages(update: &RawDocument) -> Option<Vec<RawDocumentBuf>> {
    let mut stages = vec![rawdoc! { "$replaceWith": guarded(ROOT, text(ROOT)) }];
    let mut push = |path: &str, change: Change<'_>| -> Option<()> {
        let components: Vec<&str> = path.split('.').collect();
        if !components.iter().all(|component| is_simple(component)) {
            return None;
        }
        let mut names = 0;
        stages.push(rawdoc! { "$replaceWith": in_document(&mut names, ROOT, change, &components)? });
        Some(())
    };
    if let Ok(unset) = update.get_document("$unset") {
        for element in unset {
            push(element.ok()?.0.as_str(), Change::Unset)?;
        }
    }
    if let Ok(set) = update.get_document("$set") {
        for element in set {
            let (path, value) = element.ok()?;
            push(path.as_str(), Change::Set(value))?;
        }
    }
    Some(stages)
}

/// The update without `$v`, for an ordinary update command.
pub fn classic(update: &RawDocument) -> RawDocumentBuf {
    update.iter().filter_map(Result::ok).filter(|(key, _)| key.as_str() != "$v").collect()
}

fn op(operator: &str, argument: impl Into<RawBson>) -> RawBson {
    named(operator, argument.into())
}

fn named(name: &str, value: RawBson) -> RawBson {
    let mut document = RawDocumentBuf::new();
    if let Ok(name) = CString::try_from(name) {
        document.append(name, value);
    }
    RawBson::Document(document)
}

fn text(value: &str) -> RawBson {
    RawBson::String(value.into())
}

/// `0`, `1`, `2`, …: in an array an index, in a document a name. No array has room for the largest.
pub(super) fn is_index(component: &str) -> bool {
    component.parse().is_ok_and(|index: i32| (0..i32::MAX).contains(&index) && index.to_string() == component)
}

/// The value of a path that does not exist yet.
fn created(change: Change<'_>, rest: &[&str]) -> Option<RawBson> {
    let Change::Set(value) = change else { return None };
    let nested = rest.iter().rev().fold(RawBson::from(value), |inner, name| named(name, inner));
    Some(op("$literal", nested))
}

/// The whole document is guarded once, by a stage of its own; what lies inside it where it is changed.
fn in_document(names: &mut u32, target: &str, change: Change<'_>, components: &[&str]) -> Option<RawBson> {
    let changed = changed_document(names, target, change, components)?;
    Some(if target == ROOT { changed } else { guarded(target, changed) })
}

fn changed_document(names: &mut u32, target: &str, change: Change<'_>, components: &[&str]) -> Option<RawBson> {
    let (first, rest) = components.split_first()?;
    if rest.is_empty() {
        return Some(match change {
            Change::Set(value) => {
                let assigned = named(first, RawBson::from(value));
                op("$mergeObjects", list([text(target), op("$literal", assigned)]))
            }
            Change::Unset => {
                let kept = op("$ne", list([text("$$e.k"), literal(RawBsonRef::String(first))]));
                let input = op("$objectToArray", text(target));
                op("$arrayToObject", op("$filter", rawdoc! { "input": input, "as": "e", "cond": kept }))
            }
        });
    }
    let path = format!("{target}.{first}");
    let chosen = descend(names, &path, change, rest, created(change, rest).map(|value| (is_missing(&path), value)))?;
    Some(op("$mergeObjects", list([text(target), named(first, chosen)])))
}

fn is_missing(path: &str) -> RawBson {
    op("$eq", list([op("$type", text(path)), text("missing")]))
}

/// A `$switch` over what stands at `path`: object, array, nothing; anything else stays as it is.
fn descend(
    names: &mut u32,
    path: &str,
    change: Change<'_>,
    rest: &[&str],
    created: Option<(RawBson, RawBson)>,
) -> Option<RawBson> {
    let branch = |case: RawBson, then: RawBson| RawBson::Document(rawdoc! { "case": case, "then": then });
    let is_object = op("$eq", list([op("$type", text(path)), text("object")]));
    let mut branches = vec![branch(is_object, in_document(names, path, change, rest)?)];
    if rest.first().is_some_and(|component| is_index(component)) {
        branches.push(branch(op("$isArray", list([text(path)])), in_array(names, path, change, rest)?));
    }
    if let Some((case, then)) = created {
        branches.push(branch(case, then));
    }
    Some(op("$switch", rawdoc! { "branches": list(branches), "default": text(path) }))
}

fn in_array(names: &mut u32, target: &str, change: Change<'_>, components: &[&str]) -> Option<RawBson> {
    let (first, rest) = components.split_first()?;
    let index: i32 = first.parse().ok()?;
    let size = || op("$size", text(target));
    *names += 1;
    let base = format!("b{names}");
    let path = format!("$${base}");
    let element = match (change, rest.is_empty()) {
        (Change::Set(value), true) => literal(value),
        (Change::Unset, true) => op("$literal", RawBson::Null),
        _ => {
            *names += 1;
            let inner = format!("w{names}");
            let inner_path = format!("$${inner}");
            let beyond = op("$gte", list([RawBson::Int32(index), size()]));
            let created = created(change, rest).map(|value| (beyond, value));
            let chosen = descend(names, &inner_path, change, rest, created)?;
            let at = op("$arrayElemAt", list([text(&path), RawBson::Int32(index)]));
            op("$let", rawdoc! { "vars": named(&inner, at), "in": chosen })
        }
    };
    let mut pieces = Vec::new();
    if index > 0 {
        pieces.push(op("$slice", list([text(&path), RawBson::Int32(index)])));
    }
    pieces.push(list([element]));
    pieces.push(op("$slice", list([text(&path), RawBson::Int32(index + 1), RawBson::Int32(i32::MAX)])));
    let filled = match change {
        Change::Set(_) => padded(target, index + 1),
        Change::Unset => text(target),
    };
    let whole = op("$let", rawdoc! { "vars": named(&base, filled), "in": op("$concatArrays", list(pieces)) });
    Some(match change {
        Change::Set(_) => whole,
        Change::Unset => op("$cond", list([op("$lt", list([RawBson::Int32(index), size()])), whole, text(target)])),
    })
}
