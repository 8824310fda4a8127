//! From words to a mail: header fields and body by lettre's types, which encode whatever could end a line.

use std::time::SystemTime;

use jiff::Timestamp;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart, SinglePart};
use lettre::{Address, Message};
use uuid::Uuid;

use super::templates::Worded;
use crate::identity::user::Email;

/// Whom the gateway's mail comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sender(Mailbox);

impl Sender {
    /// Reads `no-reply@example.com` or `Example <no-reply@example.com>`.
    ///
    /// # Errors
    /// It is neither.
    pub fn parse(text: &str) -> Result<Self, String> {
        text.parse().map(Self).map_err(|error| format!("{text:?} is not a mail address: {error}"))
    }
}

/// A mail, ready to be carried.
#[derive(Debug, Clone)]
pub struct Mail {
    /// Names it in its `Message-ID` and in the log.
    pub id: Uuid,
    /// When it was written.
    pub written_at: Timestamp,
    message: Message,
}

/// Why a letter cannot become a mail.
#[derive(Debug, thiserror::Error)]
pub(super) enum MessageError {
    #[error("no mail can be sent to this address")]
    Address(#[from] lettre::address::AddressError),
    #[error("the mail cannot be put together")]
    Message(#[from] lettre::error::Error),
}

impl Mail {
    pub(super) fn new(
        sender: &Sender,
        to: &Email,
        name: Option<String>,
        words: Worded,
        (id, now): (Uuid, Timestamp),
    ) -> Result<Self, MessageError> {
        // lettre cannot write a name of two lines, and panics; no such name can be registered here, but imported ones
        // come from elsewhere. The address is what matters.
        let name = name.filter(|name| !name.contains(char::is_control));
        let to = Mailbox::new(name, to.as_typed().parse::<Address>()?);
        let mut builder = Message::builder()
            .from(sender.0.clone())
            .to(to)
            .subject(words.subject)
            .message_id(Some(format!("<{id}@{}>", sender.0.email.domain())))
            .date(SystemTime::from(now));
        // Out-of-office notes and the like are not to be sent in answer (RFC 3834 §5.1).
        let automatic = HeaderName::new_from_ascii_str("Auto-Submitted");
        builder = builder.raw_header(HeaderValue::new(automatic, "auto-generated".to_owned()));
        let text = SinglePart::builder().header(ContentType::TEXT_PLAIN).body(words.text);
        let message = match words.html {
            Some(html) => {
                let html = SinglePart::builder().header(ContentType::TEXT_HTML).body(html);
                builder.multipart(MultiPart::alternative().singlepart(text).singlepart(html))?
            }
            None => builder.singlepart(text)?,
        };
        Ok(Self { id, written_at: now, message })
    }

    /// Who hands it to whom, for the mail server.
    pub(super) fn envelope(&self) -> &lettre::address::Envelope {
        self.message.envelope()
    }

    /// The mail as it travels (RFC 5322).
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.message.formatted()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mail(name: Option<&str>, subject: &str) -> String {
        let words = Worded { subject: subject.to_owned(), text: "Good day.\n".to_owned(), html: None };
        let sender = Sender::parse("Portcullis <no-reply@example.com>").unwrap();
        let to = Email::parse("ada@example.org").unwrap();
        let at = (Uuid::from_u128(7), Timestamp::from_second(1_800_000_000).unwrap());
        let mail = Mail::new(&sender, &to, name.map(str::to_owned), words, at).unwrap();
        String::from_utf8(mail.bytes()).unwrap()
    }

    #[test]
    fn a_mail_says_whom_it_is_from_and_for_and_that_nobody_typed_it() {
        let mail = mail(Some("Ada Lovelace"), "Your new password");
        for field in [
            "From: Portcullis <no-reply@example.com>\r\n",
            "To: \"Ada Lovelace\" <ada@example.org>\r\n",
            "Subject: Your new password\r\n",
            "Message-ID: <00000000-0000-0000-0000-000000000007@example.com>\r\n",
            "Auto-Submitted: auto-generated\r\n",
        ] {
            assert!(mail.contains(field), "{field}{mail}");
        }
    }

    #[test]
    fn no_name_and_no_subject_can_bring_a_header_of_its_own() {
        for text in
            ["Ada\r\nBcc: eve@example.net", "Ada\nBcc: eve@example.net", "Ada\r\n\r\nBcc: eve", "\" <eve@example.net>, \""]
        {
            let mail = mail(Some(text), text);
            let head = mail.split_once("\r\n\r\n").unwrap().0;
            let fields: Vec<_> = head.split("\r\n").filter(|line| !line.starts_with([' ', '\t'])).collect();
            assert_eq!(fields.iter().filter(|field| field.starts_with("To: ")).count(), 1, "{mail}");
            assert!(!fields.iter().any(|field| field.to_lowercase().starts_with("bcc")), "{mail}");
            assert!(!head.contains('\n') || !head.replace("\r\n", "").contains('\n'), "{mail}");
        }
    }

    #[test]
    fn a_sender_is_an_address_perhaps_with_a_name() {
        assert!(Sender::parse("no-reply@example.com").is_ok());
        for text in ["", "Portcullis", "a@b, c@d", "a@b\r\nBcc: eve@example.net"] {
            assert!(Sender::parse(text).is_err(), "{text:?}");
        }
    }
}
