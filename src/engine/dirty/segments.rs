//! Identifiers of touched documents in append-only files: records of collection, length, key. A sealed segment is read
//! again and deleted only when everything in it was compared, so that a crash at any point leaves too much, never too
//! little.

use bson::Uuid;
use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufReader, Read, Write},
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

/// Bytes that wait in memory for the next write.
const BUFFER: usize = 1 << 20;
/// A key is an `_id`; longer ones cannot come from a document.
const LONGEST_KEY: usize = 17 << 20;
const PREFIX: &str = "touched-";
const SUFFIX: &str = ".ids";

#[derive(Debug)]
struct Segment {
    number: u64,
    file: Arc<File>,
    bytes: u64,
}

/// The segments of one set.
#[derive(Debug)]
pub struct Segments {
    /// `None`: in files without a name, which are gone with the process however it ends.
    folder: Option<PathBuf>,
    sealed: Vec<Segment>,
    current: Option<Segment>,
    next: u64,
    buffer: Vec<u8>,
    /// Everything written to the current segment is on disk.
    pub is_synced: bool,
    /// Records of the current segment and the buffer, and of the sealed ones.
    records: u64,
    sealed_records: u64,
}

/// A position up to which segments were handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sealed(u64);

impl Segments {
    /// Nobody comes back to these.
    pub fn fleeting() -> Self {
        Self {
            folder: None,
            sealed: Vec::new(),
            current: None,
            next: 0,
            buffer: Vec::new(),
            is_synced: true,
            records: 0,
            sealed_records: 0,
        }
    }

    /// The segments in `folder`, which is created; what a former process left there counts as sealed.
    pub fn open(folder: &Path) -> io::Result<Self> {
        fs::DirBuilder::new().mode(0o700).recursive(true).create(folder)?;
        let mut found = Self { folder: Some(folder.to_path_buf()), ..Self::fleeting() };
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let Some(number) = number_of(&entry.path()) else { continue };
            let file = Arc::new(File::open(entry.path())?);
            found.sealed_records += count_records(&file)?;
            found.sealed.push(Segment { number, file, bytes: entry.metadata()?.len() });
        }
        found.sealed.sort_unstable_by_key(|segment| segment.number);
        found.next = found.sealed.last().map_or(0, |last| last.number + 1);
        Ok(found)
    }

    /// Where they are.
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// Bytes on disk and in the buffer.
    pub fn bytes(&self) -> u64 {
        let written: u64 = self.sealed.iter().chain(&self.current).map(|segment| segment.bytes).sum();
        written + self.buffer.len() as u64
    }

    /// Records that wait; a document that was touched again may be counted twice.
    pub fn records(&self) -> u64 {
        self.records + self.sealed_records
    }

    /// Appends a record. On an error the record, and what the buffer holds, must be remembered by other means
    /// ([`Segments::unwritten`]).
    pub fn push(&mut self, collection: Uuid, key: &[u8]) -> io::Result<()> {
        let length = u32::try_from(key.len()).map_err(|_| io::Error::other("an _id of more than 4 GiB"))?;
        self.buffer.extend_from_slice(&collection.bytes());
        self.buffer.extend_from_slice(&length.to_le_bytes());
        self.buffer.extend_from_slice(key);
        self.records += 1;
        if self.buffer.len() >= BUFFER { self.flush() } else { Ok(()) }
    }

    /// Writes the buffer to the current segment.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let segment = match &mut self.current {
            Some(segment) => segment,
            none => {
                let file = Arc::new(create(self.folder.as_deref(), self.next)?);
                let segment = Segment { number: self.next, file, bytes: 0 };
                self.next += 1;
                none.insert(segment)
            }
        };
        segment.file.as_ref().write_all(&self.buffer)?;
        segment.bytes += self.buffer.len() as u64;
        self.buffer.clear();
        self.is_synced = false;
        Ok(())
    }

    /// The file that has to be synced, by the caller and elsewhere than under a lock; a failure must be told by
    /// [`Segments::is_synced`].
    pub fn take_for_sync(&mut self) -> Option<Arc<File>> {
        if std::mem::replace(&mut self.is_synced, true) {
            return None;
        }
        self.current.as_ref().map(|segment| segment.file.clone())
    }

    /// Everything so far is on disk when this returns.
    pub fn sync(&mut self) -> io::Result<()> {
        self.flush()?;
        let synced = self.take_for_sync().map_or(Ok(()), |file| file.sync_data());
        self.is_synced = synced.is_ok();
        synced
    }

    /// The records that could not be written; the buffer is empty afterwards. Nothing is appended behind what may have
    /// been written in part.
    pub fn unwritten(&mut self) -> Vec<(Uuid, Vec<u8>)> {
        let bytes = std::mem::take(&mut self.buffer);
        let mut rest = bytes.as_slice();
        let mut records = Vec::new();
        while let Ok(Some(record)) = read_record(&mut rest) {
            records.push(record);
        }
        self.records = self.records.saturating_sub(records.len() as u64);
        self.close();
        records
    }

    /// Seals what is written.
    pub fn close(&mut self) -> Sealed {
        self.sealed.extend(self.current.take());
        self.sealed_records += std::mem::take(&mut self.records);
        Sealed(self.next)
    }

    /// Seals the current segment; everything sealed can be read from now on, and is on disk.
    pub fn seal(&mut self) -> io::Result<Sealed> {
        self.sync()?;
        Ok(self.close())
    }

    /// Reads the records of the sealed segments.
    pub fn read(&self) -> Records {
        Records { files: self.sealed.iter().rev().map(|segment| segment.file.clone()).collect(), open: None }
    }

    /// Deletes the segments that were sealed up to here.
    pub fn remove(&mut self, until: Sealed) -> io::Result<()> {
        while let Some(first) = self.sealed.first().filter(|segment| segment.number < until.0) {
            if let Some(folder) = &self.folder {
                fs::remove_file(path(folder, first.number))?;
            }
            self.sealed.remove(0);
        }
        if self.sealed.is_empty() {
            self.sealed_records = 0;
        }
        Ok(())
    }

    /// Deletes everything.
    pub fn clear(&mut self) -> io::Result<()> {
        self.buffer.clear();
        self.records = 0;
        let all = self.close();
        self.remove(all)
    }
}

fn create(folder: Option<&Path>, number: u64) -> io::Result<File> {
    match folder {
        None => tempfile::tempfile(),
        Some(folder) => {
            let mut options = OpenOptions::new();
            let file = options.create_new(true).append(true).read(true).mode(0o600).open(path(folder, number))?;
            // Its name must survive the loss of power as its contents do.
            File::open(folder)?.sync_all()?;
            Ok(file)
        }
    }
}

fn path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{PREFIX}{number}{SUFFIX}"))
}

fn number_of(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.parse().ok()
}

/// True for the name of a segment.
pub fn is_segment(path: &Path) -> bool {
    number_of(path).is_some()
}

fn count_records(file: &Arc<File>) -> io::Result<u64> {
    let mut reader = BufReader::new(At::from(file.clone()));
    let mut count = 0;
    while read_record(&mut reader)?.is_some() {
        count += 1;
    }
    Ok(count)
}

/// The next record. A record that a crash cut off is the end: its document is touched again when the oplog is replayed
/// from the checkpoint, which is never ahead of what was flushed.
fn read_record(source: &mut impl Read) -> io::Result<Option<(Uuid, Vec<u8>)>> {
    let mut head = [0; 20];
    if !filled(source, &mut head)? {
        return Ok(None);
    }
    let (uuid, length) = head.split_at(16);
    let uuid = uuid.try_into().map(Uuid::from_bytes).map_err(io::Error::other)?;
    let length = length.try_into().map(u32::from_le_bytes).map_err(io::Error::other)? as usize;
    if length > LONGEST_KEY {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a segment of touched documents is damaged"));
    }
    let mut key = vec![0; length];
    Ok(filled(source, &mut key)?.then_some((uuid, key)))
}

fn filled(source: &mut impl Read, bytes: &mut [u8]) -> io::Result<bool> {
    match source.read_exact(bytes) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// A reading position of its own in a file that others read too.
#[derive(Debug)]
struct At {
    file: Arc<File>,
    offset: u64,
}

impl From<Arc<File>> for At {
    fn from(file: Arc<File>) -> Self {
        Self { file, offset: 0 }
    }
}

impl Read for At {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(bytes, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}

/// Records of sealed segments, oldest first.
#[derive(Debug)]
pub struct Records {
    files: Vec<Arc<File>>,
    open: Option<BufReader<At>>,
}

impl Records {
    /// At most `most` records and about `bytes` of keys; empty at the end.
    pub fn next_chunk(&mut self, most: usize, bytes: usize) -> io::Result<Vec<(Uuid, Vec<u8>)>> {
        let (mut chunk, mut size) = (Vec::new(), 0);
        while chunk.len() < most && size < bytes {
            let Some(file) = &mut self.open else {
                let Some(file) = self.files.pop() else { break };
                self.open = Some(BufReader::new(file.into()));
                continue;
            };
            match read_record(file)? {
                Some((uuid, key)) => {
                    size += key.len() + 48;
                    chunk.push((uuid, key));
                }
                None => self.open = None,
            }
        }
        Ok(chunk)
    }
}
