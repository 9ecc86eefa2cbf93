//! Reading a part of a collection in the order of its `_id` index. Pure.

use bson::{RawBson, RawBsonRef, RawDocument, RawDocumentBuf, raw::cstr, rawdoc};

/// Adds to a `find` what makes it read `[from, until)`, each `{ "_id": value }`, through the index on `_id`. Without an
/// end it does not reach a document whose `_id` is MaxKey: see [`stops_before_last`].
///
/// `min` and `max` order every BSON type; a filter by `$gt` compares inside one type only and would lose documents. The
/// two ends of that order need the filter: a server takes MaxKey for an absent `max` and MinKey for an absent `min`, and
/// says of `min: MaxKey` that nothing lies between (code 51175, measured with 4.4.2 and 6.0.5), also when a document has
/// that `_id`.
pub fn read_between(find: &mut RawDocumentBuf, from: Option<&RawDocument>, until: Option<&RawDocument>) {
    find.append(cstr!("hint"), rawdoc! { "_id": 1 });
    if until.and_then(id) == Some(RawBsonRef::MinKey) {
        return find.append(cstr!("filter"), rawdoc! { "_id": { "$lt": RawBson::MinKey } });
    }
    if from.and_then(id) == Some(RawBsonRef::MaxKey) {
        // Of all that is below a bound, MaxKey is nothing.
        let operator = if until.is_some() { cstr!("$gt") } else { cstr!("$gte") };
        let mut above = RawDocumentBuf::new();
        above.append(operator, RawBson::MaxKey);
        return find.append(cstr!("filter"), rawdoc! { "_id": above });
    }
    if let Some(from) = from {
        find.append(cstr!("min"), from);
    }
    if let Some(until) = until {
        find.append(cstr!("max"), until);
    }
}

/// True when [`read_between`] leaves out a document whose `_id` is MaxKey though no end was asked for: `max` is exclusive,
/// also the one that the server adds to a `min` alone (measured with 4.4.2 and 6.0.5). Read from [`last`] then, too.
pub fn stops_before_last(from: Option<&RawDocument>, until: Option<&RawDocument>) -> bool {
    until.is_none() && from.is_some_and(|from| id(from) != Some(RawBsonRef::MaxKey))
}

/// The last bound of all: MaxKey.
pub fn last() -> RawDocumentBuf {
    rawdoc! { "_id": RawBson::MaxKey }
}

fn id(bound: &RawDocument) -> Option<RawBsonRef<'_>> {
    bound.get("_id").ok().flatten()
}
