//! create, drop, renameCollection, collMod, dropDatabase.

use super::{
    buckets::{kind_of, user_name},
    indexes::on_destination,
    run, stop,
};
use crate::{
    engine::{
        context::Context,
        create::create_command,
        pre_images,
        registry::{Registry, Tracked, is_set},
        retry::{Halt, retry},
    },
    model::Side,
    mongo::{Namespace, catalog::Kind},
    oplog::DdlEntry,
};
use bson::{RawBson, RawBsonRef, RawDocument, RawDocumentBuf, Uuid, raw::CString, rawdoc};
use std::collections::BTreeMap;

const NAMESPACE_NOT_FOUND: i32 = 26;
const NAMESPACE_EXISTS: i32 = 48;

pub(super) async fn create(context: &Context, registry: &mut Registry, entry: &DdlEntry<'_>) -> Result<(), Halt> {
    let name = entry.o.get_str("create").map_err(|_| stop(entry, "a create without a name".into()))?;
    if name == "system.views" || name == "system.profile" || !context.options.filter.selects(entry.db, name) {
        return Ok(());
    }
    let uuid = entry.uuid.ok_or_else(|| stop(entry, "a create without a UUID".into()))?;
    if registry.collections.contains_key(&uuid) {
        return Ok(());
    }
    let skip = |field: &str| matches!(field, "create" | "idIndex" | "temp" | "uuid");
    let options: RawDocumentBuf =
        entry.o.iter().filter_map(Result::ok).filter(|(field, _)| !skip(field.as_str())).collect();
    let namespace = Namespace::new(entry.db, name);
    let kind = kind_of(name);
    // `None` for buckets: whether users see them is an entry of its own, which may never come.
    let command = create_command(&namespace, kind, &options, context.destination.version);
    let unmade = command.is_none();
    if let Some(command) = command {
        run(context, entry.db, command, &[NAMESPACE_EXISTS]).await?;
    }
    let tracked =
        Tracked { namespace, kind, options, indexes: BTreeMap::new(), in_place: false, unmade, is_indexed: false };
    registry.collections.insert(uuid, tracked);
    Ok(())
}

pub(super) async fn drop(context: &Context, registry: &mut Registry, entry: &DdlEntry<'_>) -> Result<(), Halt> {
    let name = entry.o.get_str("drop").map_err(|_| stop(entry, "a drop without a name".into()))?;
    if name == "system.views" {
        return super::views::drop_all(context, entry.db).await;
    }
    let Some(tracked) = entry.uuid.and_then(|uuid| registry.collections.remove(&uuid)) else { return Ok(()) };
    drop_collection(context, &tracked.namespace).await
}

async fn drop_collection(context: &Context, namespace: &Namespace) -> Result<(), Halt> {
    let user = user_name(&namespace.coll);
    // Buckets that have no view of their own; the name may be another collection's.
    let is_bare = user != namespace.coll
        && listed(context, &Namespace::new(&namespace.db, user)).await?.as_deref() != Some("timeseries");
    let command = rawdoc! { "drop": if is_bare { namespace.coll.as_str() } else { user } };
    run(context, &namespace.db, command, &[NAMESPACE_NOT_FOUND]).await
}

pub(super) async fn drop_database(
    context: &Context,
    registry: &mut Registry,
    entry: &DdlEntry<'_>,
) -> Result<(), Halt> {
    let gone: Vec<Uuid> = registry
        .collections
        .iter()
        .filter(|(_, tracked)| tracked.namespace.db == entry.db)
        .map(|(uuid, _)| *uuid)
        .collect();
    for uuid in gone {
        if let Some(tracked) = registry.collections.remove(&uuid) {
            drop_collection(context, &tracked.namespace).await?;
        }
    }
    super::views::drop_all(context, entry.db).await
}

pub(super) async fn rename(context: &Context, registry: &mut Registry, entry: &DdlEntry<'_>) -> Result<(), Halt> {
    let to = entry.o.get_str("to").ok().and_then(Namespace::parse);
    let to = to.ok_or_else(|| stop(entry, "a rename without a target".into()))?;
    let uuid = entry.uuid.ok_or_else(|| stop(entry, "a rename without a UUID".into()))?;
    if registry.is_repeated
        && let Some(tracked) = registry.collections.get(&uuid).cloned()
        && tracked.namespace != to
        && !exists(context, &tracked.namespace).await?
    {
        // Carried out before a restart; what bears the new name is the collection itself.
        registry.collections.retain(|_, other| other.namespace != to);
        if context.options.filter.selects(&to.db, &to.coll) {
            registry.collections.insert(uuid, Tracked { namespace: to, ..tracked });
        } else {
            registry.collections.remove(&uuid);
        }
        return Ok(());
    }
    if let Ok(target) = entry.o.get_binary("dropTarget")
        && let Ok(bytes) = target.bytes.try_into()
        && let Some(dropped) = registry.collections.remove(&Uuid::from_bytes(bytes))
    {
        drop_collection(context, &dropped.namespace).await?;
    }
    let selected = context.options.filter.selects(&to.db, &to.coll);
    match (registry.collections.get(&uuid).cloned(), selected) {
        (Some(tracked), true) => {
            if tracked.namespace != to {
                let command = rawdoc! {
                    "renameCollection": tracked.namespace.to_string(), "to": to.to_string(), "dropTarget": false
                };
                // An attempt whose reply was lost has taken the old name away.
                run(context, "admin", command, &[NAMESPACE_NOT_FOUND]).await?;
                if !exists(context, &to).await? {
                    return Err(stop(entry, format!("{} is not on the destination", tracked.namespace)));
                }
            }
            registry.collections.insert(uuid, Tracked { namespace: to, ..tracked });
            Ok(())
        }
        // Out of the filter: it is no longer part of the migration.
        (Some(tracked), false) => {
            registry.collections.remove(&uuid);
            drop_collection(context, &tracked.namespace).await
        }
        (None, true) => copy_in(context, registry, uuid, to).await,
        (None, false) => Ok(()),
    }
}

pub(super) async fn exists(context: &Context, namespace: &Namespace) -> Result<bool, Halt> {
    Ok(listed(context, namespace).await?.is_some())
}

/// The type of what bears this name on the destination.
async fn listed(context: &Context, namespace: &Namespace) -> Result<Option<String>, Halt> {
    let destination = &context.destination;
    let list = rawdoc! { "listCollections": 1, "filter": { "name": namespace.coll.as_str() }, "nameOnly": true };
    retry(Side::Destination, "listing collections", &context.events, &context.cancel, || async {
        let reply = destination.run(&namespace.db, list.clone()).await?;
        let first = reply.get_document("cursor")?.get_array("firstBatch")?.into_iter().next().transpose()?;
        Ok(first.and_then(|first| Some(first.as_document()?.get_str("type").ok()?.to_string())))
    })
    .await
}

/// Into the filter: the collection is part of the migration from here on. It is copied whole as it is now; the changes
/// since, which are still ahead in the oplog, replay onto it.
async fn copy_in(context: &Context, registry: &mut Registry, uuid: Uuid, to: Namespace) -> Result<(), Halt> {
    if registry.is_repeated && registry.uuid_at(&to).is_none() {
        // Half of an earlier attempt.
        drop_collection(context, &to).await?;
    }
    let found = crate::engine::copy::copy_one(context, uuid, &to).await?;
    if let Some(tracked) = found {
        registry.collections.insert(uuid, tracked);
    }
    Ok(())
}

pub(super) async fn modify(context: &Context, registry: &mut Registry, entry: &DdlEntry<'_>) -> Result<(), Halt> {
    let Some(tracked) = entry.uuid.and_then(|uuid| registry.collections.get_mut(&uuid)) else { return Ok(()) };
    let mut command = RawDocumentBuf::new();
    let name = if tracked.kind == Kind::Buckets { user_name(&tracked.namespace.coll) } else { &tracked.namespace.coll };
    command.append(bson::raw::cstr!("collMod"), name);
    let empty = command.clone();
    for (field, value) in entry.o.iter().filter_map(Result::ok) {
        match field.as_str() {
            "collMod" => {}
            "index" => {
                if let Some(change) = value.as_document()
                    && let Some(now) = modify_index(context, tracked, change)
                {
                    command.append(field, now);
                }
            }
            // Finalizing sets these; until then the destination keeps its neutral value.
            "expireAfterSeconds" if value.as_str() == Some("off") => remove_option(tracked, "expireAfterSeconds"),
            "expireAfterSeconds" => set_option(tracked, "expireAfterSeconds", value),
            "cappedSize" => set_option(tracked, "size", value),
            "cappedMax" => set_option(tracked, "max", value),
            // The two exclude each other.
            "changeStreamPreAndPostImages" => {
                if value.as_document().is_some_and(|images| is_set(images, "enabled")) {
                    remove_option(tracked, "recordPreImages");
                }
                set_option(tracked, "changeStreamPreAndPostImages", value);
                command.append(field, value);
            }
            "timeseries" => {
                set_option(tracked, "timeseries", value);
                command.append(field, value);
            }
            other => {
                set_option(tracked, other, value);
                command.append(field, value);
            }
        }
    }
    // Parameters that an older secondary would stumble over stand apart.
    if let Some(apart) = entry.o2.and_then(|o2| o2.get_document("backwardsIncompatibleCollModParameters").ok()) {
        apart.iter().filter_map(Result::ok).for_each(|(field, value)| command.append(field, value));
    }
    if command == empty {
        return Ok(());
    }
    let mut commands = vec![command];
    pre_images::keep(&mut commands, &tracked.options, context.destination.version);
    for command in commands {
        run(context, entry.db, command, &[]).await?;
    }
    Ok(())
}

/// Keeps the tracked spec current; returns what the destination's neutral index takes over now (hidden).
fn modify_index(context: &Context, tracked: &mut Tracked, change: &RawDocument) -> Option<RawDocumentBuf> {
    let name = change.get_str("name").ok()?;
    let index = tracked.indexes.get_mut(name)?;
    let mut now = rawdoc! { "name": on_destination(context, &index.spec) };
    let empty = now.clone();
    let is_there = !index.late;
    for (field, value) in change.iter().filter_map(Result::ok) {
        match field.as_str() {
            "name" | "keyPattern" => {}
            "hidden" => {
                set_field(&mut index.spec, "hidden", value.as_bool().filter(|hidden| *hidden).map(RawBson::Boolean));
                if is_there {
                    now.append(field, value);
                }
            }
            "unique" => {
                index.in_place = false;
                set_field(&mut index.spec, "unique", Some(RawBson::from(value)));
                set_field(&mut index.spec, "prepareUnique", None);
            }
            "prepareUnique" if value.as_bool() == Some(false) => set_field(&mut index.spec, "prepareUnique", None),
            other => {
                index.in_place &= other != "prepareUnique";
                set_field(&mut index.spec, other, Some(RawBson::from(value)));
            }
        }
    }
    (now != empty).then_some(now)
}

fn set_option(tracked: &mut Tracked, name: &str, value: RawBsonRef<'_>) {
    set_field(&mut tracked.options, name, Some(RawBson::from(value)));
}

fn remove_option(tracked: &mut Tracked, name: &str) {
    set_field(&mut tracked.options, name, None);
}

/// Sets a field in place, appends it when it is new, or removes it.
fn set_field(document: &mut RawDocumentBuf, name: &str, value: Option<RawBson>) {
    let mut value = value;
    let mut changed = RawDocumentBuf::new();
    for (field, old) in document.iter().filter_map(Result::ok) {
        if field.as_str() != name {
            changed.append(field, old);
        } else if let Some(value) = value.take() {
            changed.append(field, value);
        }
    }
    if let (Some(value), Ok(name)) = (value, CString::try_from(name)) {
        changed.append(name, value);
    }
    *document = changed;
}
