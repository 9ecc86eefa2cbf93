//! `recordPreImages`: 5.0.4 and 6.0.5 forget it at every `collMod` that does not repeat it, 6.0.27 keeps it, and the oplog
//! entry looks alike.

use super::{
    context::Context,
    ddl::run,
    registry::{Registry, is_set},
    retry::{Halt, retry},
};
use crate::{
    model::Side,
    mongo::{Namespace, ServerVersion, catalog::options_of},
};
use bson::{RawDocument, RawDocumentBuf, raw::cstr, rawdoc};

const OPTION: &str = "recordPreImages";

/// Repeats the option in every `collMod` of the destination's. 6.0 refuses it beside `prepareUnique` (72), so that such a
/// command, when it is the last, is followed by another.
pub fn keep(commands: &mut Vec<RawDocumentBuf>, options: &RawDocument, version: ServerVersion) {
    if version.major < 5 || !options.get_bool(OPTION).unwrap_or(false) {
        return;
    }
    for command in commands.iter_mut().filter(|command| !prepares_unique(command)) {
        let named = |name: &str| matches!(command.get(name), Ok(Some(_)));
        if named("collMod") && !named(OPTION) {
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

/// Takes the option from what the source forgot it for; the destination was told to keep it.
pub async fn reconcile(context: &Context, registry: &Registry) -> Result<(), Halt> {
    for tracked in registry.collections.values().filter(|tracked| is_set(&tracked.options, OPTION)) {
        let namespace = &tracked.namespace;
        if is_forgotten(context, namespace).await? {
            let command = rawdoc! { "collMod": namespace.coll.as_str(), "recordPreImages": false };
            run(context, &namespace.db, command, &[]).await?;
        }
    }
    Ok(())
}

async fn is_forgotten(context: &Context, namespace: &Namespace) -> Result<bool, Halt> {
    let what = format!("reading the options of {namespace}");
    let read = || options_of(&context.source, namespace);
    let options = retry(Side::Source, &what, &context.events, &context.cancel, read).await?;
    Ok(options.is_some_and(|options| !is_set(&options, OPTION)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pre_images_survive_every_collmod() {
        let options = rawdoc! { "recordPreImages": true };
        let prepare = rawdoc! { "collMod": "c", "index": { "name": "n", "prepareUnique": true } };
        let unique = rawdoc! { "collMod": "c", "index": { "name": "n", "unique": true } };
        let kept = |mut commands, options, major| {
            keep(&mut commands, options, ServerVersion { major, minor: 0, patch: 0 });
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
}
