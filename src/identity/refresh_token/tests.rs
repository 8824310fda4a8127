//! A chain of refresh tokens: who gets a successor, until when, and who ends the session.

use proptest::prelude::*;
use secrecy::ExposeSecret as _;

use super::*;
use crate::identity::user::UserId;

const GRACE: Duration = Duration::from_secs(10);
const LIFE: Duration = Duration::from_secs(3_600);
const TICK: Duration = Duration::from_nanos(1);

fn start() -> Timestamp {
    Timestamp::from_second(1_800_000_000).expect("a year of this century")
}

fn key() -> RefreshKey {
    RefreshKey::new(&[7; 32])
}

#[test]
fn a_derived_key_is_hkdf_s_and_another_one_for_every_purpose() {
    use aws_lc_rs::hkdf::{HKDF_SHA256, Prk};
    let mut expected = [0; 32];
    let expand = Prk::new_less_safe(HKDF_SHA256, &[7; 32]);
    let expanded = expand.expand(&[b"sealing"], HKDF_SHA256).expect("one block");
    expanded.fill(&mut expected).expect("one block");
    assert_eq!(key().derived(b"sealing"), expected);
    assert_ne!(key().derived(b"sealing v2"), expected);
    assert_ne!(RefreshKey::new(&[8; 32]).derived(b"sealing"), expected);
}

/// A session whose current generation was issued at [`start`].
fn session(generation: u32) -> Session {
    Session {
        id: SessionId(Uuid::from_u128(1)),
        user: UserId(Uuid::from_u128(2)),
        created_at: start(),
        authenticated_at: start(),
        ends_at: start() + LIFE * 10,
        ended_at: None,
        generation,
        rotated_at: start(),
        refresh_expires_at: start() + LIFE,
        nonce: [3; 16],
        address: None,
        agent: None,
    }
}

fn present(session: &Session, generation: u32) -> PresentedRefreshToken {
    let token = key().token(session.id, generation, &session.nonce);
    PresentedRefreshToken::parse(token.expose_secret()).expect("our own format")
}

fn decide(session: &Session, generation: u32, now: Timestamp) -> Result<Rotation, RefreshRefusal> {
    present(session, generation).decide(&key(), session, now, GRACE)
}

#[test]
fn the_current_token_advances_the_chain_by_one() {
    assert_eq!(decide(&session(0), 0, start()), Ok(Rotation::Advance { to: 1 }));
    assert_eq!(decide(&session(41), 41, start()), Ok(Rotation::Advance { to: 42 }));
    assert_eq!(decide(&session(u32::MAX), u32::MAX, start()), Err(RefreshRefusal::Expired), "the last generation there is");
}

// Cases 168 to 170.
#[test]
fn the_predecessor_is_repeated_before_the_grace_ends_and_reused_from_then_on() {
    let session = session(5);
    for (now, rotation) in [
        (start(), Rotation::Repeat),
        (start() + GRACE - TICK, Rotation::Repeat),
        (start() + GRACE, Rotation::Reuse),
        (start() + GRACE + TICK, Rotation::Reuse),
    ] {
        assert_eq!(decide(&session, 4, now), Ok(rotation), "{now}");
    }
    let without_grace = present(&session, 4).decide(&key(), &session, start(), Duration::ZERO);
    assert_eq!(without_grace, Ok(Rotation::Reuse), "a grace of zero is none");
}

#[test]
fn a_predecessor_older_than_the_last_is_reuse_at_once() {
    assert_eq!(decide(&session(5), 3, start()), Ok(Rotation::Reuse));
    assert_eq!(decide(&session(5), 0, start()), Ok(Rotation::Reuse));
}

// Case 176.
#[test]
fn a_token_is_good_until_the_instant_it_or_its_session_expires() {
    let refresh = session(0);
    let whole = Session { ends_at: start() + LIFE / 2, ..session(0) };
    for (session, end) in [(&refresh, refresh.refresh_expires_at), (&whole, whole.ends_at)] {
        assert_eq!(decide(session, 0, end - TICK), Ok(Rotation::Advance { to: 1 }));
        assert_eq!(decide(session, 0, end), Err(RefreshRefusal::Expired));
        assert_eq!(decide(session, 0, end + TICK), Err(RefreshRefusal::Expired));
    }
}

#[test]
fn an_ended_session_gives_nothing_to_any_of_its_tokens() {
    let ended = Session { ended_at: Some(start()), ..session(5) };
    for generation in 0..=5 {
        assert_eq!(decide(&ended, generation, start()), Err(RefreshRefusal::Ended));
    }
    assert_eq!(decide(&ended, 6, start()), Err(RefreshRefusal::Forged));
}

// Case 175: what a copy of the database is good for.
#[test]
fn a_token_is_forged_without_the_key_the_nonce_and_the_session() {
    let session = session(5);
    let forged = |token: SecretString| {
        let presented = PresentedRefreshToken::parse(token.expose_secret()).expect("our own format");
        assert_eq!(presented.decide(&key(), &session, start(), GRACE), Err(RefreshRefusal::Forged));
    };
    let other = SessionId(Uuid::from_u128(9));
    forged(RefreshKey::new(&[8; 32]).token(session.id, 5, &session.nonce));
    forged(key().token(session.id, 5, &[4; 16]));
    forged(key().token(other, 5, &session.nonce));
    forged(key().token(session.id, 6, &session.nonce));
    forged(key().token(session.id, u32::MAX, &session.nonce));
}

#[test]
fn a_token_that_rotates_does_not_stand_and_one_that_stands_may_rotate() {
    let session = session(5);
    let standing = key().standing_token(session.id, 5, &session.nonce);
    let standing = PresentedRefreshToken::parse(standing.expose_secret()).expect("our own format");
    assert!(standing.stands(&key(), &session));
    assert_eq!(standing.decide(&key(), &session, start(), GRACE), Ok(Rotation::Advance { to: 6 }));
    assert!(!present(&session, 5).stands(&key(), &session));
    assert!(!standing.stands(&RefreshKey::new(&[8; 32]), &session));
    assert!(!standing.stands(&key(), &Session { nonce: [4; 16], ..session }));
}

#[test]
fn a_token_is_forged_if_any_bit_of_it_differs() {
    let session = session(5);
    let token = key().token(session.id, 5, &session.nonce);
    let bytes = URL_SAFE_NO_PAD.decode(token.expose_secret()).expect("base64url");
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let presented = PresentedRefreshToken::parse(&URL_SAFE_NO_PAD.encode(changed)).expect("our own format");
        assert_eq!(presented.decide(&key(), &session, start(), GRACE), Err(RefreshRefusal::Forged), "bit {bit}");
    }
}

// Case 174: an access token is no refresh token.
#[test]
fn a_text_of_another_form_is_refused_before_any_look_up() {
    let session = session(0);
    let token = key().token(session.id, 0, &session.nonce);
    let token = token.expose_secret();
    assert_eq!(token.len(), 70);
    for text in [
        "",
        "x",
        "eyJhbGciOiJFZERTQSJ9.e30.AA",
        &token[1..],
        &format!("{token}="),
        &format!("{token}A"),
        &token.replace(&token[..1], "+"),
    ] {
        assert_eq!(PresentedRefreshToken::parse(text).err(), Some(RefreshRefusal::Forged), "{text:?}");
    }
    assert_eq!(PresentedRefreshToken::parse(token).expect("our own format").session(), session.id);
}

// Case 171: the same successor for everyone who asks, and another for each generation and each session.
#[test]
fn a_successor_is_recomputed_and_never_shared() {
    let (one, other) = (SessionId(Uuid::from_u128(1)), SessionId(Uuid::from_u128(2)));
    let nonce = [3; 16];
    assert_eq!(key().token(one, 1, &nonce).expose_secret(), key().token(one, 1, &nonce).expose_secret());
    assert_eq!(key().access_token_id(one, 1, &nonce), key().access_token_id(one, 1, &nonce));
    for (session, generation, nonce) in [(one, 2, nonce), (other, 1, nonce), (one, 1, [4; 16])] {
        assert_ne!(key().token(one, 1, &[3; 16]).expose_secret(), key().token(session, generation, &nonce).expose_secret());
        assert_ne!(key().access_token_id(one, 1, &[3; 16]), key().access_token_id(session, generation, &nonce));
    }
}

#[test]
fn nothing_secret_is_printed() {
    let presented = format!("{:?} {:?}", key(), present(&session(0), 0));
    assert_eq!(presented, format!("RefreshKey(redacted) PresentedRefreshToken {{ session: {:?}, .. }}", session(0).id));
}

/// What happens next to a session: someone presents the token of a generation, some time after the last event.
#[derive(Debug, Clone)]
struct Event {
    after: Duration,
    generation: u32,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    // Around the grace and around the life of a token, where verdicts change.
    let after = prop_oneof![
        Just(Duration::ZERO),
        Just(TICK),
        Just(GRACE - TICK),
        Just(GRACE),
        Just(LIFE - TICK),
        Just(LIFE),
        (0..=LIFE.as_secs()).prop_map(Duration::from_secs),
    ];
    // Generations that a chain of this length may have reached, and some that it cannot.
    prop::collection::vec((after, 0..12u32).prop_map(|(after, generation)| Event { after, generation }), 0..24)
}

/// The chain as a person would explain it: a list of the instants at which tokens were handed out.
struct Model {
    issued: Vec<Timestamp>,
    ended: bool,
}

impl Model {
    fn present(&mut self, generation: u32, now: Timestamp, ends_at: Timestamp) -> Result<Rotation, RefreshRefusal> {
        let newest = self.issued.len() - 1;
        let newest_issued = self.issued[newest];
        let presented = generation as usize;
        if presented > newest {
            return Err(RefreshRefusal::Forged);
        }
        if self.ended {
            return Err(RefreshRefusal::Ended);
        }
        if now >= ends_at || now.duration_since(newest_issued) >= LIFE.try_into().expect("an hour") {
            return Err(RefreshRefusal::Expired);
        }
        if presented == newest {
            self.issued.push(now);
            return Ok(Rotation::Advance { to: generation + 1 });
        }
        if presented + 1 == newest && now.duration_since(newest_issued) < GRACE.try_into().expect("seconds") {
            return Ok(Rotation::Repeat);
        }
        self.ended = true;
        Ok(Rotation::Reuse)
    }
}

proptest! {
    #[test]
    fn any_sequence_of_presented_tokens_is_judged_like_the_model(events in events()) {
        let (mut session, mut now) = (session(0), start());
        let mut model = Model { issued: vec![start()], ended: false };
        for event in events {
            now += event.after;
            let verdict = decide(&session, event.generation, now);
            prop_assert_eq!(verdict, model.present(event.generation, now, session.ends_at));
            // What a store does with the verdict.
            match verdict {
                Ok(Rotation::Advance { to }) => {
                    prop_assert_eq!(to, session.generation + 1);
                    session = Session { generation: to, rotated_at: now, refresh_expires_at: now + LIFE, ..session };
                }
                Ok(Rotation::Reuse) => session.ended_at = Some(now),
                Ok(Rotation::Repeat) | Err(_) => {}
            }
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic_or_passes_without_the_key(text in "[A-Za-z0-9_-]{70}|\\PC{0,80}") {
        if let Ok(presented) = PresentedRefreshToken::parse(&text) {
            let session = Session { id: presented.session(), generation: u32::MAX, ..session(0) };
            prop_assert_eq!(presented.decide(&key(), &session, start(), GRACE), Err(RefreshRefusal::Forged));
        }
    }
}
