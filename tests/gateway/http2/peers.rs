//! Programs that others wrote: curl and h2load speak HTTP/2 with the gateway as they do with anybody.

use std::process::{Command, Output};

use super::super::support::upstream::{Answer, Upstream};
use super::{HOST, Site};

/// What a program does that runs beside the gateway.
async fn run(mut command: Command, install: &str) -> Output {
    let named = format!("{} is needed: apt-get install {install}", command.get_program().display());
    let done = tokio::task::spawn_blocking(move || command.output()).await.expect("it does not panic").expect(&named);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    done
}

async fn curl(site: &Site, path: &str, arguments: &[&str]) -> Output {
    let port = site.address().port();
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--max-time", "20", "--cacert"]).arg(site.authority.file());
    command.args(["--resolve", &format!("{HOST}:{port}:127.0.0.1")]).args(arguments);
    command.arg(format!("https://{HOST}:{port}{path}"));
    run(command, "curl").await
}

#[tokio::test]
async fn curl_gets_and_posts() {
    let body = "x".repeat(3_000_000);
    let large = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let upstream =
        Upstream::answering(move |head| if head.word(1) == "/public/large" { Answer::raw(&large) } else { Answer::echo(head) })
            .await;
    let site = Site::changed(upstream, |gateway| gateway).await;
    let version = ["--http2", "--write-out", " %{http_version} %{http_code}"];
    let said = curl(&site, "/public/x", &version).await.stdout;
    assert_eq!(String::from_utf8_lossy(&said), "/public/x 2 200");
    let said = curl(&site, "/public/x", &["--http1.1", "--write-out", " %{http_version} %{http_code}"]).await.stdout;
    assert_eq!(String::from_utf8_lossy(&said), "/public/x 1.1 200");
    assert_eq!(curl(&site, "/public/large", &["--http2"]).await.stdout.len(), body.len());
    let upload = site.authority.directory.path().join("upload");
    std::fs::write(&upload, &body).expect("a writable directory");
    let from = format!("@{}", upload.display());
    for more in [&["--http2"][..], &["--http2", "--header", "expect: 100-continue"], &["--http2", "--header", "content-length:"]]
    {
        let said =
            curl(&site, "/public/up", &[more, &["--data-binary", &from, "--write-out", " %{http_code}"]].concat()).await.stdout;
        assert_eq!(String::from_utf8_lossy(&said), "/public/up 200");
        assert_eq!(site.upstream.requests("/public/up").pop().expect("a request").body.len(), body.len());
        site.upstream.take_requests();
    }
    let said = curl(&site, "/api/x", &version).await.stdout;
    assert!(String::from_utf8_lossy(&said).ends_with(" 2 401"));
}

#[tokio::test]
async fn h2load_is_served_to_the_last_request() {
    let site = Site::start().await;
    let mut command = Command::new("h2load");
    let connect = format!("--connect-to=127.0.0.1:{}", site.address().port());
    command.args(["-n", "3000", "-c", "6", "-m", "20", &connect]);
    command.arg(format!("https://{HOST}:{}/public/x", site.address().port()));
    let said = String::from_utf8_lossy(&run(command, "nghttp2-client").await.stdout).into_owned();
    assert!(said.contains("Application protocol: h2"), "{said}");
    assert!(said.contains("3000 succeeded, 0 failed, 0 errored, 0 timeout"), "{said}");
    assert!(said.contains("3000 2xx, 0 3xx, 0 4xx, 0 5xx"), "{said}");
}
