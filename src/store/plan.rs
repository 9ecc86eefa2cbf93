//! A plan as it is written to disk: everything but the passwords.

use crate::model::{Endpoint, Options, PasswordFrom, Plan, Secrets, Tls};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A plan without its passwords.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StoredPlan {
    /// Name of the migration.
    pub name: String,
    /// The cluster that is migrated.
    pub source: StoredEndpoint,
    /// The cluster that receives the data.
    pub destination: StoredEndpoint,
    /// Everything else.
    pub options: Options,
}

/// How to reach one cluster, without the password.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StoredEndpoint {
    /// The address, without credentials.
    pub uri: String,
    /// `None` on a server without authentication.
    pub username: Option<String>,
    /// A password has to be given again, unless `password_from` says where it is.
    pub has_password: bool,
    /// Where the password can be read.
    pub password_from: Option<PasswordFrom>,
    /// Database of the user.
    pub auth_source: Option<String>,
    /// Encryption in transit, with the certificates of a private authority.
    pub tls: Tls,
    /// A client certificate has to be given again, unless `client_certificate_from` says where it is.
    pub has_client_certificate: bool,
    /// Where certificate and key can be read.
    pub client_certificate_from: Option<PathBuf>,
    /// Talk to the given host alone.
    pub direct: bool,
}

impl From<&Endpoint> for StoredEndpoint {
    fn from(endpoint: &Endpoint) -> Self {
        Self {
            uri: endpoint.uri.clone(),
            username: endpoint.username.clone(),
            has_password: endpoint.password.is_some(),
            password_from: endpoint.password_from.clone(),
            auth_source: endpoint.auth_source.clone(),
            tls: endpoint.tls.clone(),
            has_client_certificate: endpoint.client_certificate.is_some(),
            client_certificate_from: endpoint.client_certificate_from.clone(),
            direct: endpoint.direct,
        }
    }
}

impl StoredEndpoint {
    /// The endpoint, with its secrets given again.
    pub fn with_secrets(self, secrets: Secrets) -> Endpoint {
        Endpoint {
            uri: self.uri,
            username: self.username,
            password: secrets.password,
            password_from: self.password_from,
            auth_source: self.auth_source,
            tls: self.tls,
            client_certificate: secrets.client_certificate,
            client_certificate_from: self.client_certificate_from,
            direct: self.direct,
        }
    }
}

impl From<&Plan> for StoredPlan {
    fn from(plan: &Plan) -> Self {
        Self {
            name: plan.name.clone(),
            source: (&plan.source).into(),
            destination: (&plan.destination).into(),
            options: plan.options.clone(),
        }
    }
}

impl StoredPlan {
    /// The plan, with the secrets of source and destination given again.
    pub fn with_secrets(self, source: Secrets, destination: Secrets) -> Plan {
        Plan {
            name: self.name,
            source: self.source.with_secrets(source),
            destination: self.destination.with_secrets(destination),
            options: self.options,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    #[test]
    fn a_password_is_never_written() {
        let source = Endpoint {
            username: Some("ferry".into()),
            password: Some(Secret::new("hunter2".into())),
            password_from: Some(PasswordFrom::Env("SRC".into())),
            ..Endpoint::plain("mongodb://a:1/")
        };
        let plan = Plan {
            name: "orders".into(),
            source,
            destination: Endpoint::plain("mongodb://b:1/"),
            options: Options::default(),
        };
        let text = serde_json::to_string(&StoredPlan::from(&plan)).unwrap();
        assert!(!text.contains("hunter2"), "{text}");
        let stored: StoredPlan = serde_json::from_str(&text).unwrap();
        assert!(stored.source.has_password && !stored.destination.has_password);
        let again = stored.with_secrets(
            Secrets { password: Some(Secret::new("again".into())), ..Secrets::default() },
            Secrets::default(),
        );
        assert_eq!(again.source.password_from, Some(PasswordFrom::Env("SRC".into())));
        assert_eq!(again.source.password.unwrap().expose(), "again");
    }
}
