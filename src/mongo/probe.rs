//! One server, looked at stage by stage before the driver is asked: TCP, TLS, `hello`, whether a login is needed.
//!
//! The driver reports all of these as one server selection timeout (OPLOG.md C.5); here each has its own cause.

use super::{
    tls::{self, TlsSeen},
    topology::Hello,
};
use crate::model::{Endpoint, Problem, Side};
use bson::{RawDocumentBuf, rawdoc};
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
    /// What it says about itself.
    pub hello: Hello,
    /// It refuses clients that did not sign in; `None` when that could not be told.
    pub needs_login: Option<bool>,
}

/// Why a server did not greet: because of TLS, or for another reason.
#[derive(Debug, Clone)]
pub struct Rejection {
    /// The TLS setting does not fit the server.
    pub is_tls: bool,
    /// The cause.
    pub problem: Problem,
}

/// Connects by TCP and returns the stream and how long it took.
pub async fn reach(side: Side, host: &Host) -> Result<(TcpStream, Duration), Problem> {
    let began = Instant::now();
    let resolved = timeout(TCP_PATIENCE, tokio::net::lookup_host((host.name.as_str(), host.port))).await;
    let addresses: Vec<_> = match resolved {
        Ok(Ok(addresses)) => addresses.collect(),
        Ok(Err(error)) => return Err(unknown_host(side, host, &error.to_string())),
        Err(_) => return Err(unknown_host(side, host, "the name server did not answer within 4 s").retryable()),
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
    Err(match last {
        Some(error) if error.kind() == io::ErrorKind::ConnectionRefused => Problem::before_writing(
            side,
            format!("{host} refuses the connection"),
            format!("{shown} answered that nothing listens on port {} ({error})", host.port),
            "Check that mongod runs there, the port, and bindIp in its configuration.",
        )
        .retryable(),
        Some(error) => Problem::before_writing(
            side,
            format!("{host} cannot be reached"),
            format!("{shown}: {error}"),
            "Check the route and the firewall between this host and the server.",
        )
        .retryable(),
        None => Problem::before_writing(
            side,
            format!("{host} does not answer"),
            format!("no TCP connection to {shown} within {} s", TCP_PATIENCE.as_secs()),
            "Let this host's address through the server's firewall or access list.",
        )
        .retryable(),
    })
}

fn unknown_host(side: Side, host: &Host, why: &str) -> Problem {
    let fix = "Check the spelling of the name, and that this host's DNS knows it.";
    Problem::before_writing(side, format!("the host name {} is not known", host.name), why, fix)
}

/// TLS as wanted, then `hello`. When that fails, the opposite TLS setting is tried to name the cause.
pub async fn greet(
    side: Side,
    endpoint: &Endpoint,
    host: &Host,
    connector: Option<&TlsConnector>,
) -> Result<Greeting, Rejection> {
    let other = |problem| Rejection { is_tls: false, problem };
    let (stream, _) = reach(side, host).await.map_err(other)?;
    let Some(connector) = connector else {
        return match talk(stream).await {
            Ok((hello, needs_login)) => Ok(Greeting { host: host.clone(), tls: None, hello, needs_login }),
            Err(error) if hung_up(&error) && offers_tls(side, host).await => Err(Rejection {
                is_tls: true,
                problem: Problem::before_writing(
                    side,
                    format!("{host} requires TLS, and TLS is off"),
                    "it closes plain connections and answers a TLS handshake",
                    "Switch TLS on: public CA (tls = \"public-ca\"), or private CA with its certificate.",
                ),
            }),
            Err(error) => Err(other(not_mongodb(side, host, &error))),
        };
    };
    let shaken = match timeout(ANSWER_PATIENCE, tls::handshake(connector, &host.name, stream)).await {
        Ok(shaken) => shaken,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    };
    match shaken {
        Ok((stream, seen)) => match talk(stream).await {
            Ok((hello, needs_login)) => Ok(Greeting { host: host.clone(), tls: Some(seen), hello, needs_login }),
            Err(error) => match tls::certificate_problem(side, &host.to_string(), &endpoint.tls, &error) {
                Some(problem) => Err(Rejection { is_tls: true, problem }),
                None if hung_up(&error) => Err(Rejection { is_tls: true, problem: wants_certificate(side, host) }),
                None => Err(other(not_mongodb(side, host, &error))),
            },
        },
        Err(error) => match tls::certificate_problem(side, &host.to_string(), &endpoint.tls, &error) {
            Some(problem) => Err(Rejection { is_tls: true, problem }),
            None if answers_plainly(side, host).await => Err(Rejection {
                is_tls: true,
                problem: Problem::before_writing(
                    side,
                    format!("{host} does not use TLS, and TLS is on"),
                    format!("the TLS handshake failed ({error}) and a plain hello is answered"),
                    "Switch TLS off (tls = \"off\"), or enable TLS on the server.",
                ),
            }),
            None => Err(other(not_mongodb(side, host, &error))),
        },
    }
}

fn wants_certificate(side: Side, host: &Host) -> Problem {
    Problem::before_writing(
        side,
        format!("{host} hangs up after the TLS handshake"),
        "it accepts TLS, but no client without a certificate of its own",
        "Let the server accept clients without certificates (allowConnectionsWithoutCertificates).",
    )
}

fn not_mongodb(side: Side, host: &Host, error: &io::Error) -> Problem {
    let (what, why) = match error.kind() {
        io::ErrorKind::TimedOut => ("accepts the connection but does not answer", "no reply to hello".to_string()),
        _ if hung_up(error) => ("hangs up without an answer", error.to_string()),
        _ => ("is not a MongoDB server", error.to_string()),
    };
    let fix = "Check the port; a proxy, a load balancer or another service may listen there.";
    let problem = Problem::before_writing(side, format!("{host} {what}"), why, fix);
    if error.kind() == io::ErrorKind::InvalidData { problem } else { problem.retryable() }
}

fn hung_up(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe)
}

async fn offers_tls(side: Side, host: &Host) -> bool {
    let Ok(Some(connector)) = tls::connector(side, &crate::model::Tls::PublicCa) else { return false };
    let Ok((stream, _)) = reach(side, host).await else { return false };
    match timeout(ANSWER_PATIENCE, tls::handshake(&connector, &host.name, stream)).await {
        Ok(Ok(_)) => true,
        Ok(Err(error)) => tls::speaks_tls(&error),
        Err(_) => false,
    }
}

async fn answers_plainly(side: Side, host: &Host) -> bool {
    match reach(side, host).await {
        Ok((stream, _)) => talk(stream).await.is_ok(),
        Err(_) => false,
    }
}

/// `hello`, then whether `listDatabases` is allowed without a login.
async fn talk<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) -> io::Result<(Hello, Option<bool>)> {
    let hello = ask(&mut stream, &rawdoc! { "hello": 1, "$db": "admin" }).await?;
    if !is_ok(&hello) {
        let why = hello.get_str("errmsg").unwrap_or("hello was refused").to_string();
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    let names = rawdoc! {
        "listDatabases": 1, "nameOnly": true, "$db": "admin", "$readPreference": { "mode": "primaryPreferred" },
    };
    let needs_login = match ask(&mut stream, &names).await {
        Ok(reply) if is_ok(&reply) => Some(false),
        Ok(reply) if matches!(reply.get_i32("code"), Ok(13)) => Some(true),
        Ok(_) | Err(_) => None,
    };
    Ok((Hello::read(&hello), needs_login))
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
