//! A catalog that was read a while ago. Whoever needs one soon after asks the oplog whether it still holds, which is one
//! command, and not one per collection.

use super::{
    catalog::{self, Catalog, commands_of_admin, oplog, oplog_holds, stamp},
    cluster::{Cluster, DriverError},
};
use crate::model::{NamespaceFilter, Optime};
use bson::{Bson, doc};

/// Seconds of oplog that are read at most; reading all collections anew may cost a server less than a longer stretch.
const LONGEST: u32 = 60;

/// What a primary showed.
#[derive(Debug)]
pub struct SeenCatalog {
    /// Its catalog.
    pub catalog: Catalog,
    /// Its election term.
    term: i64,
}

impl SeenCatalog {
    /// Reads the selected part of a cluster's catalog.
    pub async fn read(cluster: &Cluster, filter: &NamespaceFilter) -> Result<Self, DriverError> {
        let term = cluster.last_write().await?.term;
        Ok(Self { catalog: catalog::read(cluster, filter).await?, term })
    }

    /// The catalog as of now. `None`: it has to be read again. Any command since then, on whatever database, another
    /// primary, whose predecessor may have shown what was rolled back, or a long time is reason enough.
    pub async fn renewed(&self, cluster: &Cluster) -> Result<Option<Catalog>, DriverError> {
        let now = cluster.last_write().await?;
        let (since, until) = (self.catalog.started_at, now.majority_optime);
        if now.term != self.term || until < since || until.t - since.t > LONGEST {
            return Ok(None);
        }
        if has_commands(cluster, since, until).await? || !reaches_back(cluster, since).await? {
            return Ok(None);
        }
        let mut catalog = self.catalog.clone();
        catalog.started_at = until;
        for database in &mut catalog.databases {
            database.as_of = database.as_of.max(until);
        }
        Ok(Some(catalog))
    }
}

/// True when the oplog holds anything in `(since, until]` that may have changed a catalog. Only ordinary transactions of one
/// entry are known not to.
async fn has_commands(cluster: &Cluster, since: Optime, until: Optime) -> Result<bool, DriverError> {
    let views = Bson::Document(doc! { "$regex": r"\.system\.views$" });
    // Servers keep their own books in `config`, also by commands.
    let command = doc! { "op": "c", "ns": { "$nin": ["admin.$cmd", "config.$cmd"] } };
    oplog_holds(cluster, (since, until), vec![command, commands_of_admin(&views), doc! { "ns": views }]).await
}

/// True when the oplog still has everything after a position.
async fn reaches_back(cluster: &Cluster, since: Optime) -> Result<bool, DriverError> {
    let oldest = oplog(cluster).find_one(doc! {}).sort(doc! { "$natural": 1 }).projection(doc! { "ts": 1 }).await?;
    Ok(oldest.is_some_and(|oldest| oldest.get_timestamp("ts").is_ok_and(|ts| ts <= stamp(since))))
}
