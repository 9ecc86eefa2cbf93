//! By SMTP: STARTTLS, TLS from the first byte, or none (then without a login).

use super::{NotifyError, PATIENCE, body, read_ca};
use crate::{
    config,
    model::{
        Notice,
        notice::{Email, SmtpEncryption},
    },
};
use lettre::{
    AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor,
    message::Mailbox,
    transport::smtp::{
        authentication::Credentials,
        client::{Certificate, Tls, TlsParameters},
    },
};

pub(super) async fn send(email: &Email, notice: &Notice) -> Result<(), NotifyError> {
    let message = message(email, notice)?;
    let transport = transport(email)?;
    transport.send(message).await.map(drop).map_err(|error| {
        let why = std::iter::successors(std::error::Error::source(&error), |cause| cause.source()).last();
        NotifyError::Refused(match why {
            Some(why) => format!("{}: {why}", email.server),
            None => format!("{}: {error}", email.server),
        })
    })
}

fn message(email: &Email, notice: &Notice) -> Result<Message, NotifyError> {
    let address = |text: &str| -> Result<Mailbox, NotifyError> {
        text.parse().map_err(|error| NotifyError::Settings(format!("{text} is no mail address: {error}")))
    };
    // A subject is one line, whatever a server's message holds.
    let subject: String = notice.subject().chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect();
    let mut builder = Message::builder().from(address(&email.from)?).subject(subject);
    for to in &email.to {
        builder = builder.to(address(to)?);
    }
    builder.body(body(notice)).map_err(|error| NotifyError::Settings(format!("the mail cannot be written: {error}")))
}

fn transport(email: &Email) -> Result<AsyncSmtpTransport<Tokio1Executor>, NotifyError> {
    let wrong = |why: String| NotifyError::Settings(format!("smtp = \"{}\": {why}", email.server));
    let (host, port) = email.server.rsplit_once(':').ok_or_else(|| wrong("host:port is needed".into()))?;
    let port: u16 = port.parse().map_err(|_| wrong("host:port is needed".into()))?;
    let parameters = || -> Result<TlsParameters, NotifyError> {
        let mut parameters = TlsParameters::builder(host.to_string());
        if let Some(path) = &email.ca_file {
            let pem = read_ca(path)?;
            let certificates = Certificate::from_pem(pem.as_bytes()).map_err(|error| wrong(error.to_string()))?;
            parameters = parameters.add_root_certificate(certificates);
        }
        parameters.build_rustls().map_err(|error| wrong(error.to_string()))
    };
    let tls = match email.encryption {
        SmtpEncryption::Starttls => Tls::Required(parameters()?),
        SmtpEncryption::Tls => Tls::Wrapper(parameters()?),
        SmtpEncryption::Off => Tls::None,
    };
    let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host).port(port).tls(tls);
    if let (Some(username), Some(from)) = (&email.username, &email.password_from) {
        let password = config::read_password(from).map_err(NotifyError::Settings)?;
        builder = builder.credentials(Credentials::new(username.clone(), password.expose().to_string()));
    }
    Ok(builder.timeout(Some(PATIENCE)).build())
}
