//! Connection strings as text: credentials are taken out before anything else sees them.
//!
//! Pure. Shared by the plan file, the wizard's paste field and connecting. Never names the driver.

use crate::secret::Secret;

/// A connection string without credentials, and what was in it.
#[derive(Debug, Clone)]
pub struct Parts {
    /// The string without user, password, `authSource` and a SCRAM `authMechanism`.
    pub uri: String,
    /// User name, percent-decoded.
    pub username: Option<String>,
    /// Password, percent-decoded.
    pub password: Option<Secret>,
    /// `authSource`, or the default database when a user was given.
    pub auth_source: Option<String>,
    /// What the string says about TLS: `tls=` or `ssl=`, else `true` for `mongodb+srv`.
    pub tls: Option<bool>,
}

/// Why a text is not a usable connection string. Never holds any part of the text: it may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UriError {
    /// Another scheme, or none.
    #[error("a connection string begins with mongodb:// or mongodb+srv://")]
    Scheme,
    /// Nothing between the scheme and the options.
    #[error("the connection string names no host")]
    NoHost,
    /// A `%` that is not followed by two hexadecimal digits.
    #[error("user or password holds a '%' that is not percent-encoded (write %25)")]
    Encoding,
    /// More than one `@`, or `/` in the credentials.
    #[error("user or password holds a character that must be percent-encoded (@ is %40, : is %3A, / is %2F)")]
    Reserved,
    /// White space or a control character in it.
    #[error("the connection string holds a blank or a line break")]
    Blank,
}

/// Takes the credentials out of a connection string.
pub fn take_credentials(text: &str) -> Result<Parts, UriError> {
    let text = text.trim();
    let (scheme, rest) = text.split_once("://").ok_or(UriError::Scheme)?;
    if !matches!(scheme, "mongodb" | "mongodb+srv") {
        return Err(UriError::Scheme);
    }
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(UriError::Blank);
    }
    let (before_query, query) = rest.split_once('?').unwrap_or((rest, ""));
    // A '/' or '?' in front of the last '@' belongs to credentials that were not encoded.
    if query.contains('@') {
        return Err(UriError::Reserved);
    }
    let (login, address) = match before_query.rsplit_once('@') {
        Some((login, address)) => (Some(login), address),
        None => (None, before_query),
    };
    let (hosts, database) = address.split_once('/').unwrap_or((address, ""));
    if hosts.is_empty() {
        return Err(UriError::NoHost);
    }
    let (username, password) = match login {
        None => (None, None),
        Some(login) if login.contains(['/', '@']) => return Err(UriError::Reserved),
        Some(login) => {
            let (user, password) = login.split_once(':').map_or((login, None), |(user, rest)| (user, Some(rest)));
            if password.is_some_and(|password| password.contains(':')) {
                return Err(UriError::Reserved);
            }
            (Some(decode(user)?), password.map(decode).transpose()?.map(Secret::new))
        }
    };
    let (mut kept, mut auth_source, mut by_certificate) = (Vec::new(), None, false);
    let mut tls = (scheme == "mongodb+srv").then_some(true);
    for option in query.split('&').filter(|option| !option.is_empty()) {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        match name.to_ascii_lowercase().as_str() {
            "authsource" => auth_source = Some(decode(value)?),
            // The login follows from what is given: a password, or a client certificate.
            "authmechanism" if value.to_ascii_uppercase().starts_with("SCRAM-") => {}
            "authmechanism" if value.eq_ignore_ascii_case("MONGODB-X509") => by_certificate = true,
            "tls" | "ssl" => {
                tls = Some(value == "true");
                kept.push(option);
            }
            _ => kept.push(option),
        }
    }
    if by_certificate {
        // The user's name is the certificate's subject, and its database is always $external.
        return Ok(Parts {
            uri: assembled(scheme, hosts, database, &kept),
            username: None,
            password: None,
            auth_source: None,
            tls,
        });
    }
    if auth_source.is_none() && username.is_some() && !database.is_empty() {
        auth_source = Some(decode(database)?);
    }
    Ok(Parts { uri: assembled(scheme, hosts, database, &kept), username, password, auth_source, tls })
}

fn assembled(scheme: &str, hosts: &str, database: &str, options: &[&str]) -> String {
    let options = if options.is_empty() { String::new() } else { format!("?{}", options.join("&")) };
    format!("{scheme}://{hosts}/{database}{options}")
}

fn decode(text: &str) -> Result<String, UriError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        match (digit(rest.next()), digit(rest.next())) {
            // Two hexadecimal digits always fit a byte.
            (Some(high), Some(low)) => bytes.push((high * 16 + low) as u8),
            _ => return Err(UriError::Encoding),
        }
    }
    String::from_utf8(bytes).map_err(|_| UriError::Encoding)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_leave_the_string_and_are_decoded() {
        let parts =
            take_credentials("mongodb://fer%40ry:p%3Aw%2F1@a:1,b:2/shop?replicaSet=rs0&authMechanism=SCRAM-SHA-1")
                .expect("parts");
        assert_eq!(parts.uri, "mongodb://a:1,b:2/shop?replicaSet=rs0");
        assert_eq!(parts.username.as_deref(), Some("fer@ry"));
        assert_eq!(parts.password.expect("password").expose(), "p:w/1");
        assert_eq!(parts.auth_source.as_deref(), Some("shop"));
        assert_eq!(parts.tls, None);
    }

    #[test]
    fn what_the_string_says_about_tls_is_reported() {
        let tls = |text| take_credentials(text).expect("parts").tls;
        assert_eq!(tls("mongodb+srv://x.example.net"), Some(true));
        assert_eq!(tls("mongodb+srv://x.example.net/?tls=false"), Some(false));
        assert_eq!(tls("mongodb://a/?ssl=true"), Some(true));
    }

    #[test]
    fn nonsense_is_refused_without_repeating_it() {
        for (bad, error) in [
            ("postgres://a", UriError::Scheme),
            ("a:27017", UriError::Scheme),
            ("mongodb:///?x=1", UriError::NoHost),
            ("mongodb://u:p%zz@a", UriError::Encoding),
            ("mongodb://u:p@ss@a", UriError::Reserved),
            ("mongodb://u:p/ss@a", UriError::Reserved),
            ("mongodb://u:p?ss@a", UriError::Reserved),
            ("mongodb://u:p:w@a", UriError::Reserved),
            ("mongodb://u:p w@a", UriError::Blank),
        ] {
            assert_eq!(take_credentials(bad).expect_err(bad), error, "{bad}");
        }
    }
}
