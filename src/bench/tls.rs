//! The origin's certificate and the configurations of both halves.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use serde::{Deserialize, Serialize};

/// An authority's certificate, and a leaf that it signed with the leaf's key; all PEM. They last as long as a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Credentials {
    /// What a client has to trust.
    pub authority: String,
    /// The authority's key: a proxy that intercepts signs with it.
    pub authority_key: String,
    /// The leaf.
    pub leaf: String,
    /// The leaf's key.
    pub key: String,
}

impl Credentials {
    /// New ones, good for `names`: host names and address literals.
    ///
    /// # Errors
    /// If a name cannot stand in a certificate.
    pub fn new(names: &[&str]) -> Result<Credentials, rcgen::Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "ringfence bench authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate()?;
        let authority = params.self_signed(&key)?.pem();
        let authority_key = key.serialize_pem();
        let issuer = Issuer::new(params, key);
        let key = KeyPair::generate()?;
        let leaf = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())?
            .signed_by(&key, &issuer)?;
        Ok(Credentials { authority, authority_key, leaf: leaf.pem(), key: key.serialize_pem() })
    }

    /// The origin's configuration: TLS 1.2 and 1.3, HTTP/1.1.
    ///
    /// # Errors
    /// If leaf and key do not fit.
    pub fn server(&self) -> io::Result<Arc<ServerConfig>> {
        let leaf = certificates(self.leaf.as_bytes())?;
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).map_err(io::Error::other)?;
        let mut config =
            ServerConfig::builder().with_no_client_auth().with_single_cert(leaf, key).map_err(io::Error::other)?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Arc::new(config))
    }
}

/// A client's configuration that trusts `authority` (PEM), and continues sessions or does not.
pub(super) fn client(authority: &[u8], resumes: bool) -> io::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(authority)? {
        // A bundle may hold roots that the verifier cannot read: without them it trusts less, never more.
        let _ = roots.add(certificate);
    }
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    if !resumes {
        config.resumption = Resumption::disabled();
    }
    Ok(Arc::new(config))
}

/// A client's configuration that trusts what `SSL_CERT_FILE` names, as an ordinary program does.
pub(super) fn client_of_environment(resumes: bool) -> io::Result<Arc<ClientConfig>> {
    let file = std::env::var_os("SSL_CERT_FILE").ok_or_else(|| io::Error::other("SSL_CERT_FILE is not set"))?;
    client(&std::fs::read(Path::new(&file))?, resumes)
}

fn certificates(pem: &[u8]) -> io::Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(io::Error::other)
}

const ALPN: &[u8] = b"http/1.1";
