//! Mail over SMTP (RFC 5321, 6409, 8314) to the operator's mail server, over few connections that are kept.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use lettre::transport::smtp::{Error, PoolConfig};
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};
use secrecy::{ExposeSecret as _, SecretString};

use super::Mail;
use super::outbox::{CONNECTIONS_MAX, NotCarried, Transport};

/// A mail server.
pub struct Smtp(AsyncSmtpTransport<Tokio1Executor>);

impl fmt::Debug for Smtp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Smtp")
    }
}

/// The URL names no mail server.
#[derive(Debug, thiserror::Error)]
#[error("this is not the URL of a mail server")]
pub struct NoServer;

/// Whether what is said to the server may be read on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// TLS, from the start (`smtps:`) or by STARTTLS (`smtp:`); nothing is sent without it.
    Tls,
    /// In clear: for a server on this very machine.
    Clear,
}

impl Smtp {
    /// The server of `smtp://user:password@host:587` or `smtps://…`; `timeout` bounds each of its answers.
    ///
    /// # Errors
    /// The URL names none.
    pub fn new(url: &SecretString, wire: Wire, timeout: Duration) -> Result<Self, NoServer> {
        let mut url = url.expose_secret().to_owned();
        if wire == Wire::Tls && url.starts_with("smtp:") {
            // Without this word lettre would speak in clear.
            url.push_str("?tls=required");
        }
        // What the parser says could repeat the password.
        let builder = AsyncSmtpTransport::<Tokio1Executor>::from_url(&url).map_err(|_| NoServer)?;
        let pool = PoolConfig::new().max_size(CONNECTIONS_MAX).min_idle(0).idle_timeout(Duration::from_secs(30));
        Ok(Self(builder.timeout(Some(timeout)).pool_config(pool).build()))
    }
}

#[async_trait]
impl Transport for Smtp {
    async fn carry(&self, mail: &Mail) -> Result<(), NotCarried> {
        let sent = self.0.send_raw(mail.envelope(), &mail.bytes()).await;
        sent.map(drop)
            .map_err(|error| if is_final(&error) { NotCarried::Refused(error.into()) } else { NotCarried::Yet(error.into()) })
    }
}

/// Whether the server will never take this mail. What it says about the credentials is about us, not about the mail:
/// an operator may put that right.
fn is_final(error: &Error) -> bool {
    let about_credentials = error.status().is_some_and(|status| ["530", "534", "535", "538"].contains(&&*status.to_string()));
    (error.is_permanent() && !about_credentials) || error.is_client()
}
