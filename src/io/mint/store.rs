//! The authority on disk: one folder with `key.pem` (PKCS#8, 0600) and `ca.pem`.
//!
//! Each file appears whole and is never replaced, so two proxies that start at once on an empty folder end up with the same
//! authority: whoever comes second reads what the first one put there. A crash between key and certificate leaves the key, and the next start signs
//! a certificate for it. What is read back is checked as if somebody else had put it there.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::error::{Flaw, MintError, spoken};
use super::{Authority, self_signed};
use crate::io::tls::{self, Trust};
use crate::limits::{CA_FILE_BYTES_MAX, STORED_CA_LIFE, STORED_CA_WARNING};

/// The authority's private key, in its folder.
pub(crate) const KEY_FILE: &str = "key.pem";
/// The authority's certificate, in its folder.
const CERTIFICATE_FILE: &str = "ca.pem";

impl Authority {
    /// Opens the authority in a folder; makes it at the first start.
    ///
    /// # Errors
    /// If the folder cannot be used, or what lies in it is open to others, does not fit together, or is not valid now.
    pub fn open(folder: &Path) -> Result<Authority, MintError> {
        make(folder).map_err(at(folder))?;
        closed(folder, &fs::metadata(folder).map_err(at(folder))?, 0o022, Flaw::OpenFolder)?;
        let key = key(folder)?;
        let path = folder.join(CERTIFICATE_FILE);
        if !path.exists() {
            let ends = SystemTime::now() + STORED_CA_LIFE;
            let made = self_signed(&key, &format!("ringfence authority {}", serial(&key)), ends)?;
            put_new(&path, made.pem().as_bytes(), 0o644)?;
        }
        let missing = || MintError::File(path.clone(), io::ErrorKind::NotFound.into());
        let stored = StoredCertificate::read(folder)?.ok_or_else(missing)?;
        if stored.public_key != key.subject_public_key_info() {
            return Err(MintError::Stored(path, Flaw::OtherKey));
        }
        stored.check(SystemTime::now())?;
        Authority::of(key, stored.der, stored.ends)
    }
}

/// The certificate of a stored authority, without its key.
#[derive(Debug)]
pub(crate) struct StoredCertificate {
    /// Where it lies.
    pub(crate) path: PathBuf,
    /// Whom it names, as RFC 4514 writes it.
    pub(crate) subject: String,
    /// The beginning of its life.
    pub(crate) begins: SystemTime,
    /// The end of its life.
    pub(crate) ends: SystemTime,
    der: CertificateDer<'static>,
    public_key: Vec<u8>,
    signs: bool,
}

impl StoredCertificate {
    /// Reads the certificate in a folder, if there is one.
    ///
    /// # Errors
    /// If there is a file that cannot be read as a certificate.
    pub(crate) fn read(folder: &Path) -> Result<Option<StoredCertificate>, MintError> {
        let path = folder.join(CERTIFICATE_FILE);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(MintError::File(path, error)),
        };
        let text = read(file).map_err(at(&path))?;
        let unreadable = || MintError::Stored(path.clone(), Flaw::Unreadable);
        let der = CertificateDer::from_pem_slice(&text).map_err(|_| unreadable())?;
        let (rest, parsed) = X509Certificate::from_der(&der).map_err(|_| unreadable())?;
        if !rest.is_empty() {
            return Err(unreadable());
        }
        let signs = parsed.is_ca()
            && parsed.key_usage().is_ok_and(|usage| usage.is_none_or(|usage| usage.value.key_cert_sign()));
        Ok(Some(StoredCertificate {
            subject: parsed.subject().to_string(),
            begins: time(parsed.validity().not_before.timestamp()),
            ends: time(parsed.validity().not_after.timestamp()),
            public_key: parsed.public_key().raw.to_vec(),
            signs,
            der: der.clone(),
            path,
        }))
    }

    /// The certificate as PEM.
    pub(crate) fn pem(&self) -> String {
        tls::pem(&self.der)
    }

    /// SHA-256 over the certificate, in pairs of hexadecimal digits as OpenSSL prints it.
    pub(crate) fn fingerprint(&self) -> String {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &self.der);
        let pairs: Vec<_> = digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
        pairs.join(":")
    }

    /// From when to when it is valid.
    pub(crate) fn validity(&self) -> (String, String) {
        (spoken(self.begins), spoken(self.ends))
    }

    /// Refuses what may not sign now; warns when the end is near.
    pub(crate) fn check(&self, now: SystemTime) -> Result<(), MintError> {
        let refuse = |flaw| Err(MintError::Stored(self.path.clone(), flaw));
        if !self.signs {
            return refuse(Flaw::NotAuthority);
        }
        if now < self.begins {
            return refuse(Flaw::NotYet(self.begins));
        }
        if now >= self.ends {
            return refuse(Flaw::Expired(self.ends));
        }
        if now + STORED_CA_WARNING > self.ends {
            let (file, ends) = (self.path.display(), spoken(self.ends));
            tracing::warn!(%file, ends, "the authority's certificate ends soon: move its folder away before, and give agents the new bundle");
        }
        Ok(())
    }
}

/// Writes the merged bundle, public roots and the authority, for agents to read. A bundle that already says so is left alone: a container that
/// mounts the single file keeps seeing it.
///
/// # Errors
/// If it cannot be written.
pub(crate) fn write_bundle(path: &Path, trust: &Trust, authority: &str) -> Result<(), MintError> {
    let content = bundle(trust, authority);
    if fs::read(path).is_ok_and(|held| held == content) {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(at(folder))?;
    }
    let beside = write_beside(path, &content, 0o644)?;
    fs::rename(&beside, path).map_err(at(path))?;
    sync_folder(path)
}

/// The public roots and the authority as one PEM text.
pub(crate) fn bundle(trust: &Trust, authority: &str) -> Vec<u8> {
    [trust.pem(), authority.as_bytes()].concat()
}

/// Makes the folder, for us alone; what lies above it is made as everybody makes folders, because agents pass there to their bundle.
fn make(folder: &Path) -> io::Result<()> {
    if let Some(above) = folder.parent() {
        fs::create_dir_all(above)?;
    }
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Reads the key, or makes it.
fn key(folder: &Path) -> Result<KeyPair, MintError> {
    let path = folder.join(KEY_FILE);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let certificate = folder.join(CERTIFICATE_FILE);
            // Asked in this order, because another start puts the key before the certificate.
            if certificate.exists() && !path.exists() {
                return Err(MintError::Stored(certificate, Flaw::Keyless));
            }
            let made = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
            put_new(&path, made.serialize_pem().as_bytes(), 0o600)?;
            File::open(&path).map_err(at(&path))?
        }
        Err(error) => return Err(MintError::File(path, error)),
    };
    closed(&path, &file.metadata().map_err(at(&path))?, 0o077, Flaw::Open)?;
    let text = String::from_utf8(read(file).map_err(at(&path))?).unwrap_or_default();
    KeyPair::from_pem(&text).map_err(|_| MintError::Stored(path, Flaw::Unreadable))
}

/// Refuses a file or folder that belongs to somebody else, or whose mode has one of the bits.
fn closed(path: &Path, meta: &fs::Metadata, bits: u32, open: fn(u32) -> Flaw) -> Result<(), MintError> {
    let refuse = |flaw| Err(MintError::Stored(path.to_owned(), flaw));
    if meta.uid() != 0 && meta.uid() != nix::unistd::Uid::effective().as_raw() {
        return refuse(Flaw::Owner(meta.uid()));
    }
    if meta.mode() & bits != 0 {
        return refuse(open(meta.mode() & 0o7777));
    }
    Ok(())
}

/// Puts a whole file where there is none. When somebody else was first, theirs stays and ours is forgotten.
fn put_new(path: &Path, content: &[u8], mode: u32) -> Result<(), MintError> {
    let beside = write_beside(path, content, mode)?;
    // A hard link, unlike a rename, never replaces.
    let linked = fs::hard_link(&beside, path);
    fs::remove_file(&beside).map_err(at(&beside))?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(MintError::File(path.to_owned(), error)),
        _ => sync_folder(path),
    }
}

/// Writes a file of a new name beside `path` and waits for the disk.
fn write_beside(path: &Path, content: &[u8], mode: u32) -> Result<PathBuf, MintError> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let unique = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{unique}.new"));
    let beside = path.with_file_name(name);
    // After a crash, the process id of the one that left it may be ours by now.
    let _ = fs::remove_file(&beside);
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
        // Whatever the umask took away: the bundle is for others to read.
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))?;
        file.write_all(content)?;
        file.sync_all()
    };
    write().map_err(at(&beside))?;
    Ok(beside)
}

fn sync_folder(path: &Path) -> Result<(), MintError> {
    let folder = path.parent().unwrap_or(path);
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(at(folder))
}

fn read(file: File) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    file.take(CA_FILE_BYTES_MAX).read_to_end(&mut content)?;
    Ok(content)
}

fn at(path: &Path) -> impl Fn(io::Error) -> MintError {
    move |error| MintError::File(path.to_owned(), error)
}

/// Tells this authority from the next one in lists of trusted ones.
fn serial(key: &KeyPair) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &key.subject_public_key_info());
    digest.as_ref().iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

fn time(seconds: i64) -> SystemTime {
    let length = Duration::from_secs(seconds.unsigned_abs());
    let moved = if seconds < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(length)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(length)
    };
    moved.unwrap_or(SystemTime::UNIX_EPOCH)
}
