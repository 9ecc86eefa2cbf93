//! What every client of ours has, whatever the address says.

use super::memory_file::MemoryFile;
use crate::model::{Endpoint, Problem, Side, Tls};
use mongodb::options::{AuthMechanism, ClientOptions, Credential, Tls as DriverTls, TlsOptions};
use std::time::Duration;

/// How long server selection may take before an operation counts as failed.
const SELECTION_TIMEOUT: Duration = Duration::from_secs(8);

/// What an address may choose, without its SRV name: the driver would ask for that name again every minute, which no
/// replica set needs, and a client that ends waits for it.
pub(super) fn settled(parsed: ClientOptions) -> ClientOptions {
    let mut options = ClientOptions::default();
    options.hosts = parsed.hosts;
    options.repl_set_name = parsed.repl_set_name;
    options.direct_connection = parsed.direct_connection;
    options.load_balanced = parsed.load_balanced;
    options.compressors = parsed.compressors;
    options.heartbeat_freq = parsed.heartbeat_freq;
    options.local_threshold = parsed.local_threshold;
    options.max_idle_time = parsed.max_idle_time;
    options.max_pool_size = parsed.max_pool_size;
    options.min_pool_size = parsed.min_pool_size;
    options.max_connecting = parsed.max_connecting;
    options.server_monitoring_mode = parsed.server_monitoring_mode;
    options
}

/// Sets it. Returns the files that the driver reads its certificates from; they must outlive its client.
pub(super) fn complete(
    side: Side,
    endpoint: &Endpoint,
    options: &mut ClientOptions,
) -> Result<Vec<MemoryFile>, Problem> {
    options.app_name = Some("mongoferry".into());
    options.server_selection_timeout = Some(SELECTION_TIMEOUT);
    options.connect_timeout = Some(Duration::from_secs(5));
    options.retry_writes = Some(false);
    // Preferences of an application must not change what the copy reads and how it is acknowledged.
    options.selection_criteria = None;
    options.read_concern = None;
    options.write_concern = None;
    if endpoint.direct {
        options.direct_connection = Some(true);
    }
    options.credential = None;
    if let (Some(username), Some(password)) = (&endpoint.username, &endpoint.password) {
        let mut credential = Credential::default();
        credential.username = Some(username.clone());
        credential.password = Some(password.expose().to_string());
        credential.source = endpoint.auth_source.clone();
        options.credential = Some(credential);
    }
    let mut files = Vec::new();
    let mut file = |content: &str| {
        let file = MemoryFile::new(content).map_err(|error| {
            let what = format!("the certificates for the {side} cannot be held in memory");
            Problem::before_writing(Side::Host, what, error.to_string(), "Check this host's free memory.")
        })?;
        let path = file.path().to_path_buf();
        files.push(file);
        Ok(path)
    };
    let mut tls = TlsOptions::default();
    if let Tls::PrivateCa { pem } = &endpoint.tls {
        tls.ca_file_path = Some(file(pem)?);
    }
    if let Some(pem) = &endpoint.client_certificate {
        tls.cert_key_file_path = Some(file(pem.expose())?);
    }
    options.tls = Some(match endpoint.tls {
        Tls::Off => DriverTls::Disabled,
        Tls::PublicCa | Tls::PrivateCa { .. } => DriverTls::Enabled(tls),
    });
    Ok(files)
}

/// Signs in as the subject of the client certificate.
pub(super) fn by_certificate() -> Credential {
    let mut credential = Credential::default();
    credential.mechanism = Some(AuthMechanism::MongoDbX509);
    credential.source = Some("$external".into());
    credential
}
