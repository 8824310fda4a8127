//! What a configuration changes of the one that is running, by key: what a reload can put in force, and what only a
//! restart can.

use std::collections::{BTreeMap, BTreeSet};

use super::{Config, file};

/// The keys in which two configurations differ, as one writes them: `routes.admin`, `server.limits`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// A reload puts these in force.
    pub live: Vec<String>,
    /// A reload that changes one of these is refused.
    pub restart: Vec<String>,
}

/// What changes of foreign issuers are called, whichever it is.
pub const ISSUERS: &str = "issuers";

/// Compares the keys of one table.
macro_rules! compare {
    ($changes:ident, $table:literal, $type:path, $old:expr, $new:expr, restart: [$($restart:ident),*], live: [$($live:ident),*]) => {{
        // Without `..`: a key that stands in neither list does not compile.
        let $type { $($restart: _,)* $($live: _,)* } = $old;
        $(if $old.$restart != $new.$restart { $changes.restart.push(concat!($table, stringify!($restart)).to_owned()); })*
        $(if $old.$live != $new.$live { $changes.live.push(concat!($table, stringify!($live)).to_owned()); })*
    }};
}

impl Config {
    /// In what this configuration differs from `running`. Values are compared as written: what is written in other
    /// words counts as changed.
    #[must_use]
    pub fn changes_from(&self, running: &Self) -> Changes {
        let (old, new) = (&*running.written, &*self.written);
        let mut changes = Changes::default();
        let file::File {
            server,
            auth,
            store,
            revocation,
            upstreams,
            routes,
            dialects,
            tests,
            issuers,
            identity_headers,
            telemetry,
        } = old;
        compare!(changes, "server.", file::Server, server, new.server,
            restart: [listen, listeners, tls, acme, http2, admin, threads, drain_delay, drain_timeout, watch_config],
            live: [trusted_proxies, header_timeout, idle_timeout, body_timeout, websocket_idle_timeout, limits]);
        // Sessions, tokens and counters of guesses are older than any reload, and so are their rules.
        compare!(changes, "auth.", file::Auth, auth, new.auth,
            restart: [
                prefix, issuer, audience, access_token, refresh_token, session_max, rotation_grace, clock_skew, registration,
                default_roles, self_assigned_roles, admin_role, session_scopes, api_keys, password, signing, throttle,
                public_url, one_time, links, mail, audit
            ],
            live: []);
        compare!(changes, "store.", file::Store, store, new.store, restart: [url, connections_max], live: []);
        compare!(changes, "revocation.", file::Revocation, revocation, new.revocation,
            restart: [
                url, sentinel, cluster, username, password, tls, min_replica_acks, check, max_staleness, max_records, deadline,
                prefix, insecure_single_replica
            ],
            live: []);
        compare!(changes, "telemetry.", file::Telemetry, telemetry, new.telemetry,
            restart: [format, level], live: [access_log]);
        let names: BTreeSet<&String> = upstreams.keys().chain(new.upstreams.keys()).collect();
        let differ = names.into_iter().filter(|name| upstreams.get(*name) != new.upstreams.get(*name));
        changes.live.extend(differ.map(|name| format!("upstreams.{name}")));
        changes.entries("routes", routes, &new.routes, |route| {
            let parts = [&route.host, &route.path].into_iter().flatten();
            route.name.clone().unwrap_or_else(|| parts.map(String::as_str).collect())
        });
        changes.entries("dialects", dialects, &new.dialects, |dialect| dialect.name.clone());
        if *identity_headers != new.identity_headers {
            changes.live.push("identity_headers".to_owned());
        }
        // The file of an authority may have changed under its name.
        let vouched = |config: &Self| config.issuers.iter().map(|issuer| issuer.authorities.clone()).collect::<Vec<_>>();
        if *issuers != new.issuers || vouched(running) != vouched(self) {
            changes.live.push(ISSUERS.to_owned());
        }
        if *tests != new.tests {
            changes.live.push("tests".to_owned());
        }
        // Verification allows for the longest life, and so does what is remembered of revoked tokens.
        if self.dialects.access_ttl_max() != running.dialects.access_ttl_max() {
            changes.restart.push("dialects.*.ttl.access".to_owned());
        }
        changes
    }
}

impl Changes {
    /// Compares two arrays of tables entry by entry; their order says nothing.
    fn entries<T: PartialEq>(&mut self, table: &str, old: &[T], new: &[T], name: impl Fn(&T) -> String) {
        let by_name = |entries| {
            let mut named: BTreeMap<String, Vec<_>> = BTreeMap::new();
            for entry in entries {
                named.entry(name(entry)).or_default().push(entry);
            }
            named
        };
        let (old, new) = (by_name(old), by_name(new));
        let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        let differ = names.into_iter().filter(|name| old.get(*name) != new.get(*name));
        self.live.extend(differ.map(|name| format!("{table}.{name}")));
    }

    /// Whether there is no difference.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.live.is_empty() && self.restart.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::super::load::{Source, read};
    use super::*;

    const LEAST: &str = "[upstreams.app]\nservers = [\"http://127.0.0.1:3000\"]\n[[routes]]\npath = \"/\"\nupstream = \"app\"\n";

    fn config(text: &str) -> Config {
        let source = Source { path: "/etc/portcullis/gateway.toml".into(), ..Source::default() };
        read(text, &source).unwrap_or_else(|report| panic!("{report}"))
    }

    fn changes(old: &str, new: &str) -> Changes {
        config(&format!("{new}\n{LEAST}")).changes_from(&config(&format!("{old}\n{LEAST}")))
    }

    #[test]
    fn what_differs_is_named_and_what_is_written_out_as_it_was_is_not() {
        assert!(changes("", "[server]\nidle_timeout = \"60s\"\n[auth]\nprefix = \"/auth\"\n# words\n").is_empty());
        let new = "[server]\nidle_timeout = \"50s\"\nthreads = 2\nlimits.target = \"4KiB\"\n[auth]\nregistration = \"closed\"\n\
            throttle.network = \"7/1m\"\n[telemetry]\naccess_log = false\nlevel = \"warn\"\n";
        let Changes { live, restart } = changes("", new);
        assert_eq!(live, ["server.idle_timeout", "server.limits", "telemetry.access_log"]);
        assert_eq!(restart, ["server.threads", "auth.registration", "auth.throttle", "telemetry.level"]);
    }

    #[test]
    fn entries_are_compared_by_name_and_never_by_order() {
        let route = |keys: &str| format!("[[routes]]\nupstream = \"app\"\n{keys}\n");
        let (a, b) = (route("path = \"/a\""), route("path = \"/b\"\nname = \"b\""));
        assert!(changes(&format!("{a}{b}"), &format!("{b}{a}")).is_empty());
        let changed = route("path = \"/b\"\nname = \"b\"\naccess = \"public\"");
        let more = "[upstreams.more]\nservers = [\"http://127.0.0.1:3001\"]\n[[routes]]\npath = \"/c\"\nupstream = \"more\"\n";
        let Changes { live, restart } = changes(&format!("{a}{b}"), &format!("{changed}{more}"));
        assert_eq!(
            (live, restart),
            (["upstreams.more", "routes./a", "routes./c", "routes.b"].map(str::to_owned).to_vec(), vec![])
        );
    }

    #[test]
    fn a_longer_life_of_a_dialects_tokens_needs_a_restart() {
        let dialect = |ttl: &str| {
            format!(
                "[[dialects]]\nname = \"legacy\"\nmatch = {{ prefix = \"/legacy\" }}\n{ttl}\n[[dialects.routes]]\n\
                on = [\"GET /legacy/health\"]\ndo = \"health\"\nok = {{ status = 200, text = \"OK\" }}\n"
            )
        };
        let Changes { live, restart } = changes(&dialect(""), &dialect("ttl = { access = \"1h\" }"));
        assert_eq!((live, restart), (vec!["dialects.legacy".to_owned()], vec!["dialects.*.ttl.access".to_owned()]));
    }
}
