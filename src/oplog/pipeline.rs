//! `$v:2` diffs as aggregation expressions (OPLOG.md B.1, B.3): the semantics of the server's own applier, so that an old
//! diff replayed on a newer document never fails and never goes wrong for good.

use bson::{RawArrayBuf, RawBson, RawBsonRef, RawDocument, RawDocumentBuf, raw::CString, rawdoc};

/// An expression `{ operator: argument }`.
fn op(operator: &str, argument: impl Into<RawBson>) -> RawBson {
    RawBson::Document(field(operator, argument))
}

/// `{ name: value }`; a name with a NUL cannot occur in BSON.
fn field(name: &str, value: impl Into<RawBson>) -> RawDocumentBuf {
    let mut document = RawDocumentBuf::new();
    if let Ok(name) = CString::try_from(name) {
        document.append(name, value.into());
    }
    document
}

/// `{ $literal: value }`: every value of the oplog is data, never an expression.
pub(super) fn literal(value: RawBsonRef<'_>) -> RawBson {
    op("$literal", RawBson::from(value))
}

fn text(value: impl Into<String>) -> RawBson {
    RawBson::String(value.into())
}

pub(super) fn list(items: impl IntoIterator<Item = RawBson>) -> RawBson {
    let mut array = RawArrayBuf::new();
    for item in items {
        array.push(item);
    }
    RawBson::Array(array)
}

/// A name that a path string can address.
pub(super) fn is_simple(name: &str) -> bool {
    !name.is_empty() && !name.contains('.') && !name.starts_with('$')
}

struct Names {
    next: u32,
    major: u32,
}

impl Names {
    fn variable(&mut self) -> String {
        self.next += 1;
        format!("v{}", self.next)
    }
}

/// The expression of a document diff applied to `target` (a path such as `$$ROOT`). `None`: not a diff of OPLOG.md B.1.
pub fn document(target: &str, diff: &RawDocument, major: u32) -> Option<RawBson> {
    document_at(&mut Names { next: 0, major }, target, diff)
}

fn document_at(names: &mut Names, target: &str, diff: &RawDocument) -> Option<RawBson> {
    let empty = RawDocumentBuf::new();
    let (mut deletes, mut updates, mut inserts) = (None, None, None);
    let mut subs: Vec<(&str, &RawDocument)> = Vec::new();
    for element in diff {
        let (key, value) = element.ok()?;
        match key.as_str() {
            "d" => deletes = Some(value.as_document()?),
            "u" => updates = Some(value.as_document()?),
            "i" => inserts = Some(value.as_document()?),
            key => subs.push((key.strip_prefix('s')?, value.as_document()?)),
        }
    }
    let mut dropped: Vec<&str> = Vec::new();
    for section in [deletes, inserts].into_iter().flatten() {
        for element in section {
            dropped.push(element.ok()?.0.as_str());
        }
    }
    let mut parts = vec![without(names, target, &dropped)];
    let mut simple = RawDocumentBuf::new();
    for (name, sub) in subs.iter().filter(|(name, _)| is_simple(name)) {
        let path = format!("{target}.{name}");
        simple.append(CString::try_from(*name).ok()?, changed(names, &path, sub)?);
    }
    if simple != empty {
        parts.push(RawBson::Document(simple));
    }
    for (name, sub) in subs.iter().filter(|(name, _)| !is_simple(name)) {
        parts.push(odd_sub(names, target, name, sub)?);
    }
    for section in [updates, inserts].into_iter().flatten() {
        parts.push(literal(RawBsonRef::Document(section)));
    }
    if parts.len() == 1 {
        return parts.pop().map(|only| guarded(target, only));
    }
    Some(guarded(target, op("$mergeObjects", list(parts))))
}

/// `expression`, unless the document at `target` repeats a field name: of those an expression would keep only one, so the
/// statement fails (code 241), and the document is fetched again (OPLOG.md B.3 (b); measured on 4.4.2, 5.0.4, 6.0.5).
pub(super) fn guarded(target: &str, expression: RawBson) -> RawBson {
    let pairs = || op("$objectToArray", text(target));
    let names = op("$map", rawdoc! { "input": pairs(), "in": "$$this.k" });
    let distinct = op("$setUnion", list([names, RawBson::Array(RawArrayBuf::new())]));
    let is_unique = op("$eq", list([op("$size", pairs()), op("$size", distinct)]));
    // Not a constant: the server would compute that before it looks at a document.
    let failing = op("$toInt", op("$concat", list([text("repeated field names beside "), op("$type", text("$_id"))])));
    op("$cond", list([is_unique, expression, failing]))
}

/// `target` without the literally named fields.
fn without(names: &Names, target: &str, dropped: &[&str]) -> RawBson {
    if dropped.is_empty() {
        return text(target);
    }
    if names.major >= 5 && dropped.len() <= 3 {
        return dropped.iter().fold(text(target), |input, name| {
            let mut argument = field("field", literal(RawBsonRef::String(name)));
            argument.append(bson::raw::cstr!("input"), input);
            op("$unsetField", argument)
        });
    }
    let mut array = RawArrayBuf::new();
    for name in dropped {
        array.push(*name);
    }
    let is_dropped = op("$in", list([text("$$e.k"), op("$literal", array)]));
    let kept = op(
        "$filter",
        rawdoc! { "input": op("$objectToArray", text(target)), "as": "e", "cond": op("$not", list([is_dropped])) },
    );
    op("$arrayToObject", kept)
}

/// The value of the literally named field of `target`.
fn get(names: &mut Names, target: &str, name: &str) -> RawBson {
    if names.major >= 5 {
        let mut argument = field("field", literal(RawBsonRef::String(name)));
        argument.append(bson::raw::cstr!("input"), text(target));
        return op("$getField", argument);
    }
    let is_named = op("$eq", list([text("$$e.k"), literal(RawBsonRef::String(name))]));
    let found = op("$filter", rawdoc! { "input": op("$objectToArray", text(target)), "as": "e", "cond": is_named });
    op("$let", rawdoc! { "vars": { "h": found }, "in": op("$arrayElemAt", list([text("$$h.v"), RawBson::Int32(0)])) })
}

fn odd_sub(names: &mut Names, target: &str, name: &str, sub: &RawDocument) -> Option<RawBson> {
    let value = get(names, target, name);
    let variable = names.variable();
    let path = format!("$${variable}");
    let pair = rawdoc! { "k": literal(RawBsonRef::String(name)), "v": applied(names, &path, sub)? };
    let object = op("$arrayToObject", list([list([RawBson::Document(pair)])]));
    let nothing = RawBson::Document(RawDocumentBuf::new());
    let chosen = op("$cond", list([is_of_type(&path, sub), object, nothing]));
    let mut argument = field("vars", RawBson::Document(field(&variable, value)));
    argument.append(bson::raw::cstr!("in"), chosen);
    Some(op("$let", argument))
}

fn is_array_diff(sub: &RawDocument) -> bool {
    sub.get_bool("a").unwrap_or(false)
}

fn is_of_type(path: &str, sub: &RawDocument) -> RawBson {
    if is_array_diff(sub) {
        op("$isArray", list([text(path)]))
    } else {
        op("$eq", list([op("$type", text(path)), text("object")]))
    }
}

fn applied(names: &mut Names, path: &str, sub: &RawDocument) -> Option<RawBson> {
    if is_array_diff(sub) { array_at(names, path, sub) } else { document_at(names, path, sub) }
}

/// `path` with the diff applied when it is of the diff's type, else as it is.
fn changed(names: &mut Names, path: &str, sub: &RawDocument) -> Option<RawBson> {
    Some(op("$cond", list([is_of_type(path, sub), applied(names, path, sub)?, text(path)])))
}

enum Element<'a> {
    Set(RawBsonRef<'a>),
    Sub(&'a RawDocument),
}

fn array_at(names: &mut Names, target: &str, diff: &RawDocument) -> Option<RawBson> {
    let mut length = None;
    let mut elements: Vec<(i32, Element<'_>)> = Vec::new();
    for element in diff {
        let (key, value) = element.ok()?;
        match key.as_str() {
            "a" => {}
            "l" => length = Some(value.as_i32()?),
            key => {
                let (kind, index) = key.split_at_checked(1)?;
                let index = index.parse().ok().filter(|index| (0..i32::MAX).contains(index))?;
                elements.push(match kind {
                    "u" => (index, Element::Set(value)),
                    "s" => (index, Element::Sub(value.as_document()?)),
                    _ => return None,
                });
            }
        }
    }
    elements.sort_by_key(|(index, _)| *index);
    if let Some(length) = length {
        elements.retain(|(index, _)| *index < length);
    }
    let needed = elements.last().map_or(0, |(index, _)| index + 1).max(length.unwrap_or(0));
    let variable = names.variable();
    let base = format!("$${variable}");
    let mut pieces = Pieces::default();
    let mut position = 0;
    for (index, element) in &elements {
        pieces.slice(&base, position, Some(*index));
        pieces.element(match element {
            Element::Set(value) => literal(*value),
            Element::Sub(sub) => {
                let inner = names.variable();
                let path = format!("$${inner}");
                let chosen = changed(names, &path, sub)?;
                let at = op("$arrayElemAt", list([text(&base), RawBson::Int32(*index)]));
                let mut argument = field("vars", RawBson::Document(field(&inner, at)));
                argument.append(bson::raw::cstr!("in"), chosen);
                op("$let", argument)
            }
        });
        position = index + 1;
    }
    pieces.slice(&base, position, length);
    let Some(merged) = pieces.concatenated() else { return Some(op("$literal", RawArrayBuf::new())) };
    let mut argument = field("vars", RawBson::Document(field(&variable, padded(target, needed))));
    argument.append(bson::raw::cstr!("in"), merged);
    Some(op("$let", argument))
}

/// `target` filled up with nulls to `needed` elements.
pub(super) fn padded(target: &str, needed: i32) -> RawBson {
    if needed == 0 {
        return text(target);
    }
    let size = || op("$size", text(target));
    let range = op("$range", list([size(), RawBson::Int32(needed)]));
    let nulls = op("$map", rawdoc! { "input": range, "in": RawBson::Null });
    let longer = op("$concatArrays", list([text(target), nulls]));
    op("$cond", list([op("$lt", list([size(), RawBson::Int32(needed)])), longer, text(target)]))
}

/// The arguments of a `$concatArrays`; neighbouring elements share one array.
#[derive(Default)]
struct Pieces {
    pieces: Vec<RawBson>,
    elements: Vec<RawBson>,
}

impl Pieces {
    fn element(&mut self, value: RawBson) {
        self.elements.push(value);
    }

    /// The elements of `base` from `from` up to `until`; `None`: to the end. `{$slice: [x, 0, 0]}` is illegal.
    fn slice(&mut self, base: &str, from: i32, until: Option<i32>) {
        let piece = match until {
            None if from == 0 => text(base),
            None => op("$slice", list([text(base), RawBson::Int32(from), RawBson::Int32(i32::MAX)])),
            Some(until) if until > from => {
                op("$slice", list([text(base), RawBson::Int32(from), RawBson::Int32(until - from)]))
            }
            Some(_) => return,
        };
        self.flush();
        self.pieces.push(piece);
    }

    fn flush(&mut self) {
        if !self.elements.is_empty() {
            self.pieces.push(list(std::mem::take(&mut self.elements)));
        }
    }

    fn concatenated(mut self) -> Option<RawBson> {
        self.flush();
        (!self.pieces.is_empty()).then(|| op("$concatArrays", list(self.pieces)))
    }
}
