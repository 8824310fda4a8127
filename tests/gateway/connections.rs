//! How many connections there may be: from one address, and all together.

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::support::client::{RawClient, Talk};
use crate::support::gateway::Gateway;
use crate::support::upstream::Upstream;
use crate::support::websocket::connect_from;
use crate::support::{eventually, in_time};

const REQUEST: &str = "GET /public HTTP/1.1\r\nhost: a\r\n\r\n";

async fn is_served(client: &mut RawClient) -> bool {
    client.send(REQUEST).await;
    client.response().await.is_some_and(|answer| answer.status == 200)
}

async fn is_closed(mut stream: TcpStream) -> bool {
    in_time("the end of the connection", stream.read(&mut [0])).await.map_or(true, |read| read == 0)
}

async fn from(client: &str, gateway: &Gateway) -> RawClient {
    Talk::over(connect_from(client, gateway.address).await)
}

fn refusals(cause: &str) -> String {
    format!("portcullis_refused_before_routing_total{{cause=\"{cause}\"}}")
}

#[tokio::test]
async fn one_address_has_so_many_connections_and_leaves_the_others_theirs() {
    let upstream = Upstream::echo().await;
    let gateway = Gateway::in_front_of(&upstream).set("server.limits.connections_per_address=2").start().await;
    let (mut first, mut second) = (from("127.0.0.3", &gateway).await, from("127.0.0.3", &gateway).await);
    assert!(is_served(&mut first).await && is_served(&mut second).await);
    assert!(is_closed(connect_from("127.0.0.3", gateway.address).await).await);
    assert!(is_served(&mut from("127.0.0.2", &gateway).await).await, "another address has its own");
    // A place becomes free with the connection that had it.
    drop(first);
    eventually("a free place", async || is_served(&mut from("127.0.0.3", &gateway).await).await.then_some(())).await;
    assert!(is_served(&mut second).await);
    assert!(gateway.metric(&refusals("connections_per_address")).await.expect("it is counted") >= 1.0);
    assert!(!gateway.output().contains("as many connections"), "it is counted, not logged");
}

#[tokio::test]
async fn all_connections_together_are_limited() {
    let upstream = Upstream::echo().await;
    let gateway = Gateway::in_front_of(&upstream).set("server.limits.connections=3").start().await;
    let mut open = Vec::new();
    for client in ["127.0.0.2", "127.0.0.3", "127.0.0.4"] {
        let mut client = from(client, &gateway).await;
        // The one that asked whether the gateway listens may not be gone yet.
        eventually("a place", async || {
            let served = is_served(&mut client).await;
            if !served {
                client = from("127.0.0.2", &gateway).await;
            }
            served.then_some(())
        })
        .await;
        open.push(client);
    }
    assert!(is_closed(connect_from("127.0.0.5", gateway.address).await).await);
    assert!(gateway.metric(&refusals("connections")).await.expect("it is counted") >= 1.0);
}

/// Everybody behind a proxy has its address, and one limit would be for all of them. What a PROXY header says is theirs.
#[tokio::test]
async fn clients_behind_a_trusted_proxy_are_counted_as_themselves_or_not_at_all() {
    let upstream = Upstream::echo().await;
    let gateway = Gateway::in_front_of(&upstream)
        .set("server.limits.connections_per_address=1")
        .set("server.trusted_proxies=127.0.0.9")
        .listener("proxy_protocol = true")
        .start()
        .await;
    let mut plain = Vec::new();
    for _ in 0..3 {
        let mut client = from("127.0.0.9", &gateway).await;
        assert!(is_served(&mut client).await);
        plain.push(client);
    }
    let told = async |client: &str| {
        let mut proxy: RawClient = Talk::over(connect_from("127.0.0.9", gateway.addresses[1]).await);
        proxy.send(format!("PROXY TCP4 {client} 192.0.2.250 4000 80\r\n")).await;
        proxy
    };
    let mut first = told("192.0.2.1").await;
    assert!(is_served(&mut first).await);
    assert!(!is_served(&mut told("192.0.2.1").await).await, "a second one of this client");
    assert!(is_served(&mut told("192.0.2.2").await).await);
}
