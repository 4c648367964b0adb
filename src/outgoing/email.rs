//! E-mail by SMTP: as a channel of users, and for alarms.
//!
//! A mail server's answer means what Vonage's would: accepted says nothing about a reader; a refusal concerns this
//! recipient; everything else is trouble on the way, and the mail is sent again under the same `Message-ID`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use lettre::message::header::{ContentType, Header, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::PoolConfig;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::transport::smtp::response::{Category, Severity};
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};

use crate::escalation::{Failure, TroubleOutcome};
use crate::sender::{Answer, SendTrouble, TroubleCause};

/// How long one mail may take, from the connection to the server's last word; shorter than a send's lease.
pub const MAIL_TIMEOUT: Duration = Duration::from_secs(20);
/// How long the server may take for each of its answers.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// Connections to the mail server at one moment.
pub const MAIL_CONNECTIONS_MAX: u32 = 4;
/// The most characters of a subject.
pub const SUBJECT_CHARS_MAX: usize = 120;

/// How the connection to a mail server is kept from others' eyes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailTls {
    /// From the first byte on (`smtps://`).
    Wrapped,
    /// After a word in the clear, or not at all (`smtp://`).
    StartTls,
    /// Never; for a server on this machine.
    None,
}

/// Where mail is handed in, and whom it comes from.
#[derive(Clone)]
pub struct MailSettings {
    /// The server's name.
    pub host: Box<str>,
    /// Its port.
    pub port: u16,
    /// How the connection is protected.
    pub tls: MailTls,
    /// User and password, where the server wants them.
    pub credentials: Option<(Box<str>, Box<str>)>,
    /// The address that mail comes from.
    pub from: Box<str>,
}

impl fmt::Debug for MailSettings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("MailSettings")
            .field("host", &self.host)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

/// Why mail cannot be sent at all.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    /// The TLS library cannot be set up.
    #[error("TLS to the mail server cannot be set up")]
    Tls(#[source] lettre::transport::smtp::Error),
    /// The address that mail comes from is none.
    #[error("smtp.from is not an e-mail address")]
    From,
}

/// One mail.
#[derive(Clone)]
pub(super) struct Mail<'a> {
    /// To whom.
    pub(super) to: &'a str,
    /// What it is about; line breaks and other control characters in it become spaces.
    pub(super) subject: &'a str,
    /// What it says.
    pub(super) text: String,
    /// Names the mail among all mails of this service: the same for each try.
    pub(super) name: &'a str,
}

/// Hands mail to a server.
#[derive(Default)]
pub struct Mailer(ArcSwapOption<Line>);

struct Line {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
}

impl fmt::Debug for Mailer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Mailer").field("is_set", &self.0.load().is_some()).finish()
    }
}

impl Mailer {
    /// Hands mail in there from now on; nowhere with `None`. Where the settings cannot be used, the old ones stay.
    pub fn set(&self, settings: Option<MailSettings>) -> Result<(), MailError> {
        self.0.store(settings.map(Line::new).transpose()?.map(Arc::new));
        Ok(())
    }

    /// Sends once, and says what came of it.
    pub(super) async fn deliver(&self, mail: Mail<'_>) -> Answer {
        let Some(line) = self.0.load_full() else {
            return refused(None, "no mail server is configured (`smtp`)");
        };
        let Some(message) = line.message(mail) else {
            return refused(None, "the address cannot be written to");
        };
        match tokio::time::timeout(MAIL_TIMEOUT, line.transport.send(message)).await {
            Ok(Ok(_accepted)) => Answer::Accepted(None),
            Ok(Err(error)) => judge(&error),
            Err(_elapsed) => trouble(
                TroubleCause::Unreachable,
                TroubleOutcome::Unknown,
                None,
                "the mail server took too long".to_owned(),
            ),
        }
    }
}

impl Line {
    fn new(settings: MailSettings) -> Result<Self, MailError> {
        let parameters = || TlsParameters::new(settings.host.clone().into()).map_err(MailError::Tls);
        let tls = match settings.tls {
            MailTls::Wrapped => Tls::Wrapper(parameters()?),
            MailTls::StartTls => Tls::Required(parameters()?),
            MailTls::None => Tls::None,
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&*settings.host)
            .port(settings.port)
            .tls(tls)
            .timeout(Some(ANSWER_TIMEOUT))
            .pool_config(PoolConfig::new().max_size(MAIL_CONNECTIONS_MAX));
        if let Some((user, password)) = settings.credentials {
            builder = builder.credentials(Credentials::new(user.into(), password.into()));
        }
        let address = settings.from.parse::<lettre::Address>().map_err(|_unreadable| MailError::From)?;
        Ok(Self { transport: builder.build(), from: Mailbox::new(Some("callout".to_owned()), address) })
    }

    fn message(&self, mail: Mail<'_>) -> Option<Message> {
        let to = Mailbox::new(None, mail.to.parse().ok()?);
        let subject: String = single_line(mail.subject).chars().take(SUBJECT_CHARS_MAX).collect();
        Message::builder()
            .from(self.from.clone())
            .to(to)
            .subject(subject)
            .message_id(Some(format!("<{}@{}>", mail.name, self.from.email.domain())))
            .header(AutoSubmitted)
            .header(ContentType::TEXT_PLAIN)
            .body(mail.text)
            .ok()
    }
}

fn single_line(text: &str) -> String {
    text.split(|character: char| character.is_control()).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Keeps holiday notices and the like from answering (RFC 3834).
#[derive(Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_text: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

/// What the server's words mean (RFC 5321, section 4.2). Only the code is kept of them: they may quote the address.
fn judge(error: &lettre::transport::smtp::Error) -> Answer {
    let Some(code) = error.status() else {
        let (outcome, what) = if error.is_timeout() || error.is_response() {
            (TroubleOutcome::Unknown, "the mail server's answer did not come")
        } else if error.is_tls() {
            (TroubleOutcome::NotSent, "no safe connection to the mail server")
        } else {
            (TroubleOutcome::Unknown, "no connection to the mail server, or it broke off")
        };
        return trouble(TroubleCause::Unreachable, outcome, None, what.to_owned());
    };
    let written = code.to_string();
    let what = format!("the mail server answered {written}");
    match (code.severity, code.category) {
        (Severity::PermanentNegativeCompletion, Category::Unspecified3) => {
            trouble(TroubleCause::Credentials, TroubleOutcome::NotSent, Some(written), what)
        }
        (Severity::PermanentNegativeCompletion, Category::Connections) => {
            trouble(TroubleCause::Provider, TroubleOutcome::NotSent, Some(written), what)
        }
        (Severity::PermanentNegativeCompletion, _) => refused(Some(written), &what),
        (_, _) => trouble(TroubleCause::Provider, TroubleOutcome::NotSent, Some(written), what),
    }
}

fn refused(code: Option<String>, what: &str) -> Answer {
    Answer::Refused(Failure { code: code.map(Into::into), detail: what.into() })
}

fn trouble(cause: TroubleCause, outcome: TroubleOutcome, code: Option<String>, what: String) -> Answer {
    let failure = Failure { code: code.map(Into::into), detail: what.into() };
    Answer::Trouble(SendTrouble { cause, failure, outcome, retry_after: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    // The pool of connections needs a runtime to be dropped in.
    #[tokio::test]
    async fn nothing_that_somebody_posts_can_add_a_header() {
        let from: lettre::Address = "callout@example.org".parse().unwrap();
        let transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous("localhost").build();
        let line = Line { transport, from: Mailbox::new(None, from) };
        let subject = "[critical] K7Q2 down\r\nBcc: everybody@example.org\n\n<script>\u{85}日本語 🔥";
        let text = "down\r\n.\r\nMAIL FROM:<x@example.org>".to_owned();
        let mail = Mail { to: "ops@example.org", subject, text, name: "cabc.1" };
        let written = String::from_utf8(line.message(mail).unwrap().formatted()).unwrap();
        let (head, _body) = written.split_once("\r\n\r\n").unwrap();
        let names: Vec<&str> = head
            .split("\r\n")
            .filter(|line| !line.starts_with(' '))
            .filter_map(|line| line.split(':').next())
            .collect();
        assert!(!names.contains(&"Bcc"), "{head}");
        assert!(head.contains("Message-ID: <cabc.1@example.org>"), "{head}");
        assert!(head.contains("Auto-Submitted: auto-generated"), "{head}");
        let mail =
            Mail { to: "ops@example.org\r\nRCPT TO:<x@example.org>", subject: "", text: String::new(), name: "x" };
        assert!(line.message(mail).is_none(), "no address holds a line break");
    }
}
