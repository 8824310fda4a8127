//! People who use three gateways at once: requests with tokens that live, that were revoked and that nobody issued; and
//! sessions that begin, are refreshed and end in every way there is. Whatever fails is tried again at the next gateway.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::oracle::{History, Outcome, Request, TokenId};
use crate::support::client::{Actor, PASSWORD};

/// Who asks, and who ends sessions, at any time.
const ASKING: usize = 6;
const ENDING: usize = 3;
/// Tokens of which somebody is picked more often: those of late.
const LATE: usize = 12;
/// How often a session is given another token in place of one that is revoked.
const RENEWALS: usize = 2;
/// Longer than anything takes at a gateway that works; a request that takes longer is given up.
const ANSWER: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(20);
const BREATH: Duration = Duration::from_millis(4);

/// An access token.
#[derive(Debug)]
struct Token {
    id: TokenId,
    text: String,
}

/// Chance from a number: SplitMix64.
#[derive(Debug, Clone)]
pub(super) struct Chance(pub(super) u64);

impl Chance {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        let below = self.next() % u64::try_from(bound).expect("a usize has 64 bits");
        usize::try_from(below).expect("it is below a usize")
    }
}

#[derive(Debug, Default)]
struct Pool {
    staying: Vec<Arc<Token>>,
    forged: Vec<Arc<Token>>,
    others: Vec<Arc<Token>>,
}

/// What all of them share.
#[derive(Debug)]
struct Shared {
    history: Arc<History>,
    http: reqwest::Client,
    gateways: Vec<SocketAddr>,
    root: String,
    numbers: AtomicUsize,
    pool: Mutex<Pool>,
    over: AtomicBool,
    /// Whether a clock can make a gateway refuse what is right.
    clocks: bool,
}

/// Everybody.
pub(super) struct Crowd {
    shared: Arc<Shared>,
    seed: u64,
    tasks: JoinSet<()>,
}

/// A session as its owner has it.
#[derive(Debug, Clone)]
struct Session {
    /// The how manieth of its owner.
    number: usize,
    last: Arc<Token>,
    refresh: String,
}

/// How sessions end.
#[derive(Debug, Clone, Copy)]
enum Ending {
    Logout,
    LogoutEverywhere,
    NewPassword,
    AdminToken,
    AdminSession,
    AdminUser,
}

const ENDINGS: [Ending; 6] =
    [Ending::Logout, Ending::NewPassword, Ending::AdminToken, Ending::LogoutEverywhere, Ending::AdminSession, Ending::AdminUser];

impl Crowd {
    /// Accounts and the sessions of those who stay.
    pub(super) async fn gather(history: Arc<History>, gateways: Vec<SocketAddr>, root: Actor, seed: u64, clocks: bool) -> Self {
        let http = reqwest::Client::builder().timeout(ANSWER).build().expect("it needs nothing");
        let (numbers, pool) = (AtomicUsize::new(0), Mutex::default());
        let root = root.access_token;
        let shared = Shared { history, http, gateways, root, numbers, pool, over: AtomicBool::new(false), clocks };
        let staying = Actor::registered(shared.gateways[0], "staying").await;
        let forged = forgeries(&staying.access_token).map(|text| Token { id: shared.history.forged_token(), text });
        shared.pool().forged = forged.into_iter().map(Arc::new).collect();
        let staying = Token { id: shared.history.token(), text: staying.access_token };
        shared.pool().staying.push(Arc::new(staying));
        Self { shared: Arc::new(shared), seed, tasks: JoinSet::new() }
    }

    pub(super) fn begin(&mut self) {
        for number in 0..ASKING + ENDING {
            let shared = Arc::clone(&self.shared);
            let chance = Chance(self.seed.wrapping_mul(1000).wrapping_add(u64::try_from(number).expect("a few")));
            if number < ASKING {
                self.tasks.spawn(async move { shared.ask_on(number % shared.gateways.len(), chance).await });
            } else {
                self.tasks.spawn(async move { shared.end_on(number - ASKING, chance).await });
            }
        }
    }

    /// Uses somebody else's token, too.
    pub(super) fn joins(&self, actor: &Actor) -> TokenId {
        self.shared.add(actor.access_token.clone()).id
    }

    /// # Panics
    /// One of them met what nothing explains.
    pub(super) async fn end(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        while let Some(task) = self.tasks.join_next().await {
            task.expect("nobody met what nothing explains");
        }
    }
}

/// Tokens that nobody issued, made from one that somebody did (P2).
fn forgeries(token: &str) -> [String; 5] {
    let parts: Vec<_> = token.split('.').collect();
    let [header, payload, signature] = parts[..] else { panic!("an access token has three parts") };
    let mut damaged: Vec<char> = signature.chars().collect();
    damaged[10] = if damaged[10] == 'A' { 'B' } else { 'A' };
    let damaged: String = damaged.into_iter().collect();
    let mut claims = claims(token);
    claims["roles"] = json!(["admin"]);
    let claims = URL_SAFE_NO_PAD.encode(claims.to_string());
    let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"at+jwt"}"#);
    [
        format!("{header}.{payload}.{damaged}"),
        format!("{header}.{claims}.{signature}"),
        format!("{none}.{payload}."),
        format!("{header}.{payload}"),
        String::new(),
    ]
}

fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).expect("an access token has three parts");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).expect("base64")).expect("JSON")
}

impl Shared {
    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().expect("nobody panics while holding this")
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    fn some_token(&self, chance: &mut Chance) -> Arc<Token> {
        let pool = self.pool();
        let of = match chance.below(8) {
            0 => &pool.forged,
            1 | 2 => &pool.staying,
            3 if !pool.others.is_empty() => &pool.others,
            _ if !pool.others.is_empty() => {
                let late = pool.others.len().saturating_sub(LATE);
                return Arc::clone(&pool.others[late + chance.below(pool.others.len() - late)]);
            }
            _ => &pool.staying,
        };
        Arc::clone(&of[chance.below(of.len())])
    }

    /// Asks one gateway again and again.
    async fn ask_on(&self, gateway: usize, mut chance: Chance) {
        while !self.is_over() {
            let token = self.some_token(&mut chance);
            let lost = self.ask(gateway, &token).await == Outcome::Lost;
            // Not as fast as it can: other tests want to work, too.
            tokio::time::sleep(if lost { PAUSE } else { BREATH }).await;
        }
    }

    /// One request to the upstream, written down.
    async fn ask(&self, gateway: usize, token: &Token) -> Outcome {
        let number = self.numbers.fetch_add(1, Ordering::SeqCst);
        let target = format!("/api/{number}");
        let request = self.http.get(format!("http://{}{target}", self.gateways[gateway]));
        let request = if token.text.is_empty() { request } else { request.bearer_auth(&token.text) };
        let started = Instant::now();
        let outcome = match answer(request).await {
            None => Outcome::Lost,
            Some((200, body)) => {
                assert_eq!(body, json!(target), "the answer to another request");
                Outcome::Allowed
            }
            Some((status, body)) => match (status, body["code"].as_str().unwrap_or_default()) {
                (401, "revoked_token") => Outcome::Revoked,
                (503, "revocation_unknown") => Outcome::Unknown,
                (status, code) => Outcome::Refused(status, code.to_owned()),
            },
        };
        let answered = Instant::now();
        let outcome_too = outcome.clone();
        self.history.asked(Request { number, token: token.id, gateway, started, answered, outcome });
        outcome_too
    }

    /// One call of the API: none if nobody answered.
    async fn call(&self, gateway: usize, path: &str, token: &str, body: &Value) -> Option<(u16, Value)> {
        let request = self.http.post(format!("http://{}{path}", self.gateways[gateway])).json(body);
        answer(if token.is_empty() { request } else { request.bearer_auth(token) }).await
    }

    /// The same at one gateway after the other, until one of them says something else than that it cannot now: which,
    /// and what it says. None once everything is over.
    async fn insist(&self, mut gateway: usize, path: &str, token: &str, body: &Value) -> Option<(usize, u16, Value)> {
        while !self.is_over() {
            match self.call(gateway, path, token, body).await {
                None | Some((503 | 429, _)) => tokio::time::sleep(PAUSE).await,
                Some((status, body)) => {
                    assert_ne!(status, 500, "{path}: {body}");
                    return Some((gateway, status, body));
                }
            }
            gateway = (gateway + 1) % self.gateways.len();
        }
        None
    }

    fn token(&self, body: &Value) -> Arc<Token> {
        self.add(body["access_token"].as_str().expect("an access token").to_owned())
    }

    fn add(&self, text: String) -> Arc<Token> {
        let token = Arc::new(Token { id: self.history.token(), text });
        self.pool().others.push(Arc::clone(&token));
        token
    }
}

async fn answer(request: reqwest::RequestBuilder) -> Option<(u16, Value)> {
    let response = request.send().await.ok()?;
    let status = response.status().as_u16();
    let body = response.text().await.ok()?;
    Some((status, serde_json::from_str(&body).unwrap_or(Value::String(body))))
}

/// Somebody with an account, whose sessions come and go.
struct Owner<'a> {
    shared: &'a Shared,
    name: String,
    password: String,
    chance: Chance,
    /// Of each session that was ever begun, the tokens that were ever heard of.
    issued: Vec<Vec<TokenId>>,
}

impl Shared {
    /// Ends sessions of an account in every way; of another account, should a clock have shut this one out.
    async fn end_on(&self, worker: usize, chance: Chance) {
        for account in 0.. {
            let (name, password) = (format!("user-{worker}-{account}"), PASSWORD.to_owned());
            let mut owner = Owner { shared: self, name, password, chance: chance.clone(), issued: Vec::new() };
            if owner.live(worker).await.is_none() && (self.is_over() || !self.clocks) {
                assert!(self.is_over(), "an account became useless");
                return;
            }
        }
    }
}

impl Owner<'_> {
    /// Until everything is over, or the account is of no use: then none.
    async fn live(&mut self, begin: usize) -> Option<()> {
        let account = json!({"username": self.name, "password": self.password});
        let (_, status, body) = self.shared.insist(self.somewhere(), "/auth/register", "", &account).await?;
        // 409: it was made, and nobody heard of it.
        assert!(matches!(status, 201 | 409), "{body}");
        for round in begin.. {
            let first = self.sign_in().await?;
            let mut second = self.sign_in().await?;
            for _ in 0..RENEWALS {
                self.refresh(&mut second).await?;
                for token in [&first.last, &second.last] {
                    self.shared.ask(self.chance.below(self.shared.gateways.len()), token).await;
                }
                self.end(Ending::AdminToken, &first, &second).await?;
            }
            self.refresh(&mut second).await?;
            self.end(ENDINGS[round % ENDINGS.len()], &first, &second).await?;
        }
        None
    }

    fn somewhere(&mut self) -> usize {
        self.chance.below(self.shared.gateways.len())
    }

    async fn sign_in(&mut self) -> Option<Session> {
        let account = json!({"username": self.name, "password": self.password});
        let (_, status, body) = self.shared.insist(self.somewhere(), "/auth/login", "", &account).await?;
        if status != 200 {
            assert!(self.shared.clocks, "signing in: {status} {body}");
            return None;
        }
        let refresh = body["refresh_token"].as_str().expect("a refresh token").to_owned();
        let (number, last) = (self.issued.len(), self.shared.token(&body));
        self.issued.push(vec![last.id]);
        Some(Session { number, last, refresh })
    }

    /// What was asked for and perhaps not heard is asked for again, and given again.
    async fn refresh(&mut self, session: &mut Session) -> Option<()> {
        let body = json!({"refresh_token": session.refresh});
        let (_, status, body) = self.shared.insist(self.somewhere(), "/auth/refresh", "", &body).await?;
        if status != 200 {
            assert!(self.shared.clocks, "refreshing: {status} {body}");
            return None;
        }
        body["refresh_token"].as_str().expect("a refresh token").clone_into(&mut session.refresh);
        session.last = self.shared.token(&body);
        self.issued[session.number].push(session.last.id);
        Some(())
    }

    /// Ends one or both of the sessions, and asks every gateway at once whether it knows.
    async fn end(&mut self, ending: Ending, first: &Session, second: &Session) -> Option<()> {
        let all = || self.issued.concat();
        let of_second = || self.issued[second.number].clone();
        let root = self.shared.root.clone();
        let own = second.last.text.clone();
        let admin = "/auth/admin/revocations";
        let (path, token, body, covers) = match ending {
            Ending::Logout => ("/auth/logout", own, json!({}), of_second()),
            Ending::LogoutEverywhere => ("/auth/logout-all", own, json!({}), all()),
            Ending::NewPassword => return self.new_password(first, second).await,
            Ending::AdminToken => (admin, root, json!({"token": own}), vec![second.last.id]),
            Ending::AdminSession => (admin, root, json!({"session": claims(&own)["sid"]}), of_second()),
            Ending::AdminUser => (admin, root, json!({"user": self.name}), all()),
        };
        let revocation = self.shared.history.called(covers);
        let (gateway, status, body) = self.shared.insist(self.somewhere(), path, &token, &body).await?;
        match status {
            204 => self.acknowledged(revocation, gateway, second).await,
            // It was done, and whoever did it died before it could say so; or a clock says that the token is over.
            401 => {}
            _ => panic!("{path}: {status} {body}"),
        }
        Some(())
    }

    /// The first session goes on, and no other. If it was done and nobody heard, the old password is wrong: then once more, from the
    /// new one.
    async fn new_password(&mut self, first: &Session, second: &Session) -> Option<()> {
        let others = self.issued.iter().enumerate().filter(|(number, _)| *number != first.number);
        let others = others.flat_map(|(_, tokens)| tokens.iter().copied()).collect();
        let revocation = self.shared.history.called(others);
        for attempt in 0..4 {
            let new = format!("{PASSWORD} {}-{attempt}", self.chance.below(1_000_000));
            let body = json!({"current_password": self.password, "new_password": new});
            let at = self.somewhere();
            let (gateway, status, body) = self.shared.insist(at, "/auth/password", &first.last.text, &body).await?;
            // Either way: nobody else changes it.
            self.password = new;
            match (status, body["code"].as_str().unwrap_or_default()) {
                (204, _) => {
                    self.acknowledged(revocation, gateway, second).await;
                    return Some(());
                }
                (401, "credentials") => {}
                (401, _) if self.shared.clocks => return None,
                (status, _) => panic!("/auth/password: {status} {body}"),
            }
        }
        panic!("no password of {} is right", self.name);
    }

    async fn acknowledged(&self, revocation: usize, gateway: usize, ended: &Session) {
        self.shared.history.acknowledged(revocation, gateway);
        let ask = |gateway| async move {
            // Until it knows; a gateway that is away for longer is asked by the others, too.
            for _ in 0..100 {
                match self.shared.ask(gateway, &ended.last).await {
                    Outcome::Allowed => {}
                    Outcome::Unknown | Outcome::Lost => tokio::time::sleep(PAUSE).await,
                    Outcome::Revoked | Outcome::Refused(..) => return,
                }
            }
        };
        futures_util::future::join_all((0..self.shared.gateways.len()).map(ask)).await;
    }
}
