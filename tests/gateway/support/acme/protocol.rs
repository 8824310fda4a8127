//! What an ACME server answers (RFC 8555 §7).

use std::sync::Arc;

use http_body_util::Full;
use hyper::Response;
use hyper::body::Bytes;
use serde_json::{Value, json};

use super::jws::{self, Proved};
use super::{Account, Order, Shared, asking};

type Answer = Response<Full<Bytes>>;

/// RFC 8555 §6.7.
pub(super) struct Refusal {
    status: u16,
    kind: &'static str,
    detail: String,
    retry_after: Option<u64>,
}

impl Refusal {
    pub(super) fn new(status: u16, kind: &'static str, detail: impl Into<String>) -> Self {
        Self { status, kind, detail: detail.into(), retry_after: None }
    }
}

/// A problem, as it stands in a body.
pub(super) fn problem(kind: &str, detail: &str) -> Value {
    json!({"type": format!("urn:ietf:params:acme:error:{kind}"), "detail": detail})
}

pub(super) fn answer(shared: &Arc<Shared>, head: &http::request::Parts, body: &[u8]) -> Answer {
    let path: Vec<&str> = head.uri.path().split('/').skip(1).collect();
    let mut answer = match (head.method.as_str(), path.as_slice()) {
        ("GET", ["directory"]) => json_answer(200, &directory(shared)),
        ("GET" | "HEAD", ["nonce"]) => json_answer(200, &Value::Null),
        ("POST", path) => {
            let url = format!("{}{}", shared.base, head.uri.path());
            let done = jws::read(shared, &url, body).and_then(|proved| perform(shared, path, &proved));
            done.unwrap_or_else(|refusal| refused(&refusal))
        }
        _ => refused(&Refusal::new(405, "malformed", "no such resource")),
    };
    let nonce = shared.state(|state| {
        state.nonces_made += 1;
        let nonce = format!("nonce-{}", state.nonces_made);
        state.nonces.insert(nonce.clone());
        nonce
    });
    answer.headers_mut().insert("replay-nonce", nonce.parse().expect("visible ASCII"));
    answer
}

fn directory(shared: &Shared) -> Value {
    let at = |name: &str| format!("{}/{name}", shared.base);
    json!({"newNonce": at("nonce"), "newAccount": at("account"), "newOrder": at("order"), "meta": {"termsOfService": at("terms")}})
}

fn perform(shared: &Arc<Shared>, path: &[&str], proved: &Proved) -> Result<Answer, Refusal> {
    if path == ["account"] {
        return new_account(shared, proved);
    }
    let account = proved.account.ok_or_else(|| Refusal::new(401, "unauthorized", "an account is needed"))?;
    if path == ["order"] {
        return new_order(shared, account, proved);
    }
    let (kind, at) = match path {
        [kind, at] | [kind, at, _] => (*kind, at.parse::<usize>().ok()),
        _ => ("", None),
    };
    if kind == "account" {
        let contact = contact(&proved.payload);
        shared.state(|state| state.accounts[account].contact = contact);
        return Ok(json_answer(200, &json!({"status": "valid"})));
    }
    let order = at.and_then(|at| shared.state(|state| state.orders.get(at).cloned()));
    let (at, order) = at.zip(order).filter(|(_, order)| order.account == account).ok_or_else(|| gone("order"))?;
    match kind {
        // What was issued is there from the second look on, as at authorities that need a while.
        "order" => Ok(located(json_answer(200, &order_body(shared, at)), &format!("{}/order/{at}", shared.base))),
        "authz" => Ok(json_answer(200, &authorization(shared, at, &order))),
        "challenge" => Ok(challenged(shared, at, path[2])),
        "finalize" => finalize(shared, at, &order, &proved.payload),
        "cert" => {
            let chain = order.certificate.ok_or_else(|| gone("certificate"))?;
            let answer = Response::builder().header("content-type", "application/pem-certificate-chain");
            Ok(answer.body(Full::from(chain)).expect("a response"))
        }
        _ => Err(gone("resource")),
    }
}

fn new_account(shared: &Shared, proved: &Proved) -> Result<Answer, Refusal> {
    let payload = &proved.payload;
    if payload["termsOfServiceAgreed"] != true {
        return Err(Refusal::new(403, "userActionRequired", "agree to the terms"));
    }
    let url = format!("{}/account", shared.base);
    if let Some((key_id, key)) = shared.state(|state| state.mood.external.clone())
        && !jws::is_bound(&payload["externalAccountBinding"], &proved.key, &key_id, &key, &url)
    {
        return Err(Refusal::new(403, "externalAccountRequired", "say who you are"));
    }
    let account = Account { key: proved.key.clone(), contact: contact(payload), forgotten: false };
    let at = shared.state(|state| {
        state.accounts.push(account);
        state.accounts.len() - 1
    });
    Ok(located(json_answer(201, &json!({"status": "valid"})), &format!("{url}/{at}")))
}

fn new_order(shared: &Shared, account: usize, proved: &Proved) -> Result<Answer, Refusal> {
    let refused = |seconds| Refusal { retry_after: Some(seconds), ..Refusal::new(429, "rateLimited", "too many orders") };
    shared.state(|state| state.mood.limited.take().map_or(Ok(()), |seconds| Err(refused(seconds))))?;
    let identifier = &proved.payload["identifiers"];
    let one = identifier.as_array().is_some_and(|identifiers| identifiers.len() == 1) && identifier[0]["type"] == "dns";
    let host = identifier[0]["value"].as_str().filter(|_| one).ok_or_else(|| Refusal::new(400, "malformed", "one host"))?;
    let at = shared.state(|state| {
        let token = format!("Token_{}-of_a_test", state.orders.len());
        let (host, status) = (host.to_owned(), "pending");
        state.orders.push(Order { account, host, token, status, asked: None, error: None, certificate: None });
        state.orders.len() - 1
    });
    Ok(located(json_answer(201, &order_body(shared, at)), &format!("{}/order/{at}", shared.base)))
}

fn order_body(shared: &Shared, at: usize) -> Value {
    let url = |kind: &str| format!("{}/{kind}/{at}", shared.base);
    shared.state(|state| {
        let order = &mut state.orders[at];
        let mut body = json!({
            "status": order.status,
            "identifiers": [{"type": "dns", "value": order.host}],
            "authorizations": [url("authz")],
            "finalize": url("finalize"),
        });
        match order.status {
            "valid" => body["certificate"] = url("cert").into(),
            "processing" => order.status = "valid",
            _ => {}
        }
        body
    })
}

fn authorization(shared: &Shared, at: usize, order: &Order) -> Value {
    let status = if ["pending", "invalid"].contains(&order.status) { order.status } else { "valid" };
    let challenges = ["dns-01", "http-01", "tls-alpn-01"].map(|kind| challenge(shared, at, order, kind));
    json!({"status": status, "identifier": {"type": "dns", "value": order.host}, "challenges": challenges})
}

fn challenge(shared: &Shared, at: usize, order: &Order, kind: &str) -> Value {
    let asked = order.asked.as_deref() == Some(kind);
    let mut body = json!({
        "type": kind,
        "url": format!("{}/challenge/{at}/{kind}", shared.base),
        "token": order.token,
        "status": if asked && order.status == "pending" { "processing" } else { order.status },
    });
    if ["ready", "processing"].contains(&order.status) {
        body["status"] = "valid".into();
    }
    if let Some(error) = order.error.as_ref().filter(|_| asked) {
        body["error"] = error.clone();
    }
    body
}

/// The client is ready to be asked; again, if whoever said so first has died since.
fn challenged(shared: &Arc<Shared>, at: usize, kind: &str) -> Answer {
    let (order, first) = shared.state(|state| {
        let order = &mut state.orders[at];
        let first = order.asked.replace(kind.to_owned()).is_none();
        (order.clone(), first)
    });
    if first {
        tokio::spawn(asking::ask(Arc::clone(shared), at, kind.to_owned()));
    }
    json_answer(200, &challenge(shared, at, &order, kind))
}

fn finalize(shared: &Shared, at: usize, order: &Order, payload: &Value) -> Result<Answer, Refusal> {
    if order.status != "ready" {
        return Err(Refusal::new(403, "orderNotReady", order.status));
    }
    let request = jws::decode(&payload["csr"]).unwrap_or_default();
    let life = shared.state(|state| state.mood.life);
    let chain = shared.authority.sign(&request, &order.host, life).map_err(|what| Refusal::new(400, "badCSR", what))?;
    shared.state(|state| {
        let order = &mut state.orders[at];
        (order.certificate, order.status) = (Some(chain), "processing");
    });
    Ok(located(json_answer(200, &order_body(shared, at)), &format!("{}/order/{at}", shared.base)))
}

fn contact(payload: &Value) -> Vec<String> {
    let contact = payload["contact"].as_array().into_iter().flatten();
    contact.filter_map(|address| address.as_str().map(str::to_owned)).collect()
}

fn gone(what: &str) -> Refusal {
    Refusal::new(404, "malformed", format!("no such {what} of yours"))
}

fn located(mut answer: Answer, url: &str) -> Answer {
    answer.headers_mut().insert("location", url.parse().expect("a URL"));
    answer
}

fn refused(refusal: &Refusal) -> Answer {
    let mut answer = json_answer(refusal.status, &problem(refusal.kind, &refusal.detail));
    answer.headers_mut().insert("content-type", "application/problem+json".parse().expect("visible ASCII"));
    if let Some(seconds) = refusal.retry_after {
        answer.headers_mut().insert("retry-after", seconds.into());
    }
    answer
}

fn json_answer(status: u16, body: &Value) -> Answer {
    let answer = Response::builder().status(status).header("content-type", "application/json");
    answer.body(Full::from(body.to_string())).expect("a response")
}
