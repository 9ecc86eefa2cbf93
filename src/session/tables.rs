//! The rows of the collections cross the socket apart from the snapshot, and only when they changed: there may be a hundred
//! thousand of them, and a snapshot goes out five times a second.

use super::protocol::Told;
use crate::model::{
    Rows, Snapshot,
    snapshot::{CollectionRow, VerifiedCollection},
};

/// The rows that the client has. Each end of a connection keeps one.
#[derive(Debug, Default)]
pub struct Tables {
    collections: Rows<CollectionRow>,
    verified: Rows<VerifiedCollection>,
}

impl Tables {
    /// Takes the rows out of a snapshot; what has to be told before it is returned.
    pub fn take_from(&mut self, snapshot: &mut Snapshot) -> Vec<Told> {
        let mut news = Vec::new();
        let collections = std::mem::take(&mut snapshot.collections);
        if collections != self.collections {
            news.push(Told::Collections(collections.clone()));
        }
        let verified = std::mem::take(&mut snapshot.verification.collections);
        if verified != self.verified {
            news.push(Told::Verified(verified.clone()));
        }
        (self.collections, self.verified) = (collections, verified);
        news
    }

    /// The collections as they were told.
    pub fn tell_collections(&mut self, rows: Rows<CollectionRow>) {
        self.collections = rows;
    }

    /// The comparison's rows as they were told.
    pub fn tell_verified(&mut self, rows: Rows<VerifiedCollection>) {
        self.verified = rows;
    }

    /// Completes a snapshot.
    pub fn put_into(&self, snapshot: &mut Snapshot) {
        snapshot.collections = self.collections.clone();
        snapshot.verification.collections = self.verified.clone();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    fn verified(documents: u64) -> VerifiedCollection {
        VerifiedCollection {
            namespace: "shop.orders".into(),
            documents,
            documents_total: documents,
            missing: 0,
            extra: 0,
            different: 0,
            application: 0,
            done: true,
        }
    }

    #[test]
    fn rows_are_told_once_and_the_snapshot_arrives_whole() {
        let mut snapshot = Snapshot::idle(Timestamp::UNIX_EPOCH);
        snapshot.verification.collections.change().push(verified(3));
        let (mut engine, mut client) = (Tables::default(), Tables::default());
        for told in [1, 0] {
            let mut sent = snapshot.clone();
            let news = engine.take_from(&mut sent);
            assert_eq!((news.len(), sent.verification.collections.len()), (told, 0));
            for told in news {
                let Told::Verified(rows) = told else { panic!("{told:?}") };
                client.tell_verified(rows);
            }
            client.put_into(&mut sent);
            assert_eq!(sent, snapshot);
        }
        snapshot.verification.collections.change()[0] = verified(4);
        assert_eq!(engine.take_from(&mut snapshot).len(), 1, "they changed");
    }
}
