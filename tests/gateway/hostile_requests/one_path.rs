//! Case 88: the path that was decided on is, byte for byte, the path that the upstream is sent.

use portcullis::policy::host::Host;
use portcullis::policy::path::Target;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::table::Stage;
use crate::support::client::RawClient;
use crate::support::find;

const TARGETS: usize = 3000;

/// Pieces that gateways and upstreams have read differently.
fn targets() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => "[a-z]{1,3}".prop_map(String::into_bytes),
        3 => Just(b"/".to_vec()),
        2 => proptest::sample::select(vec!["public", "admin", "api", "optional", "auth", ".", "..", ";x=1", ";", "//", "?", "#", "a.example", "http://a", "*", "@", ":80"])
            .prop_map(|text| text.as_bytes().to_vec()),
        3 => any::<u8>().prop_map(|byte| format!("%{byte:02x}").into_bytes()),
        1 => proptest::sample::select(vec!["%2F", "%2e", "%5C", "%25", "%252e", "%", "%zz", "%4", "\\", "\"", "<", "|", "^", "`", "{", "~", "!", "$", "+", ","])
            .prop_map(|text| text.as_bytes().to_vec()),
        1 => any::<u8>().prop_map(|byte| vec![byte]),
    ];
    let rest = proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat());
    (proptest::sample::select(vec!["/public/", "/public", "/", ""]), rest)
        .prop_map(|(start, rest)| [start.as_bytes(), &rest].concat())
}

/// What the rules make of a target; none if it is to be refused.
fn decided(target: &[u8]) -> Option<String> {
    // The parser drops a fragment before anything is decided or sent (case 71).
    let end = target.iter().position(|byte| *byte == b'#').unwrap_or(target.len());
    let host = Host::parse("a", 80).expect("a host");
    Target::parse(&target[..end], &host).ok().map(|target| target.path_and_query().to_owned())
}

#[tokio::test]
async fn what_was_decided_on_is_what_is_sent() {
    let stage = Stage::new().await;
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let strategy = targets();
    let mut client = stage.gateway.connect().await;
    let (mut sent, mut refused) = (0, 0);
    for number in 0..TARGETS {
        let target = strategy.new_tree(&mut runner).expect("every target can be made").current();
        let unique = format!("n{number:05}.");
        let request = [b"GET ", &target[..], format!(" HTTP/1.1\r\nhost: a\r\nx-unique: {unique}\r\n\r\n").as_bytes()].concat();
        client.send(&request).await;
        let shown = target.escape_ascii();
        let answer = client.response().await.unwrap_or_else(|| panic!("no answer to {shown}"));
        let seen = stage.upstream.take_requests();
        match &seen[..] {
            [seen] => {
                assert_eq!(answer.status, 200, "{shown}");
                assert_eq!(Some(seen.head.word(1)), decided(&target).as_deref(), "{shown}");
                assert_eq!(seen.head.one("x-unique"), Some(unique.as_str()), "{shown} was followed by a request of before");
                let open = ["/public", "/optional"].iter().any(|prefix| seen.head.word(1).starts_with(prefix));
                assert!(open, "{shown} needs a token");
                sent += 1;
            }
            [] => {
                assert!((400..500).contains(&answer.status), "{shown}: {}", answer.status);
                refused += 1;
            }
            _ => panic!("{shown} arrived {} times", seen.len()),
        }
        if answer.status == 400 || find(&answer.head.raw, b"close").is_some() {
            client = RawClient::connect(stage.gateway.address).await;
        }
    }
    assert_eq!(stage.upstream.take_faults(), Vec::<String>::new());
    assert!(sent > TARGETS / 20 && refused > TARGETS / 20, "{sent} sent, {refused} refused: hardly a test");
}
