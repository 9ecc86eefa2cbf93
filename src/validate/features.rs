//! feature check: every option set and every index of the source is tried on an empty temporary collection of the
//! destination, and the destination is asked whether it takes the server's own update stage (OPLOG.md B.4).
//!
//! Everything happens in one temporary database of a name that nobody else uses. The task that creates it also drops
//! it, whatever happens to the validation that waits for it.

use super::board::Finding;
use crate::{
    model::units::{plural, show_namespace},
    mongo::{
        Cluster,
        catalog::{Catalog, CatalogEntry, Kind, with_own_collation},
        cluster::DriverError,
        errors::{code, is_transient},
        namespace::TEMPORARY_PREFIX,
    },
    oplog::Dialect,
};
use bson::{RawArrayBuf, RawDocument, RawDocumentBuf, oid::ObjectId, raw::cstr, rawdoc};
use std::collections::HashSet;
use tokio_util::sync::CancellationToken;

/// The collection in the temporary database.
const TRIAL: &str = "trial";
/// Missing privilege.
const UNAUTHORIZED: i32 = 13;

/// Names that one line of evidence holds; the rest is in the list of what stays behind.
const SHOWN: usize = 3;

/// What the trial showed.
pub(super) struct Features {
    /// How the check ended.
    pub finding: Finding,
    /// How updates are written; the translation that every destination takes when the trial was impossible.
    pub dialect: Dialect,
    /// What cannot be built, `namespace index: reason`.
    pub left_behind: Vec<String>,
}

/// Runs the trial in a task of its own; cancelled and cleaned up when this future is dropped.
pub(super) async fn check(destination: &Cluster, catalog: &Catalog, cancel: &CancellationToken) -> Features {
    let cancel = cancel.child_token();
    let _abandoned = cancel.clone().drop_guard();
    let trial = Trial {
        destination: destination.clone(),
        db: format!("{TEMPORARY_PREFIX}{}", ObjectId::new().to_hex()),
        cancel,
        tried: HashSet::new(),
        failed: Vec::new(),
        refused: Vec::new(),
    };
    let entries: Vec<CatalogEntry> = catalog.databases.iter().flat_map(|database| &database.entries).cloned().collect();
    let fallback = Dialect { major: destination.version.major, internal_stage: false };
    match tokio::spawn(trial.run(entries)).await {
        Ok(features) => features,
        Err(error) => Features {
            finding: Finding::fail("the trial broke off", error.to_string(), "Report it as a bug."),
            dialect: fallback,
            left_behind: Vec::new(),
        },
    }
}

struct Trial {
    destination: Cluster,
    db: String,
    cancel: CancellationToken,
    tried: HashSet<Vec<u8>>,
    /// Indexes that cannot be built; the migration goes on without them.
    failed: Vec<String>,
    /// Collections that cannot be made; the copy would stop at them.
    refused: Vec<String>,
}

/// The first few of `names`, and how many more there are.
fn shown(names: &[String]) -> String {
    let first = names[..names.len().min(SHOWN)].join("; ");
    match names.len().saturating_sub(SHOWN) {
        0 => first,
        more => format!("{first}; and {more} more"),
    }
}

impl Trial {
    async fn run(mut self, entries: Vec<CatalogEntry>) -> Features {
        let mut dialect = Dialect { major: self.destination.version.major, internal_stage: false };
        let outcome = self.try_all(&entries, &mut dialect).await;
        let dropped = self.drop_all().await;
        let indexes: usize = entries.iter().map(|entry| entry.indexes.len()).sum();
        let finding = self.judge(indexes, dialect, outcome, dropped);
        let left_behind = [self.refused, self.failed].concat();
        Features { finding, dialect, left_behind }
    }

    fn judge(
        &self,
        indexes: usize,
        dialect: Dialect,
        outcome: Result<(), DriverError>,
        dropped: Result<(), DriverError>,
    ) -> Finding {
        let drop_command = format!("db.getSiblingDB('{}').dropDatabase()", self.db);
        if !self.refused.is_empty() {
            return Finding::fail(
                format!(
                    "{} cannot be created here: {}",
                    plural(self.refused.len() as u64, "collection"),
                    shown(&self.refused)
                ),
                "the copy would stop at them, after the destination was cleared",
                "Exclude them, or choose a destination that takes them.",
            )
            .command(dropped.is_err().then_some(drop_command));
        }
        match (outcome, dropped) {
            (_, Err(error)) => Finding::warn(
                format!("the temporary database {} could not be dropped", self.db),
                error.to_string(),
                "Drop it by hand; it is empty.",
            )
            .command(Some(drop_command)),
            (Err(error), Ok(())) if code(&error) == Some(UNAUTHORIZED) => Finding::warn(
                "indexes could not be tried in advance",
                format!("the user may not write a temporary database: {error}"),
                "Grant readWriteAnyDatabase and dbAdminAnyDatabase, or accept that an index may fail later.",
            ),
            (Err(error), Ok(())) => Finding::fail(
                "the trial failed",
                error.to_string(),
                "Look at the server's message, then run the checks again.",
            ),
            (Ok(()), Ok(())) if !self.failed.is_empty() => Finding::warn(
                format!(
                    "{} of the source cannot be built here: {}",
                    plural(self.failed.len() as u64, "index"),
                    shown(&self.failed)
                ),
                "the destination refused them on an empty collection, so the migration cannot build them either",
                "Drop or change them on the source, or accept that they are left out.",
            ),
            (Ok(()), Ok(())) => {
                let stage = if dialect.internal_stage { "accepted" } else { "not accepted, translating" };
                Finding::ok(format!(
                    "all {indexes} indexes accepted on an empty collection; exact update stage {stage}"
                ))
            }
        }
    }

    async fn try_all(&mut self, entries: &[CatalogEntry], dialect: &mut Dialect) -> Result<(), DriverError> {
        self.destination.run(&self.db, rawdoc! { "create": TRIAL }).await?;
        dialect.internal_stage = self.takes_internal_stage().await?;
        self.drop_trial().await?;
        for entry in entries {
            if self.cancel.is_cancelled() {
                return Ok(());
            }
            if matches!(entry.kind, Kind::Collection | Kind::Buckets) {
                self.try_entry(entry).await?;
            }
        }
        Ok(())
    }

    /// One update that matches nothing; a server that does not know the stage refuses it while parsing.
    async fn takes_internal_stage(&self) -> Result<bool, DriverError> {
        let stage =
            rawdoc! { "$_internalApplyOplogUpdate": { "oplogUpdate": { "$v": 2, "diff": { "u": { "a": 1 } } } } };
        let update = rawdoc! { "update": TRIAL, "updates": [{ "q": { "_id": 0 }, "u": [stage] }] };
        match self.destination.run(&self.db, update).await {
            Ok(reply) => Ok(reply.get_array("writeErrors").is_err()),
            Err(error) if is_transient(&error) || code(&error).is_none() => Err(error),
            Err(_) => Ok(false),
        }
    }

    async fn try_entry(&mut self, entry: &CatalogEntry) -> Result<(), DriverError> {
        let time_series = entry.kind == Kind::Buckets;
        let options = trial_options(&entry.options, time_series);
        let mut fresh = Vec::new();
        for spec in &entry.indexes {
            if self.tried.insert(fingerprint(spec, &options)) {
                fresh.push(spec);
            }
        }
        // Buckets carry the name that the operator knows.
        let shown = show_namespace(&entry.namespace.to_string());
        let new_options = !options.is_empty() && self.tried.insert(options.as_bytes().to_vec());
        if fresh.is_empty() && !new_options {
            return Ok(());
        }
        let mut create = rawdoc! { "create": TRIAL };
        for (name, value) in options.iter().filter_map(Result::ok) {
            create.append(name, value);
        }
        if let Err(error) = self.destination.run(&self.db, create).await {
            let error = about_the_object(error)?;
            self.refused.push(format!("{shown}: {error}"));
            return Ok(());
        }
        let (mut own, mut buckets) = (Vec::new(), Vec::new());
        let fresh: Vec<_> = fresh.into_iter().map(|spec| with_own_collation(spec, &options)).collect();
        for spec in &fresh {
            match spec.get_document("originalSpec") {
                Ok(original) if time_series => own.push(original),
                _ if time_series => buckets.push(spec.as_ref()),
                _ => own.push(spec.as_ref()),
            }
        }
        self.try_indexes(TRIAL, &own, &shown).await?;
        self.try_indexes(&format!("system.buckets.{TRIAL}"), &buckets, &shown).await?;
        self.drop_trial().await
    }

    /// All at once, so that hundreds of indexes stay quick; one by one only when something among them is refused.
    async fn try_indexes(&mut self, coll: &str, specs: &[&RawDocument], shown: &str) -> Result<(), DriverError> {
        if specs.is_empty() {
            return Ok(());
        }
        let Err(error) = self.create_indexes(coll, specs).await else { return Ok(()) };
        about_the_object(error)?;
        for spec in specs {
            if let Err(error) = self.create_indexes(coll, &[spec]).await {
                let error = about_the_object(error)?;
                let name = spec.get_str("name").unwrap_or("?");
                self.failed.push(format!("{shown} index {name}: {error}"));
            }
        }
        Ok(())
    }

    async fn create_indexes(&self, coll: &str, specs: &[&RawDocument]) -> Result<(), DriverError> {
        let mut indexes = RawArrayBuf::new();
        for spec in specs {
            let mut clean = RawDocumentBuf::new();
            // 4.2 wrote the namespace into each spec; newer servers refuse it.
            for (name, value) in spec.iter().filter_map(Result::ok).filter(|(name, _)| name.as_str() != "ns") {
                clean.append(name, value);
            }
            indexes.push(clean);
        }
        let mut command = RawDocumentBuf::new();
        command.append(cstr!("createIndexes"), coll);
        command.append(cstr!("indexes"), indexes);
        self.destination.run(&self.db, command).await.map(|_| ())
    }

    async fn drop_trial(&self) -> Result<(), DriverError> {
        match self.destination.run(&self.db, rawdoc! { "drop": TRIAL }).await {
            Err(error) if code(&error) != Some(26) => Err(error),
            _ => Ok(()),
        }
    }

    /// Drops the database, or at least the collection for users that may not drop databases.
    async fn drop_all(&self) -> Result<(), DriverError> {
        let mut outcome = Ok(());
        for _ in 0..3 {
            outcome = match self.destination.run(&self.db, rawdoc! { "dropDatabase": 1 }).await {
                Ok(_) => return Ok(()),
                // Then it could not be created either, or its collection goes alone.
                Err(error) if code(&error) == Some(UNAUTHORIZED) => match self.drop_trial().await {
                    Err(error) if code(&error) == Some(UNAUTHORIZED) => return Ok(()),
                    outcome => return outcome,
                },
                Err(error) => Err(error),
            };
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        }
        outcome
    }
}

/// The refusal of an object; an error that says nothing about the object ends the trial.
fn about_the_object(error: DriverError) -> Result<DriverError, DriverError> {
    if is_transient(&error) || matches!(code(&error), None | Some(UNAUTHORIZED)) { Err(error) } else { Ok(error) }
}

/// The options as the copy will send them: without what a client may not send (OPLOG.md A.4) and, for time series,
/// without what the server derives by itself.
fn trial_options(options: &RawDocument, time_series: bool) -> RawDocumentBuf {
    let mut kept = RawDocumentBuf::new();
    for (name, value) in options.iter().filter_map(Result::ok) {
        match (name.as_str(), value.as_document()) {
            ("temp" | "uuid" | "autoIndexId" | "idIndex", _) => {}
            ("timeseries", Some(series)) if time_series => {
                let given = series.iter().filter_map(Result::ok).filter(|(name, _)| *name != "bucketMaxSpanSeconds");
                kept.append(name, given.collect::<RawDocumentBuf>());
            }
            ("expireAfterSeconds" | "collation", _) => kept.append(name, value),
            _ if time_series => {}
            _ => kept.append(name, value),
        }
    }
    kept
}

/// What makes two index specs the same for a trial: everything but the name, and the collection's options.
fn fingerprint(spec: &RawDocument, options: &RawDocument) -> Vec<u8> {
    let mut bytes = options.as_bytes().to_vec();
    for (name, value) in spec.iter().filter_map(Result::ok) {
        if name.as_str() != "name" {
            let mut field = RawDocumentBuf::new();
            field.append(name, value);
            bytes.extend_from_slice(field.as_bytes());
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trial_sends_what_the_copy_will_send() {
        let options = rawdoc! { "temp": true, "validator": { "a": 1 }, "collation": { "locale": "de" } };
        assert_eq!(
            trial_options(&options, false),
            rawdoc! { "validator": { "a": 1 }, "collation": { "locale": "de" } }
        );
        let series = rawdoc! {
            "validator": { "a": 1 }, "clusteredIndex": true, "expireAfterSeconds": 60_i64,
            "timeseries": { "timeField": "t", "granularity": "hours", "bucketMaxSpanSeconds": 2_592_000 },
        };
        let expected = rawdoc! {
            "expireAfterSeconds": 60_i64, "timeseries": { "timeField": "t", "granularity": "hours" },
        };
        assert_eq!(trial_options(&series, true), expected);
    }

    #[test]
    fn long_lists_are_cut_with_their_number() {
        let names: Vec<String> = (1..=5).map(|n| format!("i{n}")).collect();
        assert_eq!(shown(&names), "i1; i2; i3; and 2 more");
        assert_eq!(shown(&names[..3]), "i1; i2; i3");
    }
}
