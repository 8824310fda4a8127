//! `user` and `session`: against the database, seen by the gateway's own use cases.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;

use portcullis::app::Services;
use portcullis::auth::Origin;
use portcullis::auth::authenticate::AuthenticateError;
use portcullis::auth::client_credentials::{ClientCredentials, ClientToken};
use portcullis::auth::login::LoginError;
use portcullis::auth::tokens::Tokens;
use portcullis::config::{self, Source};
use portcullis::identity::password::PasswordHash;
use portcullis::identity::user::{User, UserId, Username};
use portcullis::store::sql::SqlStore;
use portcullis::store::{NewUser, Users as _};
use portcullis::telemetry::metrics::Metrics;
use secrecy::ExposeSecret as _;
use tokio::net::TcpSocket;
use uuid::Uuid;

use super::services::Redis;
use super::{CONFIGURATION, Done, Place, assert_says};

pub(crate) const PASSWORD: &str = "correct horse battery staple";
const ANOTHER: &str = "battery staple correct horse";

impl Place {
    pub(crate) fn with_ada() -> Self {
        let place = Self::new();
        place.add("ada --email ada@example.com --role admin").ok();
        place
    }

    pub(crate) fn add(&self, words: &str) -> Done {
        self.run_with(&format!("user add {words} --password-stdin"), PASSWORD)
    }

    pub(crate) fn user(&self, name: &str) -> serde_json::Value {
        self.run(&format!("user roles {name} --json")).json()
    }

    /// What a gateway with this configuration works with.
    async fn services(&self) -> Services {
        let source = Source { path: self.path("gateway.toml"), ..Source::default() };
        let config = config::load(&source).unwrap();
        Services::open(&config, &Arc::new(Metrics::new())).await.unwrap()
    }

    pub(crate) async fn sign_in(&self, password: &str) -> Result<Tokens, LoginError> {
        self.services().await.auth.login("ada", password, &Origin::default()).await
    }

    /// Whether a gateway that follows the database refuses the token as revoked.
    pub(crate) async fn is_revoked(&self, tokens: &Tokens) -> bool {
        let services = self.services().await;
        services.revocations.follow_now().await.unwrap();
        let verdict = services.authenticator.authenticate(tokens.access_token.expose_secret()).await;
        matches!(verdict, Err(AuthenticateError::Revoked(_)))
    }
}

#[test]
fn an_added_user_is_listed_with_name_address_and_roles() {
    let place = Place::with_ada();
    place.add("--email bob@example.com").ok();
    assert_says(&place.run("user list").ok(), &["NAME", "ada@example.com", "admin", "active", "bob@example.com"]);
    let listed = place.run("user list --json").json();
    assert_eq!((&listed[0]["username"], &listed[0]["roles"]), (&"ada".into(), &serde_json::json!(["admin"])));
    assert_eq!((&listed[1]["username"], &listed[1]["email"]), (&serde_json::Value::Null, &"bob@example.com".into()));
}

#[test]
fn a_user_is_added_where_registration_is_closed() {
    let place = Place::new();
    place.add("ada --set auth.registration=closed").ok();
}

#[test]
fn a_taken_name_is_refused_whatever_its_case() {
    let place = Place::with_ada();
    assert_says(&place.add("ADA").refused(1), &["the username is taken", "choose another"]);
    assert_says(&place.add("bob --email Ada@Example.com").refused(1), &["the email is taken"]);
    assert_eq!(place.run("user list --json").json().as_array().unwrap().len(), 1);
}

#[test]
fn every_rule_that_a_new_user_breaks_is_named() {
    let complaint = Place::new().run_with("user add a@b --password-stdin", "short").refused(1);
    assert_says(&complaint, &["the password must have at least 8 characters", "the username must not contain `@`"]);
}

#[test]
fn a_list_goes_on_beyond_a_page() {
    const USERS: usize = 501;
    let place = Place::new();
    place.run("user list").ok();
    let url = format!("sqlite:{}", place.path("data/portcullis.db").display());
    let add_all = async {
        let store = SqlStore::connect(&url.into(), 1).await.unwrap();
        for number in 0..USERS {
            let user = User {
                id: UserId(Uuid::now_v7()),
                username: Some(Username::parse(&format!("user{number}")).unwrap()),
                email: None,
                given_name: None,
                family_name: None,
                roles: Default::default(),
                email_verified_at: None,
                disabled_at: None,
                created_at: "2026-01-01T00:00:00Z".parse().unwrap(),
            };
            let password = PasswordHash::from_stored("$argon2id$none".to_owned());
            store.add(&NewUser { user, password }).await.unwrap();
        }
    };
    tokio::runtime::Runtime::new().unwrap().block_on(add_all);
    let listed = place.run("user list --json").json();
    let names: std::collections::BTreeSet<_> = listed.as_array().unwrap().iter().map(|user| user["username"].as_str()).collect();
    assert_eq!((listed.as_array().unwrap().len(), names.len()), (USERS, USERS));
}

#[tokio::test]
async fn a_disabled_user_is_signed_out_and_cannot_sign_in_until_enabled() {
    let place = Place::with_ada();
    let tokens = place.sign_in(PASSWORD).await.unwrap();
    assert!(!place.is_revoked(&tokens).await);
    assert_says(&place.run("user disable ada@example.com").ok(), &["ada is disabled"]);
    assert!(place.is_revoked(&tokens).await);
    assert!(place.sign_in(PASSWORD).await.is_err());
    assert_says(&place.run("user list").ok(), &["disabled 20"]);
    place.run("user enable ada").ok();
    assert!(place.sign_in(PASSWORD).await.is_ok());
}

#[tokio::test]
async fn taking_a_role_away_ends_sessions_and_adding_one_does_not() {
    let place = Place::with_ada();
    let tokens = place.sign_in(PASSWORD).await.unwrap();
    place.run("user roles ada --add editor,admin").ok();
    assert_eq!(place.user("ada")["roles"], serde_json::json!(["admin", "editor"]));
    place.run("user roles ada --add editor").ok();
    assert!(!place.is_revoked(&tokens).await);
    place.run("user roles ada --add member --remove admin,editor").ok();
    assert!(place.is_revoked(&tokens).await);
    assert_eq!(place.user("ada")["roles"], serde_json::json!(["member"]));
    place.run("user roles ada --replace a,b").ok();
    assert_says(&place.run("user roles ada").ok(), &["ada has the roles a,b"]);
    assert_says(&place.run("user roles ada --clear").ok(), &["ada has no role"]);
}

#[tokio::test]
async fn a_new_password_ends_sessions_and_replaces_the_old_one() {
    let place = Place::with_ada();
    let tokens = place.sign_in(PASSWORD).await.unwrap();
    place.run_with("user password ada --password-stdin", &format!("{ANOTHER}\n")).ok();
    assert!(place.is_revoked(&tokens).await);
    assert!(place.sign_in(PASSWORD).await.is_err());
    assert!(place.sign_in(ANOTHER).await.is_ok());
}

#[test]
fn a_password_never_appears_in_what_is_said() {
    let place = Place::with_ada();
    for (words, password) in [
        ("user add bob --password-stdin", "hunter2 hunter2"),
        ("user add ADA --password-stdin", "hunter2 hunter2"),
        ("user add a@b --password-stdin", "hunter2"),
        ("user add carl --password-stdin", "hunter2\nhunter2"),
        ("user password ada --password-stdin", "hunter2 hunter2"),
        ("user password ada --password-stdin --json", "hunter2 hunter2"),
        ("user list --json", "hunter2 hunter2"),
    ] {
        let done = place.run_with(words, password);
        assert!(!done.stdout.contains("hunter2") && !done.stderr.contains("hunter2"), "{words}: {done:?}");
    }
}

#[test]
fn without_a_terminal_a_password_has_to_come_on_standard_input() {
    let place = Place::with_ada();
    for words in ["user add bob", "user password ada"] {
        assert_says(&place.run_with(words, PASSWORD).refused(2), &["--password-stdin"]);
    }
}

#[test]
fn an_unknown_user_is_named_by_every_command() {
    let place = Place::new();
    for words in ["user disable eve", "user roles eve --add a", "session list eve", "session revoke --user eve"] {
        assert_says(&place.run(words).refused(1), &["there is no user `eve`", "portcullis user list"]);
    }
}

#[tokio::test]
async fn a_revoked_session_is_over_and_the_others_go_on() {
    let place = Place::with_ada();
    let (ended, kept) = (place.sign_in(PASSWORD).await.unwrap(), place.sign_in(PASSWORD).await.unwrap());
    let sessions = place.run("session list ada --json").json();
    assert_eq!(sessions.as_array().unwrap().len(), 2);
    // Newest first.
    let id = sessions[1]["id"].as_str().unwrap();
    assert_says(&place.run("session list ada").ok(), &["SIGNED IN", id]);
    assert_says(&place.run(&format!("session revoke {id}")).ok(), &[id, "is revoked"]);
    assert!(place.is_revoked(&ended).await);
    assert!(!place.is_revoked(&kept).await);
    place.run("session revoke --user ada").ok();
    assert!(place.is_revoked(&kept).await);
    assert_eq!(place.run("session list ada --json").json(), serde_json::json!([]));
}

/// An admin listener that answers one request with `status`; the join handle yields the request's first line.
fn admin_listener(status: &'static str) -> (SocketAddr, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut request, mut byte) = (Vec::new(), [0]);
        while !request.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).unwrap();
            request.push(byte[0]);
        }
        write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
        String::from_utf8(request).unwrap().lines().next().unwrap_or_default().to_owned()
    });
    (address, answering)
}

#[test]
fn a_running_gateway_is_told_before_the_command_returns() {
    let place = Place::with_ada();
    for words in ["user disable ada", "session revoke --user ada", "user roles ada --clear"] {
        let (admin, answering) = admin_listener("204 No Content");
        place.run(&format!("{words} --set server.admin={admin}")).ok();
        assert_eq!(answering.join().unwrap(), "POST /revocations/reload HTTP/1.1");
    }
}

#[test]
fn a_gateway_that_does_not_confirm_is_reported() {
    let place = Place::with_ada();
    let (admin, answering) = admin_listener("503 Service Unavailable");
    let complaint = place.run(&format!("session revoke --user ada --set server.admin={admin}")).refused(1);
    assert_says(&complaint, &["recorded, but the gateway", "has not confirmed", "run the same command again"]);
    answering.join().unwrap();

    let (admin, answering) = admin_listener("404 Not Found");
    let done = place.run(&format!("session revoke --user ada --set server.admin={admin}"));
    assert_says(&done.stderr, &["404", "another program"]);
    done.ok();
    answering.join().unwrap();
}

#[tokio::test]
async fn no_running_gateway_is_no_failure() {
    let place = Place::with_ada();
    // Bound and not listening: connections are refused, and nobody else gets the port.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let nobody = socket.local_addr().unwrap();
    let done = place.run(&format!("session revoke --user ada --set server.admin={nobody}"));
    assert_eq!(done.stderr, "");
    done.ok();
}

#[tokio::test]
async fn with_redis_a_revocation_is_published_and_an_outage_is_an_error_that_names_it() {
    let mut redis = Redis::start();
    let place = Place::with(&format!("{CONFIGURATION}\n[revocation]\nurl = \"{}\"\n", redis.url()));
    place.add("ada").ok();
    place.sign_in(PASSWORD).await.unwrap();
    let session = place.run("session list ada --json").json()[0]["id"].as_str().unwrap().to_owned();
    let command = format!("session revoke {session}");

    redis.kill();
    assert_says(&place.run(&command).refused(1), &["could not be published", "`[revocation]`", "run the same command again"]);
    redis.restart();
    place.run(&command).ok();
    assert_eq!(redis.command::<u32>(&["EXISTS", &format!("revoked_sid:{session}")]), 1);
}

#[test]
fn an_invitation_is_printed_as_a_link_to_the_configured_pages() {
    let place = Place::new();
    let token = place.run("invite --role editor").ok();
    assert_eq!(token.trim().len(), 43, "without auth.public_url there is only the token: {token}");
    let link = place.run("invite --role editor --set auth.public_url=https://app.example.com").ok();
    assert!(link.starts_with("https://app.example.com/accept-invitation#token="), "{link}");

    let invitation = place.run("invite --email ada@example.com --json").json();
    assert_eq!((&invitation["mailed"], &invitation["link"]), (&false.into(), &serde_json::Value::Null));
    let refused = place.run("invite --email nowhere");
    assert_eq!(refused.code, 1);
    assert_says(&refused.stderr, &["email must be an e-mail address"]);
    let closed = place.run("invite --set auth.registration=closed");
    assert_eq!(closed.code, 1);
    assert_says(&closed.stderr, &["registration is closed", "auth.registration"]);
}

#[test]
fn an_invitation_for_an_address_is_mailed_before_the_command_returns() {
    let place = Place::new();
    let mail =
        "--set auth.public_url=https://app.example.com --set auth.mail.from=gate@example.com --set auth.mail.transport=file";
    let invitation = place.run(&format!("invite --email ada@example.com --json {mail}")).json();
    assert_eq!(invitation["mailed"], true);
    let mails: Vec<_> = std::fs::read_dir(place.path("data/mail")).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(mails.len(), 1, "{mails:?}");
    assert!(std::fs::read_to_string(&mails[0]).unwrap().contains("To: ada@example.com"));

    // Nobody listens there.
    let nowhere = "--set auth.mail.transport=smtp --set auth.mail.url=smtp://127.0.0.1:9";
    let link = place.run(&format!("invite --email eve@example.com {mail} {nowhere}"));
    assert!(link.code == 0 && link.stdout.starts_with("https://"), "{link:?}");
    assert_says(&link.stderr, &["did not take the mail"]);
}

#[tokio::test]
async fn a_clients_secret_is_printed_once_and_its_end_ends_its_tokens() {
    let place = Place::new();
    let added = place.run("client add billing --scope invoices:read --role biller,reader --json").json();
    let secret = added["client_secret"].as_str().unwrap().to_owned();
    assert!(secret.starts_with("pcs_"), "scanners know it by its beginning");
    assert_eq!((&added["scopes"][0], &added["roles"][1]), (&"invoices:read".into(), &"reader".into()));
    let listed = place.run("client list").ok();
    assert_says(&listed, &["billing", "invoices:read", "biller"]);
    assert!(!listed.contains(&secret) && !place.run("client list --json").ok().contains("secret\":"), "{listed}");
    place.run("client add billing").refused(1);
    place.run("client add with/slash").refused(1);

    let credentials = ClientCredentials::Secret { id: "billing".to_owned(), secret: secret.into() };
    let grant = async || place.services().await.auth.grant_to_client(&credentials, None, &Origin::default()).await;
    let is_revoked = async |token: &ClientToken| {
        let services = place.services().await;
        services.revocations.follow_now().await.unwrap();
        let verdict = services.authenticator.authenticate(token.access_token.expose_secret()).await;
        matches!(verdict, Err(AuthenticateError::Revoked(_)))
    };
    let live = grant().await.unwrap();
    assert!(!is_revoked(&live).await);
    place.run("client disable billing").ok();
    assert!(is_revoked(&live).await && grant().await.is_err());
    place.run("client enable billing").ok();
    assert!(is_revoked(&live).await && grant().await.is_ok());
    place.run("client delete billing").ok();
    assert!(grant().await.is_err());
    for command in ["disable", "enable", "delete"] {
        assert_says(&place.run(&format!("client {command} billing")).refused(1), &["billing"]);
    }
}

#[test]
fn a_client_with_a_public_key_gets_no_secret_and_a_private_one_is_refused() {
    let place = Place::new();
    let key = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    std::fs::write(place.path("public.json"), key).unwrap();
    let add = |id: &str, file: &str| place.run(&format!("client add {id} --json --public-key {}", place.path(file).display()));
    let added = add("signer", "public.json").json();
    assert_eq!((added["client_secret"].as_str(), added["authentication"].as_str()), (None, Some("key")));
    let private = key.replace("\"x\"", "\"d\":\"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A\",\"x\"");
    std::fs::write(place.path("private.json"), private).unwrap();
    assert_says(&add("other", "private.json").refused(1), &["the key is private"]);
    add("other", "missing.json").refused(1);
}

#[test]
fn an_unknown_api_key_is_not_revoked_and_a_user_without_keys_has_none() {
    let place = Place::with_ada();
    assert_eq!(place.run("api-key list ada --json").json(), serde_json::json!([]));
    place.run("api-key list nobody").refused(1);
    let unknown = Uuid::nil();
    let said = place.run(&format!("api-key revoke {unknown}")).refused(1);
    assert_says(&said, &["there is no api key", "api-key list"]);
}
