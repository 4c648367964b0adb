//! The heartbeat: a URL that is called as long as callout goes on, at a service that raises the alarm when
//! it is not called any more.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

/// How long a call may take.
pub const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(5);

/// Shows somebody outside that callout goes on.
#[async_trait]
pub trait Pulse: Send + Sync {
    /// Beats once.
    async fn beat(&self) -> Result<(), Missed>;
}

/// A beat did not arrive. Its text holds nothing of the URL, which is as good as a password.
#[derive(Debug, thiserror::Error)]
pub enum Missed {
    /// It could not be sent.
    #[error("it cannot be reached")]
    NotReached,
    /// It was answered with an error.
    #[error("it answered {0}")]
    Refused(u16),
    /// The way there could not be prepared.
    #[error("no client for it could be made")]
    NoClient,
}

/// Calls a URL with GET.
pub struct HeartbeatUrl {
    url: url::Url,
    client: reqwest::Client,
}

impl fmt::Debug for HeartbeatUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("HeartbeatUrl").finish_non_exhaustive()
    }
}

impl HeartbeatUrl {
    /// A heartbeat at this URL, with a client of its own, so that it waits for nothing that goes to Vonage.
    pub fn new(url: url::Url) -> Result<Self, Missed> {
        let client = reqwest::Client::builder().timeout(HEARTBEAT_TIMEOUT).redirect(reqwest::redirect::Policy::none());
        let client = client.build().map_err(|_of_the_url| Missed::NoClient)?;
        Ok(Self { url, client })
    }
}

#[async_trait]
impl Pulse for HeartbeatUrl {
    async fn beat(&self) -> Result<(), Missed> {
        let answer = self.client.get(self.url.clone()).send().await.map_err(|_names_the_url| Missed::NotReached)?;
        let status = answer.status();
        if status.is_client_error() || status.is_server_error() {
            Err(Missed::Refused(status.as_u16()))
        } else {
            Ok(())
        }
    }
}
