//! `verify --plan`: two clusters compared without a migration, at rest and under load.

use crate::{
    common,
    home::{Home, PATIENCE, signal},
};
use bson::{Document, RawDocumentBuf, Timestamp, doc, rawdoc};
use mongodb::Client;
use serde_json::Value;
use std::{
    io::{BufRead, BufReader, Read},
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// Stores a document exactly, a top-level zero timestamp included.
async fn put(client: &Client, db: &str, name: &str, document: &RawDocumentBuf) {
    let id: bson::RawBson = document.get("_id").unwrap().unwrap().into();
    let pipeline = rawdoc! { "$replaceWith": { "$literal": document.clone() } };
    let command = rawdoc! { "update": name, "updates": [{ "q": { "_id": id }, "u": [pipeline], "upsert": true }] };
    let reply = client.database(db).run_raw_command(command).await.unwrap();
    assert!(reply.get_array("writeErrors").is_err(), "{reply:?}");
}

async fn run(client: &Client, db: &str, command: Document) {
    client.database(db).run_command(command).await.unwrap();
}

/// The result of a comparison with `--json`, which must end with `code`.
fn compared(home: &Home, plan: &std::path::Path, code: i32) -> Value {
    let output = home.run(&["verify", "--plan", plan.to_str().unwrap(), "--json", "--settle", "1"]);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{out}\n{err}");
    let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let result = lines.last().unwrap()["result"].clone();
    assert!(result.is_object(), "{out}");
    result
}

/// `namespace kind id paths` of every example.
fn named(result: &Value) -> Vec<String> {
    let one = |example: &Value| {
        let paths: Vec<&str> = example["paths"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        let text = |name: &str| example[name].as_str().unwrap().to_string();
        format!("{} {} {} {}", text("namespace"), text("kind"), text("id"), paths.join(",")).trim_end().to_string()
    };
    result["examples"].as_array().unwrap().iter().map(one).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_rest_every_kind_of_difference_is_named() {
    let _turn = crate::turn().await;
    let pair = common::pair().await;
    let (source, destination) = (pair.source.client().await.unwrap(), pair.destination.client().await.unwrap());
    let home = Home::new();
    let plan = home.plan("orders", &pair.source.uri(), &pair.destination.uri(), "exclude = [\"other\"]");
    let at = |time| Timestamp { time, increment: time };
    for client in [&source, &destination] {
        let documents: Vec<Document> = (0..3_000).map(|n| doc! { "_id": n, "x": "y".repeat(50) }).collect();
        client.database("shop").collection::<Document>("orders").insert_many(documents).await.unwrap();
        put(client, "shop", "orders", &rawdoc! { "_id": "zero", "t": at(0) }).await;
        run(client, "shop", doc! { "createIndexes": "orders", "indexes": [{ "key": { "x": 1 }, "name": "x_1" }] })
            .await;
        run(client, "shop", doc! { "create": "log", "capped": true, "size": 8192 }).await;
        run(client, "shop", doc! { "insert": "log", "documents": [{ "_id": 1 }] }).await;
    }
    run(&source, "other", doc! { "insert": "unselected", "documents": [{ "_id": 1 }] }).await;

    let equal = compared(&home, &plan, 0);
    assert_eq!((&equal["equal"], &equal["at_rest"]), (&true.into(), &true.into()), "{equal:#}");
    assert_eq!((&equal["documents"], &equal["mismatches"]), (&3_002.into(), &0.into()), "{equal:#}");
    let printed = home.ok(&["verify", "--plan", plan.to_str().unwrap()]);
    assert!(printed.contains("0 differ, 0 differences of metadata") && printed.contains("exact"), "{printed}");

    put(&destination, "shop", "orders", &rawdoc! { "_id": 7, "x": "z" }).await;
    let many = rawdoc! { "_id": "many", "n": 1, "s": { "a": 1, "b": 2 }, "f": f64::from_bits(0x7ff8_0000_0000_0000) };
    put(&source, "shop", "orders", &many).await;
    let other =
        rawdoc! { "_id": "many", "n": 1_i64, "s": { "b": 2, "a": 1 }, "f": f64::from_bits(0x7ff8_0000_0000_beef) };
    put(&destination, "shop", "orders", &other).await;
    put(&destination, "shop", "orders", &rawdoc! { "_id": "zero", "t": at(5) }).await;
    put(&destination, "shop", "orders", &rawdoc! { "_id": "extra" }).await;
    run(&destination, "shop", doc! { "delete": "orders", "deletes": [{ "q": { "_id": 9 }, "limit": 1 }] }).await;
    run(&source, "shop", doc! { "insert": "alone", "documents": [{ "_id": 1 }] }).await;
    run(&destination, "shop", doc! { "insert": "surplus", "documents": [{ "_id": 1 }] }).await;
    run(&destination, "shop", doc! { "dropIndexes": "orders", "index": "x_1" }).await;
    run(&destination, "shop", doc! { "collMod": "orders", "validator": { "x": { "$exists": true } } }).await;

    let differs = compared(&home, &plan, 4);
    let mut found = named(&differs);
    found.sort();
    let wanted = [
        "shop.alone missing 1",
        "shop.orders different \"many\" n,s (field order),f",
        "shop.orders different \"zero\" t",
        "shop.orders different 7 x",
        "shop.orders extra \"extra\"",
        "shop.orders missing 9",
        "shop.surplus extra 1",
    ];
    assert_eq!(found, wanted, "{differs:#}");
    assert_eq!((&differs["mismatches"], &differs["at_rest"]), (&7.into(), &true.into()), "{differs:#}");
    let metadata = differs["metadata_differences"].to_string();
    for wanted in [
        "shop.alone: this collection is missing on the destination",
        "shop.surplus: this collection is on the destination only",
        "shop.orders: index x_1 is missing on the destination",
        "shop.orders: option validator is absent on the source",
    ] {
        assert!(metadata.contains(wanted), "{wanted} is not in {metadata}");
    }
    assert!(!differs.to_string().contains("unselected"), "{differs:#}");
    let printed = home.fails(&["verify", "--plan", plan.to_str().unwrap()], 4);
    assert!(printed.contains("different shop.orders _id 7 x\n"), "{printed}");
    assert!(printed.contains("shop.orders: 1 missing, 1 extra, 3 different"), "{printed}");

    // Nothing is written to either cluster, and nothing is kept on this host.
    let again = compared(&home, &plan, 4);
    assert_eq!((&again["source_written"], &again["destination_written"]), (&false.into(), &false.into()));
    for client in [&source, &destination] {
        let names = client.list_database_names().await.unwrap();
        assert!(names.iter().all(|name| !name.starts_with("mongoferry")), "{names:?}");
    }
    assert_eq!(home.ok(&["list"]), "no migrations on this host\n");
    assert!(!home.state().exists() || std::fs::read_dir(home.state()).unwrap().next().is_none());
}

/// Writes to the source, and a little later the same to the destination, until told to end.
async fn replicate(source: Client, destination: Client, ends: Arc<AtomicBool>) -> u32 {
    let (mut random, mut writes) = (7_u64, 0);
    while !ends.load(Ordering::Relaxed) {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let id = i32::try_from((random >> 33) % 2_000).unwrap();
        let command = match random >> 62 {
            0 => doc! { "delete": "orders", "deletes": [{ "q": { "_id": id }, "limit": 1 }] },
            _ => doc! { "update": "orders", "updates": [
                { "q": { "_id": id }, "u": { "$set": { "x": (random >> 40) as i32 } }, "upsert": true },
            ] },
        };
        run(&source, "shop", command.clone()).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
        run(&destination, "shop", command).await;
        writes += 1;
    }
    writes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_nothing_false_is_reported_and_what_stands_still_is() {
    let _turn = crate::turn().await;
    let pair = common::pair().await;
    let (source, destination) = (pair.source.client().await.unwrap(), pair.destination.client().await.unwrap());
    let home = Home::new();
    let plan = home.plan("orders", &pair.source.uri(), &pair.destination.uri(), "throttle = \"2MB/s\"");
    for client in [&source, &destination] {
        let documents: Vec<Document> = (0..2_000).map(|n| doc! { "_id": n, "y": "y".repeat(2_000) }).collect();
        client.database("shop").collection::<Document>("orders").insert_many(documents).await.unwrap();
    }
    let ends = Arc::new(AtomicBool::new(false));
    let writing = tokio::spawn(replicate(source.clone(), destination.clone(), ends.clone()));
    let home = Arc::new(home);
    let compare = |code| {
        let (home, plan) = (home.clone(), plan.clone());
        tokio::task::spawn_blocking(move || compared(&home, &plan, code))
    };
    let equal = compare(0).await.unwrap();
    assert_eq!((&equal["equal"], &equal["source_written"]), (&true.into(), &true.into()), "{equal:#}");
    assert_eq!(equal["at_rest"], false);

    // One that stands still on both sides, one that is written on the source alone and never stands still.
    put(&destination, "shop", "orders", &rawdoc! { "_id": "wrong" }).await;
    let (writes_on, until) = (source.clone(), ends.clone());
    let restless = tokio::spawn(async move {
        for n in 0.. {
            if until.load(Ordering::Relaxed) {
                return;
            }
            put(&writes_on, "shop", "orders", &rawdoc! { "_id": "restless", "n": n }).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let differs = compare(4).await.unwrap();
    assert_eq!(named(&differs), ["shop.orders extra \"wrong\""], "{differs:#}");
    assert_eq!((&differs["mismatches"], &differs["changing"]), (&1.into(), &1.into()), "{differs:#}");
    ends.store(true, Ordering::Relaxed);
    restless.await.unwrap();
    assert!(writing.await.unwrap() > 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_side_that_does_not_answer_and_a_comparison_that_is_interrupted_say_so() {
    let _turn = crate::turn().await;
    let home = Home::new();
    let pair = common::pair().await;
    let nowhere = home.plan("lost", &pair.source.uri(), "mongodb://127.0.0.1:1/?replicaSet=none", "");
    let said = home.fails(&["verify", "--plan", nowhere.to_str().unwrap()], 1);
    assert!(said.contains("destination") && said.contains("127.0.0.1:1"), "{said}");
    let said = home.fails(&["verify", "orders", "--plan", nowhere.to_str().unwrap()], 1);
    assert!(said.contains("cannot be used with"), "{said}");

    for set in [&pair.source, &pair.destination] {
        let documents: Vec<Document> = (0..3_000).map(|n| doc! { "_id": n, "x": "y".repeat(10_000) }).collect();
        let client = set.client().await.unwrap();
        client.database("shop").collection::<Document>("orders").insert_many(documents).await.unwrap();
    }
    // Half a minute of work.
    let plan = home.plan("slow", &pair.source.uri(), &pair.destination.uri(), "throttle = \"1MB/s\"");
    let mut child = home.command(&["verify", "--plan", plan.to_str().unwrap()]);
    let mut child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    assert!(first.starts_with("compared ") && first.contains("of about 3,000 documents"), "{first}");
    signal(child.id(), "-INT");
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None => assert!(Instant::now() < deadline, "it does not end"),
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let said: Vec<String> = lines.map_while(Result::ok).collect();
    assert_eq!(status.code(), Some(1), "{said:?}");
    assert!(said.last().unwrap().contains("interrupted (Ctrl-C)"), "{said:?}");
    let mut out = String::new();
    child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    assert_eq!(out, "", "no result is claimed");
}
