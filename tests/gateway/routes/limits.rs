//! Rate limits: whose bucket it is, what clients are told, and that replicas share what asks to be shared.

use super::{ask, bearer, only, site};
use crate::support::client::Response;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::site::{Site, Store};

async fn get(gateway: &Gateway, target: &str, fields: &str) -> Response {
    gateway.connect().await.ask(format!("GET {target} HTTP/1.1\r\nhost: a\r\n{fields}\r\n")).await
}

#[tokio::test]
async fn what_is_beyond_a_limit_is_told_when_to_come_back_and_never_reaches_the_upstream() {
    let site = site(|gateway| {
        gateway.route("path = \"/slow\"\naccess = \"public\"\nrate_limits = [{ limit = \"2/1h\", per = \"network\" }]")
    })
    .await;
    for left in ["1", "0"] {
        let answer = ask(&site, "GET", "/slow", "").await;
        assert_eq!((answer.status, answer.head.one("ratelimit-policy")), (200, Some("\"network\";q=2;w=3600")));
        let said = answer.head.one("ratelimit").expect("it says what is left").to_owned();
        assert!(said.starts_with(&format!("\"network\";r={left};t=")), "{said}");
        only(&site);
    }
    let refused = ask(&site, "GET", "/slow", "").await;
    assert_eq!((refused.status, refused.code().as_str()), (429, "too_many"));
    let wait: u64 = refused.head.one("retry-after").expect("it says when").parse().expect("seconds");
    assert!((1700..=1800).contains(&wait), "{wait}");
    assert!(refused.head.one("ratelimit").expect("it says what is left").starts_with("\"network\";r=0;t="));
    assert!(site.upstream.take_requests().is_empty());
    let other = ask(&site, "GET", "/public", "").await;
    assert_eq!((other.status, other.head.one("ratelimit")), (200, None), "other routes have no limit and say nothing");
}

#[tokio::test]
async fn every_caller_has_a_quota_of_their_own_wherever_they_are() {
    let site = site(|gateway| gateway.route("path = \"/mine\"\nrate_limits = [{ limit = \"2/1h\", name = \"yours\" }]")).await;
    let (ada, grace) = (site.registered("ada").await, site.registered("grace").await);
    let again = site.signed_in("ada").await;
    for (actor, status) in [(&ada, 200), (&grace, 200), (&again, 200), (&ada, 429), (&again, 429), (&grace, 200), (&grace, 429)] {
        assert_eq!(ask(&site, "GET", "/mine", &bearer(&actor.access_token)).await.status, status);
    }
    // Nobody spends what is somebody else's: who is refused has no quota to spend.
    assert_eq!(ask(&site, "GET", "/mine", &bearer("bm8.dG9r.ZW4")).await.status, 401);
}

#[tokio::test]
async fn networks_are_told_apart_by_addresses_that_clients_cannot_choose() {
    // Cases 97 and 159.
    let limited = "path = \"/slow\"\naccess = \"public\"\nrate_limits = [{ limit = \"1/1h\", per = \"network\" }]";
    let direct = site(|gateway| gateway.route(limited)).await;
    assert_eq!(ask(&direct, "GET", "/slow", "x-forwarded-for: 192.0.2.1\r\n").await.status, 200);
    for spoofed in ["x-forwarded-for: 192.0.2.2\r\n", "x-real-ip: 192.0.2.3\r\n", "forwarded: for=192.0.2.4\r\n"] {
        assert_eq!(ask(&direct, "GET", "/slow", spoofed).await.status, 429, "{spoofed}");
    }
    let proxied = site(|gateway| gateway.route(limited).set("server.trusted_proxies=[\"127.0.0.1/32\"]")).await;
    for (client, status) in [
        ("192.0.2.1", 200),
        ("192.0.2.1", 429),
        ("192.0.2.2", 200),
        ("192.0.2.9, 192.0.2.1", 429),
        ("2001:db8::1", 200),
        ("2001:db8::ffff:ffff:ffff:ffff", 429),
        ("2001:db8:0:1::1", 200),
    ] {
        let answer = ask(&proxied, "GET", "/slow", &format!("x-forwarded-for: {client}\r\n")).await;
        assert_eq!(answer.status, status, "{client}");
    }
}

#[tokio::test]
async fn a_burst_finds_no_more_than_the_quota() {
    let site = site(|gateway| {
        gateway.route("path = \"/all\"\naccess = \"public\"\nrate_limits = [{ limit = \"5/1h\", per = \"route\" }]")
    })
    .await;
    let burst = futures_util::future::join_all((0..20).map(|_| ask(&site, "GET", "/all", ""))).await;
    assert_eq!(burst.iter().filter(|answer| answer.status == 200).count(), 5);
    assert_eq!(site.upstream.take_requests().len(), 5);
}

#[tokio::test]
async fn replicas_share_a_limit_that_asks_for_it_and_keep_it_alone_while_redis_is_down() {
    let limited = "access = \"public\"\nrate_limits = [{ limit = \"3/1h\", per = \"route\", shared = true }]";
    let mut site = Site::changed(Store::Redis, |gateway| {
        gateway.route(&format!("path = \"/shared\"\n{limited}")).route(&format!("path = \"/outage\"\n{limited}"))
    })
    .await;
    let replica = site.gateway.replica_with("store.connections_max=4").await;
    let mut seen = Vec::new();
    for gateway in [&site.gateway, &replica, &site.gateway, &replica, &site.gateway] {
        seen.push(get(gateway, "/shared", "").await.status);
    }
    assert_eq!(seen, [200, 200, 200, 429, 429]);
    site.redis().kill();
    // Each replica has a whole bucket then; nobody is stopped for want of Redis, and nobody has more.
    for gateway in [&site.gateway, &replica] {
        let mut seen = Vec::new();
        for _ in 0..4 {
            seen.push(get(gateway, "/outage", "").await.status);
        }
        assert_eq!(seen, [200, 200, 200, 429]);
    }
    eventually("a word about it", async || site.gateway.output().contains("rate limits are kept by this process").then_some(()))
        .await;
}
