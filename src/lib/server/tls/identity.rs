//! Shows our certificate to a server that asks, and remembers whether it asked (`cert_cb` in
//! `src/interfaces/libpq/fe-secure-openssl.c`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::sign::CertifiedKey;

/// Our certificate, when there is one.
#[derive(Debug)]
pub(super) struct ShownIdentity {
    identity: Option<Arc<CertifiedKey>>,
    was_asked_for: AtomicBool,
}

impl ShownIdentity {
    pub(super) fn new(identity: Option<CertifiedKey>) -> Self {
        Self { identity: identity.map(Arc::new), was_asked_for: AtomicBool::new(false) }
    }

    /// Why the server of a finished handshake has not seen our certificate, to follow its name.
    pub(super) fn problem(&self) -> Option<&'static str> {
        match (self.was_asked_for.load(Ordering::SeqCst), &self.identity) {
            (false, _) => Some("did not ask for a client certificate"),
            (true, None) => Some("asked for a client certificate and there is none"),
            (true, Some(_)) => None,
        }
    }
}

impl ResolvesClientCert for ShownIdentity {
    fn resolve(&self, _root_hint_subjects: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.was_asked_for.store(true, Ordering::SeqCst);
        self.identity.clone()
    }

    fn has_certs(&self) -> bool {
        self.identity.is_some()
    }
}
