//! Who may pass a route, and the proof that somebody may: the only maker of a [`Permit`].

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::identity::Caller;
use crate::identity::scope::Scope;
use crate::identity::user::Role;

use super::rewrite::Outgoing;
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

/// What becomes of a genuine token while nobody can say whether it was revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnUnknown {
    /// It is refused.
    #[default]
    Deny,
    /// It passes.
    Allow,
    /// It passes for requests that are to change nothing (RFC 9110 §9.2.1).
    AllowSafeMethods,
}

/// What a route demands beyond a valid token.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Requirements {
    /// The principal must have every one of these roles.
    pub roles: BTreeSet<Role>,
    /// The token must be good for every one of these scopes.
    pub scopes: BTreeSet<Scope>,
    /// How long ago the principal may have given the password at most.
    pub max_age: Option<Duration>,
}

impl Requirements {
    /// Whether a valid token is all that is demanded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.roles.is_empty() && self.scopes.is_empty() && self.max_age.is_none()
    }
}

/// Proof that this request may be forwarded: without one there is no upstream.
#[derive(Debug, Clone)]
pub struct Permit {
    route: Arc<Route>,
    caller: Option<Arc<Caller>>,
    outgoing: Option<Box<Outgoing>>,
    doubtful: bool,
}

/// Why a recognised (or anonymous) caller may not pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessRefusal {
    /// The route needs a token and there is none.
    MissingToken,
    /// The principal lacks a required role.
    MissingRole,
    /// The password was given longer ago than this.
    TooLongAgo(Duration),
    /// The token is not good for a required scope.
    MissingScope {
        /// Every scope that the route requires, with spaces between them: the client is told (RFC 6750 §3).
        required: Box<str>,
    },
}

/// Decides whether `caller` may pass `route`; `now` is asked for where the route asks for a recent password.
///
/// # Errors
/// Says what is missing.
pub fn decide(route: Arc<Route>, caller: Option<Arc<Caller>>, now: impl FnOnce() -> Timestamp) -> Result<Permit, AccessRefusal> {
    match (route.access, &caller) {
        (Access::Public, _) => return Ok(Permit { route, caller: None, outgoing: None, doubtful: false }),
        (Access::Authenticated, None) => return Err(AccessRefusal::MissingToken),
        (Access::Optional, None) if !route.require.is_empty() => return Err(AccessRefusal::MissingToken),
        (Access::Authenticated | Access::Optional, _) => {}
    }
    if let Some(caller) = &caller {
        // Roles are few and sorted: a scan is cheaper than a set.
        let has = |role: &Role| caller.principal.roles.iter().any(|held| **held == *role.as_str());
        if !route.require.roles.iter().all(has) {
            return Err(AccessRefusal::MissingRole);
        }
        let good_for = |scope: &Scope| caller.principal.scopes.iter().any(|held| **held == *scope.as_str());
        if !route.require.scopes.iter().all(good_for) {
            let required: Vec<&str> = route.require.scopes.iter().map(Scope::as_str).collect();
            return Err(AccessRefusal::MissingScope { required: required.join(" ").into() });
        }
        // Last: whoever lacks a role or a scope is not helped by giving the password again.
        if let Some(max_age) = route.require.max_age
            && now().duration_since(caller.principal.auth_time) > SignedDuration::try_from(max_age).unwrap_or(SignedDuration::MAX)
        {
            return Err(AccessRefusal::TooLongAgo(max_age));
        }
    }
    Ok(Permit { route, caller, outgoing: None, doubtful: false })
}

impl Permit {
    /// Where the request goes.
    #[must_use]
    pub fn route(&self) -> &Arc<Route> {
        &self.route
    }

    /// The same for a request that is sent as something else than it was asked for.
    #[must_use]
    pub fn sent_as(self, outgoing: Outgoing) -> Self {
        Self { outgoing: Some(Box::new(outgoing)), ..self }
    }

    /// The same for a caller of whom nobody can say whether the token was revoked.
    #[must_use]
    pub fn in_doubt(self, doubtful: bool) -> Self {
        Self { doubtful, ..self }
    }

    /// Whether nobody can say whether the caller's token was revoked.
    #[must_use]
    pub fn is_doubtful(&self) -> bool {
        self.doubtful
    }

    /// What it is sent as, if not as it was asked for.
    #[must_use]
    pub fn outgoing(&self) -> Option<&Outgoing> {
        self.outgoing.as_deref()
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
        let route = Route { access, require: Requirements { roles, ..Requirements::default() }, ..fixtures::route(None, "/") };
        let caller = caller.map(|roles| Arc::new(fixtures::caller(roles)));
        decide(Arc::new(route), caller, || Timestamp::UNIX_EPOCH).map(|permit| permit.caller().is_some())
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
    fn a_password_may_be_as_old_as_the_route_says_and_not_a_moment_older() {
        let max_age = Duration::from_mins(5);
        // Ada gave hers at the epoch.
        let decided = |access, roles: &[&str], after: SignedDuration| {
            let required = roles.iter().map(|role| Role::parse(role).expect("a role")).collect();
            let require = Requirements { roles: required, max_age: Some(max_age), ..Requirements::default() };
            let route = Route { access, require, ..fixtures::route(None, "/") };
            decide(Arc::new(route), Some(Arc::new(fixtures::caller(&[]))), || Timestamp::UNIX_EPOCH + after).map(drop)
        };
        let refused = Err(AccessRefusal::TooLongAgo(max_age));
        for access in [Access::Authenticated, Access::Optional] {
            assert_eq!(decided(access, &[], SignedDuration::from_secs(-5)), Ok(()), "another replica's clock");
            assert_eq!(decided(access, &[], SignedDuration::from_secs(300)), Ok(()));
            assert_eq!(decided(access, &[], SignedDuration::new(300, 1)), refused);
            assert_eq!(decided(access, &["admin"], SignedDuration::from_secs(900)), Err(AccessRefusal::MissingRole));
        }
        let require = Requirements { max_age: Some(max_age), ..Requirements::default() };
        let optional = Route { access: Access::Optional, require, ..fixtures::route(None, "/") };
        let anonymous = decide(Arc::new(optional), None, || Timestamp::UNIX_EPOCH).map(drop);
        assert_eq!(anonymous, Err(AccessRefusal::MissingToken));
    }

    #[test]
    fn a_route_that_asks_for_scopes_passes_a_token_that_is_good_for_all_of_them() {
        let scopes = |list: &[&str]| list.iter().map(|scope| Scope::parse(scope).expect("a scope")).collect();
        let missing = Err(AccessRefusal::MissingScope { required: "read write".into() });
        for (access, held, expected) in [
            (Access::Authenticated, Some(&["read", "write"][..]), Ok(())),
            (Access::Authenticated, Some(&["read", "send", "write"]), Ok(())),
            (Access::Authenticated, Some(&["read"]), missing.clone()),
            (Access::Authenticated, Some(&["READ", "write"]), missing.clone()),
            (Access::Authenticated, Some(&["read write"]), missing.clone()),
            (Access::Optional, Some(&[]), missing),
            (Access::Authenticated, None, Err(AccessRefusal::MissingToken)),
            (Access::Optional, None, Err(AccessRefusal::MissingToken)),
        ] {
            let require = Requirements { scopes: scopes(&["write", "read"]), ..Requirements::default() };
            let route = Arc::new(Route { access, require, ..fixtures::route(None, "/") });
            let caller = held.map(|held| {
                let mut caller = fixtures::caller(&[]);
                caller.principal.scopes = held.iter().map(|&scope| scope.into()).collect();
                Arc::new(caller)
            });
            assert_eq!(decide(route, caller, || Timestamp::UNIX_EPOCH).map(drop), expected, "{access:?} {held:?}");
        }
    }

    #[test]
    fn a_route_needs_a_token_unless_it_says_otherwise() {
        assert_eq!(Access::default(), Access::Authenticated);
    }
}
