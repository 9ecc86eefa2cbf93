//! The reading end: entries in order, waiting for more at the end.

use super::{
    Shared, Written,
    block::{self, HEADER, Header},
    problem, segment_path,
};
use crate::model::Problem;
use bson::RawDocument;
use std::{
    fs::File,
    io::{ErrorKind, Read, Seek, SeekFrom},
    sync::{Arc, atomic::Ordering},
};
use tokio::sync::watch;

/// No BSON document is shorter.
const SHORTEST: usize = 5;

/// Holds one block in memory.
#[derive(Debug)]
pub struct SpoolReader {
    shared: Arc<Shared>,
    file: File,
    segment: u64,
    offset: u64,
    entries: Vec<u8>,
    position: usize,
    written: watch::Receiver<Written>,
}

impl SpoolReader {
    pub(super) fn new(
        shared: Arc<Shared>,
        file: File,
        segment: u64,
        offset: u64,
        written: watch::Receiver<Written>,
    ) -> Self {
        Self { shared, file, segment, offset, entries: Vec::new(), position: 0, written }
    }

    /// The next entry, without going past it; waits for one. `None`: the writer is gone and everything is read.
    /// Nothing is lost when the wait is cancelled.
    pub async fn peek(&mut self) -> Result<Option<&RawDocument>, Problem> {
        while self.position >= self.entries.len() {
            if !self.load()? && self.written.changed().await.is_err() && !self.load()? {
                return Ok(None);
            }
        }
        match self.entry_end().and_then(|end| self.entries.get(self.position..end)).map(RawDocument::from_bytes) {
            Some(Ok(entry)) => Ok(Some(entry)),
            _ => Err(self.damaged("an entry is not valid BSON")),
        }
    }

    /// Goes past the entry that `peek` showed.
    pub fn consume(&mut self) {
        if let Some(end) = self.entry_end() {
            self.shared.consumed.fetch_add((end - self.position) as u64, Ordering::Relaxed);
            self.position = end;
        }
    }

    /// Where the next entry ends.
    fn entry_end(&self) -> Option<usize> {
        let prefix = self.entries.get(self.position..)?.first_chunk()?;
        let length = usize::try_from(i32::from_le_bytes(*prefix)).ok().filter(|length| *length >= SHORTEST)?;
        Some(self.position + length)
    }

    fn damaged(&self, why: &str) -> Problem {
        problem(&self.shared.folder, "read", &std::io::Error::other(why))
    }

    /// Reads the next block; `false` when nothing more is written yet.
    fn load(&mut self) -> Result<bool, Problem> {
        let written = *self.written.borrow_and_update();
        let folder = self.shared.folder.clone();
        let failed = |error: std::io::Error| problem(&folder, "read", &error);
        let is_finished = written.segment > self.segment;
        let size = if is_finished { self.file.metadata().map_err(failed)?.len() } else { written.bytes };
        if self.offset >= size {
            if !is_finished {
                return Ok(false);
            }
            self.file = File::open(segment_path(&folder, self.segment + 1)).map_err(failed)?;
            (self.segment, self.offset) = (self.segment + 1, 0);
            return self.load();
        }
        let mut header = [0; HEADER];
        self.file.seek(SeekFrom::Start(self.offset)).map_err(failed)?;
        self.file.read_exact(&mut header).map_err(failed)?;
        let header = Header::parse(&header).ok_or_else(|| self.damaged("a block's header is damaged"))?;
        let mut stored = vec![0; header.stored as usize];
        self.file.read_exact(&mut stored).map_err(failed)?;
        self.entries = block::decompress(&header, &stored).map_err(failed)?;
        self.position = 0;
        self.offset += HEADER as u64 + u64::from(header.stored);
        if self.entries.is_empty() {
            return Err(failed(ErrorKind::UnexpectedEof.into()));
        }
        Ok(true)
    }
}
