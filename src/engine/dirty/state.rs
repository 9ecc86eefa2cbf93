//! Ranges of a collection, and their file.

use super::{Range, bits, place};
use crate::model::Optime;
use bson::Uuid;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeSet, HashMap},
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

const FILE: &str = "compared.json";
const NEW: &str = "compared.json.new";

/// One collection whose comparison has begun.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tracked {
    /// Range `i` goes from boundary `i - 1` to boundary `i`; the last one is open.
    pub boundaries: Vec<Vec<u8>>,
    /// The base pass reached the end.
    pub complete: bool,
    /// Documents that it compared up to the last boundary, for progress.
    pub documents: u64,
    /// Everything is in doubt.
    pub whole: bool,
    /// Ranges in which something was touched.
    pub dirty: BTreeSet<usize>,
    /// Ranges that are being compared again.
    pub lent: BTreeSet<usize>,
    /// The one boundary stands in an order that only the server knows: nothing can be placed before or behind it.
    pub unordered: bool,
}

impl Tracked {
    /// From now on everything is in doubt.
    pub fn become_whole(&mut self) {
        *self = Self { whole: true, ..Self::default() };
    }

    /// True when that is news.
    pub fn mark(&mut self, key: &[u8]) -> bool {
        match place(&self.boundaries, key) {
            Some(at) if !self.boundaries.is_empty() && !self.unordered => self.dirty.insert(at),
            _ => {
                let news = !self.whole;
                self.become_whole();
                news
            }
        }
    }

    /// The open range ends at `key`. What was touched in it may lie behind `key`. False: not a place to go on from.
    pub fn reached(&mut self, key: Vec<u8>, is_ordered: bool) -> bool {
        if self.unordered || (!is_ordered && self.boundaries.is_empty()) {
            self.unordered = true;
            self.boundaries = vec![key];
            return true;
        }
        if !is_ordered {
            return false;
        }
        let open = self.boundaries.len();
        self.boundaries.push(key);
        for marks in [&mut self.dirty, &mut self.lent] {
            if marks.contains(&open) {
                marks.insert(open + 1);
            }
        }
        true
    }

    /// Hands out the ranges that were touched.
    pub fn lend(&mut self) -> Vec<Range> {
        self.lent = bits(&self.lent, &self.dirty);
        self.dirty.clear();
        let key = |at: Option<usize>| at.and_then(|at| self.boundaries.get(at).cloned());
        self.lent.iter().map(|at| Range { from: key(at.checked_sub(1)), to: key(Some(*at)) }).collect()
    }
}

#[derive(Serialize, Deserialize)]
struct OnDisk {
    collections: Vec<Stored>,
    watched: Option<Optime>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    uuid: String,
    boundaries: Vec<String>,
    complete: bool,
    documents: u64,
    whole: bool,
    dirty: BTreeSet<usize>,
    #[serde(default)]
    unordered: bool,
}

/// Replaces the file; it is on disk when this returns.
pub fn write(folder: &Path, collections: &HashMap<Uuid, Tracked>, watched: Option<Optime>) -> io::Result<()> {
    let collections: Vec<Stored> = collections
        .iter()
        .map(|(uuid, tracked)| Stored {
            uuid: uuid.to_string(),
            boundaries: tracked.boundaries.iter().map(|key| hex(key)).collect(),
            complete: tracked.complete,
            documents: tracked.documents,
            whole: tracked.whole,
            // What is lent was not compared yet.
            dirty: bits(&tracked.lent, &tracked.dirty),
            unordered: tracked.unordered,
        })
        .collect();
    let stored = OnDisk { collections, watched };
    let (path, new) = (folder.join(FILE), folder.join(NEW));
    let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(&serde_json::to_vec(&stored)?)?;
    file.sync_data()?;
    fs::rename(new, path)?;
    fs::File::open(folder)?.sync_all()
}

/// True for the name of that file.
pub fn is_file(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == FILE || name == NEW)
}

/// Empty when there is no file: then everything is compared from the start.
pub fn read(folder: &Path) -> io::Result<(HashMap<Uuid, Tracked>, Option<Optime>)> {
    let bytes = match fs::read(folder.join(FILE)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Default::default()),
        Err(error) => return Err(error),
    };
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, format!("{FILE} is damaged"));
    let mut collections = HashMap::new();
    let file: OnDisk = serde_json::from_slice(&bytes).map_err(|_| damaged())?;
    for stored in file.collections {
        let boundaries: Option<Vec<_>> = stored.boundaries.iter().map(|text| unhex(text)).collect();
        let tracked = Tracked {
            boundaries: boundaries.ok_or_else(damaged)?,
            complete: stored.complete,
            documents: stored.documents,
            whole: stored.whole,
            dirty: stored.dirty,
            lent: BTreeSet::new(),
            unordered: stored.unordered,
        };
        collections.insert(Uuid::parse_str(&stored.uuid).map_err(|_| damaged())?, tracked);
    }
    Ok((collections, file.watched))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    (0..text.len()).step_by(2).map(digits).collect()
}
