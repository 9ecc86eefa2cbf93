use super::{
    certificates::Authority,
    guarded::{Encrypted, Guarded, TlsSet},
    *,
};
use mongoferry::demo::releases::Release;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

fn private(ca: &str) -> Tls {
    Tls::PrivateCa { pem: ca.to_string() }
}

async fn tls_failure(endpoint: Endpoint, destination: &Endpoint) -> Check {
    let began = Instant::now();
    let report = validate(&plan(endpoint, destination.clone())).await.report;
    assert!(began.elapsed() < Duration::from_secs(20), "took {:?}", began.elapsed());
    let failed = failure(&report);
    assert_eq!((failed.id, failed.side), (CheckId::SourceTls, Side::Source), "{failed:#?}");
    failed.clone()
}

#[tokio::test]
async fn every_tls_mistake_has_its_own_message() {
    tls_mistakes(Release::V6_0_5).await;
}

#[tokio::test]
async fn every_tls_mistake_has_its_own_message_on_4_4_2() {
    tls_mistakes(Release::V4_4_2).await;
}

async fn tls_mistakes(release: Release) {
    let root = Authority::new("Root of this run");
    let server = root.server(&["localhost"], (2020, 2040));
    let tls = TlsSet::start(release, &root.pem, &server).await;
    let pair = common::pair_between(release, release).await;
    let untouched =
        Untouched::from_now([pair.source.client().await.unwrap(), pair.destination.client().await.unwrap()]).await;
    let destination = Endpoint::plain(pair.destination.uri());
    let of =
        |host: &str, tls_: Tls| Endpoint { tls: tls_, ..Endpoint::plain(format!("mongodb://{host}:{}/", tls.port)) };
    let right = private(&root.pem);
    let namesake = Authority::new("Root of this run");
    let plain = Endpoint { tls: right.clone(), ..Endpoint::plain(pair.source.uri()) };
    for (endpoint, what, fix) in [
        (of("localhost", Tls::Off), "requires TLS, and TLS is off", "Switch TLS on"),
        (of("localhost", Tls::PublicCa), "was not signed by a public authority", "private CA"),
        (
            of("localhost", private(include_str!("../fixtures/tls/other-ca.pem"))),
            "was not signed by the given CA",
            "CN=Root of this run",
        ),
        (of("localhost", private(&namesake.pem)), "was not signed by the given CA", "CN=Root of this run"),
        (of("localhost", private(&server.certificate)), "itself, not its CA", "CN=Root of this run"),
        (of("localhost", private(&server.key)), "the CA certificate cannot be used", "PEM text of the authority"),
        (of("127.0.0.1", right.clone()), "was made for another name", "name that the certificate holds"),
        (plain, "does not use TLS, and TLS is on", "Switch TLS off"),
    ] {
        let failed = tls_failure(endpoint, &destination).await;
        assert!(failed.evidence.contains(what) && failed.fix.contains(fix), "{what}: {failed:#?}");
        let shows = failed.fix_command.as_deref().is_some_and(|line| line.starts_with("openssl s_client -connect "));
        let about_the_server = !what.contains("does not use TLS") && !what.contains("cannot be used");
        assert_eq!(shows, about_the_server, "{failed:#?}");
        assert!(!format!("{failed:?}").contains("PRIVATE KEY"), "{failed:#?}");
    }
    // What of two authorities is told apart only by their keys is said so.
    let failed = tls_failure(of("localhost", private(&namesake.pem)), &destination).await;
    assert!(failed.explanation.contains("of the same name, with another key"), "{failed:#?}");

    // The member's own name does not fit the certificate: the given name is used alone, and that is said.
    let report = validate(&plan(of("localhost", right.clone()), destination.clone())).await.report;
    assert!(report.passed(), "{report:#?}");
    let set = check(&report, CheckId::SourceReplicaSet);
    assert_eq!(set.state, CheckState::Warn, "{set:#?}");
    assert!(set.explanation.contains("127.0.0.1") && set.explanation.contains("without failover"), "{set:#?}");

    tls.rename_member().await;
    // Several certificates with the line ends of another system, one of them foreign: that is a usable CA file.
    let several = format!("{}{}", include_str!("../fixtures/tls/other-ca.pem"), root.pem).replace('\n', "\r");
    let several = private(&mongoferry::pem::with_lf(&several));
    for usable in [right, several] {
        let validated = validate(&plan(of("localhost", usable), destination.clone())).await;
        let set = check(&validated.report, CheckId::SourceReplicaSet);
        assert_eq!(set.state, CheckState::Ok, "{:#?}", validated.report);
        let seen = check(&validated.report, CheckId::SourceTls);
        assert!(validated.report.passed(), "{:#?}", validated.report);
        let expected = "TLS 1.3, CN=localhost, issued by CN=Root of this run, valid to 2040-01-01, trusted by your CA";
        assert_eq!(seen.evidence, expected);
        // The certificates that the driver reads live as long as the cluster, and on no disk.
        let (source, _) = validated.clusters.unwrap();
        assert!(source.tls_files[0].path().starts_with("/proc/self/fd"), "{:?}", source.tls_files);
        source.last_write().await.unwrap();
    }
    assert_eq!(databases(&pair.destination.client().await.unwrap()).await, Vec::<String>::new());
    untouched.holds().await;
}

#[tokio::test]
async fn a_missing_intermediate_is_named_and_adding_it_helps() {
    let root = Authority::new("Example Root");
    let intermediate = root.below("Example Issuing CA");
    let server = intermediate.server(&["localhost", "127.0.0.1"], (2020, 2040));
    // The server knows its root only, so it cannot show the intermediate.
    let (tls, pair) = (TlsSet::start(Release::V6_0_5, &root.pem, &server).await, common::pair().await);
    let untouched = Untouched::from_now([pair.destination.client().await.unwrap()]).await;
    let destination = Endpoint::plain(pair.destination.uri());
    let of = |ca: &str| Endpoint { tls: private(ca), ..Endpoint::plain(format!("mongodb://localhost:{}/", tls.port)) };
    let failed = tls_failure(of(&root.pem), &destination).await;
    assert!(failed.evidence.contains("does not reach the given CA: CN=Example Issuing CA is missing"), "{failed:#?}");
    assert!(failed.explanation.contains("CN=Example Root"), "{failed:#?}");
    assert!(failed.fix.starts_with("Add the certificate of CN=Example Issuing CA to the CA file"), "{failed:#?}");
    let report = validate(&plan(of(&format!("{}{}", root.pem, intermediate.pem)), destination)).await.report;
    assert!(report.passed(), "{report:#?}");
    untouched.holds().await;
}

/// A TLS listener with that certificate; mongod refuses to start with one that is not valid now.
async fn listener(identity: &certificates::Identity) -> u16 {
    let chain: Vec<_> = rustls_pemfile::certs(&mut identity.certificate.as_bytes()).map(Result::unwrap).collect();
    let key = rustls_pemfile::private_key(&mut identity.key.as_bytes()).unwrap().unwrap();
    let config = rustls::ServerConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = socket.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = socket.accept().await.unwrap();
            let _ = acceptor.accept(stream).await;
        }
    });
    port
}

#[tokio::test]
async fn certificates_that_are_not_valid_now_are_named_with_their_dates() {
    let (root, pair) = (Authority::new("Root of dates"), common::pair().await);
    let untouched = Untouched::from_now([pair.destination.client().await.unwrap()]).await;
    let destination = Endpoint::plain(pair.destination.uri());
    for (years, what, date) in
        [((2020, 2021), "has expired", "valid to 2021-01-01"), ((2038, 2040), "is not valid yet", "2038-01-01")]
    {
        let port = listener(&root.server(&["localhost"], years)).await;
        let endpoint = Endpoint { tls: private(&root.pem), ..Endpoint::plain(format!("mongodb://localhost:{port}/")) };
        let failed = tls_failure(endpoint, &destination).await;
        assert!(failed.evidence.contains(what), "{failed:#?}");
        assert!(failed.explanation.contains("CN=localhost"), "{failed:#?}");
        let seconds = jiff::civil::date(years.0 as i16, 1, 1).to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp();
        let named = failed.explanation.contains(date) || failed.explanation.contains(&seconds.as_second().to_string());
        assert!(named, "{failed:#?}");
        assert!(failed.fix.contains("clock"), "{failed:#?}");
    }
    untouched.holds().await;
}

#[tokio::test]
async fn a_client_certificate_is_demanded_refused_and_signs_in() {
    let (root, foreign) = (Authority::new("Root of clients"), Authority::new("Foreign root"));
    let encrypted = Encrypted { authority: &root, demands_certificates: true };
    let (guarded, pair) = (Guarded::start_with("rsX", None, Some(encrypted)).await, common::pair().await);
    let untouched = Untouched::from_now([guarded.client().await, pair.destination.client().await.unwrap()]).await;
    let destination = Endpoint::plain(pair.destination.uri());
    let with = |pem: String| Endpoint { client_certificate: Some(Secret::new(pem)), ..guarded.anonymous() };
    let client = root.client("ferry");

    let failed = tls_failure(guarded.anonymous(), &destination).await;
    assert!(failed.evidence.contains("demands a client certificate, and none is given"), "{failed:#?}");
    assert!(failed.fix.contains("client_certificate_file"), "{failed:#?}");
    let failed = tls_failure(with(foreign.client("ferry").both()), &destination).await;
    assert!(failed.evidence.contains("does not accept the client certificate"), "{failed:#?}");
    assert!(failed.fix.contains("tlsCAFile"), "{failed:#?}");
    let mixed = format!("{}{}", client.certificate, root.client("other").key);
    for (pem, why) in [
        (client.certificate.clone(), "there is no private key beside the client certificate"),
        (client.key.clone(), "there is no certificate in this text"),
        (mixed, "the private key does not belong to the certificate"),
        (format!("{}{}", client.both(), client.key), "there are several private keys"),
        (client.both().replace("PRIVATE", "ENCRYPTED PRIVATE"), "the private key is encrypted"),
    ] {
        let failed = tls_failure(with(pem), &destination).await;
        assert_eq!(failed.evidence, "the client certificate cannot be used");
        assert!(failed.explanation.contains(why), "{why}: {failed:#?}");
    }

    // The certificate is the login; the printed command creates the user that it stands for, and then it works.
    let by_certificate = plan(with(client.both()), destination.clone());
    let report = validate(&by_certificate).await.report;
    let failed = failure(&report);
    assert_eq!((failed.id, failed.side), (CheckId::SourceSignIn, Side::Source), "{failed:#?}");
    let name = "CN=ferry,OU=ops,O=Example\\, Inc.,C=DE";
    assert!(failed.evidence.ends_with(&format!("knows no user for the client certificate {name}")), "{failed:#?}");
    guarded.run_printed(failed.fix_command.as_ref().unwrap()).await;
    let report = validate(&by_certificate).await.report;
    assert!(report.passed(), "{report:#?}");
    assert_eq!(check(&report, CheckId::SourceSignIn).evidence, format!("{name}, X.509"));
    assert!(!format!("{report:?}").contains("PRIVATE KEY"));

    // With a user the certificate opens the connection, and the password signs in.
    let both = Endpoint { client_certificate: Some(Secret::new(client.both())), ..guarded.endpoint("root") };
    let report = validate(&plan(both, destination)).await.report;
    assert!(report.passed(), "{report:#?}");
    assert_eq!(check(&report, CheckId::SourceSignIn).evidence, "root@admin, SCRAM-SHA-256");
    assert_eq!(databases(&guarded.client().await).await, Vec::<String>::new());
    untouched.holds().await;
}
