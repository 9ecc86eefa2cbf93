//! How far the members of a replica set are behind their primary, and whether it slows writers down for that.

use super::cluster::{Cluster, DriverError};
use bson::{RawDocument, rawdoc};
use std::{collections::HashSet, time::Duration};

/// `members[].state` of `replSetGetStatus`.
const SECONDARY: i32 = 2;

/// What a primary says about the members that follow it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Secondaries {
    /// The member that is furthest behind, `host:port`, and by how much: the newest write of the primary minus the newest
    /// one that the member has, in whole seconds of their optimes.
    pub furthest: Option<(String, Duration)>,
    /// Flow control makes writers wait because the majority is behind (`flowControl.isLagged`, 4.2 and later).
    pub is_lagged: bool,
}

impl Secondaries {
    /// Asks the primary. Needs `clusterMonitor`.
    pub async fn read(cluster: &Cluster) -> Result<Self, DriverError> {
        let config = cluster.run("admin", rawdoc! { "replSetGetConfig": 1 }).await?;
        let status = cluster.run("admin", rawdoc! { "replSetGetStatus": 1 }).await?;
        let sections =
            rawdoc! { "serverStatus": 1, "metrics": 0, "wiredTiger": 0, "tcmalloc": 0, "locks": 0, "repl": 0 };
        let server = cluster.run("admin", sections).await?;
        let flow = server.get_document("flowControl").ok();
        let is_lagged = flow.and_then(|flow| flow.get_bool("isLagged").ok()).unwrap_or(false);
        Ok(Self { furthest: furthest(&config, &status), is_lagged })
    }
}

/// Members count that are up, hold data, vote, and are not delayed on purpose.
fn furthest(config: &RawDocument, status: &RawDocument) -> Option<(String, Duration)> {
    let counted: HashSet<String> =
        members(config.get_document("config").ok()?).filter(|member| counts(member)).filter_map(host("host")).collect();
    let newest = members(status).filter(|member| member.get_bool("self").unwrap_or(false)).find_map(optime)?;
    let behind = |member: &RawDocument| {
        let name = host("name")(member).filter(|name| counted.contains(name))?;
        let is_up = member.get_i32("state").is_ok_and(|state| state == SECONDARY) && number(member, "health") == 1;
        let by = newest.saturating_sub(optime(member).filter(|_| is_up)?);
        Some((name, Duration::from_secs(by.into())))
    };
    members(status).filter_map(behind).max_by_key(|(_, by)| *by)
}

fn members(document: &RawDocument) -> impl Iterator<Item = &RawDocument> {
    let members = document.get_array("members").ok().into_iter().flatten();
    members.filter_map(|member| member.ok()?.as_document())
}

fn counts(member: &RawDocument) -> bool {
    // Named `slaveDelay` before 5.0.
    let delay = number(member, "secondaryDelaySecs") + number(member, "slaveDelay");
    number(member, "votes") > 0 && delay == 0 && !member.get_bool("arbiterOnly").unwrap_or(false)
}

fn host(field: &str) -> impl Fn(&RawDocument) -> Option<String> {
    move |member| member.get_str(field).ok().map(String::from)
}

/// Numbers come as int, long or double, whatever set the configuration.
fn number(member: &RawDocument, field: &str) -> u64 {
    member.get(field).ok().flatten().and_then(super::catalog::number).unwrap_or(0)
}

fn optime(member: &RawDocument) -> Option<u32> {
    Some(member.get_document("optime").ok()?.get_timestamp("ts").ok()?.time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::{RawDocumentBuf, Timestamp};

    fn at(time: u32) -> RawDocumentBuf {
        rawdoc! { "ts": Timestamp { time, increment: 1 }, "t": 3_i64 }
    }

    #[test]
    fn only_members_that_should_keep_up_are_judged() {
        let config = rawdoc! { "config": { "members": [
            { "host": "a:1", "votes": 1 },
            { "host": "b:1", "votes": 1.0, "slaveDelay": 0_i64 },
            { "host": "c:1", "votes": 1, "secondaryDelaySecs": 3600_i64 },
            { "host": "d:1", "votes": 0, "secondaryDelaySecs": 0_i64 },
            { "host": "e:1", "votes": 1, "arbiterOnly": true },
            { "host": "f:1", "votes": 1 },
            { "host": "g:1", "votes": 1 },
            { "host": "h:1", "votes": 1 },
        ] } };
        let status = rawdoc! { "members": [
            { "name": "a:1", "state": 1, "health": 1.0, "self": true, "optime": at(100) },
            { "name": "b:1", "state": 2, "health": 1.0, "optime": at(93) },
            { "name": "c:1", "state": 2, "health": 1.0, "optime": at(5) },
            { "name": "d:1", "state": 2, "health": 1.0, "optime": at(5) },
            { "name": "e:1", "state": 7, "health": 1.0 },
            // Down; in its initial sync; ahead of what the primary knew a moment ago.
            { "name": "f:1", "state": 8, "health": 0.0, "optime": at(0) },
            { "name": "g:1", "state": 5, "health": 1.0, "optime": at(1) },
            { "name": "h:1", "state": 2, "health": 1.0, "optime": at(101) },
        ] };
        assert_eq!(furthest(&config, &status), Some(("b:1".into(), Duration::from_secs(7))));
        assert_eq!(furthest(&config, &rawdoc! { "members": [] }), None);
    }
}
