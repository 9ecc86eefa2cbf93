//! The fetched oplog on local disk, so that the fetcher never waits for the applier: segment files of compressed blocks,
//! one writer, one reader that follows it. A block counts once it is fsynced. Segments stay until the journal says that
//! everything in them is applied, so that a restart finds them again.

mod block;
mod reader;

pub use block::Mark;
pub use reader::SpoolReader;

use crate::model::{Optime, Problem, Side};
use block::{HEADER, Header};
use std::{
    collections::VecDeque,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{ErrorKind, Read, Seek, SeekFrom, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::sync::watch;

/// A segment is closed at this size (a smaller one where the whole spool may not hold many of these).
const SEGMENT_BYTES: u64 = 64 << 20;
/// Segments that the smallest spool holds.
const SEGMENTS: u64 = 8;
const EXTENSION: &str = "oplog";

/// Up to where the reader may read: everything in earlier segments, and this much of this one.
#[derive(Debug, Clone, Copy, Default)]
struct Written {
    segment: u64,
    bytes: u64,
}

#[derive(Debug)]
struct Segment {
    number: u64,
    bytes: u64,
    last: Optime,
}

/// What the ends share.
#[derive(Debug)]
struct Shared {
    folder: PathBuf,
    segments: Mutex<VecDeque<Segment>>,
    /// Raw bytes appended and read.
    appended: AtomicU64,
    consumed: AtomicU64,
    freed: watch::Sender<()>,
}

/// Removes what is applied, and knows how much disk the spool takes. Cheap to clone.
#[derive(Debug, Clone)]
pub struct SpoolKeeper {
    shared: Arc<Shared>,
    limit: u64,
}

/// The writing end.
#[derive(Debug)]
pub struct SpoolWriter {
    shared: Arc<Shared>,
    file: File,
    // Dropped with the writer, which tells the reader that no more comes.
    written: watch::Sender<Written>,
    segment_bytes: u64,
    /// An append failed half way; the file ends before it.
    is_torn: bool,
}

/// Entries that were read together.
#[derive(Debug, Default)]
pub struct Piece {
    /// Raw entries, one after the other.
    pub entries: Vec<u8>,
    /// Position of the first.
    pub first: Optime,
    /// What the fetcher knows after the last.
    pub mark: Mark,
}

/// A spool with both of its ends.
#[derive(Debug)]
pub struct Spool {
    /// Appends.
    pub writer: SpoolWriter,
    /// Reads.
    pub reader: SpoolReader,
    /// Frees and measures.
    pub keeper: SpoolKeeper,
    /// Where its last block ends; `None` when it is empty.
    pub mark: Option<Mark>,
    /// Changes counted before the block that holds the position asked for, and that block's entries when it reaches
    /// beyond it.
    pub counted: (u64, Vec<u8>),
}

fn problem(folder: &Path, what: &str, error: &std::io::Error) -> Problem {
    let fix = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            "Free space on that disk; fetching goes on by itself. Until then the source's oplog keeps the changes."
        }
        _ => "Check the disk that holds the state folder.",
    };
    Problem {
        side: Side::Host,
        what: format!("the oplog spool in {} cannot be {what}", folder.display()),
        why: error.to_string(),
        fix: fix.into(),
        retry_helps: true,
        written: "The source is untouched; the destination keeps what was applied so far.".into(),
    }
}

fn segment_path(folder: &Path, segment: u64) -> PathBuf {
    folder.join(format!("{segment:08}.{EXTENSION}"))
}

fn create_segment(folder: &Path, segment: u64) -> std::io::Result<File> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(segment_path(folder, segment))?;
    // The name has to survive as well as the bytes.
    File::open(folder)?.sync_all()?;
    Ok(file)
}

/// The segments that are there, oldest first.
fn segments(folder: &Path) -> std::io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for file in fs::read_dir(folder)? {
        let path = file?.path();
        let is_segment = path.extension().is_some_and(|extension| extension == EXTENSION);
        let number = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse::<u64>().ok());
        numbers.extend(number.filter(|_| is_segment));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Where a restart takes a spool up.
#[derive(Debug, Clone, Copy, Default)]
pub struct Resume {
    /// Entries before this position are not read.
    pub read_from: Optime,
    /// Everything up to here is applied.
    pub applied: Optime,
}

/// A new, empty spool; creates the folder (0700). Removes what was there.
pub fn create(folder: &Path, limit: u64) -> Result<Spool, Problem> {
    let failed = |error: std::io::Error| problem(folder, "created", &error);
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(failed(error)),
        _ => open(folder, limit, Resume::default()),
    }
}

/// The spool as an earlier process left it (created when there is none). What was not fsynced is cut off.
pub fn open(folder: &Path, limit: u64, resume: Resume) -> Result<Spool, Problem> {
    let failed = |error: std::io::Error| problem(folder, "opened", &error);
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    let numbers = segments(folder).map_err(failed)?;
    if numbers.windows(2).any(|pair| pair[0] + 1 != pair[1]) {
        return Err(failed(std::io::Error::other("a segment in the middle is missing")));
    }
    let mut found = Found::default();
    let newest = numbers.last().copied();
    for number in numbers {
        found.scan(folder, number, newest == Some(number), resume).map_err(failed)?;
    }
    let Written { segment, bytes } = match found.segments.back() {
        Some(last) => Written { segment: last.number, bytes: last.bytes },
        None => {
            create_segment(folder, 0).map_err(failed)?;
            found.segments.push_back(Segment { number: 0, bytes: 0, last: Optime::default() });
            Written::default()
        }
    };
    let mut file = OpenOptions::new().write(true).open(segment_path(folder, segment)).map_err(failed)?;
    file.set_len(bytes).and_then(|()| file.seek(SeekFrom::End(0))).map_err(failed)?;
    let (read_segment, offset) = found.read_at.unwrap_or((segment, bytes));
    let read = File::open(segment_path(folder, read_segment)).map_err(failed)?;
    let (written, watching) = watch::channel(Written { segment, bytes });
    let shared = Arc::new(Shared {
        folder: folder.into(),
        segments: Mutex::new(found.segments),
        appended: AtomicU64::new(found.waiting),
        consumed: AtomicU64::new(0),
        freed: watch::Sender::new(()),
    });
    let segment_bytes = SEGMENT_BYTES.min(limit / SEGMENTS);
    Ok(Spool {
        writer: SpoolWriter { shared: shared.clone(), file, written, segment_bytes, is_torn: false },
        reader: SpoolReader::new(shared.clone(), read, read_segment, offset, watching),
        keeper: SpoolKeeper { shared, limit },
        mark: found.mark,
        counted: (found.counted, found.partly),
    })
}

/// What is on disk.
#[derive(Debug, Default)]
struct Found {
    segments: VecDeque<Segment>,
    mark: Option<Mark>,
    /// Segment and offset of the first block to read.
    read_at: Option<(u64, u64)>,
    waiting: u64,
    counted: u64,
    partly: Vec<u8>,
    is_counted: bool,
}

impl Found {
    fn scan(&mut self, folder: &Path, number: u64, is_newest: bool, resume: Resume) -> std::io::Result<()> {
        let mut file = File::open(segment_path(folder, number))?;
        let size = file.metadata()?.len();
        let (mut offset, mut last) = (0, self.mark.map_or(Optime::default(), |mark| mark.ts));
        while offset < size {
            let Some((header, entries)) = read_block(&mut file, offset, size, resume.applied)? else {
                if is_newest {
                    break;
                }
                return Err(std::io::Error::other(format!("segment {number} is damaged at byte {offset}")));
            };
            if header.mark.ts >= resume.read_from {
                self.read_at.get_or_insert((number, offset));
                self.waiting += u64::from(header.raw);
            }
            if header.mark.ts <= resume.applied {
                self.counted = header.mark.ops;
            } else if !std::mem::replace(&mut self.is_counted, true) {
                self.partly = entries;
            }
            last = header.mark.ts;
            self.mark = Some(header.mark);
            offset += (HEADER as u64) + u64::from(header.stored);
        }
        self.segments.push_back(Segment { number, bytes: offset, last });
        Ok(())
    }
}

/// The block at `offset`, with its entries when it is the last one (to see that it is whole) or reaches beyond `applied`
/// from before it. `None`: torn.
fn read_block(file: &mut File, offset: u64, size: u64, applied: Optime) -> std::io::Result<Option<(Header, Vec<u8>)>> {
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = [0; HEADER];
    if size - offset < HEADER as u64 {
        return Ok(None);
    }
    file.read_exact(&mut bytes)?;
    let Some(header) = Header::parse(&bytes) else { return Ok(None) };
    let end = offset + HEADER as u64 + u64::from(header.stored);
    if end > size {
        return Ok(None);
    }
    let is_partly = header.first <= applied && header.mark.ts > applied;
    if end < size && !is_partly {
        return Ok(Some((header, Vec::new())));
    }
    let mut stored = vec![0; header.stored as usize];
    file.read_exact(&mut stored)?;
    match block::decompress(&header, &stored) {
        Ok(entries) => Ok(Some((header, if is_partly { entries } else { Vec::new() }))),
        Err(_) if end == size => Ok(None),
        Err(error) => Err(error),
    }
}

impl SpoolWriter {
    /// Appends entries; they are on disk, and the reader may have them, when this returns. Nothing of them is there
    /// after an error, and the same call may be repeated. Blocks.
    pub fn append(&mut self, pieces: &[Piece]) -> Result<(), Problem> {
        let Some(last) = pieces.last().map(|piece| piece.mark.ts) else { return Ok(()) };
        let failed = |error: std::io::Error| problem(&self.shared.folder, "written", &error);
        let Written { mut segment, mut bytes } = *self.written.borrow();
        if self.is_torn {
            self.file.set_len(bytes).and_then(|()| self.file.seek(SeekFrom::End(0))).map_err(failed)?;
            self.is_torn = false;
        }
        if bytes >= self.segment_bytes {
            self.file = create_segment(&self.shared.folder, segment + 1).map_err(failed)?;
            (segment, bytes) = (segment + 1, 0);
            self.shared.segments().push_back(Segment { number: segment, bytes, last });
            self.written.send_replace(Written { segment, bytes });
        }
        let (mut added, mut raw) = (0, 0);
        self.is_torn = true;
        for piece in pieces {
            let stored = block::compress(&piece.entries).map_err(failed)?;
            let length = |bytes: &[u8]| u32::try_from(bytes.len()).map_err(|_| failed(ErrorKind::FileTooLarge.into()));
            let (compressed, entries) = (length(&stored)?, length(&piece.entries)?);
            let header = Header { stored: compressed, raw: entries, first: piece.first, mark: piece.mark };
            self.file.write_all(&header.bytes()).and_then(|()| self.file.write_all(&stored)).map_err(failed)?;
            added += HEADER as u64 + u64::from(compressed);
            raw += u64::from(entries);
        }
        self.file.sync_data().map_err(failed)?;
        self.is_torn = false;
        if let Some(current) = self.shared.segments().back_mut() {
            (current.bytes, current.last) = (bytes + added, last);
        }
        self.shared.appended.fetch_add(raw, Ordering::Relaxed);
        self.written.send_replace(Written { segment, bytes: bytes + added });
        Ok(())
    }
}

impl Shared {
    fn segments(&self) -> std::sync::MutexGuard<'_, VecDeque<Segment>> {
        self.segments.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SpoolKeeper {
    /// Removes every closed segment whose entries all stand before `position`. Blocks.
    pub fn release(&self, position: Optime) -> Result<(), Problem> {
        let mut freed = false;
        loop {
            let number = {
                let segments = self.shared.segments();
                match segments.front() {
                    Some(first) if segments.len() > 1 && first.last < position => first.number,
                    _ => break,
                }
            };
            match fs::remove_file(segment_path(&self.shared.folder, number)) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(problem(&self.shared.folder, "freed", &error));
                }
                _ => drop(self.shared.segments().pop_front()),
            }
            freed = true;
        }
        if freed {
            self.shared.freed.send_replace(());
        }
        Ok(())
    }

    /// Bytes on disk.
    pub fn disk_bytes(&self) -> u64 {
        self.shared.segments().iter().map(|segment| segment.bytes).sum()
    }

    /// The bound that the plan gives.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Bytes of entries appended and not yet read.
    pub fn waiting_bytes(&self) -> u64 {
        self.shared.appended.load(Ordering::Relaxed).saturating_sub(self.shared.consumed.load(Ordering::Relaxed))
    }

    /// True when fetching has to wait. One entry may be larger than the bound: what waits for nothing is never full.
    pub fn is_full(&self) -> bool {
        self.disk_bytes() >= self.limit && self.waiting_bytes() > 0
    }

    /// Waits until there is room.
    pub async fn room(&self) {
        let mut freed = self.shared.freed.subscribe();
        while self.is_full() {
            // Looked at again even without a sign: what is read frees the last segment only when it is closed.
            let _ = tokio::time::timeout(std::time::Duration::from_secs(1), freed.changed()).await;
        }
    }
}

#[cfg(test)]
mod tests;
