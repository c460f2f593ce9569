//! TLS on both sides: configurations, trust, and the words for what went wrong.
//!
//! TLS 1.2 and 1.3 only, `http/1.1` only, no early data, no key log, whatever the environment says. The upstream side always
//! verifies: there is no switch that turns verification off.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::{Resumption, VerifierBuilderError, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::ServerSessionMemoryCache;
use rustls::{CertificateError, ClientConfig, RootCertStore, ServerConfig};

use crate::limits::{CRL_FILE_BYTES_MAX, TLS_CLIENT_SESSIONS_MAX, TLS_SERVER_SESSIONS_MAX};

/// The only protocol that is spoken inside TLS so far (RFC 7301 identifier).
pub(crate) const ALPN: &[u8] = b"http/1.1";

/// The roots that upstream servers are verified against.
#[derive(Clone)]
pub(crate) struct Trust {
    roots: RootCertStore,
    pem: Vec<u8>,
}

/// A file that configures TLS and cannot be used.
#[derive(Debug)]
pub struct TlsFileError {
    path: PathBuf,
    what: String,
}

impl std::fmt::Display for TlsFileError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.what)
    }
}

impl std::error::Error for TlsFileError {}

impl Trust {
    /// The system's roots, from where the platform keeps them (`SSL_CERT_FILE` and `SSL_CERT_DIR` are ours to read: they are
    /// the operator's, the fenced program cannot set them). Where there is no store, as in an image FROM scratch, the public roots that
    /// are built in; not where the operator named a store that holds nothing, because that may have been meant.
    pub(crate) fn system() -> Trust {
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::warn!(%error, "a part of the system's trust store cannot be read");
        }
        let named = ["SSL_CERT_FILE", "SSL_CERT_DIR"].iter().any(|name| std::env::var_os(name).is_some());
        Trust::system_or_built_in(found.certs, named)
    }

    fn system_or_built_in(found: Vec<CertificateDer<'static>>, named: bool) -> Trust {
        let mut trust = Trust { roots: RootCertStore::empty(), pem: Vec::new() };
        if found.is_empty() && !named {
            webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().for_each(|root| trust.add(root.clone()));
            tracing::info!(roots = trust.roots.len(), "upstreams are verified with the public roots that are built in");
        } else {
            found.into_iter().for_each(|root| trust.add(root));
            tracing::info!(roots = trust.roots.len(), "upstreams are verified with the system's trust store");
        }
        if trust.roots.is_empty() {
            tracing::warn!("the trust store is empty: no upstream can be verified");
        }
        trust
    }

    /// These roots and those of a PEM file.
    ///
    /// # Errors
    /// If the file cannot be read or holds no certificate.
    pub(crate) fn and_file(&self, path: &Path) -> Result<Trust, TlsFileError> {
        let mut trust = self.clone();
        for certificate in certificates(path)? {
            trust.add(certificate);
        }
        Ok(trust)
    }

    /// The roots as PEM, for a program that is to trust what we trust.
    pub(crate) fn pem(&self) -> &[u8] {
        &self.pem
    }

    /// A root to build a verifier with that verifies nothing.
    fn of_one_root() -> Trust {
        let mut trust = Trust { roots: RootCertStore::empty(), pem: Vec::new() };
        webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().take(1).for_each(|root| trust.add(root.clone()));
        trust
    }

    fn add(&mut self, certificate: CertificateDer<'static>) {
        self.pem.extend_from_slice(pem(&certificate).as_bytes());
        // A root that the verifier cannot read verifies nothing: leaving it out is safe.
        let _ = self.roots.add(certificate);
    }
}

/// What certificate authorities have taken back, as the operator's files have it.
#[derive(Default)]
pub(crate) struct Revocations {
    lists: Vec<CertificateRevocationListDer<'static>>,
    /// The first of the files, for what only shows when the lists are used.
    file: PathBuf,
}

impl Revocations {
    /// Reads lists in PEM (any number in a file) or DER (one).
    ///
    /// # Errors
    /// If a file cannot be read or holds no list that is understood.
    pub(crate) fn read(files: impl Iterator<Item = PathBuf>) -> Result<Revocations, TlsFileError> {
        let mut all = Revocations::default();
        for path in files {
            let refuse = |what: String| TlsFileError { path: path.clone(), what };
            let mut bytes = Vec::new();
            File::open(&path)
                .and_then(|file| file.take(CRL_FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
                .map_err(|error| refuse(format!("cannot be read: {error}")))?;
            if bytes.len() as u64 > CRL_FILE_BYTES_MAX {
                return Err(refuse(format!("is longer than {} MiB", CRL_FILE_BYTES_MAX / (1024 * 1024))));
            }
            let mut lists = match memchr::memmem::find(&bytes, b"-----BEGIN X509 CRL-----") {
                Some(_) => CertificateRevocationListDer::pem_slice_iter(&bytes)
                    .collect::<Result<Vec<_>, _>>()
                    .map_err(|error| refuse(format!("not readable as PEM: {error}")))?,
                None => vec![CertificateRevocationListDer::from(bytes)],
            };
            // The verifier would say which list it cannot read, but not from which file.
            verifier(&Trust::of_one_root(), &lists)
                .map_err(|error| refuse(format!("is no revocation list: {error}")))?;
            if all.lists.is_empty() {
                all.file.clone_from(&path);
            }
            all.lists.append(&mut lists);
        }
        Ok(all)
    }
}

/// Verifies as usual, and refuses what one of the lists has taken back, anywhere in the chain. Whose authority has no list here passes, as
/// without lists: most have none. A list past its time says nothing about now, and refuses what it is about.
fn verifier(
    trust: &Trust,
    lists: &[CertificateRevocationListDer<'static>],
) -> Result<Arc<WebPkiServerVerifier>, VerifierBuilderError> {
    WebPkiServerVerifier::builder_with_provider(Arc::new(trust.roots.clone()), provider())
        .with_crls(lists.iter().cloned())
        .allow_unknown_revocation_status()
        .enforce_revocation_expiration()
        .build()
}

/// A client configuration for upstream connections, with a client certificate (PEM: chain and key in one file) where asked.
///
/// # Errors
/// If the client certificate or the lists cannot be read or used.
pub(crate) fn client_config(
    trust: &Trust,
    revocations: &Revocations,
    identity: Option<&Path>,
) -> Result<Arc<ClientConfig>, TlsFileError> {
    let versions = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsFileError { path: PathBuf::new(), what: error.to_string() })?;
    let roots = if revocations.lists.is_empty() {
        versions.with_root_certificates(trust.roots.clone())
    } else {
        let refuse = |what: String| TlsFileError { path: revocations.file.clone(), what };
        versions.with_webpki_verifier(
            verifier(trust, &revocations.lists).map_err(|error| refuse(format!("cannot be used: {error}")))?,
        )
    };
    let mut config = match identity {
        None => roots.with_no_client_auth(),
        Some(path) => {
            let refuse = |what: String| TlsFileError { path: path.to_owned(), what };
            let key = PrivateKeyDer::from_pem_file(path).map_err(|error| refuse(format!("no private key: {error}")))?;
            roots.with_client_auth_cert(certificates(path)?, key).map_err(|error| refuse(error.to_string()))?
        }
    };
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::in_memory_sessions(TLS_CLIENT_SESSIONS_MAX);
    Ok(Arc::new(config))
}

/// A server configuration with one certificate chain.
///
/// # Errors
/// If key and chain do not fit.
pub(crate) fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    // Sessions stay within one leaf, so that a ticket never crosses from one name to another.
    config.session_storage = ServerSessionMemoryCache::new(TLS_SERVER_SESSIONS_MAX);
    config.send_tls13_tickets = 1;
    Ok(Arc::new(config))
}

/// The stable word for why an upstream's TLS was refused.
pub(crate) fn upstream_code(error: &rustls::Error) -> &'static str {
    use CertificateError as C;
    match error {
        rustls::Error::InvalidCertificate(why) => match why {
            C::Expired | C::ExpiredContext { .. } => "tls_expired",
            C::NotValidYet | C::NotValidYetContext { .. } => "tls_not_yet_valid",
            C::Revoked => "tls_revoked",
            C::ExpiredRevocationList | C::ExpiredRevocationListContext { .. } => "tls_revocation_stale",
            C::NotValidForName | C::NotValidForNameContext { .. } => "tls_wrong_host",
            C::UnknownIssuer => "tls_untrusted",
            _ => "tls_certificate",
        },
        rustls::Error::NoCertificatesPresented => "tls_certificate",
        // A list that names the certificate's authority and is not its own.
        rustls::Error::InvalidCertRevocationList(_) => "tls_revocation_list",
        rustls::Error::AlertReceived(_) => "tls_refused",
        rustls::Error::PeerIncompatible(_) => "tls_version",
        _ => "tls_handshake",
    }
}

/// The TLS error inside an I/O error, where there is one.
pub(crate) fn cause(error: &std::io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFileError> {
    let refuse = |what: String| TlsFileError { path: path.to_owned(), what };
    let found = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| refuse(format!("not readable as PEM: {error}")))?;
    if found.is_empty() { Err(refuse("holds no certificate".to_owned())) } else { Ok(found) }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// A certificate as PEM.
pub(crate) fn pem(certificate: &CertificateDer<'_>) -> String {
    let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    pem::encode_config(&pem::Pem::new("CERTIFICATE", certificate.as_ref()), config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_without_a_store_falls_back_to_the_public_roots() {
        let trust = Trust::system_or_built_in(Vec::new(), false);
        assert!(trust.roots.len() > 50, "{}", trust.roots.len());
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("roots.pem");
        std::fs::write(&file, trust.pem()).expect("written");
        assert_eq!(certificates(&file).expect("PEM").len(), trust.roots.len());
    }

    #[test]
    fn a_file_that_holds_no_revocation_list_is_refused_by_its_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("revoked.crl");
        let refused = || Revocations::read(std::iter::once(file.clone())).err().map(|error| error.to_string());
        assert!(refused().is_some_and(|said| said.contains("revoked.crl: cannot be read")));
        for text in ["", "a text", "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"] {
            std::fs::write(&file, text).expect("written");
            assert!(refused().is_some_and(|said| said.contains("revoked.crl: is no revocation list")), "{text}");
        }
    }

    #[test]
    fn a_store_that_the_operator_named_is_not_widened() {
        assert_eq!(Trust::system_or_built_in(Vec::new(), true).roots.len(), 0);
        let one = webpki_root_certs::TLS_SERVER_ROOT_CERTS[0].clone();
        assert_eq!(Trust::system_or_built_in(vec![one], false).roots.len(), 1);
    }
}
