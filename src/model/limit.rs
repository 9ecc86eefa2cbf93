//! The limit on source reads, as it is typed, kept and shown.

use super::units::{parse_rate, show_rate};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// How fast the source may be read by copy and verification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Limit {
    /// As fast as it goes.
    Off,
    /// Bytes per second, all readers together.
    BytesPerS(u64),
}

impl Limit {
    /// Bytes per second; `None`: no limit.
    pub fn bytes_per_s(self) -> Option<u64> {
        match self {
            Limit::Off => None,
            Limit::BytesPerS(rate) => Some(rate),
        }
    }
}

impl From<Option<u64>> for Limit {
    fn from(rate: Option<u64>) -> Self {
        rate.map_or(Limit::Off, Limit::BytesPerS)
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Limit::Off => f.write_str("off"),
            Limit::BytesPerS(rate) => f.write_str(&show_rate(*rate)),
        }
    }
}

impl FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse_rate(text).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_can_be_typed() {
        for limit in [Limit::Off, Limit::BytesPerS(20_000_000), Limit::BytesPerS(1 << 30), Limit::BytesPerS(1_234_567)]
        {
            assert_eq!(limit.to_string().parse(), Ok(limit));
        }
        assert_eq!("none".parse(), Ok(Limit::Off));
        assert_eq!(Limit::BytesPerS(20_000_000).to_string(), "20 MB/s");
        assert!("0MB/s".parse::<Limit>().is_err() && "20".parse::<Limit>().is_err() && "".parse::<Limit>().is_err());
    }
}
