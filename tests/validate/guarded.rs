//! Sets that demand something of their clients: a login, or TLS.

use bson::{Document, doc};
use mongodb::{
    Client,
    options::{ClientOptions, Credential, Tls as DriverTls, TlsOptions},
};
use mongoferry::{
    demo::{ReplicaSet, SetOptions, releases},
    model::Endpoint,
    secret::Secret,
};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

pub const PASSWORD: &str = "correct horse";

/// A one-member set with authentication and the user `root`. Every user has [`PASSWORD`].
pub struct Guarded {
    set: ReplicaSet,
    _folder: tempfile::TempDir,
}

impl Guarded {
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("key");
        fs::write(&key, "bm90LXJlYWxseS1hLXNlY3JldA").unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        let mut options = SetOptions::single("rsG");
        options.arguments = vec!["--keyFile".into(), key.display().to_string()];
        let mongod = releases::mongod(None, &|_| {}).unwrap();
        let set = ReplicaSet::start(&mongod, &options).await.unwrap();
        // The localhost exception allows the first user.
        let create = doc! { "createUser": "root", "pwd": PASSWORD, "roles": ["root"] };
        set.client().await.unwrap().database("admin").run_command(create).await.unwrap();
        Self { set, _folder: folder }
    }

    pub fn endpoint(&self, user: &str) -> Endpoint {
        Endpoint {
            username: Some(user.into()),
            password: Some(Secret::new(PASSWORD.into())),
            ..Endpoint::plain(self.set.uri())
        }
    }

    /// As `root`.
    pub async fn client(&self) -> Client {
        let mut options = ClientOptions::parse(self.set.uri()).await.unwrap();
        options.credential =
            Some(Credential::builder().username("root".to_string()).password(PASSWORD.to_string()).build());
        Client::with_options(options).unwrap()
    }

    async fn run(&self, command: Document) {
        self.client().await.database("admin").run_command(command).await.unwrap();
    }

    pub async fn create_user(&self, user: &str, roles: &[&str]) {
        self.run(doc! { "createUser": user, "pwd": PASSWORD, "roles": roles }).await;
    }

    pub async fn grant(&self, user: &str, roles: &[&str]) {
        self.run(doc! { "grantRolesToUser": user, "roles": roles }).await;
    }

    pub async fn grant_on(&self, user: &str, role: &str, db: &str) {
        self.run(doc! { "grantRolesToUser": user, "roles": [{ "role": role, "db": db }] }).await;
    }
}

/// A one-member set that requires TLS; its certificate is for `localhost`, its member is named `127.0.0.1`.
pub struct TlsSet {
    pub port: u16,
    pub ca: String,
    ca_path: PathBuf,
    _set: ReplicaSet,
    _folder: tempfile::TempDir,
}

impl TlsSet {
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (ca, server) = certificates();
        let (ca_path, server_path) = (folder.path().join("ca.pem"), folder.path().join("server.pem"));
        fs::write(&ca_path, &ca).unwrap();
        fs::write(&server_path, server).unwrap();
        let mut options = SetOptions::single("rsT");
        options.arguments =
            ["--tlsMode", "preferTLS", "--tlsAllowConnectionsWithoutCertificates"].map(String::from).into();
        for (name, path) in [("--tlsCAFile", &ca_path), ("--tlsCertificateKeyFile", &server_path)] {
            options.arguments.extend([name.to_string(), path.display().to_string()]);
        }
        let mongod = releases::mongod(None, &|_| {}).unwrap();
        let set = ReplicaSet::start(&mongod, &options).await.unwrap();
        let admin = set.client().await.unwrap().database("admin");
        admin.run_command(doc! { "setParameter": 1, "tlsMode": "requireTLS" }).await.unwrap();
        Self { port: set.ports()[0], ca, ca_path, _set: set, _folder: folder }
    }

    /// From now on the member is called `localhost`, as its certificate says.
    pub async fn rename_member(&self) {
        let uri = format!("mongodb://localhost:{}/?directConnection=true", self.port);
        let mut options = ClientOptions::parse(uri).await.unwrap();
        options.tls = Some(DriverTls::Enabled(TlsOptions::builder().ca_file_path(self.ca_path.clone()).build()));
        let admin = Client::with_options(options).unwrap().database("admin");
        let reply = admin.run_command(doc! { "replSetGetConfig": 1 }).await.unwrap();
        let mut config = reply.get_document("config").unwrap().clone();
        config.insert("version", config.get_i32("version").unwrap() + 1);
        let members = config.get_array_mut("members").unwrap();
        members[0].as_document_mut().unwrap().insert("host", format!("localhost:{}", self.port));
        admin.run_command(doc! { "replSetReconfig": config }).await.unwrap();
    }
}

/// A CA, and a server certificate with its key for `localhost`, as PEM.
fn certificates() -> (String, String) {
    let mut ca = CertificateParams::new(Vec::<String>::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    ca.distinguished_name.push(DnType::CommonName, "Test CA of this run");
    let ca_key = KeyPair::generate().unwrap();
    let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
    let issuer = Issuer::new(ca, ca_key);
    let mut server = CertificateParams::new(vec!["localhost".to_string()]).unwrap();
    server.distinguished_name = rcgen::DistinguishedName::new();
    server.distinguished_name.push(DnType::CommonName, "localhost");
    let key = KeyPair::generate().unwrap();
    let certificate = server.signed_by(&key, &issuer).unwrap();
    (ca_pem, format!("{}{}", certificate.pem(), key.serialize_pem()))
}
