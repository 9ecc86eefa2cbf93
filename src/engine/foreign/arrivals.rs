//! Who writes since the destination was opened: the application on the destination, where it belongs, and whoever still
//! writes to the source, whose writes nobody carries any more. Counted by each server from its own oplog.

use super::{
    Ledger,
    watch::{PATIENCE, confirmed, entries, server_removes},
};
use crate::{
    model::{NamespaceFilter, Optime, snapshot::Arrival, units::show_namespace},
    mongo::{Cluster, cluster::DriverError, tally::Tally},
};
use jiff::Timestamp;
use std::collections::HashMap;
use tokio::time::{Instant, timeout};

/// The writes of others to one cluster, from the first look on.
#[derive(Debug)]
pub struct Arrivals {
    cluster: Cluster,
    /// What mongoferry itself goes on writing there.
    ours: Tally,
    ledger: Ledger,
    from: Option<Optime>,
    since: HashMap<String, i64>,
}

impl Arrivals {
    /// Nothing was looked at yet.
    pub fn new(cluster: Cluster, ours: Tally, filter: NamespaceFilter) -> Self {
        Self { cluster, ours, ledger: Ledger::new(filter), from: None, since: HashMap::new() }
    }

    /// Looks at what was written since the last look. A login that may not read the oplog, or a server that does not
    /// answer, shows nothing new.
    pub async fn look(&mut self) {
        let _ = timeout(PATIENCE, self.count()).await;
    }

    async fn count(&mut self) -> Result<(), DriverError> {
        let Some(from) = self.from else {
            let ours = self.ours.sums();
            self.from = Some(confirmed(&self.cluster, false).await?);
            self.ledger.rebase(ours);
            return Ok(());
        };
        let until = confirmed(&self.cluster, false).await?;
        if until <= from {
            return Ok(());
        }
        let ours = self.ours.sums();
        let seen = entries(&self.cluster, from, until).await?;
        for seen in &seen {
            let first = self.since.entry(seen.namespace.clone()).or_insert(seen.first_ms);
            *first = seen.first_ms.min(*first);
        }
        self.from = Some(until);
        for name in self.ledger.take(seen, &ours) {
            if self.ledger.has_unexplained_removals(&name) && server_removes(&self.cluster, &name).await.unwrap_or(true)
            {
                self.ledger.server_removes(&name);
            }
        }
        Ok(())
    }

    /// What was seen, the latest first, in the words of applications.
    pub fn view(&mut self) -> Vec<Arrival> {
        let since = |name: &String| self.since.get(name).and_then(|ms| Timestamp::from_millisecond(*ms).ok());
        let rows = self.ledger.view(Instant::now());
        let arrival = |row: crate::model::snapshot::ForeignWrites| Arrival {
            since: since(&row.namespace),
            namespace: show_namespace(&row.namespace),
            writes: row.writes,
            ops_per_s: row.ops_per_s,
            last_write: Some(row.last_write),
        };
        rows.into_iter().map(arrival).collect()
    }
}
