//! The certificate authority of one run and the leaves it signs.
//!
//! The authority's key is made in memory, is never written, and dies with the process. It is made after the fence stands, so that no
//! process inside the fence ever had it in its memory. Every leaf carries exactly one name, lives at most a day, and shares one
//! key pair: the key protects only the loopback between the fenced program and us.

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

/// A P-256 authority that lives in memory.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pem: String,
    leaf_key: KeyPair,
}

/// Why an authority or a leaf could not be made.
#[derive(Debug)]
pub enum MintError {
    /// The certificate could not be built or signed.
    Certificate(rcgen::Error),
    /// The TLS library refused the pair.
    Config(rustls::Error),
}

impl std::fmt::Display for MintError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            MintError::Certificate(error) => write!(f, "cannot make a certificate: {error}"),
            MintError::Config(error) => write!(f, "cannot use a minted certificate: {error}"),
        }
    }
}

impl std::error::Error for MintError {}

impl From<rcgen::Error> for MintError {
    fn from(error: rcgen::Error) -> MintError {
        MintError::Certificate(error)
    }
}

impl Authority {
    /// Makes a new authority that may sign leaves only (path length 0).
    pub(crate) fn new() -> Result<Authority, MintError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = name("ringfence local authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        (params.not_before, params.not_after) = life(CA_LIFE);
        let certificate = params.self_signed(&key)?;
        Ok(Authority {
            pem: certificate.pem(),
            certificate: certificate.der().clone(),
            issuer: Issuer::new(params, key),
            leaf_key: KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?,
        })
    }

    /// The authority's certificate, for the trust bundle.
    pub(crate) fn pem(&self) -> &str {
        &self.pem
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
        (params.not_before, params.not_after) = life(LEAF_LIFE);
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

/// From a little before now, for clocks that differ, until `length` from now.
fn life<T: From<SystemTime>>(length: std::time::Duration) -> (T, T) {
    let now = SystemTime::now();
    ((now - CERTIFICATE_BACKDATE).into(), (now + length).into())
}
