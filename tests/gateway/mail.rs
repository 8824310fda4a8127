//! Mail, over a real connection to a mail server: what arrives, what its links are good for, and what happens while
//! the server is away.

use std::net::SocketAddr;

use serde_json::json;

use crate::support::client::{Actor, PASSWORD};
use crate::support::eventually;
use crate::support::gateway::{Builder, Gateway};
use crate::support::mail_server::{self, MailServer};
use crate::support::upstream::Upstream;

const NEW: &str = "a new password for the gate";

fn with_mail(upstream: &Upstream, url: &str, keys: &str) -> Builder {
    let auth = "[auth]\npublic_url = \"https://app.example/portal\"";
    let mail = format!("[auth.mail]\ntransport = \"smtp\"\nurl = \"{url}\"\nfrom = \"Gate <gate@app.example>\"\n{keys}");
    Gateway::in_front_of(upstream).table(auth).table(&mail).table("[telemetry]\nlevel = \"debug\"")
}

async fn ada(gateway: &Gateway) -> Actor {
    Actor::registered_with(gateway.address, "ada", json!({"email": "ada@example.com"})).await
}

/// The token in the link of a mail.
fn token(mail: &str) -> String {
    // Quoted-printable (RFC 2045 §6.7) breaks long lines and writes `=` as `=3D`.
    let text = mail.replace("=\r\n", "").replace("=3D", "=");
    let link = text.split_whitespace().find(|word| word.starts_with("https://")).expect("a link");
    let (page, token) = link.split_once("#token=").expect("a token behind #");
    assert!(page.starts_with("https://app.example/portal/"), "{link}");
    token.to_owned()
}

async fn forget(gateway: &Gateway, email: &str) -> (u16, serde_json::Value) {
    gateway.anonymous().post("/auth/password/forgot", &json!({"email": email})).await
}

#[tokio::test]
async fn a_forgotten_password_is_replaced_by_who_reads_the_mail_and_old_sessions_end() {
    let (upstream, server) = (Upstream::echo().await, MailServer::start());
    let gateway = with_mail(&upstream, &server.url(), "").start().await;
    let ada = ada(&gateway).await;
    assert_eq!(ada.get("/api").await.0, 200);
    assert_eq!(forget(&gateway, "ada@example.com").await.0, 202);
    let mail = server.received(1).await.remove(0);
    for field in ["From: Gate <gate@app.example>", "To: ada <ada@example.com>", "Subject: Choose a new password"] {
        assert!(mail.contains(field), "{field}\n{mail}");
    }

    let reset = json!({"token": token(&mail), "new_password": NEW});
    assert_eq!(gateway.anonymous().post("/auth/password/reset", &reset).await.0, 204);

    assert_eq!(ada.get("/api").await.0, 401);
    assert_eq!(ada.refresh().await.0, 401);
    let sign_in = |password| json!({"username": "ada", "password": password});
    assert_eq!(gateway.anonymous().post("/auth/login", &sign_in(PASSWORD)).await.0, 401);
    assert_eq!(gateway.anonymous().post("/auth/login", &sign_in(NEW)).await.0, 200);
    assert_eq!(gateway.anonymous().post("/auth/password/reset", &reset).await.1["code"], "bad_ticket");
    let metrics = gateway.admin("/metrics").await.expect("it listens").1;
    assert!(metrics.contains("portcullis_mail_total{result=\"sent\"} 1"), "{metrics}");
    for secret in [&token(&mail), mail_server::PASSWORD, NEW] {
        assert!(!gateway.output().contains(secret), "a log has {secret}");
    }
}

#[tokio::test]
async fn a_link_is_made_of_the_configuration_whatever_the_request_says() {
    let (upstream, server) = (Upstream::echo().await, MailServer::start());
    let gateway = with_mail(&upstream, &server.url(), "").start().await;
    ada(&gateway).await;
    let body = r#"{"email":"ada@example.com"}"#;
    let head = "POST /auth/password/forgot HTTP/1.1\r\nhost: evil.example\r\nx-forwarded-host: evil.example\r\n\
                x-forwarded-proto: http\r\nforwarded: host=evil.example\r\norigin: https://evil.example\r\n";
    let request = format!("{head}content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    assert_eq!(gateway.connect().await.ask(request).await.status, 202);
    let mail = server.received(1).await.remove(0);
    assert!(!mail.contains("evil") && !token(&mail).is_empty(), "{mail}");
}

#[tokio::test]
async fn asking_is_answered_alike_for_everybody_and_only_users_are_written_to() {
    let (upstream, server) = (Upstream::echo().await, MailServer::start());
    let mut gateway = with_mail(&upstream, &server.url(), "").start().await;
    ada(&gateway).await;
    for email in ["ada@example.com", "somebody@example.com", "no address", "ada@example.com\r\nBcc: eve@example.net"] {
        assert_eq!(forget(&gateway, email).await, (202, json!("")), "{email}");
    }
    // What was asked for is done before the gateway ends.
    gateway.terminate();
    assert!(gateway.exit().await.success());
    let mails = server.mails();
    assert_eq!(mails.len(), 1, "{mails:?}");
    assert!(mails[0].contains("To: ada <ada@example.com>"));
}

#[tokio::test]
async fn of_64_who_redeem_a_token_at_once_one_succeeds_and_scanners_use_up_nothing() {
    let (upstream, server) = (Upstream::echo().await, MailServer::start());
    // Those who come too late are one network, and would be too many.
    let gateway = with_mail(&upstream, &server.url(), "").set("auth.throttle.insecure_off=true").start().await;
    ada(&gateway).await;
    forget(&gateway, "ada@example.com").await;
    let token = token(&server.received(1).await[0]);
    let anonymous = gateway.anonymous();
    for path in ["redeem", ""] {
        let scanned = anonymous.get(&format!("/auth/one-time-tokens/{path}?token={token}")).await;
        assert!([404, 405].contains(&scanned.0), "{scanned:?}");
    }

    let redeeming: Vec<_> = (0..64)
        .map(|_| {
            let (anonymous, body) = (anonymous.clone(), json!({"token": token}));
            tokio::spawn(async move { anonymous.post("/auth/one-time-tokens/redeem", &body).await })
        })
        .collect();
    let mut redeemed = 0;
    for each in redeeming {
        match each.await.expect("no panic") {
            (200, body) => {
                assert_eq!(body, json!({"kind": "password_reset", "metadata": {}}));
                redeemed += 1;
            }
            (status, body) => assert_eq!((status, &body["code"]), (400, &json!("bad_ticket"))),
        }
    }
    assert_eq!(redeemed, 1);
}

#[tokio::test]
async fn mail_is_tried_again_until_its_server_is_there() {
    let upstream = Upstream::echo().await;
    let address = MailServer::reserve();
    let gateway = with_mail(&upstream, &MailServer::url_of(address), "").start().await;
    let ada = ada(&gateway).await;
    assert_eq!(ada.post("/auth/email/verify/send", &json!({})).await.0, 202);
    eventually("a try in vain", async || gateway.output().contains("mail not sent yet").then_some(())).await;

    let server = MailServer::at(address);

    let mail = server.received(1).await.remove(0);
    assert_eq!(gateway.anonymous().post("/auth/email/verify", &json!({"token": token(&mail)})).await.0, 204);
    assert_eq!(ada.get("/auth/me").await.1["email_verified"], true);
}

#[tokio::test]
async fn nothing_is_said_in_clear_to_a_mail_server_elsewhere() {
    let upstream = Upstream::echo().await;
    let elsewhere = MailServer::at(SocketAddr::from(([127, 0, 0, 2], 0)));
    let gateway = with_mail(&upstream, &elsewhere.url(), "").start().await;
    ada(&gateway).await;
    forget(&gateway, "ada@example.com").await;
    eventually("a try in vain", async || gateway.output().contains("mail ").then_some(())).await;
    let heard = elsewhere.heard();
    assert!(!heard.contains("AUTH") && !heard.contains("MAIL"), "{heard}");

    let gateway = with_mail(&upstream, &elsewhere.url(), "insecure_plaintext = true").start().await;
    self::ada(&gateway).await;
    forget(&gateway, "ada@example.com").await;
    elsewhere.received(1).await;
}

#[tokio::test]
async fn an_invitation_is_mailed_and_lets_one_in_where_nobody_else_may_register() {
    let (upstream, server) = (Upstream::echo().await, MailServer::start());
    let gateway = with_mail(&upstream, &server.url(), "").set("auth.registration=invitation").start().await;
    let alone = json!({"username": "ada", "password": PASSWORD});
    let refused = gateway.anonymous().post("/auth/register", &alone).await;
    assert_eq!((refused.0, &refused.1["code"]), (403, &json!("forbidden")));

    let invited = gateway.command(&["invite", "--role", "editor", "--email", "ada@example.com"]);
    let mail = server.received(1).await.remove(0);
    assert!(invited.contains(&token(&mail)), "{invited}");

    let mut register = alone;
    register["invitation"] = json!(token(&mail));
    let (status, user) = gateway.anonymous().post("/auth/register", &register).await;
    assert_eq!((status, &user["roles"], &user["email"]), (201, &json!(["editor"]), &json!("ada@example.com")));
    assert_eq!(gateway.anonymous().post("/auth/register", &register).await.1["code"], "bad_ticket");
}

#[tokio::test]
async fn without_mail_nobody_is_promised_any() {
    let upstream = Upstream::echo().await;
    let gateway = Gateway::in_front_of(&upstream).start().await;
    let ada = ada(&gateway).await;
    for answer in [forget(&gateway, "ada@example.com").await, ada.post("/auth/email/verify/send", &json!({})).await] {
        assert_eq!((answer.0, &answer.1["detail"]), (403, &json!("this gateway sends no mail")));
    }
}
