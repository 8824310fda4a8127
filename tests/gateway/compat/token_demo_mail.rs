//! Token-Based Authentication Demo: one-time tokens, which its README describes and its code never had. They are mailed,
//! redeemed for a cookie, and spent by one deed.

use serde_json::{Value, json};

use super::{Got, Stage, claims};
use crate::support::eventually;
use crate::support::upstream::Upstream;

const PASSWORD: &str = "Passw0rd!";
const NEW_PASSWORD: &str = "Passw0rd?2";
const SENT: &str = r#"{"success":true,"message":"One-time token created."}"#;
const BAD_LINK: &str = r#"{"success":false,"message":"Invalid or expired token"}"#;
const LINK: &str = "https://your-app.com/auth/verify?token=";

/// A gateway that writes its letters to files.
async fn stage() -> Stage {
    let sets = [
        "auth.public_url=https://your-app.com",
        "auth.mail.transport=file",
        "auth.mail.from=Demo <demo@your-app.com>",
        "auth.default_roles=invite",
        "auth.self_assigned_roles=guest",
    ];
    Stage::with("token-demo", Upstream::echo().await, |gateway| sets.iter().fold(gateway, |gateway, set| gateway.set(set))).await
}

impl Stage {
    async fn enrols(&self, email: &str) -> String {
        let account = json!({"email": email, "password": PASSWORD, "fName": "Ada", "lName": "Lovelace"});
        assert_eq!(self.client.json("POST /api/auth/signup", &account).await.status, 201);
        self.enters_with(email, PASSWORD).await.text("accessToken")
    }

    async fn enters_with(&self, email: &str, password: &str) -> Got {
        self.client.json("POST /api/auth/signin", &json!({"email": email, "password": password})).await
    }

    async fn asks(&self, token: &str, body: &Value) -> Got {
        let bearer = format!("Bearer {token}");
        let fields = if token.is_empty() { vec![] } else { vec![("authorization", bearer.as_str())] };
        self.client.send("POST /api/auth/create_token", &fields, &body.to_string()).await
    }

    /// The token in the one letter that there is for this address.
    async fn mailed(&self, address: &str) -> String {
        eventually("a letter", async || {
            let files = std::fs::read_dir(self.gateway.data().join("mail")).ok()?;
            let letters = files.filter_map(|file| std::fs::read_to_string(file.ok()?.path()).ok());
            // Quoted-printable (RFC 2045 §6.7) breaks long lines and writes `=` as `=3D`.
            let mut letters = letters.map(|letter| letter.replace("=\r\n", "").replace("=3D", "="));
            let letter = letters.find(|letter| letter.contains(address) && letter.contains(LINK))?;
            let token = letter.split_once(LINK)?.1;
            token.split(|char: char| !char.is_ascii_alphanumeric() && !"-_".contains(char)).next().map(str::to_owned)
        })
        .await
    }

    async fn redeems(&self, token: &str) -> Got {
        self.client.plain(&format!("GET /api/auth/validate_token?token={token}")).await
    }

    async fn with_ticket(&self, request: &str, ticket: &str, body: &str) -> Got {
        self.client.send(request, &[("cookie", ticket)], body).await
    }
}

/// The ticket as the browser sends it back.
fn ticket(got: &Got) -> String {
    let cookie = got.field("set-cookie").expect("a cookie");
    let (pair, attributes) = cookie.split_once(';').expect("attributes");
    assert_eq!(attributes, " Max-Age=3600; Path=/; HttpOnly; Secure; SameSite=Strict");
    assert!(pair.starts_with("one_time_token="), "{cookie}");
    pair.to_owned()
}

#[tokio::test]
async fn a_forgotten_password_is_replaced_by_who_reads_the_mail() {
    let stage = stage().await;
    let access = stage.enrols("ada@example.com").await;
    let id = claims(&access)["sub"].clone();
    stage.asks("", &json!({"tokenType": "password_reset", "userId": id})).await.is_json(201, SENT);
    let token = stage.mailed("ada@example.com").await;

    let redeemed = stage.redeems(&token).await;
    redeemed.is_json(200, r#"{"tokenType":"password_reset","metadata":{}}"#);
    let ticket = ticket(&redeemed);
    stage.redeems(&token).await.is_json(400, BAD_LINK);

    let weak = json!({"password": "password"}).to_string();
    stage
        .with_ticket("POST /api/auth/reset-password", &ticket, &weak)
        .await
        .is_json(400, r#"{"success":false,"message":"Invalid input"}"#);
    let new = json!({"password": NEW_PASSWORD}).to_string();
    let reset = stage.with_ticket("POST /api/auth/reset-password", &ticket, &new).await;
    reset.is_json(200, r#"{"success":true,"message":"Password changed"}"#);
    assert!(reset.field("set-cookie").is_some_and(|cookie| cookie.starts_with("one_time_token=; Max-Age=0;")));
    stage.with_ticket("POST /api/auth/reset-password", &ticket, &new).await.is_json(401, BAD_LINK);

    assert_eq!(stage.client.bearer("GET /protected", &access).await.status, 403, "every session ended");
    assert_eq!(stage.enters_with("ada@example.com", PASSWORD).await.status, 401);
    assert_eq!(stage.enters_with("ada@example.com", NEW_PASSWORD).await.status, 200);
}

#[tokio::test]
async fn asking_for_a_reset_says_nothing_about_who_exists() {
    let stage = stage().await;
    stage.enrols("ada@example.com").await;
    for id in ["018f2f3e-0000-7000-8000-000000000000", "nobody"] {
        stage.asks("", &json!({"tokenType": "password_reset", "userId": id})).await.is_json(201, SENT);
    }
}

#[tokio::test]
async fn an_address_is_verified_by_who_reads_its_mail() {
    let stage = stage().await;
    let access = stage.enrols("ada@example.com").await;
    let body = json!({"tokenType": "email_verification", "userId": claims(&access)["sub"]});
    assert_eq!(stage.asks("", &body).await.status, 401, "only by the user");
    let other = stage.enrols("bob@example.com").await;
    assert_eq!(stage.asks(&other, &body).await.status, 403, "and not by another one");
    stage.asks(&access, &body).await.is_json(201, SENT);
    let redeemed = stage.redeems(&stage.mailed("ada@example.com").await).await;
    redeemed.is_json(200, r#"{"tokenType":"email_verification","metadata":{}}"#);
    let ticket = ticket(&redeemed);
    // A ticket is good for its own deed only.
    let new = json!({"password": NEW_PASSWORD}).to_string();
    stage.with_ticket("POST /api/auth/reset-password", &ticket, &new).await.is_json(401, BAD_LINK);
    let verified = stage.with_ticket("POST /api/auth/email-verified", &ticket, "").await;
    verified.is_json(200, r#"{"success":true,"message":"Email verified"}"#);
    stage.with_ticket("POST /api/auth/email-verified", &ticket, "").await.is_json(401, BAD_LINK);
}

#[tokio::test]
async fn an_invitation_carries_a_role_and_no_other_can_be_asked_for() {
    let stage = stage().await;
    let access = stage.enrols("ada@example.com").await;
    let metadata = json!({"email": "bob@example.com", "role": "guest"});
    let body = json!({"tokenType": "invitation", "userId": claims(&access)["sub"], "metadata": metadata});
    assert_eq!(stage.asks("", &body).await.status, 401);
    stage.asks(&access, &body).await.is_json(201, SENT);
    let redeemed = stage.redeems(&stage.mailed("bob@example.com").await).await;
    assert_eq!((redeemed.status, redeemed.value()["tokenType"].as_str()), (200, Some("invitation")));
    assert_eq!(redeemed.value()["metadata"]["role"], "guest");
    let ticket = ticket(&redeemed);

    let account = json!({"email": "bob@example.com", "password": PASSWORD, "fName": "Bob", "lName": "B"}).to_string();
    assert_eq!(stage.with_ticket("POST /api/auth/signup?role=clown", &ticket, &account).await.status, 400);
    let created = stage.with_ticket("POST /api/auth/signup?role=guest", &ticket, &account).await;
    created.is_json(201, r#"{"success":true,"message":"User created successfully"}"#);
    let said = claims(&stage.enters_with("bob@example.com", PASSWORD).await.text("accessToken"));
    assert!(said["roles"].as_array().is_some_and(|roles| roles.contains(&json!("guest"))), "{said}");
    let again = account.replace("bob@", "eve@");
    assert_eq!(stage.with_ticket("POST /api/auth/signup?role=guest", &ticket, &again).await.status, 401, "used up");
}

#[tokio::test]
async fn without_a_ticket_nothing_is_done() {
    let stage = stage().await;
    let new = json!({"password": NEW_PASSWORD}).to_string();
    for cookie in ["", "one_time_token=", "one_time_token=garbage"] {
        stage.with_ticket("POST /api/auth/reset-password", cookie, &new).await.is_json(401, BAD_LINK);
        stage.with_ticket("POST /api/auth/email-verified", cookie, "").await.is_json(401, BAD_LINK);
    }
    stage.redeems("garbage").await.is_json(400, BAD_LINK);
    stage.client.plain("GET /api/auth/validate_token").await.is_json(400, BAD_LINK);
    let unknown = stage.asks("", &json!({"tokenType": "wish"})).await;
    unknown.is_json(400, r#"{"success":false,"message":"Invalid input"}"#);
}

#[tokio::test]
async fn defect_tokens_of_this_kind_are_stored_in_clear() {
    let stage = stage().await;
    let id = claims(&stage.enrols("ada@example.com").await)["sub"].clone();
    stage.asks("", &json!({"tokenType": "password_reset", "userId": id})).await.is_json(201, SENT);
    let token = stage.mailed("ada@example.com").await;
    let ticket = ticket(&stage.redeems(&token).await);
    let ticket = ticket.trim_start_matches("one_time_token=");
    for file in ["portcullis.db", "portcullis.db-wal"] {
        let bytes = std::fs::read(stage.gateway.data().join(file)).unwrap_or_default();
        for secret in [token.as_str(), ticket] {
            assert!(crate::support::find(&bytes, secret.as_bytes()).is_none(), "{file}");
        }
    }
    assert!(!stage.gateway.output().contains(&token) && !stage.gateway.output().contains(ticket));
}
