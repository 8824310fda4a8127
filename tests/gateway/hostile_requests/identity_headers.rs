//! D: who the caller is, as the upstream reads it (89–91, 95, 96): only ever what the gateway says.

use percent_encoding::percent_decode_str;

use super::table::{Stage, folded};
use crate::support::client::Actor;

/// Every field by which an upstream is told who calls.
const IDENTITY: [&str; 7] =
    ["x-auth-subject", "x-auth-username", "x-auth-email", "x-auth-roles", "x-auth-scopes", "x-auth-session", "x-auth-issuer"];

/// Every character that may stand in a field name beside letters and digits (RFC 9110 §5.6.2): some server
/// somewhere reads each of them as `-` or `_`.
const SEPARATORS: &str = "-_.!#$%&'*+^`|~";

/// Routes of every kind, without and with a token, and whether the caller is made known to the upstream.
const ROUTES: [(&str, bool, bool); 6] = [
    ("/public", false, false),
    ("/public", true, false),
    ("/optional", false, false),
    ("/optional", true, true),
    ("/api", true, true),
    ("/with-token", true, true),
];

impl Stage {
    /// Sends the fields to a route and returns what the upstream was told of the caller: names as folded, and values.
    async fn told(&self, path: &str, token: bool, fields: &str, unique: &str) -> Vec<(String, String)> {
        let credential = if token { format!("authorization: Bearer {}\r\n", self.token) } else { String::new() };
        let request = format!("GET {path}/{unique} HTTP/1.1\r\nhost: a\r\n{credential}{fields}\r\n");
        let answer = self.gateway.connect().await.ask(&request).await;
        assert_eq!(answer.status, 200, "{request}: {}", answer.text());
        let requests = self.upstream.requests(&format!("{path}/{unique} "));
        assert_eq!(requests.len(), 1, "{request}");
        let fields = requests[0].head.fields().map(|(name, value)| (folded(name), value.to_owned()));
        fields.filter(|(name, value)| IDENTITY.contains(&name.as_str()) || value.contains("forged")).collect()
    }
}

/// The caller as the gateway knows her: a subject, a name and a session, but no address.
fn assert_is_ada(told: &[(String, String)], what: &str) {
    let values = |name: &str| told.iter().filter(|(other, _)| other == name).map(|(_, value)| value.as_str()).collect::<Vec<_>>();
    assert_eq!(values("x-auth-username"), ["ada"], "{what}");
    assert_eq!(
        (values("x-auth-subject").len(), values("x-auth-session").len(), values("x-auth-issuer").len()),
        (1, 1, 1),
        "{what}"
    );
    assert!(values("x-auth-roles").len() <= 1, "{what}");
    // Case 95: a claim that the token does not have leaves no room for the client's own.
    assert!(values("x-auth-email").is_empty(), "{what}");
    assert!(told.iter().all(|(_, value)| !value.contains("forged")), "{what}");
}

/// Cases 89, 90, 95.
#[tokio::test]
async fn no_spelling_of_an_identity_header_arrives_as_the_client_sent_it() {
    let stage = Stage::new().await;
    for (path, token, known) in ROUTES {
        for (number, separator) in SEPARATORS.chars().enumerate() {
            let name = |name: &str| name.replace('-', &separator.to_string());
            let mixed = |name: &str| name.replacen('-', &separator.to_string(), 1).to_uppercase();
            let fields: String =
                IDENTITY.iter().map(|field| format!("{}: forged\r\n{}: forged\r\n", name(field), mixed(field))).collect();
            let unique = format!("{number}-{token}");
            let told = stage.told(path, token, &fields, &unique).await;
            let what = format!("{path}, token: {token}, separator: {separator}: {told:?}");
            if known { assert_is_ada(&told, &what) } else { assert!(told.is_empty(), "{what}") }
        }
    }
}

/// Case 91.
#[tokio::test]
async fn a_nominated_identity_header_is_not_lost() {
    let stage = Stage::new().await;
    for (number, nominated) in
        ["X-Auth-Subject, X-Auth-Username", "x_auth_subject", "close, x-auth-session"].into_iter().enumerate()
    {
        let fields = format!("connection: {nominated}\r\n");
        let told = stage.told("/api", true, &fields, &format!("nominated-{number}")).await;
        assert_is_ada(&told, nominated);
    }
}

/// Case 96.
#[tokio::test]
async fn a_name_that_no_header_can_carry_is_encoded() {
    let stage = Stage::new().await;
    for (number, name) in ["Ada, Countess of Lovelace", "Ada Grün ☂", "100%", "a\"b;c=d", "𝒜gnes"].into_iter().enumerate() {
        let actor = Actor::registered(stage.gateway.address, name).await;
        let request =
            format!("GET /api/name-{number} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\n\r\n", actor.access_token);
        assert_eq!(stage.gateway.connect().await.ask(request).await.status, 200, "{name}");
        let seen = stage.upstream.requests(&format!("/api/name-{number} "));
        let value = seen[0].head.one("x-auth-username").expect("the caller has a name");
        assert!(value.bytes().all(|byte| (0x20..0x7f).contains(&byte)), "{name}: {value}");
        assert_eq!(percent_decode_str(value).decode_utf8().as_deref(), Ok(name), "{value}");
    }
}
