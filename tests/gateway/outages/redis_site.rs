//! A gateway beside Redis servers of any topology, and what the tests of these say about it.

use super::*;
use crate::support::client::Response;

/// How often everything was published again because Redis had lost it.
pub(super) const AMNESIA: &str = r#"portcullis_revocation_republications_total{cause="amnesia"}"#;

/// A gateway beside these servers.
pub(super) async fn beside(keys: &str) -> Site {
    let table = format!("[revocation]\ndeadline = \"1s\"\n{keys}");
    Site::changed(Store::Embedded, |gateway| gateway.table(&table)).await
}

/// Failovers take their time, and this machine may be busy.
pub(super) async fn patiently<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..600 {
        if let Some(found) = look().await {
            return found;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("not within a minute: {what}");
}

impl Site {
    /// The answer to a request to end somebody's session.
    pub(super) async fn log_out(&self, actor: &Actor) -> Response {
        let request = format!("POST /auth/logout HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\n\r\n", actor.access_token);
        self.gateway.connect().await.ask(request).await
    }

    /// # Panics
    /// The end of the session is not refused as something to be tried again.
    pub(super) async fn cannot_log_out(&self, actor: &Actor) {
        let answer = self.log_out(actor).await;
        assert_eq!((answer.status, answer.code().as_str()), (503, "unavailable"));
        assert!(answer.head.one("retry-after").is_some_and(|seconds| seconds.parse::<u32>().is_ok()), "{:?}", answer.head);
    }

    /// Waits until a session's end is acknowledged.
    pub(super) async fn logs_out_again(&self, actor: &Actor) {
        eventually("the acknowledgement of a logout", async || match self.log_out(actor).await.status {
            204 => Some(()),
            503 => None,
            other => panic!("{other}"),
        })
        .await;
    }

    /// Waits until it is as it was, long enough for servers to agree on a new primary.
    pub(super) async fn recovers(&self, staying: &Actor, leaving: &Actor) {
        patiently("the refusal of what was revoked", async || match self.verdict(leaving).await {
            (401, code) if code == "revoked_token" => Some(()),
            (503, code) if code == "revocation_unknown" => None,
            other => panic!("{other:?}"),
        })
        .await;
        patiently("the recovery", async || match self.verdict(staying).await {
            (200, _) => Some(()),
            (503, code) if code == "revocation_unknown" => None,
            other => panic!("{other:?}"),
        })
        .await;
    }
}
