//! Requests to an ACME server: signed JSON (RFC 8555 §6.2), by the key of an account, for one URL, with a fresh nonce.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::protocol::Refusal;
use super::{Account, Shared};

/// A request that was proved to be genuine.
pub(super) struct Proved {
    /// Null where there is none.
    pub(super) payload: Value,
    /// The coordinates of the key that signed it.
    pub(super) key: (String, String),
    /// Whose that is, if they have an account.
    pub(super) account: Option<usize>,
}

pub(super) fn decode(text: &Value) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text.as_str()?).ok()
}

/// Reads and proves a request to `url`.
pub(super) fn read(shared: &Shared, url: &str, body: &[u8]) -> Result<Proved, Refusal> {
    let malformed = |what: &str| Refusal::new(400, "malformed", what);
    let jws: Value = serde_json::from_slice(body).map_err(|_| malformed("not JSON"))?;
    let protected = decode(&jws["protected"]).ok_or_else(|| malformed("no protected header"))?;
    let header: Value = serde_json::from_slice(&protected).map_err(|_| malformed("a header that is not JSON"))?;
    if header["alg"] != "ES256" || header["url"] != url {
        return Err(malformed("the header is for another URL or algorithm"));
    }
    fresh(shared, header["nonce"].as_str().unwrap_or_default())?;
    let account = header["kid"].as_str().map(|kid| known(shared, kid)).transpose()?;
    let key = match &account {
        Some((_, account)) => account.key.clone(),
        None => {
            let member = |name: &str| header["jwk"][name].as_str().map(str::to_owned).ok_or_else(|| malformed("no key"));
            (member("x")?, member("y")?)
        }
    };
    let point = [vec![4], decode(&key.0.as_str().into()).unwrap_or_default(), decode(&key.1.as_str().into()).unwrap_or_default()];
    let signed = format!("{}.{}", jws["protected"].as_str().unwrap_or_default(), jws["payload"].as_str().unwrap_or_default());
    let signature = decode(&jws["signature"]).unwrap_or_default();
    let verified = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point.concat()).verify(signed.as_bytes(), &signature);
    verified.map_err(|_| Refusal::new(401, "unauthorized", "the signature is wrong"))?;
    let payload = decode(&jws["payload"]).unwrap_or_default();
    let payload =
        if payload.is_empty() { Value::Null } else { serde_json::from_slice(&payload).map_err(|_| malformed("payload"))? };
    Ok(Proved { payload, key, account: account.map(|(at, _)| at) })
}

/// Each nonce is good once (RFC 8555 §6.5).
fn fresh(shared: &Shared, nonce: &str) -> Result<(), Refusal> {
    shared.state(|state| {
        let known = state.nonces.remove(nonce);
        if state.mood.bad_nonces > 0 {
            state.mood.bad_nonces -= 1;
            return Err(Refusal::new(400, "badNonce", "a test wants it so"));
        }
        if known { Ok(()) } else { Err(Refusal::new(400, "badNonce", "the nonce was used, or is none")) }
    })
}

fn known(shared: &Shared, kid: &str) -> Result<(usize, Account), Refusal> {
    let at: Option<usize> = kid.strip_prefix(&format!("{}/account/", shared.base)).and_then(|at| at.parse().ok());
    let account = at.and_then(|at| Some((at, shared.state(|state| state.accounts.get(at).cloned())?)));
    let account = account.filter(|(_, account)| !account.forgotten);
    account.ok_or_else(|| Refusal::new(400, "accountDoesNotExist", "no such account"))
}

/// Whether a newcomer proves to know a key (RFC 8555 §7.3.4): it signs the newcomer's own key.
pub(super) fn is_bound(binding: &Value, key: &(String, String), key_id: &str, secret: &[u8], url: &str) -> bool {
    let json = |text: &Value| decode(text).and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok()).unwrap_or_default();
    let (header, payload) = (json(&binding["protected"]), json(&binding["payload"]));
    let signed =
        format!("{}.{}", binding["protected"].as_str().unwrap_or_default(), binding["payload"].as_str().unwrap_or_default());
    let tag = decode(&binding["signature"]).unwrap_or_default();
    let verified = hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed.as_bytes(), &tag);
    let named = header["alg"] == "HS256" && header["kid"] == key_id && header["url"] == url;
    named && payload["x"] == key.0 && payload["y"] == key.1 && verified.is_ok()
}

/// What a challenge is answered with (RFC 8555 §8.1, RFC 7638).
pub(super) fn key_authorization(token: &str, key: &(String, String)) -> String {
    let members = format!(r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#, key.0, key.1);
    format!("{token}.{}", URL_SAFE_NO_PAD.encode(digest(&SHA256, members.as_bytes())))
}
