//! How much the way to a cluster carries, and whether what passes on it is compressed.
//!
//! Compression costs the servers processor time (6.0.5, per MB read: snappy 2 ms for 0.66 of the bytes, zstd 9 ms for
//! 0.4), which a way that carries more than they can compress does not give back.

use super::{cluster::DriverError, login::Login};
use crate::model::units::show_bytes;
use bson::{Binary, doc, spec::BinarySubtype};
use mongodb::options::Compressor;
use std::{
    fmt,
    net::IpAddr,
    time::{Duration, Instant},
};
use tokio::time::timeout;

/// Ways that carry fewer bytes per second get zstd.
const ZSTD_BELOW: u64 = 35_000_000;
/// Ways that carry fewer bytes per second, but more than that, get snappy.
const SNAPPY_BELOW: u64 = 110_000_000;
/// Bytes of one try.
const LOAD: usize = 1 << 20;
/// The first tries widen the window of the connection.
const TRIES: usize = 4;
/// Patience with all tries together.
const PATIENCE: Duration = Duration::from_millis(1_500);

/// What passes on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// Plain.
    Plain,
    /// As the address asks (`compressors=`).
    Asked,
    /// Compressed by the named algorithm, for the way carries so many bytes per second.
    Compressed(Algorithm, u64),
}

/// How it is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// Least bytes.
    Zstd,
    /// Least work.
    Snappy,
}

impl Wire {
    /// What suits a way that carries so many bytes per second.
    pub fn suited_to(bytes_per_second: u64) -> Self {
        match bytes_per_second {
            rate if rate < ZSTD_BELOW => Self::Compressed(Algorithm::Zstd, rate),
            rate if rate < SNAPPY_BELOW => Self::Compressed(Algorithm::Snappy, rate),
            _ => Self::Plain,
        }
    }

    /// What the driver has to be told; nothing when it goes as it does.
    pub fn compressors(self) -> Option<Vec<Compressor>> {
        match self {
            Self::Plain | Self::Asked => None,
            Self::Compressed(Algorithm::Zstd, _) => Some(vec![Compressor::Zstd { level: None }]),
            Self::Compressed(Algorithm::Snappy, _) => Some(vec![Compressor::Snappy]),
        }
    }
}

impl fmt::Display for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain => f.write_str("not compressed"),
            Self::Asked => f.write_str("compressed as the address asks"),
            Self::Compressed(algorithm, rate) => {
                let name = if *algorithm == Algorithm::Zstd { "zstd" } else { "snappy" };
                write!(f, "compressed ({name}): the network carries about {}/s", show_bytes(*rate))
            }
        }
    }
}

/// True when a server sees this host under an address of its own: nothing can be won there.
pub(super) fn is_loopback(seen_as: &str) -> bool {
    seen_as.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Bytes per second that the way to a server carries, as far as it can be seen in 1.5 s: the best of a few
/// commands with a large comment, which any server takes from any client and forgets (4.4 and later).
pub async fn measure(login: &Login) -> Result<u64, DriverError> {
    let began = Instant::now();
    ping(login, 0).await?;
    let round_trip = began.elapsed();
    let (mut best, began) = (0, Instant::now());
    for _ in 0..TRIES {
        let sent = Instant::now();
        let Ok(answered) = timeout(PATIENCE.saturating_sub(began.elapsed()), ping(login, LOAD)).await else { break };
        answered?;
        // One round trip passes even when the bytes take no time.
        let took = sent.elapsed().saturating_sub(round_trip).max(Duration::from_micros(1));
        best = best.max((LOAD as f64 / took.as_secs_f64()) as u64);
    }
    // Not even one in all that time.
    let least = (LOAD as f64 / PATIENCE.as_secs_f64()) as u64;
    Ok(if best == 0 { least } else { best })
}

async fn ping(login: &Login, bytes: usize) -> Result<(), DriverError> {
    // Nothing on the way can make less of it.
    let mut state = 0x9e37_79b9_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    };
    let comment = Binary { subtype: BinarySubtype::Generic, bytes: (0..bytes).map(|_| next()).collect() };
    login.database("admin").run_command(doc! { "ping": 1, "comment": comment }).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slower_the_way_the_more_it_is_compressed() {
        assert_eq!(Wire::suited_to(2_000_000), Wire::Compressed(Algorithm::Zstd, 2_000_000));
        assert_eq!(Wire::suited_to(60_000_000), Wire::Compressed(Algorithm::Snappy, 60_000_000));
        assert_eq!(Wire::suited_to(1_000_000_000), Wire::Plain);
        assert_eq!(Wire::Plain.compressors(), None);
    }

    #[test]
    fn only_this_host_itself_is_never_measured() {
        assert!(is_loopback("127.0.0.1") && is_loopback("::1"));
        assert!(!is_loopback("10.8.3.14") && !is_loopback("db.example.net"));
    }
}
