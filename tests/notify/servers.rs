//! A mail server (aiosmtpd, fetched once with pip) and a web server that take what they are sent.

use crate::certificates::Identity;
use mongoferry::demo::ports::Port;
use serde_json::Value;
use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, OnceLock, mpsc},
    time::{Duration, Instant},
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

const PATIENCE: Duration = Duration::from_secs(60);

/// The folder that holds aiosmtpd, beside the cached servers of the demo. Tests of one process fetch it once.
fn aiosmtpd() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = mongoferry::paths::cache_root().unwrap().join("aiosmtpd-1.4.6");
        if !folder.join("aiosmtpd").is_dir() {
            let fetched = folder.with_extension(format!("new-{}", std::process::id()));
            let mut pip = Command::new("python3");
            pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"]).arg(&fetched);
            let output = pip.args(["aiosmtpd==1.4.6", "atpublic", "attrs"]).output().expect("python3 with pip");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            // Another process may have been faster.
            if fs::rename(&fetched, &folder).is_err() {
                fs::remove_dir_all(&fetched).unwrap();
            }
        }
        folder
    })
}

/// A mail server. Ended when dropped.
pub struct MailServer {
    child: Child,
    port: Port,
    lines: mpsc::Receiver<String>,
}

impl MailServer {
    /// `mode`: starttls, tls or off.
    pub fn start(mode: &str, folder: &Path, identity: &Identity) -> Self {
        let (certificate, key) = (folder.join("mail.crt"), folder.join("mail.key"));
        fs::write(&certificate, &identity.certificate).unwrap();
        fs::write(&key, &identity.key).unwrap();
        let port = Port::reserve().unwrap();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/notify/smtp.py");
        let mut child = Command::new("python3")
            .arg(script)
            .args([&port.number().to_string(), mode])
            .args([&certificate, &key])
            .env("PYTHONPATH", aiosmtpd())
            .stderr(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = mpsc::channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let server = Self { child, port, lines };
        assert_eq!(server.lines.recv_timeout(PATIENCE).expect("the mail server starts"), "ready");
        server
    }

    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// The next mail.
    pub fn mail(&self) -> Value {
        serde_json::from_str(&self.lines.recv_timeout(PATIENCE).expect("a mail")).unwrap()
    }

    pub fn took_nothing(&self) -> bool {
        self.lines.try_recv().is_err()
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A web server that keeps the bodies of POSTs and answers with `status`.
pub struct WebServer {
    pub port: u16,
    bodies: Arc<Mutex<Vec<Value>>>,
    task: tokio::task::JoinHandle<()>,
}

impl WebServer {
    pub async fn start(port: u16, status: u16, tls: Option<&Identity>) -> Self {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let acceptor = tls.map(acceptor);
        let bodies = Arc::new(Mutex::new(Vec::new()));
        let kept = bodies.clone();
        let task = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                let (kept, acceptor) = (kept.clone(), acceptor.clone());
                tokio::spawn(async move {
                    match acceptor {
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                serve(stream, status, &kept).await;
                            }
                        }
                        None => serve(stream, status, &kept).await,
                    }
                });
            }
        });
        Self { port, bodies, task }
    }

    pub fn bodies(&self) -> Vec<Value> {
        self.bodies.lock().unwrap().clone()
    }

    /// Waits for a body.
    pub async fn body(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let seen = self.bodies();
            if let Some(body) = seen.iter().find(|body| wanted(body)) {
                return body.clone();
            }
            assert!(began.elapsed() < PATIENCE, "only {seen:#?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn acceptor(identity: &Identity) -> tokio_rustls::TlsAcceptor {
    use rustls::pki_types::pem::PemObject;
    let chain = rustls::pki_types::CertificateDer::pem_slice_iter(identity.certificate.as_bytes());
    let chain: Vec<_> = chain.collect::<Result<_, _>>().unwrap();
    let key = rustls::pki_types::PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(chain, key).unwrap();
    tokio_rustls::TlsAcceptor::from(Arc::new(config))
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, status: u16, kept: &Mutex<Vec<Value>>) {
    let mut received = Vec::new();
    let mut buffer = [0; 4096];
    let (head, body) = loop {
        let Ok(count @ 1..) = stream.read(&mut buffer).await else { return };
        received.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&received).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().unwrap())
        });
        if body.len() >= length.unwrap_or(0) {
            break (head.to_string(), body.to_string());
        }
    };
    assert!(head.starts_with("POST /hook/secret-token HTTP/1.1"), "{head}");
    assert!(head.to_lowercase().contains("content-type: application/json"), "{head}");
    kept.lock().unwrap().push(serde_json::from_str(&body).unwrap());
    let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let _ = stream.write_all(answer.as_bytes()).await;
}
