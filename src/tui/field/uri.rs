//! From what an operator pastes or types as an address to the parts of an endpoint. Pure; no look-up, no connection.

use crate::{secret::Secret, uri};

/// What a connection string says.
#[derive(Debug, Clone)]
pub struct Address {
    /// `host:port[,…]`, or `mongodb+srv://host`, as shown in the form.
    pub hosts: String,
    /// Options that are kept as they are, `replicaSet=rs9&readPreference=primary`; may be empty.
    pub options: String,
    /// From before the `@`.
    pub username: Option<String>,
    /// From before the `@`.
    pub password: Option<Secret>,
    /// `authSource`, else the database after the hosts when there is a user.
    pub auth_source: Option<String>,
    /// `tls` or `ssl`; `mongodb+srv://` says on when it is not given.
    pub tls: Option<bool>,
}

/// Reads `host`, `host:port`, a comma list of these, `mongodb://…` or `mongodb+srv://…`. The error never repeats a
/// password.
pub fn parse(text: &str) -> Result<Address, String> {
    let text = text.trim();
    if !text.contains("://") {
        check_hosts(text, false)?;
        let (hosts, options) = (text.to_string(), String::new());
        return Ok(Address { hosts, options, username: None, password: None, auth_source: None, tls: None });
    }
    let parts = uri::take_credentials(text).map_err(|error| error.to_string())?;
    let (scheme, rest) = parts.uri.split_once("://").unwrap_or(("mongodb", &parts.uri));
    let srv = scheme == "mongodb+srv";
    let (before_query, query) = rest.split_once('?').unwrap_or((rest, ""));
    let hosts = before_query.split('/').next().unwrap_or_default();
    check_hosts(hosts, srv)?;
    Ok(Address {
        hosts: if srv { format!("mongodb+srv://{hosts}") } else { hosts.to_string() },
        options: kept_options(query)?,
        username: parts.username.filter(|user| !user.is_empty()),
        password: parts.password.filter(|password| !password.is_empty()),
        auth_source: parts.auth_source,
        tls: parts.tls,
    })
}

/// The options that stay in the address; TLS has fields of its own, and secrets are refused.
fn kept_options(query: &str) -> Result<String, String> {
    let mut kept = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let key = pair.split('=').next().unwrap_or(pair);
        match key.to_ascii_lowercase().as_str() {
            "tls" | "ssl" => {}
            "tlsallowinvalidcertificates" | "tlsallowinvalidhostnames" | "tlsinsecure" => {
                return Err(format!("{key} is refused: certificates are always checked; paste the CA instead"));
            }
            "tlscafile" => {
                return Err(format!("{key} names a file: choose TLS with a private CA and press Ctrl-O there"));
            }
            "tlscertificatekeyfile" => {
                return Err(format!("{key} names a file: choose TLS and press Ctrl-O at the client certificate"));
            }
            "authmechanism" => {
                return Err(format!("{key} is not supported; sign in by password or by client certificate"));
            }
            lower if lower.contains("password") || lower == "authmechanismproperties" => {
                return Err(format!("{key} is not supported; sign in by user name and password"));
            }
            _ => kept.push(pair),
        }
    }
    Ok(kept.join("&"))
}

/// The connection string of a host list as shown in the form and the kept options.
pub fn build(hosts: &str, options: &str) -> String {
    let base = if hosts.contains("://") { hosts.to_string() } else { format!("mongodb://{hosts}") };
    let query = if options.is_empty() { String::new() } else { format!("?{options}") };
    format!("{base}/{query}")
}

fn check_hosts(hosts: &str, srv: bool) -> Result<(), String> {
    if hosts.is_empty() {
        return Err("an address is needed, for example db-01.example.net:27017".into());
    }
    if srv && (hosts.contains(',') || hosts.contains(':')) {
        return Err("mongodb+srv:// takes one host name and no port".into());
    }
    for host in hosts.split(',') {
        let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((name, port)) => (name, port.strip_prefix(':')),
            None if host.matches(':').count() > 1 => {
                return Err(format!("write the IPv6 address in brackets: [{host}]:27017"));
            }
            None => host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port))),
        };
        if name.is_empty() {
            return Err("a host name is missing in the list".into());
        }
        if let Some(bad) = name.chars().find(|character| character.is_whitespace() || "@/?#\\\"'%".contains(*character))
        {
            return Err(format!("a host name cannot hold {bad:?}"));
        }
        if let Some(port) = port
            && !port.parse::<u16>().is_ok_and(|port| port > 0)
        {
            return Err(format!("{port:?} is not a port; it is a number from 1 to 65535"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_string_is_taken_apart() {
        let address = parse("mongodb://ferry:p%40ss@a:1,b:2/admin?replicaSet=rs9&tls=true&w=majority").unwrap();
        assert_eq!(address.hosts, "a:1,b:2");
        assert_eq!(address.options, "replicaSet=rs9&w=majority");
        assert_eq!(address.username.as_deref(), Some("ferry"));
        assert_eq!(address.password.unwrap().expose(), "p@ss");
        assert_eq!(address.auth_source.as_deref(), Some("admin"));
        assert_eq!(address.tls, Some(true));
        assert_eq!(build(&address.hosts, &address.options), "mongodb://a:1,b:2/?replicaSet=rs9&w=majority");
    }

    #[test]
    fn shorter_forms_are_accepted() {
        assert_eq!(parse(" db-01 ").unwrap().hosts, "db-01");
        assert_eq!(parse("db-01:27017").unwrap().tls, None);
        assert_eq!(parse("[::1]:27017").unwrap().hosts, "[::1]:27017");
        let srv = parse("mongodb+srv://cluster0.example.net/?retryWrites=true").unwrap();
        assert_eq!((srv.hosts.as_str(), srv.tls), ("mongodb+srv://cluster0.example.net", Some(true)));
        assert_eq!(build(&srv.hosts, &srv.options), "mongodb+srv://cluster0.example.net/?retryWrites=true");
        assert_eq!(build("a:1", ""), "mongodb://a:1/");
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        for bad in [
            "",
            "postgres://a",
            "a:0",
            "a:70000",
            "::1",
            "a,,b",
            "two words",
            "mongodb+srv://a:1",
            "mongodb://u:s3cret%zz@a",
            "mongodb://u:s3cret@",
            "mongodb://u:s3cret@/",
            "mongodb://u:s3cret@a/?tlsInsecure=true",
            "mongodb://a/?tlsCertificateKeyFilePassword=s3cret",
            "x;mongodb://u:s3cret@a",
        ] {
            let why = parse(bad).expect_err(bad);
            assert!(!why.contains("s3cret"), "{why}");
        }
    }
}
