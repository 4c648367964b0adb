//! Which way a message takes: e-mail by SMTP, everything else by Vonage.

use std::sync::Arc;

use async_trait::async_trait;

use crate::contact::Channel;
use crate::id::ProviderId;
use crate::sender::{Answer, Notice, Outbound, Sender};
use crate::vonage::text;

use super::email::{Mail, Mailer};

/// Sends each message by the way of its channel.
#[derive(Debug)]
pub struct Ways<S> {
    vonage: Arc<S>,
    mailer: Arc<Mailer>,
}

impl<S> Ways<S> {
    /// E-mail goes to the mailer, everything else to Vonage.
    pub fn new(vonage: Arc<S>, mailer: Arc<Mailer>) -> Self {
        Self { vonage, mailer }
    }
}

#[async_trait]
impl<S: Sender> Sender for Ways<S> {
    async fn send(&self, outbound: &Outbound) -> Answer {
        let leg = &outbound.step.first;
        if leg.channel != Channel::Email {
            return self.vonage.send(outbound).await;
        }
        let severity = outbound.raised.severity.name();
        let mail = Mail {
            to: leg.address.reveal(),
            subject: &format!("[{severity}] {} {}", outbound.code, outbound.raised.message),
            text: text::compose(outbound, leg.channel),
            name: &outbound.reference.to_string(),
        };
        self.mailer.deliver(mail).await
    }

    async fn tell(&self, notice: &Notice) -> Answer {
        if notice.leg.channel != Channel::Email {
            return self.vonage.tell(notice).await;
        }
        let text = text::confirmation(notice);
        let mail = Mail {
            to: notice.leg.address.reveal(),
            subject: &text,
            name: &format!("told-{}", notice.code),
            text: text.clone(),
        };
        self.mailer.deliver(mail).await
    }

    async fn revoke(&self, message: &ProviderId) -> Answer {
        self.vonage.revoke(message).await
    }
}
