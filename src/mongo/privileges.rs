//! What the signed-in user may do, by name, from `connectionStatus` (needs no privilege, OPLOG.md C).

use super::cluster::{Cluster, DriverError};
use bson::{RawDocument, rawdoc};

/// The signed-in users, their roles and privileges.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants {
    /// `(user, database)`; empty without a login.
    pub users: Vec<(String, String)>,
    /// `role` or `role@database` for roles outside `admin`.
    pub roles: Vec<String>,
    privileges: Vec<Privilege>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Privilege {
    resource: Resource,
    actions: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Resource {
    Any,
    Cluster,
    // An empty part stands for every name.
    Collection { db: String, coll: String },
    Other,
}

/// Reads the grants of the connection.
pub async fn read(cluster: &Cluster) -> Result<Grants, DriverError> {
    let reply = cluster.run("admin", rawdoc! { "connectionStatus": 1, "showPrivileges": true }).await?;
    Ok(Grants::parse(reply.get_document("authInfo")?)?)
}

impl Grants {
    fn parse(info: &RawDocument) -> Result<Self, bson::error::Error> {
        let mut grants = Self::default();
        let documents = |field: &str| -> Result<Vec<&RawDocument>, bson::error::Error> {
            let Ok(list) = info.get_array(field) else { return Ok(Vec::new()) };
            Ok(list.into_iter().filter_map(|value| value.ok()?.as_document()).collect())
        };
        let text = |document: &RawDocument, field: &str| document.get_str(field).unwrap_or_default().to_string();
        for user in documents("authenticatedUsers")? {
            grants.users.push((text(user, "user"), text(user, "db")));
        }
        for role in documents("authenticatedUserRoles")? {
            grants.roles.push(match text(role, "db").as_str() {
                "admin" => text(role, "role"),
                db => format!("{}@{db}", text(role, "role")),
            });
        }
        for privilege in documents("authenticatedUserPrivileges")? {
            let actions = privilege.get_array("actions").ok();
            let actions = actions.into_iter().flatten().filter_map(|action| action.ok()?.as_str().map(String::from));
            let resource = privilege.get_document("resource").map_or(Resource::Other, Resource::parse);
            grants.privileges.push(Privilege { resource, actions: actions.collect() });
        }
        Ok(grants)
    }

    /// Nobody signed in: either the server runs without authentication, or nothing is allowed at all.
    pub fn is_anonymous(&self) -> bool {
        self.users.is_empty()
    }

    /// True when `action` is granted on every ordinary collection of `db`; of every user database for `None`.
    pub fn allows(&self, db: Option<&str>, action: &str) -> bool {
        let covers = |resource: &Resource| match resource {
            Resource::Any => true,
            Resource::Collection { db: granted, coll } if coll.is_empty() => granted.is_empty() || db == Some(granted),
            _ => false,
        };
        self.grants(action, covers)
    }

    /// True when `action` is granted on the cluster.
    pub fn allows_on_cluster(&self, action: &str) -> bool {
        self.grants(action, |resource| matches!(resource, Resource::Any | Resource::Cluster))
    }

    fn grants(&self, action: &str, covers: impl Fn(&Resource) -> bool) -> bool {
        let has = |privilege: &Privilege| privilege.actions.iter().any(|a| a == action || a == "anyAction");
        self.privileges.iter().any(|privilege| has(privilege) && covers(&privilege.resource))
    }

    /// The line that gives roles, each of a database, to the signed-in user.
    pub fn grant_command(&self, roles: &[(&str, &str)]) -> Option<String> {
        let (user, db) = self.users.first()?;
        let quote = |text: &str| text.replace('\\', "\\\\").replace('\'', "\\'");
        let role = |(role, db): &(&str, &str)| format!("{{role: '{role}', db: '{}'}}", quote(db));
        let roles: Vec<String> = roles.iter().map(role).collect();
        Some(format!("db.getSiblingDB('{}').grantRolesToUser('{}', [{}])", quote(db), quote(user), roles.join(", ")))
    }
}

impl Resource {
    fn parse(resource: &RawDocument) -> Self {
        if resource.get_bool("anyResource").unwrap_or(false) {
            return Resource::Any;
        }
        if resource.get_bool("cluster").unwrap_or(false) {
            return Resource::Cluster;
        }
        match (resource.get_str("db"), resource.get_str("collection")) {
            (Ok(db), Ok(coll)) => Resource::Collection { db: db.into(), coll: coll.into() },
            _ => Resource::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn privileges_match_by_resource() {
        let info = rawdoc! {
            "authenticatedUsers": [{ "user": "o'ferry", "db": "admin" }],
            "authenticatedUserRoles": [{ "role": "readWrite", "db": "shop" }, { "role": "clusterMonitor", "db": "admin" }],
            "authenticatedUserPrivileges": [
                { "resource": { "db": "shop", "collection": "" }, "actions": ["insert", "find"] },
                { "resource": { "db": "shop", "collection": "system.js" }, "actions": ["remove"] },
                { "resource": { "db": "", "collection": "" }, "actions": ["collStats"] },
                { "resource": { "cluster": true }, "actions": ["serverStatus"] },
            ],
        };
        let grants = Grants::parse(&info).expect("grants");
        assert!(grants.allows(Some("shop"), "insert"));
        assert!(!grants.allows(Some("crm"), "insert"));
        assert!(!grants.allows(None, "insert"));
        assert!(!grants.allows(Some("shop"), "remove"));
        assert!(grants.allows(None, "collStats") && grants.allows(Some("crm"), "collStats"));
        assert!(grants.allows_on_cluster("serverStatus") && !grants.allows_on_cluster("find"));
        assert_eq!(grants.roles, ["readWrite@shop", "clusterMonitor"]);
        assert_eq!(
            grants.grant_command(&[("clusterMonitor", "admin")]).as_deref(),
            Some("db.getSiblingDB('admin').grantRolesToUser('o\\'ferry', [{role: 'clusterMonitor', db: 'admin'}])")
        );
    }
}
