//! Each fault while people use three gateways: no request that was started later than the bound after the
//! acknowledgement of its token's revocation is let in, and the service recovers by itself (203–210, 212, 214; P1, P6,
//! P7). `make soak` plays them one after the other for a quarter of an hour.

use super::faults::Fault;
use super::world::Check::{Mirror, Strict};
use super::world::{Check, GATEWAYS, Plan, Sql, World};

/// Both kinds, and each kind beside one of its own.
const MOSTLY_STRICT: [Check; GATEWAYS] = [Strict, Mirror, Strict];
const MOSTLY_MIRRORS: [Check; GATEWAYS] = [Mirror, Strict, Mirror];

async fn holds(plan: Plan, faults: &[Fault]) {
    let mut world = World::new(plan).await;
    world.begin().await;
    for fault in faults {
        fault.play(&mut world).await;
    }
    world.end().await;
}

/// Facts by name: the plan, and what breaks in it.
macro_rules! no_revoked_token_is_let_in {
    ($($(#[$doc:meta])* $name:ident: $plan:expr, $faults:expr;)+) => {$(
        $(#[$doc])*
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            holds($plan, &$faults).await;
        }
    )+};
}

no_revoked_token_is_let_in! {
    by_strict_gateways_whatever_becomes_of_redis:
        Plan::of([Strict; GATEWAYS]), [Fault::RedisForgets, Fault::RedisFlushed, Fault::FeedTrimmed, Fault::RedisStalled];
    by_mirrors_whatever_becomes_of_redis:
        Plan::of([Mirror; GATEWAYS]), [Fault::FeedTrimmed, Fault::RedisForgets, Fault::RedisFlushed, Fault::RedisStalled];
    when_redis_is_killed_and_comes_back_with_its_data: Plan::of(MOSTLY_STRICT), [Fault::RedisKilled];
    when_redis_comes_back_empty: Plan::of(MOSTLY_MIRRORS).on(Sql::Postgres), [Fault::RedisForgets];
    when_redis_is_flushed: Plan::of(MOSTLY_MIRRORS).on(Sql::Mariadb), [Fault::RedisFlushed];
    when_redis_stalls: Plan::of(MOSTLY_STRICT), [Fault::RedisStalled];
    when_connections_to_redis_are_lost_without_a_word: Plan::of(MOSTLY_MIRRORS), [Fault::RedisConnectionsLost];
    when_redis_is_cut_off_without_a_word: Plan::of(MOSTLY_STRICT), [Fault::RedisCutOff];
    when_redis_is_slow: Plan::of(MOSTLY_MIRRORS), [Fault::RedisSlow];
    when_a_failover_of_redis_loses_acknowledged_writes: Plan::of(MOSTLY_STRICT), [Fault::RedisFailover];
    when_the_feed_is_trimmed: Plan::of(MOSTLY_MIRRORS), [Fault::FeedTrimmed];
    when_the_feed_is_deleted: Plan::of(MOSTLY_MIRRORS), [Fault::FeedDeleted];
    when_redis_evicts: Plan::of(MOSTLY_STRICT), [Fault::RedisEvicts];
    when_redis_has_no_room: Plan::of(MOSTLY_MIRRORS), [Fault::RedisFull];
    when_one_gateway_loses_redis: Plan::of(MOSTLY_MIRRORS), [Fault::OneCutOff(0), Fault::OneCutOff(1)];
    when_a_gateway_is_restarted: Plan::of(MOSTLY_STRICT), [Fault::GatewayRestarted(1)];
    when_a_gateway_is_killed: Plan::of(MOSTLY_MIRRORS), [Fault::GatewayKilled(0)];
    when_a_gateway_is_killed_between_the_database_and_redis: Plan::of(MOSTLY_MIRRORS), [Fault::GatewayKilledHalfway(0)];
    when_a_gateway_stalls: Plan::of(MOSTLY_MIRRORS), [Fault::GatewayStalled(0)];
    when_a_clock_is_an_hour_ahead_and_back: Plan::of(MOSTLY_MIRRORS).with_clocks(), [Fault::ClockStepped(1, 3600)];
    when_a_clock_is_an_hour_behind_and_back: Plan::of(MOSTLY_STRICT).with_clocks(), [Fault::ClockStepped(0, -3600)];
    when_postgres_fails_over: Plan::of(MOSTLY_STRICT).on(Sql::OwnPostgres), [Fault::DatabaseFailover];
    when_postgres_is_killed: Plan::of(MOSTLY_MIRRORS).on(Sql::OwnPostgres), [Fault::DatabaseKilled];
    when_mariadb_is_killed_and_cut_off: Plan::of(MOSTLY_STRICT).on(Sql::OwnMariadb), [Fault::DatabaseKilled, Fault::DatabaseCutOff];
}

/// Where nobody may mount a disk, `database::a_database_that_cannot_grow…` shows the same of one gateway.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_disk_of_sqlite_is_full() {
    if rustix::process::getuid().is_root() {
        holds(Plan::of(MOSTLY_MIRRORS).on(Sql::SmallDisk), &[Fault::DiskFull]).await;
    }
}
