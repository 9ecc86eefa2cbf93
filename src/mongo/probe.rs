//! One server, looked at stage by stage before the driver is asked: TCP, TLS, `hello`, whether a login is needed.
//!
//! The driver reports all of these as one server selection timeout (OPLOG.md C.5); here each has its own cause.

use super::{
    tls::{self, TlsSeen},
    topology::Hello,
};
use crate::{
    model::{Endpoint, Problem, Side},
    route,
};
use bson::{RawDocumentBuf, raw::cstr, rawdoc};
use std::{
    fmt, io,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

/// Patience with DNS and TCP.
pub const TCP_PATIENCE: Duration = Duration::from_secs(4);
/// Patience with a server that accepted the connection.
pub const ANSWER_PATIENCE: Duration = Duration::from_secs(3);
/// Larger than any reply to `hello` or `listDatabases` of names.
const LARGEST_REPLY: usize = 16 << 20;
const OP_MSG: u32 = 2013;

/// A server's address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Host {
    /// Name or IP address, without brackets.
    pub name: String,
    /// TCP port.
    pub port: u16,
}

impl Host {
    /// Reads `name`, `name:port`, `[::1]:port`; the port is 27017 when absent.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, port) = match text.rsplit_once(':') {
            Some((name, port)) if !name.contains(':') || name.ends_with(']') => (name, port.parse().ok()?),
            _ => (text, 27017),
        };
        let name = name.trim_start_matches('[').trim_end_matches(']');
        (!name.is_empty()).then(|| Self { name: name.to_string(), port })
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.contains(':') {
            write!(f, "[{}]:{}", self.name, self.port)
        } else {
            write!(f, "{}:{}", self.name, self.port)
        }
    }
}

/// What a server showed.
#[derive(Debug, Clone)]
pub struct Greeting {
    /// Which one.
    pub host: Host,
    /// The handshake, when TLS is on.
    pub tls: Option<TlsSeen>,
    /// What it said.
    pub talk: Talk,
}

/// What a server says before anybody signs in.
#[derive(Debug, Clone)]
pub struct Talk {
    /// What it says about itself.
    pub hello: Hello,
    /// It refuses clients that did not sign in; `None` when that could not be told.
    pub needs_login: Option<bool>,
    /// The address that it sees this host under.
    pub seen_as: Option<String>,
    /// The SCRAM mechanisms that the user has; empty for a user that it does not know.
    pub mechanisms: Vec<String>,
}

/// Which stage of connecting failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Name, TCP, or whatever listens there.
    Network,
    /// The TLS setting does not fit the server.
    Tls,
    /// The login.
    SignIn,
}

/// Why a server cannot be used.
#[derive(Debug, Clone)]
pub struct Rejection {
    /// Where it failed.
    pub stage: Stage,
    /// The cause.
    pub problem: Problem,
    /// What to run or to hand on: an address to let in, a command.
    pub command: Option<String>,
}

impl Rejection {
    /// Without a command.
    pub fn new(stage: Stage, problem: Problem) -> Self {
        Self { stage, problem, command: None }
    }

    /// With a command.
    pub fn with(mut self, command: Option<String>) -> Self {
        self.command = command;
        self
    }
}

/// Connects by TCP and returns the stream and how long it took.
pub async fn reach(side: Side, host: &Host) -> Result<(TcpStream, Duration), Rejection> {
    let failed = |problem| Rejection::new(Stage::Network, problem);
    let began = Instant::now();
    let resolved = timeout(TCP_PATIENCE, tokio::net::lookup_host((host.name.as_str(), host.port))).await;
    let addresses: Vec<_> = match resolved {
        Ok(Ok(addresses)) => addresses.collect(),
        Ok(Err(error)) => return Err(unknown_host(side, host, &error.to_string())),
        Err(_) => {
            let mut rejection = unknown_host(side, host, "the name server did not answer within 4 s");
            rejection.problem.retry_helps = true;
            return Err(rejection);
        }
    };
    let mut last = None;
    for address in &addresses {
        match timeout(TCP_PATIENCE.saturating_sub(began.elapsed()), TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok((stream, began.elapsed())),
            Ok(Err(error)) => last = Some(error),
            Err(_) => break,
        }
    }
    let shown = addresses.first().map(|address| address.ip().to_string()).unwrap_or_default();
    // The address that the firewall in front of the server has to let in, unless something in between changes it.
    let from = addresses.first().and_then(|address| route::address_towards(*address));
    Err(match last {
        Some(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            let problem = Problem::before_writing(
                side,
                format!("{host} refuses the connection"),
                format!("{shown} answered that nothing listens on port {} ({error})", host.port),
                "Check that mongod runs there, the port, and bindIp in its configuration.",
            );
            failed(problem.retryable())
        }
        Some(error) => {
            let problem = Problem::before_writing(
                side,
                format!("{host} cannot be reached"),
                format!("{shown}: {error}"),
                "Check the route and the firewall between this host and the server.",
            );
            failed(problem.retryable()).with(from.map(|ip| ip.to_string()))
        }
        None => {
            let own = from.map_or_else(|| "this host's address".to_string(), |ip| format!("{ip} (this host)"));
            let problem = Problem::before_writing(
                side,
                format!("{host} does not answer"),
                format!("no TCP connection to {shown} within {} s", TCP_PATIENCE.as_secs()),
                format!(
                    "Let {own} through the server's firewall or access list to port {}; behind NAT it is your public \
                     address.",
                    host.port
                ),
            );
            failed(problem.retryable()).with(from.map(|ip| ip.to_string()))
        }
    })
}

fn unknown_host(side: Side, host: &Host, why: &str) -> Rejection {
    let fix = "Check the spelling of the name, and that this host's DNS knows it.";
    let problem = Problem::before_writing(side, format!("the host name {} is not known", host.name), why, fix);
    Rejection::new(Stage::Network, problem).with(Some(format!("getent hosts {}", host.name)))
}

/// TLS as wanted, then `hello`. When that fails, the opposite TLS setting is tried to name the cause.
pub async fn greet(
    side: Side,
    endpoint: &Endpoint,
    host: &Host,
    connector: Option<&TlsConnector>,
) -> Result<Greeting, Rejection> {
    let (stream, _) = reach(side, host).await?;
    let greeting = |tls, talk| Greeting { host: host.clone(), tls, talk };
    let tls_problem = |problem| Rejection::new(Stage::Tls, problem).with(Some(show_certificate(host)));
    let Some(connector) = connector else {
        return match talk(stream, endpoint).await {
            Ok(talk) => Ok(greeting(None, talk)),
            Err(error) if hung_up(&error) && offers_tls(side, host).await => Err(tls_problem(Problem::before_writing(
                side,
                format!("{host} requires TLS, and TLS is off"),
                "it closes plain connections and answers a TLS handshake",
                "Switch TLS on: public CA (tls = \"public-ca\"), or private CA with its certificate.",
            ))),
            Err(error) => Err(not_mongodb(side, host, &error)),
        };
    };
    let shaken = match timeout(ANSWER_PATIENCE, tls::handshake(connector, &host.name, stream)).await {
        Ok(shaken) => shaken,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    };
    let name = host.to_string();
    match shaken {
        Ok((stream, seen)) => match talk(stream, endpoint).await {
            Ok(talk) => Ok(greeting(Some(seen), talk)),
            Err(error) => Err(match tls::certificate_problem(side, &name, endpoint, &error, &[]) {
                Some(problem) => Rejection::new(Stage::Tls, problem),
                // It looks at the client's certificate after the handshake (TLS 1.3).
                None if hung_up(&error) => {
                    let why = format!("it hangs up after the TLS handshake ({error})");
                    let problem = match &endpoint.client_certificate {
                        None => tls::wants_certificate(side, &name, &why),
                        Some(_) => tls::refuses_certificate(side, &name, &why),
                    };
                    Rejection::new(Stage::Tls, problem)
                }
                None => not_mongodb(side, host, &error),
            }),
        },
        Err(error) => {
            let chain = match reach(side, host).await {
                Ok((stream, _)) if tls::speaks_tls(&error) => {
                    timeout(ANSWER_PATIENCE, tls::shown_chain(&host.name, stream)).await.unwrap_or_default()
                }
                _ => Vec::new(),
            };
            Err(match tls::certificate_problem(side, &name, endpoint, &error, &chain) {
                Some(problem) => tls_problem(problem),
                None if answers_plainly(side, endpoint, host).await => Rejection::new(
                    Stage::Tls,
                    Problem::before_writing(
                        side,
                        format!("{host} does not use TLS, and TLS is on"),
                        format!("the TLS handshake failed ({error}) and a plain hello is answered"),
                        "Switch TLS off (tls = \"off\"), or enable TLS on the server.",
                    ),
                ),
                None => not_mongodb(side, host, &error),
            })
        }
    }
}

/// The line that shows what certificate a server has.
fn show_certificate(host: &Host) -> String {
    format!(
        "openssl s_client -connect {host} -servername {} -showcerts </dev/null | \
         openssl x509 -noout -subject -issuer -dates -ext subjectAltName",
        host.name
    )
}

fn not_mongodb(side: Side, host: &Host, error: &io::Error) -> Rejection {
    let (what, why) = match error.kind() {
        io::ErrorKind::TimedOut => ("accepts the connection but does not answer", "no reply to hello".to_string()),
        _ if hung_up(error) => ("hangs up without an answer", error.to_string()),
        _ => ("is not a MongoDB server", error.to_string()),
    };
    let fix = "Check the port; a proxy, a load balancer or another service may listen there.";
    let problem = Problem::before_writing(side, format!("{host} {what}"), why, fix);
    let problem = if error.kind() == io::ErrorKind::InvalidData { problem } else { problem.retryable() };
    Rejection::new(Stage::Network, problem)
}

fn hung_up(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe)
}

async fn offers_tls(side: Side, host: &Host) -> bool {
    let public = Endpoint { tls: crate::model::Tls::PublicCa, ..Endpoint::plain("") };
    let Ok(Some(connector)) = tls::connector(side, &public) else { return false };
    let Ok((stream, _)) = reach(side, host).await else { return false };
    match timeout(ANSWER_PATIENCE, tls::handshake(&connector, &host.name, stream)).await {
        Ok(Ok(_)) => true,
        Ok(Err(error)) => tls::speaks_tls(&error),
        Err(_) => false,
    }
}

async fn answers_plainly(side: Side, endpoint: &Endpoint, host: &Host) -> bool {
    match reach(side, host).await {
        Ok((stream, _)) => talk(stream, endpoint).await.is_ok(),
        Err(_) => false,
    }
}

/// `hello`, who we are to the server, then whether `listDatabases` is allowed without a login.
async fn talk<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, endpoint: &Endpoint) -> io::Result<Talk> {
    let mut ask_hello = rawdoc! { "hello": 1, "$db": "admin" };
    if let Some(user) = &endpoint.username {
        let database = endpoint.auth_source.as_deref().unwrap_or("admin");
        ask_hello.append(cstr!("saslSupportedMechs"), format!("{database}.{user}"));
    }
    let hello = ask(&mut stream, &ask_hello).await?;
    if !is_ok(&hello) {
        let why = hello.get_str("errmsg").unwrap_or("hello was refused").to_string();
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    let mechanisms = hello.get_array("saslSupportedMechs").into_iter().flatten();
    let mechanisms = mechanisms.filter_map(|name| Some(name.ok()?.as_str()?.to_string())).collect();
    let seen_as = match ask(&mut stream, &rawdoc! { "whatsmyuri": 1, "$db": "admin" }).await {
        Ok(reply) if is_ok(&reply) => reply.get_str("you").ok().and_then(Host::parse).map(|host| host.name),
        Ok(_) | Err(_) => None,
    };
    let names = rawdoc! {
        "listDatabases": 1, "nameOnly": true, "$db": "admin", "$readPreference": { "mode": "primaryPreferred" },
    };
    let needs_login = match ask(&mut stream, &names).await {
        Ok(reply) if is_ok(&reply) => Some(false),
        Ok(reply) if matches!(reply.get_i32("code"), Ok(13)) => Some(true),
        Ok(_) | Err(_) => None,
    };
    Ok(Talk { hello: Hello::read(&hello), needs_login, seen_as, mechanisms })
}

fn is_ok(reply: &RawDocumentBuf) -> bool {
    reply.get("ok").ok().flatten().and_then(super::catalog::number) == Some(1)
}

/// One command and its reply as OP_MSG messages.
async fn ask<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    command: &RawDocumentBuf,
) -> io::Result<RawDocumentBuf> {
    let body = command.as_bytes();
    let length = u32::try_from(21 + body.len()).map_err(io::Error::other)?;
    let mut message = Vec::with_capacity(21 + body.len());
    for word in [length, 1, 0, OP_MSG, 0] {
        message.extend_from_slice(&word.to_le_bytes());
    }
    message.push(0);
    message.extend_from_slice(body);
    let exchange = async {
        stream.write_all(&message).await?;
        stream.flush().await?;
        read_reply(stream).await
    };
    timeout(ANSWER_PATIENCE, exchange).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

async fn read_reply<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<RawDocumentBuf> {
    let invalid = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_string());
    let mut header = [0; 16];
    stream.read_exact(&mut header).await?;
    let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let length = word(0) as usize;
    if word(12) != OP_MSG || !(26..=LARGEST_REPLY).contains(&length) {
        let start: String =
            header.iter().map(|byte| if byte.is_ascii_graphic() { char::from(*byte) } else { '.' }).collect();
        return Err(invalid(&format!("its answer begins with {start:?}, which is not the MongoDB protocol")));
    }
    let mut rest = vec![0; length - 16];
    stream.read_exact(&mut rest).await?;
    // Four bytes of flags, one of section kind.
    RawDocumentBuf::from_bytes(rest.split_off(5)).map_err(|_| invalid("its answer is not BSON"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_with_and_without_a_port() {
        let shown = |text| Host::parse(text).map(|host| host.to_string());
        assert_eq!(shown("a.example.net").as_deref(), Some("a.example.net:27017"));
        assert_eq!(shown("a:1").as_deref(), Some("a:1"));
        assert_eq!(shown("[::1]:27018").as_deref(), Some("[::1]:27018"));
        assert_eq!(shown("::1").as_deref(), Some("[::1]:27017"));
        assert_eq!(shown(":1"), None);
        assert_eq!(shown("a:b"), None);
    }
}
