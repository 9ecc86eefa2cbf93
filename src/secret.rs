//! `Secret`: a string that cannot be printed, compared or serialised by accident, and that is wiped on drop.
//!
//! Owns every password from the moment it enters the program (form, file, environment) until the driver
//! has used it. It never implements `Display`, `Serialize` or `PartialEq`.

use std::fmt;
use zeroize::Zeroizing;

/// Keeps this process's memory, passwords included, out of core dumps, and out of reach of other processes of the same
/// user where the system can do that (Linux). Best effort: a system that refuses is not a reason to stop.
pub fn forbid_core_dumps() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}

/// A password or other credential. Wiped on drop; `Debug` prints a fixed mask that does not tell its length.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes ownership of `text`; the caller must not keep another copy.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text itself. Call only where it is handed to the driver, never for printing.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// True when nothing was entered.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(****)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_never_shows_the_text_or_its_length() {
        assert_eq!(format!("{:?}", Secret::new("hunter2".into())), "Secret(****)");
        assert_eq!(format!("{:?}", Some(Secret::new(String::new()))), "Some(Secret(****))");
    }
}
