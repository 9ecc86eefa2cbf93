//! Whole migrations with the least of rights: what mongoferry leaves behind holds no secret, and no login stays.

use super::{
    certificates::Authority,
    guarded::{Encrypted, Guarded},
    *,
};
use common::{compare, drive};
use mongoferry::{
    demo::releases::Release,
    model::{Command, Phase},
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command as Process, Stdio},
};

const SOURCE_PASSWORD: &str = "s0urce-Pa%ss/w:rd";
const DESTINATION_PASSWORD: &str = "d3stination-Pä\"ss@wörd";

/// A text as it may appear in a file: as it is, percent-encoded, escaped in JSON, in base64 (all three alignments).
fn disguises(text: &str) -> Vec<Vec<u8>> {
    let percent: String = text
        .bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).into() } else { format!("%{byte:02X}") })
        .collect();
    let json = serde_json::to_string(text).unwrap();
    let mut all =
        vec![text.into(), percent.into_bytes(), json.trim_matches('"').into(), format!("{text:?}").into_bytes()];
    for skip in 0..3 {
        let aligned = &text.as_bytes()[skip..];
        let whole = &aligned[..aligned.len() / 3 * 3];
        all.push(base64(whole).into_bytes());
    }
    all
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = |three: &[u8]| {
        let word = three.iter().fold(0_usize, |word, byte| word << 8 | usize::from(*byte));
        [18, 12, 6, 0].map(|shift| char::from(DIGITS[word >> shift & 63]))
    };
    bytes.chunks_exact(3).flat_map(digits).collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else { return found };
    for entry in entries.flatten() {
        // Files come and go while a migration runs.
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files(&entry.path())),
            _ => found.push(entry.path()),
        }
    }
    found
}

/// Looks for secrets, and remembers how much it has looked through.
struct Search {
    needles: Vec<(&'static str, Vec<u8>)>,
    bytes: usize,
}

impl Search {
    fn look(&mut self, place: &str, haystack: &[u8]) {
        self.bytes += haystack.len();
        for (name, needle) in &self.needles {
            let found = haystack.windows(needle.len()).any(|window| window == needle.as_slice());
            assert!(!found, "{name} is in {place}");
        }
    }

    fn look_into(&mut self, folder: &Path) {
        for path in files(folder) {
            if let Ok(content) = fs::read(&path) {
                self.look(&path.display().to_string(), &content);
            }
        }
    }
}

#[test]
fn the_search_finds_what_it_looks_for() {
    let needles = disguises(DESTINATION_PASSWORD).into_iter().map(|needle| ("it", needle)).collect();
    let mut search = Search { needles, bytes: 0 };
    search.look("a harmless text", b"user=ferry_dst");
    for text in [
        format!("pwd={DESTINATION_PASSWORD}"),
        serde_json::json!({ "p": DESTINATION_PASSWORD }).to_string(),
        format!("mongodb://u:{}@h", String::from_utf8(disguises(DESTINATION_PASSWORD)[1].clone()).unwrap()),
        format!("x{}", base64(format!("ab{DESTINATION_PASSWORD}c ").as_bytes())),
    ] {
        let seen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| search.look("a leak", text.as_bytes())));
        assert!(seen.is_err(), "not found in {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_migration_over_tls_leaves_no_secret_behind() {
    let root = Authority::new("Root of the migration");
    let start = async |name| {
        let encrypted = Encrypted { authority: &root, demands_certificates: true };
        Guarded::start_with(name, None, Some(encrypted)).await
    };
    let (source, destination) = tokio::join!(start("rsS"), start("rsD"));
    let user =
        |name: &str, password: &str, roles: &[&str]| doc! { "createUser": name, "pwd": password, "roles": roles };
    source.run(user("ferry_src", SOURCE_PASSWORD, &["readAnyDatabase", "clusterMonitor"])).await;
    let least = ["readWriteAnyDatabase", "dbAdminAnyDatabase", "clusterMonitor"];
    destination.run(user("ferry_dst", DESTINATION_PASSWORD, &least)).await;
    let shop = source.client().await.database("shop");
    for chunk in 0..4 {
        let documents = (0..2_000).map(|n| doc! { "_id": chunk * 2_000 + n, "text": "x".repeat(200) });
        shop.collection("orders").insert_many(documents).await.unwrap();
    }
    shop.run_command(doc! { "createIndexes": "orders", "indexes": [{ "key": { "text": 1 }, "name": "text" }] })
        .await
        .unwrap();
    let series = doc! { "create": "readings", "timeseries": { "timeField": "t", "metaField": "m" } };
    shop.run_command(series).await.unwrap();
    let reading = doc! { "t": bson::DateTime::now(), "m": 1, "v": 2.5 };
    shop.collection("readings").insert_one(reading).await.unwrap();

    let (given, home, temporary) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let write = |name: &str, text: &str| fs::write(given.path().join(name), text).unwrap();
    let client = root.client("bastion");
    write("src.pass", SOURCE_PASSWORD);
    write("dst.pass", DESTINATION_PASSWORD);
    write("ca.pem", &root.pem);
    write("client.pem", &client.both());
    let section = |name: &str, set: &Guarded, user: &str, pass: &str| {
        format!(
            "[{name}]\nuri = \"{}\"\nusername = \"{user}\"\npassword_file = \"{pass}\"\ntls = \"private-ca\"\n\
             ca_file = \"ca.pem\"\nclient_certificate_file = \"client.pem\"\n",
            set.uri()
        )
    };
    let options = "[options]\nready_for = \"1s\"\nquiet_for = \"2s\"\n";
    let from = section("source", &source, "ferry_src", "src.pass");
    let to = section("destination", &destination, "ferry_dst", "dst.pass");
    write("orders.toml", &format!("{from}{to}{options}"));

    let mut needles: Vec<(&'static str, Vec<u8>)> = Vec::new();
    needles.extend(disguises(SOURCE_PASSWORD).into_iter().map(|needle| ("the source's password", needle)));
    needles.extend(disguises(DESTINATION_PASSWORD).into_iter().map(|needle| ("the destination's password", needle)));
    let key_line = client.key.lines().nth(1).unwrap();
    needles.push(("the client's key", key_line[..40].into()));
    needles.push(("the client's key", b"PRIVATE KEY-----".to_vec()));
    let mut search = Search { needles, bytes: 0 };

    let mut running = Process::new(env!("CARGO_BIN_EXE_mongoferry"));
    running
        .args(["run", "--cutover", "auto", "--accept-warnings", "--json", "--plan"])
        .arg(given.path().join("orders.toml"));
    running.env("MONGOFERRY_HOME", home.path()).env("TMPDIR", temporary.path());
    // As talkative as it gets, the driver and TLS included.
    running.env("MONGOFERRY_LOG", "trace").stdin(Stdio::null());
    let (out, err) = (given.path().join("out"), given.path().join("err"));
    running.stdout(fs::File::create(&out).unwrap()).stderr(fs::File::create(&err).unwrap());
    let mut running = running.spawn().unwrap();
    let process = PathBuf::from(format!("/proc/{}", running.id()));
    let deadline = Instant::now() + Duration::from_secs(240);
    let (mut looks, mut no_core) = (0, false);
    let status = loop {
        if let Some(status) = running.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > deadline {
            running.kill().unwrap();
            running.wait().unwrap();
            panic!("it never ended: {}", fs::read_to_string(&out).unwrap());
        }
        // Unreadable (another user than root may not) is as good as clean.
        for name in ["cmdline", "environ"] {
            search.look(name, &fs::read(process.join(name)).unwrap_or_default());
        }
        let limits = fs::read_to_string(process.join("limits")).unwrap_or_default();
        no_core |= limits.lines().any(|line| {
            line.starts_with("Max core file size") && line.split_whitespace().skip(4).take(2).all(|limit| limit == "0")
        });
        search.look_into(home.path());
        search.look_into(temporary.path());
        looks += 1;
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    let (said, complained) = (fs::read_to_string(&out).unwrap(), fs::read_to_string(&err).unwrap());
    assert!(status.success(), "{status}\n{said}\n{complained}");
    assert!(looks > 3 && no_core, "{looks} looks, core dumps forbidden: {no_core}");
    search.look("standard output", said.as_bytes());
    search.look("standard error", complained.as_bytes());
    search.look_into(home.path());
    search.look_into(temporary.path());
    let names: Vec<String> = files(home.path()).iter().map(|path| path.display().to_string()).collect();
    for part in ["report.md", "report.json", ".log"] {
        assert!(names.iter().any(|name| name.contains(part)), "no {part} in {names:?}");
    }
    // The log was as talkative as it was asked to be, or the search means nothing.
    let log: u64 = files(home.path())
        .iter()
        .filter(|path| path.extension().is_some_and(|end| end == "log"))
        .map(|path| fs::metadata(path).unwrap().len())
        .sum();
    assert!(log > 10_000, "the log has {log} bytes");
    assert_eq!(files(temporary.path()), Vec::<PathBuf>::new(), "certificates were written to a disk");
    let report = names.iter().find(|name| name.ends_with("report.md")).unwrap();
    let report = fs::read_to_string(report).unwrap();
    assert!(report.contains("operator's own login: it may not manage users"), "{report}");
    compare::assert_identical(&source.client().await, &destination.client().await).await;
}

/// The users of `admin` that mongoferry made.
async fn temporary_users(set: &Guarded) -> Vec<Document> {
    let users = set.client().await.database("admin").collection::<Document>("system.users");
    let mut cursor = users.find(doc! { "user": { "$regex": "^mongoferry_" } }).await.unwrap();
    let mut found = Vec::new();
    while cursor.advance().await.unwrap() {
        found.push(cursor.deserialize_current().unwrap());
    }
    found
}

/// Who runs commands on the destination under our application's name.
async fn acting_users(set: &Guarded) -> Vec<String> {
    let pipeline = [doc! { "$currentOp": { "allUsers": true, "idleConnections": true } }];
    let admin = set.client().await.database("admin");
    let mut cursor = admin.aggregate(pipeline).await.unwrap();
    let mut found = Vec::new();
    while cursor.advance().await.unwrap() {
        let operation = cursor.deserialize_current().unwrap();
        if operation.get_str("appName").unwrap_or_default() == "mongoferry" {
            let users = operation.get_array("effectiveUsers").into_iter().flatten();
            found.extend(users.filter_map(|user| Some(user.as_document()?.get_str("user").ok()?.to_string())));
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn the_temporary_user_writes_and_is_dropped_at_cleanup() {
    for release in [Release::V4_4_2, Release::V5_0_4, Release::V6_0_5] {
        let (source, destination) = tokio::join!(
            Guarded::start_with("rsS", Some(release), None),
            Guarded::start_with("rsD", Some(release), None)
        );
        source.create_user("ferry_src", &["readAnyDatabase", "clusterMonitor"]).await;
        let roles = ["readWriteAnyDatabase", "dbAdminAnyDatabase", "clusterMonitor", "userAdminAnyDatabase"];
        destination.create_user("operator", &roles).await;
        // Left over from a run that was killed: nobody knows its password.
        destination.create_user("mongoferry_test", &["read"]).await;
        let documents = (0..500).map(|n| doc! { "_id": n });
        source.client().await.database("shop").collection("orders").insert_many(documents).await.unwrap();

        let mut plan = drive::plan("", "");
        plan.source = source.endpoint("ferry_src");
        plan.destination = destination.endpoint("operator");
        let (engine, _home) = drive::engine();
        let mut client = engine.client("t");
        drive::start(&mut client, plan).await;
        let users = temporary_users(&destination).await;
        assert_eq!(users.len(), 1, "{release:?} {users:?}");
        assert_eq!(users[0].get_str("user").unwrap(), "mongoferry_test");
        let mut has: Vec<&str> = users[0]
            .get_array("roles")
            .unwrap()
            .iter()
            .map(|role| role.as_document().unwrap().get_str("role").unwrap())
            .collect();
        has.sort_unstable();
        assert_eq!(has, ["clusterMonitor", "dbAdminAnyDatabase", "readWriteAnyDatabase"]);
        let restrictions = users[0].get_array("authenticationRestrictions").unwrap();
        assert!(format!("{restrictions:?}").contains("127.0.0.1"), "{restrictions:?}");
        drive::wait(&mut client, "ready", |snapshot| snapshot.can_cutover).await;
        let acting = acting_users(&destination).await;
        assert!(acting.iter().any(|user| user == "mongoferry_test"), "{acting:?}");
        let snapshot = drive::cut_over(&mut client, async || {}).await;
        assert_eq!(temporary_users(&destination).await, Vec::<Document>::new());
        let line = snapshot.cleanup.iter().find(|line| line.label.contains("temporary user")).unwrap();
        assert_eq!(line.detail, "dropped mongoferry_test");
        let notes: Vec<String> = client.events().since(0).iter().map(|event| event.text.clone()).collect();
        let note = "written as the temporary user mongoferry_test (readWriteAnyDatabase, dbAdminAnyDatabase, \
                    clusterMonitor, from 127.0.0.1 only)";
        assert!(notes.iter().any(|text| text.contains(note)), "{notes:#?}");
        compare::assert_identical(&source.client().await, &destination.client().await).await;
        // The connect page goes on with the operator's login.
        drive::wait(&mut client, "the connect page", |snapshot| snapshot.connect.is_some()).await;
        engine.shut_down().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_migration_leaves_no_login_behind() {
    let (pair, destination) = tokio::join!(common::pair(), Guarded::start());
    pair.source.client().await.unwrap().database("shop").collection("a").insert_one(doc! { "_id": 1 }).await.unwrap();
    let mut plan = drive::plan(&pair.source.uri(), "");
    plan.destination = destination.endpoint("root");
    let (engine, _home) = drive::engine();
    let mut client = engine.client("t");
    drive::start(&mut client, plan).await;
    assert_eq!(temporary_users(&destination).await.len(), 1);
    client.send(Command::Stop).await.unwrap();
    drive::wait(&mut client, "the stop", |snapshot| snapshot.phase == Phase::Stopped).await;
    engine.shut_down().await;
    assert_eq!(temporary_users(&destination).await, Vec::<Document>::new());
}
