//! The connect page: how to reach the destination, who is there already, who is still on the source.
//!
//! Strings never hold a credential, only placeholders. Who is connected comes from `$currentOp`; a user who may not see
//! other users' operations simply sees nobody.

use super::{
    context::Context,
    foreign::Arrivals,
    operations::{address, client_name, operations, pause},
};
use crate::{
    model::{
        Endpoint, Tls,
        snapshot::{Arrival, ConnectInfo, ConnectedApplication},
    },
    mongo::Cluster,
};
use bson::Document;
use jiff::Timestamp;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};
use tokio::{sync::watch, time::Instant};

/// Distance between two looks at the clusters.
const POLL_EVERY: Duration = Duration::from_secs(5);
/// Looking takes at most one part of so many of the time.
const SHARE: u32 = 20;

/// What wrote to the source before the cutover, and what is written since.
#[derive(Debug)]
pub struct Watched {
    /// Namespaces that were written on the source.
    pub namespaces: Vec<String>,
    /// Names of the applications that were seen writing to it.
    pub applications: BTreeSet<String>,
    /// Writes to the destination.
    pub destination: Arrivals,
    /// Writes to the source.
    pub source: Arrivals,
}

/// Keeps the connect page current until the migration's token fires.
pub async fn poll(
    context: Context,
    endpoint: Endpoint,
    mut watched: Watched,
    view: watch::Sender<Option<ConnectInfo>>,
) {
    let mut first_seen = HashMap::new();
    loop {
        let began = Instant::now();
        tokio::join!(watched.destination.look(), watched.source.look());
        let info = connect_info(&context, &endpoint, &mut watched, &mut first_seen).await;
        view.send_if_modified(|shown| {
            let changed = shown.as_ref() != Some(&info);
            if changed {
                *shown = Some(info);
            }
            changed
        });
        // Looking costs the clusters little, however long their oplogs take to count.
        if pause(POLL_EVERY.max(began.elapsed() * SHARE), &context.cancel).await {
            return;
        }
    }
}

/// The connect page at this moment.
async fn connect_info(
    context: &Context,
    endpoint: &Endpoint,
    watched: &mut Watched,
    first_seen: &mut HashMap<String, Timestamp>,
) -> ConnectInfo {
    let (destination, source) = tokio::join!(operations(&context.destination), operations(&context.source));
    let strings = Strings::new(&context.destination, endpoint);
    let connected = connections(&destination.unwrap_or_default());
    for name in connected.keys() {
        first_seen.entry(name.clone()).or_insert_with(Timestamp::now);
    }
    ConnectInfo {
        mongosh: strings.mongosh(),
        driver_uri: strings.driver_uri(),
        env_line: format!("MONGODB_URI={}", strings.driver_uri()),
        applications: applications(&connected, first_seen, &watched.applications),
        arrivals: arrivals(watched.destination.view(), &watched.namespaces),
        stragglers: stragglers(&source.unwrap_or_default()),
        left_writing: watched.source.view(),
    }
}

/// Connections by the name of the application.
fn connections(operations: &[Document]) -> BTreeMap<String, u32> {
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for name in operations.iter().filter_map(client_name) {
        *counts.entry(name).or_default() += 1;
    }
    counts
}

/// Who is there, who was there, and who wrote to the source and has not been seen yet; most connections first.
fn applications(
    connected: &BTreeMap<String, u32>,
    first_seen: &HashMap<String, Timestamp>,
    wrote_before: &BTreeSet<String>,
) -> Vec<ConnectedApplication> {
    let names: BTreeSet<&String> = first_seen.keys().chain(wrote_before).collect();
    let mut applications: Vec<_> = names
        .into_iter()
        .map(|name| ConnectedApplication {
            name: name.clone(),
            connections: connected.get(name).copied().unwrap_or(0),
            since: first_seen.get(name).copied(),
        })
        .collect();
    applications.sort_by(|a, b| b.connections.cmp(&a.connections).then_with(|| a.name.cmp(&b.name)));
    applications
}

/// What is written, then what was written on the source and is not written here yet.
fn arrivals(mut written: Vec<Arrival>, before: &[String]) -> Vec<Arrival> {
    let missing = before.iter().filter(|name| !written.iter().any(|arrival| arrival.namespace == **name));
    let missing: Vec<Arrival> = missing
        .map(|name| Arrival { namespace: name.clone(), writes: 0, ops_per_s: 0.0, since: None, last_write: None })
        .collect();
    written.extend(missing);
    written
}

fn stragglers(operations: &[Document]) -> Vec<String> {
    let named = operations.iter().filter_map(|operation| Some((client_name(operation)?, address(operation))));
    let seen: BTreeSet<_> = named.collect();
    seen.into_iter().map(|(name, address)| format!("{name} ({address})")).collect()
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
    use crate::{engine::operations::tests::operation, model::Side, mongo::ServerVersion, secret::Secret};
    use bson::doc;

    async fn strings(endpoint: &Endpoint) -> Strings {
        let options = mongodb::options::ClientOptions::parse("mongodb://127.0.0.1:1").await.expect("options");
        let login = crate::mongo::login::Login::open(options).expect("client");
        let hosts = vec!["new-a:27017".into(), "new-b:27017".into()];
        let version = ServerVersion { major: 6, minor: 0, patch: 5 };
        let cluster = Cluster {
            side: Side::Destination,
            login,
            set: "rs9".into(),
            version,
            hosts,
            primary: None,
            tls_files: Default::default(),
            tally: Default::default(),
            wire: crate::mongo::link::Wire::Plain,
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
        let connected = connections(&operations);
        let at = |second| Timestamp::from_second(second).expect("a time");
        let first_seen =
            HashMap::from([("checkout".into(), at(1)), ("PyMongo".into(), at(2)), ("batch".into(), at(3))]);
        let before = BTreeSet::from(["checkout".to_string(), "cron".to_string()]);
        let seen = applications(&connected, &first_seen, &before);
        let seen: Vec<_> = seen.iter().map(|one| (one.name.as_str(), one.connections, one.since)).collect();
        // One that has left again is not one that never came.
        let wanted =
            [("checkout", 2, Some(at(1))), ("PyMongo", 1, Some(at(2))), ("batch", 0, Some(at(3))), ("cron", 0, None)];
        assert_eq!(seen, wanted);
        assert_eq!(stragglers(&operations), ["PyMongo (10.1.4.30)", "checkout (10.1.4.30)"]);
    }

    #[test]
    fn what_was_written_on_the_source_is_waited_for() {
        let written = Arrival {
            namespace: "shop.orders".into(),
            writes: 7,
            ops_per_s: 1.0,
            since: Some(Timestamp::UNIX_EPOCH),
            last_write: Some(Timestamp::UNIX_EPOCH),
        };
        let rows = arrivals(vec![written], &["shop.orders".into(), "jobs.locks".into()]);
        let rows: Vec<_> = rows.iter().map(|row| (row.namespace.as_str(), row.since.is_some())).collect();
        assert_eq!(rows, [("shop.orders", true), ("jobs.locks", false)]);
    }
}
