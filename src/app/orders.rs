//! What the admin listener may have the gateway do.

use std::sync::Arc;

use async_trait::async_trait;

use super::reload::{Reloader, Trigger};
use super::upgrade::HandOver;
use crate::admin::{Fault, Orders};
use crate::revocation::Revocations;

/// The gateway, as operators command it.
pub(super) struct Commanded {
    pub(super) revocations: Arc<Revocations>,
    pub(super) configuration: Arc<Reloader>,
    pub(super) hand_over: HandOver,
}

#[async_trait]
impl Orders for Commanded {
    async fn reload_revocations(&self) -> Result<(), String> {
        self.revocations.follow_now().await.map_err(|error| error.to_string())
    }

    async fn reload_configuration(&self) -> Result<Vec<String>, Vec<Fault>> {
        self.configuration.reload(Trigger::Order).await
    }

    async fn hand_over(&self) -> Result<(), String> {
        self.hand_over.begin().await
    }
}
