//! Views: nobody may write `system.views`, so its changes become create, collMod and drop (OPLOG.md A.5).

use super::{buckets, run};
use crate::{
    engine::{
        context::Context,
        registry::Registry,
        retry::{Halt, retry},
    },
    model::{Optime, Problem, Side},
    mongo::Namespace,
    oplog::{Change, ChangeKind, shortened},
};
use bson::{RawDocument, RawDocumentBuf, raw::cstr, rawdoc};

const NAMESPACE_NOT_FOUND: i32 = 26;
const NAMESPACE_EXISTS: i32 = 48;

/// Replays a change of `db.system.views` that stands at `ts`.
pub async fn apply_view_change(
    context: &Context,
    registry: &mut Registry,
    ts: Optime,
    change: &Change<'_>,
) -> Result<(), Halt> {
    let id = change.id().ok().and_then(bson::RawBsonRef::as_str).and_then(Namespace::parse);
    let Some(view) = id else { return Err(odd(change)) };
    if ts <= registry.ddl_reflected_until(&view.db) || !context.options.filter.selects(&view.db, &view.coll) {
        return Ok(());
    }
    match &change.kind {
        ChangeKind::Delete(_) => {
            // The user's name of a time-series collection goes with its buckets.
            if is_timeseries(registry, &view) {
                return Ok(());
            }
            run(context, &view.db, rawdoc! { "drop": view.coll.as_str() }, &[NAMESPACE_NOT_FOUND]).await
        }
        ChangeKind::Insert(definition) => {
            if is_bucket_view(definition) {
                return buckets::show(context, registry, &view).await;
            }
            run(context, &view.db, command("create", &view, definition, true), &[NAMESPACE_EXISTS]).await
        }
        ChangeKind::Update { update, .. } => {
            if is_bucket_view(update) {
                return Ok(());
            }
            if !matches!(update.get("_id"), Ok(Some(_))) {
                return Err(odd(change));
            }
            run(context, &view.db, command("collMod", &view, update, false), &[]).await
        }
    }
}

fn is_timeseries(registry: &Registry, view: &Namespace) -> bool {
    registry.uuid_at(&Namespace::new(&view.db, format!("system.buckets.{}", view.coll))).is_some()
}

fn is_bucket_view(definition: &RawDocument) -> bool {
    definition.get_str("viewOn").is_ok_and(|on| on.starts_with("system.buckets."))
}

fn command(verb: &str, view: &Namespace, definition: &RawDocument, with_collation: bool) -> RawDocumentBuf {
    let mut command = RawDocumentBuf::new();
    command.append(if verb == "create" { cstr!("create") } else { cstr!("collMod") }, view.coll.as_str());
    for (field, value) in definition.iter().filter_map(Result::ok) {
        match field.as_str() {
            "_id" => {}
            "collation" if !with_collation => {}
            _ => command.append(field, value),
        }
    }
    command
}

fn odd(change: &Change<'_>) -> Halt {
    let text = match &change.kind {
        ChangeKind::Insert(document) | ChangeKind::Update { update: document, .. } => shortened(document),
        ChangeKind::Delete(id) => format!("{id:?}"),
    };
    Problem {
        side: Side::Source,
        what: format!("a change of {} is of a form that mongoferry does not know", change.ns),
        why: text,
        fix: "Please report the text above.".into(),
        retry_helps: false,
        written: "The source is untouched; the destination keeps what was applied before this entry.".into(),
    }
    .into()
}

/// Drops every selected view of a database.
pub async fn drop_all(context: &Context, db: &str) -> Result<(), Halt> {
    let destination = &context.destination;
    let list = rawdoc! { "listCollections": 1, "filter": { "type": "view" }, "nameOnly": true };
    let names = retry(Side::Destination, "listing views", &context.events, &context.cancel, || async {
        let reply = destination.run(db, list.clone()).await?;
        let views = reply.get_document("cursor")?.get_array("firstBatch")?;
        let mut names = Vec::new();
        for view in views.into_iter().flatten() {
            if let Some(name) = view.as_document().and_then(|view| view.get_str("name").ok()) {
                names.push(name.to_string());
            }
        }
        Ok(names)
    })
    .await?;
    for name in names.iter().filter(|name| context.options.filter.selects(db, name)) {
        run(context, db, rawdoc! { "drop": name.as_str() }, &[NAMESPACE_NOT_FOUND]).await?;
    }
    Ok(())
}
