//! Opens streams and ends sessions, as it is told, and says how long streams outlived their sessions.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures_util::{StreamExt as _, stream};
use portcullis::clock::{Clock as _, SystemClock};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use crate::HOST;
use crate::figures::distribution;
use crate::streams::{Ended, Gateway, Kind, tls};

/// Handshakes at a time.
const OPENING: usize = 64;
/// Logouts at a time, where as many as possible are asked for.
const ENDING: usize = 32;
/// What has not ended by then does not count as ended.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the file says.
pub(crate) struct Stage {
    pub(crate) gateways: Vec<Gateway>,
    pub(crate) tokens: Vec<Arc<str>>,
    pub(crate) tls: TlsConnector,
}

struct Session {
    token: Arc<str>,
    streams: Vec<(Kind, JoinHandle<Ended>)>,
}

impl Stage {
    pub(crate) fn read(file: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(file).context("reading the file of addresses and tokens")?;
        let said: Value = serde_json::from_str(&text)?;
        let list = |name: &str| said[name].as_array().cloned().unwrap_or_default();
        let address = |value: &Value| value.as_str().unwrap_or_default().parse();
        let gateway = |one: &Value| anyhow::Ok(Gateway { http: address(&one["http"])?, https: address(&one["https"])? });
        let gateways = list("gateways").iter().map(gateway).collect::<anyhow::Result<Vec<_>>>()?;
        let tokens = list("tokens").iter().filter_map(|token| token.as_str().map(Arc::from)).collect();
        Ok(Self { gateways, tokens, tls: tls(said["certificate"].as_str().unwrap_or_default())? })
    }
}

/// Ends the session of a token: the instant at which that is acknowledged.
pub(crate) async fn log_out(gateway: Gateway, token: &str) -> anyhow::Result<Instant> {
    let mut stream = TcpStream::connect(gateway.http).await?;
    stream.set_nodelay(true)?;
    let fields = "content-type: application/json\r\ncontent-length: 2\r\nconnection: close";
    let request = format!("POST /auth/logout HTTP/1.1\r\nhost: {HOST}\r\nauthorization: Bearer {token}\r\n{fields}\r\n\r\n{{}}");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::with_capacity(512);
    stream.read_buf(&mut answer).await?;
    let acknowledged = SystemClock.monotonic();
    anyhow::ensure!(answer.starts_with(b"HTTP/1.1 204 "), "a logout was answered {}", String::from_utf8_lossy(&answer));
    Ok(acknowledged)
}

/// Does what the lines say.
pub(crate) async fn run(file: &Path) -> anyhow::Result<()> {
    let stage = Stage::read(file)?;
    let mut sessions: Vec<_> =
        stage.tokens.iter().map(|token| Session { token: Arc::clone(token), streams: Vec::new() }).collect();
    // Holds up this thread alone: streams are on the others.
    for line in std::io::stdin().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let answer = match words[..] {
            ["open", kind, count] => open(&stage, &mut sessions, Kind::named(kind)?, count.parse()?).await?,
            ["end", count, per_second] => {
                let rest = sessions.split_off(count.parse::<usize>()?.min(sessions.len()));
                let ending = std::mem::replace(&mut sessions, rest);
                end(&stage, ending, per_second.parse()?).await?
            }
            ["left"] => {
                let streams = || sessions.iter().flat_map(|session| &session.streams);
                let gone = streams().filter(|(_, stream)| stream.is_finished()).count();
                json!({"open": streams().count() - gone, "gone": gone})
            }
            _ => anyhow::bail!("not understood: {line}"),
        };
        println!("{answer}");
    }
    Ok(())
}

/// Streams of one kind, of one session after another, at one gateway after another.
async fn open(stage: &Stage, sessions: &mut [Session], kind: Kind, count: usize) -> anyhow::Result<Value> {
    let places = sessions.len();
    let opening = |number: usize| {
        let token = Arc::clone(&sessions[number % places].token);
        // Every session has streams at every gateway.
        let gateway = stage.gateways[(number + number / places) % stage.gateways.len()];
        async move { kind.open(gateway, &token, &stage.tls).await.map(|open| (number % places, tokio::spawn(open.ended()))) }
    };
    let opened: Vec<_> = stream::iter((0..count).map(opening)).buffer_unordered(OPENING).collect().await;
    for opened in opened {
        let (place, stream) = opened?;
        sessions[place].streams.push((kind, stream));
    }
    Ok(json!({"opened": count}))
}

/// Ends sessions, each at another gateway than the last one, so many in a second, or as many as go if that is 0.
async fn end(stage: &Stage, sessions: Vec<Session>, per_second: u32) -> anyhow::Result<Value> {
    let began = SystemClock.monotonic();
    let asked = sessions.len();
    let ending = sessions.into_iter().enumerate().map(|(number, session)| {
        let gateway = stage.gateways[number * 7 % stage.gateways.len()];
        let due = if per_second == 0 { Duration::ZERO } else { Duration::from_secs_f64(number as f64 / f64::from(per_second)) };
        async move {
            tokio::time::sleep(due.saturating_sub(SystemClock.monotonic() - began)).await;
            let asked = SystemClock.monotonic();
            let acknowledged = log_out(gateway, &session.token).await?;
            anyhow::Ok((acknowledged - asked, acknowledged, session.streams))
        }
    });
    let ended: Vec<_> =
        stream::iter(ending).buffer_unordered(if per_second == 0 { ENDING } else { asked.max(1) }).collect().await;
    let took = SystemClock.monotonic() - began;
    let mut acknowledgements = Vec::new();
    let mut late = Kind::ALL.map(|_| Vec::new());
    let (mut streams, mut well) = (0, 0);
    for ended in ended {
        let (waited, acknowledged, of_session) = ended?;
        acknowledgements.push(waited.as_secs_f64() * 1000.0);
        for (kind, stream) in of_session {
            streams += 1;
            let Ok(Ok(end)) = tokio::time::timeout_at((acknowledged + PATIENCE).into(), stream).await else { continue };
            well += usize::from(end.well);
            // Some end before whoever asked for it hears that they will.
            let after = end.at.saturating_duration_since(acknowledged).as_secs_f64();
            let before = acknowledged.saturating_duration_since(end.at).as_secs_f64();
            late[kind as usize].push((after - before) * 1000.0);
        }
    }
    let all: Vec<f64> = late.iter().flatten().copied().collect();
    let mut answer = json!({
        "sessions": asked, "seconds": took.as_secs_f64(), "streams": streams, "ended": all.len(), "ended_well": well,
        "acknowledgement_ms": distribution(acknowledgements), "all": distribution(all),
    });
    for (kind, late) in Kind::ALL.into_iter().zip(late) {
        answer[kind.name()] = distribution(late);
    }
    Ok(answer)
}
