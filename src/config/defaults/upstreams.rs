//! The defaults of what is under `[upstreams.NAME]`.

use crate::config::file::{Balance, Breaker, Ejection, Health, Upstream, UpstreamHttp, UpstreamHttp2};

impl Default for Upstream {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            weights: Vec::new(),
            balance: Balance::RoundRobin,
            hash_by: "client".to_owned(),
            http: UpstreamHttp::Auto,
            http2: None,
            tls: None,
            connect_timeout: "3s".into(),
            read_timeout: "60s".into(),
            write_timeout: "30s".into(),
            idle_timeout: "60s".into(),
            retries: 1,
            retry_share: 20,
            health: None,
            ejection: Ejection::default(),
            breaker: Breaker::default(),
        }
    }
}

impl Default for UpstreamHttp2 {
    fn default() -> Self {
        Self { streams: 100, ping_interval: None }
    }
}

impl Default for Health {
    fn default() -> Self {
        Self { path: None, interval: "5s".into(), timeout: "2s".into(), unhealthy_after: 3, healthy_after: 2 }
    }
}

impl Default for Ejection {
    fn default() -> Self {
        Self { failures: 5, time: "10s".into(), time_max: "5m".into(), share: 50 }
    }
}
