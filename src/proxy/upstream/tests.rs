//! Which server gets a request, and what requests, checks and resolvers tell about servers, without any network.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use async_trait::async_trait;
use pingora::upstreams::peer::HttpUpstreamRequestPolicy;

use super::*;
use crate::clock::SystemClock;

const SECOND: Duration = Duration::from_secs(1);
const EJECTION: EjectionSettings = EjectionSettings { failures: 3, time: SECOND, time_max: Duration::from_secs(5), share: 50 };
const HEALTH: HealthSettings =
    HealthSettings { path: None, interval: SECOND, timeout: SECOND, unhealthy_after: 3, healthy_after: 2 };

fn settings(hosts: &[&str]) -> UpstreamSettings {
    let server = |host: &&str| ServerSettings { host: (*host).to_owned(), port: 80, tls_name: None, weight: 1 };
    UpstreamSettings {
        name: "app".into(),
        servers: hosts.iter().map(server).collect(),
        balance: Balance::RoundRobin,
        http2: None,
        tls: UpstreamTls::default(),
        connect_timeout: SECOND,
        read_timeout: SECOND,
        write_timeout: SECOND,
        idle_timeout: SECOND,
        retry: true,
        retry_share: 20,
        health: None,
        ejection: Some(EJECTION),
        connections_max: None,
        pending_max: None,
    }
}

/// A resolver that knows what the test tells it.
#[derive(Default)]
struct Names(Mutex<HashMap<String, Vec<&'static str>>>);

#[async_trait]
impl Resolve for Names {
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let names = self.0.lock().expect("no test panics while it holds this");
        let addresses = names.get(host).ok_or(io::ErrorKind::NotFound)?;
        Ok(addresses.iter().map(|ip| SocketAddr::new(ip.parse().expect("an address"), port)).collect())
    }
}

impl Names {
    fn say(&self, host: &str, addresses: &[&'static str]) {
        self.0.lock().expect("no test panics while it holds this").insert(host.to_owned(), addresses.to_vec());
    }
}

async fn upstream(settings: UpstreamSettings) -> Upstream {
    let upstream = Upstream::new(settings, &Metrics::new());
    upstream.resolve(&Names::default()).await;
    upstream
}

const KEY: Key<'_> = Key::Client(IpAddr::V4(Ipv4Addr::LOCALHOST));

fn choose<'a>(upstream: &Upstream, key: Key<'a>, avoid: Option<&'a Server>) -> Option<(String, Option<Served>)> {
    let wanted = Wanted { websocket: false, strip: true, timeouts: None, key, avoid };
    let (peer, served) = upstream.choose(&wanted).ok()?;
    let address = peer._address.to_string();
    Some((address.trim_end_matches(":80").to_owned(), served))
}

fn next(upstream: &Upstream) -> String {
    choose(upstream, KEY, None).expect("a server").0
}

fn counted(upstream: &Upstream, times: usize) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    (0..times).for_each(|_| *counts.entry(next(upstream)).or_default() += 1);
    counts
}

fn counts(expected: &[(&str, usize)]) -> BTreeMap<String, usize> {
    expected.iter().map(|&(address, count)| (address.to_owned(), count)).collect()
}

fn server(upstream: &Upstream, position: usize) -> Arc<Server> {
    Arc::clone(&upstream.fleet.load().servers[position])
}

fn fails(upstream: &Upstream, server: &Server, times: u32, now: Instant) {
    (0..times).for_each(|_| upstream.failed(server, now));
}

#[tokio::test]
async fn servers_take_turns() {
    let upstream = upstream(settings(&["10.0.0.1", "10.0.0.2"])).await;
    let picked: Vec<_> = (0..4).map(|_| next(&upstream)).collect();
    assert_eq!(picked, ["10.0.0.1", "10.0.0.2", "10.0.0.1", "10.0.0.2"]);
}

#[tokio::test]
async fn turns_follow_the_weights_exactly() {
    let mut settings = settings(&["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
    for (server, weight) in settings.servers.iter_mut().zip([3, 2, 1]) {
        server.weight = weight;
    }
    let upstream = upstream(settings).await;
    for _ in 0..10 {
        assert_eq!(counted(&upstream, 6), counts(&[("10.0.0.1", 3), ("10.0.0.2", 2), ("10.0.0.3", 1)]));
    }
    server(&upstream, 0).unhealthy.store(true, Ordering::Relaxed);
    upstream.recount();
    assert_eq!(counted(&upstream, 600), counts(&[("10.0.0.2", 400), ("10.0.0.3", 200)]), "its share goes to all others");
}

#[tokio::test]
async fn an_upstream_without_addresses_has_no_peer() {
    let upstream = upstream(settings(&["app.internal"])).await;
    let wanted = Wanted { websocket: false, strip: true, timeouts: None, key: KEY, avoid: None };
    assert_eq!(upstream.choose(&wanted).map(drop), Err(Reason::UpstreamUnreachable));
}

#[tokio::test]
async fn upgrades_are_denied_unless_the_route_allows_them() {
    let upstream = upstream(settings(&["10.0.0.1"])).await;
    let policy = |websocket| {
        let wanted = Wanted { websocket, strip: true, timeouts: None, key: KEY, avoid: None };
        upstream.choose(&wanted).expect("an address").0.options.http_upstream_request_policy
    };
    assert_eq!(policy(false), HttpUpstreamRequestPolicy::deny_upgrades());
    assert_eq!(policy(true), HttpUpstreamRequestPolicy::standard());
}

#[tokio::test]
async fn nothing_is_looked_for_in_a_head_that_has_nothing_to_take_out() {
    let upstream = upstream(settings(&["10.0.0.1"])).await;
    for websocket in [false, true] {
        let wanted = Wanted { websocket, strip: false, timeouts: None, key: KEY, avoid: None };
        let (peer, _) = upstream.choose(&wanted).expect("an address");
        assert_eq!(peer.options.http_upstream_request_policy, HttpUpstreamRequestPolicy::preserve());
    }
}

#[tokio::test]
async fn the_times_of_a_route_count_before_those_of_its_upstream() {
    let upstream = upstream(settings(&["10.0.0.1"])).await;
    let times = |timeouts: Timeouts| {
        let wanted = Wanted { websocket: false, strip: true, timeouts: Some(&timeouts), key: KEY, avoid: None };
        let options = upstream.choose(&wanted).expect("an address").0.options;
        (options.total_connection_timeout, options.read_timeout)
    };
    let (short, long) = (Some(Duration::from_millis(5)), Some(SECOND * 9));
    assert_eq!(times(Timeouts { total: short, ..Timeouts::default() }), (Some(SECOND), Some(SECOND)));
    assert_eq!(times(Timeouts { connect: short, read: short, ..Timeouts::default() }), (short, short));
    assert_eq!(times(Timeouts { response_head: short, ..Timeouts::default() }), (Some(SECOND), Some(SECOND)));
    assert_eq!(times(Timeouts { response_head: long, ..Timeouts::default() }), (Some(SECOND), long), "waited for");
}

#[tokio::test]
async fn the_server_with_the_fewest_requests_for_its_weight_is_next() {
    let mut settings = UpstreamSettings { balance: Balance::LeastConnections, ..settings(&["10.0.0.1", "10.0.0.2"]) };
    settings.servers[0].weight = 2;
    let upstream = upstream(settings).await;
    let mut held: Vec<_> = (0..30).map(|_| choose(&upstream, KEY, None).expect("a server")).collect();
    let at = |held: &[(String, _)], address| held.iter().filter(|(other, _)| other == address).count();
    assert_eq!((at(&held, "10.0.0.1"), at(&held, "10.0.0.2")), (20, 10));
    held.retain(|(address, _)| address != "10.0.0.2");
    assert_eq!(next(&upstream), "10.0.0.2", "those of the other have ended");
    drop(held);
    assert_eq!(server(&upstream, 0).in_flight.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn an_idle_upstream_sends_to_each_server_in_turn() {
    let upstream = upstream(UpstreamSettings { balance: Balance::LeastConnections, ..settings(&["10.0.0.1", "10.0.0.2"]) }).await;
    assert_eq!(counted(&upstream, 10), counts(&[("10.0.0.1", 5), ("10.0.0.2", 5)]));
}

#[tokio::test]
async fn a_key_stays_with_its_server_and_the_loss_of_a_server_moves_only_its_keys() {
    let hosts = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"];
    let hashing = |hosts: &[&str]| UpstreamSettings { balance: Balance::Hash(HashBy::Subject), ..settings(hosts) };
    let all = upstream(hashing(&hosts)).await;
    let of = |upstream: &Upstream, key: u32| choose(upstream, Key::Bytes(&key.to_le_bytes()), None).expect("a server").0;
    let before: Vec<_> = (0..2000).map(|key| of(&all, key)).collect();
    assert_eq!(before, (0..2000).map(|key| of(&all, key)).collect::<Vec<_>>());
    for host in hosts {
        let share = before.iter().filter(|server| *server == host).count();
        assert!((300..=700).contains(&share), "{host} has {share} of 2000 keys");
    }
    // Gone for good, or out of service: the same keys move, to several servers.
    let three = upstream(hashing(&hosts[..3])).await;
    server(&all, 3).ejected.store(true, Ordering::Relaxed);
    all.recount();
    for upstream in [&three, &all] {
        let mut moved_to = BTreeMap::<_, usize>::new();
        for (key, before) in before.iter().enumerate() {
            let now = of(upstream, u32::try_from(key).expect("few keys"));
            assert!(before == "10.0.0.4" || *before == now, "key {key} moved from {before} to {now}");
            *moved_to.entry(now).or_default() += usize::from(before == "10.0.0.4");
        }
        assert_eq!(moved_to.len(), 3);
        assert!(moved_to.values().all(|moved| *moved > 50), "{moved_to:?}");
    }
}

#[tokio::test]
async fn a_retry_goes_to_another_server_if_there_is_one() {
    for balance in [Balance::RoundRobin, Balance::LeastConnections, Balance::Hash(HashBy::Client)] {
        let two = upstream(UpstreamSettings { balance, ..settings(&["10.0.0.1", "10.0.0.2"]) }).await;
        let failed = server(&two, 0);
        assert!((0..10).all(|_| choose(&two, KEY, Some(&failed)).expect("a server").0 == "10.0.0.2"));
        let other = server(&two, 1);
        other.unhealthy.store(true, Ordering::Relaxed);
        two.recount();
        assert_eq!(choose(&two, KEY, Some(&failed)).expect("a server").0, "10.0.0.1", "the other one is worse");
    }
}

#[tokio::test]
async fn a_server_that_fails_is_ejected_for_a_time_that_grows_to_a_limit() {
    let upstream = upstream(settings(&["10.0.0.1", "10.0.0.2"])).await;
    let (first, mut now) = (server(&upstream, 0), SystemClock.monotonic());
    fails(&upstream, &first, 2, now);
    upstream.succeeded(&first);
    fails(&upstream, &first, 2, now);
    assert!(!first.is_out(), "they were not in a row");
    fails(&upstream, &first, 1, now);
    for seconds in [1, 2, 4, 5, 5] {
        assert!(first.is_out());
        assert_eq!(counted(&upstream, 4), counts(&[("10.0.0.2", 4)]));
        let lasts = SECOND * seconds;
        upstream.readmit(now + lasts - Duration::from_millis(1));
        assert!(first.is_out(), "a millisecond before {lasts:?}");
        now += lasts;
        upstream.readmit(now);
        assert!(!first.is_out(), "at {lasts:?}");
        assert_eq!(counted(&upstream, 4), counts(&[("10.0.0.1", 2), ("10.0.0.2", 2)]));
        fails(&upstream, &first, 1, now);
    }
    // It did well for as long as its last ejection lasted: the next one is a first one.
    now += SECOND * 5;
    upstream.readmit(now);
    upstream.succeeded(&first);
    now += SECOND * 5 + Duration::from_millis(1);
    fails(&upstream, &first, 3, now);
    assert!(first.is_out());
    upstream.readmit(now + SECOND);
    assert!(!first.is_out());
}

#[tokio::test]
async fn neither_the_last_server_nor_more_than_the_share_is_ejected() {
    let hosts = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5"];
    let now = SystemClock.monotonic();
    for (servers, share, out) in [(1, 100, 0), (2, 100, 1), (2, 10, 1), (3, 100, 2), (4, 50, 2), (5, 50, 2), (5, 100, 4)] {
        let ejection = Some(EjectionSettings { share, ..EJECTION });
        let upstream = upstream(UpstreamSettings { ejection, ..settings(&hosts[..servers]) }).await;
        for position in 0..servers {
            fails(&upstream, &server(&upstream, position), 10, now);
        }
        assert_eq!(upstream.out.load(Ordering::Relaxed), out, "of {servers} with a share of {share} %");
        next(&upstream);
    }
    let upstream = upstream(UpstreamSettings { ejection: None, ..settings(&hosts) }).await;
    fails(&upstream, &server(&upstream, 0), 1000, now);
    assert_eq!(upstream.out.load(Ordering::Relaxed), 0, "switched off");
}

#[tokio::test]
async fn checks_in_a_row_take_a_server_out_and_bring_it_back() {
    let upstream = upstream(settings(&["10.0.0.1"])).await;
    let only = server(&upstream, 0);
    let check = |well: bool| upstream.checked(&only, (!well).then_some("no answer"), &HEALTH);
    // Whether each check passes, and whether the server is out afterwards.
    for (step, (well, out)) in [
        (false, false),
        (false, false),
        (true, false),
        (false, false),
        (false, false),
        (false, true),
        (true, true),
        (false, true),
        (true, true),
        (true, false),
    ]
    .into_iter()
    .enumerate()
    {
        check(well);
        assert_eq!(only.is_out(), out, "after check {step}");
    }
    (0..3).for_each(|_| check(false));
    let wanted = Wanted { websocket: false, strip: true, timeouts: None, key: KEY, avoid: None };
    assert_eq!(upstream.choose(&wanted).map(drop), Err(Reason::UpstreamUnhealthy), "not even the last one is tried");
}

/// Case 219.
#[tokio::test]
async fn every_address_of_a_name_is_used_and_the_last_good_ones_are_kept() {
    let names = Names::default();
    let upstream = Upstream::new(settings(&["a.internal", "10.0.0.9", "b.internal"]), &Metrics::new());
    let all = || {
        let fleet = upstream.fleet.load();
        fleet.servers.iter().map(|server| server.address.ip().to_string()).collect::<Vec<_>>()
    };
    upstream.resolve(&names).await;
    assert_eq!(all(), ["10.0.0.9"], "no name is known yet");
    names.say("a.internal", &["10.0.0.2", "10.0.0.1", "10.0.0.2"]);
    names.say("b.internal", &["10.0.0.3", "10.0.0.9"]);
    upstream.resolve(&names).await;
    assert_eq!(all(), ["10.0.0.1", "10.0.0.2", "10.0.0.9", "10.0.0.3"]);
    assert_eq!(counted(&upstream, 8).values().copied().collect::<Vec<_>>(), [2; 4]);
    let kept = server(&upstream, 0);
    kept.failures.store(2, Ordering::Relaxed);

    names.say("a.internal", &["10.0.0.1"]);
    names.0.lock().expect("nobody panics").remove("b.internal");
    upstream.resolve(&names).await;
    assert_eq!(all(), ["10.0.0.1", "10.0.0.9", "10.0.0.3"], "one is gone; of the other the last good address is kept");
    assert!(Arc::ptr_eq(&kept, &server(&upstream, 0)), "what is known of it is kept, too");
    names.say("b.internal", &[]);
    upstream.resolve(&names).await;
    assert_eq!(all().len(), 3, "an empty answer is none");
}

#[tokio::test]
async fn what_is_beyond_a_limit_is_refused_until_something_ends() {
    let limited = UpstreamSettings { connections_max: Some(2), pending_max: Some(1), ..settings(&["10.0.0.1"]) };
    let upstream = upstream(limited).await;
    let (first, second) = (upstream.enter().expect("a place"), upstream.enter().expect("a place"));
    let waits = upstream.queue().expect("a place");
    assert_eq!(upstream.enter().map(drop), Err(Reason::UpstreamBusy));
    assert_eq!(upstream.queue().map(drop), Err(Reason::UpstreamBusy));
    drop((first, waits));
    assert!(upstream.enter().is_ok() && upstream.queue().is_ok());
    drop(second);
}
