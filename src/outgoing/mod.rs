//! The ways out that are not Vonage: callbacks to other systems, and e-mail.
//!
//! Nothing here may delay an escalation: callbacks have tasks, connections and limits of their own, and read what
//! is to be sent from the store, where the commit of each change has put it.

mod alarms;
mod callbacks;
mod email;
mod names;
mod post;
mod signature;
mod ways;

pub use alarms::{ALARM_MAIL_EVERY, ALARMS_PER_MAIL_MAX, AlarmMail};
pub use callbacks::{
    CALLBACK_RETRY_AFTER_MAX, CALLBACK_WAITS, CALLBACKS_IN_FLIGHT_MAX, CallbackError, CallbackParts, Callbacks,
    DELIVERIES_KEPT, Endpoint,
};
pub use email::{MAIL_CONNECTIONS_MAX, MAIL_TIMEOUT, MailError, MailSettings, MailTls, Mailer, SUBJECT_CHARS_MAX};
pub use names::{Names, SystemNames};
pub use post::{CALLBACK_ANSWER_BYTES_MAX, CALLBACK_TIMEOUT};
pub use signature::{SigningKey, signatures};
pub use ways::Ways;
