//! Which certificate is shown, and that it can be swapped under load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustls::HandshakeKind;

use super::super::support::eventually;
use super::super::support::tls::der;
use super::{get, last, metric, site};

const STALE: &str = "portcullis_certificates_stale ";

#[tokio::test]
async fn each_host_is_shown_its_own_certificate() {
    let (authority, _upstream, builder) = site().await;
    let wildcard = authority.issue(&["*.b.example", "b.example"]);
    authority.write("b", &wildcard);
    let given = authority.issue(&["c.example", "d.example"]);
    authority.write("c", &given);
    let builder = builder.table(&authority.table("b")).table(&(authority.table("c") + "\nhosts = [\"c.example\"]"));
    let gateway = builder.start().await;
    let (address, client) = (last(&gateway), authority.client());
    for (host, expected) in [("b.example", &wildcard), ("x.b.example", &wildcard), ("c.example", &given)] {
        assert_eq!(client.shown(address, host).await, der(expected), "{host}");
        let answer = client.connect(address, host).await.ask(get(host, "/public")).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "/public"), "{host}");
    }
    // Wildcards are for one label, names that were not given are not shown, and nobody else is here.
    for host in ["x.y.b.example", "d.example", "evil.example"] {
        let refused = client.try_connect(address, host).await.expect_err(host);
        assert!(refused.to_string().contains("alert"), "{host}: {refused}");
    }
}

#[tokio::test]
async fn a_client_that_names_no_host_is_shown_the_first_certificate() {
    let (authority, _upstream, builder) = site().await;
    authority.write("ip", &authority.issue(&["127.0.0.1"]));
    let builder = builder.without(&authority.table("a")).table(&authority.table("ip")).table(&authority.table("a"));
    let gateway = builder.start().await;
    let (address, client) = (last(&gateway), authority.client());
    let mut talk = client.connect(address, "127.0.0.1").await;
    assert_eq!(talk.ask(get(&address.to_string(), "/public")).await.status, 200);
    let mut talk = client.connect(address, "127.0.0.1").await;
    assert_eq!(talk.ask(get("a.example", "/public")).await.code(), "misdirected", "it was shown another certificate");
}

#[tokio::test]
async fn case_86_a_request_for_another_host_than_the_connection_s_is_refused() {
    let (authority, upstream, builder) = site().await;
    authority.write("a", &authority.issue(&["a.example", "b.example"]));
    let gateway = builder.start().await;
    let mut talk = authority.client().connect(last(&gateway), "a.example").await;
    assert_eq!(talk.ask(get("A.example.:443", "/public")).await.status, 200);
    for (host, path) in [("b.example", "/public/1"), ("evil.example", "/public/2"), ("127.0.0.1", "/auth/login")] {
        let answer = talk.ask(get(host, path)).await;
        assert_eq!((answer.status, answer.code().as_str()), (421, "misdirected"), "{host}");
    }
    let answer = talk.ask("GET https://b.example/public/3 HTTP/1.1\r\nHost: b.example\r\n\r\n").await;
    assert_eq!(answer.status, 421, "in absolute form, too");
    assert!(!upstream.saw("/public/"));
}

#[tokio::test]
async fn case_221_certificates_are_swapped_under_load_without_a_lost_request() {
    const SWAPS: usize = 3;
    let (authority, _upstream, builder) = site().await;
    let gateway = builder.start().await;
    let (address, client) = (last(&gateway), authority.client());
    let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let asking: Vec<_> = (0..4)
        .map(|_| {
            let (client, stop, asked) = (client.clone(), Arc::clone(&stop), Arc::clone(&asked));
            tokio::spawn(async move {
                let mut kept = client.connect(address, "a.example").await;
                while !stop.load(Ordering::Relaxed) {
                    let mut new = client.connect(address, "a.example").await;
                    assert_eq!(new.ask(get("a.example", "/public")).await.status, 200);
                    assert_eq!(kept.ask(get("a.example", "/public")).await.status, 200);
                    asked.fetch_add(2, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let returning = client.clone().resuming();
    let mut first = returning.connect(address, "a.example").await;
    assert_eq!(first.ask(get("a.example", "/public")).await.status, 200);
    for _ in 0..SWAPS {
        let new = authority.issue(&["a.example"]);
        authority.write("a", &new);
        eventually("the new certificate", async || (client.shown(address, "a.example").await == der(&new)).then_some(())).await;
    }
    let mut again = returning.connect(address, "a.example").await;
    assert_eq!(again.stream().get_ref().1.handshake_kind(), Some(HandshakeKind::Resumed), "sessions outlive a swap");
    assert_eq!(again.ask(get("a.example", "/public")).await.status, 200);
    stop.store(true, Ordering::Relaxed);
    for task in asking {
        task.await.expect("no request was lost");
    }
    assert!(asked.load(Ordering::Relaxed) > SWAPS);
    assert_eq!(metric(&gateway, STALE).await, Some(0));
}

#[tokio::test]
async fn case_221_files_that_are_no_valid_pair_change_nothing_and_raise_the_alarm() {
    let (authority, _upstream, builder) = site().await;
    let old = authority.issue(&["a.example"]);
    authority.write("a", &old);
    let gateway = builder.start().await;
    let (address, client) = (last(&gateway), authority.client());
    let mut half = authority.issue(&["a.example"]);
    half.certificate.truncate(half.certificate.len() / 2);
    let mut mixed = authority.issue(&["a.example"]);
    mixed.key = authority.issue(&["a.example"]).key;
    let expired = authority.issue_with(&["a.example"], |params| params.not_after = rcgen::date_time_ymd(2021, 1, 1));
    let early = authority.issue_with(&["a.example"], |params| params.not_before = rcgen::date_time_ymd(2100, 1, 1));
    for (broken, expected) in [
        (half, "cannot be read as PEM"),
        (mixed, "the key does not belong to the certificate"),
        (expired, "the certificate has expired, at 2021-01-01T00:00:00Z"),
        (early, "the certificate is not valid before 2100-01-01T00:00:00Z"),
    ] {
        authority.write("a", &broken);
        eventually("the alarm", async || gateway.output().contains(expected).then_some(())).await;
        eventually("the metric", async || (metric(&gateway, STALE).await == Some(1)).then_some(())).await;
        assert_eq!(client.shown(address, "a.example").await, der(&old), "{expected}");
    }
    assert!(gateway.output().contains("not_after="), "until when the old one is good");
    let new = authority.issue_with(&["a.example"], |params| params.not_after = rcgen::date_time_ymd(2099, 1, 1));
    authority.write("a", &new);
    eventually("the new certificate", async || (client.shown(address, "a.example").await == der(&new)).then_some(())).await;
    eventually("the end of the alarm", async || (metric(&gateway, STALE).await == Some(0)).then_some(())).await;
    let expiry = "portcullis_certificate_expiry_timestamp_seconds{certificate=\"a\"} ";
    assert_eq!(metric(&gateway, expiry).await, Some(4_070_908_800));
}

#[tokio::test]
async fn a_gateway_does_not_start_with_files_that_are_no_pair_and_says_which() {
    let (authority, _upstream, builder) = site().await;
    let mut mixed = authority.issue(&["a.example"]);
    mixed.key = authority.issue(&["a.example"]).key;
    authority.write("a", &mixed);
    let (status, output) = builder.refused().await;
    assert_eq!(status.code(), Some(64));
    assert!(output.contains("server.tls.certificates[0]: the key does not belong to the certificate"), "{output}");
}

#[tokio::test]
async fn a_certificate_that_is_over_does_not_keep_the_others_from_being_shown() {
    let (authority, _upstream, builder) = site().await;
    let over = authority.issue_with(&["b.example"], |params| params.not_after = rcgen::date_time_ymd(2021, 1, 1));
    authority.write("b", &over);
    let gateway = builder.table(&authority.table("b")).start().await;
    let mut talk = authority.client().connect(last(&gateway), "a.example").await;
    assert_eq!(talk.ask(get("a.example", "/public")).await.status, 200);
    eventually("the alarm", async || {
        let output = gateway.output();
        let warned = output.contains("server.tls.certificates[1]: the certificate has expired");
        (warned && output.contains("clients do not accept a certificate that is shown")).then_some(())
    })
    .await;
}
