//! The fetched oplog on local disk, so that the fetcher never waits for the applier: segment files of raw entries, one
//! writer, one reader that follows it. A segment is removed once it is read.
//!
//! In this version a spool belongs to one run of the engine and is not read again after a restart.

use crate::model::{Problem, Side};
use bson::RawDocument;
use std::{
    collections::VecDeque,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{ErrorKind, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::sync::watch;

/// A segment is closed at this size; a larger entry makes a larger segment.
const SEGMENT_BYTES: u64 = 64 << 20;
/// The reader holds this much at a time, or one larger entry.
const CHUNK_BYTES: usize = 4 << 20;

/// Up to where the reader may read.
#[derive(Debug, Clone, Default)]
struct Written {
    /// Finished segments that the reader has not been told of, by number and size.
    finished: VecDeque<(u64, u64)>,
    /// The segment that is written now, and its complete bytes.
    current: (u64, u64),
}

/// The writing end.
#[derive(Debug)]
pub struct SpoolWriter {
    folder: PathBuf,
    file: File,
    written: watch::Sender<Written>,
    appended: Arc<AtomicU64>,
    consumed: Arc<AtomicU64>,
}

/// The reading end: entries in order, waiting for more at the end.
#[derive(Debug)]
pub struct SpoolReader {
    folder: PathBuf,
    file: File,
    segment: u64,
    offset: u64,
    buffer: Vec<u8>,
    position: usize,
    written: watch::Receiver<Written>,
    consumed: Arc<AtomicU64>,
}

fn problem(folder: &Path, what: &str, error: &std::io::Error) -> Problem {
    let fix = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "Free space on that disk, or set MONGOFERRY_HOME to a larger one."
        }
        _ => "Check the disk that holds the state folder.",
    };
    Problem {
        side: Side::Host,
        what: format!("the oplog spool in {} cannot be {what}", folder.display()),
        why: error.to_string(),
        fix: fix.into(),
        retry_helps: false,
        written: "The source is untouched; the destination keeps what was applied so far.".into(),
    }
}

fn segment_path(folder: &Path, segment: u64) -> PathBuf {
    folder.join(format!("{segment:08}.oplog"))
}

fn create_segment(folder: &Path, segment: u64) -> std::io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(segment_path(folder, segment))
}

/// A new, empty spool; creates the folder (0700).
pub fn open(folder: &Path) -> Result<(SpoolWriter, SpoolReader), Problem> {
    let failed = |error: std::io::Error| problem(folder, "created", &error);
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    let file = create_segment(folder, 0).map_err(failed)?;
    let read = File::open(segment_path(folder, 0)).map_err(failed)?;
    let (written, watching) = watch::channel(Written::default());
    let (appended, consumed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let writer = SpoolWriter { folder: folder.into(), file, written, appended, consumed: consumed.clone() };
    let reader = SpoolReader {
        folder: folder.into(),
        file: read,
        segment: 0,
        offset: 0,
        buffer: Vec::new(),
        position: 0,
        written: watching,
        consumed,
    };
    Ok((writer, reader))
}

impl SpoolWriter {
    /// Appends whole entries (their raw bytes, one after the other) and wakes the reader.
    pub fn append(&mut self, entries: &[u8]) -> Result<(), Problem> {
        if entries.is_empty() {
            return Ok(());
        }
        self.file.write_all(entries).map_err(|error| problem(&self.folder, "written", &error))?;
        self.appended.fetch_add(entries.len() as u64, Ordering::Relaxed);
        let (segment, size) = self.written.borrow().current;
        let size = size + entries.len() as u64;
        if size < SEGMENT_BYTES {
            self.written.send_modify(|written| written.current = (segment, size));
            return Ok(());
        }
        self.file =
            create_segment(&self.folder, segment + 1).map_err(|error| problem(&self.folder, "written", &error))?;
        self.written.send_modify(|written| {
            written.finished.push_back((segment, size));
            written.current = (segment + 1, 0);
        });
        Ok(())
    }

    /// Bytes appended and not yet read.
    pub fn waiting_bytes(&self) -> u64 {
        self.appended.load(Ordering::Relaxed).saturating_sub(self.consumed.load(Ordering::Relaxed))
    }
}

impl SpoolReader {
    /// The next entry, without going past it; waits for one. `None`: the writer is gone and everything is read.
    /// Nothing is lost when the wait is cancelled.
    pub async fn peek(&mut self) -> Result<Option<&RawDocument>, Problem> {
        while self.entry_length(self.position).is_none() {
            if !self.refill()? && self.written.changed().await.is_err() && !self.refill()? {
                return Ok(None);
            }
        }
        let bytes = self.entry_length(self.position).and_then(|end| self.buffer.get(self.position..end));
        match bytes.map(RawDocument::from_bytes) {
            Some(Ok(entry)) => Ok(Some(entry)),
            _ => Err(problem(&self.folder, "read", &std::io::Error::other("an entry is not valid BSON"))),
        }
    }

    /// Goes past the entry that `peek` showed.
    pub fn consume(&mut self) {
        if let Some(end) = self.entry_length(self.position) {
            self.consumed.fetch_add((end - self.position) as u64, Ordering::Relaxed);
            self.position = end;
        }
    }

    /// Where the entry at `position` ends, when the buffer holds all of it.
    fn entry_length(&self, position: usize) -> Option<usize> {
        let prefix = self.buffer.get(position..position + 4)?;
        let length = usize::try_from(i32::from_le_bytes(prefix.try_into().ok()?)).ok()?;
        (position + length <= self.buffer.len()).then_some(position + length)
    }

    /// Reads on; `false` when nothing more is written yet.
    fn refill(&mut self) -> Result<bool, Problem> {
        let written = self.written.borrow_and_update().clone();
        let size = match written.finished.iter().find(|(segment, _)| *segment == self.segment) {
            Some((_, size)) => *size,
            None => written.current.1,
        };
        if self.offset == size {
            if written.current.0 == self.segment {
                return Ok(false);
            }
            return self.next_segment().map(|()| true);
        }
        self.buffer.drain(..self.position);
        self.position = 0;
        let wanted = (size - self.offset).min(CHUNK_BYTES as u64);
        let failed = |error: std::io::Error| problem(&self.folder, "read", &error);
        let read = (&self.file).take(wanted).read_to_end(&mut self.buffer).map_err(failed)?;
        if read == 0 {
            return Err(failed(std::io::Error::from(ErrorKind::UnexpectedEof)));
        }
        self.offset += read as u64;
        Ok(true)
    }

    fn next_segment(&mut self) -> Result<(), Problem> {
        let failed = |error: std::io::Error| problem(&self.folder, "read", &error);
        let file = File::open(segment_path(&self.folder, self.segment + 1)).map_err(failed)?;
        // Entries never cross segments; what is buffered was read whole.
        let _ = fs::remove_file(segment_path(&self.folder, self.segment));
        (self.file, self.offset) = (file, 0);
        self.segment += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::rawdoc;

    #[tokio::test]
    async fn the_reader_follows_the_writer_across_segments() {
        let folder = tempfile::tempdir().unwrap();
        let (mut writer, mut reader) = open(&folder.path().join("spool")).unwrap();
        let big = "x".repeat(9 << 20);
        let writing = tokio::task::spawn_blocking(move || {
            for n in 0..40_i32 {
                let entry = rawdoc! { "n": n, "pad": if n % 2 == 0 { big.as_str() } else { "" } };
                writer.append(entry.as_bytes()).unwrap();
            }
            writer
        });
        for n in 0..40_i32 {
            let entry = reader.peek().await.unwrap().expect("an entry");
            assert_eq!(entry.get_i32("n").unwrap(), n);
            reader.consume();
        }
        let writer = writing.await.unwrap();
        assert_eq!(writer.waiting_bytes(), 0);
        let left = fs::read_dir(folder.path().join("spool")).unwrap().count();
        assert!(left <= 2, "{left} segments are left");
        drop(writer);
        assert!(reader.peek().await.unwrap().is_none());
    }
}
