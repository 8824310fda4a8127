//! A real nginx with the configuration that we ship: it asks, it forwards, and what its clients forge gets nowhere.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;

use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::{TRUSTED, bearer, site};
use crate::support::client::{Actor, RawClient, Response};
use crate::support::eventually;
use crate::support::process::{self, Output, Process};
use crate::support::site::{Site, Store};
use crate::support::wire::Head;

/// A port that was free may be taken by the time that nginx wants it.
const TRIES_MAX: usize = 5;

/// nginx in front of a site's upstream, which asks its gateway.
struct Nginx {
    address: SocketAddr,
    _process: Process,
    _directory: TempDir,
}

impl Nginx {
    async fn in_front_of(site: &Site) -> Self {
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/forward-auth/nginx.conf");
        let shipped = std::fs::read_to_string(shipped).expect("it is shipped");
        let mut said = String::new();
        for _ in 0..TRIES_MAX {
            let free = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("a bound socket");
            let ours = moved(&shipped, "listen 80;", &format!("listen {free};"));
            let ours = moved(&ours, "server 127.0.0.1:8080;", &format!("server {};", site.gateway.address));
            let ours = moved(&ours, "server 127.0.0.1:3000;", &format!("server {};", site.upstream.address));
            let directory = TempDir::new().expect("a writable temporary directory");
            let output = Output::default();
            let mut process = start(directory.path(), &ours, &output);
            let up = eventually("nginx's start", async || {
                let ended = process.has_ended().then_some(false);
                let connected = TcpStream::connect(free).await.is_ok().then_some(true);
                ended.or(connected)
            })
            .await;
            if up {
                return Self { address: free, _process: process, _directory: directory };
            }
            said = process::text(&output);
        }
        panic!("nginx did not start:\n{said}");
    }

    async fn ask(&self, method: &str, target: &str, fields: &str) -> Response {
        let mut client = RawClient::connect(self.address).await;
        client.send(format!("{method} {target} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{fields}\r\n")).await;
        client.response_to(method).await.expect("nginx answers")
    }
}

/// Puts another address in the place of one that is shipped.
fn moved(conf: &str, from: &str, to: &str) -> String {
    assert_eq!(conf.matches(from).count(), 1, "what is shipped has one {from:?}");
    conf.replace(from, to)
}

/// Runs nginx in the foreground with all of its files in `directory`, once it has found its configuration good.
fn start(directory: &Path, conf: &str, output: &Output) -> Process {
    let place = directory.display();
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let temporary: String = temporary.iter().map(|kind| format!("{kind}_temp_path {place}/{kind};\n")).collect();
    let whole = format!(
        "daemon off;\nmaster_process off;\npid {place}/pid;\nerror_log stderr info;\nevents {{ worker_connections 256; }}\n\
         http {{\naccess_log off;\n{temporary}include {place}/portcullis.conf;\n}}\n"
    );
    std::fs::write(directory.join("nginx.conf"), whole).expect("a writable directory");
    std::fs::write(directory.join("portcullis.conf"), conf).expect("a writable directory");
    let nginx = |words: &[&str]| {
        // Debian keeps servers where users do not look.
        let of_debian = Path::new("/usr/sbin/nginx");
        let mut command = Command::new(if of_debian.exists() { of_debian } else { Path::new("nginx") });
        command.arg("-p").arg(directory).arg("-c").arg(directory.join("nginx.conf"));
        command.args(["-e", "stderr"]).args(words);
        command
    };
    let tried = nginx(&["-t"]).output().expect("nginx is needed: apt-get install nginx");
    assert!(tried.status.success(), "{}", String::from_utf8_lossy(&tried.stderr));
    Process::start(&mut nginx(&[]), output)
}

/// The one request that reached the upstream since the last look.
fn only(site: &Site) -> Head {
    let requests = site.upstream.take_requests();
    assert_eq!(requests.len(), 1, "{requests:?}");
    requests[0].head.clone()
}

#[tokio::test]
async fn nginx_forwards_what_may_pass_with_the_identity_that_we_say_and_no_other() {
    let site = site(|gateway| gateway).await;
    let nginx = Nginx::in_front_of(&site).await;
    let ada = Actor::registered(nginx.address, "ada").await;
    let forged = "x-auth-subject: root\r\nx-auth-roles: admin\r\nx-auth-client-certificate: CN=root\r\nx_auth_email: root@a\r\n";
    let fields = format!("{}{forged}", bearer(&ada.access_token));
    let answer = nginx.ask("GET", "/api/x?y=%2F", &fields).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "/api/x?y=%2F"));
    let told = only(&site);
    assert_eq!(told.one("x-auth-subject"), Some(ada.claim("sub").await.as_str()));
    assert_eq!(told.one("x-auth-username"), Some("ada"));
    assert_eq!(told.one("x-auth-session"), Some(ada.claim("sid").await.as_str()));
    for gone in ["x-auth-roles", "x-auth-client-certificate", "x_auth_email", "authorization"] {
        assert_eq!(told.all(gone), Vec::<&str>::new(), "{gone}");
    }
    assert_eq!(nginx.ask("GET", "/public/x", &fields).await.status, 200);
    let told = only(&site);
    assert!(told.fields().all(|(name, _)| !name.to_ascii_lowercase().replace('_', "-").starts_with("x-auth-")), "{told:?}");
    let mut client = RawClient::connect(nginx.address).await;
    let post = format!("POST /api/x HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n{}\r\nhello", bearer(&ada.access_token));
    assert_eq!(client.ask(post).await.status, 200);
    assert_eq!(site.upstream.take_requests().swap_remove(0).body, b"hello");

    // Logged out through nginx, refused by nginx, at once.
    ada.log_out().await;
    let refused = nginx.ask("GET", "/api/x", &fields).await;
    assert_eq!(refused.status, 401);
    assert_eq!(refused.head.one("www-authenticate"), Some(r#"Bearer realm="portcullis", error="invalid_token""#));
    assert!(site.upstream.take_requests().is_empty());
}

#[tokio::test]
async fn nginx_refuses_what_we_refuse_with_the_status_that_we_mean() {
    let site = site(|gateway| {
        gateway
            .table("[auth]\nself_assigned_roles = [\"admin\"]")
            .route("path = \"/admin\"\nrequire = { roles = [\"admin\"] }")
            .route("path = \"/read\"\naccess = \"public\"\nmethods = [\"GET\"]")
            .route("path = \"/slow\"\naccess = \"public\"\nrate_limits = [{ limit = \"1/1h\", per = \"network\" }]")
            .table("[[routes]]\npath = \"/old\"\naccess = \"public\"\nredirect = { path = \"/new\" }")
    })
    .await;
    let nginx = Nginx::in_front_of(&site).await;
    let ada = site.registered("ada").await;
    let admin = Actor::registered_with(site.gateway.address, "joan", json!({"roles": ["admin"]})).await;
    let (ada, admin) = (bearer(&ada.access_token), bearer(&admin.access_token));
    for (method, target, fields, status) in [
        ("GET", "/api/x", "", 401),
        ("GET", "/admin/x", &*ada, 403),
        ("GET", "/admin/x", &admin, 200),
        ("GET", "/none", &admin, 404),
        ("HEAD", "/read", "", 200),
        ("POST", "/read", "content-length: 0\r\n", 405),
        ("PROPFIND", "/public/x", "", 501),
        ("GET", "/public/%2e%2e/admin", &ada, 400),
        ("GET", "/public%2fadmin", &ada, 400),
        ("GET", "//admin", &ada, 400),
        ("GET", "/%61dmin/x", &ada, 403),
        ("GET", "/old", "", 302),
        ("GET", "/slow", "", 200),
        ("GET", "/slow", "", 429),
        // The question is nginx's own: what its clients say of another request is not it.
        ("GET", "/admin/x", &format!("{ada}x-original-url: http://a/public\r\nx-original-method: GET\r\n"), 403),
        (
            "GET",
            "/admin/x",
            &format!("{ada}x-original-uri: /public\r\nx-forwarded-uri: /public\r\nx-forwarded-method: GET\r\n"),
            403,
        ),
        ("GET", "/slow", "x-forwarded-for: 192.0.2.9\r\n", 429),
        ("GET", "/_portcullis", &admin, 404),
        ("GET", "/auth/verify/public", &admin, 404),
    ] {
        let answer = nginx.ask(method, target, fields).await;
        assert_eq!(answer.status, status, "{method} {target} {fields}");
        let forwarded = site.upstream.take_requests();
        assert_eq!(forwarded.len(), usize::from(status == 200), "{method} {target} {fields}");
        if status == 429 {
            assert!(answer.head.one("retry-after").is_some(), "{:?}", answer.head);
        }
        if status == 302 {
            assert!(answer.head.one("location").is_some_and(|location| location.ends_with("/new")), "{:?}", answer.head);
        }
    }
}

#[tokio::test]
async fn nginx_forwards_nothing_while_we_cannot_tell_or_are_not_there() {
    let mut site = Site::changed(Store::Redis, |gateway| gateway.set(TRUSTED)).await;
    let nginx = Nginx::in_front_of(&site).await;
    let ada = bearer(&site.registered("ada").await.access_token);
    assert_eq!(nginx.ask("GET", "/api/x", &ada).await.status, 200);
    assert_eq!(site.upstream.take_requests().len(), 1);
    site.redis().kill();
    let refused = nginx.ask("GET", "/api/x", &ada).await;
    assert_eq!((refused.status, refused.head.one("retry-after")), (503, Some("1")));
    site.gateway.kill();
    assert_eq!(nginx.ask("GET", "/public/x", &ada).await.status, 500);
    assert!(site.upstream.take_requests().is_empty());
}
