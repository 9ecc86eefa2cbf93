//! Looks into pasted or read PEM text: what certificates are in it, and what is wrong when there are none.
//!
//! Pure. Shared by the plan file, the wizard's paste box and the TLS check. Never names the driver.

use jiff::Timestamp;
use rustls_pemfile::Item;
use x509_parser::{
    objects::{oid_registry, oid2abbrev},
    prelude::{FromDer, X509Certificate},
    x509::X509Name,
};
use zeroize::Zeroizing;

/// One certificate of a PEM text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateInfo {
    /// Distinguished name of the holder.
    pub subject: String,
    /// The same as RFC 2253 writes it, which is how a server names a user who signs in by certificate.
    pub user_name: String,
    /// Distinguished name of the issuer.
    pub issuer: String,
    /// Valid from.
    pub not_before: Timestamp,
    /// Valid until.
    pub not_after: Timestamp,
    /// It may sign other certificates.
    pub is_ca: bool,
}

/// What is wrong with a PEM text, in a sentence for the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    /// A private key: the wrong file, and a secret.
    #[error("this holds a private key, not a CA certificate; give the file that begins with BEGIN CERTIFICATE")]
    PrivateKey,
    /// Nothing at all.
    #[error("the CA certificate is empty")]
    Empty,
    /// Text without a certificate.
    #[error("there is no certificate in this text: no line says -----BEGIN CERTIFICATE-----")]
    NoCertificate,
    /// A begin line without its end line.
    #[error("certificate {0} is cut off: its -----END CERTIFICATE----- line is missing")]
    CutOff(usize),
    /// The markers are there, what is between them is not a certificate.
    #[error("certificate {0} is damaged: {1}")]
    Damaged(usize, String),
    /// A client certificate without its key.
    #[error("there is no private key beside the client certificate; the file holds both, certificate first")]
    NoKey,
    /// A key that needs a password.
    #[error("the private key is encrypted; give it decrypted (openssl pkey -in client.pem)")]
    EncryptedKey,
    /// More than one key.
    #[error("there are several private keys; the file holds one, and the certificates that belong to it")]
    SeveralKeys,
    /// Not valid any more.
    #[error("the certificate {subject} expired on {on}")]
    Expired {
        /// Its holder.
        subject: String,
        /// Its last day.
        on: Timestamp,
    },
    /// Not valid yet.
    #[error("the certificate {subject} is valid only from {on}")]
    NotYetValid {
        /// Its holder.
        subject: String,
        /// Its first day.
        on: Timestamp,
    },
}

/// The text with LF line ends, whatever it had (CR and CRLF come with pastes and Windows files).
pub fn with_lf(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n")
}

/// The certificates of a text, in its order; at least one. Line ends do not matter. Dates are not judged.
pub fn inspect(text: &str) -> Result<Vec<CertificateInfo>, PemError> {
    let text = with_lf(text);
    if text.trim().is_empty() {
        return Err(PemError::Empty);
    }
    if text.contains("PRIVATE KEY-----") {
        return Err(PemError::PrivateKey);
    }
    let begun = text.matches("-----BEGIN CERTIFICATE-----").count();
    let ended = text.matches("-----END CERTIFICATE-----").count();
    if begun == 0 {
        return Err(PemError::NoCertificate);
    }
    if ended < begun {
        return Err(PemError::CutOff(ended + 1));
    }
    let mut certificates = Vec::new();
    for item in rustls_pemfile::read_all(&mut text.as_bytes()) {
        let number = certificates.len() + 1;
        let damaged = |why: String| PemError::Damaged(number, why);
        match item.map_err(|error| damaged(error.to_string()))? {
            Item::X509Certificate(der) => certificates.push(read(&der).map_err(damaged)?),
            Item::Pkcs1Key(_) | Item::Pkcs8Key(_) | Item::Sec1Key(_) => return Err(PemError::PrivateKey),
            _ => {}
        }
    }
    if certificates.len() < begun {
        return Err(PemError::Damaged(certificates.len() + 1, "its lines are not base64".into()));
    }
    Ok(certificates)
}

/// The certificates of a client's file, which holds its private key too: its own first, then its issuers. What is wrong
/// with the file otherwise; never any part of it.
pub fn inspect_identity(text: &str) -> Result<Vec<CertificateInfo>, PemError> {
    let text = Zeroizing::new(with_lf(text));
    if text.contains("ENCRYPTED PRIVATE KEY-----") || text.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(PemError::EncryptedKey);
    }
    let is_key = |item: &Item| matches!(item, Item::Pkcs1Key(_) | Item::Pkcs8Key(_) | Item::Sec1Key(_));
    let keys = rustls_pemfile::read_all(&mut text.as_bytes()).flatten().filter(is_key).count();
    let certificates = inspect(&without_keys(&text)).map_err(|error| match error {
        PemError::Empty => PemError::NoCertificate,
        error => error,
    })?;
    match keys {
        0 => Err(PemError::NoKey),
        1 => Ok(certificates),
        _ => Err(PemError::SeveralKeys),
    }
}

/// The text without its private keys.
fn without_keys(text: &str) -> Zeroizing<String> {
    let mut kept = Zeroizing::new(String::with_capacity(text.len()));
    let mut in_key = false;
    for line in text.lines() {
        in_key |= line.contains("-----BEGIN ") && line.contains("PRIVATE KEY-----");
        if !in_key {
            kept.push_str(line);
            kept.push('\n');
        }
        in_key &= !(line.contains("-----END ") && line.contains("PRIVATE KEY-----"));
    }
    kept
}

/// The first certificate that is not valid at `now`, as an error.
pub fn check_dates(certificates: &[CertificateInfo], now: Timestamp) -> Result<(), PemError> {
    for certificate in certificates {
        let subject = certificate.subject.clone();
        if certificate.not_after < now {
            return Err(PemError::Expired { subject, on: certificate.not_after });
        }
        if certificate.not_before > now {
            return Err(PemError::NotYetValid { subject, on: certificate.not_before });
        }
    }
    Ok(())
}

/// One certificate in DER form; the error is the parser's sentence.
pub fn read(der: &[u8]) -> Result<CertificateInfo, String> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|_| "it is not an X.509 certificate".to_string())?;
    let validity = certificate.validity();
    let time = |seconds: i64| Timestamp::from_second(seconds).map_err(|_| "its dates cannot be read".to_string());
    Ok(CertificateInfo {
        subject: certificate.subject().to_string(),
        user_name: rfc2253(certificate.subject()),
        issuer: certificate.issuer().to_string(),
        not_before: time(validity.not_before.timestamp())?,
        not_after: time(validity.not_after.timestamp())?,
        is_ca: certificate.is_ca(),
    })
}

/// `CN=ferry,OU=ops,O=Example`: the last part first, special characters escaped.
fn rfc2253(name: &X509Name<'_>) -> String {
    let mut parts = Vec::new();
    for relative in name.iter() {
        let attributes = relative.iter().map(|attribute| {
            let kind = oid2abbrev(attribute.attr_type(), oid_registry())
                .map_or_else(|_| attribute.attr_type().to_id_string(), String::from);
            format!("{kind}={}", escaped(attribute.as_str().unwrap_or_default()))
        });
        parts.push(attributes.collect::<Vec<_>>().join("+"));
    }
    parts.reverse();
    parts.join(",")
}

fn escaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for character in value.chars() {
        if ",+\"\\<>;".contains(character) {
            out.push('\\');
        }
        out.push(character);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const CA: &str = include_str!("../tests/fixtures/tls/ca.pem");
    const OTHER: &str = include_str!("../tests/fixtures/tls/other-ca.pem");

    #[test]
    fn certificates_are_read_whatever_the_line_ends() {
        let two = format!("{CA}{OTHER}");
        for text in [two.clone(), two.replace('\n', "\r\n"), two.replace('\n', "\r")] {
            let found = inspect(&text).expect("two certificates");
            assert_eq!(found.len(), 2);
            assert_eq!(found[0].subject, "CN=Ferry Test CA");
            assert_eq!(found[0].issuer, "CN=Ferry Test CA");
            assert!(found[0].is_ca);
        }
        assert!(!with_lf(&two.replace('\n', "\r\n")).contains('\r'));
    }

    #[test]
    fn every_mistake_has_its_own_sentence() {
        let damaged = CA.replacen("MII", "AAA", 1);
        // Built here so that no file of this repository looks like a key.
        let key = ["-----BEGIN ", "PRIVATE KEY-----\nAAAA\n-----END ", "PRIVATE KEY-----\n"].concat();
        assert_eq!(inspect(&key), Err(PemError::PrivateKey));
        assert_eq!(inspect(&format!("{CA}{key}")), Err(PemError::PrivateKey));
        assert_eq!(inspect("  \n"), Err(PemError::Empty));
        assert_eq!(inspect("hello"), Err(PemError::NoCertificate));
        assert_eq!(inspect(CA.trim_end().trim_end_matches("-----END CERTIFICATE-----")), Err(PemError::CutOff(1)));
        assert!(matches!(inspect(&damaged), Err(PemError::Damaged(1, _))), "{:?}", inspect(&damaged));
        let junk = "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n";
        assert!(matches!(inspect(&format!("{CA}{junk}")), Err(PemError::Damaged(2, _))));
    }

    #[test]
    fn dates_are_judged_against_the_given_time() {
        let found = inspect(CA).expect("one");
        let second = |offset: i64, at: Timestamp| Timestamp::from_second(at.as_second() + offset).expect("time");
        assert_eq!(check_dates(&found, second(1, found[0].not_before)), Ok(()));
        let expired = check_dates(&found, second(1, found[0].not_after));
        assert!(matches!(expired, Err(PemError::Expired { .. })), "{expired:?}");
        let early = check_dates(&found, second(-1, found[0].not_before));
        assert!(matches!(early, Err(PemError::NotYetValid { .. })), "{early:?}");
    }
}
