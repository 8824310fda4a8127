//! Streams of HTTP/2: several on one connection, each with an end of its own.

use super::{SOON, Stage, contains, is_closed};
use crate::support::client::Actor;
use crate::support::eventually;
use crate::support::gateway::Builder;
use crate::support::http2::{CANCEL, Http2, get};
use crate::support::tls::Authority;
use tokio::time::Instant;

const HOST: &str = "a.example";

/// A stage whose gateway speaks HTTP/2 on its last address.
struct Secure {
    stage: Stage,
    authority: Authority,
}

impl Secure {
    async fn set(change: impl FnOnce(Builder) -> Builder) -> Self {
        let authority = Authority::new();
        authority.write("a", &authority.issue(&[HOST]));
        let table = authority.table("a");
        let stage = Stage::set(|gateway| change(gateway.table(&table).listener("protocol = \"https\""))).await;
        Self { stage, authority }
    }

    async fn connect(&self) -> Http2 {
        let address = *self.stage.gateway.addresses.last().expect("a listener");
        Http2::connect(&self.authority.client(), address, HOST).await
    }
}

/// Begins a stream, of which the first words arrive.
async fn begun(client: &mut Http2, path: &str, actor: &Actor) -> u32 {
    let bearer = format!("Bearer {}", actor.access_token);
    let mut fields = get(HOST, path);
    fields.push(("authorization", &bearer));
    let stream = client.begin(&fields, true).await;
    client.until("the first words", |client| contains(&client.so_far(stream).body, b"first")).await;
    assert_eq!(client.so_far(stream).status, 200);
    stream
}

#[tokio::test]
async fn a_stream_is_reset_and_its_neighbours_on_the_connection_live_on() {
    let site = Secure::set(|gateway| gateway).await;
    let (leaving, staying) = (site.stage.gateway.registered("ada").await, site.stage.gateway.registered("grace").await);
    let mut client = site.connect().await;
    let (ending, lasting) =
        (begun(&mut client, "/api/events", &leaving).await, begun(&mut client, "/api/events", &staying).await);
    let mut renewed = staying.clone();
    renewed.take(&staying.refresh().await.1);
    let since = Instant::now();
    leaving.log_out().await;
    let ended = client.answer(ending).await;
    assert!(since.elapsed() < SOON, "it took {:?}", since.elapsed());
    assert_eq!((ended.reset, ended.ended), (Some(CANCEL), false), "it is not whole, and does not look so");
    // What the upstream goes on to say reaches the neighbour alone.
    site.stage.more.notify_waiters();
    client.until("the second words", |client| contains(&client.so_far(lasting).body, b"second")).await;
    assert_eq!((client.so_far(lasting).reset, client.so_far(ending).body.as_slice()), (None, ended.body.as_slice()));
    assert!(!contains(&ended.body, b"second") && client.goaway.is_none());
    assert!(site.stage.killed("session").await >= 1.0);
    // The upstream's connection was not kept for others, and the client's is as good as before.
    let connections = site.stage.upstream.connections();
    let other = begun(&mut client, "/api/events", &renewed).await;
    assert_eq!(site.stage.upstream.connections(), connections + 1);
    renewed.log_out().await;
    for stream in [lasting, other] {
        assert_eq!(client.answer(stream).await.reset, Some(CANCEL), "of one session, by whichever token");
    }
}

/// By its type or because it lasts: a download that has begun a moment before is found a moment later.
#[tokio::test]
async fn a_download_over_http_2_is_reset_in_the_middle() {
    let site = Secure::set(|gateway| gateway).await;
    let ada = site.stage.gateway.registered("ada").await;
    let mut client = site.connect().await;
    let stream = begun(&mut client, "/api/download", &ada).await;
    ada.log_out().await;
    assert_eq!(client.answer(stream).await.reset, Some(CANCEL));
    let line = eventually("the line of the download", async || {
        let output = site.stage.gateway.output();
        output.lines().find(|line| line.contains("/api/download") && line.contains("cut_off")).map(str::to_owned)
    })
    .await;
    assert!(line.contains("\"status\":200") && line.contains("\"reason\":\"revoked_token\""), "{line}");
}

#[tokio::test]
async fn streams_of_both_protocols_end_with_the_longest_life_of_their_session() {
    let lives = ["auth.access_token=6s", "auth.clock_skew=0s", "auth.refresh_token=12s", "auth.session_max=12s"];
    let site = Secure::set(|gateway| lives.iter().fold(gateway, |gateway, life| gateway.set(life))).await;
    let mut ada = site.stage.gateway.registered("ada").await;
    let mut client = site.connect().await;
    let stream = begun(&mut client, "/api/events", &ada).await;
    let mut socket = site.stage.socket(&site.stage.gateway, &ada).await;
    // However often it is renewed.
    ada.take(&ada.refresh().await.1);
    assert_eq!(client.answer(stream).await.reset, Some(CANCEL));
    super::says_goodbye(&mut socket, "expired_token").await;
    assert!(site.stage.killed("expired").await >= 2.0);
    let again = Actor::signed_in(site.stage.gateway.address, "ada").await;
    let mut socket = site.stage.socket(&site.stage.gateway, &again).await;
    again.log_out().await;
    is_closed(&mut socket, "revoked_token").await;
}
