//! Units and how they are read and shown: optimes, durations, bytes, counts. Fixed width is the caller's business.

use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};

/// A position in the oplog: BSON timestamp, seconds and increment. Orders as the server orders it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Optime {
    /// Seconds since the epoch.
    pub t: u32,
    /// Counter inside the second.
    pub i: u32,
}

impl Optime {
    /// A position from its parts.
    pub const fn new(t: u32, i: u32) -> Self {
        Self { t, i }
    }
}

impl fmt::Display for Optime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.t, self.i)
    }
}

/// Reads `120h`, `1d`, `30m`, `10s`, `500ms` and sums of these such as `1h30m`. The error says what is accepted.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let refuse = || format!("{text:?} is not a duration; write for example \"120h\", \"90s\" or \"1h30m\"");
    let mut rest = text.trim();
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return Err(refuse());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(refuse)?;
        let number: u64 = rest[..digits].parse().map_err(|_| refuse())?;
        let unit_end = rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |at| digits + at);
        let unit = rest[digits..unit_end].trim();
        let milliseconds: u64 = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(refuse()),
        };
        let part = number.checked_mul(milliseconds).ok_or_else(refuse)?;
        total = total.checked_add(Duration::from_millis(part)).ok_or_else(refuse)?;
        rest = rest[unit_end..].trim_start();
    }
    Ok(total)
}

/// Names of sizes, and their bytes.
const BYTE_UNITS: [(&str, u64); 9] = [
    ("B", 1),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// Reads `none` or `off`, `80MB/s`, `80MiB/s`, `500kB/s`, `1GB/s` into bytes per second.
pub fn parse_rate(text: &str) -> Result<Option<u64>, String> {
    let refuse = || format!("{text:?} is not a rate; write \"off\" or for example \"80MB/s\"");
    let text_trimmed = text.trim();
    if matches!(text_trimmed, "none" | "off") {
        return Ok(None);
    }
    let value = text_trimmed.strip_suffix("/s").ok_or_else(refuse)?;
    bytes_of(value).map(Some).ok_or_else(refuse)
}

/// Reads `20GB`, `500MiB`, `1TB` into bytes.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    bytes_of(text).ok_or_else(|| format!("{text:?} is not a size; write for example \"20GB\" or \"500MiB\""))
}

fn bytes_of(text: &str) -> Option<u64> {
    let value = text.trim();
    let digits = value.find(|c: char| !c.is_ascii_digit())?;
    let number: u64 = value[..digits].parse().ok()?;
    let name = value[digits..].trim().replacen("KB", "kB", 1);
    let (_, unit) = BYTE_UNITS.into_iter().find(|(unit, _)| *unit == name)?;
    number.checked_mul(unit).filter(|bytes| *bytes > 0)
}

/// `20 MB/s`, `1 GiB/s`, `1234567 B/s`: exact, and as [`parse_rate`] reads it.
pub fn show_rate(bytes_per_s: u64) -> String {
    let whole = BYTE_UNITS.into_iter().filter(|(_, unit)| bytes_per_s.is_multiple_of(*unit));
    let (name, unit) = whole.max_by_key(|(_, unit)| *unit).unwrap_or(("B", 1));
    format!("{} {name}/s", bytes_per_s / unit)
}

/// `0.8 s`, `44 s`, `12 min`, `8.7 h`, `3 d`: one number and a unit, for lag and windows.
pub fn show_duration(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    match seconds {
        s if s < 10.0 => format!("{s:.1} s"),
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 2.0 * 3600.0 => format!("{:.0} min", s / 60.0),
        s if s < 10.0 * 3600.0 => format!("{:.1} h", s / 3600.0),
        s if s < 240.0 * 3600.0 => format!("{:.0} h", s / 3600.0),
        s => format!("{:.0} d", s / 86400.0),
    }
}

/// `119:41:08`: hours, minutes, seconds, for the cutover countdown and uptime.
pub fn show_clock(duration: Duration) -> String {
    let seconds = duration.as_secs();
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// `4.0 KiB`, `182.4 GiB`: binary units, one decimal.
pub fn show_bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// `2,114,902`: thousands separated by commas.
pub fn show_count(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `shop.readings` for `shop.system.buckets.readings`: a time series as it is called, not as the server stores it.
pub fn show_namespace(namespace: &str) -> String {
    namespace.replacen(".system.buckets.", ".", 1)
}

/// What an index is called by whoever accepts that it is missing: `namespace / index`.
pub fn index_label(namespace: impl std::fmt::Display, index: &str) -> String {
    format!("{namespace} / {index}")
}

/// `1 index`, `1,200 indexes`.
pub fn plural(count: u64, word: &str) -> String {
    let ending = if word.ends_with('x') { "es" } else { "s" };
    match count {
        1 => format!("1 {word}"),
        count => format!("{} {word}{ending}", show_count(count)),
    }
}

/// `88`, `12.4k`, `88M`, `1.9M`: at most five characters, for narrow table columns.
pub fn show_count_short(count: u64) -> String {
    let scaled = |value: f64, unit: &str| {
        if value < 9.95 { format!("{value:.1}{unit}") } else { format!("{value:.0}{unit}") }
    };
    match count {
        0..=9_999 => count.to_string(),
        10_000..=999_499 => scaled(count as f64 / 1e3, "k"),
        999_500..=999_499_999 => scaled(count as f64 / 1e6, "M"),
        _ => scaled(count as f64 / 1e9, "G"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_refused() {
        assert_eq!(parse_duration("120h"), Ok(Duration::from_secs(432_000)));
        assert_eq!(parse_duration("1h30m"), Ok(Duration::from_secs(5_400)));
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        for bad in ["", "10", "h", "10 parsecs", "-1s", "99999999999999999999h"] {
            assert!(parse_duration(bad).is_err(), "{bad} was accepted");
        }
    }

    #[test]
    fn rates_are_read_and_refused() {
        assert_eq!(parse_rate("none"), Ok(None));
        assert_eq!(parse_rate("80MB/s"), Ok(Some(80_000_000)));
        assert_eq!(parse_rate("1 GiB/s"), Ok(Some(1 << 30)));
        for bad in ["", "80", "80MB", "0MB/s", "fast"] {
            assert!(parse_rate(bad).is_err(), "{bad} was accepted");
        }
    }

    #[test]
    fn numbers_are_shown_with_units() {
        assert_eq!(show_duration(Duration::from_millis(812)), "0.8 s");
        assert_eq!(show_duration(Duration::from_secs(31_320)), "8.7 h");
        assert_eq!(show_clock(Duration::from_secs(119 * 3600 + 41 * 60 + 8)), "119:41:08");
        assert_eq!(show_bytes(4096), "4.0 KiB");
        assert_eq!(show_bytes(1_048_575), "1.0 MiB");
        assert_eq!(show_count(2_114_902), "2,114,902");
        assert_eq!(show_count(7), "7");
        assert_eq!(show_count_short(88_000_000), "88M");
        assert_eq!(show_count_short(1_900_000), "1.9M");
    }
}
