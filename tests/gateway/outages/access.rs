//! Redis over TLS, and with no more rights than the documentation says are needed (203).

use std::path::Path;

use super::redis_site::beside;
use super::*;
use crate::support::services::redis_servers::Server;
use crate::support::tls::Authority;

/// Gives the server the user of the documentation, with a password.
fn with_user(server: &Server) {
    let documentation = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/revocation.md");
    let documentation = std::fs::read_to_string(documentation).expect("the documentation is there");
    let rule = documentation.lines().find(|line| line.starts_with("ACL SETUSER portcullis ")).expect("it is documented");
    assert!(rule.contains(" >PASSWORD ") && rule.contains(" ~gateway:* "), "{rule}");
    let rule = rule.replace(">PASSWORD", ">sesame");
    let _: String = server.command(&rule.split(' ').collect::<Vec<_>>());
}

/// A server whose clients come over TLS, to its second port; in clear text, for the test itself, to its first.
fn over_tls(authority: &Authority, hosts: &[&str], clients: &str) -> Server {
    authority.write("redis", &authority.issue(hosts));
    let file = |name: &str| authority.directory.path().join(name).display().to_string();
    let (certificate, key, ca) = (file("redis.crt"), file("redis.key"), authority.file().display().to_string());
    let files = ["--tls-cert-file", &certificate, "--tls-key-file", &key, "--tls-ca-cert-file", &ca];
    let options: Vec<_> = ["--tls-port", "{other}", "--tls-auth-clients", clients].into_iter().chain(files).collect();
    Server::start(&options)
}

fn tls(server: &Server, ca: &Path) -> String {
    format!("url = \"rediss://localhost:{}\"\ntls = {{ ca = \"{}\" }}", server.other, ca.display())
}

async fn unready(keys: &str) -> Site {
    let table = format!("[revocation]\ndeadline = \"1s\"\n{keys}");
    Site::unready(|gateway| gateway.table(&table)).await
}

/// Every command that anything sends is tried, in both modes, and none is refused.
#[tokio::test]
async fn the_documented_rule_is_all_that_a_gateway_needs() {
    for mode in ["strict", "mirror"] {
        let server = Server::start(&[]);
        with_user(&server);
        let password = tempfile::NamedTempFile::new().expect("a writable temporary directory");
        std::fs::write(password.path(), "sesame\n").expect("a writable file");
        let login = format!("username = \"portcullis\"\npassword = {{ file = \"{}\" }}", password.path().display());
        let table = format!(
            "[revocation]\nurl = \"{}\"\n{login}\nprefix = \"gateway:\"\ncheck = \"{mode}\"\ndeadline = \"1s\"",
            server.url()
        );
        let limited = "path = \"/limited\"\nrate_limits = [{ limit = \"1/1h\", per = \"route\", shared = true }]";
        let site = Site::changed(Store::Embedded, |gateway| gateway.table(&table).route(limited)).await;
        let (staying, leaving) = (site.registered("ada").await, site.signed_in("ada").await);
        site.lets_in(&leaving).await;
        leaving.log_out().await;
        site.keeps_out(&leaving).await;
        let wrong = json!({"username": "ada", "password": "not the password"});
        assert_eq!(site.gateway.anonymous().post("/auth/login", &wrong).await.0, 401);
        assert_eq!(site.get("/limited", &staying.access_token).await.status, 200);
        assert_eq!(site.get("/limited", &staying.access_token).await.status, 429);
        site.gateway.command(&["revoke", "--user", "ada"]);
        site.keeps_out_again(&staying).await;

        let refused: Vec<redis::Value> = server.command(&["ACL", "LOG"]);
        assert!(refused.is_empty(), "{mode}: {refused:?}");
        let clients: String = server.command(&["CLIENT", "LIST"]);
        let others = clients.lines().filter(|client| !client.contains(" user=portcullis ")).count();
        assert_eq!(others, 1, "only the test itself is somebody else: {clients}");
        let keys: Vec<String> = server.command(&["KEYS", "*"]);
        for kind in ["revoked_sid:", "revoked_before:", "revocation_epoch", "revocation_feed", "attempts:", "rate:"] {
            assert!(keys.iter().any(|key| key.starts_with(&format!("gateway:{kind}"))), "{mode}: no {kind} in {keys:?}");
        }
    }
}

#[tokio::test]
async fn the_documented_rule_gives_nothing_away() {
    let server = Server::start(&[]);
    with_user(&server);
    let dry = |words: &[&str]| server.command::<String>(&[&["ACL", "DRYRUN", "portcullis"], words].concat());
    for allowed in [&["WAIT", "1", "1"][..], &["CLUSTER", "SLOTS"], &["MGET", "gateway:a"]] {
        assert_eq!(dry(allowed), "OK", "{allowed:?}");
    }
    for denied in [
        &["FLUSHALL"][..],
        &["KEYS", "*"],
        &["CONFIG", "GET", "requirepass"],
        &["GET", "other"],
        &["SET", "other:gateway:", "1"],
        &["ACL", "LIST"],
        &["SHUTDOWN"],
        &["REPLICAOF", "NO", "ONE"],
        &["SCRIPT", "KILL"],
    ] {
        assert_ne!(dry(denied), "OK", "{denied:?}");
    }
}

#[tokio::test]
async fn redis_is_spoken_to_over_tls_by_the_gateway_and_by_its_commands() {
    let authority = Authority::new();
    let server = over_tls(&authority, &["localhost"], "no");
    let site = beside(&tls(&server, &authority.file())).await;
    let (staying, leaving) = (site.registered("ada").await, site.signed_in("ada").await);
    leaving.log_out().await;
    site.keeps_out(&leaving).await;
    site.lets_in(&staying).await;
    // It runs no server, and needs TLS all the same.
    site.gateway.command(&["revoke", "--user", "ada"]);
    site.keeps_out(&staying).await;
}

#[tokio::test]
async fn a_redis_whose_certificate_is_for_another_name_lets_nobody_in() {
    let authority = Authority::new();
    let server = over_tls(&authority, &["redis.example.com"], "no");
    let site = unready(&tls(&server, &authority.file())).await;
    let ada = site.registered("ada").await;
    site.cannot_know(&ada).await;
    site.cannot_log_out(&ada).await;
    assert_eq!(site.get("/public", "").await.status, 200);
    assert!(!site.gateway.is_ready().await);
}

#[tokio::test]
async fn a_redis_that_another_authority_vouches_for_lets_nobody_in() {
    let (authority, other) = (Authority::new(), Authority::new());
    let server = over_tls(&authority, &["localhost"], "no");
    let site = unready(&tls(&server, &other.file())).await;
    let ada = site.registered("ada").await;
    site.cannot_know(&ada).await;
    assert!(!site.gateway.is_ready().await);
    let site = unready(&format!("url = \"rediss://localhost:{}\"", server.other)).await;
    assert!(!site.gateway.is_ready().await, "no public authority vouches for it either");
}

#[tokio::test]
async fn a_redis_that_asks_for_a_certificate_is_shown_one() {
    let authority = Authority::new();
    let server = over_tls(&authority, &["localhost"], "yes");
    let site = unready(&tls(&server, &authority.file())).await;
    let ada = site.registered("ada").await;
    site.cannot_know(&ada).await;

    authority.write("gateway", &authority.issue(&["gateway.example.com"]));
    let file = |name: &str| authority.directory.path().join(name).display().to_string();
    let shown = format!("certificate = \"{}\", key = \"{}\" }}", file("gateway.crt"), file("gateway.key"));
    let site = beside(&tls(&server, &authority.file()).replace(" }", &format!(", {shown}"))).await;
    let ada = site.registered("ada").await;
    site.lets_in(&ada).await;
    ada.log_out().await;
    site.keeps_out(&ada).await;
}
