//! The fetched oplog on local disk, so that the fetcher never waits for the applier: segment files of raw entries, one
//! writer, one reader that follows it. A segment is removed once it is read.
//!
//! In this version a spool belongs to one run of the engine and is not read again after a restart.

use crate::model::{Problem, Side};
use bson::RawDocument;
use std::{
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
const EXTENSION: &str = "oplog";
/// No BSON document is shorter.
const SHORTEST: usize = 5;

/// Up to where the reader may read: everything in earlier segments, and this much of this one.
#[derive(Debug, Clone, Copy, Default)]
struct Written {
    segment: u64,
    bytes: u64,
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
    folder.join(format!("{segment:08}.{EXTENSION}"))
}

fn create_segment(folder: &Path, segment: u64) -> std::io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(segment_path(folder, segment))
}

/// Removes what an earlier run left: without its reader's position it is of no use.
fn remove_segments(folder: &Path) -> std::io::Result<()> {
    for file in fs::read_dir(folder)? {
        let path = file?.path();
        if path.extension().is_some_and(|extension| extension == EXTENSION) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// A new, empty spool; creates the folder (0700).
pub fn open(folder: &Path) -> Result<(SpoolWriter, SpoolReader), Problem> {
    let failed = |error: std::io::Error| problem(folder, "created", &error);
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    remove_segments(folder).map_err(failed)?;
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
        let Written { segment, bytes } = *self.written.borrow();
        let bytes = bytes + entries.len() as u64;
        let written = if bytes < SEGMENT_BYTES {
            Written { segment, bytes }
        } else {
            let created = create_segment(&self.folder, segment + 1);
            self.file = created.map_err(|error| problem(&self.folder, "written", &error))?;
            Written { segment: segment + 1, bytes: 0 }
        };
        self.written.send_replace(written);
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
        let end = loop {
            if let Some(end) = self.entry_end()? {
                break end;
            }
            if !self.refill()? && self.written.changed().await.is_err() && !self.refill()? {
                return Ok(None);
            }
        };
        match self.buffer.get(self.position..end).map(RawDocument::from_bytes) {
            Some(Ok(entry)) => Ok(Some(entry)),
            _ => Err(self.damaged()),
        }
    }

    /// Goes past the entry that `peek` showed.
    pub fn consume(&mut self) {
        if let Ok(Some(end)) = self.entry_end() {
            self.consumed.fetch_add((end - self.position) as u64, Ordering::Relaxed);
            self.position = end;
        }
    }

    /// Where the next entry ends, when the buffer holds all of it.
    fn entry_end(&self) -> Result<Option<usize>, Problem> {
        let prefix = self.buffer.get(self.position..).and_then(|rest| rest.first_chunk());
        let Some(prefix) = prefix else { return Ok(None) };
        let length = usize::try_from(i32::from_le_bytes(*prefix)).unwrap_or(0);
        if length < SHORTEST {
            return Err(self.damaged());
        }
        let end = self.position + length;
        Ok((end <= self.buffer.len()).then_some(end))
    }

    fn damaged(&self) -> Problem {
        problem(&self.folder, "read", &std::io::Error::other("an entry is not valid BSON"))
    }

    /// Reads on; `false` when nothing more is written yet.
    fn refill(&mut self) -> Result<bool, Problem> {
        let failed = |error: std::io::Error| problem(&self.folder, "read", &error);
        let written = *self.written.borrow_and_update();
        let is_finished = written.segment > self.segment;
        let size = if is_finished { self.file.metadata().map_err(failed)?.len() } else { written.bytes };
        if self.offset >= size {
            return if is_finished { self.next_segment().map(|()| true) } else { Ok(false) };
        }
        self.buffer.drain(..self.position);
        self.position = 0;
        let wanted = (size - self.offset).min(CHUNK_BYTES as u64);
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

    #[tokio::test]
    async fn the_entry_of_the_largest_document_passes() {
        let folder = tempfile::tempdir().unwrap();
        let (mut writer, mut reader) = open(folder.path()).unwrap();
        let large = rawdoc! { "o": "x".repeat(16 << 20) };
        let entries = [rawdoc! { "n": 1 }.as_bytes(), large.as_bytes(), rawdoc! { "n": 2 }.as_bytes()].concat();
        writer.append(&entries).unwrap();
        assert_eq!(reader.peek().await.unwrap().unwrap().get_i32("n").unwrap(), 1);
        reader.consume();
        assert_eq!(reader.peek().await.unwrap().unwrap().as_bytes(), large.as_bytes());
        reader.consume();
        assert_eq!(writer.waiting_bytes(), rawdoc! { "n": 2 }.as_bytes().len() as u64);
        assert_eq!(reader.peek().await.unwrap().unwrap().get_i32("n").unwrap(), 2);
    }

    #[tokio::test]
    async fn a_reader_waits_and_a_cancelled_wait_loses_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (mut writer, mut reader) = open(folder.path()).unwrap();
        let wait = std::time::Duration::from_millis(20);
        assert!(tokio::time::timeout(wait, reader.peek()).await.is_err());
        writer.append(rawdoc! { "n": 7 }.as_bytes()).unwrap();
        for _ in 0..2 {
            assert_eq!(reader.peek().await.unwrap().unwrap().get_i32("n").unwrap(), 7, "peek does not consume");
        }
        reader.consume();
        assert!(tokio::time::timeout(wait, reader.peek()).await.is_err());
    }

    #[tokio::test]
    async fn only_the_owner_may_read_it_and_an_old_one_is_replaced() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let spool = folder.path().join("spool");
        let (mut old, _) = open(&spool).unwrap();
        old.append(rawdoc! { "old": 1 }.as_bytes()).unwrap();
        let (mut writer, mut reader) = open(&spool).unwrap();
        writer.append(rawdoc! { "new": 1 }.as_bytes()).unwrap();
        assert_eq!(reader.peek().await.unwrap().unwrap().get_i32("new").unwrap(), 1);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&spool), mode(&segment_path(&spool, 0))), (0o700, 0o600));
    }

    #[tokio::test]
    async fn bytes_that_are_no_entry_stop_the_reader() {
        let folder = tempfile::tempdir().unwrap();
        let (mut writer, mut reader) = open(folder.path()).unwrap();
        writer.append(&[0xff; 32]).unwrap();
        assert_eq!(reader.peek().await.unwrap_err().side, Side::Host);
    }
}
