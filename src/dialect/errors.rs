//! Which answer a refusal gets: the route's, the dialect's, or the gateway's own.

use std::collections::BTreeMap;

use super::answer::AnswerTemplate;
use crate::reason::Reason;

/// Answers by the word of the refusal, and one for any other.
pub type ErrorTable = BTreeMap<Box<str>, AnswerTemplate>;

/// The word that stands for every refusal without an answer of its own.
pub const ANY: &str = "*";

/// What `*` stands for: the refusals of what the client asked for and of who asks. Not the others (malformed, too many,
/// a store that is down, an upstream that does not answer): a client that reads those as “wrong password” would throw its
/// session away, or retry at once what it should retry later.
const COVERED: &[(&str, &str)] = &[
    ("invalid", ""),
    ("conflict", ""),
    ("credentials", ""),
    ("missing_token", ""),
    ("bad_token", ""),
    ("expired_token", ""),
    ("revoked_token", ""),
    ("bad_ticket", "The ticket is not valid"),
    ("forbidden", ""),
    ("reauthenticate", "Sign in again"),
];

/// Whether `*` stands for this refusal.
pub(super) fn covered(code: &str) -> bool {
    code == ANY || COVERED.iter().any(|(covered, _)| *covered == code)
}

/// Every word that an answer may be for.
pub(super) fn words() -> impl Iterator<Item = &'static str> {
    let reasons = Reason::ALL.iter().map(|reason| reason.word());
    let others = COVERED.iter().map(|(word, _)| *word).filter(|word| reason(word).is_none());
    reasons.chain(others).chain([ANY])
}

/// The kind of refusal in words.
pub(super) fn title(code: &str) -> &'static str {
    let own = || COVERED.iter().find(|(word, _)| *word == code).map_or("Refused", |(_, title)| *title);
    reason(code).map_or_else(own, Reason::title)
}

fn reason(word: &str) -> Option<Reason> {
    Reason::ALL.iter().copied().find(|reason| reason.word() == word)
}

/// The route's entry; else, if the route has no `*` for it, the dialect's; else `*`.
pub(super) fn lookup<'a>(route: Option<&'a ErrorTable>, dialect: &'a ErrorTable, code: &str) -> Option<&'a AnswerTemplate> {
    let any = |table: &'a ErrorTable| if covered(code) { table.get(ANY) } else { None };
    let on_route = route.and_then(|route| route.get(code).or_else(|| any(route)));
    on_route.or_else(|| dialect.get(code)).or_else(|| any(dialect))
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::super::answer::AnswerBody;
    use super::*;

    fn table(entries: &[(&str, u16)]) -> ErrorTable {
        let answer = |status| AnswerTemplate { status: StatusCode::from_u16(status).unwrap(), body: AnswerBody::Empty };
        entries.iter().map(|(word, status)| ((*word).into(), answer(*status))).collect()
    }

    #[test]
    fn the_route_comes_first_then_its_any_then_the_dialect() {
        let dialect = table(&[("credentials", 401), ("internal", 500), ("*", 403)]);
        let plain = table(&[("missing_token", 400)]);
        let with_any = table(&[("missing_token", 400), ("*", 404)]);
        let status = |route: Option<&ErrorTable>, code| lookup(route, &dialect, code).map(|answer| answer.status.as_u16());
        for (route, code, expected) in [
            (Some(&plain), "missing_token", Some(400)),
            (Some(&plain), "credentials", Some(401)),
            (Some(&plain), "bad_token", Some(403)),
            (Some(&with_any), "missing_token", Some(400)),
            (Some(&with_any), "credentials", Some(404)),
            (Some(&with_any), "bad_ticket", Some(404)),
            (None, "credentials", Some(401)),
            (None, "revoked_token", Some(403)),
        ] {
            assert_eq!(status(route, code), expected, "{route:?} {code}");
        }
    }

    #[test]
    fn faults_and_overload_are_canonical_unless_named() {
        let any = table(&[("*", 403)]);
        for code in ["internal", "too_many", "malformed", "unavailable", "revocation_unknown", "upstream_timeout", "not_found"] {
            assert_eq!(lookup(Some(&any), &any, code), None, "{code}");
            let named = table(&[(code, 418)]);
            assert!(lookup(Some(&any), &named, code).is_some_and(|answer| answer.status == 418), "{code}");
        }
    }

    #[test]
    fn every_word_has_a_title() {
        for word in words().filter(|word| *word != ANY) {
            assert!(!title(word).is_empty() && title(word) != "Refused", "{word}");
        }
    }
}
