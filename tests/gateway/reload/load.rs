//! P12: a thousand reloads at steady load. No request fails, none sees two configurations, and what was open stays open.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::Notify;

use super::APPLIED;
use crate::support::client::RawClient;
use crate::support::gateway::Gateway;
use crate::support::upstream::{Answer, Step, Upstream};

const RELOADS: u32 = 1000;

/// An upstream that echoes, with two answers that last as long as the test wants: a stream and an upgraded connection.
async fn lasting_upstream(end: &Arc<Notify>) -> Upstream {
    let end = Arc::clone(end);
    Upstream::answering(move |head| {
        let lasting = |begin: &str, last: &str| {
            Answer::steps([Step::Send(begin.into()), Step::Wait(Arc::clone(&end)), Step::Send(last.into())])
        };
        match head.word(1) {
            "/public/stream" => {
                lasting("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n", "4\r\nlast\r\n0\r\n\r\n")
            }
            "/ws" => lasting("HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n", "last"),
            _ => Answer::echo(head),
        }
    })
    .await
}

#[tokio::test]
async fn a_thousand_reloads_under_load_fail_no_request_and_end_no_stream() {
    let end = Arc::new(Notify::new());
    let (first, second) = (lasting_upstream(&end).await, Upstream::echo().await);
    let gateway = Gateway::in_front_of(&first)
        .set("server.watch_config=false")
        // Nothing is said on what lasts.
        .set("server.body_timeout=10m")
        .route("path = \"/ws\"\naccess = \"public\"\nwebsocket = true")
        .route("path = \"/turn\"\nname = \"turn\"")
        .start()
        .await;
    let ada = gateway.registered("ada").await;
    // Where /turn goes and what its upstream is told by are of one configuration, or of the other.
    let one = gateway.written() + "[identity_headers]\nusername = \"X-First\"\n";
    let turned = "[[routes]]\nupstream = \"other\"\npath = \"/turn\"";
    let other = one.replace("[[routes]]\nupstream = \"app\"\npath = \"/turn\"", turned).replace("X-First", "X-Second")
        + &format!("[upstreams.other]\nservers = [\"http://{}\"]\n", second.address);
    assert!(other.contains(turned), "{other}");
    gateway.write(&one);
    assert_eq!(gateway.reload().await.0, 200);

    let mut stream = gateway.connect().await;
    stream.send("GET /public/stream HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(stream.head().await.expect("a response").word(1), "200");
    let mut socket = gateway.connect().await;
    socket.send("GET /ws HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n").await;
    assert_eq!(socket.head().await.expect("a response").word(1), "101");

    let (over, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    let load = async |path: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\n\r\n", ada.access_token);
        let mut client = RawClient::connect(gateway.address).await;
        while !over.load(Ordering::SeqCst) {
            let answer = client.ask(&request).await;
            assert_eq!((answer.status, answer.text().as_str()), (200, path));
            served.fetch_add(1, Ordering::SeqCst);
        }
    };
    let reloads = async {
        let (admin, url) = (reqwest::Client::new(), gateway.reload_url());
        let mut settled = 0;
        for number in 0..RELOADS {
            if number == RELOADS / 5 {
                settled = gateway.resident_kib();
            }
            gateway.write(if number % 2 == 0 { &other } else { &one });
            let answer = admin.post(&url).send().await.expect("the admin listener answers");
            assert_eq!(answer.status().as_u16(), 200, "{}", answer.text().await.expect("a text"));
        }
        over.store(true, Ordering::SeqCst);
        let grown = gateway.resident_kib().saturating_sub(settled);
        // What was in force before is let go of.
        assert!(grown < 32 * 1024, "{grown} KiB more than after the first reloads");
    };
    tokio::join!(load("/api/x"), load("/public/x"), load("/turn/x"), load("/turn/y"), reloads);

    assert_eq!(gateway.metric(APPLIED).await, Some(f64::from(RELOADS + 1)));
    assert!(served.load(Ordering::SeqCst) >= RELOADS as usize, "only {served:?} requests");
    for (upstream, told, not_told) in [(&first, "x-first", "x-second"), (&second, "x-second", "x-first")] {
        let turns = upstream.requests("GET /turn/");
        assert!(!turns.is_empty(), "the configurations took turns");
        for request in turns {
            assert_eq!((request.head.one(told), request.head.one(not_told)), (Some("ada"), None));
        }
        assert_eq!(upstream.take_faults(), Vec::<String>::new());
    }
    // Two that last, and no more than one for each client: connections to an upstream that is as it was are kept.
    assert!(first.connections() <= 2 + 4 + 1, "{} connections", first.connections());
    end.notify_waiters();
    assert_eq!(stream.bytes(24).await, b"5\r\nfirst\r\n4\r\nlast\r\n0\r\n\r\n");
    assert_eq!(socket.bytes(4).await, b"last");
}
