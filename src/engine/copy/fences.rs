//! Waiting for the majority, together: the copy writes with `w: 1`, and whoever wants to know that the majority has what
//! it wrote asks here. Many small collections wait once for all of them.

use crate::{
    engine::{
        context::Context,
        retry::{Halt, retry},
    },
    model::Side,
};
use bson::{RawDocument, oid::ObjectId, rawdoc};
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Mutex;

/// One per copy; shared by its readers.
#[derive(Debug)]
pub struct Fences<'a> {
    context: &'a Context,
    asked: AtomicU64,
    last: Mutex<Last>,
}

#[derive(Debug, Default)]
struct Last {
    /// Everybody who asked up to here has the answer.
    covered: u64,
    term: Option<i64>,
}

impl<'a> Fences<'a> {
    /// Nobody has asked yet.
    pub fn new(context: &'a Context) -> Self {
        Self { context, asked: AtomicU64::new(0), last: Mutex::new(Last::default()) }
    }

    /// Returns when the majority has everything that was acknowledged before, in whatever namespace; `db` is where it is
    /// asked. The election term in which it was confirmed.
    pub async fn pass(&self, db: &str, coll: &str) -> Result<Option<i64>, Halt> {
        let ticket = self.asked.fetch_add(1, Ordering::AcqRel) + 1;
        let mut last = self.last.lock().await;
        if last.covered >= ticket {
            return Ok(last.term);
        }
        let covered = self.asked.load(Ordering::Acquire);
        let term = fence(self.context, db, coll).await?;
        *last = Last { covered, term };
        Ok(term)
    }
}

/// A delete of nothing with majority waits until everything before it on that primary is majority-committed.
async fn fence(context: &Context, db: &str, coll: &str) -> Result<Option<i64>, Halt> {
    let what = format!("waiting for the majority to have {db}.{coll}");
    let reply = retry(Side::Destination, &what, &context.events, &context.cancel, || {
        let nothing = rawdoc! { "delete": coll, "deletes": [{ "q": { "_id": ObjectId::new() }, "limit": 1 }] };
        context.destination.run_with_majority(db, nothing)
    })
    .await?;
    Ok(election_term(&reply))
}

/// The term of the primary that answered a write.
pub fn election_term(reply: &RawDocument) -> Option<i64> {
    reply.get_document("opTime").ok()?.get_i64("t").ok()
}
