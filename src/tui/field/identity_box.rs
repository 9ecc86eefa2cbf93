//! A box for a client certificate with its private key: from a file or one paste, inspected at once, never shown.

use super::{TextField, rows, rows::FormRow};
use crate::{
    pem::{self, CertificateInfo},
    secret::Secret,
    tui::{screen::View, widget::text},
};
use ratatui::text::{Line, Span};
use zeroize::Zeroizing;

/// Certificate and key, and what they are.
#[derive(Debug, Clone, Default)]
pub struct IdentityBox {
    pem: Option<Secret>,
    certificates: Vec<CertificateInfo>,
    refused: Option<String>,
    /// The path that is being typed.
    pub path: Option<TextField>,
}

impl IdentityBox {
    /// A box that holds a certificate already.
    pub fn holding(pem: &Secret) -> Self {
        let mut identity = Self::default();
        identity.take(pem.expose());
        identity
    }

    /// Takes the content of a file or a whole paste, replacing what was there; a refused text is not kept.
    pub fn take(&mut self, content: &str) {
        let content = Zeroizing::new(pem::with_lf(content));
        *self = Self::default();
        match pem::inspect_identity(&content) {
            Ok(certificates) => {
                self.pem = Some(Secret::new(content.to_string()));
                self.certificates = certificates;
            }
            Err(error) => self.refused = Some(error.to_string()),
        }
    }

    /// Says why a file could not be taken.
    pub fn refuse(&mut self, why: String) {
        *self = Self { refused: Some(why), ..Self::default() };
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Certificate and key; `None` when there are none.
    pub fn pem(&self) -> Option<&Secret> {
        self.pem.as_ref()
    }

    /// Why the last file or paste was refused.
    pub fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    /// `CN=ferry, until 2030-01-31, with its key`, or that there is none.
    pub fn summary(&self) -> String {
        match self.certificates.first() {
            Some(own) => {
                let until = own.not_after.strftime("%F");
                format!("{}, issued by {}, until {until}", own.subject, own.issuer)
            }
            None => "none (Ctrl-O takes a file with certificate and key)".into(),
        }
    }

    /// Its rows of a form; `at` is whether it has the focus and an error.
    pub fn rows(&self, at: (bool, bool), columns: usize, view: &View<'_>) -> Vec<FormRow> {
        let (focused, error) = at;
        let room = columns.saturating_sub(rows::LABEL);
        let mut spans = rows::label("Client certificate", focused, error, view);
        let style = match (self.refused.is_some(), self.certificates.first()) {
            (true, _) => view.theme.fail,
            (_, Some(own)) if own.not_after < view.now => view.theme.fail,
            _ if focused => view.theme.selected,
            _ => view.theme.text,
        };
        let shown = self.refused.clone().unwrap_or_else(|| self.summary());
        spans.push(Span::styled(text::cut(&shown, room), style));
        let mut out = vec![FormRow { line: Line::from(spans), focused, cursor: None }];
        if let Some(path) = &self.path {
            let size = room.saturating_sub(3).clamp(8, 48);
            out.push(rows::field("  file path", path, size, "", (focused, false), view));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_text_is_not_kept() {
        let mut identity = IdentityBox::default();
        identity.take("-----BEGIN CERTIFICATE-----\nAAAA\n");
        assert!(identity.pem().is_none() && identity.refused().is_some());
        identity.take("hello");
        assert_eq!(
            identity.refused(),
            Some("there is no certificate in this text: no line says -----BEGIN CERTIFICATE-----")
        );
        identity.clear();
        assert!(identity.refused().is_none() && identity.summary().starts_with("none"));
    }
}
