//! Connecting: from an [`Endpoint`] to a [`Cluster`], stage by stage, with the cause named when one fails.
//!
//! Stages: address (SRV), TCP, TLS and `hello` per host, sign in on one host, then the driver on the whole set. Writes
//! nothing. No stage waits longer than about 8 s.

use super::{
    cluster::{Cluster, DriverError, ServerVersion},
    link::{self, Wire},
    login::Login,
    memory_file::MemoryFile,
    options,
    probe::{self, Greeting, Host, Rejection, Stage},
    tally::Tally,
    tls,
};
use crate::{
    model::{Endpoint, Problem, Side, Tls},
    uri,
};
use bson::doc;
use futures_util::future::join_all;
use mongodb::{
    error::ErrorKind,
    options::{ClientOptions, ServerAddress},
};
use std::{sync::Arc, time::Duration};
use tokio::time::timeout;

/// Patience with one stage of the driver while connecting.
pub(super) const STAGE_PATIENCE: Duration = Duration::from_secs(6);
/// Patience with the name server for `mongodb+srv`.
const SRV_PATIENCE: Duration = Duration::from_secs(5);

/// Connects, discovers members, reads set name and version of the primary. Writes nothing.
pub async fn connect(side: Side, endpoint: &Endpoint) -> Result<Cluster, Problem> {
    let route = Route::find(side, endpoint).await?;
    route.reach().await.into_result().map_err(|rejection| rejection.problem)?;
    let greeting = route.greet().await.map_err(|rejection| rejection.problem)?;
    route.sign_in(&greeting).await.map_err(|rejection| rejection.problem)?;
    Ok(route.join(&greeting).await?.cluster)
}

/// A parsed address and what is needed to follow it.
#[derive(Debug)]
pub struct Route {
    /// Source or destination.
    pub side: Side,
    /// The hosts of the address, after SRV.
    pub hosts: Vec<Host>,
    pub(super) endpoint: Endpoint,
    pub(super) options: ClientOptions,
    tls_files: Arc<Vec<MemoryFile>>,
}

/// TCP to every host of a route.
#[derive(Debug)]
pub struct Reach {
    /// One per host, in the address's order.
    pub hosts: Vec<(Host, Result<Duration, Rejection>)>,
}

impl Reach {
    /// An error when no host can be reached: the first host's.
    pub fn into_result(self) -> Result<(), Box<Rejection>> {
        if self.hosts.iter().any(|(_, reached)| reached.is_ok()) {
            return Ok(());
        }
        self.hosts
            .into_iter()
            .find_map(|(_, reached)| reached.err())
            .map_or(Ok(()), |rejection| Err(Box::new(rejection)))
    }
}

/// The whole set, connected.
#[derive(Debug)]
pub struct Joined {
    /// The set.
    pub cluster: Cluster,
    /// What the operator should know about the way: members that cannot be reached from here.
    pub notes: Vec<String>,
    /// The addresses that the members see this host under.
    pub seen_as: Vec<String>,
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
        let not_found = |why: String| {
            let what = format!("{} cannot be looked up", endpoint.hosts());
            let fix = "Check this host's DNS, or write the hosts themselves as mongodb://host:port,…";
            Problem::before_writing(side, what, why, fix).retryable()
        };
        let mut options = match parsed {
            Ok(Ok(options)) => options::settled(options),
            Ok(Err(error)) => match error.kind.as_ref() {
                ErrorKind::DnsResolve { message, .. } if message.to_lowercase().contains("no record") => {
                    return Err(Problem::before_writing(
                        side,
                        format!("{} has no SRV record", endpoint.hosts()),
                        message.clone(),
                        "Check the name, or write the hosts themselves as mongodb://host:port,…",
                    ));
                }
                ErrorKind::DnsResolve { message, .. } => return Err(not_found(message.clone())),
                _ => return Err(unusable(error.to_string())),
            },
            Err(_) => {
                let why = format!("the name server did not answer within {} s", SRV_PATIENCE.as_secs());
                return Err(not_found(why));
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
        if endpoint.client_certificate.is_some() && endpoint.tls == Tls::Off {
            return Err(Problem::before_writing(
                side,
                "a client certificate is given, and TLS is off",
                "a certificate is shown in the TLS handshake only",
                "Switch TLS on, or leave the client certificate out.",
            ));
        }
        let tls_files = options::complete(side, &endpoint, &mut options)?;
        Ok(Self { side, hosts, endpoint, options, tls_files: Arc::new(tls_files) })
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
            tls::connector(self.side, &self.endpoint).map_err(|problem| Rejection::new(Stage::Tls, problem))?;
        let greetings = self.hosts.iter().map(|host| probe::greet(self.side, &self.endpoint, host, connector.as_ref()));
        let mut best: Option<Greeting> = None;
        let mut first_rejection = None;
        for outcome in join_all(greetings).await {
            match outcome {
                Ok(greeting) => {
                    let worth = |greeting: &Greeting| (greeting.talk.hello.writable, greeting.talk.hello.secondary);
                    if best.as_ref().is_none_or(|best| worth(&greeting) > worth(best)) {
                        best = Some(greeting);
                    }
                }
                Err(rejection) => {
                    // A wrong TLS setting says more than a host that is down.
                    let is_tls = |rejection: &Rejection| rejection.stage == Stage::Tls;
                    if first_rejection.as_ref().is_none_or(|first| is_tls(&rejection) && !is_tls(first)) {
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
                Err(Rejection::new(Stage::Network, problem))
            }
        }
    }

    /// The driver on the whole set (on the one host when `direct`).
    pub async fn join(&self, greeting: &Greeting) -> Result<Joined, Problem> {
        let hello = &greeting.talk.hello;
        let host = greeting.host.to_string();
        hello.judge(self.side, &host, self.wanted_set())?;
        let mut notes = Vec::new();
        let mut seen_as: Vec<String> = greeting.talk.seen_as.iter().cloned().collect();
        let mut options = self.options_for(greeting);
        if self.endpoint.direct {
            self.judge_direct(greeting)?;
        } else {
            // The set that greeted and no other, whatever else the host list leads to.
            options.repl_set_name.clone_from(&hello.set);
            let Some(primary) = &hello.primary else {
                return Err(self.no_primary(greeting));
            };
            let (greeted, unusable) = self.greet_members(greeting).await;
            for address in greeted.into_iter().filter_map(|greeting| greeting.talk.seen_as) {
                if !seen_as.contains(&address) {
                    seen_as.push(address);
                }
            }
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
        Ok(Joined { cluster, notes, seen_as })
    }

    async fn open(&self, options: ClientOptions, greeting: &Greeting) -> Result<Cluster, Problem> {
        let failed = |error: DriverError| self.driver_problem("connecting to the replica set", &error);
        let (login, wire) = self.choose_wire(options, greeting).await.map_err(failed)?;
        let admin = login.database("admin");
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
        let known = &greeting.talk.hello;
        let primary = hello.get_str("primary").ok().map(String::from).or_else(|| known.primary.clone());
        Ok(Cluster {
            side: self.side,
            login,
            set: known.set.clone().unwrap_or_default(),
            version,
            hosts: known.members.clone(),
            primary,
            tls_files: self.tls_files.clone(),
            tally: Tally::default(),
            wire,
        })
    }

    /// A client that compresses what it sends and gets when the way is slow, or as the address asks.
    async fn choose_wire(&self, mut options: ClientOptions, greeting: &Greeting) -> Result<(Login, Wire), DriverError> {
        let login = Login::open(options.clone())?;
        if options.compressors.is_some() {
            return Ok((login, Wire::Asked));
        }
        if greeting.talk.seen_as.as_deref().is_some_and(link::is_loopback) {
            return Ok((login, Wire::Plain));
        }
        let wire = Wire::suited_to(link::measure(&login).await?);
        let Some(compressors) = wire.compressors() else { return Ok((login, wire)) };
        options.compressors = Some(compressors);
        Ok((Login::open(options)?, wire))
    }

    fn judge_direct(&self, greeting: &Greeting) -> Result<(), Problem> {
        let hello = &greeting.talk.hello;
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
        let set = greeting.talk.hello.set.as_deref().unwrap_or_default();
        Problem::before_writing(
            self.side,
            format!("the replica set {set} has no primary"),
            format!("{} ({}) knows of none; an election may be running", greeting.host, greeting.talk.hello.role()),
            "Wait for the election, or look at rs.status() on a member.",
        )
        .retryable()
    }

    /// The members under the names that the set gives them: those that greet, and why the others cannot be used. With
    /// TLS the certificate must fit too.
    async fn greet_members(&self, greeting: &Greeting) -> (Vec<Greeting>, Vec<(String, Problem)>) {
        let connector = tls::connector(self.side, &self.endpoint).ok().flatten();
        let connector = connector.as_ref();
        let tries = greeting.talk.hello.members.iter().map(|member| async move {
            let greeted = match Host::parse(member) {
                Some(host) => probe::greet(self.side, &self.endpoint, &host, connector).await,
                None => {
                    let problem = Problem::before_writing(self.side, format!("{member} is not host:port"), "", "");
                    Err(Rejection::new(Stage::Network, problem))
                }
            };
            greeted.map_err(|rejection| (member.clone(), rejection.problem))
        });
        let (mut greeted, mut unusable) = (Vec::new(), Vec::new());
        for outcome in join_all(tries).await {
            match outcome {
                Ok(greeting) => greeted.push(greeting),
                Err(problem) => unusable.push(problem),
            }
        }
        (greeted, unusable)
    }

    pub(super) fn too_slow(&self, what: &str) -> Problem {
        Problem::before_writing(
            self.side,
            format!("{what} did not finish within {} s", STAGE_PATIENCE.as_secs()),
            format!("{} answered the first probe, then fell silent", self.endpoint.hosts()),
            "Check the load of the server and the network, then try again.",
        )
        .retryable()
    }

    pub(super) fn driver_problem(&self, what: &str, error: &DriverError) -> Problem {
        let what = format!("{what} failed on {}", self.endpoint.hosts());
        let fix = "Check rs.status() on a member, and that every member can be reached from this host.";
        Problem::before_writing(self.side, what, error.to_string(), fix).retryable()
    }
}
