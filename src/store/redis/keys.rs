//! The public format of the revoked set in Redis: what other programs may read and write.
//!
//! | key | value | covers |
//! |---|---|---|
//! | `revoked_jti:<jti>` | anything | one access token |
//! | `revoked_sid:<sid>` | anything | every access token of a session |
//! | `revoked_before:<first 32 hex digits of SHA-256 of iss>:<sub>` | unix milliseconds | the subject's tokens with an earlier `iat` |
//! | `revocation_feed` | a stream | nothing: it announces the others, see `feed_format` |
//! | `revocation_epoch` | opaque | nothing: its presence says that the set is complete |
//!
//! Each key is preceded by the configured prefix and expires when no token that it covers can be valid any more.

use std::ops::Range;
use std::sync::Arc;

use arc_swap::ArcSwap;
use aws_lc_rs::digest;
use jiff::Timestamp;

use super::failure::Failure;
use crate::identity::TokenFacts;
use crate::store::{Covers, RevokedBy};

/// The bytes of the issuer's hash that enter a key: 128 bits suffice where nobody can choose the issuer.
const ISSUER_HASH_BYTES: usize = 16;

/// How many issuers' hashes are kept at most. There are as many issuers as the configuration names.
const ISSUERS_KEPT: usize = 64;

/// What stands for an issuer in a key, in hexadecimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct IssuerHash([u8; 2 * ISSUER_HASH_BYTES]);

impl IssuerHash {
    fn of(issuer: &str) -> Self {
        let digest = digest::digest(&digest::SHA256, issuer.as_bytes());
        let bytes = digest.as_ref();
        Self(std::array::from_fn(|at| b"0123456789abcdef"[usize::from(bytes[at / 2] >> (4 - 4 * (at % 2))) & 0xf]))
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("hexadecimal digits are ASCII")
    }
}

/// The hashes of issuers whose tokens were asked about: every request would compute one again.
#[derive(Debug, Default)]
pub(super) struct IssuerHashes(ArcSwap<Vec<(Arc<str>, IssuerHash)>>);

impl IssuerHashes {
    fn of(&self, issuer: &Arc<str>) -> IssuerHash {
        let kept = self.0.load();
        // Tokens that were verified under one configuration share its issuer.
        let same = |(other, _): &&(Arc<str>, _)| Arc::ptr_eq(other, issuer) || other == issuer;
        if let Some((_, hash)) = kept.iter().find(same) {
            return *hash;
        }
        let hash = IssuerHash::of(issuer);
        if kept.len() < ISSUERS_KEPT {
            // Of two that are added at once, one is lost and added again.
            self.0.store(Arc::new(kept.iter().cloned().chain([(Arc::clone(issuer), hash)]).collect()));
        }
        hash
    }
}

/// The keys that can cover one token, in one allocation.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TokenKeys {
    text: String,
    token: Range<usize>,
    session: Range<usize>,
    principal: Range<usize>,
}

/// How many keys a token has.
pub(super) const KEYS_PER_TOKEN: usize = 3;

impl TokenKeys {
    pub(super) fn of(prefix: &str, issuers: &IssuerHashes, token: &TokenFacts) -> Self {
        let issuer = issuers.of(&token.issuer);
        let mut text = String::with_capacity(3 * prefix.len() + 140 + token.jti.len() + token.subject.len());
        let mut key = |write: &dyn Fn(&mut String)| {
            let start = text.len();
            write(&mut text);
            start..text.len()
        };
        let (token, session, principal) = (
            key(&|text| push_token(text, prefix, &token.jti)),
            key(&|text| push_session(text, prefix, &token.session)),
            key(&|text| push_principal(text, prefix, issuer, &token.subject)),
        );
        Self { text, token, session, principal }
    }

    /// In the order in which [`covering`] expects the values.
    pub(super) fn in_order(&self) -> [&str; KEYS_PER_TOKEN] {
        [&self.text[self.token.clone()], &self.text[self.session.clone()], &self.text[self.principal.clone()]]
    }
}

/// Which record covers a token issued at `issued_at`, from the values of its keys.
pub(super) fn covering(values: &[Option<Vec<u8>>], keys: &TokenKeys, issued_at: Timestamp) -> Result<Option<RevokedBy>, Failure> {
    let [token, session, principal] = values else { return Err(Failure::Incomplete) };
    if token.is_some() {
        return Ok(Some(RevokedBy::Token));
    }
    if session.is_some() {
        return Ok(Some(RevokedBy::Session));
    }
    let Some(before) = principal else { return Ok(None) };
    let before = str::from_utf8(before).ok().and_then(|text| text.parse::<i64>().ok());
    // A value that cannot be read says that *something* was revoked: refuse to guess what.
    let before = before.ok_or_else(|| Failure::NotAnInstant(keys.in_order()[2].to_owned()))?;
    Ok((issued_at.as_millisecond() < before).then_some(RevokedBy::Principal))
}

/// The key and the value of a record.
pub(super) fn record(prefix: &str, covers: &Covers) -> (String, i64) {
    let mut key = String::new();
    let value = match covers {
        Covers::Token(id) => {
            push_token(&mut key, prefix, id);
            1
        }
        Covers::Session(id) => {
            push_session(&mut key, prefix, id);
            1
        }
        Covers::Principal { issuer, subject, before } => {
            push_principal(&mut key, prefix, IssuerHash::of(issuer), subject);
            // Rounded up, so that no token issued before the instant escapes by a fraction.
            millis_up(*before)
        }
    };
    (key, value)
}

/// Whole milliseconds, rounded up.
pub(super) fn millis_up(instant: Timestamp) -> i64 {
    let rounded = -(-instant.as_nanosecond()).div_euclid(1_000_000);
    rounded.try_into().expect("jiff's whole range fits in 64 bits of milliseconds")
}

fn push_token(text: &mut String, prefix: &str, jti: &str) {
    text.extend([prefix, "revoked_jti:", jti]);
}

fn push_session(text: &mut String, prefix: &str, session: &crate::identity::session::SessionId) {
    text.extend([prefix, "revoked_sid:"]);
    let mut buffer = uuid::Uuid::encode_buffer();
    text.push_str(session.0.hyphenated().encode_lower(&mut buffer));
}

fn push_principal(text: &mut String, prefix: &str, issuer: IssuerHash, subject: &str) {
    text.extend([prefix, "revoked_before:", issuer.as_str(), ":", subject]);
}

pub(super) fn epoch(prefix: &str) -> String {
    format!("{prefix}revocation_epoch")
}

pub(super) fn feed(prefix: &str) -> String {
    format!("{prefix}revocation_feed")
}

pub(super) fn loading(prefix: &str, rebuild: &str) -> String {
    format!("{prefix}revocation_loading:{rebuild}")
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::identity::session::SessionId;

    fn facts() -> TokenFacts {
        TokenFacts {
            issuer: Arc::from("https://id.example"),
            jti: "j-1".into(),
            session: SessionId(Uuid::from_u128(7)),
            subject: "ada".into(),
            issued_at: "2026-01-01T00:00:10Z".parse().expect("an instant"),
            expires_at: "2026-01-01T00:15:10Z".parse().expect("an instant"),
        }
    }

    #[test]
    fn the_documented_keys_are_asked_for_and_written() {
        let keys = TokenKeys::of("gw:", &IssuerHashes::default(), &facts());
        // `printf %s https://id.example | sha256sum | cut -c-32`
        let expected = [
            "gw:revoked_jti:j-1".to_owned(),
            "gw:revoked_sid:00000000-0000-0000-0000-000000000007".to_owned(),
            "gw:revoked_before:20a69b77c18109782ebd19432534d036:ada".to_owned(),
        ];
        assert_eq!(keys.in_order(), expected.each_ref().map(String::as_str));
        let before: Timestamp = "2026-01-01T00:00:10Z".parse().expect("an instant");
        let covers = [
            Covers::Token("j-1".into()),
            Covers::Session(facts().session),
            Covers::Principal { issuer: "https://id.example".into(), subject: "ada".into(), before },
        ];
        assert_eq!(covers.each_ref().map(|covers| record("gw:", covers).0), expected);
        assert_eq!(record("gw:", &covers[2]).1, before.as_millisecond());
    }

    #[test]
    fn issuers_keep_their_hashes_apart() {
        let hashes = IssuerHashes::default();
        for _ in 0..2 {
            for number in 0..=ISSUERS_KEPT {
                let issuer: Arc<str> = format!("https://{number}.example").into();
                assert_eq!(hashes.of(&issuer), IssuerHash::of(&issuer));
            }
        }
        assert_eq!(hashes.0.load().len(), ISSUERS_KEPT);
    }

    #[test]
    fn any_value_of_a_token_or_session_key_counts() {
        let keys = TokenKeys::of("", &IssuerHashes::default(), &facts());
        let set = Some(b"whatever".to_vec());
        let verdict = |values: [Option<Vec<u8>>; 3]| covering(&values, &keys, facts().issued_at).expect("readable");
        assert_eq!(verdict([set.clone(), None, None]), Some(RevokedBy::Token));
        assert_eq!(verdict([None, set, None]), Some(RevokedBy::Session));
        assert_eq!(verdict([None, None, None]), None);
    }

    #[test]
    fn a_principal_record_covers_tokens_issued_strictly_before_it() {
        let (keys, issued_at) = (TokenKeys::of("", &IssuerHashes::default(), &facts()), facts().issued_at);
        let verdict =
            |before: i64| covering(&[None, None, Some(before.to_string().into_bytes())], &keys, issued_at).expect("readable");
        assert_eq!(verdict(issued_at.as_millisecond()), None);
        assert_eq!(verdict(issued_at.as_millisecond() + 1), Some(RevokedBy::Principal));
    }

    #[test]
    fn an_instant_that_cannot_be_read_is_not_taken_for_a_no() {
        let keys = TokenKeys::of("", &IssuerHashes::default(), &facts());
        let verdict = covering(&[None, None, Some(b"soon".to_vec())], &keys, facts().issued_at);
        assert!(matches!(verdict, Err(Failure::NotAnInstant(_))));
    }

    #[test]
    fn an_instant_is_rounded_up_to_a_millisecond() {
        let at = |text: &str| millis_up(text.parse().expect("an instant"));
        assert_eq!(at("1970-01-01T00:00:01Z"), 1_000);
        assert_eq!(at("1970-01-01T00:00:01.000000001Z"), 1_001);
    }
}
