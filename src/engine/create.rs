//! `create` commands for the destination from a source's options, with what finalizing restores left out.

use crate::mongo::{Namespace, ServerVersion, catalog::Kind};
use bson::{RawBsonRef, RawDocument, RawDocumentBuf, raw::cstr, rawdoc};

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

/// 5.0 and 6.0 forget `recordPreImages` at every collMod that does not repeat it; 6.0 refuses it beside `prepareUnique`
/// (72), so that such a command, when it is the last, is followed by another.
pub fn keep_pre_images(commands: &mut Vec<RawDocumentBuf>, options: &RawDocument, version: ServerVersion) {
    if version.major < 5 || !options.get_bool("recordPreImages").unwrap_or(false) {
        return;
    }
    for command in commands.iter_mut().filter(|command| !prepares_unique(command)) {
        let named = |name: &str| matches!(command.get(name), Ok(Some(_)));
        if named("collMod") && !named("recordPreImages") {
            command.append(cstr!("recordPreImages"), true);
        }
    }
    let last = commands.last().filter(|command| prepares_unique(command));
    if let Some(coll) = last.and_then(|command| command.get_str("collMod").ok()) {
        commands.push(rawdoc! { "collMod": coll, "recordPreImages": true });
    }
}

fn prepares_unique(command: &RawDocument) -> bool {
    command.get_document("index").is_ok_and(|index| matches!(index.get("prepareUnique"), Ok(Some(_))))
}

fn timeseries(value: RawBsonRef<'_>) -> RawDocumentBuf {
    let derived = |name: &str| name == "bucketMaxSpanSeconds";
    let fields = value.as_document().into_iter().flat_map(RawDocument::iter).filter_map(Result::ok);
    fields.filter(|(name, _)| !derived(name.as_str())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn pre_images_survive_every_collmod() {
        let options = rawdoc! { "recordPreImages": true };
        let prepare = rawdoc! { "collMod": "c", "index": { "name": "n", "prepareUnique": true } };
        let unique = rawdoc! { "collMod": "c", "index": { "name": "n", "unique": true } };
        let kept = |mut commands, options, major| {
            keep_pre_images(&mut commands, options, ServerVersion { major, minor: 0, patch: 0 });
            commands
        };
        let set = rawdoc! { "collMod": "c", "recordPreImages": true };
        assert_eq!(kept(vec![prepare.clone()], &options, 6), [prepare.clone(), set]);
        let unique_set = rawdoc! { "collMod": "c", "index": { "name": "n", "unique": true }, "recordPreImages": true };
        let both = vec![prepare.clone(), unique.clone()];
        assert_eq!(kept(both.clone(), &options, 6), [prepare, unique_set]);
        assert_eq!(kept(both.clone(), &options, 4), both);
        let none = rawdoc! {};
        assert_eq!(kept(both.clone(), &none, 6), both);
        let drop = vec![rawdoc! { "dropIndexes": "c", "index": "n" }];
        assert_eq!(kept(drop.clone(), &options, 6), drop);
    }

    #[test]
    fn ttl_is_held_and_the_rest_is_kept() {
        let options =
            rawdoc! { "validator": { "a": 1 }, "expireAfterSeconds": 60_i64, "collation": { "locale": "de" } };
        let expected = rawdoc! { "create": "c", "validator": { "a": 1 }, "collation": { "locale": "de" } };
        assert_eq!(command(&options, 6), expected);
    }
}
