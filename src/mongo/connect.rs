//! Connecting: from an [`Endpoint`] to a [`Cluster`], stage by stage, with the cause named when one fails.
//!
//! Stages: address (SRV), TCP, TLS and `hello` per host, sign in on one host, then the driver on the whole set. Writes
//! nothing. No stage waits longer than about 8 s.

use super::{
    cluster::{Cluster, DriverError, ServerVersion},
    errors::code,
    probe::{self, Greeting, Host, Rejection},
    tls,
};
use crate::{
    model::{Endpoint, Problem, Side, Tls},
    uri,
};
use bson::doc;
use futures_util::future::join_all;
use mongodb::{
    Client,
    error::ErrorKind,
    options::{ClientOptions, Credential, ServerAddress, Tls as DriverTls, TlsOptions},
};
use std::{io::Write, sync::Arc, time::Duration};
use tempfile::TempPath;
use tokio::time::timeout;

/// How long server selection may take before an operation counts as failed.
const SELECTION_TIMEOUT: Duration = Duration::from_secs(8);
/// Patience with one stage of the driver while connecting.
const STAGE_PATIENCE: Duration = Duration::from_secs(6);
/// Patience with the name server for `mongodb+srv`.
const SRV_PATIENCE: Duration = Duration::from_secs(5);

/// Connects, discovers members, reads set name and version of the primary. Writes nothing.
pub async fn connect(side: Side, endpoint: &Endpoint) -> Result<Cluster, Problem> {
    let route = Route::find(side, endpoint).await?;
    route.reach().await.into_result()?;
    let greeting = route.greet().await.map_err(|rejection| rejection.problem)?;
    route.sign_in(&greeting).await?;
    Ok(route.join(&greeting).await?.cluster)
}

/// A parsed address and what is needed to follow it.
#[derive(Debug)]
pub struct Route {
    /// Source or destination.
    pub side: Side,
    /// The hosts of the address, after SRV.
    pub hosts: Vec<Host>,
    endpoint: Endpoint,
    options: ClientOptions,
    ca_file: Option<Arc<TempPath>>,
}

/// TCP to every host of a route.
#[derive(Debug)]
pub struct Reach {
    /// One per host, in the address's order.
    pub hosts: Vec<(Host, Result<Duration, Problem>)>,
}

impl Reach {
    /// An error when no host can be reached: the first host's.
    pub fn into_result(self) -> Result<(), Problem> {
        if self.hosts.iter().any(|(_, reached)| reached.is_ok()) {
            return Ok(());
        }
        self.hosts.into_iter().find_map(|(_, reached)| reached.err()).map_or(Ok(()), Err)
    }
}

/// The whole set, connected.
#[derive(Debug)]
pub struct Joined {
    /// The set.
    pub cluster: Cluster,
    /// What the operator should know about the way: members that cannot be reached from here.
    pub notes: Vec<String>,
}

impl Route {
    /// Parses the address; asks the name server for `mongodb+srv`.
    pub async fn find(side: Side, endpoint: &Endpoint) -> Result<Self, Problem> {
        let unusable = |why: String| {
            let fix = "Write host:port, a comma list of them, or a mongodb:// or mongodb+srv:// string.";
            Problem::before_writing(side, "the address cannot be used", why, fix)
        };
        let mut endpoint = endpoint.clone();
        let parts = uri::take_credentials(&endpoint.uri).map_err(|error| unusable(error.to_string()))?;
        endpoint.uri = parts.uri;
        if endpoint.username.is_none() {
            (endpoint.username, endpoint.password) = (parts.username, parts.password);
        }
        endpoint.auth_source = endpoint.auth_source.or(parts.auth_source);
        if endpoint.username.is_some() && endpoint.password.is_none() {
            return Err(Problem::before_writing(
                side,
                "the password is missing",
                format!("the user {} has none", endpoint.username.as_deref().unwrap_or_default()),
                "Enter the password, or leave the user empty on a server without authentication.",
            ));
        }
        let parsed = timeout(SRV_PATIENCE, ClientOptions::parse(&endpoint.uri)).await;
        let mut options = match parsed {
            Ok(Ok(options)) => options,
            Ok(Err(error)) if matches!(error.kind.as_ref(), ErrorKind::DnsResolve { .. }) => {
                return Err(Problem::before_writing(
                    side,
                    format!("{} has no SRV record", endpoint.hosts()),
                    error.to_string(),
                    "Check the name, or write the hosts themselves as mongodb://host:port,…",
                ));
            }
            Ok(Err(error)) => return Err(unusable(error.to_string())),
            Err(_) => {
                let why = format!("the name server did not answer within {} s", SRV_PATIENCE.as_secs());
                let what = format!("{} cannot be looked up", endpoint.hosts());
                let fix = "Check this host's DNS, or write the hosts themselves as mongodb://host:port,…";
                return Err(Problem::before_writing(side, what, why, fix).retryable());
            }
        };
        endpoint.direct |= options.direct_connection == Some(true);
        let mut hosts = Vec::new();
        for address in &options.hosts {
            match address {
                ServerAddress::Tcp { host, port } => {
                    hosts.push(Host { name: host.clone(), port: port.unwrap_or(27017) });
                }
                other => return Err(unusable(format!("{other} is not host:port"))),
            }
        }
        let ca_file = complete(side, &endpoint, &mut options)?;
        Ok(Self { side, hosts, endpoint, options, ca_file })
    }

    /// The set name that the address asks for.
    pub fn wanted_set(&self) -> Option<&str> {
        self.options.repl_set_name.as_deref()
    }

    /// TCP to every host at once.
    pub async fn reach(&self) -> Reach {
        let reached = self.hosts.iter().map(|host| async move {
            let reached = probe::reach(self.side, host).await.map(|(_, took)| took);
            (host.clone(), reached)
        });
        Reach { hosts: join_all(reached).await }
    }

    /// TLS and `hello` on every host at once; the greeting of the primary when it is among them.
    pub async fn greet(&self) -> Result<Greeting, Rejection> {
        let connector =
            tls::connector(self.side, &self.endpoint.tls).map_err(|problem| Rejection { is_tls: true, problem })?;
        let greetings = self.hosts.iter().map(|host| probe::greet(self.side, &self.endpoint, host, connector.as_ref()));
        let mut best: Option<Greeting> = None;
        let mut first_rejection = None;
        for outcome in join_all(greetings).await {
            match outcome {
                Ok(greeting) => {
                    let worth = |greeting: &Greeting| (greeting.hello.writable, greeting.hello.secondary);
                    if best.as_ref().is_none_or(|best| worth(&greeting) > worth(best)) {
                        best = Some(greeting);
                    }
                }
                Err(rejection) => {
                    // A wrong TLS setting says more than a host that is down.
                    if first_rejection.as_ref().is_none_or(|first: &Rejection| rejection.is_tls && !first.is_tls) {
                        first_rejection = Some(rejection);
                    }
                }
            }
        }
        match (best, first_rejection) {
            (Some(greeting), _) => Ok(greeting),
            (None, Some(rejection)) => Err(rejection),
            (None, None) => {
                let problem = Problem::before_writing(self.side, "the address names no host", "", "Give host:port.");
                Err(Rejection { is_tls: false, problem })
            }
        }
    }

    /// Signs in on the host that greeted (on its primary when that host is an arbiter, which knows no users).
    pub async fn sign_in(&self, greeting: &Greeting) -> Result<(), Problem> {
        let host = if greeting.hello.arbiter && !self.endpoint.direct {
            greeting.hello.primary.as_deref().and_then(Host::parse).unwrap_or_else(|| greeting.host.clone())
        } else {
            greeting.host.clone()
        };
        if greeting.needs_login == Some(true) && self.endpoint.username.is_none() {
            return Err(Problem::before_writing(
                self.side,
                format!("{host} requires a login, and no user is given"),
                "listDatabases without a login was refused (13 Unauthorized)",
                "Give the user and its password.",
            ));
        }
        let mut options = self.options.clone();
        options.hosts = vec![ServerAddress::Tcp { host: host.name.clone(), port: Some(host.port) }];
        options.direct_connection = Some(true);
        options.repl_set_name = None;
        options.server_selection_timeout = Some(STAGE_PATIENCE);
        let failed = |error: &DriverError| self.sign_in_problem(greeting, &host, error);
        let client = Client::with_options(options).map_err(|error| failed(&error))?;
        // hello succeeds without a login; the first command that needs one shows a wrong password (OPLOG.md C.5).
        let admin = client.database("admin");
        let listed = admin.run_command(doc! { "listDatabases": 1, "nameOnly": true });
        let outcome = timeout(STAGE_PATIENCE, listed).await;
        // Its background tasks end with it.
        client.shutdown().immediate(true).await;
        match outcome {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(failed(&error)),
            Err(_) => Err(self.too_slow("signing in")),
        }
    }

    fn sign_in_problem(&self, greeting: &Greeting, host: &Host, error: &DriverError) -> Problem {
        let user = self.endpoint.username.as_deref().unwrap_or_default();
        let database = self.endpoint.auth_source.as_deref().unwrap_or("admin");
        let refused = matches!(error.kind.as_ref(), ErrorKind::Authentication { .. }) || code(error) == Some(18);
        if refused && greeting.needs_login == Some(false) {
            return Problem::before_writing(
                self.side,
                format!("{host} knows no user {user}: it runs without authentication"),
                format!("it answers without a login and refused this one ({error})"),
                "Leave user and password empty.",
            );
        }
        if refused {
            return Problem::before_writing(
                self.side,
                format!("{host} refused the login of {user}@{database}"),
                format!("{error}; the server does not say whether user, password or auth database is wrong"),
                format!("Check the password, the user name, and that the user was created in the database {database}."),
            );
        }
        match code(error) {
            Some(13) => Problem::before_writing(
                self.side,
                format!("{host} requires a login"),
                error.to_string(),
                "Give a user and its password.",
            ),
            Some(13436) => Problem::before_writing(
                self.side,
                format!("{host} is an arbiter or not ready, and holds no data"),
                error.to_string(),
                "Give a data-bearing member, or leave out direct = true.",
            ),
            _ => self.driver_problem("signing in", error),
        }
    }

    /// The driver on the whole set (on the one host when `direct`).
    pub async fn join(&self, greeting: &Greeting) -> Result<Joined, Problem> {
        let hello = &greeting.hello;
        let host = greeting.host.to_string();
        hello.judge(self.side, &host, self.wanted_set())?;
        let mut notes = Vec::new();
        let mut options = self.options.clone();
        if self.endpoint.direct {
            self.judge_direct(greeting)?;
        } else {
            // The set that greeted and no other, whatever else the host list leads to.
            options.repl_set_name.clone_from(&hello.set);
            let Some(primary) = &hello.primary else {
                return Err(self.no_primary(greeting));
            };
            let unusable = self.unusable_members(greeting).await;
            let because =
                |(member, problem): &(String, Problem)| format!("{member}: {} ({})", problem.what, problem.why);
            if let Some(reason) = unusable.iter().find(|(member, _)| member == primary) {
                if !hello.writable {
                    return Err(Problem::before_writing(
                        self.side,
                        format!("the primary {primary} cannot be used from this host"),
                        format!("{host} names it so; {}", because(reason)),
                        "Make that name resolve here (DNS or /etc/hosts), let it through the firewall, and with TLS \
                         let its certificate hold that name; or give the primary itself.",
                    ));
                }
                notes.push(format!("{}; using {host} alone, without failover", because(reason)));
                options.hosts =
                    vec![ServerAddress::Tcp { host: greeting.host.name.clone(), port: Some(greeting.host.port) }];
                options.direct_connection = Some(true);
                options.repl_set_name = None;
            } else {
                notes.extend(unusable.iter().map(because));
            }
        }
        let cluster = timeout(STAGE_PATIENCE, self.open(options, greeting)).await;
        let cluster = cluster.unwrap_or_else(|_| Err(self.too_slow("connecting to the replica set")))?;
        Ok(Joined { cluster, notes })
    }

    async fn open(&self, options: ClientOptions, greeting: &Greeting) -> Result<Cluster, Problem> {
        let failed = |error: DriverError| self.driver_problem("connecting to the replica set", &error);
        let client = Client::with_options(options).map_err(failed)?;
        let admin = client.database("admin");
        let hello = admin.run_command(doc! { "hello": 1 }).await.map_err(failed)?;
        let build = admin.run_command(doc! { "buildInfo": 1 }).await.map_err(failed)?;
        let version = build.get_str("version").ok().and_then(ServerVersion::parse).ok_or_else(|| {
            Problem::before_writing(
                self.side,
                "the server's version cannot be read",
                format!("buildInfo said {:?}", build.get("version")),
                "Check that this is a MongoDB server, version 4.4 or later.",
            )
        })?;
        let known = &greeting.hello;
        let primary = hello.get_str("primary").ok().map(String::from).or_else(|| known.primary.clone());
        Ok(Cluster {
            side: self.side,
            client,
            set: known.set.clone().unwrap_or_default(),
            version,
            hosts: known.members.clone(),
            primary,
            ca_file: self.ca_file.clone(),
        })
    }

    fn judge_direct(&self, greeting: &Greeting) -> Result<(), Problem> {
        let hello = &greeting.hello;
        let usable = hello.writable || (hello.secondary && self.side == Side::Source);
        if usable {
            return Ok(());
        }
        Err(Problem::before_writing(
            self.side,
            format!("{} is {}, and direct = true allows no other member", greeting.host, hello.role()),
            "the destination must be written to, and the source must hold data".to_string(),
            "Give the primary, or leave out direct = true.",
        ))
    }

    fn no_primary(&self, greeting: &Greeting) -> Problem {
        let set = greeting.hello.set.as_deref().unwrap_or_default();
        Problem::before_writing(
            self.side,
            format!("the replica set {set} has no primary"),
            format!("{} ({}) knows of none; an election may be running", greeting.host, greeting.hello.role()),
            "Wait for the election, or look at rs.status() on a member.",
        )
        .retryable()
    }

    /// Members that cannot be used under the names that the set gives them. With TLS the certificate must fit too.
    async fn unusable_members(&self, greeting: &Greeting) -> Vec<(String, Problem)> {
        let connector = tls::connector(self.side, &self.endpoint.tls).ok().flatten();
        let connector = connector.as_ref();
        let tries = greeting.hello.members.iter().map(|member| async move {
            let problem = match (Host::parse(member), connector) {
                (Some(host), None) => probe::reach(self.side, &host).await.err()?,
                (Some(host), Some(_)) => probe::greet(self.side, &self.endpoint, &host, connector).await.err()?.problem,
                (None, _) => Problem::before_writing(self.side, format!("{member} is not host:port"), "", ""),
            };
            Some((member.clone(), problem))
        });
        join_all(tries).await.into_iter().flatten().collect()
    }

    fn too_slow(&self, what: &str) -> Problem {
        Problem::before_writing(
            self.side,
            format!("{what} did not finish within {} s", STAGE_PATIENCE.as_secs()),
            format!("{} answered the first probe, then fell silent", self.endpoint.hosts()),
            "Check the load of the server and the network, then try again.",
        )
        .retryable()
    }

    fn driver_problem(&self, what: &str, error: &DriverError) -> Problem {
        let what = format!("{what} failed on {}", self.endpoint.hosts());
        let fix = "Check rs.status() on a member, and that every member can be reached from this host.";
        Problem::before_writing(self.side, what, error.to_string(), fix).retryable()
    }
}

/// Sets what every client of ours has, whatever the address says.
fn complete(side: Side, endpoint: &Endpoint, options: &mut ClientOptions) -> Result<Option<Arc<TempPath>>, Problem> {
    options.app_name = Some("mongoferry".into());
    options.server_selection_timeout = Some(SELECTION_TIMEOUT);
    options.connect_timeout = Some(Duration::from_secs(5));
    options.retry_writes = Some(false);
    // Preferences of an application must not change what the copy reads and how it is acknowledged.
    options.selection_criteria = None;
    options.read_concern = None;
    options.write_concern = None;
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
    let (driver_tls, file) = match &endpoint.tls {
        Tls::Off => (DriverTls::Disabled, None),
        Tls::PublicCa => (DriverTls::Enabled(TlsOptions::default()), None),
        Tls::PrivateCa { pem } => {
            let path = write_ca(pem).map_err(|error| {
                let why = error.to_string();
                let fix = "Check the free space and the mode of the folder for temporary files.";
                Problem::before_writing(Side::Host, format!("the CA file of the {side} cannot be written"), why, fix)
            })?;
            let mut options = TlsOptions::default();
            options.ca_file_path = Some(path.to_path_buf());
            (DriverTls::Enabled(options), Some(Arc::new(path)))
        }
    };
    options.tls = Some(driver_tls);
    Ok(file)
}

/// The driver takes certificates from a file only. Mode 0600, removed on drop.
fn write_ca(pem: &str) -> std::io::Result<TempPath> {
    let mut file = tempfile::Builder::new().prefix("mongoferry-ca-").suffix(".pem").tempfile()?;
    file.write_all(pem.as_bytes())?;
    file.flush()?;
    Ok(file.into_temp_path())
}
