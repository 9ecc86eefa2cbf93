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

    /// Remembers the rows that are told, and puts them into the snapshot that follows.
    pub fn hear(&mut self, told: &mut Told) {
        match told {
            Told::Collections(rows) => self.collections = rows.clone(),
            Told::Verified(rows) => self.verified = rows.clone(),
            Told::Snapshot(snapshot) => {
                snapshot.collections = self.collections.clone();
                snapshot.verification.collections = self.verified.clone();
            }
            _ => {}
        }
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
            news.into_iter().for_each(|mut told| client.hear(&mut told));
            let mut arrived = Told::Snapshot(Box::new(sent));
            client.hear(&mut arrived);
            assert!(matches!(arrived, Told::Snapshot(arrived) if *arrived == snapshot));
        }
        snapshot.verification.collections.change()[0] = verified(4);
        assert_eq!(engine.take_from(&mut snapshot).len(), 1, "they changed");
    }
}
