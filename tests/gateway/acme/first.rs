//! From nothing to the first certificate, and what others see of it meanwhile.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::super::support::acme::AcmeServer;
use super::super::support::acme::asking;
use super::super::support::client::RawClient;
use super::super::support::eventually;
use super::super::support::tls::der;
use super::{A, HTTP_01, TLS_ALPN_01, ended, get, plain, secure, shown, site, state};

#[tokio::test]
async fn a_certificate_is_ordered_by_http_01_and_nobody_else_is_kept_waiting() {
    let (ca, _upstream, builder) = site(HTTP_01, "").await;
    let builder = builder.listener("protocol = \"redirect\"").listener("protocol = \"https\"");
    // Ready without the certificate: the rest of the gateway works.
    let gateway = builder.start().await;
    let (redirect, client) = (gateway.addresses[2], ca.authority().client());
    let token = eventually("the challenge", async || ca.token()).await;
    let refused = client.try_connect(secure(&gateway), A).await.expect_err("there is no certificate yet");
    assert!(refused.to_string().contains("alert"), "{refused}");
    assert_eq!(gateway.connect().await.ask(get("other.example", "/public")).await.status, 200);
    assert_eq!(state(&gateway, "missing").await, Some(1.0));

    let path = format!("/.well-known/acme-challenge/{token}");
    for place in [plain(&gateway), redirect] {
        let ask = async |request: String| RawClient::connect(place).await.ask(request).await;
        let answer = ask(get("A.Example", &path)).await;
        assert_eq!((answer.status, answer.head.one("content-type")), (200, Some("application/octet-stream")), "{place}");
        assert!(answer.text().starts_with(&format!("{token}.")));
        for other in [format!("{path}x"), format!("{path}/"), format!("{path}?x"), path.to_lowercase(), path[..40].to_owned()] {
            let answer = ask(get(A, &other)).await;
            assert_eq!((answer.status, answer.code().as_str()), (404, "not_found"), "{other} at {place}");
        }
        assert_eq!(ask(get("b.example", &path)).await.status, 404, "it is not asked for there");
        assert_eq!(ask(get(A, &path).replace("GET", "POST")).await.status, 404);
    }

    ca.looks_at(&[plain(&gateway), redirect]);
    shown(&ca, &gateway, A).await;
    let mut talk = client.connect(secure(&gateway), A).await;
    assert_eq!(talk.ask(get(A, "/public")).await.status, 200);
    assert_eq!(talk.ask(get(A, &path)).await.status, 404, "it is over, and was never answered over TLS");
    assert_eq!(gateway.connect().await.ask(get(A, &path)).await.status, 404);
    assert_eq!((ca.orders(), ca.contacts()), (1, vec![vec!["mailto:ops@example.com".to_owned()]]));
    eventually("the count", async || (ended(&gateway, "issued").await == Some(1.0)).then_some(())).await;
    eventually("the state", async || (state(&gateway, "current").await == Some(1.0)).then_some(())).await;
    assert!(gateway.metric("portcullis_certificate_expiry_timestamp_seconds{certificate=\"a.example\"}").await.is_some());
    // Redirects lead to hosts with a certificate, so now they lead here.
    assert_eq!(RawClient::connect(redirect).await.ask(get(A, "/public")).await.status, 308);
}

#[tokio::test]
async fn a_certificate_is_ordered_by_tls_alpn_01_and_only_the_authority_sees_the_proof() {
    let (ca, _upstream, builder) = site(TLS_ALPN_01, "").await;
    let gateway = builder.start().await;
    eventually("the challenge", async || ca.token()).await;
    let place = secure(&gateway);
    let proof = asking::shown(place, "A.example", &["acme-tls/1"]).await.expect("the proof");
    assert_eq!((proof.protocol.as_deref(), proof.rest), (Some(&b"acme-tls/1"[..]), 0));
    // Who offers anything else, as well or instead, is refused as any client of a host without a certificate.
    for protocols in [&["http/1.1"][..], &["acme-tls/1", "http/1.1"], &["h2", "http/1.1"], &[]] {
        assert!(asking::shown(place, A, protocols).await.is_err(), "{protocols:?}");
    }
    assert!(asking::shown(place, "b.example", &["acme-tls/1"]).await.is_err(), "nothing is asked about it");
    ca.looks_at(&[place]);
    let certificate = shown(&ca, &gateway, A).await;
    assert_ne!(certificate, proof.certificate);
    assert!(asking::shown(place, A, &["acme-tls/1"]).await.is_err(), "it is over");
    assert_eq!(asking::shown(place, A, &["http/1.1"]).await.expect("a handshake").certificate, certificate);
    assert_eq!(ca.orders(), 1);
}

#[tokio::test]
async fn certificates_from_files_and_by_acme_live_beside_each_other() {
    let (ca, _upstream, builder) = site(HTTP_01, "").await;
    let file = ca.authority().issue(&["file.example"]);
    ca.authority().write("file", &file);
    let gateway = builder.table(&ca.authority().table("file")).start().await;
    let client = ca.authority().client();
    assert_eq!(client.shown(secure(&gateway), "file.example").await, der(&file));
    ca.looks_at(&[plain(&gateway)]);
    shown(&ca, &gateway, A).await;
    // A change of one kind leaves the other as it is.
    let newer = ca.authority().issue(&["file.example"]);
    ca.authority().write("file", &newer);
    eventually("the swap", async || (client.shown(secure(&gateway), "file.example").await == der(&newer)).then_some(())).await;
    shown(&ca, &gateway, A).await;
    assert!(client.try_connect(secure(&gateway), "other.example").await.is_err());
}

#[tokio::test]
async fn an_account_that_the_authority_knows_already_is_bound() {
    let (key_id, key) = ("kid-1", b"a secret of sixty-four bytes or so");
    let written = format!("external_account = {{ key_id = \"{key_id}\", key = \"{}\" }}", URL_SAFE_NO_PAD.encode(key));
    let (ca, _upstream, builder) = site(HTTP_01, &written).await;
    ca.require_external(key_id, key);
    let gateway = builder.start().await;
    ca.looks_at(&[plain(&gateway)]);
    shown(&ca, &gateway, A).await;
    assert_eq!(ca.contacts().len(), 1);
    assert!(!gateway.output().contains(&URL_SAFE_NO_PAD.encode(key)));
}

#[tokio::test]
async fn no_key_lies_open_in_the_database_or_the_log() {
    let (ca, _upstream, builder) = site(HTTP_01, "").await;
    let gateway = builder.set("telemetry.level=debug").start().await;
    // The key of a certificate is there from the order on.
    eventually("the challenge", async || ca.token()).await;
    assert_no_key(&gateway, "an order under way");
    ca.looks_at(&[plain(&gateway)]);
    shown(&ca, &gateway, A).await;
    assert_no_key(&gateway, "a certificate");
}

/// In no file but the key file, and not in the log: as PEM, as base64 in any alignment that JSON or PEM would have, or raw.
fn assert_no_key(gateway: &super::Gateway, when: &str) {
    // What every PKCS#8 of an ECDSA P-256 key begins with.
    const PKCS8: [u8; 26] = [
        0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01,
        0x07, 0x04, 0x6d, 0x30, 0x6b, 0x02,
    ];
    let signs = [&b"PRIVATE KEY"[..], b"key_pkcs8", b"MIGHAgEA", &PKCS8];
    let mut texts = vec![("the log".to_owned(), gateway.output().into_bytes())];
    for entry in std::fs::read_dir(gateway.data()).expect("the data directory") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if path.is_file() && !name.starts_with("keys.json") {
            texts.push((name, std::fs::read(&path).expect("readable")));
        }
    }
    assert!(texts.iter().any(|(name, text)| name.starts_with("portcullis.db") && !text.is_empty()), "the database is looked at");
    for (name, text) in texts {
        for sign in signs {
            assert_eq!(
                super::super::support::find(&text, sign),
                None,
                "{} in {name}, with {when}",
                String::from_utf8_lossy(sign)
            );
        }
    }
}

#[tokio::test]
async fn what_cannot_be_ordered_is_refused_before_the_start() {
    let ca = AcmeServer::start().await;
    let upstream = super::Upstream::echo().await;
    let table = ca.table(&["*.example"], HTTP_01, "").replace("terms_of_service = true\n", "");
    let (status, output) = super::Gateway::in_front_of(&upstream).table(&table).refused().await;
    assert!(!status.success());
    for expected in ["dns-01", "terms_of_service = true", "protocol = \"https\""] {
        assert!(output.contains(expected), "{expected}: {output}");
    }
}
