//! An authority on disk is made once, read back with suspicion, and signs leaves that end before it does.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConnection};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::error::Flaw;
use super::{Authority, KEY_FILE, MintError, StoredCertificate, self_signed, write_bundle};
use crate::io::tls::Trust;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A folder with an authority in it.
fn opened() -> (tempfile::TempDir, Authority) {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::open(&folder.path().join("ca")).expect("made");
    (folder, authority)
}

fn flaw(folder: &Path) -> Flaw {
    match Authority::open(folder) {
        Err(MintError::Stored(_, flaw)) => flaw,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("opened"),
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("there").mode() & 0o7777
}

fn allow(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("permissions set");
}

/// Puts a certificate with another life, or of another kind, for the key in the folder.
fn put_certificate(folder: &Path, make: impl Fn(&KeyPair) -> rcgen::Certificate) {
    let key = KeyPair::from_pem(&fs::read_to_string(folder.join(KEY_FILE)).expect("read")).expect("a key");
    fs::write(folder.join("ca.pem"), make(&key).pem()).expect("written");
}

/// The leaf that a client who trusts `authority` accepts from `server` for `host`.
fn handshake(authority: &str, server: &Authority, host: &str) -> Result<CertificateDer<'static>, rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).expect("PEM")).expect("a root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).expect("a name");
    let mut client = ClientConnection::new(Arc::new(config), name)?;
    let mut server = ServerConnection::new(server.mint(host).expect("minted"))?;
    while client.is_handshaking() {
        let mut flight = Vec::new();
        client.write_tls(&mut flight).expect("to memory");
        server.read_tls(&mut flight.as_slice()).expect("from memory");
        server.process_new_packets()?;
        flight.clear();
        while server.wants_write() {
            server.write_tls(&mut flight).expect("to memory");
        }
        client.read_tls(&mut flight.as_slice()).expect("from memory");
        client.process_new_packets()?;
    }
    Ok(client.peer_certificates().expect("a chain")[0].clone().into_owned())
}

#[test]
fn an_authority_survives_a_restart() {
    let (folder, first) = opened();
    let again = Authority::open(&folder.path().join("ca")).expect("opened");
    assert_eq!(first.pem(), again.pem());
    handshake(first.pem(), &again, "api.example.com").expect("what trusts the first trusts the second");
    handshake(first.pem(), &again, "192.0.2.1").expect("and for addresses");
    assert!(handshake(Authority::new().expect("made").pem(), &again, "api.example.com").is_err());
}

#[test]
fn the_key_is_for_its_owner_alone_and_nothing_else_is_left_behind() {
    let (folder, _) = opened();
    let ca = folder.path().join("ca");
    assert_eq!((mode(&ca), mode(&ca.join(KEY_FILE)), mode(&ca.join("ca.pem"))), (0o700, 0o600, 0o644));
    let names: BTreeSet<_> = fs::read_dir(&ca).expect("listed").map(|entry| entry.expect("read").file_name()).collect();
    assert_eq!(names, BTreeSet::from(["ca.pem".into(), KEY_FILE.into()]));
    assert!(!fs::read_to_string(ca.join("ca.pem")).expect("read").contains("PRIVATE"));
}

#[test]
fn starters_at_the_same_time_agree() {
    let folder = tempfile::tempdir().expect("a folder");
    let ca = folder.path().join("ca");
    let start = std::sync::Barrier::new(8);
    let made: BTreeSet<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    start.wait();
                    Authority::open(&ca).expect("opened").pem().to_owned()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("ended")).collect()
    });
    assert_eq!(made.len(), 1);
    assert_eq!(fs::read_dir(&ca).expect("listed").count(), 2);
}

#[test]
fn a_key_without_a_certificate_gets_one() {
    let (folder, first) = opened();
    let ca = folder.path().join("ca");
    fs::remove_file(ca.join("ca.pem")).expect("removed");
    let again = Authority::open(&ca).expect("opened");
    assert_ne!(first.pem(), again.pem());
    handshake(again.pem(), &first, "a.example").expect("the key is the same");
}

#[test]
fn what_is_open_to_others_is_refused() {
    let (folder, _) = opened();
    let ca = folder.path().join("ca");
    allow(&ca.join(KEY_FILE), 0o640);
    assert_eq!(flaw(&ca), Flaw::Open(0o640));
    let said = Authority::open(&ca).err().expect("refused").to_string();
    let path = ca.join(KEY_FILE);
    let path = path.display();
    assert_eq!(
        said,
        format!(
            "{path}: others can read or change the key (mode 0640) (chmod 600 {path}; if somebody may have read it, move the folder away: the next start makes a new authority, and agents need the new bundle)"
        )
    );
    allow(&ca.join(KEY_FILE), 0o600);
    allow(&ca, 0o770);
    assert_eq!(flaw(&ca), Flaw::OpenFolder(0o770));
    allow(&ca, 0o755);
    assert!(Authority::open(&ca).is_ok());
}

#[test]
fn a_pair_that_does_not_fit_is_refused() {
    let (folder, _) = opened();
    let ca = folder.path().join("ca");
    let other = Authority::new().expect("made");
    fs::write(ca.join("ca.pem"), other.pem()).expect("written");
    assert_eq!(flaw(&ca), Flaw::OtherKey);
    fs::write(ca.join("ca.pem"), "nonsense").expect("written");
    assert_eq!(flaw(&ca), Flaw::Unreadable);
    fs::write(ca.join(KEY_FILE), "nonsense").expect("written");
    assert_eq!(flaw(&ca), Flaw::Unreadable);
    fs::remove_file(ca.join(KEY_FILE)).expect("removed");
    assert_eq!(flaw(&ca), Flaw::Keyless);
    assert!(!ca.join(KEY_FILE).exists(), "no key is made for a certificate that has lost its own");
}

#[test]
fn a_certificate_that_is_over_or_no_authority_is_refused() {
    let (folder, _) = opened();
    let ca = folder.path().join("ca");
    let second = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    put_certificate(&ca, |key| self_signed(key, "old", second).expect("made"));
    assert_eq!(flaw(&ca), Flaw::Expired(second));
    let said = Authority::open(&ca).err().expect("refused").to_string();
    let path = ca.join("ca.pem");
    assert_eq!(
        said,
        format!(
            "{}: the certificate expired at 2023-11-14T22:13:20Z (move the folder away: the next start makes a new authority, and agents need the new bundle)",
            path.display()
        )
    );
    put_certificate(&ca, |key| {
        let mut params = CertificateParams::new(vec!["leaf.example".to_owned()]).expect("a name");
        params.is_ca = IsCa::ExplicitNoCa;
        params.self_signed(key).expect("made")
    });
    assert_eq!(flaw(&ca), Flaw::NotAuthority);
    let begins = SystemTime::UNIX_EPOCH + Duration::from_secs(4_000_000_000);
    put_certificate(&ca, |key| {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        (params.not_before, params.not_after) = (begins.into(), (begins + DAY).into());
        params.self_signed(key).expect("made")
    });
    assert_eq!(flaw(&ca), Flaw::NotYet(begins));
}

#[test]
fn a_leaf_never_outlives_its_authority() {
    let (folder, _) = opened();
    let ca = folder.path().join("ca");
    put_certificate(&ca, |key| self_signed(key, "short", SystemTime::now() + DAY / 24).expect("made"));
    let authority = Authority::open(&ca).expect("opened");
    let stored = StoredCertificate::read(&ca).expect("read").expect("there");
    let leaf = handshake(authority.pem(), &authority, "a.example").expect("accepted");
    let (_, leaf) = X509Certificate::from_der(&leaf).expect("X.509");
    let ends = SystemTime::UNIX_EPOCH + Duration::from_secs(leaf.validity().not_after.timestamp().unsigned_abs());
    assert_eq!(ends, stored.ends);
    let over = Authority { ends: SystemTime::now(), ..authority };
    assert!(matches!(over.mint("a.example"), Err(MintError::Over(_))));
}

#[test]
fn a_certificate_says_whom_it_names_and_how_long_it_lives() {
    let (folder, authority) = opened();
    assert!(StoredCertificate::read(folder.path()).expect("read").is_none());
    let stored = StoredCertificate::read(&folder.path().join("ca")).expect("read").expect("there");
    assert_eq!(stored.pem(), authority.pem());
    assert!(stored.subject.starts_with("CN=ringfence authority "), "{}", stored.subject);
    assert_eq!(stored.fingerprint().len(), 32 * 3 - 1);
    let life = stored.ends.duration_since(stored.begins).expect("in order");
    assert!(life > 729 * DAY && life < 731 * DAY);
}

#[test]
fn a_bundle_holds_public_roots_and_ours_and_is_left_alone_while_it_does() {
    let (folder, authority) = opened();
    let trust = Trust::system();
    let path = folder.path().join("shared/bundle.crt");
    write_bundle(&path, &trust, authority.pem()).expect("written");
    assert_eq!(mode(&path), 0o644);
    let content = fs::read(&path).expect("read");
    assert!(content.starts_with(trust.pem()) && content.ends_with(authority.pem().as_bytes()));
    let inode = || fs::metadata(&path).expect("there").ino();
    let before = inode();
    write_bundle(&path, &trust, authority.pem()).expect("written");
    assert_eq!(inode(), before);
    let other = Authority::new().expect("made");
    write_bundle(&path, &trust, other.pem()).expect("written");
    assert!(fs::read(&path).expect("read").ends_with(other.pem().as_bytes()));
    assert_eq!(fs::read_dir(path.parent().expect("a folder")).expect("listed").count(), 1);
}
