//! `revoke`: by whatever is known of what has to stop.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis::auth::tokens::Tokens;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::administration::PASSWORD;
use super::services::Redis;
use super::{CONFIGURATION, Place, assert_says};

fn text(tokens: &Tokens) -> &str {
    tokens.access_token.expose_secret()
}

/// What a token says of itself.
fn claim(tokens: &Tokens, name: &str) -> String {
    let payload = URL_SAFE_NO_PAD.decode(text(tokens).split('.').nth(1).unwrap()).unwrap();
    let claims: Value = serde_json::from_slice(&payload).unwrap();
    claims[name].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_token_is_revoked_by_its_id_from_a_file_and_from_standard_input() {
    let place = Place::with_ada();
    let sign_in = async || place.sign_in(PASSWORD).await.unwrap();
    let (by_id, in_a_file, piped, kept) = (sign_in().await, sign_in().await, sign_in().await, sign_in().await);
    let jti = claim(&by_id, "jti");
    assert_says(&place.run(&format!("revoke --token {jti}")).ok(), &["the token", &jti, "is revoked"]);
    std::fs::write(place.path("leaked.jwt"), format!("Bearer {}\n", text(&in_a_file))).unwrap();
    place.run("revoke --token @leaked.jwt").ok();
    let told = place.run_with("revoke --token - --json", text(&piped)).json();
    assert_eq!(told, json!({"kind": "token", "id": claim(&piped, "jti"), "had_expired": false}));
    for revoked in [&by_id, &in_a_file, &piped] {
        assert!(place.is_revoked(revoked).await);
    }
    assert!(!place.is_revoked(&kept).await);
    let events = place.run("audit list --kind token_revoked --json").json();
    assert_eq!((events.as_array().unwrap().len(), &events[0]["actor"]), (3, &json!("operator")));
}

#[tokio::test]
async fn a_whole_token_as_an_argument_is_refused_and_not_repeated() {
    let place = Place::with_ada();
    let tokens = place.sign_in(PASSWORD).await.unwrap();
    let complaint = place.run(&format!("revoke --token {}", text(&tokens))).refused(1);
    assert_says(&complaint, &["must be a UUID", "--token @FILE", "--token -"]);
    assert!(!complaint.contains(text(&tokens)), "{complaint}");
    assert!(!place.is_revoked(&tokens).await);
}

#[tokio::test]
async fn a_session_a_user_and_a_key_are_revoked() {
    let place = Place::with_ada();
    let (first, second) = (place.sign_in(PASSWORD).await.unwrap(), place.sign_in(PASSWORD).await.unwrap());
    let session = claim(&first, "sid");
    assert_says(&place.run(&format!("revoke --session {session}")).ok(), &["the session", &session, "is revoked"]);
    assert!(place.is_revoked(&first).await && !place.is_revoked(&second).await);
    let id = place.user("ada")["id"].as_str().unwrap().to_owned();
    assert_eq!(place.run("revoke --user ada@example.com --json").json()["id"], json!(id));
    assert!(place.is_revoked(&second).await);
    let third = place.sign_in(PASSWORD).await.unwrap();
    place.run(&format!("revoke --user {id}")).ok();
    assert!(place.is_revoked(&third).await);

    let old = place.run("keys list --json").json()[0]["kid"].as_str().unwrap().to_owned();
    assert_says(&place.run(&format!("revoke --key={old}")).refused(1), &["no other key could sign"]);
    place.run("keys rotate").ok();
    assert_eq!(place.run(&format!("revoke --key={old} --json")).json()["kind"], json!("key"));
    assert!(!place.run("keys list").ok().contains(&old));
}

#[test]
fn what_is_not_there_is_said_and_exactly_one_thing_is_revoked() {
    let place = Place::with_ada();
    let nobody = "00000000-0000-4000-8000-000000000000";
    assert_says(&place.run(&format!("revoke --session {nobody}")).refused(1), &["no such session", "session list"]);
    assert_says(&place.run("revoke --user eve").refused(1), &["there is no user `eve`"]);
    assert_says(&place.run("revoke --key k7").refused(1), &["there is no key `k7`"]);
    assert_says(&place.run("revoke --token @nowhere").refused(1), &["cannot open nowhere"]);
    assert_says(&place.run("revoke --token -").refused(1), &["there is no token to read"]);
    assert_says(&place.run_with("revoke --token -", "a.b.c").refused(1), &["the token must be"]);
    place.run("revoke").refused(2);
    place.run(&format!("revoke --user ada --session {nobody}")).refused(2);
}

/// A token of another issuer's, by a key that nobody has.
fn foreign(issuer: &str, jti: &str, exp: i64) -> String {
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = part(json!({"alg": "EdDSA", "kid": "k", "typ": "at+jwt"}));
    format!("{header}.{}.AAAA", part(json!({"iss": issuer, "jti": jti, "sub": "ada", "exp": exp})))
}

#[test]
fn a_foreign_token_is_revoked_by_its_documented_id_while_its_issuer_is_out_of_reach() {
    const FAR: i64 = 4_000_000_000;
    let redis = Redis::start();
    let issuer =
        "[[issuers]]\nname = 'id'\nissuer = 'https://id.example'\naudiences = ['api']\njwks_url = 'http://127.0.0.1:9/'\n";
    let place = Place::with(&format!("{CONFIGURATION}\n[revocation]\nurl = \"{}\"\n{issuer}", redis.url()));
    let told = place.run_with("revoke --token - --json", &foreign("https://id.example", "j1", FAR)).json();
    // printf '%s\0%s' https://id.example j1 | sha256sum
    let id = "e5fdc5ab2f1ebbde0515e1d68625fac31d806aa39c5770e67067c05b93560dad";
    assert_eq!(told["id"], json!(id));
    let left: i64 = redis.command(&["PTTL", &format!("revoked_jti:{id}")]);
    // No longer than a token of the issuer can live, whatever it says.
    assert!((1..=2 * 86_400_000).contains(&left), "{left}");
    let over = place.run_with("revoke --token -", &foreign("https://id.example", "j2", 1_600_000_000)).ok();
    assert_says(&over, &["had expired", "nothing to revoke"]);
    let stranger = place.run_with("revoke --token -", &foreign("https://stranger.example", "j1", FAR)).refused(1);
    assert_says(&stranger, &["`[[issuers]]`"]);
}

#[tokio::test]
async fn what_is_recorded_and_not_published_is_an_error_until_it_is() {
    let mut redis = Redis::start();
    let place = Place::with(&format!("{CONFIGURATION}\n[revocation]\nurl = \"{}\"\n", redis.url()));
    place.add("ada").ok();
    let jti = claim(&place.sign_in(PASSWORD).await.unwrap(), "jti");
    let command = format!("revoke --token {jti} --json");
    redis.kill();
    assert_says(&place.run(&command).refused(1), &["recorded but could not be published", "run the same command again"]);
    redis.restart();
    place.run(&command).ok();
    assert_eq!(redis.command::<u32>(&["EXISTS", &format!("revoked_jti:{jti}")]), 1);
}
