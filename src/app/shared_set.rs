//! The Redis of `[revocation]`: the shared set, and the feed beside it.

use std::sync::Arc;

use anyhow::Context as _;

use crate::clock::Clock;
use crate::config::{self, Config};
use crate::revocation::Revocations;
use crate::revocation::mirror::MirrorBounds;
use crate::store::redis::{RedisFeed, RedisLayout, RedisLogin, RedisPlace, RedisServers, RedisSet, RedisTls, Stopwatch};
use crate::telemetry::metrics::Metrics;

/// What is in Redis.
pub(super) struct Shared {
    /// The revoked set.
    pub(super) set: Arc<RedisSet>,
    feed: Arc<RedisFeed>,
    bounds: Option<MirrorBounds>,
}

/// Has the revocations follow the feed of their Redis, if there is one.
pub(super) fn follow(revocations: Revocations, shared: Option<&Shared>) -> Revocations {
    match shared {
        Some(shared) => revocations.fed_by(Arc::clone(&shared.feed) as _, shared.bounds),
        None => revocations,
    }
}

/// The shared set, if one is configured.
pub(super) fn open(config: &Config, clock: &Arc<dyn Clock>, metrics: &Arc<Metrics>) -> anyhow::Result<Option<Shared>> {
    let Some(revocation) = &config.revocation else { return Ok(None) };
    // Commands come here without having run a server, and TLS needs the one provider. Whoever was first has installed it.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let place = RedisPlace::new(&servers(&revocation.redis), &revocation.prefix, Arc::clone(clock));
    let place = place.context("cannot use the Redis of `[revocation]`")?;
    let watch = Stopwatch { clock: Arc::clone(clock), metrics: Arc::clone(metrics) };
    let set = RedisSet::new(&place, &revocation.prefix, watch).acknowledged_by(revocation.replica_acks_min);
    let feed = RedisFeed::new(&place, &revocation.prefix, Arc::clone(clock));
    let bounds = revocation.mirror;
    let bounds = bounds.map(|mirror| MirrorBounds { staleness_max: mirror.staleness_max, records_max: mirror.records_max });
    Ok(Some(Shared { set: Arc::new(set), feed: Arc::new(feed), bounds }))
}

fn servers(redis: &config::Redis) -> RedisServers {
    let layout = match &redis.layout {
        config::RedisLayout::Single(url) => RedisLayout::Single(url.clone()),
        config::RedisLayout::Sentinel { sentinels, primary, login: to } => {
            RedisLayout::Sentinel { sentinels: sentinels.clone(), primary: primary.clone(), login: login(to) }
        }
        config::RedisLayout::Cluster(nodes) => RedisLayout::Cluster(nodes.clone()),
    };
    let tls = redis.tls.as_ref().map(|tls| RedisTls { authorities: tls.authorities.clone(), client: tls.client.clone() });
    RedisServers { layout, login: login(&redis.login), tls }
}

fn login(login: &config::Login) -> RedisLogin {
    RedisLogin { username: login.username.clone(), password: login.password.clone() }
}
