//! Issuers that are accepted, and those that would be a way in.

use crate::config::{Config, Environment, Report, Source, load};

const LEAST: &str = "[upstreams.app]\nservers = [\"http://127.0.0.1:3000\"]\n[[routes]]\npath = \"/\"\nupstream = \"app\"\n";
const NAMED: &str = "[[issuers]]\nname = 'corp'\nissuer = 'https://id.example'\naudiences = ['api']\n";
const URL: &str = "jwks_url = 'https://id.example/keys'\n";
const KEY: &str = r#"{"kty":"OKP","crv":"Ed25519","x":"qsLEJNN2C5CoxJqcpqQs0CBD1eoup5v_CJFTDmoS6yc"}"#;

fn config(issuers: &str) -> Result<Config, Report> {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("gateway.toml");
    std::fs::write(&path, format!("{LEAST}{issuers}")).expect("written");
    load(&Source { path, environment: Environment::default(), ..Source::default() })
}

#[track_caller]
fn refused(issuers: &str, key: &str, words: &str) {
    let report = config(issuers).expect_err(issuers).render(false);
    assert!(report.contains(&format!("{key}: ")) && report.contains(words), "{issuers}\n{report}");
    assert!(report.contains("1 error"), "{report}");
}

#[test]
fn an_issuer_with_keys_of_any_source_is_accepted_without_a_word() {
    let secret = format!("secret = '{}'", "s".repeat(32));
    let introspection = "[issuers.introspection]\nurl = 'http://127.0.0.1:1/i'\nclient_id = 'gate'\nclient_secret = 's'\n";
    for keys in [URL, &format!("jwks = '{KEY}'"), &secret, introspection, &format!("{URL}{introspection}")] {
        let config = config(&format!("{NAMED}{keys}")).unwrap_or_else(|report| panic!("{keys}\n{report}"));
        assert!(config.warnings.is_empty(), "{}", config.warnings);
    }
}

#[test]
fn keys_that_anybody_could_have_sent_or_guessed_are_refused() {
    for url in ["http://id.example/keys", "ftp://localhost/keys", "id.example/keys", "https://u@id.example/keys", "http://[::2]/"]
    {
        refused(&format!("{NAMED}jwks_url = '{url}'"), "issuers[0].jwks_url", "");
    }
    for url in ["http://127.0.0.1:1/k", "http://localhost/k", "http://[::1]:1/k"] {
        assert!(config(&format!("{NAMED}jwks_url = '{url}'")).is_ok(), "{url}");
    }
    refused(&format!("{NAMED}secret = '{}'", "s".repeat(31)), "issuers[0].secret", "can be guessed");
    refused(&format!("{NAMED}secret = ' '"), "issuers[0].secret", "empty");
    refused(NAMED, "issuers[0]", "nothing verifies");
    refused(&format!("{NAMED}{URL}jwks = '{KEY}'"), "issuers[0]", "several sources");
    refused(&format!("{NAMED}jwks = '{{\"keys\":[]}}'"), "issuers[0].jwks", "1 to 16 keys");
    refused(&format!("{NAMED}jwks = '{{\"kty\":\"oct\",\"k\":\"AA\"}}'"), "issuers[0].jwks", "private");
}

#[test]
fn a_secret_goes_with_hs256_and_public_keys_with_the_others() {
    let secret = format!("secret = '{}'\n", "s".repeat(32));
    for (keys, algorithms) in [(URL, "['HS256']"), (URL, "['ES256', 'HS256']"), (URL, "[]"), (&secret, "['EdDSA']")] {
        refused(&format!("{NAMED}{keys}algorithms = {algorithms}"), "issuers[0].algorithms", "not those of the keys");
    }
    refused(&format!("{NAMED}{URL}algorithms = ['none']"), "issuers[0].algorithms[0]", "");
}

#[test]
fn nobody_abroad_makes_administrators() {
    let at = "issuers[0].accept_roles";
    refused(&format!("{NAMED}{URL}accept_roles = ['admin']"), "accept_roles[0]", "make administrators");
    refused(&format!("{NAMED}{URL}accept_roles = ['min']\nrole_prefix = 'ad'"), "accept_roles[0]", "make administrators");
    refused(&format!("{NAMED}{URL}accept_roles = ['*']"), at, "any role");
    refused(&format!("{NAMED}{URL}accept_roles = ['*']\nrole_prefix = 'ad'"), at, "any role");
    assert!(config(&format!("{NAMED}{URL}accept_roles = ['admin']\nrole_prefix = 'corp:'")).is_ok());
    assert!(config(&format!("{NAMED}{URL}accept_roles = ['*']\nrole_prefix = 'corp:'")).is_ok());
}

#[test]
fn an_issuer_is_another_than_ourselves_and_than_the_rest() {
    refused(&format!("{}{URL}", NAMED.replace("https://id.example", "portcullis")), "issuers[0].issuer", "our own");
    refused(&format!("{}{URL}", NAMED.replace("['api']", "[]")), "issuers[0].audiences", "anybody else");
    let second = NAMED.replace("'corp'", "'other'");
    refused(&format!("{NAMED}{URL}{second}{URL}"), "issuers[1].issuer", "there already");
    let second = second.replace("https://id.example", "https://id.example/");
    assert!(config(&format!("{NAMED}{URL}{second}{URL}")).is_ok(), "a slash makes another");
    refused(&format!("{NAMED}{URL}{}{URL}", second.replace("'other'", "'corp'")), "issuers[1].name", "taken");
    let asks = |prefix: &str| {
        format!(
            "[issuers.introspection]\nurl = 'https://id.example/i'\nclient_id = 'c'\nclient_secret = 's'\ntoken_prefix = '{prefix}'\n"
        )
    };
    let two = |first: &str, other: &str| format!("{NAMED}{}{second}{}", asks(first), asks(other));
    refused(&two("a_", "a_b"), "issuers[1].introspection.token_prefix", "either issuer");
    assert!(config(&two("a_", "b_")).is_ok());
}

#[test]
fn times_are_bounded_and_in_order() {
    for (keys, at) in [
        ("life_max = '25h'", "life_max"),
        ("clock_skew = '6m'", "clock_skew"),
        ("refresh_min = '0s'", "refresh_min"),
        ("refresh_min = '11m'", "refresh_min"),
        ("keep_keys_for = '9m'", "keep_keys_for"),
        ("fetch_timeout = '0s'", "fetch_timeout"),
        ("token_types = []", "token_types"),
        ("claims.roles = 'a..b'", "claims.roles"),
    ] {
        refused(&format!("{NAMED}{URL}{keys}"), &format!("issuers[0].{at}"), "");
    }
}

#[test]
fn logouts_are_taken_where_they_can_be_proved_and_are_for_us() {
    const ON: &str = "[issuers.backchannel_logout]\naudiences = ['gate']\n";
    let whole = config(&format!("{NAMED}{URL}{ON}max_age = '5m'\nall_sessions = true\n")).expect("good");
    let logout = whole.issuers[0].logout.as_ref().expect("it is on");
    assert_eq!((logout.age_max.as_secs(), logout.whole_subject, &*logout.audiences[0]), (300, true, "gate"));
    let plain = config(&format!("{NAMED}{URL}{ON}")).expect("good");
    assert!(plain.warnings.is_empty(), "{}", plain.warnings);
    let logout = plain.issuers[0].logout.as_ref().expect("it is on");
    assert_eq!((logout.age_max.as_secs(), logout.whole_subject), (600, false));
    assert!(config(&format!("{NAMED}{URL}")).expect("good").issuers[0].logout.is_none(), "it is off unless it is there");

    let at = "issuers[0].backchannel_logout";
    let introspection = "[issuers.introspection]\nurl = 'http://127.0.0.1:1/i'\nclient_id = 'gate'\nclient_secret = 's'\n";
    refused(&format!("{NAMED}{introspection}{ON}"), at, "nothing verifies");
    refused(&format!("{NAMED}{URL}{}", ON.replace("'gate'", "")), &format!("{at}.audiences"), "anybody else");
    refused(&format!("{NAMED}{URL}{}", ON.replace("gate", "")), &format!("{at}.audiences[0]"), "visible");
    refused(&format!("{NAMED}{URL}{ON}max_age = '25h'"), &format!("{at}.max_age"), "out of bounds");
    refused(&format!("{NAMED}{URL}{ON}enabled = true"), &format!("{at}.enabled"), "");
    refused(&format!("{}{URL}{ON}", NAMED.replace("'corp'", "'..'")), "issuers[0].name", "no part of a path");
    let other = config(&format!("{NAMED}{URL}claims.subject = 'oid'\n{ON}")).expect("a warning is no error");
    assert!(other.warnings.render(false).contains("refused unless it has the claim \"oid\""), "{}", other.warnings);
}
