//! Sets that demand something of their clients: a login, or TLS.

use super::certificates::{Authority, Identity};
use bson::{Document, doc};
use mongodb::{
    Client,
    options::{ClientOptions, Credential, Tls as DriverTls, TlsOptions},
};
use mongoferry::{
    demo::{
        ReplicaSet, SetOptions,
        releases::{self, Release},
    },
    model::{Endpoint, Tls},
    secret::Secret,
};
use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};
use tempfile::TempDir;

pub const PASSWORD: &str = "correct horse";

/// A one-member set with authentication and the user `root`. Every user has [`PASSWORD`].
pub struct Guarded {
    pub set: ReplicaSet,
    tls: Option<TlsFiles>,
    _folder: TempDir,
}

struct TlsFiles {
    ca: String,
    ca_path: PathBuf,
    client_path: PathBuf,
}

/// How a set uses TLS: who signed its certificate, for which name, and whether clients must show one of their own.
pub struct Encrypted<'a> {
    pub authority: &'a Authority,
    pub demands_certificates: bool,
}

impl Guarded {
    pub async fn start() -> Self {
        Self::start_with("rsG", None, None).await
    }

    /// A set of that release (the default one without), with TLS when asked for. Its member is `localhost`.
    pub async fn start_with(name: &str, release: Option<Release>, encrypted: Option<Encrypted<'_>>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("key");
        fs::write(&key, "bm90LXJlYWxseS1hLXNlY3JldA").unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        let mut options = SetOptions::single(name);
        options.arguments = vec!["--keyFile".into(), key.display().to_string()];
        let tls = encrypted.map(|encrypted| {
            let identity = encrypted.authority.server(&["localhost"], (2020, 2040));
            options.arguments.extend(tls_arguments(&folder, &encrypted.authority.pem, &identity));
            if !encrypted.demands_certificates {
                options.arguments.push("--tlsAllowConnectionsWithoutCertificates".into());
            }
            let client_path = folder.path().join("client.pem");
            fs::write(&client_path, encrypted.authority.client("test").both()).unwrap();
            TlsFiles { ca: encrypted.authority.pem.clone(), ca_path: folder.path().join("ca.pem"), client_path }
        });
        let mongod = releases::mongod(release, &|_| {}).unwrap();
        let set = ReplicaSet::start(&mongod, &options).await.unwrap();
        // The localhost exception allows the first user.
        let create = doc! { "createUser": "root", "pwd": PASSWORD, "roles": ["root"] };
        set.client().await.unwrap().database("admin").run_command(create).await.unwrap();
        let guarded = Self { set, tls, _folder: folder };
        if guarded.tls.is_some() {
            guarded.run(doc! { "setParameter": 1, "tlsMode": "requireTLS" }).await;
            let reply = guarded.client().await.database("admin").run_command(doc! { "replSetGetConfig": 1 }).await;
            let reconfigured = renamed(reply.unwrap(), guarded.set.ports()[0]);
            guarded.run(doc! { "replSetReconfig": reconfigured }).await;
        }
        guarded
    }

    pub fn uri(&self) -> String {
        match &self.tls {
            None => self.set.uri(),
            Some(_) => format!("mongodb://localhost:{}/", self.set.ports()[0]),
        }
    }

    /// With that user's login.
    pub fn endpoint(&self, user: &str) -> Endpoint {
        Endpoint { username: Some(user.into()), password: Some(Secret::new(PASSWORD.into())), ..self.anonymous() }
    }

    /// Without a login.
    pub fn anonymous(&self) -> Endpoint {
        let tls = self.tls.as_ref().map_or(Tls::Off, |tls| Tls::PrivateCa { pem: tls.ca.clone() });
        Endpoint { tls, ..Endpoint::plain(self.uri()) }
    }

    /// As `root`.
    pub async fn client(&self) -> Client {
        let mut options = ClientOptions::parse(self.uri()).await.unwrap();
        options.credential =
            Some(Credential::builder().username("root".to_string()).password(PASSWORD.to_string()).build());
        if let Some(tls) = &self.tls {
            let files = TlsOptions::builder().ca_file_path(tls.ca_path.clone());
            let files = files.cert_key_file_path(tls.client_path.clone()).build();
            options.tls = Some(DriverTls::Enabled(files));
            options.direct_connection = Some(true);
        }
        Client::with_options(options).unwrap()
    }

    pub async fn run(&self, command: Document) {
        self.client().await.database("admin").run_command(command).await.unwrap();
    }

    pub async fn create_user(&self, user: &str, roles: &[&str]) {
        self.run(doc! { "createUser": user, "pwd": PASSWORD, "roles": roles }).await;
    }

    pub async fn grant_on(&self, user: &str, role: &str, db: &str) {
        self.run(doc! { "grantRolesToUser": user, "roles": [{ "role": role, "db": db }] }).await;
    }

    /// Runs what mongoferry printed, as `root` in a shell would: `db.getSiblingDB('D').grantRolesToUser('U', […])` or
    /// `db.getSiblingDB('D').runCommand({createUser: …})`.
    pub async fn run_printed(&self, command: &str) {
        let client = self.client().await;
        run_printed(&client, command).await;
    }
}

/// The printed command, taken apart and sent by the driver.
pub async fn run_printed(client: &Client, command: &str) {
    let rest = command.strip_prefix("db.getSiblingDB(").unwrap_or_else(|| panic!("not understood: {command}"));
    let (db, rest) = rest.split_once(").").unwrap();
    let (method, arguments) = rest.split_once('(').unwrap();
    let arguments = arguments.strip_suffix(')').unwrap();
    let parsed: Vec<bson::Bson> = as_json(arguments);
    let command = match (method, parsed.as_slice()) {
        ("grantRolesToUser", [user, roles]) => doc! { "grantRolesToUser": user.clone(), "roles": roles.clone() },
        ("runCommand", [bson::Bson::Document(command)]) => command.clone(),
        other => panic!("not understood: {other:?}"),
    };
    client.database(db.trim_matches('\'')).run_command(command).await.unwrap();
}

/// Arguments in shell syntax: keys without quotes, texts in single quotes.
fn as_json(arguments: &str) -> Vec<bson::Bson> {
    let mut json = String::new();
    let (mut in_text, mut characters) = (false, arguments.chars().peekable());
    while let Some(character) = characters.next() {
        match character {
            '\\' if in_text => match characters.next().unwrap() {
                '\'' => json.push('\''),
                other => json.extend(['\\', other]),
            },
            '\'' => {
                in_text = !in_text;
                json.push('"');
            }
            '"' if in_text => json.push_str("\\\""),
            letter if !in_text && letter.is_ascii_alphabetic() => {
                let mut word = String::from(letter);
                while characters.peek().is_some_and(|next| next.is_ascii_alphanumeric()) {
                    word.push(characters.next().unwrap());
                }
                json += &format!("\"{word}\"");
            }
            other => json.push(other),
        }
    }
    let value: serde_json::Value = serde_json::from_str(&format!("[{json}]")).unwrap_or_else(|e| panic!("{e}: {json}"));
    value.as_array().unwrap().iter().map(|value| bson::Bson::try_from(value.clone()).unwrap()).collect()
}

fn tls_arguments(folder: &TempDir, ca: &str, identity: &Identity) -> Vec<String> {
    let (ca_path, server_path) = (folder.path().join("ca.pem"), folder.path().join("server.pem"));
    fs::write(&ca_path, ca).unwrap();
    fs::write(&server_path, identity.both()).unwrap();
    let paths = [("--tlsCAFile", &ca_path), ("--tlsCertificateKeyFile", &server_path)];
    let mut arguments = vec!["--tlsMode".to_string(), "preferTLS".to_string()];
    arguments.extend(paths.into_iter().flat_map(|(name, path)| [name.to_string(), path.display().to_string()]));
    arguments
}

/// The configuration in which the only member is called `localhost`, as its certificate says.
fn renamed(reply: Document, port: u16) -> Document {
    let mut config = reply.get_document("config").unwrap().clone();
    config.insert("version", config.get_i32("version").unwrap() + 1);
    let members = config.get_array_mut("members").unwrap();
    members[0].as_document_mut().unwrap().insert("host", format!("localhost:{port}"));
    config
}

/// A one-member set that requires TLS; its certificate is for `localhost`, its member is named `127.0.0.1`.
pub struct TlsSet {
    pub port: u16,
    ca_path: PathBuf,
    _set: ReplicaSet,
    _folder: TempDir,
}

impl TlsSet {
    /// A set of that release with this server certificate, and clients verified against `ca`.
    pub async fn start(release: Release, ca: &str, identity: &Identity) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut options = SetOptions::single("rsT");
        options.arguments = tls_arguments(&folder, ca, identity);
        options.arguments.push("--tlsAllowConnectionsWithoutCertificates".into());
        let mongod = releases::mongod(Some(release), &|_| {}).unwrap();
        let set = ReplicaSet::start(&mongod, &options).await.unwrap();
        let admin = set.client().await.unwrap().database("admin");
        admin.run_command(doc! { "setParameter": 1, "tlsMode": "requireTLS" }).await.unwrap();
        Self { port: set.ports()[0], ca_path: folder.path().join("ca.pem"), _set: set, _folder: folder }
    }

    /// From now on the member is called `localhost`, as its certificate says.
    pub async fn rename_member(&self) {
        let uri = format!("mongodb://localhost:{}/?directConnection=true", self.port);
        let mut options = ClientOptions::parse(uri).await.unwrap();
        options.tls = Some(DriverTls::Enabled(TlsOptions::builder().ca_file_path(self.ca_path.clone()).build()));
        let admin = Client::with_options(options).unwrap().database("admin");
        let reply = admin.run_command(doc! { "replSetGetConfig": 1 }).await.unwrap();
        admin.run_command(doc! { "replSetReconfig": renamed(reply, self.port) }).await.unwrap();
    }
}
