//! By an HTTP POST of one JSON object.

use super::{NotifyError, PATIENCE, json, read_ca};
use crate::{config, model::Notice, model::notice::Webhook, secret::Secret};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

pub(super) async fn send(webhook: &Webhook, notice: &Notice) -> Result<(), NotifyError> {
    let address = config::read_password(&webhook.address_from).map_err(NotifyError::Settings)?;
    let roots = webhook.ca_file.as_deref().map(read_ca).transpose()?;
    let payload = json(notice).to_string();
    let posting = tokio::task::spawn_blocking(move || post(&address, roots.as_deref(), &payload));
    posting.await.unwrap_or_else(|error| Err(NotifyError::Refused(error.to_string())))
}

fn post(address: &Secret, roots: Option<&str>, payload: &str) -> Result<(), NotifyError> {
    let mut tls = TlsConfig::builder();
    if let Some(pem) = roots {
        let items = parse_pem(pem.as_bytes()).filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        });
        let certificates: Vec<Certificate<'static>> = items.collect();
        tls = tls.root_certs(RootCerts::from(certificates));
    }
    let agent = ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).tls_config(tls.build());
    let agent = ureq::Agent::new_with_config(agent.build());
    let request = agent.post(address.expose()).header("content-type", "application/json");
    match request.send(payload) {
        Ok(_) => Ok(()),
        Err(ureq::Error::StatusCode(status)) => {
            Err(NotifyError::Refused(format!("the web server answered with status {status}")))
        }
        // Its text could repeat the address, which holds a token.
        Err(error) => Err(NotifyError::Refused(without(&error.to_string(), address.expose()))),
    }
}

fn without(text: &str, address: &str) -> String {
    let path = address.split_once("://").map_or(address, |(_, rest)| rest);
    let path = path.split_once('/').map_or("", |(_, path)| path);
    let text = text.replace(address, "the address");
    if path.is_empty() { text } else { text.replace(path, "...") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_never_repeats_the_address() {
        let address = "https://hooks.example.net/T00/B00/token";
        let text = without("cannot reach https://hooks.example.net/T00/B00/token (path T00/B00/token)", address);
        assert_eq!(text, "cannot reach the address (path ...)");
    }
}
