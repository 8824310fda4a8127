//! Clocks that are off by an hour while sessions begin and end, and Redis that loses its data meanwhile: what was
//! revoked stays revoked for as long as any clock lets its token live (181, 182; P23).

use serde_json::json;

use super::world::{Check, GATEWAYS, Plan, World, patiently};
use crate::support::client::Actor;

const HOUR: i64 = 3600;

async fn world() -> World {
    World::new(Plan::of([Check::Strict; GATEWAYS]).with_clocks()).await
}

/// Waits until a gateway that has lost everything says that a token was revoked.
///
/// # Panics
/// It lets it in.
async fn stays_revoked(actor: &Actor) {
    let mut asked = 0;
    patiently("the refusal of what was revoked", async || {
        asked += 1;
        let (status, body) = actor.get(&format!("/api/{asked}")).await;
        assert_ne!(status, 200, "let in");
        (status == 401 && body["code"] == "revoked_token").then_some(())
    })
    .await;
}

/// The record was written by a clock for which it expired before the token did; the others, who restored what Redis had
/// lost, left it out. So it was, too, where that clock had issued a later token of the same session, which lived shorter.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_logout_by_a_clock_that_is_behind_outlives_that_gateway_and_the_data_of_redis() {
    let mut world = world().await;
    let ada = Actor::registered(world.gateways[1].address, "ada").await;
    let refreshing = Actor::signed_in(world.gateways[1].address, "ada").await;
    world.set_clock(0, -HOUR);
    assert_eq!(refreshing.at(world.gateways[0].address).refresh().await.0, 200);
    for leaving in [&ada, &refreshing] {
        leaving.at(world.gateways[0].address).log_out().await;
    }
    world.gateways[0].kill();
    world.redis.flush_all();
    for gateway in [1, 2] {
        stays_revoked(&ada.at(world.gateways[gateway].address)).await;
        stays_revoked(&refreshing.at(world.gateways[gateway].address)).await;
    }
}

/// The gateway that was asked took the token for expired, said that it was done, and recorded nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_of_a_clock_that_is_behind_is_revoked_by_clocks_for_which_it_has_expired() {
    let world = world().await;
    let root = Actor::signed_in(world.gateways[1].address, "root").await;
    Actor::registered(world.gateways[1].address, "ada").await;
    world.set_clock(0, -HOUR);
    let ada = Actor::signed_in(world.gateways[0].address, "ada").await;
    assert_eq!(ada.get("/api/x").await.0, 200, "by its clock");
    let (status, body) = root.post("/auth/admin/revocations", &json!({"token": ada.access_token})).await;
    assert_eq!(status, 204, "{body}");
    let (status, body) = ada.get("/api/x").await;
    assert_eq!((status, body["code"].as_str()), (401, Some("revoked_token")));
}

/// A token from the future begins to live when its time comes, an hour after the logout, and has to be dead by then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_of_a_clock_that_was_ahead_is_still_revoked_when_its_time_comes() {
    let world = world().await;
    Actor::registered(world.gateways[0].address, "ada").await;
    world.set_clock(0, HOUR);
    let ada = Actor::signed_in(world.gateways[0].address, "ada").await;
    assert_eq!(ada.get("/api/in-the-future").await.0, 200, "by its clock");
    world.set_clock(0, 0);
    for gateway in &world.gateways {
        let (status, body) = ada.at(gateway.address).get("/api/now").await;
        assert_eq!((status, body["code"].as_str()), (401, Some("bad_token")), "also where it was remembered");
    }
    ada.at(world.gateways[1].address).log_out().await;
    // All that Redis has is what the gateways restore by the clocks of then.
    (0..GATEWAYS).for_each(|gateway| world.set_clock(gateway, HOUR + 60));
    world.redis.flush_all();
    for gateway in &world.gateways {
        stays_revoked(&ada.at(gateway.address)).await;
    }
}

/// NTP sets a clock back while a session lives: it goes on, and so does its refresh (182).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minute_more_or_less_breaks_no_rotation() {
    let world = world().await;
    let mut ada = Actor::registered(world.gateways[1].address, "ada").await;
    for ahead in [60, -60, 0] {
        world.set_clock(0, ahead);
        for gateway in [0, 1, 2] {
            let (status, tokens) = ada.at(world.gateways[gateway].address).refresh().await;
            assert_eq!(status, 200, "{ahead} s, gateway {gateway}: {tokens}");
            ada.take(&tokens);
        }
        let (status, body) = ada.at(world.gateways[2].address).get("/api/x").await;
        assert_eq!(status, 200, "{ahead} s: {body}");
    }
}
