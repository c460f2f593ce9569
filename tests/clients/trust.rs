//! A certificate authority for one test, and a certificate of the origins it plays.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use std::path::{Path, PathBuf};

/// Files in PEM. None of them exists before the test or after it.
pub(crate) struct Trust {
    /// What a client, or ringfence on its behalf, must trust to reach the origins.
    pub(crate) authority: PathBuf,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Trust {
    pub(crate) fn make(folder: &Path, names: &[&str]) -> Trust {
        let authority_key = KeyPair::generate().expect("a key");
        let mut authority = CertificateParams::new(Vec::new()).expect("no names to refuse");
        authority.distinguished_name.push(DnType::CommonName, "authority of one test");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority_certificate = authority.self_signed(&authority_key).expect("signed");

        let key = KeyPair::generate().expect("a key");
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut leaf = CertificateParams::new(names).expect("names that may stand in a certificate");
        leaf.distinguished_name.push(DnType::CommonName, "origin of one test");
        let certificate = leaf.signed_by(&key, &Issuer::new(authority, authority_key)).expect("signed");

        let write = |name: &str, text: String| {
            let path = folder.join(name);
            std::fs::write(&path, text).expect("a file in our own folder");
            path
        };
        Trust {
            authority: write("authority.pem", authority_certificate.pem()),
            certificate: write("origin.pem", certificate.pem()),
            key: write("origin.key", key.serialize_pem()),
        }
    }
}
