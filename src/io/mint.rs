//! The certificate authority and the leaves it signs.
//!
//! The authority of a `run` is made in memory, is never written, and dies with the process. It is made after the fence stands, so that no
//! process inside the fence ever had its key in its memory. That of a long-running proxy is kept by [`store`], so that agents need not
//! trust a new one after every restart. Every leaf carries exactly one name, lives at most a day and no longer than its authority,
//! and shares one key pair: the key protects only the way between the agent and us.

mod error;
mod store;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::SystemTime;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::io::tls;
use crate::limits::{CA_LIFE, CERTIFICATE_BACKDATE, LEAF_LIFE};

pub use error::MintError;
pub(crate) use store::{KEY_FILE, StoredCertificate, bundle, write_bundle};

/// An authority that signs leaves.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pem: String,
    ends: SystemTime,
    leaf_key: KeyPair,
}

impl Authority {
    /// Makes a new authority in memory.
    pub(crate) fn new() -> Result<Authority, MintError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let ends = SystemTime::now() + CA_LIFE;
        let certificate = self_signed(&key, "ringfence local authority", ends)?;
        Authority::of(key, certificate.der().clone(), ends)
    }

    /// An authority of a key and the certificate for it.
    fn of(key: KeyPair, certificate: CertificateDer<'static>, ends: SystemTime) -> Result<Authority, MintError> {
        Ok(Authority {
            pem: tls::pem(&certificate),
            issuer: Issuer::from_ca_cert_der(&certificate, key)?,
            certificate,
            ends,
            leaf_key: KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?,
        })
    }

    /// The authority's certificate, for the trust bundle.
    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    /// When it ends.
    pub(crate) fn ends(&self) -> SystemTime {
        self.ends
    }

    /// A server configuration whose leaf is good for `host`, a canonical name or an address literal, and nothing else.
    pub(crate) fn mint(&self, host: &str) -> Result<Arc<ServerConfig>, MintError> {
        let mut params = CertificateParams::new(vec![host.to_owned()])?;
        // A common name takes 64 octets (RFC 5280 A.1); the alternative name is what clients read.
        params.distinguished_name = name(if host.len() <= 64 { host } else { "ringfence leaf" });
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let now = SystemTime::now();
        if now >= self.ends {
            return Err(MintError::Over(self.ends));
        }
        params.not_before = (now - CERTIFICATE_BACKDATE).into();
        params.not_after = (now + LEAF_LIFE).min(self.ends).into();
        let leaf = params.signed_by(&self.leaf_key, &self.issuer)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.leaf_key.serialize_der()));
        tls::server_config(vec![leaf.der().clone(), self.certificate.clone()], key).map_err(MintError::Config)
    }
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}

/// A certificate for an authority that may sign leaves only (path length 0), from a little before now, for clocks that differ.
fn self_signed(key: &KeyPair, common: &str, ends: SystemTime) -> Result<rcgen::Certificate, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = name(common);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = (SystemTime::now() - CERTIFICATE_BACKDATE).into();
    params.not_after = ends.into();
    params.self_signed(key)
}
