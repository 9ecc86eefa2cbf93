//! Notices on real servers: SMTP with STARTTLS, TLS and login; HTTP and HTTPS; a program. What fails never harms the
//! migration.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../validate/certificates.rs"]
#[allow(dead_code)]
mod certificates;
#[path = "../common/mod.rs"]
mod common;
mod migration;
mod servers;

use certificates::Authority;
use mongoferry::demo::ports::Port;
use serde_json::Value;
use servers::{MailServer, WebServer};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output},
};

/// A plan whose `[notify]` is `notify`; the clusters are never asked.
fn plan(folder: &Path, notify: &str) -> std::path::PathBuf {
    let path = folder.join("orders.toml");
    let clusters = "[source]\nhost = \"old:1\"\n[destination]\nhost = \"new:1\"\n";
    fs::write(&path, format!("{clusters}[notify]\n{notify}\n")).unwrap();
    path
}

/// `mongoferry notify --plan`.
fn test(folder: &Path, notify: &str) -> Output {
    let path = plan(folder, notify);
    let mut command = Command::new(env!("CARGO_BIN_EXE_mongoferry"));
    command.args(["notify", "--plan"]).arg(path).env("MONGOFERRY_HOME", folder.join("home"));
    command.output().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn mail_settings(folder: &Path, server: &MailServer, authority: &Authority, password: &str) -> String {
    fs::write(folder.join("ca.pem"), &authority.pem).unwrap();
    fs::write(folder.join("smtp.pass"), format!("{password}\n")).unwrap();
    format!(
        "email_to = [\"ops@example.net\", \"On Call <night@example.net>\"]\nemail_from = \"ferry@example.net\"\n\
         smtp = \"localhost:{}\"\nsmtp_ca_file = \"ca.pem\"\nsmtp_username = \"ferry\"\nsmtp_password_file = \"smtp.pass\"\n",
        server.port()
    )
}

#[test]
fn mail_goes_by_starttls_and_tls_with_a_login() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("ours");
    let identity = authority.server(&["localhost"], (2020, 2050));
    for (mode, line) in [("starttls", ""), ("tls", "smtp_tls = \"tls\"\n")] {
        let server = MailServer::start(mode, folder.path(), &identity);
        let settings = mail_settings(folder.path(), &server, &authority, "hunter2") + line;
        let output = test(folder.path(), &settings);
        assert!(output.status.success(), "{}", said(&output));
        assert_eq!(said(&output), "e-mail: sent\n");
        let mail = server.mail();
        assert_eq!((&mail["tls"], &mail["login"]), (&Value::from(true), &Value::from("ferry")), "{mail}");
        assert_eq!(mail["to"], serde_json::json!(["ops@example.net", "night@example.net"]));
        let data = mail["data"].as_str().unwrap();
        assert!(data.contains("Subject: mongoferry orders: a test of the notices"), "{data}");
        assert!(data.contains("Source: old:1") && data.contains("Destination: new:1"), "{data}");
    }
}

#[test]
fn what_is_wrong_with_mail_is_said_and_the_password_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("ours");
    let identity = authority.server(&["localhost"], (2020, 2050));
    let server = MailServer::start("starttls", folder.path(), &identity);
    let failing = |settings: &str, part: &str| {
        let output = test(folder.path(), settings);
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(said(&output).contains(part), "{part:?} is not in {}", said(&output));
        assert!(!said(&output).contains("not-the-password"), "{}", said(&output));
    };
    failing(&mail_settings(folder.path(), &server, &authority, "not-the-password"), "e-mail: FAILED: localhost:");
    let other = Authority::new("somebody else");
    failing(&mail_settings(folder.path(), &server, &other, "hunter2"), "certificate");
    let settings = mail_settings(folder.path(), &server, &authority, "hunter2");
    let nobody = Port::reserve().unwrap();
    failing(&settings.replace(&server.port().to_string(), &nobody.number().to_string()), "refused");
    // STARTTLS is required, and plain text takes no login.
    failing(&format!("{settings}smtp_tls = \"off\""), "plain text");
    assert!(server.took_nothing());

    let plain = MailServer::start("off", folder.path(), &identity);
    let open = format!(
        "email_to = [\"ops@example.net\"]\nemail_from = \"ferry@example.net\"\nsmtp = \"localhost:{}\"\n",
        plain.port()
    );
    failing(&format!("{open}smtp_ca_file = \"ca.pem\""), "e-mail: FAILED");
    assert!(plain.took_nothing(), "mail left without the encryption that was asked for");
    assert!(test(folder.path(), &format!("{open}smtp_tls = \"off\"")).status.success());
    assert_eq!(plain.mail()["tls"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_takes_json_and_its_address_is_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("ours");
    fs::write(folder.path().join("ca.pem"), &authority.pem).unwrap();
    let secure = WebServer::start(0, 200, Some(&authority.server(&["localhost"], (2020, 2050)))).await;
    let plain = WebServer::start(0, 204, None).await;
    let refusing = WebServer::start(0, 503, None).await;
    let address = |scheme: &str, port: u16| {
        fs::write(folder.path().join("hook"), format!("{scheme}://localhost:{port}/hook/secret-token\n")).unwrap();
    };
    let home = folder.path().to_path_buf();
    let run = async |settings: &'static str| {
        let home = home.clone();
        tokio::task::spawn_blocking(move || test(&home, settings)).await.unwrap()
    };

    address("http", plain.port);
    let output = run("webhook_file = \"hook\"").await;
    assert_eq!(said(&output), "webhook: sent\n");
    let body = &plain.bodies()[0];
    assert_eq!((&body["notice"], &body["migration"]), (&Value::from("test"), &Value::from("orders")));
    assert!(body["text"].as_str().unwrap().starts_with("mongoferry orders: a test of the notices"), "{body}");

    address("https", secure.port);
    let output = run("webhook_file = \"hook\"\nwebhook_ca_file = \"ca.pem\"").await;
    assert_eq!(said(&output), "webhook: sent\n");
    let output = run("webhook_file = \"hook\"").await;
    assert!(!output.status.success() && said(&output).contains("ertificate"), "{}", said(&output));
    assert_eq!(secure.bodies().len(), 1);

    address("http", refusing.port);
    let output = run("webhook_file = \"hook\"").await;
    assert!(!output.status.success() && said(&output).contains("status 503"), "{}", said(&output));
    let nobody = Port::reserve().unwrap();
    address("http", nobody.number());
    let output = run("webhook_file = \"hook\"").await;
    assert!(!output.status.success() && said(&output).contains("refused"), "{}", said(&output));
    assert!(!said(&output).contains("secret-token"), "{}", said(&output));
    let output = run("webhook = \"http://localhost/hook/secret-token\"").await;
    assert!(said(&output).contains("webhook_file"), "{}", said(&output));
    assert!(!said(&output).contains("secret-token"), "{}", said(&output));
}

#[test]
fn a_program_gets_json_and_its_failure_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let program = |text: &str| {
        let path = folder.path().join("page");
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    };
    program(
        "cat > \"$(dirname \"$0\")/seen\"; echo \"$MONGOFERRY_NOTICE $MONGOFERRY_MIGRATION\" >> \"$(dirname \"$0\")/seen\"",
    );
    let output = test(folder.path(), "command = \"page\"");
    assert_eq!(said(&output), "command hook: sent\n");
    let seen = fs::read_to_string(folder.path().join("seen")).unwrap();
    let (json, words) = seen.trim_end().split_once('\n').unwrap();
    assert_eq!(serde_json::from_str::<Value>(json).unwrap()["migration"], "orders");
    assert_eq!(words, "test orders");
    program("echo no pager >&2; exit 3");
    let output = test(folder.path(), "command = \"page\"");
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("FAILED") && said(&output).contains("3 no pager"), "{}", said(&output));
    let output = test(folder.path(), "command = \"missing\"");
    assert!(said(&output).contains("No such file"), "{}", said(&output));
}
