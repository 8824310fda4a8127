//! The built-in defaults of every key. `gateway.toml` at the root of the repository states the same ones, with
//! the reasons for which one would change them; a test holds the two together.

mod upstreams;

use super::file::acme::{Acme, AcmeChallenge};
use super::file::listeners::{ClientCertificates, ClientIdentity, Clients, Http2, Tls, TlsVersion};
use super::file::{
    ApiKeys, Audit, Auth, IdentityHeaders, Limits, Links, LogFormat, LogLevel, Mail, MailTransport, OneTime, Password,
    PasswordAlgorithm, Registration, Revocation, RevocationCheck, Server, Signing, SigningAlgorithm, Store, Telemetry, Throttle,
};
use super::secret::SecretText;

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: vec!["127.0.0.1:8080".to_owned()],
            admin: "127.0.0.1:9090".to_owned(),
            threads: None,
            listeners: Vec::new(),
            tls: Tls::default(),
            http2: Http2::default(),
            acme: Acme::default(),
            trusted_proxies: Vec::new(),
            header_timeout: "10s".into(),
            idle_timeout: "60s".into(),
            body_timeout: "30s".into(),
            websocket_idle_timeout: "1h".into(),
            drain_delay: "0s".into(),
            drain_timeout: "30s".into(),
            watch_config: true,
            limits: Limits::default(),
        }
    }
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            handshake_timeout: "10s".into(),
            min_version: TlsVersion::V1_2,
            https_port: 443,
            hsts: "180d".to_owned(),
            hsts_subdomains: false,
            certificates: Vec::new(),
            clients: Clients::default(),
        }
    }
}

impl Default for Http2 {
    fn default() -> Self {
        Self { enabled: true, streams: 32 }
    }
}

impl Default for Acme {
    fn default() -> Self {
        Self {
            hosts: Vec::new(),
            directory: "https://acme-v02.api.letsencrypt.org/directory".to_owned(),
            terms_of_service: false,
            contact: Vec::new(),
            challenge: AcmeChallenge::Http01,
            ca: None,
            external_account: None,
        }
    }
}

impl Default for Clients {
    fn default() -> Self {
        Self { certificates: ClientCertificates::Off, authorities: None, identity: ClientIdentity::Subject }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            target: "8KiB".into(),
            headers: "32KiB".into(),
            header_count: 100,
            body: "16MiB".into(),
            auth_body: "64KiB".into(),
            connections: 16_384,
            connections_per_address: 1024,
        }
    }
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            prefix: "/auth".to_owned(),
            issuer: "portcullis".to_owned(),
            audience: "portcullis".to_owned(),
            access_token: "15m".into(),
            refresh_token: "30d".into(),
            session_max: "90d".into(),
            rotation_grace: "10s".into(),
            clock_skew: "5s".into(),
            registration: Registration::Open,
            default_roles: Vec::new(),
            self_assigned_roles: Vec::new(),
            admin_role: "admin".to_owned(),
            session_scopes: Vec::new(),
            api_keys: ApiKeys::default(),
            password: Password::default(),
            signing: Signing::default(),
            throttle: Throttle::default(),
            public_url: None,
            one_time: OneTime::default(),
            links: Links::default(),
            mail: Mail::default(),
            audit: Audit::default(),
        }
    }
}

impl Default for OneTime {
    fn default() -> Self {
        Self {
            password_reset: "1h".into(),
            email_verification: "24h".into(),
            invitation: "7d".into(),
            reauthentication: "10m".into(),
        }
    }
}

impl Default for Links {
    fn default() -> Self {
        // Behind `#`, the token is in no request, and so in no server's log and no `Referer`.
        Self {
            password_reset: "/reset-password#token=$token".to_owned(),
            email_verification: "/verify-email#token=$token".to_owned(),
            invitation: "/accept-invitation#token=$token".to_owned(),
            reauthentication: "/reauthenticate#token=$token".to_owned(),
        }
    }
}

impl Default for Mail {
    fn default() -> Self {
        Self {
            transport: MailTransport::None,
            url: None,
            from: None,
            directory: "mail".into(),
            templates: None,
            timeout: "10s".into(),
            queue: 1000,
            per_address: 5,
            insecure_plaintext: false,
        }
    }
}

impl Default for ApiKeys {
    fn default() -> Self {
        Self { enabled: true, scopes: Vec::new(), life_max: "365d".into() }
    }
}

impl Default for Password {
    fn default() -> Self {
        Self {
            algorithm: PasswordAlgorithm::Argon2id,
            min_length: 8,
            refuse_common: true,
            block_list: None,
            argon2_memory: "19MiB".into(),
            argon2_passes: 2,
            argon2_lanes: 1,
            bcrypt_cost: 12,
            workers: None,
            queue: 128,
        }
    }
}

impl Default for Signing {
    fn default() -> Self {
        Self { algorithm: SigningAlgorithm::EdDsa, keys: "keys.json".into(), activation: "10m".into() }
    }
}

impl Default for Audit {
    fn default() -> Self {
        Self { keep: "90d".into() }
    }
}

impl Default for Throttle {
    fn default() -> Self {
        Self {
            account: "100/1h".into(),
            account_network: "10/15m".into(),
            network: "100/10m".into(),
            register: "1000/1h".into(),
            known_for: "30d".into(),
            insecure_off: false,
        }
    }
}

impl Default for Store {
    fn default() -> Self {
        Self { url: SecretText::Value("sqlite:portcullis.db".to_owned()), connections_max: 16 }
    }
}

impl Default for Revocation {
    fn default() -> Self {
        Self {
            url: None,
            sentinel: None,
            cluster: Vec::new(),
            username: None,
            password: None,
            tls: None,
            min_replica_acks: 0,
            check: RevocationCheck::Strict,
            max_staleness: "1s".into(),
            max_records: 2_000_000,
            deadline: "50ms".into(),
            prefix: String::new(),
            insecure_single_replica: false,
        }
    }
}

impl Default for IdentityHeaders {
    fn default() -> Self {
        Self {
            subject: "X-Auth-Subject".to_owned(),
            username: "X-Auth-Username".to_owned(),
            email: "X-Auth-Email".to_owned(),
            roles: "X-Auth-Roles".to_owned(),
            scopes: "X-Auth-Scopes".to_owned(),
            session: "X-Auth-Session".to_owned(),
            issuer: "X-Auth-Issuer".to_owned(),
            client_certificate: "X-Auth-Client-Certificate".to_owned(),
            pass_token: false,
        }
    }
}

impl Default for Telemetry {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: LogLevel::Info, access_log: true }
    }
}
