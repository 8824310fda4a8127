//! What can break, as values: each is played while people use the gateways, and is over only when the service has
//! recovered by itself. What each must lead to on the way is asserted here; whether anybody was let in who must not be
//! is for the oracle to say.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::load::Chance;
use super::oracle::Outcome;
use super::world::{GATEWAYS, World, patiently};
use crate::support::client::{Actor, PASSWORD};

/// A way in which something breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// SIGKILL, and a restart with the data that it had on its disk.
    RedisKilled,
    /// SIGKILL, and a restart without any data.
    RedisForgets,
    /// `FLUSHALL`.
    RedisFlushed,
    /// SIGSTOP, SIGCONT.
    RedisStalled,
    /// Connections carry nothing any more, and nobody says so. New ones work.
    RedisConnectionsLost,
    /// The same, and new ones carry nothing either.
    RedisCutOff,
    /// Slow, and then slower than anybody waits.
    RedisSlow,
    /// A replica that lacks what the primary acknowledged of late takes its place.
    RedisFailover,
    FeedTrimmed,
    FeedDeleted,
    /// It may evict, and does.
    RedisEvicts,
    /// No memory for what is new.
    RedisFull,
    /// One gateway loses Redis; the others do not (209).
    OneCutOff(usize),
    /// SIGTERM, and a start.
    GatewayRestarted(usize),
    /// SIGKILL, and a start.
    GatewayKilled(usize),
    /// SIGKILL with revocations that SQL has and Redis has not.
    GatewayKilledHalfway(usize),
    /// SIGSTOP, SIGCONT.
    GatewayStalled(usize),
    /// The time of day is off for a while, by seconds; and Redis loses its data meanwhile.
    ClockStepped(usize, i64),
    /// The database is killed, and started again.
    DatabaseKilled,
    /// Connections to it carry nothing any more, and nobody says so; new ones neither.
    DatabaseCutOff,
    /// The standby takes the place of the primary, whose last answers are lost.
    DatabaseFailover,
    /// There is no room for what is written to the database.
    DiskFull,
}

/// Those that any world can stand.
pub(super) const ANYWHERE: [Fault; 17] = [
    Fault::RedisKilled,
    Fault::RedisForgets,
    Fault::RedisFlushed,
    Fault::RedisStalled,
    Fault::RedisConnectionsLost,
    Fault::RedisCutOff,
    Fault::RedisSlow,
    Fault::RedisFailover,
    Fault::FeedTrimmed,
    Fault::FeedDeleted,
    Fault::RedisEvicts,
    Fault::RedisFull,
    Fault::OneCutOff(0),
    Fault::GatewayRestarted(0),
    Fault::GatewayKilled(0),
    Fault::GatewayKilledHalfway(0),
    Fault::GatewayStalled(0),
];

impl Fault {
    /// The same at another gateway.
    pub(super) fn somewhere(self, chance: &mut Chance) -> Self {
        let gateway = chance.below(GATEWAYS);
        match self {
            Self::OneCutOff(_) => Self::OneCutOff(gateway),
            Self::GatewayRestarted(_) => Self::GatewayRestarted(gateway),
            Self::GatewayKilled(_) => Self::GatewayKilled(gateway),
            Self::GatewayKilledHalfway(_) => Self::GatewayKilledHalfway(gateway),
            Self::GatewayStalled(_) => Self::GatewayStalled(gateway),
            Self::ClockStepped(_, ahead) => Self::ClockStepped(gateway, ahead),
            other => other,
        }
    }

    /// Breaks something, looks on, mends it, and waits until everything works again.
    ///
    /// # Panics
    /// It did not have the consequences that it must have, or the service did not recover.
    pub(super) async fn play(self, world: &mut World) {
        let began = Instant::now();
        match self {
            Self::RedisKilled | Self::RedisForgets | Self::RedisFlushed | Self::RedisStalled => self.play_server(world).await,
            Self::RedisConnectionsLost | Self::RedisCutOff | Self::RedisSlow => self.play_network(world).await,
            Self::RedisFailover => fail_over(world).await,
            Self::FeedTrimmed | Self::FeedDeleted | Self::RedisEvicts | Self::RedisFull => self.play_data(world).await,
            Self::OneCutOff(gateway) => cut_off(world, gateway).await,
            Self::GatewayRestarted(_) | Self::GatewayKilled(_) | Self::GatewayKilledHalfway(_) | Self::GatewayStalled(_) => {
                self.play_gateway(world).await;
            }
            Self::ClockStepped(gateway, ahead) => step_clock(world, gateway, ahead).await,
            Self::DatabaseKilled | Self::DatabaseCutOff | Self::DatabaseFailover => self.play_database(world).await,
            Self::DiskFull => {
                let disk = world.disk.as_ref().expect("the world has a small disk");
                disk.fill();
                without_database(world).await;
                world.disk.as_ref().expect("the world has a small disk").make_room();
            }
        }
        let broken = began.elapsed();
        world.recovers().await;
        println!("{self:?}: broken for {broken:.1?}, recovered {:.1?} later", began.elapsed() - broken);
    }

    async fn play_server(self, world: &mut World) {
        match self {
            Self::RedisFlushed => {
                world.redis.flush_all();
                world.pass().await;
            }
            Self::RedisStalled => {
                world.redis.pause();
                world.cannot_know().await;
                world.pass().await;
                world.redis.resume();
            }
            _ => {
                world.redis.kill();
                world.cannot_know().await;
                if self == Self::RedisForgets {
                    world.wipe_redis();
                }
                world.redis.restart();
            }
        }
    }

    async fn play_network(self, world: &World) {
        let all = || world.cables.iter();
        match self {
            Self::RedisConnectionsLost => {
                all().for_each(|cable| cable.cut_connections());
                world.pass().await;
            }
            Self::RedisCutOff => {
                all().for_each(|cable| cable.cut());
                world.cannot_know().await;
                world.pass().await;
                all().for_each(|cable| cable.mend());
            }
            _ => {
                all().for_each(|cable| cable.slow_down(Duration::from_millis(25)));
                world.pass().await;
                all().for_each(|cable| cable.slow_down(Duration::from_millis(1500)));
                world.cannot_know().await;
                all().for_each(|cable| cable.slow_down(Duration::ZERO));
            }
        }
    }

    async fn play_data(self, world: &World) {
        let set = |name: &str, value: &str| {
            let _: String = world.redis.command(&["CONFIG", "SET", name, value]);
        };
        match self {
            Self::FeedTrimmed => {
                let _: i64 = world.redis.command(&["XTRIM", "revocation_feed", "MAXLEN", "0"]);
                world.pass().await;
            }
            Self::FeedDeleted => {
                let _: i64 = world.redis.command(&["DEL", "revocation_feed"]);
                world.pass().await;
            }
            Self::RedisFull => {
                set("maxmemory", "1");
                // Who leaves is told to come back; who stays is let in.
                let pending = async || {
                    let records = world.history.records();
                    let waits = |revocation: &&super::oracle::Revocation| revocation.acknowledged.is_none();
                    (records.revocations.iter().rev().take(9).filter(waits).count() >= 3).then_some(())
                };
                patiently("revocations that wait", pending).await;
                world.lets_in_at(&[0, 1, 2]).await;
                set("maxmemory", "0");
            }
            _ => {
                // Noticed within a second or so; what is evicted before that is the operator's doing.
                set("maxmemory", "1gb");
                set("maxmemory-policy", "allkeys-lru");
                world.cannot_know().await;
                set("maxmemory", "1");
                let evicted = async || {
                    let info: String = world.redis.command(&["INFO", "stats"]);
                    (!info.contains("evicted_keys:0\r")).then_some(())
                };
                world.redis.try_command(&["SET", "filler", "1"]);
                patiently("an eviction", evicted).await;
                set("maxmemory", "0");
                set("maxmemory-policy", "noeviction");
            }
        }
    }

    async fn play_gateway(self, world: &mut World) {
        match self {
            Self::GatewayRestarted(gateway) => {
                world.gateways[gateway].terminate();
                world.gateways[gateway].exit().await;
                world.pass_at(&others(gateway)).await;
                world.gateways[gateway].restart().await;
            }
            Self::GatewayKilled(gateway) => {
                world.gateways[gateway].kill();
                world.pass_at(&others(gateway)).await;
                world.goes_on("revocations at the others").await;
                world.gateways[gateway].restart().await;
            }
            Self::GatewayKilledHalfway(gateway) => kill_halfway(world, gateway).await,
            Self::GatewayStalled(gateway) => {
                world.gateways[gateway].pause();
                world.pass_at(&others(gateway)).await;
                // Longer than a mirror may believe what it knew before.
                tokio::time::sleep(Duration::from_millis(1500)).await;
                world.gateways[gateway].resume();
            }
            _ => unreachable!("only faults of gateways come here"),
        }
    }

    async fn play_database(self, world: &mut World) {
        match self {
            Self::DatabaseKilled => {
                world.database.as_mut().expect("the world has its own").kill();
                without_database(world).await;
                world.database.as_mut().expect("the world has its own").restart();
            }
            Self::DatabaseCutOff => {
                let cable = world.sql_cable.as_ref().expect("the world has its own");
                cable.cut();
                without_database(world).await;
                cable.mend();
            }
            _ => {
                let primary = world.database.as_mut().expect("the world has its own");
                let mut standby = primary.standby().await;
                let cable = world.sql_cable.as_ref().expect("the world has its own");
                world.goes_on("revocations that both have").await;
                // What is committed from here on is committed; that it was, nobody hears.
                cable.cut();
                without_database(world).await;
                world.database.as_mut().expect("the world has its own").kill();
                standby.promote().await;
                let cable = world.sql_cable.as_ref().expect("the world has its own");
                cable.lay_to(standby.address());
                cable.mend();
                world.database = Some(standby);
            }
        }
    }
}

fn others(gateway: usize) -> [usize; GATEWAYS - 1] {
    [(gateway + 1) % GATEWAYS, (gateway + 2) % GATEWAYS]
}

/// A primary that is cut off from its replica acknowledges; the replica takes its place.
async fn fail_over(world: &mut World) {
    let replica = world.another_redis();
    let link = crate::support::cable::Cable::to(world.redis.address()).await;
    let (host, port) = (link.address.ip().to_string(), link.address.port().to_string());
    let _: String = replica.command(&["REPLICAOF", &host, &port]);
    let in_step = async || {
        let info: String = replica.command(&["INFO", "replication"]);
        (info.contains("master_link_status:up") && info.contains("master_sync_in_progress:0")).then_some(())
    };
    patiently("the replica is in step", in_step).await;
    world.pass().await;
    link.cut();
    // These are lost.
    world.goes_on("revocations that only the primary has").await;
    world.redis.kill();
    let _: String = replica.command(&["REPLICAOF", "NO", "ONE"]);
    for cable in &world.cables {
        cable.lay_to(replica.address());
    }
    world.redis = replica;
}

async fn cut_off(world: &World, gateway: usize) {
    world.cables[gateway].cut();
    world.cannot_know_at(&[gateway]).await;
    world.lets_in_at(&others(gateway)).await;
    world.goes_on("revocations at the others").await;
    world.cables[gateway].mend();
}

/// A revocation that SQL has and Redis has not, when the power fails: it is published by the next start.
async fn kill_halfway(world: &mut World, gateway: usize) {
    let at = |world: &World, actor: &Actor, gateway: usize| actor.at(world.gateways[gateway].address);
    let name = format!("halfway-{}", world.mark());
    let leaving = Actor::registered(world.gateways[others(gateway)[0]].address, &name).await;
    let token = world.joins(&leaving);
    world.cables[gateway].cut();
    world.cannot_know_at(&[gateway]).await;
    world.history.called(vec![token]);
    let (status, body) = at(world, &leaving, gateway).post("/auth/logout", &json!({})).await;
    assert_eq!(status, 503, "recorded, and not published: {body}");
    world.gateways[gateway].kill();
    world.cables[gateway].mend();
    world.pass_at(&others(gateway)).await;
    world.gateways[gateway].restart().await;
    for other in others(gateway) {
        let other = at(world, &leaving, other);
        patiently("what was recorded comes true", async || (other.get("/api/x").await.0 == 401).then_some(())).await;
    }
}

/// Off, while others end sessions and Redis loses everything; and back.
async fn step_clock(world: &World, gateway: usize, ahead: i64) {
    world.set_clock(gateway, ahead);
    world.pass().await;
    world.goes_on("revocations while a clock is off").await;
    world.redis.flush_all();
    world.pass().await;
    world.lets_in_at(&others(gateway)).await;
    world.goes_on("revocations after the loss").await;
    world.set_clock(gateway, 0);
    world.redis.flush_all();
}

/// While there is no database (212): whoever has a token is served; accounts have to wait, and are told nothing but that.
async fn without_database(world: &World) {
    let client = reqwest::Client::new();
    let ask = async |address, path, username| {
        let request = client.post(format!("http://{address}{path}"));
        let answer = request.json(&json!({"username": username, "password": PASSWORD})).send();
        let answer = answer.await.expect("the gateway answers");
        let (status, after) = (answer.status().as_u16(), answer.headers().contains_key("retry-after"));
        let body: Value = answer.json().await.expect("a problem");
        assert_eq!((status, after, &body["code"]), (503, true, &json!("unavailable")), "{path}: {body}");
        assert_eq!(body["detail"], Value::Null, "what is wrong is the operator's business: {body}");
    };
    // Each waits for as long as a database may take to answer.
    let asked = world.gateways.iter().flat_map(|gateway| {
        let asked = [("/auth/login", "staying"), ("/auth/register", "too-early")];
        asked.map(|(path, username)| ask(gateway.address, path, username))
    });
    futures_util::future::join_all(asked).await;
    world.lets_in_at(&[0, 1, 2]).await;
    let mark = world.mark();
    world.pass().await;
    assert!(!world.happened_since(mark, |request| request.outcome == Outcome::Unknown), "Redis is there: nobody needs SQL");
}
