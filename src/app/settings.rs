//! From the configuration to each component's own settings: the only place where both are known.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context as _;
use http::HeaderName;

use super::Services;
use crate::acme::Challenges;
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
use crate::proxy::{
    ApiCalls, DownstreamTimeouts, EntranceParts, Http2Settings, Listener, Protocol, ProxyParts, RequestIds, SecureParts,
    Upstreams,
};
use crate::revocation::Mode;
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::metrics::Metrics;
use crate::tls::{self, CertificateFiles, Certificates, ClientCertificates, ClientName, TlsSettings};

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

pub(super) fn revocation_mode(config: &Config) -> Mode {
    match &config.revocation {
        Some(redis) if redis.mirror.is_some() => Mode::Mirror,
        Some(_) => Mode::Strict,
        None => Mode::Embedded,
    }
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
        client_certificate: name(&names.client_certificate)?,
    };
    let cookies = config.dialects.iter().flat_map(|dialect| dialect.cookie_names());
    let own_cookies = cookies.map(Into::into).collect();
    Ok(ForwardingSettings { identity_headers, issuer: config.auth.issuer.as_str().into(), own_cookies })
}

/// What every configuration of this process is served with.
pub(super) struct Shared {
    pub(super) access_log: AccessLog,
    pub(super) metrics: Arc<Metrics>,
    /// Set when connections are no longer to be kept alive.
    pub(super) draining: Arc<AtomicBool>,
    /// Set when the gateway is about to stop and nobody takes its place.
    pub(super) stopping: Arc<AtomicBool>,
    ids: Arc<RequestIds>,
}

impl Shared {
    pub(super) fn new(access_log: AccessLog, metrics: Arc<Metrics>) -> Self {
        let mut process = [0; 8];
        SystemEntropy.fill(&mut process);
        let ids = Arc::new(RequestIds::new(u64::from_be_bytes(process)));
        Self { access_log, metrics, draining: Arc::default(), stopping: Arc::default(), ids }
    }
}

/// Where certificates and their keys are.
pub(super) fn certificates(config: &Config) -> Vec<CertificateFiles> {
    let files = |certificate: &config::Certificate| CertificateFiles {
        name: certificate.name.clone(),
        certificate: certificate.certificate.clone(),
        key: certificate.key.clone(),
        hosts: certificate.hosts.clone(),
    };
    config.server.tls.iter().flat_map(|tls| &tls.certificates).map(files).collect()
}

/// How listeners speak TLS.
pub(super) fn tls(tls: &config::Tls, http2: bool) -> anyhow::Result<TlsSettings> {
    let believed = |clients: &config::TlsClients| {
        let path = clients.authorities.display();
        let authorities = std::fs::read(&clients.authorities).with_context(|| format!("{path} cannot be read"))?;
        anyhow::Ok(ClientCertificates { authorities, required: clients.required })
    };
    Ok(TlsSettings { tls13_only: tls.tls13_only, http2, clients: tls.clients.as_ref().map(believed).transpose()? })
}

/// What happens before HTTP.
pub(super) fn entrances(
    config: &Config,
    certificates: Arc<Certificates>,
    challenges: Option<Arc<Challenges>>,
) -> anyhow::Result<EntranceParts> {
    let listener = |listener: &config::Listener| Listener {
        address: listener.address,
        protocol: match listener.protocol {
            config::Protocol::Http => Protocol::Http,
            config::Protocol::Https => Protocol::Https,
            config::Protocol::Redirect => Protocol::Redirect,
        },
        proxy_protocol: listener.proxy_protocol,
    };
    let http2 = config.server.http2.map(|http2| Http2Settings { streams_max: http2.streams_max });
    let secure = |settings: &config::Tls| {
        let hsts = settings.hsts.as_deref().map(http::HeaderValue::from_str).transpose();
        anyhow::Ok(SecureParts {
            config: Arc::new(tls::server_config(&tls(settings, http2.is_some())?, Arc::clone(&certificates))?),
            certificates: Arc::clone(&certificates),
            challenges: challenges.clone(),
            https_port: settings.https_port,
            hsts: hsts.context("`server.tls.hsts` cannot be a header")?,
            client_name: match settings.clients.as_ref().map(|clients| clients.identity) {
                Some(config::ClientIdentity::AlternativeNames) => ClientName::AlternativeNames,
                Some(config::ClientIdentity::Subject) | None => ClientName::Subject,
            },
            http2,
        })
    };
    Ok(EntranceParts {
        listeners: config.server.listeners.iter().map(listener).collect(),
        secure: config.server.tls.as_ref().map(secure).transpose().context("cannot set up `server.tls`")?,
        handshake_timeout: config.server.handshake_timeout,
    })
}

/// Everything that the proxy is made of. Called on the application's runtime, on which the API will run.
pub(super) fn proxy_parts(
    config: &Config,
    services: &Services,
    upstreams: Arc<Upstreams>,
    shared: &Shared,
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
    Ok(ProxyParts {
        dialects: config.dialects.clone(),
        gate: Gate::new(routes, config.server.limits, Arc::clone(&services.authenticator), Arc::clone(&services.clock)),
        rates: Arc::clone(&services.rates),
        forwarding,
        route_names: config.routes.iter().map(|route| route.name.clone()).collect(),
        upstreams,
        api: ApiCalls::new(router, dialects, runtime, config.auth.prefix.clone(), body_bytes_max),
        challenges: services.acme.as_ref().map(|acme| acme.challenges()),
        limits: config.server.limits,
        timeouts: DownstreamTimeouts {
            header: config.server.header_timeout,
            idle: config.server.idle_timeout,
            body: config.server.body_timeout,
            websocket: config.server.websocket_idle_timeout,
        },
        connections: config.server.connections,
        trusted_proxies: config.server.trusted_proxies.clone(),
        clock: Arc::clone(&services.clock),
        ids: Arc::clone(&shared.ids),
        streams: Arc::clone(&services.streams),
        metrics: Arc::clone(&shared.metrics),
        access_log: config.telemetry.access_log.then(|| shared.access_log.clone()),
        draining: Arc::clone(&shared.draining),
    })
}
