//! From the configuration to each component's own settings: the only place where both are known.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context as _;
use http::HeaderName;

use super::Services;
use crate::admission::Gate;
use crate::api::dialects::DialectApi;
use crate::api::{self, ApiSettings, Endpoints};
use crate::auth::api_keys::ApiKeySettings;
use crate::auth::one_time::{Links, OneTimeSettings};
use crate::auth::throttle::ThrottleSettings;
use crate::auth::{AuthSettings, Registration};
use crate::clock::{Entropy, SystemEntropy};
use crate::config::{self, Config};
use crate::forwarding::{Forwarding, ForwardingSettings, IdentityHeaderNames};
use crate::identity::access_token::TokenPolicy;
use crate::identity::client_assertion::AssertionPolicy;
use crate::mail::files::Files;
use crate::mail::outbox::{OutboxSettings, Transport};
use crate::mail::smtp::{Smtp, Wire};
use crate::policy::route::RouteTable;
use crate::proxy::{ApiCalls, DownstreamTimeouts, ProxyParts, RequestIds, ServerSettings, UpstreamSettings, Upstreams};
use crate::revocation::Mode;
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::metrics::Metrics;

pub(super) fn token_policy(config: &Config) -> TokenPolicy {
    let auth = &config.auth;
    TokenPolicy {
        issuer: auth.issuer.as_str().into(),
        audience: auth.audience.as_str().into(),
        skew: auth.clock_skew,
        life_max: config.dialects.access_ttl_max().map_or(auth.access_token, |longest| longest.max(auth.access_token)),
    }
}

pub(super) fn auth(config: &Config) -> AuthSettings {
    let auth = &config.auth;
    AuthSettings {
        tokens: token_policy(config),
        access_token: auth.access_token,
        refresh_token: auth.refresh_token,
        session_max: auth.session_max,
        rotation_grace: auth.rotation_grace,
        registration: match auth.registration {
            config::Registration::Open => Registration::Open,
            config::Registration::Invitation => Registration::Invitation,
            config::Registration::Closed => Registration::Closed,
        },
        default_roles: auth.default_roles.clone(),
        self_assigned_roles: auth.self_assigned_roles.clone(),
        one_time: OneTimeSettings {
            password_reset: auth.one_time.password_reset,
            email_verification: auth.one_time.email_verification,
            invitation: auth.one_time.invitation,
            reauthentication: auth.one_time.reauthentication,
            links: auth.links.as_ref().map(|links| Links {
                password_reset: links.password_reset.clone(),
                email_verification: links.email_verification.clone(),
                invitation: links.invitation.clone(),
                reauthentication: links.reauthentication.clone(),
            }),
        },
        admin_role: auth.admin_role.clone(),
        session_scopes: auth.session_scopes.clone(),
        assertions: AssertionPolicy { audiences: assertion_audiences(config), skew: auth.clock_skew },
        api_keys: auth.api_keys.as_ref().map(|keys| ApiKeySettings { scopes: keys.scopes.clone(), life_max: keys.life_max }),
    }
}

pub(super) fn throttle(config: &Config) -> ThrottleSettings {
    let throttle = &config.auth.throttle;
    ThrottleSettings {
        enabled: throttle.enabled,
        account: throttle.account,
        account_network: throttle.account_network,
        network: throttle.network,
        register: throttle.register,
        known_for: throttle.known_for,
    }
}

/// What carries mail, and how letters are written.
pub(super) fn mail(mail: &config::Mail) -> anyhow::Result<(Arc<dyn Transport>, OutboxSettings)> {
    let transport: Arc<dyn Transport> = match &mail.transport {
        config::MailTransport::Smtp { url, clear, timeout } => {
            let wire = if *clear { Wire::Clear } else { Wire::Tls };
            Arc::new(Smtp::new(url, wire, *timeout).context("cannot use `auth.mail.url`")?)
        }
        config::MailTransport::Files(directory) => Arc::new(Files::new(directory.clone())),
    };
    let settings = OutboxSettings {
        sender: mail.from.clone(),
        templates: mail.templates.clone(),
        service: mail.service.clone(),
        letters_max: mail.queue,
        each_hourly_max: mail.per_address,
    };
    Ok((transport, settings))
}

/// How clients find the OAuth endpoints: only where the issuer is the URL at which they ask (RFC 8414 §3).
fn endpoints(config: &Config) -> Option<Endpoints> {
    let origin = config.auth.issuer_origin.clone()?;
    Some(Endpoints { issuer: config.auth.issuer.clone(), origin })
}

/// Our names in clients' assertions (RFC 7523 §3): the issuer, and the token endpoint if its URL is known.
fn assertion_audiences(config: &Config) -> Vec<Box<str>> {
    let endpoint = config.auth.issuer_origin.as_ref().map(|origin| format!("{origin}{}/oauth/token", config.auth.prefix));
    [config.auth.issuer.clone()].into_iter().chain(endpoint).map(Into::into).collect()
}

pub(super) fn upstreams(config: &Config) -> Vec<UpstreamSettings> {
    let servers = |upstream: &config::Upstream| {
        let server = |server: &config::UpstreamServer| ServerSettings {
            host: server.host.clone(),
            port: server.port,
            tls_name: server.tls_name.clone(),
        };
        upstream.servers.iter().map(server).collect()
    };
    let settings = |upstream: &config::Upstream| UpstreamSettings {
        name: Arc::clone(&upstream.name),
        servers: servers(upstream),
        connect_timeout: upstream.connect_timeout,
        read_timeout: upstream.read_timeout,
        write_timeout: upstream.write_timeout,
        idle_timeout: upstream.idle_timeout,
        retry: upstream.retries > 0,
    };
    config.upstreams.iter().map(settings).collect()
}

pub(super) fn revocation_mode(config: &Config) -> Mode {
    if config.revocation.is_some() { Mode::Strict } else { Mode::Embedded }
}

fn forwarding(config: &Config) -> anyhow::Result<ForwardingSettings> {
    let names = &config.identity_headers;
    let name = |text: &str| HeaderName::try_from(text).with_context(|| format!("`{text}` cannot be a header name"));
    let identity_headers = IdentityHeaderNames {
        subject: name(&names.subject)?,
        username: name(&names.username)?,
        email: name(&names.email)?,
        roles: name(&names.roles)?,
        scopes: name(&names.scopes)?,
        session: name(&names.session)?,
        issuer: name(&names.issuer)?,
    };
    let cookies = config.dialects.iter().flat_map(|dialect| dialect.cookie_names());
    let own_cookies = cookies.map(Into::into).collect();
    Ok(ForwardingSettings { identity_headers, issuer: config.auth.issuer.as_str().into(), own_cookies })
}

/// Everything that the proxy is made of. Called on the application's runtime, on which the API will run.
pub(super) fn proxy_parts(
    config: &Config,
    services: &Services,
    upstreams: Arc<Upstreams>,
    access_log: Option<AccessLog>,
    metrics: &Arc<Metrics>,
    draining: &Arc<AtomicBool>,
) -> anyhow::Result<ProxyParts> {
    let routes = RouteTable::new(config.routes.clone()).context("two routes match the same requests")?;
    let forwarding = Arc::new(Forwarding::new(forwarding(config)?)?);
    let api = ApiSettings {
        prefix: config.auth.prefix.clone(),
        body_bytes_max: config.server.limits.auth_body_bytes_max,
        identity_headers: {
            let forwarding = Arc::clone(&forwarding);
            Arc::new(move |principal| forwarding.identity_headers(principal))
        },
        endpoints: endpoints(config),
    };
    let body_bytes_max = api.body_bytes_max;
    let router = api::router(Arc::clone(&services.auth), Arc::clone(&services.authenticator), api);
    let dialects = Arc::new(DialectApi::new(Arc::clone(&services.auth), Arc::clone(&services.authenticator)));
    let runtime = tokio::runtime::Handle::current();
    let mut process = [0; 8];
    SystemEntropy.fill(&mut process);
    Ok(ProxyParts {
        dialects: config.dialects.clone(),
        gate: Gate::new(routes, config.server.limits, Arc::clone(&services.authenticator), Arc::clone(&services.clock)),
        forwarding,
        route_names: config.routes.iter().map(|route| (route.name.clone(), Arc::clone(&route.upstream))).collect(),
        upstreams,
        api: ApiCalls::new(router, dialects, runtime, config.auth.prefix.clone(), body_bytes_max),
        limits: config.server.limits,
        timeouts: DownstreamTimeouts {
            header: config.server.header_timeout,
            idle: config.server.idle_timeout,
            body: config.server.body_timeout,
        },
        trusted_proxies: config.server.trusted_proxies.clone(),
        clock: Arc::clone(&services.clock),
        ids: Arc::new(RequestIds::new(u64::from_be_bytes(process))),
        metrics: Arc::clone(metrics),
        access_log,
        draining: Arc::clone(draining),
    })
}
