//! `audit`: the record as an operator reads it.

use super::{Place, assert_says};

const PASSWORD: &str = "correct horse battery staple";

fn place() -> Place {
    let place = Place::new();
    place.run_with("user add ada --role admin --password-stdin", PASSWORD).ok();
    place
}

#[test]
fn what_an_operator_does_is_on_record() {
    let place = place();
    place.run("user disable ada").ok();
    place.run("user enable ada").ok();
    place.run("user roles ada --add editor").ok();
    let events = place.run("audit list --user ada --json").json();
    let kinds: Vec<_> = events.as_array().unwrap().iter().map(|event| event["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["roles_changed", "user_enabled", "user_disabled", "user_added"]);
    assert!(events.as_array().unwrap().iter().all(|event| event["actor"] == "operator"));
    assert_eq!(events[0]["detail"], serde_json::json!({"before": ["admin"], "after": ["admin", "editor"]}));
    assert!(!events.to_string().contains(PASSWORD));
    let id = events[0]["user"].as_str().unwrap();
    assert_eq!(place.run(&format!("audit list --user {id} --json")).json(), events);
}

#[test]
fn the_record_is_a_table_for_people() {
    assert_says(&place().run("audit list").ok(), &["AT", "KIND", "OUTCOME", "user_added", "operator", "admin"]);
}

#[test]
fn a_listing_is_cut_and_filtered() {
    let place = place();
    for _ in 0..2 {
        place.run("user disable ada").ok();
    }
    let listed = |words: &str| place.run(&format!("audit list --json {words}")).json().as_array().unwrap().len();
    assert_eq!(listed(""), 3);
    assert_eq!(listed("--limit 2"), 2);
    assert_eq!(listed("--kind user_disabled"), 2);
    assert_eq!(listed("--since 1h"), 3);
    assert_eq!(listed("--until 1h"), 0);
}

#[test]
fn an_unknown_kind_is_answered_with_those_there_are() {
    let place = Place::new();
    assert_says(&place.run("audit list --kind nonsense").refused(2), &["login_failed", "user_deleted"]);
    assert_says(&place.run("audit list --since soon").refused(2), &["2026-01-01T00:00:00Z"]);
}
