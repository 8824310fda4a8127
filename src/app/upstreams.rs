//! From `[upstreams]` to the settings of the proxy's upstreams.

use std::sync::Arc;

use crate::config::{self, Config, Upstream, UpstreamHttp};
use crate::proxy::{
    Balance, EjectionSettings, HashBy, HealthSettings, ServerSettings, UpstreamHttp2, UpstreamSettings, UpstreamTls,
};

pub(super) fn settings(config: &Config) -> Vec<UpstreamSettings> {
    config.upstreams.iter().map(upstream).collect()
}

fn upstream(upstream: &Upstream) -> UpstreamSettings {
    UpstreamSettings {
        name: Arc::clone(&upstream.name),
        servers: upstream.servers.iter().map(server).collect(),
        balance: balance(&upstream.balance),
        http2: http2(upstream),
        tls: upstream.tls.as_ref().map(tls).unwrap_or_default(),
        connect_timeout: upstream.connect_timeout,
        read_timeout: upstream.read_timeout,
        write_timeout: upstream.write_timeout,
        idle_timeout: upstream.idle_timeout,
        retry: upstream.retries > 0,
        retry_share: upstream.retry_share,
        health: upstream.health.as_ref().map(health),
        ejection: upstream.ejection.as_ref().map(|ejection| EjectionSettings {
            failures: ejection.failures,
            time: ejection.time,
            time_max: ejection.time_max,
            share: ejection.share,
        }),
        connections_max: upstream.breaker.connections,
        pending_max: upstream.breaker.pending,
    }
}

fn server(server: &config::UpstreamServer) -> ServerSettings {
    ServerSettings { host: server.host.clone(), port: server.port, tls_name: server.tls_name.clone(), weight: server.weight }
}

fn balance(balance: &config::Balance) -> Balance {
    match balance {
        config::Balance::RoundRobin => Balance::RoundRobin,
        config::Balance::LeastConnections => Balance::LeastConnections,
        config::Balance::Hash(by) => Balance::Hash(match by {
            config::HashBy::Client => HashBy::Client,
            config::HashBy::Subject => HashBy::Subject,
            config::HashBy::Header(name) => HashBy::Header(name.clone()),
        }),
    }
}

fn http2(upstream: &Upstream) -> Option<UpstreamHttp2> {
    let https = || upstream.servers.iter().any(|server| server.tls_name.is_some());
    let spoken = match upstream.http {
        UpstreamHttp::One => false,
        UpstreamHttp::Auto => https(),
        UpstreamHttp::Two => true,
    };
    let config::UpstreamHttp2 { streams, ping_interval } = upstream.http2;
    spoken.then_some(UpstreamHttp2 { only: upstream.http == UpstreamHttp::Two, streams, ping_interval })
}

fn health(health: &config::Health) -> HealthSettings {
    HealthSettings {
        path: health.path.clone(),
        interval: health.interval,
        timeout: health.timeout,
        unhealthy_after: health.unhealthy_after,
        healthy_after: health.healthy_after,
    }
}

fn tls(tls: &config::UpstreamTls) -> UpstreamTls {
    let client = tls.client.as_ref().map(|client| (client.chain.clone(), client.key.clone()));
    UpstreamTls { authorities: tls.authorities.clone(), client }
}
