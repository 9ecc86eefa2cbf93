//! TLS as a probe sees it: the handshake before the driver's, so that the cause of a failure has a name.
//!
//! Trusts exactly what the driver trusts: the built-in public roots, or the given authority alone.

use crate::{
    model::{Endpoint, Problem, Side, Tls},
    pem::{self, CertificateInfo},
};
use rustls::{
    CertificateError, ClientConfig, ConfigBuilder, DigitallySignedStruct, RootCertStore, SignatureScheme,
    WantsVerifier,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::ring,
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

/// What a handshake showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsSeen {
    /// `TLS 1.3`.
    pub version: &'static str,
    /// The server's own certificate, when it could be read.
    pub certificate: Option<CertificateInfo>,
}

/// A TLS client that trusts what `endpoint` says and shows its client certificate; `None` when TLS is off.
pub fn connector(side: Side, endpoint: &Endpoint) -> Result<Option<TlsConnector>, Problem> {
    let mut roots = RootCertStore::empty();
    match &endpoint.tls {
        Tls::Off => return Ok(None),
        Tls::PublicCa => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Tls::PrivateCa { pem } => {
            pem::inspect(pem).map_err(|error| unusable_ca(side, &error.to_string()))?;
            for certificate in rustls_pemfile::certs(&mut pem.as_bytes()) {
                let certificate = certificate.map_err(|error| unusable_ca(side, &error.to_string()))?;
                roots.add(certificate).map_err(|error| unusable_ca(side, &error.to_string()))?;
            }
        }
    }
    let builder = builder()?.with_root_certificates(roots);
    let config = match &endpoint.client_certificate {
        None => builder.with_no_client_auth(),
        Some(pem) => {
            let unusable = |why: &str| unusable_identity(side, why);
            pem::inspect_identity(pem.expose()).map_err(|error| unusable(&error.to_string()))?;
            let certificates: Result<Vec<_>, _> = rustls_pemfile::certs(&mut pem.expose().as_bytes()).collect();
            let key = rustls_pemfile::private_key(&mut pem.expose().as_bytes()).ok().flatten();
            let (Ok(certificates), Some(key)) = (certificates, key) else {
                return Err(unusable("certificate or key cannot be read"));
            };
            builder.with_client_auth_cert(certificates, key).map_err(|error| match error {
                rustls::Error::InconsistentKeys(_) => unusable("the private key does not belong to the certificate"),
                error => unusable(&error.to_string()),
            })?
        }
    };
    Ok(Some(Arc::new(config).into()))
}

fn builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, Problem> {
    ClientConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .map_err(|error| Problem::before_writing(Side::Bug, "TLS cannot be set up", error.to_string(), "Report it."))
}

/// Shakes hands. The error is told apart by [`certificate_problem`] and [`speaks_tls`].
pub async fn handshake(
    connector: &TlsConnector,
    host: &str,
    stream: TcpStream,
) -> io::Result<(TlsStream<TcpStream>, TlsSeen)> {
    let name = ServerName::try_from(host.to_string()).map_err(io::Error::other)?;
    let stream = connector.connect(name, stream).await?;
    let (_, session) = stream.get_ref();
    let version = match session.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_3) => "TLS 1.3",
        Some(rustls::ProtocolVersion::TLSv1_2) => "TLS 1.2",
        _ => "TLS",
    };
    let first = session.peer_certificates().and_then(|chain| chain.first());
    let certificate = first.and_then(|certificate| pem::read(certificate).ok());
    Ok((stream, TlsSeen { version, certificate }))
}

/// True when a failed handshake proves that the other end speaks TLS.
pub fn speaks_tls(error: &io::Error) -> bool {
    use rustls::Error;
    matches!(
        cause(error),
        Some(
            Error::InvalidCertificate(_)
                | Error::AlertReceived(_)
                | Error::PeerIncompatible(_)
                | Error::NoCertificatesPresented
        )
    )
}

/// The problem behind a failed handshake with a server that speaks TLS; `None` when it may not speak TLS at all.
/// `chain` is what the server showed, its own certificate first.
pub fn certificate_problem(
    side: Side,
    host: &str,
    endpoint: &Endpoint,
    error: &io::Error,
    chain: &[CertificateInfo],
) -> Option<Problem> {
    use rustls::Error;
    let problem = |what: String, why: String, fix: &str| Some(Problem::before_writing(side, what, why, fix));
    let described = |why: String| match chain.first() {
        Some(own) => format!("{why}; it shows {}", describe(own)),
        None => why,
    };
    match cause(error)? {
        Error::InvalidCertificate(error) => match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => problem(
                format!("the certificate of {host} has expired"),
                described(error.to_string()),
                "Renew the server's certificate, or correct the clock of this host.",
            ),
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => problem(
                format!("the certificate of {host} is not valid yet"),
                described(error.to_string()),
                "Correct the clock of this host or of the certificate's maker.",
            ),
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => problem(
                format!("the certificate of {host} was made for another name"),
                error.to_string(),
                "Give the address by a name that the certificate holds.",
            ),
            // A signature by another key under the issuer's name.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                Some(unknown_issuer(side, host, &endpoint.tls, chain))
            }
            other => problem(
                format!("the certificate of {host} is not acceptable"),
                described(other.to_string()),
                "Have the server's certificate made again by your authority.",
            ),
        },
        Error::AlertReceived(alert) => Some(match &endpoint.client_certificate {
            None => wants_certificate(side, host, &format!("it ended the TLS handshake with the alert {alert:?}")),
            Some(_) => refuses_certificate(side, host, &format!("it sent the alert {alert:?}")),
        }),
        Error::PeerIncompatible(reason) => problem(
            format!("{host} speaks no TLS version or cipher that is still safe"),
            format!("{reason:?}"),
            "Enable TLS 1.2 or later on the server.",
        ),
        _ => None,
    }
}

/// Why a chain leads to nobody who is trusted. A missing intermediate and a foreign authority look alike unless the
/// server shows a root.
fn unknown_issuer(side: Side, host: &str, tls: &Tls, chain: &[CertificateInfo]) -> Problem {
    let problem = |what: String, why: String, fix: String| Problem::before_writing(side, what, why, fix);
    let Some((own, last)) = chain.first().zip(chain.last()) else {
        return problem(
            format!("the certificate of {host} was signed by nobody who is trusted"),
            "its chain could not be read".into(),
            "Give the CA certificate that signed the server's certificate.".into(),
        );
    };
    let Tls::PrivateCa { pem } = tls else {
        return problem(
            format!("the certificate of {host} was not signed by a public authority"),
            format!("it shows {}, and that issuer is not among the public roots", describe(own)),
            "Choose \"private CA\" (tls = \"private-ca\") and give the CA certificate.".into(),
        );
    };
    let given = pem::inspect(pem).unwrap_or_default();
    let holds: Vec<&str> = given.iter().map(|certificate| certificate.subject.as_str()).collect();
    let holds = holds.join(", ");
    if given.contains(own) && !own.is_ca {
        return problem(
            format!("the CA file holds the certificate of {host} itself, not its CA"),
            format!("it shows {}", describe(own)),
            format!("Give the certificate of {}.", own.issuer),
        );
    }
    let same_name = given.iter().any(|certificate| certificate.subject == last.issuer);
    if last.subject == last.issuer || same_name {
        let namesake = if same_name { " of the same name, with another key" } else { "" };
        return problem(
            format!("the certificate of {host} was not signed by the given CA"),
            format!("it shows {}; the CA file holds {holds}{namesake}", describe(own)),
            format!("Give the CA certificate that signed it: {}.", last.issuer),
        );
    }
    let count = match chain.len() {
        1 => "its own certificate alone".to_string(),
        count => format!("{count} certificates"),
    };
    problem(
        format!("the certificate chain of {host} does not reach the given CA: {} is missing", last.issuer),
        format!("it shows {count} ({}); the CA file holds {holds}", describe(own)),
        format!(
            "Add the certificate of {} to the CA file or to the server's; when the CA file is the wrong one, give the \
             CA that signed it.",
            last.issuer
        ),
    )
}

/// `CN=db-01, issued by CN=Example CA, valid to 2027-01-31`.
pub fn describe(certificate: &CertificateInfo) -> String {
    let until = certificate.not_after.strftime("%F");
    format!("{}, issued by {}, valid to {until}", certificate.subject, certificate.issuer)
}

/// The server wants a client certificate, and none is given.
pub fn wants_certificate(side: Side, host: &str, why: &str) -> Problem {
    Problem::before_writing(
        side,
        format!("{host} demands a client certificate, and none is given"),
        why,
        "Give one with its key (client_certificate_file = \"client.pem\"), or let the server accept clients without \
         (allowConnectionsWithoutCertificates).",
    )
}

/// The server does not take the client certificate.
pub fn refuses_certificate(side: Side, host: &str, why: &str) -> Problem {
    Problem::before_writing(
        side,
        format!("{host} does not accept the client certificate"),
        why,
        "Give a client certificate that the server's CA file (tlsCAFile) signed and that has not expired.",
    )
}

/// The chain that a server shows, its own certificate first; empty when there is no TLS. Nothing is trusted and no data
/// is exchanged: the handshake is broken off.
pub async fn shown_chain(host: &str, stream: TcpStream) -> Vec<CertificateInfo> {
    let watcher = Arc::new(Watcher::default());
    let (Ok(name), Ok(builder)) = (ServerName::try_from(host.to_string()), builder()) else { return Vec::new() };
    let config = builder.dangerous().with_custom_certificate_verifier(watcher.clone()).with_no_client_auth();
    let _refused = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    let chain = watcher.chain.lock().unwrap_or_else(PoisonError::into_inner);
    chain.iter().map_while(|certificate| pem::read(certificate).ok()).collect()
}

/// Keeps what a server shows, and refuses it.
#[derive(Debug, Default)]
struct Watcher {
    chain: Mutex<Vec<CertificateDer<'static>>>,
}

impl ServerCertVerifier for Watcher {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let shown = std::iter::once(own).chain(others).map(|certificate| certificate.clone().into_owned());
        *self.chain.lock().unwrap_or_else(PoisonError::into_inner) = shown.collect();
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

fn cause(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

fn unusable_identity(side: Side, why: &str) -> Problem {
    let fix = "Give one file with the client's certificate, its issuers when needed, and its private key (PEM).";
    Problem::before_writing(side, "the client certificate cannot be used", why, fix)
}

fn unusable_ca(side: Side, why: &str) -> Problem {
    Problem::before_writing(
        side,
        "the CA certificate cannot be used",
        why,
        "Give the PEM text of the authority that signed the server's certificate.",
    )
}
