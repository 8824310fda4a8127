//! What every record of events promises.

use portcullis::identity::session::SessionId;
use portcullis::identity::user::UserId;
use portcullis::store::sql::SqlStore;
use portcullis::store::{AuditEvent, AuditFilter, AuditLog, Page};
use uuid::{NoContext, Uuid};

use super::database::{Database, on_every_database};
use super::{now, secs};

/// An event `after` seconds from now.
pub(crate) fn event(after: u64, kind: &str, subject: Option<UserId>) -> AuditEvent {
    let at = now() + secs(after);
    let seconds = u64::try_from(at.as_second()).expect("the present is after 1970");
    AuditEvent {
        id: Uuid::new_v7(uuid::Timestamp::from_unix(NoContext, seconds, 0)),
        at,
        kind: kind.to_owned(),
        outcome: "refused".to_owned(),
        actor: Some("ada".to_owned()),
        subject,
        session: Some(SessionId(Uuid::new_v4())),
        address: Some("2001:db8::1".parse().expect("an address")),
        agent: Some("curl/8".to_owned()),
        detail: r#"{"reason":"credentials"}"#.to_owned(),
    }
}

async fn listed(store: &SqlStore, filter: AuditFilter) -> Vec<AuditEvent> {
    store.list(&filter, Page { after: None, limit: 100 }).await.expect("there")
}

async fn events_are_listed_as_written_newest_first(Database { store, .. }: Database) {
    let bare = AuditEvent { actor: None, subject: None, session: None, address: None, agent: None, ..event(1, "login", None) };
    let full = event(0, "login", Some(UserId(Uuid::new_v4())));
    for event in [&bare, &full] {
        store.write(event).await.expect("there");
    }
    assert_eq!(listed(&store, AuditFilter::default()).await, [bare, full]);
}

async fn a_filter_lists_what_every_part_of_it_fits(Database { store, .. }: Database) {
    let (ada, bob) = (UserId(Uuid::new_v4()), UserId(Uuid::new_v4()));
    let events =
        [event(0, "login", Some(ada)), event(1, "login", Some(bob)), event(2, "logout", Some(ada)), event(3, "login", Some(ada))];
    for event in &events {
        store.write(event).await.expect("there");
    }
    let [first, second, third, fourth] = &events;
    let filter = AuditFilter::default;
    for (filter, fitting) in [
        (AuditFilter { subject: Some(ada), ..filter() }, vec![fourth, third, first]),
        (AuditFilter { kind: Some("login".to_owned()), ..filter() }, vec![fourth, second, first]),
        (AuditFilter { kind: Some("log%".to_owned()), ..filter() }, vec![]),
        (AuditFilter { since: Some(now() + secs(1)), ..filter() }, vec![fourth, third, second]),
        (AuditFilter { until: Some(now() + secs(1)), ..filter() }, vec![first]),
        (
            AuditFilter { subject: Some(ada), kind: Some("login".to_owned()), since: Some(now() + secs(1)), until: None },
            vec![fourth],
        ),
    ] {
        assert_eq!(listed(&store, filter.clone()).await.iter().collect::<Vec<_>>(), fitting, "{filter:?}");
    }
}

async fn a_listing_of_events_goes_on_where_its_page_ended(Database { store, .. }: Database) {
    let events: Vec<_> = (0..5).map(|second| event(second, "login", None)).collect();
    for event in &events {
        store.write(event).await.expect("there");
    }
    let (mut read, mut after) = (Vec::new(), None);
    loop {
        let page = store.list(&AuditFilter::default(), Page { after, limit: 2 }).await.expect("there");
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        read.extend(page);
    }
    read.reverse();
    assert_eq!(read, events);
}

async fn what_was_typed_does_not_keep_an_event_out_of_the_record(Database { store, .. }: Database) {
    let typed = format!("ada\0{}", "é".repeat(300));
    let event = AuditEvent { actor: Some(typed.clone()), agent: Some(typed), ..event(0, "login", None) };
    store.write(&event).await.expect("there");
    let [written] = &listed(&store, AuditFilter::default()).await[..] else { panic!("one event") };
    let actor = written.actor.as_deref().expect("an actor");
    assert!(actor.starts_with("ada\u{fffd}é") && actor.len() <= 258, "{actor:?}");
    assert_eq!(written.agent.as_deref(), Some(actor));
}

async fn a_purge_forgets_events_from_before(Database { store, .. }: Database) {
    for second in 0..3 {
        store.write(&event(second, "login", None)).await.expect("there");
    }
    assert_eq!(AuditLog::purge(&store, now(), 100).await.expect("there"), 0);
    assert_eq!(AuditLog::purge(&store, now() + secs(2), 100).await.expect("there"), 2);
    assert_eq!(listed(&store, AuditFilter::default()).await.len(), 1);
}

on_every_database! {
    events_are_listed_as_written_newest_first,
    a_filter_lists_what_every_part_of_it_fits,
    a_listing_of_events_goes_on_where_its_page_ended,
    what_was_typed_does_not_keep_an_event_out_of_the_record,
    a_purge_forgets_events_from_before,
}
