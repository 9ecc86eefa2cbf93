//! Connecting: from an [`Endpoint`] to a [`Cluster`], with the cause named when it fails.

use super::cluster::{Cluster, DriverError, ServerVersion};
use crate::model::{Endpoint, Problem, Side, Tls};
use bson::rawdoc;
use mongodb::options::{ClientOptions, Credential, Tls as DriverTls, TlsOptions};
use std::time::Duration;

/// How long server selection may take before a connection attempt counts as failed.
const SELECTION_TIMEOUT: Duration = Duration::from_secs(8);

/// Connects, discovers members, reads set name and version of the primary. Writes nothing.
pub async fn connect(side: Side, endpoint: &Endpoint) -> Result<Cluster, Problem> {
    let options = client_options(side, endpoint).await?;
    let client = mongodb::Client::with_options(options).map_err(|error| connect_problem(side, endpoint, &error))?;
    let problem = |error: DriverError| connect_problem(side, endpoint, &error);
    let admin = client.database("admin");
    let hello = admin.run_command(bson::doc! { "hello": 1 }).await.map_err(problem)?;
    let build = admin.run_command(bson::doc! { "buildInfo": 1 }).await.map_err(problem)?;
    let Ok(set) = hello.get_str("setName") else {
        return Err(Problem::before_writing(
            side,
            format!("{} is a standalone server, not a replica set", endpoint.hosts()),
            "it answers hello without a set name, so it keeps no oplog to follow",
            "Restart it with --replSet NAME and run rs.initiate(), then try again.",
        ));
    };
    let version = build.get_str("version").ok().and_then(ServerVersion::parse).ok_or_else(|| {
        Problem::before_writing(
            side,
            "the server's version cannot be read",
            format!("buildInfo said {:?}", build.get("version")),
            "Check that this is a MongoDB server, version 4.4 or later.",
        )
    })?;
    let mut hosts: Vec<String> = Vec::new();
    for field in ["hosts", "passives"] {
        hosts.extend(hello.get_array(field).into_iter().flatten().filter_map(|host| host.as_str().map(Into::into)));
    }
    let cluster = Cluster {
        side,
        client,
        set: set.to_string(),
        version,
        hosts,
        primary: hello.get_str("primary").ok().map(Into::into),
    };
    // Without this a wrong password shows up only at the first real command (OPLOG.md C.5).
    cluster.run("admin", rawdoc! { "listDatabases": 1, "nameOnly": true }).await.map_err(problem)?;
    Ok(cluster)
}

/// The driver's options for an endpoint.
pub async fn client_options(side: Side, endpoint: &Endpoint) -> Result<ClientOptions, Problem> {
    let mut options = ClientOptions::parse(&endpoint.uri).await.map_err(|error| {
        Problem::before_writing(
            side,
            "the address cannot be used",
            error.to_string(),
            "Write host:port, a comma list of them, or a mongodb:// or mongodb+srv:// string.",
        )
    })?;
    options.app_name = Some("mongoferry".into());
    options.server_selection_timeout = Some(SELECTION_TIMEOUT);
    options.connect_timeout = Some(Duration::from_secs(5));
    options.retry_writes = Some(false);
    if endpoint.direct {
        options.direct_connection = Some(true);
    }
    if let (Some(username), Some(password)) = (&endpoint.username, &endpoint.password) {
        let mut credential = Credential::default();
        credential.username = Some(username.clone());
        credential.password = Some(password.expose().to_string());
        credential.source = endpoint.auth_source.clone();
        options.credential = Some(credential);
    }
    if endpoint.tls == Tls::PublicCa {
        options.tls = Some(DriverTls::Enabled(TlsOptions::default()));
    }
    Ok(options)
}

/// Turns the driver's error into a problem an operator can act on.
pub fn connect_problem(side: Side, endpoint: &Endpoint, error: &DriverError) -> Problem {
    Problem::before_writing(
        side,
        format!("cannot connect to {}", endpoint.hosts()),
        error.to_string(),
        "Check the address, the firewall, the user and the TLS setting.",
    )
    .retryable()
}
