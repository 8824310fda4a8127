//! Why a certificate was not had, and how long to wait before it is tried again: authorities count attempts, and shut out
//! who makes too many.

use std::time::Duration;

use crate::store::StoreError;
use crate::store::backoff::Backoff;
use crate::telemetry::labels::AcmeOutcome;

/// For what passes by itself: the authority or the database is down.
const OUTAGE_FIRST: Duration = Duration::from_secs(2);
const OUTAGE_LONGEST: Duration = Duration::from_secs(300);
/// For what somebody has to see to. Let's Encrypt bears with five failures an hour for a host.
const REFUSAL_FIRST: Duration = Duration::from_secs(60);
const REFUSAL_LONGEST: Duration = Duration::from_secs(3600);
/// More than that no authority is believed.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);

/// Why a certificate was not had.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("the database: {0}")]
    Store(#[from] StoreError),
    /// No answer, or one that is none.
    #[error("the authority cannot be spoken to: {what}")]
    Outage { what: String, retry_after: Option<Duration> },
    #[error("the authority has too many requests from here: {what}")]
    Limited { what: String, retry_after: Option<Duration> },
    /// It says no.
    #[error("the authority refuses: {0}")]
    Refused(String),
    /// It does not know the account any more.
    #[error("the authority does not know the account: {0}")]
    NoAccount(String),
    /// It issued something else.
    #[error("the certificate that was issued cannot be used: {0}")]
    Unusable(String),
    /// Another replica took over.
    #[error("it took so long that another replica took over")]
    Overtaken,
}

impl Failure {
    /// What an error of the protocol means. `retry_after` is what the authority's last answer asked for.
    pub(super) fn of(error: instant_acme::Error, retry_after: Option<Duration>) -> Self {
        let problem = match error {
            instant_acme::Error::Api(problem) => problem,
            other => return Self::Outage { what: with_causes(&other), retry_after },
        };
        let what = described(&problem);
        match problem.r#type.as_deref().and_then(|kind| kind.rsplit(':').next()).unwrap_or_default() {
            "rateLimited" => Self::Limited { what, retry_after },
            "accountDoesNotExist" => Self::NoAccount(what),
            "serverInternal" | "badNonce" => Self::Outage { what, retry_after },
            _ if problem.status.is_some_and(|status| status >= 500) => Self::Outage { what, retry_after },
            _ => Self::Refused(what),
        }
    }

    pub(super) fn outcome(&self) -> AcmeOutcome {
        match self {
            Self::Store(_) | Self::Overtaken => AcmeOutcome::Store,
            Self::Outage { .. } => AcmeOutcome::Unreachable,
            Self::Limited { .. } => AcmeOutcome::Limited,
            Self::Refused(_) | Self::NoAccount(_) | Self::Unusable(_) => AcmeOutcome::Refused,
        }
    }

    /// Whether to begin a new order: this one leads nowhere.
    pub(super) fn ends_order(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::NoAccount(_) | Self::Unusable(_))
    }

    /// How long nobody tries again, after so many failures before this one.
    pub(super) fn wait(&self, failures: u32) -> Duration {
        let (first, longest) = match self {
            Self::Store(_) | Self::Outage { .. } | Self::Overtaken => (OUTAGE_FIRST, OUTAGE_LONGEST),
            Self::Refused(_) | Self::NoAccount(_) | Self::Unusable(_) => (REFUSAL_FIRST, REFUSAL_LONGEST),
            Self::Limited { .. } => (REFUSAL_LONGEST, REFUSAL_LONGEST),
        };
        let step = first.saturating_mul(2_u32.saturating_pow(failures)).min(longest);
        let by_chance = Backoff::new(step, longest).next_wait();
        match self {
            Self::Limited { retry_after: Some(asked), .. } | Self::Outage { retry_after: Some(asked), .. } => {
                // A little later than asked, and not everybody at once.
                let asked = (*asked).min(RETRY_AFTER_MAX);
                asked + by_chance.min(asked / 10)
            }
            _ => by_chance,
        }
    }
}

/// The authority's own words, and its word for machines.
pub(super) fn described(problem: &instant_acme::Problem) -> String {
    let parts: Vec<String> = problem.subproblems.iter().map(ToString::to_string).collect();
    let detail = problem.detail.as_deref().unwrap_or("it does not say why");
    let kind = problem.r#type.as_deref().unwrap_or("about:blank");
    let parts = if parts.is_empty() { String::new() } else { format!(": {}", parts.join("; ")) };
    format!("{detail} ({kind}){parts}")
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(kind: &str, status: u16) -> instant_acme::Error {
        let text = format!(r#"{{"type":"urn:ietf:params:acme:error:{kind}","detail":"no","status":{status}}}"#);
        instant_acme::Error::Api(serde_json::from_str(&text).expect("a problem"))
    }

    #[test]
    fn outages_are_tried_soon_and_refusals_late() {
        let outage = Failure::of(problem("serverInternal", 500), None);
        let refused = Failure::of(problem("unauthorized", 403), None);
        for failures in [0, 3, 20, u32::MAX] {
            let step = |first: u64, longest: u64| Duration::from_secs(first.saturating_mul(1 << failures.min(20)).min(longest));
            let (soon, late) = (outage.wait(failures), refused.wait(failures));
            assert!(soon <= step(2, 300) && soon >= Duration::from_millis(200), "{failures}: {soon:?}");
            assert!(late <= step(60, 3600) && late >= Duration::from_secs(6), "{failures}: {late:?}");
        }
        assert!(refused.ends_order() && !outage.ends_order());
    }

    #[test]
    fn an_authority_that_says_when_is_asked_then() {
        let asked = Duration::from_secs(30);
        for failure in [Failure::of(problem("rateLimited", 429), Some(asked)), Failure::of(problem("x", 503), Some(asked))] {
            let wait = failure.wait(9);
            assert!(wait >= asked && wait <= asked + asked / 10, "{failure}: {wait:?}");
        }
        let silent = Failure::of(problem("rateLimited", 429), None).wait(0);
        assert!(silent >= REFUSAL_LONGEST / 10 && silent <= REFUSAL_LONGEST, "{silent:?}");
        let endless = Failure::of(problem("rateLimited", 429), Some(Duration::MAX)).wait(0);
        assert!(endless <= RETRY_AFTER_MAX + RETRY_AFTER_MAX / 10);
    }

    #[test]
    fn an_operator_reads_the_authority_s_own_words() {
        let text = r#"{"type":"urn:ietf:params:acme:error:dns","detail":"no A record for a.example","status":400}"#;
        let failure = Failure::of(instant_acme::Error::Api(serde_json::from_str(text).expect("a problem")), None);
        let expected = "the authority refuses: no A record for a.example (urn:ietf:params:acme:error:dns)";
        assert_eq!(failure.to_string(), expected);
    }
}
