//! The port through which others learn of revocations as soon as this process does.

use crate::store::Revocation;

/// Is told what was revoked, by whoever is the first in this process to know: the caller who publishes a revocation, and
/// whatever takes over those of other processes. Must not block.
pub trait ObserveRevocations: Send + Sync {
    /// These were revoked. They may have been told before.
    fn revoked(&self, revocations: &[Revocation]);

    /// Anything may have been revoked: what would have told was interrupted.
    fn check_all(&self);
}
