//! What `$currentOp` says about who uses a cluster: connected applications, writers, open transactions. A user who may not
//! see other users' operations simply sees nobody.

use super::context::Context;
use crate::{
    model::units::show_duration,
    mongo::{Cluster, cluster::DriverError},
};
use bson::{Document, rawdoc};
use futures_util::StreamExt;
use std::{collections::HashMap, time::Duration};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The application name of mongoferry's own connections (`mongo::connect`).
const OWN_NAME: &str = "mongoferry";
const SAMPLE_EVERY: Duration = Duration::from_millis(500);

/// Who uses the source, as far as samples show.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SourceUse {
    /// The last client seen writing to a namespace, `name (address)`.
    pub writers: HashMap<String, String>,
    /// Transactions that were open in the newest sample, one sentence each. Whether they wrote cannot be seen.
    pub open_transactions: Vec<String>,
}

/// Samples who uses the source until the token fires.
pub async fn poll_source(context: Context, view: watch::Sender<SourceUse>) {
    loop {
        let operations = operations(&context.source).await.unwrap_or_default();
        let (seen, open_transactions) = (writing(&operations), open_transactions(&operations));
        view.send_if_modified(|shown| {
            let is_known = seen.iter().all(|(namespace, client)| shown.writers.get(namespace) == Some(client));
            let changed = !is_known || shown.open_transactions != open_transactions;
            shown.writers.extend(seen);
            shown.open_transactions = open_transactions;
            changed
        });
        if pause(SAMPLE_EVERY, &context.cancel).await {
            return;
        }
    }
}

/// Who writes to which namespace right now, `name (address)`: one sample, best effort, possibly empty.
pub async fn likely_clients(cluster: &Cluster) -> HashMap<String, String> {
    writing(&operations(cluster).await.unwrap_or_default())
}

/// Waits; true when the token fired meanwhile.
pub async fn pause(time: Duration, cancel: &CancellationToken) -> bool {
    tokio::select! {
        () = cancel.cancelled() => true,
        () = tokio::time::sleep(time) => false,
    }
}

/// Every operation, connection and idle transaction of the primary.
pub async fn operations(cluster: &Cluster) -> Result<Vec<Document>, DriverError> {
    let command = rawdoc! {
        "aggregate": 1,
        "pipeline": [{ "$currentOp": { "allUsers": true, "idleConnections": true, "idleSessions": true } }],
        "cursor": {},
    };
    let mut cursor = cluster.login.database("admin").run_raw_cursor_command(command).await?;
    let mut operations = Vec::new();
    while let Some(operation) = cursor.next().await {
        operations.push(operation?);
    }
    Ok(operations)
}

/// The name of the client behind an operation: its application name, else its driver; `None` for servers, for our own
/// connections and for operations without a client.
pub fn client_name(operation: &Document) -> Option<String> {
    operation.get_str("client").or_else(|_| operation.get_str("client_s")).ok()?;
    let metadata = operation.get_document("clientMetadata").ok();
    let driver = metadata.and_then(|metadata| metadata.get_document("driver").ok()?.get_str("name").ok());
    let application = operation.get_str("appName").ok().filter(|name| !name.is_empty());
    let internal = ["NetworkInterfaceTL", "MongoDB Internal Client"];
    if driver.is_some_and(|driver| internal.iter().any(|name| driver.starts_with(name))) {
        return None;
    }
    let name = application.or(driver).unwrap_or("unknown");
    (name != OWN_NAME && name != "OplogFetcher").then(|| shorten(name))
}

/// A name is what a client says about itself: no control characters, bounded.
fn shorten(name: &str) -> String {
    name.chars().filter(|character| !character.is_control()).take(60).collect()
}

/// Where an operation comes from.
pub fn address(operation: &Document) -> String {
    let address = operation.get_str("client").or_else(|_| operation.get_str("client_s")).unwrap_or("unknown");
    // Without the port, which changes with every connection.
    address.rsplit_once(':').map_or(address, |(host, _)| host).to_string()
}

/// Multi-document transactions that have begun and not ended (OPLOG.md A.3: nothing of them is in the oplog yet).
fn open_transactions(operations: &[Document]) -> Vec<String> {
    let describe = |operation: &Document| {
        let transaction = operation.get_document("transaction").ok()?;
        if transaction.get_document("parameters").ok()?.get_bool("autocommit").unwrap_or(true) {
            return None;
        }
        let name = client_name(operation)?;
        let open = transaction.get_i64("timeOpenMicros").unwrap_or(0);
        let open = Duration::from_secs(u64::try_from(open).unwrap_or(0) / 1_000_000);
        Some(format!("{name} ({}), open for {}", address(operation), show_duration(open)))
    };
    operations.iter().filter_map(describe).collect()
}

fn writing(operations: &[Document]) -> HashMap<String, String> {
    let mut writing = HashMap::new();
    for operation in operations {
        let command = operation.get_document("command").ok();
        let writes = match operation.get_str("op").unwrap_or_default() {
            "insert" | "update" | "remove" => true,
            "command" => command.is_some_and(|command| {
                let first = command.keys().next().map_or("", String::as_str);
                matches!(first, "insert" | "update" | "delete" | "findAndModify" | "findandmodify" | "bulkWrite")
            }),
            _ => false,
        };
        if let (true, Some(name), Ok(namespace)) = (writes, client_name(operation), operation.get_str("ns")) {
            writing.insert(namespace.to_string(), format!("{name} ({})", address(operation)));
        }
    }
    writing
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use bson::doc;

    /// A connection of that application by that driver.
    pub fn operation(name: &str, driver: &str, port: u16) -> Document {
        doc! {
            "client": format!("10.1.4.30:{port}"),
            "appName": name,
            "clientMetadata": { "driver": { "name": driver, "version": "1" } },
        }
    }

    #[test]
    fn writers_are_told_from_readers() {
        let with = |op: &str, ns: &str, command: Document| {
            let mut operation = operation("sink", "go", 7);
            operation.extend(doc! { "op": op, "ns": ns, "command": command });
            operation
        };
        let operations = vec![
            with("insert", "shop.orders", doc! {}),
            with("command", "shop.carts", doc! { "findAndModify": "carts" }),
            with("query", "shop.events", doc! { "find": "events" }),
            with("command", "shop.stats", doc! { "count": "stats" }),
        ];
        let writing = writing(&operations);
        assert_eq!(writing.get("shop.orders").map(String::as_str), Some("sink (10.1.4.30)"));
        assert!(writing.contains_key("shop.carts"));
        assert_eq!(writing.len(), 2);
    }

    #[test]
    fn open_transactions_are_told_from_other_sessions() {
        let with = |autocommit: bool| {
            let mut operation = operation("sink", "go", 7);
            operation.insert("type", "idleSession");
            let parameters = doc! { "txnNumber": 1_i64, "autocommit": autocommit };
            operation.insert("transaction", doc! { "parameters": parameters, "timeOpenMicros": 12_400_000_i64 });
            operation
        };
        let operations = [with(false), with(true), operation("sink", "go", 8)];
        assert_eq!(open_transactions(&operations), ["sink (10.1.4.30), open for 12 s"]);
    }
}
