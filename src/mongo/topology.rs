//! What a server says about itself and its set in `hello`, and whether a migration can work with it.

use crate::model::{Problem, Side};
use bson::{RawDocument, oid::ObjectId};

/// The parts of `hello` that decide how to connect (OPLOG.md C.5; needs no privilege).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hello {
    /// Replica set name; absent on a standalone and on a mongos.
    pub set: Option<String>,
    /// It is the primary.
    pub writable: bool,
    /// It is a secondary.
    pub secondary: bool,
    /// It holds no data.
    pub arbiter: bool,
    /// It is a mongos.
    pub mongos: bool,
    /// Started with `--replSet`, but `rs.initiate()` was never run.
    pub uninitiated: bool,
    /// The primary as `host:port`, when it knows one.
    pub primary: Option<String>,
    /// Data-bearing members as `host:port`.
    pub members: Vec<String>,
    /// Its own name in the set.
    pub me: Option<String>,
    /// Identity of the process.
    pub process: Option<ObjectId>,
}

impl Hello {
    /// Reads a reply of `hello`.
    pub fn read(reply: &RawDocument) -> Self {
        let text = |field: &str| reply.get_str(field).ok().map(String::from);
        let flag = |field: &str| reply.get_bool(field).unwrap_or(false);
        let mut members = Vec::new();
        for field in ["hosts", "passives"] {
            let Ok(list) = reply.get_array(field) else { continue };
            members.extend(list.into_iter().filter_map(|host| host.ok()?.as_str().map(String::from)));
        }
        let version = reply.get_document("topologyVersion").ok();
        Self {
            set: text("setName"),
            writable: flag("isWritablePrimary"),
            secondary: flag("secondary"),
            arbiter: flag("arbiterOnly"),
            mongos: text("msg").as_deref() == Some("isdbgrid"),
            uninitiated: flag("isreplicaset"),
            primary: text("primary"),
            members,
            me: text("me"),
            process: version.and_then(|version| version.get_object_id("processId").ok()),
        }
    }

    /// Why a migration cannot use `host`; `wanted` is the set name of the connection string.
    pub fn judge(&self, side: Side, host: &str, wanted: Option<&str>) -> Result<(), Problem> {
        let problem = |what: String, why: &str, fix: &str| Err(Problem::before_writing(side, what, why, fix));
        if self.mongos {
            return problem(
                format!("{host} is a mongos of a sharded cluster"),
                "mongoferry migrates replica sets; a sharded cluster has one oplog per shard",
                "Give a replica set.",
            );
        }
        if self.uninitiated {
            return problem(
                format!("{host} belongs to a replica set that was never initiated"),
                "it was started with --replSet, but holds no set configuration",
                "Run rs.initiate() on it, then try again.",
            );
        }
        let Some(set) = &self.set else {
            return problem(
                format!("{host} is a standalone server, not a replica set"),
                "it answers hello without a set name, so it keeps no oplog to follow",
                "Restart it with --replSet NAME and run rs.initiate(), then try again.",
            );
        };
        if let Some(wanted) = wanted
            && wanted != set
        {
            return problem(
                format!("{host} belongs to the replica set {set}, not {wanted}"),
                "the connection string asks for another set name",
                &format!("Write replicaSet={set}, or give a host of {wanted}."),
            );
        }
        Ok(())
    }

    /// `primary`, `secondary`, `arbiter` or `not ready`.
    pub fn role(&self) -> &'static str {
        match self {
            Hello { writable: true, .. } => "primary",
            Hello { secondary: true, .. } => "secondary",
            Hello { arbiter: true, .. } => "arbiter",
            _ => "not ready",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::rawdoc;

    fn verdict(reply: bson::RawDocumentBuf, wanted: Option<&str>) -> Result<(), String> {
        Hello::read(&reply).judge(Side::Source, "a:1", wanted).map_err(|problem| problem.what)
    }

    #[test]
    fn servers_that_cannot_be_migrated_are_named() {
        let of = |text: &str| Err(text.to_string());
        assert_eq!(verdict(rawdoc! {}, None), of("a:1 is a standalone server, not a replica set"));
        assert_eq!(verdict(rawdoc! { "msg": "isdbgrid" }, None), of("a:1 is a mongos of a sharded cluster"));
        assert_eq!(
            verdict(rawdoc! { "isreplicaset": true }, None),
            of("a:1 belongs to a replica set that was never initiated")
        );
        let member = rawdoc! { "setName": "rs0", "secondary": true, "hosts": ["a:1", "b:1"], "passives": ["c:1"] };
        assert_eq!(verdict(member.clone(), None), Ok(()));
        assert_eq!(verdict(member.clone(), Some("rs0")), Ok(()));
        assert_eq!(verdict(member.clone(), Some("rs9")), of("a:1 belongs to the replica set rs0, not rs9"));
        assert_eq!(Hello::read(&member).members, ["a:1", "b:1", "c:1"]);
        assert_eq!(Hello::read(&member).role(), "secondary");
    }
}
