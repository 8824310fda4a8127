//! Who may pass a route, and the proof that somebody may: the only maker of a [`Permit`].

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::identity::Caller;
use crate::identity::user::Role;

use super::route::Route;

/// Whether a route needs a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Access {
    /// A valid token is required.
    #[default]
    Authenticated,
    /// A token is checked when there is one; an invalid one is refused, never treated as none.
    Optional,
    /// No token is looked at.
    Public,
}

/// What a route demands beyond a valid token.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Requirements {
    /// The principal must have every one of these roles.
    pub roles: BTreeSet<Role>,
}

/// Proof that this request may be forwarded: without one there is no upstream.
#[derive(Debug, Clone)]
pub struct Permit {
    route: Arc<Route>,
    caller: Option<Arc<Caller>>,
}

/// Why a recognised (or anonymous) caller may not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessRefusal {
    /// The route needs a token and there is none.
    MissingToken,
    /// The principal lacks a required role.
    MissingRole,
}

/// Decides whether `caller` may pass `route`.
///
/// # Errors
/// Says what is missing.
pub fn decide(route: Arc<Route>, caller: Option<Arc<Caller>>) -> Result<Permit, AccessRefusal> {
    match (route.access, &caller) {
        (Access::Public, _) => return Ok(Permit { route, caller: None }),
        (Access::Authenticated, None) => return Err(AccessRefusal::MissingToken),
        (Access::Optional, None) if !route.require.roles.is_empty() => return Err(AccessRefusal::MissingToken),
        (Access::Authenticated | Access::Optional, _) => {}
    }
    if let Some(caller) = &caller {
        // Roles are few and sorted: a scan is cheaper than a set.
        let has = |role: &Role| caller.principal.roles.iter().any(|held| **held == *role.as_str());
        if !route.require.roles.iter().all(has) {
            return Err(AccessRefusal::MissingRole);
        }
    }
    Ok(Permit { route, caller })
}

impl Permit {
    /// Where the request goes.
    #[must_use]
    pub fn route(&self) -> &Arc<Route> {
        &self.route
    }

    /// For whom; none on public routes and for anonymous callers of optional ones.
    #[must_use]
    pub fn caller(&self) -> Option<&Arc<Caller>> {
        self.caller.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures;
    use super::*;

    fn decided(access: Access, required: &[&str], caller: Option<&[&str]>) -> Result<bool, AccessRefusal> {
        let roles = required.iter().map(|role| Role::parse(role).expect("a role")).collect();
        let route = Route { access, require: Requirements { roles }, ..fixtures::route(None, "/") };
        decide(Arc::new(route), caller.map(|roles| Arc::new(fixtures::caller(roles)))).map(|permit| permit.caller().is_some())
    }

    #[test]
    fn a_permit_needs_what_the_route_requires() {
        use Access::*;
        use AccessRefusal::*;
        // Access, required roles, the caller's roles (none: anonymous), and whether the permit names a caller.
        for (access, required, caller, expected) in [
            (Authenticated, &[][..], None, Err(MissingToken)),
            (Authenticated, &[], Some(&[][..]), Ok(true)),
            (Authenticated, &["admin"], None, Err(MissingToken)),
            (Authenticated, &["admin"], Some(&[]), Err(MissingRole)),
            (Authenticated, &["admin"], Some(&["administrator", "Admin"]), Err(MissingRole)),
            (Authenticated, &["admin"], Some(&["admin", "user"]), Ok(true)),
            (Authenticated, &["admin", "user"], Some(&["admin"]), Err(MissingRole)),
            (Authenticated, &["admin", "user"], Some(&["admin", "user"]), Ok(true)),
            (Optional, &[], None, Ok(false)),
            (Optional, &[], Some(&[]), Ok(true)),
            (Optional, &["admin"], None, Err(MissingToken)),
            (Optional, &["admin"], Some(&["user"]), Err(MissingRole)),
            (Optional, &["admin"], Some(&["admin"]), Ok(true)),
            (Public, &[], None, Ok(false)),
            // Nobody vouched for the caller where no token is looked at.
            (Public, &[], Some(&["admin"]), Ok(false)),
        ] {
            assert_eq!(decided(access, required, caller), expected, "{access:?} {required:?} {caller:?}");
        }
    }

    #[test]
    fn a_route_needs_a_token_unless_it_says_otherwise() {
        assert_eq!(Access::default(), Access::Authenticated);
    }
}
