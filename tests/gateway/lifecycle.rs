//! The life of the process: what keeps it from starting, and how it ends when asked to (222). That nothing is forgotten
//! over its death is tested with what was to be remembered: `revocation`, `outages`, `refresh`.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::upstream::Upstream;

/// P14: first not ready and still serving, then no new connections, then the end once nothing is in flight.
#[tokio::test]
async fn a_gateway_that_is_asked_to_stop_finishes_what_it_began() {
    let (upstream, finish) = Upstream::slow().await;
    let mut gateway = Gateway::in_front_of(&upstream).set("server.drain_delay=1s").set("server.drain_timeout=20s").start().await;
    let mut slow = gateway.connect().await;
    slow.send("GET /public/slow HTTP/1.1\r\nhost: a\r\n\r\n").await;
    eventually("the slow request at the upstream", async || (upstream.requests("/public/slow").len() == 1).then_some(())).await;

    gateway.terminate();
    eventually("the end of readiness", async || (gateway.admin("/readyz").await?.0 == 503).then_some(())).await;
    // Load balancers have not noticed yet: whoever comes now is served, on a connection that is not kept.
    let mut late = gateway.connect().await;
    let answer = late.ask("GET /public/late HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!((answer.status, answer.head.one("connection")), (200, Some("close")));
    let address = gateway.address;
    eventually("the end of accepting", async || tokio::net::TcpStream::connect(address).await.err().map(drop)).await;

    finish.notify_one();
    let answer = slow.response().await.expect("what was begun is finished");
    assert_eq!((answer.status, answer.text()), (200, "slow".to_owned()));
    let exit = gateway.exit().await;
    assert!(exit.success(), "{exit}: {}", gateway.output());
}

/// A load balancer that stops at "not ready" loses no request, on the connections that it keeps either.
#[tokio::test]
async fn a_stop_under_load_loses_no_request() {
    let upstream = Upstream::echo().await;
    let mut gateway = Gateway::in_front_of(&upstream).set("server.drain_delay=1s").start().await;
    let served = AtomicUsize::new(0);
    let balancer = async || {
        let mut client = gateway.connect().await;
        while gateway.is_ready().await {
            let answer = client.ask("GET /public/x HTTP/1.1\r\nhost: a\r\n\r\n").await;
            assert_eq!(answer.status, 200);
            served.fetch_add(1, Ordering::SeqCst);
            if answer.head.one("connection") == Some("close") {
                client = gateway.connect().await;
            }
        }
    };
    let stop = async {
        eventually("some load", async || (served.load(Ordering::SeqCst) >= 50).then_some(())).await;
        gateway.terminate();
    };
    tokio::join!(balancer(), balancer(), balancer(), balancer(), stop);
    let exit = gateway.exit().await;
    assert!(exit.success(), "{exit}: {}", gateway.output());
}

/// A request that never ends does not keep the process for ever.
#[tokio::test]
async fn a_gateway_that_is_asked_to_stop_ends_within_its_grace() {
    let (upstream, _never) = Upstream::slow().await;
    let mut gateway = Gateway::in_front_of(&upstream).set("server.drain_delay=0s").set("server.drain_timeout=1s").start().await;
    let mut slow = gateway.connect().await;
    slow.send("GET /public/slow HTTP/1.1\r\nhost: a\r\n\r\n").await;
    eventually("the slow request at the upstream", async || (upstream.requests("/public/slow").len() == 1).then_some(())).await;
    let begun = Instant::now();
    gateway.terminate();
    gateway.exit().await;
    assert!(begun.elapsed() < Duration::from_secs(1 + 9), "after {:?}", begun.elapsed());
}

/// Whoever asks twice has a reason.
#[tokio::test]
async fn a_gateway_that_is_asked_twice_stops_at_once() {
    let (upstream, _never) = Upstream::slow().await;
    let mut gateway = Gateway::in_front_of(&upstream).set("server.drain_delay=1h").start().await;
    gateway.terminate();
    eventually("the end of readiness", async || (gateway.admin("/readyz").await?.0 == 503).then_some(())).await;
    assert_eq!(gateway.connect().await.ask("GET /public/x HTTP/1.1\r\nhost: a\r\n\r\n").await.status, 200);
    gateway.terminate();
    gateway.exit().await;
}

/// Nobody should have to start a gateway five times to learn of five mistakes.
#[tokio::test]
async fn a_configuration_with_mistakes_is_refused_with_all_of_them() {
    let upstream = Upstream::echo().await;
    let (status, output) = Gateway::in_front_of(&upstream)
        .table("[auth]\naccess_token = \"15\"\nregistration = \"opne\"")
        .route("path = \"/a/../b\"")
        .route("path = \"/c\"\nacess = \"public\"")
        .table("[[routes]]\npath = \"/d\"\nupstream = \"ap\"")
        .table("[revocation]\nurl = \"http://localhost\"")
        .set("server.limits.body=many")
        .refused()
        .await;
    assert!(!status.success(), "{output}");
    for mistake in ["access_token", "opne", "/a/../b", "acess", "\"ap\"", "http", "many"] {
        assert!(output.contains(mistake), "nothing about {mistake}:\n{output}");
    }
}

/// An address in use is a sentence, not a panic.
#[tokio::test]
async fn a_gateway_whose_address_is_taken_says_so_and_ends() {
    let (upstream, neighbour) = (Upstream::echo().await, Upstream::echo().await);
    let taken = format!("server.listen=[\"{}\"]", neighbour.address);
    let (status, output) = Gateway::in_front_of(&upstream).set(&taken).refused().await;
    assert!(!status.success() && output.contains("cannot listen on") && !output.contains("panicked"), "{output}");
}

/// A key file that others may read may have been read: the gateway does not sign with it.
#[tokio::test]
async fn keys_that_others_can_read_are_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let upstream = Upstream::echo().await;
    let mut gateway = Gateway::in_front_of(&upstream).start().await;
    gateway.terminate();
    gateway.exit().await;
    let keys = gateway.data().join("keys.json");
    assert_eq!(std::fs::metadata(&keys).expect("it made them").permissions().mode() & 0o777, 0o600);
    std::fs::set_permissions(&keys, std::fs::Permissions::from_mode(0o640)).expect("they are ours");
    let (status, output) = gateway.start_in_vain().await;
    assert!(!status.success() && output.contains("chmod 600"), "{output}");
    std::fs::set_permissions(&keys, std::fs::Permissions::from_mode(0o600)).expect("they are ours");
    gateway.restart().await;
}
