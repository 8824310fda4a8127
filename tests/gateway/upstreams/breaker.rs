//! What is beyond an upstream's limits is refused at once.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::{GET, OK, asked, metric, problem};
use crate::support::gateway::Gateway;
use crate::support::upstream::{Answer, Step, Upstream};
use crate::support::{eventually, in_time};

#[tokio::test]
async fn the_breaker_opens_at_its_limit_and_closes_when_requests_end() {
    let go = Arc::new(Notify::new());
    let until = Arc::clone(&go);
    let upstream = Upstream::answering(move |_| Answer::steps([Step::Wait(Arc::clone(&until)), Step::Send(OK.into())])).await;
    let gateway = Gateway::in_front_of_servers(&[upstream.address], "breaker = { connections = 2 }").start().await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut client = gateway.connect().await;
        client.send(GET).await;
        held.push(client);
    }
    eventually("both at the upstream", async || (asked(&upstream) == 2).then_some(())).await;
    let begun = Instant::now();
    for _ in 0..5 {
        let response = gateway.connect().await.ask(GET).await;
        assert_eq!(problem(&response), (503, "upstream_busy".to_owned()));
        assert!(response.head.one("retry-after").is_some());
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "after {:?}", begun.elapsed());
    assert_eq!(asked(&upstream), 2);
    let refused = metric(&gateway, "portcullis_upstream_breaker_refusals_total{limit=\"connections\",upstream=\"app\"}").await;
    assert_eq!(refused, Some(5));

    go.notify_waiters();
    for client in &mut held {
        assert_eq!(client.response().await.expect("an answer").status, 200);
    }
    // Its place is free once the gateway is done with it, which is after its client has its answer.
    eventually("a free place", async || {
        let mut client = gateway.connect().await;
        client.send(GET).await;
        go.notify_one();
        (client.response().await?.status == 200).then_some(())
    })
    .await;
}

/// A client that leaves gives its place back, too.
#[tokio::test]
async fn a_client_that_goes_away_frees_its_place() {
    let upstream = Upstream::answering(|head| match head.word(1) {
        "/public/slow" => Answer::steps([Step::Hang]),
        _ => Answer::echo(head),
    })
    .await;
    let gateway = Gateway::in_front_of_servers(&[upstream.address], "breaker = { connections = 1 }").start().await;
    let mut client = gateway.connect().await;
    client.send("GET /public/slow HTTP/1.1\r\nhost: a\r\n\r\n").await;
    eventually("it at the upstream", async || (upstream.requests("/public/slow").len() == 1).then_some(())).await;
    assert_eq!(problem(&gateway.connect().await.ask(GET).await), (503, "upstream_busy".to_owned()));
    drop(client);
    eventually("a free place", async || (gateway.connect().await.ask(GET).await.status == 200).then_some(())).await;
}

/// Case 218: a crowd before a server that takes no connections makes few attempts, and harms no other route.
#[tokio::test]
async fn few_requests_wait_for_a_connection_and_the_others_are_refused_at_once() {
    // It accepts and says nothing, so that no TLS handshake ends.
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = silent.local_addr().expect("a bound socket");
    let other = Upstream::echo().await;
    let tables = format!(
        "[upstreams.silent]\nservers = [\"https://localhost:{}\"]\nbreaker = {{ pending = 2 }}\nconnect_timeout = \"1m\"\n\
         [[routes]]\npath = \"/silent\"\nupstream = \"silent\"\naccess = \"public\"",
        address.port()
    );
    let gateway = Gateway::in_front_of(&other).table(&tables).start().await;
    let request = "GET /silent HTTP/1.1\r\nhost: a\r\n\r\n";
    let mut waiting = Vec::new();
    for _ in 0..2 {
        let mut client = gateway.connect().await;
        client.send(request).await;
        let (connection, _) = in_time("its connection", silent.accept()).await.expect("a listening socket");
        waiting.push((client, connection));
    }
    let begun = Instant::now();
    for _ in 0..50 {
        assert_eq!(problem(&gateway.connect().await.ask(request).await), (503, "upstream_busy".to_owned()));
    }
    assert_eq!(gateway.connect().await.ask(GET).await.status, 200);
    assert!(begun.elapsed() < Duration::from_secs(5), "after {:?}", begun.elapsed());
    let refused = metric(&gateway, "portcullis_upstream_breaker_refusals_total{limit=\"pending\",upstream=\"silent\"}").await;
    assert_eq!(refused, Some(50));
}
