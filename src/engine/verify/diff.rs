//! Where two documents differ. Pure, on raw bytes, so that a type, a NaN payload and the order of fields count. Paths are
//! for everybody; values only for who asks for that one document.

use super::id::{Element, Id, elements};

/// At most this many paths are named per document.
pub const MAX_PATHS: usize = 20;

/// The paths at which two BSON documents differ, in the order of `a`, then what only `b` has. Fields that are equal but
/// stand in another order are named once per (sub)document as `path (field order)`. Empty if and only if the bytes are
/// equal.
pub fn differing_paths(a: &[u8], b: &[u8]) -> Vec<String> {
    differences(a, b).into_iter().map(|difference| difference.path).collect()
}

/// One place at which two documents differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference<'a> {
    /// Dotted path.
    pub path: String,
    /// The value in the first.
    pub left: Option<Id<'a>>,
    /// The value in the second.
    pub right: Option<Id<'a>>,
}

/// The same with both values.
pub fn differences<'a>(a: &'a [u8], b: &'a [u8]) -> Vec<Difference<'a>> {
    let mut found = Vec::new();
    collect(a, b, "", &mut found);
    if found.is_empty() && a != b {
        found.push(whole("(encoding)".into(), a, b));
    }
    found.truncate(MAX_PATHS);
    found
}

fn whole<'a>(path: String, a: &'a [u8], b: &'a [u8]) -> Difference<'a> {
    Difference { path, left: Some(Id::whole(a)), right: Some(Id::whole(b)) }
}

fn collect<'a>(a: &'a [u8], b: &'a [u8], prefix: &str, found: &mut Vec<Difference<'a>>) {
    let left: Vec<_> = elements(a).collect();
    let right: Vec<_> = elements(b).collect();
    let before = found.len();
    let mut used = vec![false; right.len()];
    let mut in_order = left.len() == right.len();
    for (index, element) in left.iter().enumerate() {
        // The same position first, then the first unused field of that name: duplicate names are legal in BSON.
        let named = |at: &usize| !used[*at] && right[*at].name == element.name;
        let at = Some(index).filter(|at| *at < right.len() && named(at)).or_else(|| (0..right.len()).find(named));
        in_order &= at == Some(index);
        match at {
            None => found.push(Difference { path: join(prefix, element.name), left: Some(element.value), right: None }),
            Some(at) => {
                used[at] = true;
                compare(element, &right[at], prefix, found);
            }
        }
        if found.len() > MAX_PATHS {
            return;
        }
    }
    for (element, used) in right.iter().zip(&used) {
        if !used {
            found.push(Difference { path: join(prefix, element.name), left: None, right: Some(element.value) });
        }
    }
    if !in_order && found.len() == before {
        let path = if prefix.is_empty() { "(field order)".into() } else { format!("{prefix} (field order)") };
        found.push(whole(path, a, b));
    }
}

fn compare<'a>(a: &Element<'a>, b: &Element<'a>, prefix: &str, found: &mut Vec<Difference<'a>>) {
    if a.value == b.value {
        return;
    }
    let path = join(prefix, a.name);
    let nested = |id: Id<'_>| matches!(id.kind(), 0x03 | 0x04);
    if nested(a.value) && a.value.kind() == b.value.kind() {
        let before = found.len();
        collect(a.value.value(), b.value.value(), &path, found);
        if found.len() > before {
            return;
        }
    }
    found.push(Difference { path, left: Some(a.value), right: Some(b.value) });
}

fn join(prefix: &str, name: &[u8]) -> String {
    let name = String::from_utf8_lossy(name);
    if prefix.is_empty() { name.into_owned() } else { format!("{prefix}.{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::{RawDocumentBuf, Timestamp, rawdoc};

    fn paths(a: &RawDocumentBuf, b: &RawDocumentBuf) -> Vec<String> {
        differing_paths(a.as_bytes(), b.as_bytes())
    }

    #[test]
    fn equal_documents_have_no_paths() {
        let document = rawdoc! { "_id": 1, "a": { "b": [1, { "c": 2 }] } };
        assert_eq!(paths(&document, &document), Vec::<String>::new());
    }

    #[test]
    fn values_types_and_missing_fields_are_named() {
        let a = rawdoc! { "_id": 1, "a": { "b": [1, { "c": 2 }], "same": 1 }, "n": 5, "gone": true };
        let b = rawdoc! { "_id": 1, "a": { "b": [1, { "c": 3 }], "same": 1 }, "n": 5_i64, "new": true };
        assert_eq!(paths(&a, &b), ["a.b.1.c", "n", "gone", "new"]);
    }

    #[test]
    fn the_order_of_fields_counts() {
        let a = rawdoc! { "_id": 1, "s": { "x": 1, "y": 2 } };
        let b = rawdoc! { "_id": 1, "s": { "y": 2, "x": 1 } };
        assert_eq!(paths(&a, &b), ["s (field order)"]);
        assert_eq!(paths(&rawdoc! { "a": 1, "b": 1 }, &rawdoc! { "b": 1, "a": 1 }), ["(field order)"]);
    }

    #[test]
    fn nan_payloads_and_zero_timestamps_count() {
        let quiet = rawdoc! { "_id": 1, "x": f64::from_bits(0x7ff8_0000_0000_0000) };
        let payload = rawdoc! { "_id": 1, "x": f64::from_bits(0x7ff8_0000_0000_0001) };
        assert_eq!(paths(&quiet, &payload), ["x"]);
        let zero = rawdoc! { "_id": 1, "t": Timestamp { time: 0, increment: 0 } };
        let now = rawdoc! { "_id": 1, "t": Timestamp { time: 1, increment: 1 } };
        assert_eq!(paths(&zero, &now), ["t"]);
    }

    #[test]
    fn duplicate_names_are_told_apart() {
        let a = rawdoc! { "_id": 1, "x": 1, "x": 2 };
        let b = rawdoc! { "_id": 1, "x": 1, "x": 3 };
        let c = rawdoc! { "_id": 1, "x": 1 };
        assert_eq!(paths(&a, &b), ["x"]);
        assert_eq!(paths(&a, &c), ["x"]);
    }

    #[test]
    fn the_list_is_bounded() {
        let mut a = rawdoc! { "_id": 1 };
        for index in 0..100 {
            a.append(bson::raw::CString::try_from(format!("f{index}")).expect("name"), 1);
        }
        assert_eq!(paths(&a, &rawdoc! { "_id": 1 }).len(), MAX_PATHS);
    }
}
