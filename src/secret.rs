//! `Secret`: a string that cannot be printed, compared or serialised by accident, and that is wiped on drop.
//!
//! Owns every password from the moment it enters the program (form, file, environment) until the driver
//! has used it. It never implements `Display`, `Serialize` or `PartialEq`.

use std::fmt;
use zeroize::Zeroizing;

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
