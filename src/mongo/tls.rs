//! TLS as a probe sees it: the handshake before the driver's, so that the cause of a failure has a name.
//!
//! Trusts exactly what the driver trusts: the built-in public roots, or the given authority alone.

use crate::{
    model::{Problem, Side, Tls},
    pem::{self, CertificateInfo},
};
use rustls::{CertificateError, ClientConfig, RootCertStore, crypto::ring, pki_types::ServerName};
use std::{io, sync::Arc};
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

/// A TLS client that trusts what `tls` says; `None` when TLS is off.
pub fn connector(side: Side, tls: &Tls) -> Result<Option<TlsConnector>, Problem> {
    let mut roots = RootCertStore::empty();
    match tls {
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
    let config = ClientConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .map_err(|error| Problem::before_writing(Side::Bug, "TLS cannot be set up", error.to_string(), "Report it."))?;
    Ok(Some(Arc::new(config.with_root_certificates(roots).with_no_client_auth()).into()))
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
pub fn certificate_problem(side: Side, host: &str, tls: &Tls, error: &io::Error) -> Option<Problem> {
    use rustls::Error;
    let problem = |what: String, why: String, fix: &str| Some(Problem::before_writing(side, what, why, fix));
    let private = matches!(tls, Tls::PrivateCa { .. });
    match cause(error)? {
        Error::InvalidCertificate(error) => match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => problem(
                format!("the certificate of {host} has expired"),
                error.to_string(),
                "Renew the server's certificate, or correct the clock of this host.",
            ),
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => problem(
                format!("the certificate of {host} is not valid yet"),
                error.to_string(),
                "Correct the clock of this host or of the certificate's maker.",
            ),
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => problem(
                format!("the certificate of {host} was made for another name"),
                error.to_string(),
                "Give the address by a name that the certificate holds.",
            ),
            CertificateError::UnknownIssuer if private => problem(
                format!("the certificate of {host} was not signed by the given CA"),
                "no certificate of the CA file is its issuer".into(),
                "Give the CA certificate (with its intermediates) that signed the server's certificate.",
            ),
            CertificateError::UnknownIssuer => problem(
                format!("the certificate of {host} was not signed by a public authority"),
                "its issuer is not among the public roots".into(),
                "Choose \"private CA\" (tls = \"private-ca\") and give the CA certificate.",
            ),
            other => problem(
                format!("the certificate of {host} is not acceptable"),
                other.to_string(),
                "Have the server's certificate made again by your authority.",
            ),
        },
        Error::AlertReceived(alert) => problem(
            format!("{host} ended the TLS handshake"),
            format!("it sent the alert {alert:?}"),
            "When it demands a client certificate: let it accept clients without one; mongoferry signs in by password.",
        ),
        Error::PeerIncompatible(reason) => problem(
            format!("{host} speaks no TLS version or cipher that is still safe"),
            format!("{reason:?}"),
            "Enable TLS 1.2 or later on the server.",
        ),
        _ => None,
    }
}

fn cause(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

fn unusable_ca(side: Side, why: &str) -> Problem {
    Problem::before_writing(
        side,
        "the CA certificate cannot be used",
        why,
        "Give the PEM text of the authority that signed the server's certificate.",
    )
}
