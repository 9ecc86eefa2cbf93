//! Users and roles of a cluster. They are never carried over (nobody can read a password back), but they are listed by
//! name, with a mongosh script that creates them on another cluster.

use super::{Cluster, privileges};
use bson::{Bson, Document, doc, rawdoc};
use std::collections::BTreeSet;

/// Roles and users that somebody created, by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Accounts {
    /// Roles as `role@db`, in an order in which each stands behind those that it inherits; `None` when this login may not
    /// list them.
    pub roles: Option<Vec<String>>,
    /// Users as `user@db`; `None` when this login may not list them.
    pub users: Option<Vec<String>>,
    /// One mongosh line per role and user; passwords are asked for.
    pub script: Option<String>,
}

impl Accounts {
    /// Those of a cluster, without the user that asks: it migrates, and nothing else.
    pub async fn read(cluster: &Cluster) -> Self {
        let (roles, users, asking) = tokio::join!(roles(cluster), users(cluster), privileges::read(cluster));
        let asking = asking.ok().and_then(|grants| grants.users.into_iter().next());
        Self::of(roles, users, asking.as_ref().map(|(user, db)| (user.as_str(), db.as_str())))
    }

    fn of(roles: Option<Vec<Document>>, users: Option<Vec<Document>>, except: Option<(&str, &str)>) -> Self {
        let roles = roles.map(in_order_of_inheritance);
        let users = users.map(|mut users| {
            users.retain(|user| user.get_str("user").ok().zip(user.get_str("db").ok()) != except);
            users
        });
        let lines: Vec<String> = roles
            .iter()
            .flatten()
            .filter_map(create_role)
            .chain(users.iter().flatten().filter_map(create_user))
            .collect();
        let named = |documents: &Vec<Document>, kind| documents.iter().map(|document| name(document, kind)).collect();
        Self {
            roles: roles.as_ref().map(|roles| named(roles, "role")),
            users: users.as_ref().map(|users| named(users, "user")),
            script: (!lines.is_empty()).then(|| lines.join("\n")),
        }
    }
}

async fn users(cluster: &Cluster) -> Option<Vec<Document>> {
    let reply = cluster.run("admin", rawdoc! { "usersInfo": { "forAllDBs": true } }).await.ok()?;
    let users = reply.get_array("users").ok()?.into_iter();
    users.map(|user| Document::try_from(user.ok()?.as_document()?).ok()).collect()
}

async fn roles(cluster: &Cluster) -> Option<Vec<Document>> {
    // `rolesInfo` looks at one database only.
    let all = rawdoc! { "find": "system.roles", "sort": { "_id": 1 }, "batchSize": 100_000, "singleBatch": true };
    let reply = cluster.run("admin", all).await.ok()?;
    let roles = reply.get_document("cursor").ok()?.get_array("firstBatch").ok()?.into_iter();
    roles.map(|role| Document::try_from(role.ok()?.as_document()?).ok()).collect()
}

fn name(document: &Document, kind: &str) -> String {
    format!("{}@{}", document.get_str(kind).unwrap_or("?"), document.get_str("db").unwrap_or("?"))
}

/// A role can be created only after those that it inherits. (Servers refuse cycles.)
fn in_order_of_inheritance(mut left: Vec<Document>) -> Vec<Document> {
    let mut ordered: Vec<Document> = Vec::new();
    while !left.is_empty() {
        let waiting: BTreeSet<String> = left.iter().map(|role| name(role, "role")).collect();
        let (ready, rest): (Vec<_>, Vec<_>) = left.into_iter().partition(|role| {
            let inherited = role.get_array("roles").into_iter().flatten().filter_map(Bson::as_document);
            inherited.into_iter().all(|inherited| !waiting.contains(&name(inherited, "role")))
        });
        if ready.is_empty() {
            ordered.extend(rest);
            break;
        }
        ordered.extend(ready);
        left = rest;
    }
    ordered
}

fn create_role(role: &Document) -> Option<String> {
    let mut command = doc! { "createRole": role.get_str("role").ok()? };
    for field in ["privileges", "roles", "authenticationRestrictions"] {
        command.extend(role.get(field).map(|value| (field.to_string(), value.clone())));
    }
    Some(line(role, &shell_fields(&command)))
}

fn create_user(user: &Document) -> Option<String> {
    let name = user.get_str("user").ok()?;
    // X.509, LDAP and Kerberos users have no password here.
    let is_external = matches!(user.get_str("db"), Ok("$external"));
    let password = if is_external { "" } else { ", pwd: passwordPrompt()" };
    let mut rest = Document::new();
    for field in ["roles", "mechanisms", "customData"] {
        rest.extend(user.get(field).map(|value| (field.to_string(), value.clone())));
    }
    if is_external {
        rest.remove("mechanisms");
    }
    Some(line(user, &format!("createUser: {}{password}, {}", shell(&Bson::from(name)), shell_fields(&rest))))
}

fn line(of: &Document, command: &str) -> String {
    format!("db.getSiblingDB({}).runCommand({{{command}}})", shell(&Bson::from(of.get_str("db").unwrap_or("admin"))))
}

/// A value as mongosh reads it.
fn shell(value: &Bson) -> String {
    match value {
        Bson::String(text) => quoted(text),
        Bson::Document(document) => format!("{{{}}}", shell_fields(document)),
        Bson::Array(values) => format!("[{}]", values.iter().map(shell).collect::<Vec<_>>().join(", ")),
        Bson::Boolean(_) | Bson::Int32(_) | Bson::Double(_) | Bson::Null => {
            value.clone().into_relaxed_extjson().to_string()
        }
        other => {
            format!("EJSON.deserialize({})", shell_json(&other.clone().into_canonical_extjson()))
        }
    }
}

fn shell_json(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => quoted(text),
        serde_json::Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| format!("{}: {}", quoted(name), shell_json(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

fn shell_fields(document: &Document) -> String {
    let is_plain = |name: &str| {
        !name.is_empty()
            && name.chars().all(|c| c.is_ascii_alphanumeric())
            && name.starts_with(|c: char| c.is_ascii_alphabetic())
    };
    let field = |(name, value): (&String, &Bson)| {
        let name = if is_plain(name) { name.clone() } else { quoted(name) };
        format!("{name}: {}", shell(value))
    };
    document.iter().map(field).collect::<Vec<_>>().join(", ")
}

fn quoted(text: &str) -> String {
    let mut out = String::from("'");
    for character in text.chars() {
        match character {
            '\\' | '\'' => out.extend(['\\', character]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            control if control.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(control))),
            other => out.push(other),
        }
    }
    out.push('\'');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_come_behind_what_they_inherit_and_users_last() {
        let role = |name: &str, inherits: &[&str]| {
            let roles: Vec<_> = inherits.iter().map(|role| doc! { "role": *role, "db": "shop" }).collect();
            doc! { "_id": format!("shop.{name}"), "role": name, "db": "shop", "privileges": [], "roles": roles }
        };
        let users = vec![
            doc! { "user": "ferry", "db": "admin", "roles": [] },
            doc! { "user": "ferry", "db": "shop", "roles": [] },
            doc! { "user": "CN=o'b", "db": "$external", "roles": [], "mechanisms": ["external"] },
        ];
        let roles = vec![role("a", &["b"]), role("b", &["c", "read"]), role("c", &[])];
        let accounts = Accounts::of(Some(roles), Some(users), Some(("ferry", "admin")));
        assert_eq!(accounts.roles.as_deref(), Some(["c@shop", "b@shop", "a@shop"].map(String::from).as_slice()));
        assert_eq!(accounts.users.as_deref(), Some(["ferry@shop", "CN=o'b@$external"].map(String::from).as_slice()));
        let script = accounts.script.unwrap();
        let lines: Vec<&str> = script.lines().collect();
        assert_eq!(lines[0], "db.getSiblingDB('shop').runCommand({createRole: 'c', privileges: [], roles: []})");
        assert_eq!(
            lines[3],
            "db.getSiblingDB('shop').runCommand({createUser: 'ferry', pwd: passwordPrompt(), roles: []})"
        );
        assert_eq!(lines[4], "db.getSiblingDB('$external').runCommand({createUser: 'CN=o\\'b', roles: []})");
    }

    #[test]
    fn what_may_not_be_listed_is_not_called_empty() {
        assert_eq!(Accounts::of(None, None, None), Accounts::default());
        assert_eq!(Accounts::of(Some(Vec::new()), Some(Vec::new()), None).script, None);
    }

    #[test]
    fn values_are_written_for_the_shell() {
        let date = bson::DateTime::from_millis(0);
        let value = doc! { "a.b": 1, "n": 2.5, "t": true, "x": Bson::Null, "at": date, "text": "l\n'q'" };
        assert_eq!(
            shell(&Bson::Document(value)),
            "{'a.b': 1, n: 2.5, t: true, x: null, at: EJSON.deserialize({'$date': {'$numberLong': '0'}}), text: \
             'l\\n\\'q\\''}"
        );
    }
}
