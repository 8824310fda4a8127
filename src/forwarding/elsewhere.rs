//! What another proxy is told to change in a request that it forwards itself: who is calling, and what is to go.
//!
//! It is told of every identity field, so that it keeps none that its client has forged. Spellings that a server might fold
//! onto one it could not be told of: they are there to be refused.

use http::header::{AUTHORIZATION, HeaderMap};

use super::{Forwarding, HeaderEdits, keeps_authorization};
use crate::policy::access::Permit;
use crate::policy::head::folds_to;

impl Forwarding {
    /// What to change in a permitted request with these fields: `set` is what the upstream is to have, `remove` what it is
    /// not to have, whether or not it is there. `Authorization` is among the one or the other, by the route's word.
    #[must_use]
    pub fn edits_elsewhere(&self, incoming: &HeaderMap, permit: &Permit) -> HeaderEdits {
        let mut edits = HeaderEdits::default();
        if let Some(caller) = permit.caller() {
            self.tell_identity(&caller.principal, &mut edits.set);
        }
        let unknown = self.names.all().into_iter().filter(|name| edits.set.iter().all(|(set, _)| set != *name));
        edits.remove = unknown.cloned().collect();
        match incoming.get(AUTHORIZATION) {
            Some(kept) if keeps_authorization(permit, incoming) => edits.set.push((AUTHORIZATION, kept.clone())),
            _ => edits.remove.push(AUTHORIZATION),
        }
        edits
    }

    /// Whether a field is another spelling of one that carries an identity: `X_Auth_Subject`.
    #[must_use]
    pub fn is_forged(&self, incoming: &HeaderMap) -> bool {
        let names = self.names.all();
        incoming.keys().any(|name| names.iter().any(|ours| *ours != name && folds_to(name, ours.as_str())))
    }
}
