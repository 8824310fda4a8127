//! TLS towards servers: whose word counts for their names, and the gateway's own certificate.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pingora::protocols::tls::CaType;
use pingora::upstreams::peer::HttpPeer;
use pingora::utils::tls::{CertKey, WrappedX509, parse_x509};
use secrecy::ExposeSecret;

use super::settings::UpstreamTls;

/// Connections are shared by peers with the same address, name and client certificate. The authorities do not count
/// there, so that what one upstream accepted would serve another that trusts others: a number of its own keeps each
/// upstream with authorities to itself. 0 is everybody else's.
static NEXT_GROUP: AtomicU64 = AtomicU64::new(1);

/// What the peers of an upstream are given for TLS.
#[derive(Debug, Default)]
pub(super) struct PeerTls {
    authorities: Option<Arc<CaType>>,
    client: Option<Arc<CertKey>>,
    group: u64,
}

impl PeerTls {
    pub(super) fn new(settings: &UpstreamTls) -> Self {
        let parsed = |der: &Vec<u8>| WrappedX509::new(der.clone(), parse_x509);
        let authorities: Option<Arc<CaType>> =
            (!settings.authorities.is_empty()).then(|| settings.authorities.iter().map(parsed).collect::<Vec<_>>().into());
        let client = settings.client.as_ref();
        let client = client.map(|(chain, key)| Arc::new(CertKey::new(chain.clone(), key.expose_secret().to_vec())));
        let own = authorities.is_some() || client.is_some();
        let group = if own { NEXT_GROUP.fetch_add(1, Ordering::Relaxed) } else { 0 };
        Self { authorities, client, group }
    }

    pub(super) fn apply(&self, peer: &mut HttpPeer) {
        peer.options.ca.clone_from(&self.authorities);
        peer.client_cert_key.clone_from(&self.client);
        peer.group_key = self.group;
    }
}
