//! An ending that was recorded and not published, because Redis took nothing and then the gateway lost its power: whoever
//! tries again elsewhere and is told that it is done can rely on it, although SQL has nothing left to end (P7, 213).

use serde_json::{Value, json};

use super::world::{Check, Plan, World};
use crate::support::client::{Actor, PASSWORD};

/// The first is the one that everybody has.
const PASSWORDS: [&str; 3] = [PASSWORD, "another one, just as long", "a third one, longer than both"];

/// What a user or an administrator does, for the first or the second time.
async fn end_sessions(how: &str, time: usize, caller: &Actor, root: &Actor, user: &str) -> (u16, Value) {
    match how {
        "logout everywhere" => caller.post("/auth/logout-all", &json!({})).await,
        "new password" => {
            let passwords = json!({"current_password": PASSWORDS[time], "new_password": PASSWORDS[time + 1]});
            caller.post("/auth/password", &passwords).await
        }
        "disabled" => root.post(&format!("/auth/users/{user}/disable"), &json!({})).await,
        _ => root.post("/auth/admin/revocations", &json!({"user": user})).await,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_acknowledged_at_the_second_try_elsewhere_holds() {
    let mut world = World::new(Plan::of([Check::Strict; 3])).await;
    let gateways: Vec<_> = world.gateways.iter().map(|gateway| gateway.address).collect();
    let root = Actor::signed_in(gateways[1], "root").await;
    let hows = ["logout everywhere", "new password", "disabled", "revoked by an administrator"];
    for (number, how) in hows.into_iter().enumerate() {
        let name = format!("ada-{number}");
        let caller = Actor::registered(gateways[1], &name).await;
        let (other, user) = (Actor::signed_in(gateways[2], &name).await, caller.claim("sub").await);
        assert_eq!(other.get("/api/before").await.0, 200);

        // Look-ups are answered; nothing can be published.
        let _: String = world.redis.command(&["CONFIG", "SET", "maxmemory", "1"]);
        let (status, body) = end_sessions(how, 0, &caller.at(gateways[0]), &root.at(gateways[0]), &user).await;
        assert_eq!(status, 503, "{how}: {body}");
        world.gateways[0].kill();
        let _: String = world.redis.command(&["CONFIG", "SET", "maxmemory", "0"]);

        let (status, body) = end_sessions(how, 1, &caller.at(gateways[2]), &root.at(gateways[2]), &user).await;
        assert_eq!(status, 204, "{how}: {body}");
        for gateway in &gateways[1..] {
            let (status, body) = other.at(*gateway).get("/api/after").await;
            assert_eq!((status, &body["code"]), (401, &json!("revoked_token")), "{how}");
        }
        world.gateways[0].restart().await;
        assert_eq!(other.at(gateways[0]).get("/api/after").await.0, 401, "{how}");
    }
}
