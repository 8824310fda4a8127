//! The public format of the feed: what other programs append if they revoke by themselves.
//!
//! An entry has a field `r` for each record, repeated; its value is JSON, one of
//!
//! ```text
//! {"jti":"<jti>","life_ms":900000}
//! {"sid":"<UUID>","life_ms":900000}
//! {"iss":"<iss>","sub":"<sub>","before_ms":1763740000000,"life_ms":900000}
//! ```
//!
//! `life_ms` is the rest of the record's life when it is written: the same as the expiry of its key. A length of time
//! rather than an instant, because no two machines agree on those.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::keys::millis_up;
use crate::identity::session::SessionId;
use crate::store::{Covers, Revocation};

/// The field of a record.
pub(super) const RECORD: &str = "r";
/// The field of the entry with which a feed begins.
const BEGUN: &[u8] = b"begun";
/// No record lives longer: an instant that far away can still be reckoned with.
const LIFE_MAX: Duration = Duration::from_secs(10 * 366 * 86_400);

/// One record as written.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written<'a> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    jti: Option<std::borrow::Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sid: Option<Uuid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    iss: Option<std::borrow::Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sub: Option<std::borrow::Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before_ms: Option<i64>,
    life_ms: u64,
}

/// A record as it stands in the feed, for `life_ms` more milliseconds.
pub(super) fn write(covers: &Covers, life_ms: u64) -> String {
    let empty = Written { life_ms, ..Written::default() };
    let written = match covers {
        Covers::Token(id) => Written { jti: Some((&**id).into()), ..empty },
        Covers::Session(id) => Written { sid: Some(id.0), ..empty },
        Covers::Principal { issuer, subject, before } => Written {
            iss: Some((&**issuer).into()),
            sub: Some((&**subject).into()),
            before_ms: Some(millis_up(*before)),
            ..empty
        },
    };
    serde_json::to_string(&written).expect("texts and numbers are JSON")
}

/// The records of an entry, by its fields and values in turn; none if there is something else in it. What cannot be read
/// may have revoked anything.
pub(super) fn read(fields: &[Vec<u8>], now: Timestamp) -> Option<Vec<Revocation>> {
    let mut records = Vec::with_capacity(fields.len() / 2);
    for pair in fields.chunks(2) {
        let [field, value] = pair else { return None };
        if *field == RECORD.as_bytes() {
            records.push(record(value, now)?);
        } else if field != BEGUN {
            return None;
        }
    }
    Some(records)
}

fn record(json: &[u8], now: Timestamp) -> Option<Revocation> {
    let covers = match serde_json::from_slice(json).ok()? {
        Written { jti: Some(id), sid: None, iss: None, sub: None, before_ms: None, life_ms } => {
            (Covers::Token(id.into()), life_ms)
        }
        Written { jti: None, sid: Some(id), iss: None, sub: None, before_ms: None, life_ms } => {
            (Covers::Session(SessionId(id)), life_ms)
        }
        Written { jti: None, sid: None, iss: Some(issuer), sub: Some(subject), before_ms: Some(before), life_ms } => {
            let before = Timestamp::from_millisecond(before).ok()?;
            (Covers::Principal { issuer: issuer.into(), subject: subject.into(), before }, life_ms)
        }
        Written { .. } => return None,
    };
    let life = Duration::from_millis(covers.1).min(LIFE_MAX);
    Some(Revocation { covers: covers.0, expires_at: now.saturating_add(life).ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-01-01T00:00:00Z".parse().expect("an instant")
    }

    fn fields(texts: &[&str]) -> Vec<Vec<u8>> {
        texts.iter().map(|text| text.as_bytes().to_vec()).collect()
    }

    #[test]
    fn the_documented_records_are_written_and_read() {
        let before: Timestamp = "2026-01-01T00:00:00.001Z".parse().expect("an instant");
        for (covers, json) in [
            (Covers::Token("j \"1\"".into()), r#"{"jti":"j \"1\"","life_ms":900000}"#),
            (
                Covers::Session(SessionId(Uuid::from_u128(7))),
                r#"{"sid":"00000000-0000-0000-0000-000000000007","life_ms":900000}"#,
            ),
            (
                Covers::Principal { issuer: "https://id.example".into(), subject: "ada".into(), before },
                r#"{"iss":"https://id.example","sub":"ada","before_ms":1767225600001,"life_ms":900000}"#,
            ),
        ] {
            assert_eq!(write(&covers, 900_000), json);
            let expected = Revocation { covers, expires_at: now() + Duration::from_secs(900) };
            assert_eq!(read(&fields(&["r", json]), now()), Some(vec![expected]));
        }
        assert_eq!(read(&fields(&["begun", "x"]), now()), Some(Vec::new()));
    }

    #[test]
    fn what_cannot_be_read_is_not_taken_for_nothing() {
        let good = r#"{"jti":"a","life_ms":1}"#;
        for entry in [
            &["r", "{}"][..],
            &["r", r#"{"jti":"a"}"#],
            &["r", r#"{"jti":"a","sid":"00000000-0000-0000-0000-000000000007","life_ms":1}"#],
            &["r", r#"{"iss":"a","sub":"b","life_ms":1}"#],
            &["r", r#"{"jti":"a","life_ms":1,"tenant":"x"}"#],
            &["r", good, "tenant", "x"],
            &["r"],
        ] {
            assert_eq!(read(&fields(entry), now()), None, "{entry:?}");
        }
    }

    #[test]
    fn no_life_is_too_long_to_be_reckoned_with() {
        let records = read(&fields(&["r", r#"{"jti":"a","life_ms":18446744073709551615}"#]), now()).expect("readable");
        assert_eq!(records[0].expires_at, now() + LIFE_MAX);
    }
}
