//! Transactions: small, in several entries, aborted, spanning collections, open before the start, retryable writes.

use crate::scenario::{Scenario, Source, run};
use bson::{Document, doc};
use futures_util::future::BoxFuture;
use mongodb::ClientSession;
use tokio::sync::Mutex;

/// A transaction that was opened before the start and is committed while following; another one that is aborted then.
#[derive(Default)]
pub struct Transactions {
    open: Mutex<Option<(ClientSession, ClientSession)>>,
}

const NAME: &str = "transactions";

impl Scenario for Transactions {
    fn name(&self) -> &'static str {
        NAME
    }

    fn load<'a>(&'a self, source: &'a Source) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            // Before 6.0 a transaction is ended by the server after a minute, which a busy machine may need.
            let longer = doc! { "setParameter": 1, "transactionLifetimeLimitSeconds": 600 };
            run(&source.db("admin"), longer).await;
            let db = source.db(NAME);
            for name in ["a", "b", "open"] {
                db.collection::<Document>(name).insert_many((0..200).map(|n| doc! { "_id": n, "n": 0 })).await.unwrap();
            }
            run(&db, doc! { "create": "applied" }).await;
            let mut committed = source.client.start_session().await.unwrap();
            let mut aborted = source.client.start_session().await.unwrap();
            for (session, first) in [(&mut committed, 0), (&mut aborted, 100)] {
                session.start_transaction().await.unwrap();
                let open = db.collection::<Document>("open");
                for id in first..first + 10 {
                    open.update_one(doc! { "_id": id }, doc! { "$set": { "open": id } })
                        .session(&mut *session)
                        .await
                        .unwrap();
                }
                open.insert_one(doc! { "_id": format!("in {first}") }).session(&mut *session).await.unwrap();
            }
            *self.open.lock().await = Some((committed, aborted));
        })
    }

    fn round<'a>(&'a self, source: &'a Source, n: i32) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            // On a busy machine a lock does not come in time, or the answer to a commit is lost.
            let is_done = |attempt: i32, outcome: mongodb::error::Result<()>| match outcome {
                Err(error) if attempt > 1 && error.to_string().contains("E11000") => true,
                Err(error) => {
                    assert!(attempt < 100, "{error}");
                    false
                }
                Ok(()) => true,
            };
            let mut attempts = 1..;
            while !is_done(attempts.next().unwrap(), small(source, n).await) {}
            let mut attempts = 1..;
            while n % 6 == 0 && !is_done(attempts.next().unwrap(), making(source, n).await) {}
            if n % 12 == 3 {
                let mut attempts = 1..;
                while !is_done(attempts.next().unwrap(), large(source, n, n % 24 == 3).await) {}
            }
            let db = source.db(NAME);
            // Outside of any transaction, between them, on the same documents; retryable.
            let a = db.collection::<Document>("a");
            for id in 0..4 {
                a.update_one(doc! { "_id": id }, doc! { "$inc": { "n": 1 }, "$set": { "round": n } }).await.unwrap();
            }
            // It waits for every open transaction, and everything waits for it.
            if self.open.lock().await.is_some() {
                return;
            }
            let applied = doc! { "applyOps": [
            { "op": "i", "ns": "transactions.applied", "o": { "_id": n, "by": "applyOps" } },
            { "op": "i", "ns": "transactions.applied", "o": { "_id": n % 5, "by": "applyOps", "n": n } } ] };
            run(&source.db("admin"), applied).await;
        })
    }

    fn following<'a>(&'a self, source: &'a Source) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            // Held to the end: an `applyOps` of a round would wait for these transactions, and their last update for it.
            let mut opened = self.open.lock().await;
            let Some((mut committed, mut aborted)) = opened.take() else { return };
            let open = source.db(NAME).collection::<Document>("open");
            for session in [&mut committed, &mut aborted] {
                open.update_one(doc! { "_id": 50 }, doc! { "$set": { "late": true } })
                    .session(&mut *session)
                    .await
                    .ok();
            }
            committed.commit_transaction().await.unwrap();
            // It may have been ended by the conflict over the last document.
            aborted.abort_transaction().await.ok();
        })
    }
}

/// The error of a transaction that the server asks to repeat: 4.4 and 5.0 see a conflict in a collection that is being made.
async fn small(source: &Source, n: i32) -> mongodb::error::Result<()> {
    let db = source.db(NAME);
    let (a, b) = (db.collection::<Document>("a"), db.collection::<Document>("b"));
    let mut session = source.client.start_session().await?;
    session.start_transaction().await?;
    a.insert_one(doc! { "_id": 1_000 + n, "txn": n }).session(&mut session).await?;
    a.update_one(doc! { "_id": 1_000 + n }, doc! { "$set": { "again": n } }).session(&mut session).await?;
    b.update_many(doc! { "_id": { "$lt": 20 } }, doc! { "$inc": { "n": 1 } }).session(&mut session).await?;
    b.delete_one(doc! { "_id": 1_000 + n - 5 }).session(&mut session).await?;
    b.insert_one(doc! { "_id": 1_000 + n }).session(&mut session).await?;
    // The same document goes and comes back.
    a.delete_one(doc! { "_id": 199 }).session(&mut session).await?;
    a.insert_one(doc! { "_id": 199, "n": n }).session(&mut session).await?;
    match n % 4 {
        0 => session.abort_transaction().await?,
        _ => session.commit_transaction().await?,
    }
    Ok(())
}

/// Creates a collection.
async fn making(source: &Source, n: i32) -> mongodb::error::Result<()> {
    let mut session = source.client.start_session().await?;
    session.start_transaction().await?;
    let made = source.db(NAME).collection::<Document>(&format!("made{n}"));
    made.insert_one(doc! { "_id": 1 }).session(&mut session).await?;
    session.commit_transaction().await
}

/// Larger than one oplog entry may be.
async fn large(source: &Source, n: i32, commit: bool) -> mongodb::error::Result<()> {
    let db = source.db(NAME);
    let (b, large) = (db.collection::<Document>("b"), db.collection::<Document>("large"));
    let mut session = source.client.start_session().await?;
    session.start_transaction().await?;
    for part in 0..5 {
        let document = doc! { "_id": n * 10 + part, "x": "y".repeat(5 << 20) };
        large.insert_one(document).session(&mut session).await?;
    }
    b.update_one(doc! { "_id": 30 }, doc! { "$set": { "large": n } }).session(&mut session).await?;
    // Something else happens while its parts wait.
    b.replace_one(doc! { "_id": 5_000 + n }, doc! {}).upsert(true).await?;
    if commit {
        session.commit_transaction().await?;
        large.delete_many(doc! { "_id": { "$lt": n * 10 } }).await?;
        Ok(())
    } else {
        session.abort_transaction().await
    }
}
