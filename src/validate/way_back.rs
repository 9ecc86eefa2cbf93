//! way back: the new cluster still tells everything since it was opened, and the old one was not written to since the
//! cutover.

use super::{board::Finding, untouched};
use crate::{
    model::{NamespaceFilter, Options, WayBack},
    mongo::{Cluster, ServerVersion},
};
use bson::{RawDocumentBuf, Timestamp, doc, rawdoc};

const WITH_A_COPY: &str = "Migrate the other way round, with a copy.";

/// A way back that the plan promises (`reverse`) and that cannot come, said before the migration that it belongs to.
pub(super) fn unkeepable(old: ServerVersion, new: ServerVersion, options: &Options) -> Option<Finding> {
    options.reverse?;
    if (new.major, new.minor) > (old.major, old.minor) {
        return Some(Finding::fail(
            format!("reverse: there is no way back from {new} to {old}"),
            "collections, indexes and oplog entries of the newer one may be unknown to the older one",
            "Remove reverse from the plan, or choose a destination of the source's release series.",
        ));
    }
    options.block_source_writes.then(|| {
        Finding::fail(
            "reverse and block_source_writes exclude each other",
            "the way back writes to the source as a user, and the block stays on it after the cutover",
            "Remove one of them from the plan; mongoferry reverse NAME begins a way back later, when the block is lifted.",
        )
    })
}

/// The new cluster's oplog reaches back to its opening.
pub(super) async fn check_source(source: &Cluster, way_back: &WayBack) -> Finding {
    let stamp = Timestamp { time: way_back.from.t, increment: way_back.from.i };
    let oplog = source.login.database("local").collection::<RawDocumentBuf>("oplog.rs");
    match oplog.find_one(doc! { "ts": stamp }).await {
        Ok(Some(_)) => Finding::ok(format!("everything since the opening ({}) is there", way_back.from)),
        Ok(None) => Finding::fail(
            format!("the oplog no longer holds {}, where the new cluster was opened", way_back.from),
            "what was written first is not known any more; a way back would lose it",
            WITH_A_COPY,
        ),
        Err(error) => Finding::fail(
            "the oplog cannot be read",
            error.to_string(),
            "Grant read on local to the user of the new cluster, then run the checks again.",
        ),
    }
}

/// Nobody wrote to the old cluster since the cutover, and it takes writes.
pub(super) async fn check_destination(destination: &Cluster, way_back: &WayBack, filter: &NamespaceFilter) -> Finding {
    if is_blocked(destination).await {
        return Finding::fail(
            "user writes are blocked since the cutover",
            "the way back writes to it as a user",
            "Lift the block (stragglers of the application must be stopped first), then run the checks again.",
        )
        .command(Some("db.adminCommand({setUserWriteBlockMode: 1, global: false})".into()));
    }
    match untouched::since(destination, way_back.untouched_since, filter).await {
        Ok(Some(touched)) if touched.written.is_empty() => {
            let expired: usize = touched.deleted.values().map(Vec::len).sum();
            let beside = if expired > 0 { format!("; {expired} documents expired") } else { String::new() };
            Finding::ok(format!("as it was at the cutover ({}){beside}", way_back.untouched_since))
        }
        Ok(Some(touched)) => Finding::fail(
            format!("written to after the cutover: {}", touched.written.join("; ")),
            "changes of both sides cannot be merged",
            WITH_A_COPY,
        ),
        Ok(None) => Finding::fail(
            format!("the oplog no longer holds the cutover position {}", way_back.untouched_since),
            "whether somebody wrote to the old cluster since then cannot be known any more",
            WITH_A_COPY,
        ),
        Err(error) => Finding::fail(
            "the oplog cannot be read",
            error.to_string(),
            "Grant read on local to the user of the old cluster, then run the checks again.",
        ),
    }
}

async fn is_blocked(cluster: &Cluster) -> bool {
    // 2: enabled (6.0).
    let status = cluster.run("admin", rawdoc! { "serverStatus": 1, "repl": 1, "metrics": 0 }).await;
    status.is_ok_and(|status| {
        status.get_document("repl").ok().and_then(|repl| repl.get_i32("userWriteBlockMode").ok()) == Some(2)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_way_back_that_cannot_come_is_said_before_the_start() {
        let version = |major| ServerVersion { major, minor: 0, patch: 0 };
        let said = |old, new, options: &Options| {
            unkeepable(version(old), version(new), options).map_or_else(String::new, |finding| format!("{finding:?}"))
        };
        let mut options = Options { block_source_writes: true, ..Options::default() };
        assert_eq!(said(5, 6, &options), "");
        options.reverse = Some(Duration::from_secs(3_600));
        assert!(said(5, 6, &options).contains("no way back from 6.0.0 to 5.0.0"));
        assert!(said(6, 6, &options).contains("exclude each other"));
        options.block_source_writes = false;
        assert_eq!(said(6, 6, &options), "");
    }
}
