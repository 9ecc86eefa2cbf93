//! One block of the spool: a header and the compressed entries that were fsynced together.

use crate::model::Optime;

/// Bytes of a header.
pub const HEADER: usize = 76;
const MAGIC: [u8; 4] = *b"MFS1";
/// Speed before size: the spool must keep up with the network.
const LEVEL: i32 = 1;
/// No entry is larger than a document and a little; no block holds more than a batch.
const LARGEST: u32 = 64 << 20;

/// What the fetcher knows at the end of a block; a restart goes on from there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mark {
    /// Position of the last entry.
    pub ts: Optime,
    /// Its election term.
    pub term: i64,
    /// Its wall time, ms.
    pub wall_ms: i64,
    /// Changes of selected user namespaces since the start of the migration.
    pub ops: u64,
    /// Position and wall time (ms) of the newest write to a selected user namespace; zero when there was none.
    pub user_write: (Optime, i64),
}

/// The header of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Bytes of the compressed entries that follow.
    pub stored: u32,
    /// Bytes of the entries.
    pub raw: u32,
    /// Position of the first entry.
    pub first: Optime,
    /// Where it ends.
    pub mark: Mark,
}

/// FNV-1a; tells a torn header from a whole one. The entries carry zstd's own checksum.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

impl Header {
    /// As it stands in the file.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER);
        bytes.extend(MAGIC);
        for number in [self.stored, self.raw] {
            bytes.extend(number.to_le_bytes());
        }
        for position in [self.first, self.mark.ts, self.mark.user_write.0] {
            bytes.extend(position.t.to_le_bytes());
            bytes.extend(position.i.to_le_bytes());
        }
        for number in [self.mark.term, self.mark.wall_ms, self.mark.user_write.1] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(self.mark.ops.to_le_bytes());
        let sum = checksum(&bytes);
        bytes.extend(sum.to_le_bytes());
        bytes
    }

    /// Reads a header; `None` when it is torn or none.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (bytes, sum) = bytes.get(..HEADER)?.split_at_checked(HEADER - 8)?;
        if bytes.get(..4)? != MAGIC || checksum(bytes).to_le_bytes() != sum {
            return None;
        }
        let short = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let long = |at: usize| Some(i64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        let position = |at: usize| Some(Optime::new(short(at)?, short(at + 4)?));
        let (stored, raw) = (short(4)?, short(8)?);
        let mark = Mark {
            ts: position(20)?,
            term: long(36)?,
            wall_ms: long(44)?,
            ops: u64::from_le_bytes(bytes.get(60..68)?.try_into().ok()?),
            user_write: (position(28)?, long(52)?),
        };
        (stored <= LARGEST && raw <= LARGEST).then_some(Self { stored, raw, first: position(12)?, mark })
    }
}

/// Compresses entries.
pub fn compress(entries: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = zstd::Encoder::new(Vec::with_capacity(entries.len() / 4), LEVEL)?;
    encoder.include_checksum(true)?;
    std::io::Write::write_all(&mut encoder, entries)?;
    encoder.finish()
}

/// The entries of a block; an error when they are torn.
pub fn decompress(header: &Header, stored: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut entries = Vec::with_capacity(header.raw as usize);
    let limit = u64::from(header.raw) + 1;
    std::io::Read::read_to_end(&mut std::io::Read::take(zstd::Decoder::new(stored)?, limit), &mut entries)?;
    if entries.len() == header.raw as usize {
        Ok(entries)
    } else {
        Err(std::io::Error::other("a block does not hold what its header says"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_come_back_and_torn_ones_do_not() {
        let mark =
            Mark { ts: Optime::new(9, 3), term: 4, wall_ms: -1, ops: 77, user_write: (Optime::new(8, 1), 8_000) };
        let header = Header { stored: 5, raw: 9, first: Optime::new(7, 2), mark };
        let mut bytes = header.bytes();
        assert_eq!((bytes.len(), Header::parse(&bytes)), (HEADER, Some(header)));
        assert_eq!(Header::parse(&bytes[..HEADER - 1]), None);
        bytes[30] ^= 1;
        assert_eq!(Header::parse(&bytes), None);
    }

    #[test]
    fn entries_come_back_and_damage_is_found() {
        let entries = b"entry after entry ".repeat(1_000);
        let mut stored = compress(&entries).unwrap();
        let header = Header {
            stored: u32::try_from(stored.len()).unwrap(),
            raw: u32::try_from(entries.len()).unwrap(),
            first: Optime::default(),
            mark: Mark::default(),
        };
        assert!(stored.len() < entries.len() / 10);
        assert_eq!(decompress(&header, &stored).unwrap(), entries);
        let middle = stored.len() / 2;
        stored[middle] ^= 0x10;
        assert!(decompress(&header, &stored).is_err());
        assert!(decompress(&header, &stored[..middle]).is_err());
    }
}
