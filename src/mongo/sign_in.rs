//! Signing in: by password (SCRAM), by client certificate (X.509), or not at all; and why it was refused.

use super::{
    cluster::DriverError,
    connect::{Route, STAGE_PATIENCE},
    errors::code,
    options,
    probe::{Greeting, Host, Rejection, Stage},
};
use crate::{
    model::{Problem, Side},
    pem,
};
use bson::doc;
use mongodb::{
    Client,
    error::ErrorKind,
    options::{ClientOptions, ServerAddress},
};
use tokio::time::timeout;

impl Route {
    /// True when the client certificate is the login: it is given without a user, and the server wants a login.
    pub fn signs_in_by_certificate(&self, greeting: &Greeting) -> bool {
        let endpoint = &self.endpoint;
        endpoint.client_certificate.is_some() && endpoint.username.is_none() && greeting.talk.needs_login != Some(false)
    }

    /// Who signs in and how, for the report: `ferry@admin, SCRAM-SHA-256`.
    pub fn login(&self, greeting: &Greeting) -> String {
        if self.signs_in_by_certificate(greeting) {
            return format!("{}, X.509", self.certificate_user().unwrap_or_default());
        }
        let Some(user) = &self.endpoint.username else { return "the server runs without authentication".into() };
        let mechanisms = &greeting.talk.mechanisms;
        // The driver takes the stronger one that the user has.
        let strongest = ["SCRAM-SHA-256", "SCRAM-SHA-1"].into_iter().find(|name| mechanisms.iter().any(|m| m == name));
        let how = strongest.map_or_else(String::new, |name| format!(", {name}"));
        format!("{user}@{}{how}", self.endpoint.auth_source.as_deref().unwrap_or("admin"))
    }

    /// The name of the user in `$external` that the client certificate stands for.
    fn certificate_user(&self) -> Option<String> {
        let pem = self.endpoint.client_certificate.as_ref()?;
        Some(pem::inspect_identity(pem.expose()).ok()?.first()?.user_name.clone())
    }

    /// The options with the login that fits the server.
    pub(super) fn options_for(&self, greeting: &Greeting) -> ClientOptions {
        let mut options = self.options.clone();
        if self.signs_in_by_certificate(greeting) {
            options.credential = Some(options::by_certificate());
        }
        options
    }

    /// Signs in on the host that greeted (on its primary when that host is an arbiter, which knows no users).
    pub async fn sign_in(&self, greeting: &Greeting) -> Result<(), Rejection> {
        let hello = &greeting.talk.hello;
        let host = if hello.arbiter && !self.endpoint.direct {
            hello.primary.as_deref().and_then(Host::parse).unwrap_or_else(|| greeting.host.clone())
        } else {
            greeting.host.clone()
        };
        let by_certificate = self.signs_in_by_certificate(greeting);
        if greeting.talk.needs_login == Some(true) && self.endpoint.username.is_none() && !by_certificate {
            let problem = Problem::before_writing(
                self.side,
                format!("{host} requires a login, and no user is given"),
                "listDatabases without a login was refused (13 Unauthorized)",
                "Give the user and its password.",
            );
            return Err(Rejection::new(Stage::SignIn, problem));
        }
        let mut options = self.options_for(greeting);
        options.hosts = vec![ServerAddress::Tcp { host: host.name.clone(), port: Some(host.port) }];
        options.direct_connection = Some(true);
        options.repl_set_name = None;
        options.server_selection_timeout = Some(STAGE_PATIENCE);
        let failed = |error: &DriverError| self.refused(greeting, &host, error);
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
            Err(_) => Err(Rejection::new(Stage::SignIn, self.too_slow("signing in"))),
        }
    }

    fn refused(&self, greeting: &Greeting, host: &Host, error: &DriverError) -> Rejection {
        let refused = matches!(error.kind.as_ref(), ErrorKind::Authentication { .. }) || code(error) == Some(18);
        if refused && self.signs_in_by_certificate(greeting) {
            return self.unknown_certificate(host, error);
        }
        let user = self.endpoint.username.as_deref().unwrap_or_default();
        let database = self.endpoint.auth_source.as_deref().unwrap_or("admin");
        let problem = |what: String, why: String, fix: String| Problem::before_writing(self.side, what, why, fix);
        let cause = match code(error) {
            _ if refused && greeting.talk.needs_login == Some(false) => problem(
                format!("{host} knows no user {user}: it runs without authentication"),
                format!("it answers without a login and refused this one ({error})"),
                "Leave user and password empty.".into(),
            ),
            _ if refused => problem(
                format!("{host} refused the login of {user}@{database}"),
                format!("{error}; the server does not say whether user, password or auth database is wrong"),
                format!(
                    "Check the password, the user name, that the user was created in the database {database}, and that \
                     its authenticationRestrictions allow {}.",
                    greeting.talk.seen_as.as_deref().unwrap_or("this host")
                ),
            ),
            Some(13) => {
                problem(format!("{host} requires a login"), error.to_string(), "Give a user and its password.".into())
            }
            Some(13436) => problem(
                format!("{host} is an arbiter or not ready, and holds no data"),
                error.to_string(),
                "Give a data-bearing member, or leave out direct = true.".into(),
            ),
            _ => self.driver_problem("signing in", error),
        };
        Rejection::new(Stage::SignIn, cause)
    }

    fn unknown_certificate(&self, host: &Host, error: &DriverError) -> Rejection {
        let user = self.certificate_user().unwrap_or_default();
        let problem = Problem::before_writing(
            self.side,
            format!("{host} knows no user for the client certificate {user}"),
            format!("{error}; a user of exactly that name in the database $external is needed"),
            "As a user administrator create it, then run the checks again.",
        );
        let roles: &[&str] = match self.side {
            Side::Destination => &["readWriteAnyDatabase", "dbAdminAnyDatabase", "clusterMonitor"],
            _ => &["readAnyDatabase", "clusterMonitor"],
        };
        let roles: Vec<String> = roles.iter().map(|role| format!("{{role: '{role}', db: 'admin'}}")).collect();
        let name = user.replace('\\', "\\\\").replace('\'', "\\'");
        let command =
            format!("db.getSiblingDB('$external').runCommand({{createUser: '{name}', roles: [{}]}})", roles.join(", "));
        Rejection::new(Stage::SignIn, problem).with(Some(command))
    }
}
