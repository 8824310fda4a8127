//! Each way of choosing a server.

use std::sync::Arc;

use tokio::sync::Notify;

use super::{GET, asked, metric};
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::upstream::{Answer, Step, Upstream};

#[tokio::test]
async fn each_server_has_its_turns_exactly_as_often_as_its_weight_says() {
    let servers = [Upstream::echo().await, Upstream::echo().await, Upstream::echo().await];
    let addresses = servers.each_ref().map(|server| server.address);
    let gateway = Gateway::in_front_of_servers(&addresses, "weights = [3, 2, 1]").start().await;
    let mut client = gateway.connect().await;
    for _ in 0..60 {
        assert_eq!(client.ask(GET).await.status, 200);
    }
    assert_eq!(servers.each_ref().map(asked), [30, 20, 10]);
}

/// A server that answers when it is told to.
async fn held() -> (Upstream, Arc<Notify>) {
    let go = Arc::new(Notify::new());
    let until = Arc::clone(&go);
    let upstream =
        Upstream::answering(move |_| Answer::steps([Step::Wait(Arc::clone(&until)), Step::Send(super::OK.into())])).await;
    (upstream, go)
}

#[tokio::test]
async fn the_server_that_has_fewer_requests_gets_the_next_one() {
    let (slow, _go) = held().await;
    let (other, go) = held().await;
    let gateway = Gateway::in_front_of_servers(&[slow.address, other.address], "balance = \"least_connections\"").start().await;
    let mut clients = Vec::new();
    for count in 1..=10 {
        let mut client = gateway.connect().await;
        client.send(GET).await;
        clients.push(client);
        eventually("the request at a server", async || (asked(&slow) + asked(&other) == count).then_some(())).await;
    }
    assert_eq!((asked(&slow), asked(&other)), (5, 5));
    // The other one answers everything; whatever comes then is its. A server is done with a request when the gateway is.
    let only_the_slow_ones_are_left = async || {
        let in_flight = async || metric(&gateway, "portcullis_requests_in_flight").await;
        eventually("the end of what was answered", async || (in_flight().await == Some(5)).then_some(())).await;
    };
    go.notify_waiters();
    only_the_slow_ones_are_left().await;
    for _ in 0..10 {
        let mut client = gateway.connect().await;
        client.send(GET).await;
        go.notify_one();
        assert_eq!(client.response().await.expect("an answer").status, 200);
        only_the_slow_ones_are_left().await;
    }
    assert_eq!((asked(&slow), asked(&other)), (5, 15));
}

/// Which of the servers a request came to.
fn at(servers: &[Upstream], needle: &str) -> Vec<usize> {
    servers.iter().enumerate().filter(|(_, server)| !server.requests(needle).is_empty()).map(|(index, _)| index).collect()
}

#[tokio::test]
async fn a_key_stays_with_its_server_and_moves_only_if_that_one_goes() {
    let servers = [Upstream::echo().await, Upstream::echo().await, Upstream::echo().await];
    let addresses = servers.each_ref().map(|server| server.address);
    let keys = "balance = \"hash\"\nhash_by = \"header:x-unique\"\nejection = { failures = 1, time = \"1m\" }";
    let gateway = Gateway::in_front_of_servers(&addresses, keys).start().await;
    let ask = async |key: usize| {
        let request = format!("GET /public/x HTTP/1.1\r\nhost: a\r\nx-unique: key-{key}-\r\n\r\n");
        assert_eq!(gateway.connect().await.ask(request).await.status, 200);
    };
    for key in (0..30).chain(0..30) {
        ask(key).await;
    }
    let needle = |key: usize| format!("key-{key}-");
    let before: Vec<_> = (0..30).map(|key| at(&servers, &needle(key))).collect();
    assert!(before.iter().all(|servers| servers.len() == 1), "{before:?}");
    let used = servers.iter().filter(|server| asked(server) > 0).count();
    assert!(used > 1, "all keys are at one server");

    // The server of the first key goes away.
    let gone = before[0][0];
    servers[gone].stop();
    servers.iter().for_each(|server| drop(server.take_requests()));
    for (key, before) in before.iter().enumerate() {
        ask(key).await;
        let now = at(&servers, &needle(key));
        if *before == [gone] {
            assert!(now != *before && now.len() == 1, "key {key}: {now:?}");
        } else {
            assert_eq!(now, *before, "key {key}");
        }
    }
}

#[tokio::test]
async fn a_caller_and_a_client_stay_with_their_server() {
    let servers = [Upstream::echo().await, Upstream::echo().await];
    let addresses = servers.each_ref().map(|server| server.address);
    for by in ["subject", "client"] {
        let keys = format!("balance = \"hash\"\nhash_by = \"{by}\"");
        let gateway = Gateway::in_front_of_servers(&addresses, &keys).set("server.trusted_proxies=127.0.0.0/8").start().await;
        let mut used = [0; 2];
        for number in 0..8 {
            let token = gateway.registered(&format!("user{number}")).await.access_token;
            for attempt in 0..4 {
                // Whom the other one is chosen by changes with every request.
                let from = if by == "client" { number } else { attempt };
                let request = format!(
                    "GET /api/{by}-{number}- HTTP/1.1\r\nhost: a\r\nx-forwarded-for: 10.1.{from}.7\r\nauthorization: Bearer {token}\r\n\r\n"
                );
                assert_eq!(gateway.connect().await.ask(request).await.status, 200);
            }
            let at = at(&servers, &format!("{by}-{number}-"));
            assert_eq!(at.len(), 1, "{by} {number}");
            used[at[0]] += 1;
        }
        assert!(used.iter().all(|used| *used > 0) || by == "client", "{by}: {used:?}");
    }
}

/// Case 219: a name that nobody knows harms neither the start nor the others.
#[tokio::test]
async fn a_name_that_cannot_be_resolved_keeps_nothing_from_starting() {
    let upstream = Upstream::echo().await;
    let lost = "[upstreams.lost]\nservers = [\"http://nowhere.invalid\"]\n[[routes]]\npath = \"/lost\"\nupstream = \"lost\"\naccess = \"public\"";
    let gateway = Gateway::in_front_of(&upstream).table(lost).start().await;
    let response = gateway.connect().await.ask("GET /lost HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(super::problem(&response), (502, "upstream_unreachable".to_owned()));
    assert_eq!(gateway.connect().await.ask(GET).await.status, 200);
    assert!(gateway.output().contains("upstream name not resolved"));
}
