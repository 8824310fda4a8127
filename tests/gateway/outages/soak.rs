//! The same worlds and the same oracle for as long as one likes: `make soak`. Which gateways, which database, and what
//! breaks when, follows from a number that is printed; `SOAK_SEED` plays it again.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use super::faults::{ANYWHERE, Fault};
use super::load::Chance;
use super::oracle::Report;
use super::world::Check::{Mirror, Strict};
use super::world::{Check, Plan, Sql, World};
use crate::support::number_from_environment;

const MINUTES: u64 = 15;
/// Acknowledged before anything breaks, and after everything is whole again.
const CALM: usize = 60;
const FAULTS: usize = 4;
const CHECKS: [[Check; 3]; 4] =
    [[Strict, Strict, Strict], [Mirror, Mirror, Mirror], [Strict, Mirror, Strict], [Mirror, Strict, Mirror]];
const STORES: [Sql; 5] = [Sql::Sqlite, Sql::Postgres, Sql::Mariadb, Sql::OwnPostgres, Sql::OwnMariadb];

#[expect(clippy::disallowed_methods, reason = "chance, for want of a seed")]
fn some_seed() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// What may break in such a world.
fn faults(plan: &Plan) -> Vec<Fault> {
    let mut faults = ANYWHERE.to_vec();
    if plan.clocks {
        faults.extend([Fault::ClockStepped(0, 3600), Fault::ClockStepped(0, -3600)]);
    }
    match plan.sql {
        Sql::OwnPostgres => faults.extend([Fault::DatabaseKilled, Fault::DatabaseCutOff, Fault::DatabaseFailover].repeat(3)),
        Sql::OwnMariadb => faults.extend([Fault::DatabaseKilled, Fault::DatabaseCutOff].repeat(3)),
        Sql::SmallDisk => faults.extend([Fault::DiskFull].repeat(3)),
        Sql::Sqlite | Sql::Postgres | Sql::Mariadb => {}
    }
    faults
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a quarter of an hour: make soak"]
async fn random_faults_let_no_revoked_token_in() {
    let minutes = number_from_environment("SOAK_MINUTES", MINUTES);
    let seed = number_from_environment("SOAK_SEED", some_seed());
    println!("SOAK_MINUTES={minutes} SOAK_SEED={seed}");
    let end = Instant::now() + Duration::from_secs(60 * minutes);
    let (mut total, mut worlds, mut played) = (Report::default(), 0, 0);
    let mut chance = Chance(seed);
    while Instant::now() < end {
        let plan = Plan::of(CHECKS[chance.below(CHECKS.len())]).on(STORES[chance.below(STORES.len())]).seeded(chance.next());
        let plan = if chance.below(4) == 0 { plan.with_clocks() } else { plan };
        println!("world {worlds}: {plan:?}");
        let mut world = World::new(plan.clone()).await;
        world.begin().await;
        world.acknowledges(CALM).await;
        let faults = faults(&plan);
        for _ in 0..FAULTS {
            faults[chance.below(faults.len())].somewhere(&mut chance).play(&mut world).await;
            played += 1;
        }
        world.acknowledges(CALM).await;
        total.add(world.end().await);
        worlds += 1;
    }
    println!("SOAK_SEED={seed}: {worlds} worlds, {played} faults, {} trials at another gateway\n{total}", total.trials());
}

/// What nothing disturbs: each acknowledged revocation is a trial at each of the two gateways that did not acknowledge it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: make soak"]
async fn thousands_of_revocations_are_seen_by_every_gateway() {
    let trials = usize::try_from(number_from_environment("SOAK_TRIALS", 10_000)).expect("a usize has 64 bits");
    let mut total = Report::default();
    while total.trials() < trials {
        for checks in &CHECKS[..2] {
            let mut world = World::new(Plan::of(*checks).on(Sql::Postgres)).await;
            world.begin().await;
            for _ in 0..10 {
                world.acknowledges(CALM).await;
            }
            total.add(world.end().await);
        }
    }
    println!("undisturbed: {} trials at another gateway\n{total}", total.trials());
}
