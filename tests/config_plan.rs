//! Plan files: what a good one becomes, and one clear sentence for each bad one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use mongoferry::{
    config::{parse_plan, read_plan},
    model::{CheckOrder, RepairPolicy, Tls, Verify},
};
use std::{fs, path::Path, time::Duration};

const CA: &str = include_str!("fixtures/tls/ca.pem");

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("src.pass"), "hunter2\r\n").unwrap();
    fs::write(folder.path().join("empty.pass"), "\n").unwrap();
    fs::write(folder.path().join("two.pass"), "a\nb\n").unwrap();
    fs::write(folder.path().join("ca.pem"), CA.replace('\n', "\r\n")).unwrap();
    fs::write(folder.path().join("not.pem"), "hello").unwrap();
    folder
}

#[test]
fn every_key_of_a_full_plan_is_read() {
    let folder = folder();
    let path = folder.path().join("night.toml");
    let text = r#"
name = "orders"
[source]
host = "a.example.net:27017,b.example.net:27017"
username = "ferry"
password_file = "src.pass"
auth_source = "users"
tls = "private-ca"
ca_file = "ca.pem"
direct = true
[destination]
uri = "mongodb://fe%40rry:p%3Aw@new-a.example.net:27017/?replicaSet=rs9&tls=true"
[options]
clear_destination = true
include = ["shop.*", "crm"]
exclude = ["shop.sessions"]
cutover_window = "48h"
extend_by = "12h"
ready_lag = "5s"
ready_for = "1m"
quiet_for = "90s"
verify = "off"
check = "after"
repair = "auto"
throttle = "80MB/s"
"#;
    fs::write(&path, text).unwrap();
    let plan = read_plan(&path).unwrap();
    assert_eq!(plan.name, "orders");
    let source = &plan.source;
    assert_eq!(source.uri, "mongodb://a.example.net:27017,b.example.net:27017/");
    assert_eq!(source.username.as_deref(), Some("ferry"));
    assert_eq!(source.password.as_ref().unwrap().expose(), "hunter2");
    assert_eq!(source.auth_source.as_deref(), Some("users"));
    assert_eq!(source.tls, Tls::PrivateCa { pem: CA.to_string() });
    assert!(source.direct);
    let destination = &plan.destination;
    assert_eq!(destination.uri, "mongodb://new-a.example.net:27017/?replicaSet=rs9&tls=true");
    assert_eq!(destination.username.as_deref(), Some("fe@rry"));
    assert_eq!(destination.password.as_ref().unwrap().expose(), "p:w");
    assert_eq!(destination.tls, Tls::PublicCa);
    assert!(!destination.direct);
    let options = &plan.options;
    assert!(options.clear_destination);
    assert!(options.filter.selects("shop", "orders") && options.filter.selects("crm", "x"));
    assert!(!options.filter.selects("shop", "sessions") && !options.filter.selects("other", "x"));
    assert_eq!(options.cutover_window, Duration::from_secs(48 * 3600));
    assert_eq!(options.extend_by, Duration::from_secs(12 * 3600));
    assert_eq!(options.ready_lag, Duration::from_secs(5));
    assert_eq!(options.ready_for, Duration::from_secs(60));
    assert_eq!(options.quiet_for, Duration::from_secs(90));
    assert_eq!(options.verify, Verify::Off);
    assert_eq!((options.check, options.repair), (CheckOrder::After, RepairPolicy::Auto));
    assert_eq!(options.throttle, Some(80_000_000));
    assert!(!format!("{plan:?}").contains("hunter2"));
}

#[test]
fn a_short_plan_gets_the_documented_defaults_and_its_name_from_the_file() {
    let text = "[source]\nhost = \"a:1\"\n[destination]\nuri = \"mongodb+srv://b.example.net\"\n";
    let plan = parse_plan(Path::new("/plans/crm-2026.toml"), text).unwrap();
    assert_eq!(plan.name, "crm-2026");
    assert_eq!((plan.source.tls, plan.destination.tls), (Tls::Off, Tls::PublicCa));
    assert!(plan.source.username.is_none() && plan.source.password.is_none());
    assert!(!plan.options.clear_destination && plan.options.filter.is_everything());
    assert_eq!(plan.options.cutover_window, Duration::from_secs(120 * 3600));
    assert_eq!(plan.options.verify, Verify::Exact);
    assert_eq!((plan.options.check, plan.options.repair), (CheckOrder::First, RepairPolicy::Ask));
}

/// A plan whose source section holds `lines`, and the message that it is refused with.
fn refused(lines: &str) -> String {
    let folder = folder();
    let path = folder.path().join("p.toml");
    let text = format!("[source]\n{lines}\n[destination]\nhost = \"b:1\"\n");
    let message = parse_plan(&path, &text).expect_err(lines).to_string();
    assert_eq!(message.lines().count(), 1, "{message}");
    message.replace(&format!("{}/", folder.path().display()), "")
}

#[test]
fn every_mistake_in_an_endpoint_is_one_sentence_with_its_line() {
    for (lines, message) in [
        (
            "host = \"a:1\"\n\npasword_file = \"x\"",
            "p.toml, line 4: unknown key `pasword_file` in [source]; did you mean `password_file`?",
        ),
        (
            "host = \"a:1\"\npassword = \"x\"",
            "p.toml, line 3: a plan never holds the password itself; use password_file = \"…\" or password_env = \"…\"",
        ),
        ("username = \"u\"", "p.toml: [source]: the address is missing; add host = \"name:27017\" or uri"),
        ("host = \"a\"\nuri = \"mongodb://a\"", "p.toml, line 3: host and uri are both given; keep one of them"),
        ("host = 5", "p.toml, line 2: host takes a string in quotes"),
        ("host = \"mongodb://a\"", "p.toml, line 2: host takes name:port; write a connection string as uri = \"…\""),
        (
            "uri = \"mongodb://u:p@ss@a\"",
            "p.toml, line 2: uri: user or password holds a character that must be percent-encoded (@ is %40, : is \
             %3A, / is %2F)",
        ),
        (
            "host = \"a\"\nusername = \"u\"",
            "p.toml: [source]: username without a password; add password_file or password_env",
        ),
        ("host = \"a\"\npassword_file = \"src.pass\"", "p.toml: [source]: a password without username; add username"),
        (
            "host = \"a\"\nusername = \"u\"\npassword_file = \"none.pass\"",
            "none.pass: cannot be read: No such file or directory (os error 2)",
        ),
        (
            "host = \"a\"\nusername = \"u\"\npassword_file = \"empty.pass\"",
            "p.toml, line 4: password_file empty.pass is empty",
        ),
        (
            "host = \"a\"\nusername = \"u\"\npassword_file = \"two.pass\"",
            "p.toml, line 4: password_file two.pass has several lines; it holds the password alone",
        ),
        (
            "host = \"a\"\nusername = \"u\"\npassword_env = \"MONGOFERRY_TEST_NOT_SET\"",
            "p.toml, line 4: the environment variable MONGOFERRY_TEST_NOT_SET is not set",
        ),
        ("host = \"a\"\ntls = \"on\"", "p.toml, line 3: tls is \"off\", \"public-ca\" or \"private-ca\""),
        ("host = \"a\"\ntls = \"private-ca\"", "p.toml, line 3: tls = \"private-ca\" needs ca_file = \"…\""),
        ("host = \"a\"\nca_file = \"ca.pem\"", "p.toml, line 3: ca_file is only used with tls = \"private-ca\""),
        (
            "host = \"a\"\ntls = \"private-ca\"\nca_file = \"not.pem\"",
            "p.toml, line 4: ca_file not.pem: there is no certificate in this text: no line says \
             -----BEGIN CERTIFICATE-----",
        ),
        (
            "uri = \"mongodb://a/?tls=true\"\ntls = \"off\"",
            "p.toml, line 3: the uri asks for TLS and tls = \"off\" forbids it; change one of them",
        ),
        ("host = \"a\"\ndirect = \"yes\"", "p.toml, line 3: direct takes true or false"),
    ] {
        assert_eq!(refused(lines), message);
    }
    assert!(!refused("uri = \"mongodb://u:hunter2@a:1@b\"").contains("hunter2"));
}

#[test]
fn every_mistake_elsewhere_is_one_sentence_too() {
    let base = "[source]\nhost = \"a\"\n[destination]\nhost = \"b\"\n";
    for (text, message) in [
        (format!("nmae = \"x\"\n{base}"), "line 1: unknown key `nmae` at the top of the plan; did you mean `name`?"),
        (format!("name = \"a b\"\n{base}"), "line 1: name: only letters, digits, - and _, at most 40 characters"),
        ("[source]\nhost = \"a\"\n".into(), ": there is no [destination] section"),
        (format!("{base}[options]\ncutover_window = \"soon\"\n"), "line 6: cutover_window: \"soon\" is not a duration"),
        (format!("{base}[options]\nready_for = \"0s\"\n"), "line 6: ready_for must be longer than nothing"),
        (format!("{base}[options]\nthrottle = \"fast\"\n"), "line 6: throttle: \"fast\" is not a rate"),
        (format!("{base}[options]\ninclude = [\"*.x\"]\n"), "line 6: include: namespace pattern \"*.x\""),
        (format!("{base}[options]\nexclude = \"x\"\n"), "line 6: exclude takes a list of strings in brackets"),
        (format!("{base}[options]\nverify = \"some\"\n"), "line 6: verify is \"exact\" or \"off\""),
        (format!("{base}[options]\nrepair = \"yes\"\n"), "line 6: repair is \"ask\" or \"auto\""),
        (format!("{base}[options]\ncheck = \"before\"\n"), "line 6: check is \"first\" or \"after\""),
        (format!("{base}[options\n"), "line 5: "),
        (format!("{base}[source]\nhost = \"c\"\n"), "line 5: "),
    ] {
        let error = parse_plan(Path::new("p.toml"), &text).expect_err(&text).to_string();
        assert!(error.starts_with("p.toml") && error.contains(message), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
    let unnamed = parse_plan(Path::new("my plan.toml"), base).unwrap_err().to_string();
    assert!(unnamed.contains("cannot name the migration"), "{unnamed}");
    let absent = read_plan(Path::new("/no/such.toml")).unwrap_err().to_string();
    assert!(absent.starts_with("/no/such.toml: cannot be read"), "{absent}");
}

/// A client's certificate and key, made now.
fn identity() -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["bastion".to_string()]).unwrap().self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

#[test]
fn a_client_certificate_is_read_with_its_key_and_kept_secret() {
    let (folder, (certificate, key)) = (folder(), identity());
    let path = folder.path().join("p.toml");
    let read = |content: &str, tls: &str| {
        fs::write(folder.path().join("client.pem"), content).unwrap();
        let source = format!(
            "uri = \"mongodb://a/?authMechanism=MONGODB-X509\"\n{tls}\nclient_certificate_file = \"client.pem\""
        );
        parse_plan(&path, &format!("[source]\n{source}\n[destination]\nhost = \"b:1\"\n"))
    };
    let both = format!("{certificate}{key}").replace('\n', "\r\n");
    let plan = read(&both, "tls = \"public-ca\"").unwrap();
    assert_eq!(
        plan.source.client_certificate.as_ref().unwrap().expose(),
        format!("{certificate}{key}").replace("\r\n", "\n")
    );
    assert_eq!((plan.source.uri.as_str(), plan.source.username.as_deref()), ("mongodb://a/", None));
    assert!(!format!("{plan:?}").contains("PRIVATE KEY"));
    for (content, tls, why) in [
        (both.as_str(), "", "is only used with TLS"),
        (certificate.as_str(), "tls = \"public-ca\"", "there is no private key beside the client certificate"),
        (key.as_str(), "tls = \"public-ca\"", "there is no certificate in this text"),
    ] {
        let message = read(content, tls).unwrap_err().to_string();
        assert!(message.contains("line 4") && message.contains(why), "{message}");
        assert!(!message.contains(key.lines().nth(1).unwrap()), "{message}");
    }
}

#[test]
fn a_systemd_credential_is_named_and_never_a_path() {
    let lines = |name: &str| format!("host = \"a\"\nusername = \"u\"\npassword_credential = \"{name}\"");
    for name in ["", "../x", "/etc/x", ".x"] {
        assert_eq!(
            refused(&lines(name)),
            "p.toml, line 4: password_credential is the name of a systemd credential, not a path"
        );
    }
    assert!(refused(&lines("src")).contains("use LoadCredential= in the unit"));
    let both = "host = \"a\"\nusername = \"u\"\npassword_file = \"src.pass\"\npassword_env = \"X\"";
    assert_eq!(refused(both), "p.toml, line 5: password_file and password_env are both given; keep one of them");
}
