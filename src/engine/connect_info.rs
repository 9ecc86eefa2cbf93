//! The connect page: how to reach the destination, who is there already, who is still on the source.
//!
//! Strings never hold a credential, only placeholders. Who is connected comes from `$currentOp`; a user who may not see
//! other users' operations simply sees nobody.

use super::context::Context;
use crate::{
    model::{
        Endpoint, Tls,
        snapshot::{ConnectInfo, ConnectedApplication},
    },
    mongo::{Cluster, cluster::DriverError},
};
use bson::{Document, rawdoc};
use futures_util::StreamExt;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The application name of mongoferry's own connections (`mongo::connect`).
const OWN_NAME: &str = "mongoferry";
const POLL_EVERY: Duration = Duration::from_secs(5);
const SAMPLE_EVERY: Duration = Duration::from_millis(500);

/// Keeps the connect page current until the migration's token fires.
pub async fn poll(context: Context, endpoint: Endpoint, view: watch::Sender<Option<ConnectInfo>>) {
    loop {
        let info = connect_info(&context, &endpoint).await;
        view.send_if_modified(|shown| {
            let changed = shown.as_ref() != Some(&info);
            if changed {
                *shown = Some(info);
            }
            changed
        });
        if pause(POLL_EVERY, &context.cancel).await {
            return;
        }
    }
}

/// Samples who writes on the source until the token fires. A namespace keeps the last client
/// seen writing to it.
pub async fn poll_likely_clients(context: Context, view: watch::Sender<HashMap<String, String>>) {
    loop {
        let seen = likely_clients(&context.source).await;
        view.send_if_modified(|shown| {
            let changed = seen.iter().any(|(namespace, client)| shown.get(namespace) != Some(client));
            shown.extend(seen);
            changed
        });
        if pause(SAMPLE_EVERY, &context.cancel).await {
            return;
        }
    }
}

async fn pause(time: Duration, cancel: &CancellationToken) -> bool {
    tokio::select! {
        () = cancel.cancelled() => true,
        () = tokio::time::sleep(time) => false,
    }
}

/// The connect page at this moment.
pub async fn connect_info(context: &Context, endpoint: &Endpoint) -> ConnectInfo {
    let (destination, source) = tokio::join!(operations(&context.destination), operations(&context.source));
    let strings = Strings::new(&context.destination, endpoint);
    ConnectInfo {
        mongosh: strings.mongosh(),
        driver_uri: strings.driver_uri(),
        env_line: format!("MONGODB_URI={}", strings.driver_uri()),
        applications: applications(&destination.unwrap_or_default()),
        stragglers: stragglers(&source.unwrap_or_default()),
    }
}

/// Who writes to which namespace of the source right now, `name (address)`: one sample, best effort, possibly empty.
pub async fn likely_clients(source: &Cluster) -> HashMap<String, String> {
    writing(&operations(source).await.unwrap_or_default())
}

async fn operations(cluster: &Cluster) -> Result<Vec<Document>, DriverError> {
    let command = rawdoc! {
        "aggregate": 1,
        "pipeline": [{ "$currentOp": { "allUsers": true, "idleConnections": true } }],
        "cursor": {},
    };
    let mut cursor = cluster.client.database("admin").run_raw_cursor_command(command).await?;
    let mut operations = Vec::new();
    while let Some(operation) = cursor.next().await {
        operations.push(operation?);
    }
    Ok(operations)
}

/// The name of the client behind an operation: its application name, else its driver; `None` for servers, for our own
/// connections and for operations without a client.
fn client_name(operation: &Document) -> Option<String> {
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

fn address(operation: &Document) -> String {
    let address = operation.get_str("client").or_else(|_| operation.get_str("client_s")).unwrap_or("unknown");
    // Without the port, which changes with every connection.
    address.rsplit_once(':').map_or(address, |(host, _)| host).to_string()
}

fn applications(operations: &[Document]) -> Vec<ConnectedApplication> {
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for name in operations.iter().filter_map(client_name) {
        *counts.entry(name).or_default() += 1;
    }
    let mut applications: Vec<_> =
        counts.into_iter().map(|(name, connections)| ConnectedApplication { name, connections }).collect();
    applications.sort_by(|a, b| b.connections.cmp(&a.connections).then_with(|| a.name.cmp(&b.name)));
    applications
}

fn stragglers(operations: &[Document]) -> Vec<String> {
    let named = operations.iter().filter_map(|operation| Some((client_name(operation)?, address(operation))));
    let seen: BTreeSet<_> = named.collect();
    seen.into_iter().map(|(name, address)| format!("{name} ({address})")).collect()
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

/// The parts of a connection string.
struct Strings {
    scheme: &'static str,
    hosts: String,
    options: Vec<String>,
    login: bool,
    ca_file: bool,
}

impl Strings {
    fn new(cluster: &Cluster, endpoint: &Endpoint) -> Self {
        let srv = endpoint.uri.starts_with("mongodb+srv://");
        let hosts = if srv || endpoint.direct || cluster.hosts.is_empty() {
            endpoint.hosts().to_string()
        } else {
            cluster.hosts.join(",")
        };
        let mut options = Vec::new();
        if endpoint.direct {
            options.push("directConnection=true".into());
        } else if !srv {
            options.push(format!("replicaSet={}", encode(&cluster.set)));
        }
        if endpoint.tls != Tls::Off && !srv {
            options.push("tls=true".into());
        }
        if let Some(source) = endpoint.auth_source.as_deref().filter(|source| *source != "admin") {
            options.push(format!("authSource={}", encode(source)));
        }
        Self {
            scheme: if srv { "mongodb+srv" } else { "mongodb" },
            hosts,
            options,
            login: endpoint.username.is_some(),
            ca_file: matches!(endpoint.tls, Tls::PrivateCa { .. }),
        }
    }

    fn driver_uri(&self) -> String {
        let login = if self.login { "<user>:<password>@" } else { "" };
        let mut options = self.options.clone();
        if self.ca_file {
            options.push("tlsCAFile=<ca.pem>".into());
        }
        format!("{}://{login}{}/{}", self.scheme, self.hosts, query(&options))
    }

    fn mongosh(&self) -> String {
        let mut line = format!("mongosh \"{}://{}/{}\"", self.scheme, self.hosts, query(&self.options));
        if self.ca_file {
            line += " --tlsCAFile <ca.pem>";
        }
        if self.login {
            line += " -u <user>";
        }
        line
    }
}

fn query(options: &[String]) -> String {
    if options.is_empty() { String::new() } else { format!("?{}", options.join("&")) }
}

fn encode(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::Side, mongo::ServerVersion, secret::Secret};
    use bson::doc;

    async fn strings(endpoint: &Endpoint) -> Strings {
        let client = mongodb::Client::with_uri_str("mongodb://127.0.0.1:1").await.expect("client");
        let hosts = vec!["new-a:27017".into(), "new-b:27017".into()];
        let version = ServerVersion { major: 6, minor: 0, patch: 5 };
        let cluster = Cluster {
            side: Side::Destination,
            client,
            set: "rs9".into(),
            version,
            hosts,
            primary: None,
            tls_files: Default::default(),
            tally: Default::default(),
        };
        Strings::new(&cluster, endpoint)
    }

    #[tokio::test]
    async fn strings_without_a_login() {
        let strings = strings(&Endpoint::plain("mongodb://new-a:27017")).await;
        assert_eq!(strings.driver_uri(), "mongodb://new-a:27017,new-b:27017/?replicaSet=rs9");
        assert_eq!(strings.mongosh(), "mongosh \"mongodb://new-a:27017,new-b:27017/?replicaSet=rs9\"");
    }

    #[tokio::test]
    async fn strings_with_a_login_hold_placeholders_only() {
        let endpoint = Endpoint {
            username: Some("ferry".into()),
            password: Some(Secret::new("hunter2".into())),
            auth_source: Some("app db".into()),
            tls: Tls::PrivateCa { pem: "PEM".into() },
            ..Endpoint::plain("mongodb://new-a:27017")
        };
        let strings = strings(&endpoint).await;
        let uri = strings.driver_uri();
        assert_eq!(
            uri,
            "mongodb://<user>:<password>@new-a:27017,new-b:27017/\
             ?replicaSet=rs9&tls=true&authSource=app%20db&tlsCAFile=<ca.pem>"
        );
        assert_eq!(
            strings.mongosh(),
            "mongosh \"mongodb://new-a:27017,new-b:27017/?replicaSet=rs9&tls=true&authSource=app%20db\" \
             --tlsCAFile <ca.pem> -u <user>"
        );
        assert!(!uri.contains("hunter2") && !uri.contains("ferry"));
    }

    #[tokio::test]
    async fn strings_for_srv_and_direct() {
        let srv = strings(&Endpoint { tls: Tls::PublicCa, ..Endpoint::plain("mongodb+srv://x.example.net") }).await;
        assert_eq!(srv.driver_uri(), "mongodb+srv://x.example.net/");
        let direct = strings(&Endpoint { direct: true, ..Endpoint::plain("mongodb://new-b:27017") }).await;
        assert_eq!(direct.driver_uri(), "mongodb://new-b:27017/?directConnection=true");
    }

    fn operation(name: &str, driver: &str, port: u16) -> Document {
        doc! {
            "client": format!("10.1.4.30:{port}"),
            "appName": name,
            "clientMetadata": { "driver": { "name": driver, "version": "1" } },
        }
    }

    #[test]
    fn applications_are_grouped_without_servers_and_without_us() {
        let operations = vec![
            operation("checkout", "nodejs", 1),
            operation("checkout", "nodejs", 2),
            operation("", "PyMongo", 3),
            operation("mongoferry", "mongo-rust-driver", 4),
            operation("", "NetworkInterfaceTL-ReplNetwork", 5),
            operation("OplogFetcher", "MongoDB Internal Client", 6),
            doc! { "desc": "ReplBatcher" },
        ];
        let seen = applications(&operations);
        let seen: Vec<_> = seen.iter().map(|one| (one.name.as_str(), one.connections)).collect();
        assert_eq!(seen, [("checkout", 2), ("PyMongo", 1)]);
        assert_eq!(stragglers(&operations), ["PyMongo (10.1.4.30)", "checkout (10.1.4.30)"]);
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
}
