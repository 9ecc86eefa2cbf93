//! Transactions: their parts are collected until the commit entry, then released in order (OPLOG.md A.3).

use super::{OplogError, entry::TransactionPart};
use crate::model::Optime;
use bson::{RawArrayBuf, Uuid};
use std::collections::HashMap;

/// Transactions whose commit entry has not been seen.
#[derive(Debug, Default)]
pub struct Assembler {
    open: HashMap<(Uuid, i64), Open>,
}

#[derive(Debug)]
struct Open {
    first: Optime,
    last: Optime,
    parts: Vec<RawArrayBuf>,
}

/// What became of a part.
#[derive(Debug)]
pub enum Assembled {
    /// More parts follow.
    Waiting,
    /// The transaction committed here; its operations, part by part, in order.
    Committed(Vec<RawArrayBuf>),
    /// Earlier parts, the newest of which is at this position, were never seen: read them from the source by their
    /// position (`ts` equal), following `prevOpTime`, hand them to [`Assembler::push`] oldest first, then push again.
    NeedsEarlier(Optime),
}

impl Assembler {
    /// Takes one part that stands at `ts`.
    pub fn push(&mut self, ts: Optime, part: &TransactionPart<'_>) -> Result<Assembled, OplogError> {
        let known = self.open.get(&part.key).map(|open| open.last);
        if part.previous == Optime::default() {
            // A retried transaction starts over under the same key.
            self.open.remove(&part.key);
        } else if known != Some(part.previous) {
            return Ok(Assembled::NeedsEarlier(part.previous));
        }
        // Refused now rather than at the commit, when the source may no longer have the part.
        part.operations.into_iter().try_for_each(|operation| operation.map(drop)).map_err(|_| OplogError::Corrupt)?;
        let operations = part.operations.to_owned();
        let open = self.open.entry(part.key).or_insert(Open { first: ts, last: ts, parts: Vec::new() });
        open.last = ts;
        open.parts.push(operations);
        if part.partial {
            return Ok(Assembled::Waiting);
        }
        Ok(self.open.remove(&part.key).map_or(Assembled::Waiting, |open| Assembled::Committed(open.parts)))
    }

    /// Bytes of the parts that wait for their commit.
    pub fn bytes(&self) -> usize {
        self.open.values().flat_map(|open| &open.parts).map(|part| part.as_bytes().len()).sum()
    }

    /// The oldest part that is still waiting for its commit.
    pub fn oldest_open(&self) -> Option<Optime> {
        self.open.values().map(|open| open.first).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::rawdoc;

    fn array(n: i32) -> RawArrayBuf {
        let mut array = RawArrayBuf::new();
        array.push(rawdoc! { "n": n });
        array
    }

    fn part(operations: &RawArrayBuf, previous: u32, partial: bool) -> TransactionPart<'_> {
        let key = (Uuid::from_bytes([1; 16]), 5);
        TransactionPart { key, previous: Optime::new(previous, 0), partial, operations }
    }

    #[test]
    fn parts_are_released_in_order_at_the_commit() {
        let mut assembler = Assembler::default();
        let (a, b, c) = (array(1), array(2), array(3));
        assert!(matches!(assembler.push(Optime::new(1, 0), &part(&a, 0, true)), Ok(Assembled::Waiting)));
        assert_eq!(assembler.oldest_open(), Some(Optime::new(1, 0)));
        assert_eq!(assembler.bytes(), a.as_bytes().len());
        assert!(matches!(assembler.push(Optime::new(2, 0), &part(&b, 1, true)), Ok(Assembled::Waiting)));
        match assembler.push(Optime::new(3, 0), &part(&c, 2, false)) {
            Ok(Assembled::Committed(parts)) => assert_eq!(format!("{parts:?}"), format!("{:?}", [a, b, c])),
            other => panic!("{other:?}"),
        }
        assert_eq!((assembler.oldest_open(), assembler.bytes()), (None, 0));
    }

    #[test]
    fn transactions_of_two_sessions_do_not_mix_and_a_retry_starts_over() {
        let mut assembler = Assembler::default();
        let (a, b, c) = (array(1), array(2), array(3));
        let other = TransactionPart { key: (Uuid::from_bytes([2; 16]), 5), ..part(&c, 0, true) };
        assert!(matches!(assembler.push(Optime::new(1, 0), &part(&a, 0, true)), Ok(Assembled::Waiting)));
        assert!(matches!(assembler.push(Optime::new(2, 0), &other), Ok(Assembled::Waiting)));
        // The first session's transaction again, from its beginning.
        assert!(matches!(assembler.push(Optime::new(3, 0), &part(&a, 0, true)), Ok(Assembled::Waiting)));
        let committed = assembler.push(Optime::new(4, 0), &part(&b, 3, false));
        assert!(matches!(committed, Ok(Assembled::Committed(parts)) if parts == [a, b]));
        assert_eq!(assembler.oldest_open(), Some(Optime::new(2, 0)));
    }

    #[test]
    fn a_part_without_its_beginning_asks_for_it() {
        let mut assembler = Assembler::default();
        let (a, b) = (array(1), array(2));
        let commit = part(&b, 8, false);
        match assembler.push(Optime::new(9, 0), &commit) {
            Ok(Assembled::NeedsEarlier(at)) => assert_eq!(at, Optime::new(8, 0)),
            other => panic!("{other:?}"),
        }
        assert!(matches!(assembler.push(Optime::new(8, 0), &part(&a, 0, true)), Ok(Assembled::Waiting)));
        assert!(
            matches!(assembler.push(Optime::new(9, 0), &commit), Ok(Assembled::Committed(parts)) if parts.len() == 2)
        );
    }
}
