//! The closed label sets: every value that a metric's label or a log's outcome field can take.
//!
//! A label value is a variant, never text from outside, so that nobody can grow the number of time series by
//! sending requests. (`route` and `upstream` take the names of the configuration.)

use crate::reason::Reason;

/// A label whose values are the variants of an enum.
pub trait Label: Copy + 'static {
    /// The label's name.
    const KEY: &'static str;
    /// Every value, in the order of [`Label::index`].
    const ALL: &'static [Self];

    /// The value as written. Stable: dashboards and alerts match on it.
    fn word(self) -> &'static str;

    /// The position in [`Label::ALL`].
    fn index(self) -> usize;
}

macro_rules! labels {
    ($($(#[doc = $doc:literal])+ $label:ident = $key:literal { $($(#[doc = $value_doc:literal])+ $value:ident = $word:literal,)+ })+) => {$(
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $label { $($(#[doc = $value_doc])+ $value,)+ }

        impl Label for $label {
            const KEY: &'static str = $key;
            const ALL: &'static [Self] = &[$(Self::$value,)+];

            fn word(self) -> &'static str {
                match self { $(Self::$value => $word,)+ }
            }

            fn index(self) -> usize {
                self as usize
            }
        }
    )+};
}

labels! {
    /// How a request ended.
    Outcome = "outcome" {
        /// The upstream answered, whatever it answered.
        Forwarded = "forwarded",
        /// The gateway's own API answered.
        Answered = "answered",
        /// The gateway refused to forward it.
        Denied = "denied",
        /// It was permitted, and the upstream or the gateway failed.
        Failed = "failed",
        /// It outlasted what admitted it, and was cut off.
        CutOff = "cut_off",
        /// The client went away before it had its answer.
        Aborted = "aborted",
    }

    /// What ended a connection before a request was there to be routed.
    EarlyRefusal = "cause" {
        /// What arrived is not HTTP.
        Parser = "parser",
        /// The header section did not arrive within its deadline.
        HeaderDeadline = "header_deadline",
        /// TLS was not agreed on: an old version, no common cipher or protocol, no certificate that is believed.
        Handshake = "handshake",
        /// A PROXY header was missing, broken, or came from a peer that is not trusted.
        ProxyHeader = "proxy_header",
        /// What comes before HTTP did not end within its deadline.
        HandshakeDeadline = "handshake_deadline",
        /// There were as many connections as there may be.
        Connections = "connections",
        /// There were as many from this address as there may be.
        ConnectionsPerAddress = "connections_per_address",
    }

    /// Where a revocation check looks.
    CheckMode = "mode" {
        /// In Redis, on every request.
        Strict = "strict",
        /// In this process' mirror of Redis: live tokens only, the others are looked up in Redis.
        Mirror = "mirror",
        /// In this process: the embedded set of a single replica.
        Memory = "memory",
    }

    /// What a revocation check found.
    CheckVerdict = "verdict" {
        /// Not revoked.
        Live = "live",
        /// Revoked.
        Revoked = "revoked",
        /// It cannot be known now; the request is refused.
        Unknown = "unknown",
    }

    /// What became of a request of whose token nobody could say whether it was revoked.
    UnknownDecision = "decision" {
        /// It was refused.
        Denied = "denied",
        /// Its route's `on_unknown` let it in.
        Allowed = "allowed",
    }

    /// What ended a stream, with what had admitted it.
    StreamEnd = "cause" {
        /// Its token was revoked.
        Token = "token",
        /// Its session ended.
        Session = "session",
        /// All of its subject's tokens were revoked.
        Principal = "principal",
        /// Its token or its session was over by itself.
        Expired = "expired",
    }

    /// Why every unexpired revocation was published again from SQL.
    RepublicationCause = "cause" {
        /// The gateway started.
        Start = "start",
        /// The set had lost its data, or came from another dataset.
        Amnesia = "amnesia",
        /// A revocation was written to SQL and could not be published.
        PublishFailed = "publish_failed",
    }

    /// Why following the feed of revocations had to begin again.
    FeedGap = "cause" {
        /// Entries were removed before they were read: trimmed, or deleted.
        Trimmed = "trimmed",
        /// The data set is another one: Redis lost its data, or another server took over.
        Dataset = "dataset",
        /// The feed ends before what was read of it.
        Rewound = "rewound",
        /// An entry could not be read.
        Unreadable = "unreadable",
    }

    /// What is known of a foreign issuer's keys.
    JwksState = "state" {
        /// The last fetch brought them.
        Fresh = "fresh",
        /// The last fetch failed, or none ended since the start; older keys are used.
        Stale = "stale",
        /// None that may be used: its tokens are refused with 503.
        Missing = "missing",
    }

    /// What became of a logout token of another issuer.
    LogoutEnd = "result" {
        /// The session that it names was ended.
        Session = "session",
        /// Every token of its subject was ended.
        Subject = "subject",
        /// It had come before, and nothing was left to do.
        Repeated = "repeated",
        /// It is not one that is accepted.
        Refused = "refused",
        /// There were too many that are not, from the same network.
        Throttled = "throttled",
        /// A store or the issuer's keys were missing: it is to be sent again.
        Unavailable = "unavailable",
    }

    /// What became of an order for a certificate.
    AcmeOutcome = "outcome" {
        /// It is there.
        Issued = "issued",
        /// The authority said no, or issued what cannot be used: somebody has to act.
        Refused = "refused",
        /// The authority has had too many requests.
        Limited = "limited",
        /// The authority did not answer, or not in time.
        Unreachable = "unreachable",
        /// The database did not, or another replica took over.
        Store = "store",
    }

    /// How it stands with a certificate that is ordered by itself.
    AcmeState = "state" {
        /// It is shown, and has time to go.
        Current = "current",
        /// It is shown, and another one is overdue.
        Due = "due",
        /// There is none: handshakes for its host fail.
        Missing = "missing",
    }

    /// What became of a letter.
    MailResult = "result" {
        /// A mail server took it.
        Sent = "sent",
        /// Its server refused it for good, or it could not be written.
        Failed = "failed",
        /// It was not sent: its address had enough, too many were waiting, or its time was over.
        Dropped = "dropped",
    }

    /// What became of a configuration that was read again.
    ConfigReload = "outcome" {
        /// It is in force.
        Applied = "applied",
        /// It is the one that is in force.
        Unchanged = "unchanged",
        /// Something is wrong with it; the old one stays.
        Refused = "refused",
    }

    /// What a server of an upstream is good for.
    ServerState = "state" {
        /// It gets requests.
        InService = "in_service",
        /// Its health check fails.
        Unhealthy = "unhealthy",
        /// Requests to it failed.
        Ejected = "ejected",
    }

    /// What became of a request that could be tried again.
    Retry = "result" {
        /// It was.
        Tried = "tried",
        /// There had been too many retries for the traffic.
        OverBudget = "over_budget",
    }

    /// What an upstream may have so much of.
    BreakerLimit = "limit" {
        /// Requests at once.
        Connections = "connections",
        /// Requests that wait for a connection.
        Pending = "pending",
    }

    /// Which log.
    Log = "log" {
        /// One line per request.
        Access = "access",
        /// What the gateway says about itself.
        Diagnostic = "diagnostic",
    }
}

impl Label for Reason {
    const KEY: &'static str = "reason";
    const ALL: &'static [Self] = Self::ALL;

    fn word(self) -> &'static str {
        Self::word(self)
    }

    fn index(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_indexes_match<L: Label + PartialEq + std::fmt::Debug>() {
        for (position, label) in L::ALL.iter().enumerate() {
            assert_eq!(label.index(), position, "{}={}", L::KEY, label.word());
        }
    }

    #[test]
    fn every_label_value_is_found_at_its_index() {
        assert_indexes_match::<Outcome>();
        assert_indexes_match::<EarlyRefusal>();
        assert_indexes_match::<CheckMode>();
        assert_indexes_match::<CheckVerdict>();
        assert_indexes_match::<StreamEnd>();
        assert_indexes_match::<RepublicationCause>();
        assert_indexes_match::<FeedGap>();
        assert_indexes_match::<JwksState>();
        assert_indexes_match::<LogoutEnd>();
        assert_indexes_match::<MailResult>();
        assert_indexes_match::<ConfigReload>();
        assert_indexes_match::<ServerState>();
        assert_indexes_match::<Retry>();
        assert_indexes_match::<BreakerLimit>();
        assert_indexes_match::<Log>();
        assert_indexes_match::<Reason>();
    }
}
