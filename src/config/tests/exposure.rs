//! Which permissions expose a path, and to whom.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::super::{Neighbours, Why, read, writable_by_others};
use super::{LOOPBACK, REST};

/// A folder that only root and we can write, with a policy in it.
fn private() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("p.yaml");
    fs::write(&file, "").expect("written");
    (folder, file)
}

fn allow(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("permissions set");
}

fn why(path: &Path, neighbours: Neighbours) -> Option<(PathBuf, Why)> {
    writable_by_others(path, neighbours).map(|exposure| (exposure.path, exposure.why))
}

#[test]
fn a_file_of_ours_below_a_sticky_folder_is_not_exposed() {
    let (folder, file) = private();
    allow(folder.path(), 0o1777);
    allow(&file, 0o644);
    for neighbours in [Neighbours::Apart, Neighbours::SameUsers] {
        assert_eq!(why(&file, neighbours), None);
        assert_eq!(why(&folder.path().join("not/yet"), neighbours), None);
    }
}

#[test]
fn a_file_or_folder_that_everybody_writes_is_exposed() {
    let (folder, file) = private();
    allow(&file, 0o646);
    assert_eq!(why(&file, Neighbours::Apart), Some((file.clone(), Why::Everybody)));
    allow(&file, 0o644);
    allow(folder.path(), 0o777);
    let open = Some((folder.path().to_owned(), Why::Everybody));
    assert_eq!(why(&file, Neighbours::Apart), open);
    assert_eq!(why(&folder.path().join("not/yet"), Neighbours::Apart), open);
    // As a state folder itself, sticky does not help: others could put files in.
    allow(folder.path(), 0o1777);
    assert_eq!(why(folder.path(), Neighbours::Apart), open);
    let text = writable_by_others(folder.path(), Neighbours::Apart).map(|exposure| exposure.to_string());
    let path = folder.path().display();
    assert_eq!(text, Some(format!("{path} can be written by everybody (chmod o-w {path})")));
}

#[test]
fn a_group_that_writes_matters_only_among_the_same_users() {
    let (_folder, file) = private();
    allow(&file, 0o664);
    assert_eq!(why(&file, Neighbours::Apart), None);
    assert!(matches!(why(&file, Neighbours::SameUsers), Some((_, Why::Group(_)))));
}

#[test]
fn another_owner_matters_only_among_the_same_users() {
    let (_folder, file) = private();
    if std::os::unix::fs::chown(&file, Some(1234), None).is_err() {
        // Only root can give a file away.
        assert!(!nix::unistd::Uid::effective().is_root());
        return;
    }
    assert_eq!(why(&file, Neighbours::Apart), None);
    assert_eq!(why(&file, Neighbours::SameUsers), Some((file, Why::Owner(1234))));
}

#[test]
fn links_are_followed_through_every_folder() {
    let (folder, file) = private();
    let open = folder.path().join("open");
    fs::create_dir(&open).expect("made");
    allow(&open, 0o777);
    symlink(&file, open.join("inner")).expect("linked");
    symlink("open/inner", folder.path().join("outer")).expect("linked");
    assert_eq!(why(&folder.path().join("outer"), Neighbours::Apart), Some((open, Why::Everybody)));
    symlink("loop", folder.path().join("loop")).expect("linked");
    assert!(matches!(why(&folder.path().join("loop"), Neighbours::Apart), Some((_, Why::Unknown(_)))));
}

#[test]
fn a_configuration_names_what_the_agent_could_write() {
    let (folder, policy) = private();
    let file = folder.path().join("r.yaml");
    fs::write(&file, format!("{LOOPBACK}{REST}")).expect("written");
    let settings = read(&file).expect("right");
    assert_eq!(settings.neighbours(), Neighbours::SameUsers);
    assert_eq!(settings.exposures(), []);
    allow(&policy, 0o666);
    let keys: Vec<_> = settings.exposures().into_iter().map(|(key, _)| key).collect();
    // The file is called p.yaml in both.
    assert_eq!(keys, ["policy"]);
}
