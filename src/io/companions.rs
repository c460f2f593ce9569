//! The policy file as it lies on disk, and the files that it names beside itself: read from its folder and from nowhere else.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::limits::{POLICY_BYTES_MAX, POLICY_FILES_MAX};
use crate::policy::{self, Files, Loaded, Source, Terms};

/// The folder of a policy file.
#[derive(Debug)]
pub(crate) struct Companions(PathBuf);

/// Reads, checks and compiles the policy in a file. `unsupplied` are the fields named with `--agt-unsupplied`.
///
/// # Errors
/// If the file itself cannot be read as a text.
pub(crate) fn load(file: &Path, unsupplied: &[String]) -> io::Result<Loaded> {
    let text = text(file)?;
    let companions = Companions::of(file);
    let name = file.display().to_string();
    Ok(policy::load_with(Source { name: &name, text: &text }, &Terms { unsupplied, files: &companions }))
}

/// A text file of bounded length.
///
/// # Errors
/// If it cannot be read, or is not UTF-8.
pub(crate) fn text(file: &Path) -> io::Result<String> {
    String::from_utf8(bounded(file)?).map_err(|error| {
        let before = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        io::Error::new(io::ErrorKind::InvalidData, format!("line {line} is not UTF-8; save the file as UTF-8"))
    })
}

/// One octet more than the bound is enough for the loader to see that there are too many.
fn bounded(file: &Path) -> io::Result<Vec<u8>> {
    let most = u64::try_from(POLICY_BYTES_MAX).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    File::open(file)?.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl Companions {
    pub(crate) fn of(file: &Path) -> Companions {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
        Companions(folder.unwrap_or(Path::new(".")).to_owned())
    }

    /// Where a path leads, links followed; it must be in or below the folder.
    fn place(&self, path: &str) -> Result<PathBuf, String> {
        let told = |error: io::Error| error.to_string();
        let folder = self.0.canonicalize().map_err(told)?;
        let place = folder.join(path).canonicalize().map_err(told)?;
        if place.starts_with(&folder) { Ok(place) } else { Err("it lies outside of the policy's folder".to_owned()) }
    }

    fn gather(&self, folder: &str, found: &mut Vec<String>) -> Result<(), String> {
        let entries = fs::read_dir(self.place(folder)?).map_err(|error| error.to_string())?;
        for entry in entries {
            let entry = entry.map_err(|error| error.to_string())?;
            let Ok(name) = entry.file_name().into_string() else { return Err("a name is not UTF-8".to_owned()) };
            let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
            let place = self.place(&path)?;
            if place.is_dir() {
                self.gather(&path, found)?;
            } else if place.is_file() {
                found.push(path);
            }
            if found.len() > POLICY_FILES_MAX || folder.len() > 1_024 {
                return Err("there are too many files in it".to_owned());
            }
        }
        Ok(())
    }
}

impl Files for Companions {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        let place = self.place(path)?;
        if !place.is_file() {
            return Err("it is no regular file".to_owned());
        }
        let bytes = bounded(&place).map_err(|error| error.to_string())?;
        if bytes.len() > POLICY_BYTES_MAX { Err("it is too long".to_owned()) } else { Ok(bytes) }
    }

    fn list(&self, folder: &str) -> Result<Vec<String>, String> {
        let mut found = Vec::new();
        self.gather(folder, &mut found)?;
        found.sort();
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_from_the_policys_folder_and_from_nowhere_else() {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("policies");
        fs::create_dir_all(folder.join("more")).unwrap();
        fs::write(outer.path().join("secret"), "s").unwrap();
        fs::write(folder.join("more/base.yaml"), "b").unwrap();
        fs::write(folder.join("top.yaml"), "t").unwrap();
        std::os::unix::fs::symlink(outer.path().join("secret"), folder.join("link")).unwrap();
        let companions = Companions::of(&folder.join("policy.yaml"));
        assert_eq!(companions.read("more/base.yaml"), Ok(b"b".to_vec()));
        for path in ["../secret", "link", "gone", "more", "/etc/passwd"] {
            assert!(companions.read(path).is_err(), "{path}");
        }
        assert!(companions.list("").is_err(), "a link that leads out is not passed over in silence");
        fs::remove_file(folder.join("link")).unwrap();
        assert_eq!(companions.list("").unwrap(), ["more/base.yaml", "top.yaml"]);
    }
}
