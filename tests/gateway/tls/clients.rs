//! Certificates of clients: whose are believed, and what upstreams are told of them.

use super::super::support::gateway::Builder;
use super::super::support::tls::{Authority, Issued, ONLY_1_2, ONLY_1_3, TlsTalk};
use super::{get, last, site};

const FIELD: &str = "x-auth-client-certificate";

fn asking(builder: Builder, authority: &Authority, certificates: &str) -> Builder {
    let authorities = authority.file().display().to_string();
    builder
        .set(&format!("server.tls.clients.certificates={certificates}"))
        .set(&format!("server.tls.clients.authorities={authorities}"))
}

/// Whether the gateway answers on a connection. With TLS 1.3 a client learns only then that it was refused.
async fn is_served(talk: std::io::Result<TlsTalk>) -> bool {
    let Ok(mut talk) = talk else { return false };
    talk.send(get("a.example", "/public")).await;
    talk.response().await.is_some_and(|answer| answer.status == 200)
}

/// Certificates that nobody may believe: of another authority, made up, over, and for servers only.
fn forged(authority: &Authority) -> [Issued; 4] {
    let other = Authority::new();
    let made_up = rcgen::generate_simple_self_signed(["ada".to_owned()]).expect("a certificate");
    [
        other.issue_to("ada", "spiffe://example/ada"),
        Issued { certificate: made_up.cert.pem(), key: made_up.signing_key.serialize_pem() },
        authority.issue_with(&["ada"], |params| params.not_after = rcgen::date_time_ymd(2021, 1, 1)),
        authority.issue_with(&["ada"], |params| {
            params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        }),
    ]
}

#[tokio::test]
async fn without_a_certificate_that_is_believed_there_is_no_connection_where_one_is_required() {
    let (authority, upstream, builder) = site().await;
    let gateway = asking(builder, &authority, "required").start().await;
    let (address, client) = (last(&gateway), authority.client());
    assert!(!is_served(client.try_connect(address, "a.example").await).await, "none");
    for versions in [ONLY_1_2, ONLY_1_3] {
        for (at, forged) in forged(&authority).into_iter().enumerate() {
            let client = client.clone().speaking(versions).showing(forged);
            assert!(!is_served(client.try_connect(address, "a.example").await).await, "{at}");
        }
    }
    assert_eq!(upstream.connections(), 0);
    let ada = client.showing(authority.issue_to("ada", "spiffe://example/ada"));
    assert!(is_served(ada.try_connect(address, "a.example").await).await);
    assert_eq!(upstream.take_requests()[0].head.one(FIELD), Some("CN=ada%2CO=Example"));
}

#[tokio::test]
async fn an_optional_certificate_may_be_missing_and_must_not_be_forged() {
    let (authority, upstream, builder) = site().await;
    let builder = asking(builder, &authority, "optional").set("server.tls.clients.identity=alternative_names");
    let gateway = builder.start().await;
    let (address, client) = (last(&gateway), authority.client());
    assert!(is_served(client.try_connect(address, "a.example").await).await, "none");
    assert_eq!(upstream.take_requests()[0].head.one(FIELD), None);
    for (at, forged) in forged(&authority).into_iter().enumerate() {
        assert!(!is_served(client.clone().showing(forged).try_connect(address, "a.example").await).await, "{at}");
    }
    let ada = client.showing(authority.issue_to("ada", "spiffe://example/ada,DNS:root"));
    assert!(is_served(ada.try_connect(address, "a.example").await).await);
    assert_eq!(upstream.take_requests()[0].head.one(FIELD), Some("URI:spiffe://example/ada%2CDNS:root"));
}

#[tokio::test]
async fn nobody_can_write_the_field_of_a_certificate() {
    let (authority, upstream, builder) = site().await;
    let gateway = asking(builder, &authority, "optional").start().await;
    let address = last(&gateway);
    let spellings = ["X-Auth-Client-Certificate", "x_auth_client_certificate", "X.Auth.Client.Certificate"];
    let fields: String = spellings.iter().map(|name| format!("{name}: CN=root\r\n")).collect();
    let nominated = "Connection: keep-alive, x-auth-client-certificate\r\n";
    let request = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a.example\r\n{fields}{nominated}\r\n");
    let ada = authority.client().showing(authority.issue_to("ada", "spiffe://example/ada"));
    for path in ["/public", "/optional"] {
        assert_eq!(gateway.connect().await.ask(request(path)).await.status, 200, "in clear text");
        assert_eq!(authority.client().connect(address, "a.example").await.ask(request(path)).await.status, 200, "without one");
        for received in upstream.take_requests() {
            assert!(!received.head.raw.to_ascii_lowercase().windows(4).any(|four| four == b"root"), "{path}");
        }
        assert_eq!(ada.connect(address, "a.example").await.ask(request(path)).await.status, 200);
        let received = upstream.take_requests().remove(0);
        assert_eq!(received.head.one(FIELD), Some("CN=ada%2CO=Example"), "{path}");
        assert!(!received.head.raw.windows(4).any(|four| four == b"root"), "{path}");
    }
}

#[tokio::test]
async fn a_session_is_not_resumed_past_the_certificate_it_began_with() {
    let (authority, _upstream, builder) = site().await;
    let gateway = asking(builder, &authority, "required").start().await;
    for versions in [ONLY_1_2, ONLY_1_3] {
        let ada = authority.client().speaking(versions).showing(authority.issue_to("ada", "spiffe://example/ada")).resuming();
        for _ in 0..2 {
            let mut talk = ada.connect(last(&gateway), "a.example").await;
            assert_eq!(talk.ask(get("a.example", "/public")).await.status, 200);
            assert_eq!(talk.stream().get_ref().1.handshake_kind(), Some(rustls::HandshakeKind::Full));
        }
    }
}

#[tokio::test]
async fn a_gateway_does_not_start_without_the_authorities_it_is_to_believe() {
    let (authority, _upstream, builder) = site().await;
    std::fs::write(authority.file(), "nothing").expect("writable");
    let (status, output) = asking(builder, &authority, "optional").refused().await;
    assert_eq!(status.code(), Some(64));
    assert!(output.contains("server.tls.clients.authorities"), "{output}");
}
