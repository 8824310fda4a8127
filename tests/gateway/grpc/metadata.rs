//! Whom the server believes to speak to.

use super::{HOST, Site, call};
use crate::support::gateway::Gateway;
use crate::support::h2_upstream::H2Upstream;
use crate::support::http2::{DATA, END_HEADERS, END_STREAM, HEADERS, Http2, block, frame};
use crate::support::tls::Authority;
use crate::support::upstream::Upstream;

#[tokio::test]
async fn the_server_learns_who_calls_from_the_gateway_alone() {
    let site = Site::start().await;
    let ada = site.gateway.registered("ada").await;
    let forging = site.client().await;
    let forged = [
        ("x-auth-subject", "mallory"),
        ("x_auth_roles", "admin"),
        ("x-auth.session", "1"),
        ("x-forwarded-for", "10.0.0.1"),
        ("gateway-identity", "a.b.c"),
        ("proxy-authorization", "Basic x"),
    ];
    let forging = forged.iter().fold(forging, |client, (name, value)| client.with(name, value)).with("x-mine", "kept");
    let told = forging.bearing(&ada.access_token).unary("/test.Echo/Who", "").await.expect("an answer");
    let told = String::from_utf8(told.to_vec()).expect("text");
    let one = |name: &str| -> Vec<_> { told.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).collect() };
    assert_eq!(one("x-auth-subject"), [ada.claim("sub").await]);
    assert_eq!(one("x-auth-username"), ["ada"]);
    assert_eq!((one("x-forwarded-for"), one("x-forwarded-proto")), (vec!["127.0.0.1"], vec!["https"]));
    assert_eq!((one("x-forwarded-host"), one("x-mine")), (vec![HOST], vec!["kept"]));
    for name in ["x_auth_roles", "x-auth.session", "gateway-identity", "proxy-authorization", "authorization"] {
        assert_eq!(one(name), [""; 0], "{name}");
    }
    // On routes for everybody, too, where nobody is known.
    let told = forging.unary("/test.Open/Who", "").await.expect("an answer");
    assert!(!String::from_utf8_lossy(&told).contains("mallory"));
}

/// A call with trailers of its own, which no program of gRPC sends and any attacker can.
async fn with_trailers(client: &mut Http2, path: &str) -> u16 {
    let stream = client.begin(&call(path, "application/grpc"), false).await;
    client.send(frame(DATA, 0, stream, &[0; 5])).await;
    let trailers = block(&[("x-auth-subject", "mallory"), ("x-auth-roles", "admin"), ("x-other", "1")]);
    client.send(frame(HEADERS, END_HEADERS | END_STREAM, stream, &trailers)).await;
    client.answer(stream).await.status
}

#[tokio::test]
async fn trailers_of_a_request_reach_no_server_and_its_end_does() {
    let authority = Authority::new();
    authority.write("a", &authority.issue(&[HOST]));
    let (newer, older) = (H2Upstream::well().await, Upstream::echo().await);
    let table = format!(
        "[upstreams.older]\nservers = [\"http://{}\"]\n[[routes]]\npath = \"/older\"\nupstream = \"older\"\naccess = \"public\"",
        older.address
    );
    let gateway = Gateway::in_front_of_servers(&[newer.address], "http = \"2\"")
        .table(&table)
        .table(&authority.table("a"))
        .listener("protocol = \"https\"")
        .start()
        .await;
    let address = *gateway.addresses.last().expect("a listener");
    let mut client = Http2::connect(&authority.client(), address, HOST).await;
    assert_eq!(with_trailers(&mut client, "/public/x").await, 200);
    let seen = newer.take().remove(0);
    assert_eq!((seen.body, seen.trailers), (vec![0; 5], None));
    assert!(!seen.head.headers.keys().any(|name| name.as_str().starts_with("x-auth-")));
    // Where nothing is awaited after the body, nothing is offered.
    assert_eq!(seen.head.headers["te"], "trailers");
    let mut plain = call("/public/x", "application/json");
    let answer = client.ask(&plain).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    assert!(answer.one("transfer-encoding").is_none() && answer.one("connection").is_none());
    assert!(!newer.take().remove(0).head.headers.contains_key("te"));
    plain[3].1 = "/older/x";
    assert_eq!(client.ask(&plain).await.status, 200);
    assert_eq!(with_trailers(&mut client, "/older/x").await, 200);
    assert!(!older.saw("mallory") && !older.saw("x-other") && older.take_faults().is_empty());
}
