//! Users that mongoferry creates and drops on a destination.

use super::{
    cluster::{Cluster, DriverError},
    errors::code,
};
use crate::secret::Secret;
use bson::{Document, doc};

/// The server's "no such user".
const USER_NOT_FOUND: i32 = 11;
/// The server's "it exists already".
const USER_EXISTS: i32 = 51003;

/// Creates the user `name` in `admin` with `roles`, allowed to sign in from the addresses `sources` only (from anywhere
/// when there are none). One of that name that exists already gets this password, these roles and these addresses.
pub async fn create(
    cluster: &Cluster,
    name: &str,
    password: &Secret,
    roles: &[&str],
    sources: &[String],
) -> Result<(), DriverError> {
    let command = |verb: &str| -> Document {
        let mut command = doc! {
            verb: name,
            "pwd": password.expose(),
            "roles": roles.to_vec(),
            "writeConcern": { "w": "majority", "wtimeout": 8_000 },
        };
        if !sources.is_empty() {
            command.insert("authenticationRestrictions", vec![doc! { "clientSource": sources.to_vec() }]);
        }
        command
    };
    let admin = cluster.login.database("admin");
    match admin.run_command(command("createUser")).await {
        Err(error) if code(&error) == Some(USER_EXISTS) => admin.run_command(command("updateUser")).await.map(drop),
        created => created.map(drop),
    }
}

/// Drops the user `name` of `admin`; one that is gone already is no error.
pub async fn remove(cluster: &Cluster, name: &str) -> Result<(), DriverError> {
    match cluster.login.database("admin").run_command(doc! { "dropUser": name }).await {
        Err(error) if code(&error) == Some(USER_NOT_FOUND) => Ok(()),
        dropped => dropped.map(drop),
    }
}
