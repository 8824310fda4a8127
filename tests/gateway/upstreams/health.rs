//! Servers that are not well are done without, and come back.

use std::sync::atomic::Ordering;

use tokio::net::TcpListener;

use super::{GET, POST, asked, metric, moody, problem, servers_are};
use crate::support::gateway::Gateway;
use crate::support::upstream::{Answer, Step, Upstream, nobody};

const CHECKS: &str =
    "health = { path = \"/healthz\", interval = \"1s\", timeout = \"1s\", unhealthy_after = 2, healthy_after = 2 }";

#[tokio::test]
async fn a_check_takes_a_server_out_and_brings_it_back() {
    let (sick, well) = moody().await;
    let other = Upstream::echo().await;
    let gateway = Gateway::in_front_of_servers(&[sick.address, other.address], CHECKS).start().await;
    servers_are(&gateway, "in_service", 2).await;
    well.store(false, Ordering::SeqCst);
    servers_are(&gateway, "unhealthy", 1).await;
    for _ in 0..10 {
        assert_eq!(gateway.connect().await.ask(GET).await.status, 200);
    }
    assert_eq!((asked(&sick), asked(&other)), (0, 10));
    let check = &sick.requests("/healthz")[0].head;
    assert_eq!(check.start_line, "GET /healthz HTTP/1.1");
    assert_eq!(check.one("host"), Some(&*sick.address.to_string()));
    assert!(sick.take_faults().is_empty());

    well.store(true, Ordering::SeqCst);
    servers_are(&gateway, "in_service", 2).await;
    for _ in 0..10 {
        assert_eq!(gateway.connect().await.ask(GET).await.status, 200);
    }
    assert_eq!((asked(&sick), asked(&other)), (5, 15));
    let output = gateway.output();
    assert!(output.contains("upstream server is not well") && output.contains("upstream server is well again"), "{output}");
}

#[tokio::test]
async fn a_server_that_hangs_fails_its_check() {
    let hanging = Upstream::answering(|_| Answer::steps([Step::Hang])).await;
    let other = Upstream::echo().await;
    let gateway = Gateway::in_front_of_servers(&[hanging.address, other.address], CHECKS).start().await;
    servers_are(&gateway, "unhealthy", 1).await;
    for _ in 0..4 {
        assert_eq!(gateway.connect().await.ask(GET).await.status, 200);
    }
    assert_eq!(asked(&hanging), 0);
}

/// Case 218. `/readyz` speaks of the gateway: taking it out as well would help nobody.
#[tokio::test]
async fn an_upstream_without_a_healthy_server_refuses_at_once_and_recovers() {
    let (sick, well) = moody().await;
    well.store(false, Ordering::SeqCst);
    let other = Upstream::echo().await;
    let table = format!(
        "[upstreams.other]\nservers = [\"http://{}\"]\n[[routes]]\npath = \"/other\"\nupstream = \"other\"\naccess = \"public\"",
        other.address
    );
    let gateway = Gateway::in_front_of_servers(&[sick.address], CHECKS).table(&table).start().await;
    servers_are(&gateway, "unhealthy", 1).await;
    for request in [GET, POST] {
        let response = gateway.connect().await.ask(request).await;
        assert_eq!(problem(&response), (503, "upstream_unhealthy".to_owned()));
        assert!(response.head.one("retry-after").is_some());
    }
    assert_eq!(asked(&sick), 0);
    assert_eq!(gateway.connect().await.ask("GET /other HTTP/1.1\r\nhost: a\r\n\r\n").await.status, 200);
    assert!(gateway.is_ready().await);
    well.store(true, Ordering::SeqCst);
    servers_are(&gateway, "in_service", 1).await;
    assert_eq!(gateway.connect().await.ask(GET).await.status, 200);
}

#[tokio::test]
async fn a_tcp_check_asks_for_nothing_but_a_connection() {
    let address = nobody().await;
    let checks = "health = { interval = \"1s\", timeout = \"1s\", unhealthy_after = 2, healthy_after = 2 }";
    let gateway = Gateway::in_front_of_servers(&[address], checks).start().await;
    servers_are(&gateway, "unhealthy", 1).await;
    let listener = TcpListener::bind(address).await.expect("the port is still free");
    let upstream = Upstream::on(listener, Answer::echo);
    servers_are(&gateway, "in_service", 1).await;
    assert_eq!(upstream.bytes(), 0);
    assert_eq!(gateway.connect().await.ask(GET).await.status, 200);
}

const EJECTION: &str = "ejection = { failures = 3, time = \"300ms\" }\n";

/// A storm of 503 from one server ends with its ejection; then it has its turn again, and keeps it if it does well.
#[tokio::test]
async fn a_server_that_fails_is_ejected_and_comes_back() {
    let (sick, well) = moody().await;
    well.store(false, Ordering::SeqCst);
    let other = Upstream::echo().await;
    let keys = "ejection = { failures = 3, time = \"2s\" }\n";
    let gateway = Gateway::in_front_of_servers(&[sick.address, other.address], keys).start().await;
    let mut answers = Vec::new();
    for _ in 0..20 {
        answers.push(gateway.connect().await.ask(GET).await.status);
    }
    // Its answers are passed on as they are: the gateway does not know what they stand for.
    assert_eq!((asked(&sick), answers.iter().filter(|status| **status == 503).count()), (3, 3));
    servers_are(&gateway, "ejected", 1).await;
    assert_eq!(metric(&gateway, "portcullis_upstream_ejections_total{upstream=\"app\"}").await, Some(1));
    well.store(true, Ordering::SeqCst);
    servers_are(&gateway, "in_service", 2).await;
    let before = asked(&sick);
    for _ in 0..10 {
        assert_eq!(gateway.connect().await.ask(GET).await.status, 200);
    }
    assert_eq!(asked(&sick) - before, 5);
    assert!(gateway.output().contains("upstream server ejected"));
}

#[tokio::test]
async fn servers_that_hang_break_off_or_refuse_are_ejected() {
    let hanging = Upstream::answering(|_| Answer::steps([Step::Hang])).await;
    let resetting = Upstream::answering(|_| Answer::steps([Step::Reset])).await;
    let garbled = Upstream::answering(|_| Answer::steps([Step::Send(b"\x01garbage\r\n\r\n".to_vec()), Step::Close])).await;
    for bad in [hanging.address, resetting.address, garbled.address, nobody().await] {
        let other = Upstream::echo().await;
        let keys = "ejection = { failures = 3, time = \"1m\" }\nread_timeout = \"1s\"";
        let gateway = Gateway::in_front_of_servers(&[bad, other.address], keys).start().await;
        for _ in 0..6 {
            gateway.connect().await.ask(POST).await;
        }
        servers_are(&gateway, "ejected", 1).await;
        for _ in 0..4 {
            assert_eq!(gateway.connect().await.ask(POST).await.status, 200, "{bad}");
        }
    }
}

#[tokio::test]
async fn the_last_server_is_never_ejected() {
    let sick = Upstream::answering(|_| Answer::raw(super::UNAVAILABLE)).await;
    let other = Upstream::answering(|_| Answer::raw(super::UNAVAILABLE)).await;
    let gateway =
        Gateway::in_front_of_servers(&[sick.address, other.address], "ejection = { failures = 1, share = 100 }").start().await;
    for _ in 0..10 {
        let response = gateway.connect().await.ask(GET).await;
        assert_eq!((response.status, response.code().as_str()), (503, ""), "its own answer");
    }
    assert_eq!(asked(&sick) + asked(&other), 10);
    servers_are(&gateway, "ejected", 1).await;
}

/// A request that makes an application stumble is easily found: it must not take its servers away from others.
#[tokio::test]
async fn an_error_of_the_application_ejects_nothing() {
    let broken = "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n";
    let one = Upstream::answering(move |_| Answer::raw(broken)).await;
    let other = Upstream::answering(move |_| Answer::raw(broken)).await;
    let gateway = Gateway::in_front_of_servers(&[one.address, other.address], EJECTION).start().await;
    for _ in 0..20 {
        assert_eq!(gateway.connect().await.ask(GET).await.status, 500);
    }
    assert_eq!((asked(&one), asked(&other)), (10, 10));
}
