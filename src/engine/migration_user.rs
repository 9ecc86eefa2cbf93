//! The temporary user of a migration on the destination: least privilege, from this host's address only, dropped at
//! cleanup by the operator's login (a user cannot drop itself).
//!
//! Where the operator's login may not manage users, or the server knows none, the migration runs as the operator.

use crate::{
    model::{Endpoint, Side},
    mongo::{Cluster, connect::connect, errors::explain, privileges, users},
    secret::Secret,
};
use bson::Uuid;
use std::time::Duration;
use tokio::time::timeout;

/// What writing needs (OPLOG.md C.2).
const ROLES: [&str; 3] = ["readWriteAnyDatabase", "dbAdminAnyDatabase", "clusterMonitor"];
/// What the operator must be allowed on `admin`.
const MANAGING: [&str; 5] = ["createUser", "dropUser", "grantRole", "changePassword", "setAuthenticationRestriction"];
/// Patience with each step; the start of a migration waits for it.
const PATIENCE: Duration = Duration::from_secs(10);

/// A user that was created, and the login that may drop it.
#[derive(Debug)]
pub struct MigrationUser {
    name: String,
    operator: Cluster,
}

/// The destination as the migration uses it.
#[derive(Debug)]
pub struct Account {
    /// Signed in as the temporary user, or as the operator.
    pub destination: Cluster,
    /// The temporary user, when there is one.
    pub user: Option<MigrationUser>,
    /// Which of both, and why, for the event log and the report.
    pub note: String,
}

/// Creates the user `mongoferry_<migration>` and signs in as it. Never fails: the reason for using the operator's own
/// login is in the note. `seen_as` are the addresses that the destination's members see this host under.
pub async fn open(migration: &str, operator: &Cluster, endpoint: &Endpoint, seen_as: &[String]) -> Account {
    let own = |why: String| Account {
        destination: operator.clone(),
        user: None,
        note: format!("the destination is written with the operator's own login: {why}"),
    };
    let grants = match privileges::read(operator).await {
        Ok(grants) => grants,
        Err(error) => return own(format!("its rights cannot be read ({})", explain(&error))),
    };
    if grants.is_anonymous() {
        return own("the server runs without authentication".into());
    }
    if let Some(missing) = MANAGING.iter().find(|action| !grants.allows(Some("admin"), action)) {
        return own(format!("it may not manage users ({missing} on admin is missing)"));
    }
    // The same for every run of this migration: what a killed run left behind is taken over.
    let name = format!("mongoferry_{migration}");
    let password = Secret::new(format!("{}{}", Uuid::new(), Uuid::new()));
    match timeout(PATIENCE, users::create(operator, &name, &password, &ROLES, seen_as)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return own(format!("the user {name} could not be created ({})", explain(&error))),
        Err(_) => return own(format!("creating the user {name} took longer than {} s", PATIENCE.as_secs())),
    }
    let user = MigrationUser { name: name.clone(), operator: operator.clone() };
    let endpoint = Endpoint {
        username: Some(name.clone()),
        password: Some(password),
        auth_source: Some("admin".into()),
        ..endpoint.clone()
    };
    match connect(Side::Destination, &endpoint).await {
        Ok(destination) => {
            let from = if seen_as.is_empty() { String::new() } else { format!(", from {} only", seen_as.join(" or ")) };
            let note = format!(
                "the destination is written as the temporary user {name} ({}{from}); it is dropped at cleanup",
                ROLES.join(", ")
            );
            Account { destination, user: Some(user), note }
        }
        Err(problem) => {
            let dropped = match user.drop_it().await {
                Ok(()) => String::new(),
                Err(left) => format!("; {left}"),
            };
            own(format!("the temporary user {name} cannot sign in ({}){dropped}", problem.what))
        }
    }
}

impl MigrationUser {
    /// Its name in `admin`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The destination as the operator, who remains when the user is gone.
    pub fn operator(&self) -> &Cluster {
        &self.operator
    }

    /// Drops it; dropping it twice does no harm. The error says what is left to the operator.
    pub async fn drop_it(&self) -> Result<(), String> {
        let left = |why: String| format!("left for you: db.getSiblingDB('admin').dropUser('{}') ({why})", self.name);
        match timeout(PATIENCE, users::remove(&self.operator, &self.name)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(left(explain(&error))),
            Err(_) => Err(left(format!("no answer within {} s", PATIENCE.as_secs()))),
        }
    }
}
