//! A box for CA certificates: one paste, inspected at once, private keys refused. Nobody edits PEM by hand.

use crate::pem::{self, CertificateInfo, PemError};
use zeroize::Zeroizing;

/// What was pasted, and what it is.
#[derive(Debug, Clone, Default)]
pub struct PasteBox {
    pem: String,
    certificates: Vec<CertificateInfo>,
    refused: Option<String>,
    /// Characters that arrive one by one, when the terminal has no bracketed paste.
    typed: Zeroizing<String>,
}

impl PasteBox {
    /// A box that holds certificates already, such as a profile's.
    pub fn holding(pem: &str) -> Self {
        let mut paste_box = Self::default();
        paste_box.paste(pem);
        paste_box
    }

    /// Takes a whole paste, replacing what was there; a refused text is not kept.
    pub fn paste(&mut self, text: &str) {
        let text = Zeroizing::new(pem::with_lf(text));
        self.clear();
        match pem::inspect(&text) {
            Ok(certificates) => {
                self.pem = text.to_string();
                self.certificates = certificates;
            }
            Err(error) => self.refused = Some(error.to_string()),
        }
    }

    /// Takes one character of a paste that arrives as keys (`\n` for Enter); looks when a block ends.
    pub fn type_char(&mut self, character: char) {
        self.typed.push(character);
        if !(character == '-' && self.typed.ends_with("-----") && self.typed.contains("-----END ")) {
            return;
        }
        let typed = Zeroizing::new(self.typed.to_string());
        match pem::inspect(&typed) {
            Ok(certificates) => {
                self.pem = typed.to_string();
                self.certificates = certificates;
                self.refused = None;
            }
            Err(PemError::CutOff(_)) => {}
            Err(error) => {
                self.clear();
                self.refused = Some(error.to_string());
            }
        }
    }

    /// True while characters of an unfinished paste are held.
    pub fn is_collecting(&self) -> bool {
        !self.typed.trim().is_empty() && !self.typed.trim_end().ends_with("-----END CERTIFICATE-----")
    }

    /// Says why a file could not be taken.
    pub fn refuse(&mut self, why: String) {
        self.clear();
        self.refused = Some(why);
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// The certificates as PEM text with LF line ends; empty when there are none.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// What was pasted, in its order.
    pub fn certificates(&self) -> &[CertificateInfo] {
        &self.certificates
    }

    /// Why the last paste was refused.
    pub fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }
}
