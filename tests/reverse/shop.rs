//! A small shop with every kind of collection that a way back has to care for, a migration of it, and what the
//! application writes to the new cluster.

use crate::{
    common::Pair,
    home::{Home, PATIENCE, signal},
};
use bson::{DateTime, Document, doc};
use futures_util::FutureExt;
use mongodb::Client;

/// Users whose unique e-mail addresses are swapped.
pub const USERS: i32 = 400;

pub async fn run(client: &Client, command: Document) {
    client.database("shop").run_command(command.clone()).await.unwrap_or_else(|error| panic!("{command}: {error}"));
}

pub async fn fill(client: &Client) {
    let shop = client.database("shop");
    let users = (0..USERS).map(|n| doc! { "_id": n, "mail": format!("m{n}"), "n": n });
    shop.collection("users").insert_many(users).await.unwrap();
    let orders = (0..2_000).map(|n| doc! { "_id": n, "state": "new", "lines": [{ "sku": n, "qty": 1 }] });
    shop.collection("orders").insert_many(orders).await.unwrap();
    let hour_ago = DateTime::from_millis(DateTime::now().timestamp_millis() - 3_600_000);
    let sessions = (0..200).map(|n| doc! { "_id": n, "seen": DateTime::now(), "made": hour_ago });
    shop.collection("sessions").insert_many(sessions).await.unwrap();
    shop.collection("old").insert_one(doc! { "_id": 1 }).await.unwrap();
    run(client, doc! { "create": "log", "capped": true, "size": 1 << 20, "max": 50 }).await;
    let log = (0..40).map(|n| doc! { "_id": n, "line": n });
    shop.collection("log").insert_many(log).await.unwrap();
    run(client, doc! { "create": "big", "viewOn": "orders", "pipeline": [{ "$match": { "_id": { "$gt": 5 } } }] })
        .await;
    let unique = |key: &str| doc! { "key": { key: 1 }, "name": format!("{key}_1"), "unique": true };
    run(client, doc! { "createIndexes": "users", "indexes": [unique("mail")] }).await;
    let ttl = doc! { "key": { "seen": 1 }, "name": "seen_1", "expireAfterSeconds": 7_200 };
    run(client, doc! { "createIndexes": "sessions", "indexes": [ttl] }).await;
    run(client, doc! { "createIndexes": "orders", "indexes": [{ "key": { "state": 1 }, "name": "state_1" }] }).await;
    run(client, doc! { "collMod": "orders", "validator": { "state": { "$exists": true } } }).await;
}

/// When an index of the shop lets its documents expire, seconds.
pub async fn ttl(client: &Client, collection: &str, index: &str) -> i64 {
    let reply = client.database("shop").run_command(doc! { "listIndexes": collection }).await.unwrap();
    let indexes = reply.get_document("cursor").unwrap().get_array("firstBatch").unwrap().clone();
    let named = |spec: &&Document| spec.get_str("name").is_ok_and(|name| name == index);
    let spec = indexes.iter().filter_map(|spec| spec.as_document()).find(named);
    let seconds = spec.unwrap().get("expireAfterSeconds").unwrap().clone();
    seconds.as_i32().map(i64::from).or(seconds.as_i64()).unwrap()
}

/// Ends the engine that works on a migration as a crash would; returns when its journal is free.
pub fn kill_engine(home: &Home, name: &str) {
    let summary = std::fs::read(home.state().join(name).join("summary.json")).unwrap();
    let summary: serde_json::Value = serde_json::from_slice(&summary).unwrap();
    let engine = u32::try_from(summary["owner"]["pid"].as_u64().unwrap()).unwrap();
    signal(engine, "-KILL");
    let deadline = std::time::Instant::now() + PATIENCE;
    while std::path::Path::new(&format!("/proc/{engine}")).exists() {
        assert!(std::time::Instant::now() < deadline, "engine {engine} does not end");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

/// Migrates the shop, to the end. The command line answers when the new cluster accepts writes.
pub fn migrate(home: &Home, pair: &Pair, options: &str) {
    let plan = home.plan("shop", &pair.source.uri(), &pair.destination.uri(), options);
    home.ok(&["start", "--plan", plan.to_str().unwrap(), "--accept-warnings"]);
    home.wait("shop", "ready", |status| status["can_cutover"] == true);
    cut_over(home);
}

/// To the end of the cleanup, before which there is no way back.
pub fn cut_over(home: &Home) {
    assert!(home.ok(&["cutover", "shop"]).contains("DONE"));
    // What other commands go by is the summary on disk.
    let summary = home.state().join("shop").join("summary.json");
    home.wait("shop", "completed", |_| {
        let text = std::fs::read_to_string(&summary).unwrap_or_default();
        serde_json::from_str::<serde_json::Value>(&text).is_ok_and(|summary| summary["phase"] == "completed")
    });
}

/// Cuts the way back over. Documents that are fetched again close the gate for a moment, and it opens again.
pub fn go_back(home: &Home) {
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        home.wait("shop-back", "nearly in sync", |status| status["can_cutover"] == true);
        let output = home.run(&["cutover", "shop-back"]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        if output.status.success() {
            assert!(said.contains("DONE"), "{said}");
            return;
        }
        assert!(output.status.code() == Some(3) && std::time::Instant::now() < deadline, "{said}");
        assert!(said.contains("still to be fetched again") || said.contains("lag is under"), "{said}");
    }
}

/// One round of what an application does, of which every statement is another one in another round.
pub async fn write(client: &Client, round: i32) {
    let shop = client.database("shop");
    let users = shop.collection::<Document>("users");
    let orders = shop.collection::<Document>("orders");
    for pair in 0..40 {
        // A value goes from one document to another and back, and round three of them.
        let (a, b, c) = (pair * 3, pair * 3 + 1, pair * 3 + 2);
        let mail = async |id: i32| {
            let user = users.find_one(doc! { "_id": id }).await.unwrap().unwrap();
            user.get_str("mail").unwrap().to_string()
        };
        let (of_a, of_b, of_c) = (mail(a).await, mail(b).await, mail(c).await);
        let set = async |id: i32, mail: &str| {
            users.update_one(doc! { "_id": id }, doc! { "$set": { "mail": mail } }).await.unwrap();
        };
        set(a, &format!("free{pair}")).await;
        set(b, &of_a).await;
        set(c, &of_b).await;
        set(a, &of_c).await;
    }
    // A document gives its value to one that is inserted.
    let given = USERS - 1 - round;
    users.delete_one(doc! { "_id": given }).await.unwrap();
    users.insert_one(doc! { "_id": format!("heir of {given}"), "mail": format!("m{given}") }).await.unwrap();
    for n in 0..100 {
        let id = round * 100 + n;
        orders.insert_one(doc! { "_id": format!("new {id}"), "state": "new", "at": DateTime::now() }).await.unwrap();
        let change = doc! { "$set": { "state": format!("paid {round}"), "lines.0.qty": n }, "$unset": { "x": 1 } };
        orders.update_one(doc! { "_id": id }, change).await.unwrap();
    }
    orders.delete_many(doc! { "_id": { "$gte": 1_900 - round * 10, "$lt": 1_910 - round * 10 } }).await.unwrap();
    let lines = (0..30).map(|n| doc! { "_id": 1_000 + round * 30 + n, "line": n });
    shop.collection("log").insert_many(lines).await.unwrap();
}

/// Commands and a transaction; once.
pub async fn command(client: &Client) {
    let shop = client.database("shop");
    run(client, doc! { "create": "fresh" }).await;
    let unique = doc! { "key": { "sku": 1 }, "name": "sku_1", "unique": true };
    run(client, doc! { "createIndexes": "fresh", "indexes": [unique] }).await;
    shop.collection("fresh").insert_many((0..50).map(|n| doc! { "_id": n, "sku": n })).await.unwrap();
    run(client, doc! { "drop": "old" }).await;
    run(client, doc! { "dropIndexes": "orders", "index": "state_1" }).await;
    let ttl = doc! { "key": { "made": 1 }, "name": "made_1", "expireAfterSeconds": 86_400 };
    run(client, doc! { "createIndexes": "orders", "indexes": [ttl] }).await;
    run(client, doc! { "collMod": "sessions", "index": { "name": "seen_1", "expireAfterSeconds": 9_000 } }).await;
    let mut session = client.start_session().await.unwrap();
    let users = shop.collection::<Document>("users");
    let whole = session.start_transaction().and_run(users, |session, users| {
        async move {
            for (id, mail) in [(300, "t"), (301, "m300"), (300, "m301")] {
                let change = doc! { "$set": { "mail": mail } };
                users.update_one(doc! { "_id": id }, change).session(&mut *session).await?;
            }
            Ok(())
        }
        .boxed()
    });
    whole.await.unwrap();
    let rename = doc! { "renameCollection": "shop.fresh", "to": "shop.renamed" };
    client.database("admin").run_command(rename).await.unwrap();
}
