//! permissions: what the signed-in user lacks, by name, and the line that grants it (OPLOG.md C.1, C.2).

use super::board::Finding;
use crate::{
    model::{CheckOrder, NamespaceFilter, Options, Verify},
    mongo::{
        Cluster,
        cluster::DriverError,
        errors::code,
        privileges::{self, Grants},
    },
};
use bson::{RawDocumentBuf, rawdoc};

/// Actions on ordinary collections that reading needs; all are in `readAnyDatabase`.
const READING: [&str; 4] = ["find", "listCollections", "listIndexes", "collStats"];
/// Actions that writing needs; all are in `readWriteAnyDatabase`.
const WRITING: [&str; 12] = [
    "find",
    "insert",
    "update",
    "remove",
    "createCollection",
    "createIndex",
    "dropCollection",
    "dropIndex",
    "listCollections",
    "listIndexes",
    "collStats",
    "renameCollectionSameDB",
];
/// Actions of `dbAdminAnyDatabase` that `readWriteAnyDatabase` lacks.
const ADMINISTERING: [&str; 3] = ["collMod", "dropDatabase", "bypassDocumentValidation"];

/// Something missing, and the smallest role that holds it.
struct Lack {
    what: String,
    role: &'static str,
    /// The database of the role.
    of: String,
}

impl Lack {
    /// Held by a role of `admin`.
    fn of_admin(what: impl Into<String>, role: &'static str) -> Self {
        Self { what: what.into(), role, of: "admin".into() }
    }
}

/// A role that covers every database, and its counterpart for a single one.
type Roles = (&'static str, &'static str);

const READ: Roles = ("readAnyDatabase", "read");
const WRITE: Roles = ("readWriteAnyDatabase", "readWrite");
const ADMINISTER: Roles = ("dbAdminAnyDatabase", "dbAdmin");

/// Source: everything may be read, and the oplog and the set's state. The commands themselves are tried.
pub(super) async fn check_source(cluster: &Cluster, filter: &NamespaceFilter, blocks_writes: bool) -> Finding {
    if blocks_writes && cluster.version.major < 6 {
        return Finding::fail(
            format!("block_source_writes needs MongoDB 6.0, the source is {}", cluster.version),
            "setUserWriteBlockMode came with 6.0",
            "Remove block_source_writes from the plan; the cutover waits for quiet instead.",
        );
    }
    let grants = match privileges::read(cluster).await {
        Ok(grants) => grants,
        Err(error) => return unreadable(&error),
    };
    let mut lacks = Vec::new();
    if filter.include.is_empty() {
        // Without this right the list would silently leave databases out.
        let all = rawdoc! { "listDatabases": 1, "nameOnly": true, "authorizedDatabases": false };
        match try_command(cluster, "admin", all).await {
            Ok(true) => {}
            Ok(false) => lacks.push(Lack::of_admin("listDatabases", READ.0)),
            Err(error) => return unreadable(&error),
        }
    }
    if !grants.is_anonymous() {
        let databases = included_databases(filter);
        lacks.extend(missing(&grants, databases.as_deref(), &READING, READ, false));
    }
    let oplog = rawdoc! { "find": "oplog.rs", "limit": 1, "singleBatch": true };
    let (oplog, status) = tokio::join!(
        try_command(cluster, "local", oplog),
        try_command(cluster, "admin", rawdoc! { "replSetGetStatus": 1 })
    );
    let (oplog, status) = match (oplog, status) {
        (Ok(oplog), Ok(status)) => (oplog, status),
        (Err(error), _) | (_, Err(error)) => return unreadable(&error),
    };
    if !oplog {
        // clusterMonitor holds both; a user who has it already by another role needs the oplog alone.
        let (role, of) = if status { ("read", "local") } else { ("clusterMonitor", "admin") };
        lacks.push(Lack { what: "find on local.oplog.rs".into(), role, of: of.into() });
    }
    if !status {
        lacks.push(Lack::of_admin("replSetGetStatus", "clusterMonitor"));
    }
    if blocks_writes && !grants.is_anonymous() && !grants.allows_on_cluster("setUserWriteBlockMode") {
        lacks.push(Lack::of_admin("setUserWriteBlockMode", "backup"));
    }
    judge(&grants, lacks, "the source cannot be copied and followed without them", Vec::new())
}

/// Destination: computed from the privileges, nothing is written. `databases` are the ones that will be written.
pub(super) async fn check_destination(cluster: &Cluster, databases: Option<&[String]>, options: &Options) -> Finding {
    let grants = match privileges::read(cluster).await {
        Ok(grants) => grants,
        Err(error) => return unreadable(&error),
    };
    if grants.is_anonymous() {
        return judge(&grants, Vec::new(), "", Vec::new());
    }
    // A user with everything on any database is judged by that, another one by the databases that will be written.
    let databases = databases.filter(|databases| !databases.is_empty());
    let everywhere = databases.is_none() || WRITING.iter().all(|action| grants.allows(None, action));
    let databases = if everywhere { None } else { databases };
    // Without a selection a database may be added to the source at any time.
    let any = options.filter.include.is_empty();
    let mut lacks = missing(&grants, databases, &WRITING, WRITE, any);
    lacks.extend(missing(&grants, databases, &ADMINISTERING, ADMINISTER, any));
    let mut notes = Vec::new();
    let oplog = rawdoc! { "find": "oplog.rs", "limit": 1, "singleBatch": true };
    match try_command(cluster, "local", oplog).await {
        Ok(true) => {}
        // Clearing reads the catalog at one point in time, which takes a look at the oplog.
        Ok(false) if options.clear_destination => {
            lacks.push(Lack::of_admin("find on local.oplog.rs (for clearing)", "clusterMonitor"));
        }
        // What the application writes is told from a difference of the copy by the oplog alone.
        Ok(false) if options.check == CheckOrder::After && options.verify == Verify::Exact => {
            lacks.push(Lack::of_admin("find on local.oplog.rs (for check = \"after\")", "clusterMonitor"));
        }
        Ok(false) => notes.push(
            "without clusterMonitor: some figures stay unknown, and writes of others to it unnoticed".to_string(),
        ),
        Err(error) => return unreadable(&error),
    }
    judge(&grants, lacks, "the destination cannot be written without them", notes)
}

/// The databases that the include list names; `None` when everything is included.
fn included_databases(filter: &NamespaceFilter) -> Option<Vec<String>> {
    if filter.include.is_empty() {
        return None;
    }
    let mut names: Vec<String> =
        filter.include.iter().map(|pattern| pattern.text().split('.').next().unwrap_or_default().to_string()).collect();
    names.sort();
    names.dedup();
    Some(names)
}

/// What of `actions` is missing; the fix is the role of every database when `any` or when no databases are named.
fn missing(grants: &Grants, databases: Option<&[String]>, actions: &[&str], roles: Roles, any: bool) -> Vec<Lack> {
    let mut lacks = Vec::new();
    for action in actions {
        match databases {
            None if !grants.allows(None, action) => lacks.push(Lack::of_admin(*action, roles.0)),
            None => {}
            Some(databases) => {
                for db in databases.iter().filter(|db| !grants.allows(Some(db), action)) {
                    let what = format!("{action} on {db}");
                    lacks.push(match any {
                        true => Lack::of_admin(what, roles.0),
                        false => Lack { what, role: roles.1, of: db.clone() },
                    });
                }
            }
        }
    }
    lacks
}

fn judge(grants: &Grants, lacks: Vec<Lack>, explanation: &str, notes: Vec<String>) -> Finding {
    if !lacks.is_empty() {
        let mut roles: Vec<(&str, &str)> = Vec::new();
        for lack in &lacks {
            if !roles.contains(&(lack.role, &lack.of)) {
                roles.push((lack.role, &lack.of));
            }
        }
        let shown: Vec<&str> = lacks.iter().take(6).map(|lack| lack.what.as_str()).collect();
        let more = if lacks.len() > 6 { format!(" and {} more", lacks.len() - 6) } else { String::new() };
        let named = |(role, of): &(&str, &str)| match *of {
            "admin" => (*role).to_string(),
            of => format!("{role} on {of}"),
        };
        let names: Vec<String> = roles.iter().map(named).collect();
        let fix = format!("As a user administrator grant {}, then run the checks again.", names.join(" and "));
        let evidence = format!("missing: {}{more}", shown.join(", "));
        return Finding::fail(evidence, explanation, fix).command(grants.grant_command(&roles));
    }
    if grants.is_anonymous() {
        return Finding::ok("no authentication: everything is allowed");
    }
    let roles = format!("roles: {}", grants.roles.join(", "));
    Finding::ok([vec![roles], notes].concat().join("; "))
}

/// False when the privilege is missing (13).
async fn try_command(cluster: &Cluster, db: &str, command: RawDocumentBuf) -> Result<bool, DriverError> {
    match cluster.run(db, command).await {
        Ok(_) => Ok(true),
        Err(error) if code(&error) == Some(13) => Ok(false),
        Err(error) => Err(error),
    }
}

fn unreadable(error: &DriverError) -> Finding {
    Finding::fail("the permissions cannot be read", error.to_string(), "Look at the server's message, then try again.")
}
