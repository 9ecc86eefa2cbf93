//! `create` commands for the destination from a source's options, with what finalizing restores left out.

use crate::mongo::{Namespace, ServerVersion, catalog::Kind};
use bson::{RawBsonRef, RawDocument, RawDocumentBuf, raw::cstr};

/// Largest size of a capped collection: nothing is trimmed by the destination before finalizing (6.0+, OPLOG.md E.4).
pub const LARGEST_CAPPED: i64 = 1 << 50;

/// True when the destination can hold a capped collection with another size until finalizing (`collMod cappedSize`).
pub fn can_resize_capped(version: ServerVersion) -> bool {
    version.major >= 6
}

/// The `create` command for an object of the catalog. `None` for buckets, which come with their time-series collection.
pub fn create_command(
    namespace: &Namespace,
    kind: Kind,
    options: &RawDocument,
    version: ServerVersion,
) -> Option<RawDocumentBuf> {
    if kind == Kind::Buckets {
        return None;
    }
    let mut command = RawDocumentBuf::new();
    command.append(cstr!("create"), namespace.coll.as_str());
    for (name, value) in options.iter().filter_map(Result::ok) {
        match name.as_str() {
            // The entry of the oplog names them too; `temp` is refused from a client (OPLOG.md A.4).
            "create" | "idIndex" | "temp" | "uuid" | "autoIndexId" => {}
            // A live TTL would delete what a later change still needs; finalizing sets it.
            "expireAfterSeconds" => {}
            "size" if can_resize_capped(version) => command.append(name, LARGEST_CAPPED),
            "max" => {}
            // An ordinary collection stands in for it until finalizing.
            "capped" | "size" if !can_resize_capped(version) => {}
            // listCollections prints what the server derived from the granularity; both together are refused.
            "timeseries" => command.append(name, timeseries(value)),
            _ => command.append(name, value),
        }
    }
    Some(command)
}

/// The buckets of a time-series collection alone: what the server leaves of a creation whose view it refused.
pub fn bare_buckets_command(namespace: &Namespace, options: &RawDocument) -> RawDocumentBuf {
    let mut command = RawDocumentBuf::new();
    command.append(cstr!("create"), namespace.coll.as_str());
    let fields = options.iter().filter_map(Result::ok).filter(|(name, _)| name.as_str() != "expireAfterSeconds");
    fields.for_each(|(name, value)| command.append(name, value));
    command
}

fn timeseries(value: RawBsonRef<'_>) -> RawDocumentBuf {
    let derived = |name: &str| name == "bucketMaxSpanSeconds";
    let fields = value.as_document().into_iter().flat_map(RawDocument::iter).filter_map(Result::ok);
    fields.filter(|(name, _)| !derived(name.as_str())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::rawdoc;

    fn command(options: &RawDocumentBuf, major: u32) -> RawDocumentBuf {
        let version = ServerVersion { major, minor: 0, patch: 0 };
        create_command(&Namespace::new("d", "c"), Kind::Collection, options, version).unwrap()
    }

    #[test]
    fn nothing_is_trimmed_before_finalizing() {
        let options = rawdoc! { "capped": true, "size": 4096, "max": 3 };
        assert_eq!(command(&options, 6), rawdoc! { "create": "c", "capped": true, "size": LARGEST_CAPPED });
        assert_eq!(command(&options, 5), rawdoc! { "create": "c" });
    }

    #[test]
    fn ttl_is_held_and_the_rest_is_kept() {
        let options =
            rawdoc! { "validator": { "a": 1 }, "expireAfterSeconds": 60_i64, "collation": { "locale": "de" } };
        let expected = rawdoc! { "create": "c", "validator": { "a": 1 }, "collation": { "locale": "de" } };
        assert_eq!(command(&options, 6), expected);
    }
}
