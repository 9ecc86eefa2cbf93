//! "Clear existing data": drops the selected user collections of the destination, nothing else.

use super::{
    context::Context,
    retry::{Halt, retry},
};
use crate::{
    model::Side,
    mongo::catalog::{self, Kind},
};
use bson::rawdoc;

/// Drops what the filters select and returns the names. Views first, so that nothing stands on something dropped.
pub async fn clear(context: &Context) -> Result<Vec<String>, Halt> {
    let (destination, filter) = (&context.destination, &context.options.filter);
    let catalog = retry(Side::Destination, "listing what to drop", &context.events, &context.cancel, || {
        catalog::read(destination, filter)
    })
    .await?;
    let mut dropped = Vec::new();
    for database in catalog.databases {
        let mut entries = database.entries;
        entries.sort_by_key(|entry| entry.kind != Kind::View);
        for entry in entries {
            // Buckets go with their time-series collection.
            if entry.kind == Kind::Buckets {
                continue;
            }
            let what = format!("dropping {}", entry.namespace);
            retry(Side::Destination, &what, &context.events, &context.cancel, || async {
                match destination.run(&entry.namespace.db, rawdoc! { "drop": entry.namespace.coll.as_str() }).await {
                    Err(error) if crate::mongo::errors::code(&error) == Some(26) => Ok(()),
                    outcome => outcome.map(|_| ()),
                }
            })
            .await?;
            dropped.push(entry.namespace.to_string());
        }
    }
    Ok(dropped)
}
