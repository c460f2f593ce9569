use super::*;

const ONE: &[u8] = br#"{"description":"reads","name":"read"}"#;
const OTHER: &[u8] = br#"{"description":"reads and sends","name":"read"}"#;

fn open(state: &Path) -> Pins {
    let pins = Pins::under(state);
    pins.load("files").unwrap();
    pins
}

#[test]
fn the_first_definition_is_pinned_and_another_is_a_change_also_after_a_restart() {
    let state = tempfile::tempdir().unwrap();
    let pins = open(state.path());
    assert_eq!(pins.meet("files", "read", ONE), Met::Known);
    assert_eq!(pins.meet("files", "read", ONE), Met::Known);
    pins.save("files").unwrap();
    let pins = open(state.path());
    let Met::Changed { pinned, seen } = pins.meet("files", "read", OTHER) else { panic!("the change was not seen") };
    assert_ne!(pinned, seen);
    assert_eq!(pins.changed("files", "read"), Some((pinned.clone(), seen.clone())));
    assert_eq!(pins.meet("mail", "read", OTHER), Met::Known, "servers share no pins");
    pins.save("files").unwrap();
    // The calls stay denied although the next process has not met the new definition.
    assert_eq!(open(state.path()).changed("files", "read"), Some((pinned, seen)));
}

#[test]
fn an_accepted_change_counts_from_the_next_sync_on() {
    let state = tempfile::tempdir().unwrap();
    let pins = open(state.path());
    pins.meet("files", "read", ONE);
    pins.meet("files", "write", ONE);
    pins.save("files").unwrap();
    pins.meet("files", "read", OTHER);
    pins.meet("files", "write", OTHER);
    pins.save("files").unwrap();
    assert_eq!(accept(state.path(), "files", &["read".to_owned()]).unwrap(), ["read"]);
    assert!(pins.changed("files", "read").is_some());
    pins.refresh("files").unwrap();
    assert_eq!(pins.changed("files", "read"), None);
    assert!(pins.changed("files", "write").is_some());
    assert_eq!(pins.meet("files", "read", OTHER), Met::Known);
    assert_eq!(accept(state.path(), "files", &[]).unwrap(), ["write"]);
    assert_eq!(accept(state.path(), "files", &[]).unwrap(), [""; 0]);
}

#[test]
fn a_tool_that_is_what_it_was_again_is_no_change() {
    let state = tempfile::tempdir().unwrap();
    let pins = open(state.path());
    for definition in [ONE, OTHER, ONE] {
        pins.meet("files", "read", definition);
        pins.save("files").unwrap();
    }
    assert_eq!(pins.changed("files", "read"), None);
    assert_eq!(list(state.path()).unwrap()[0].tools["read"].seen, None);
}

#[test]
fn files_are_their_users_alone_and_names_lead_nowhere_else() {
    use std::os::unix::fs::PermissionsExt;
    let state = tempfile::tempdir().unwrap();
    for server in ["../evil", ".", "a/b", "x.json", &"long".repeat(100)] {
        let pins = Pins::under(state.path());
        pins.load(server).unwrap();
        pins.meet(server, "read", ONE);
        pins.save(server).unwrap();
        let again = Pins::under(state.path());
        again.load(server).unwrap();
        assert!(matches!(again.meet(server, "read", OTHER), Met::Changed { .. }), "{server}");
    }
    let folder = state.path().join("pins");
    assert_eq!(std::fs::read_dir(state.path()).unwrap().count(), 1);
    for entry in std::fs::read_dir(&folder).unwrap() {
        assert_eq!(entry.unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert_eq!(std::fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(list(state.path()).unwrap().len(), 5);
}

#[test]
fn a_file_that_is_none_of_ours_is_an_error_and_not_an_empty_set() {
    let state = tempfile::tempdir().unwrap();
    std::fs::create_dir(state.path().join("pins")).unwrap();
    for text in ["", "{}", "[]", r#"{"server":"other","tools":{}}"#, r#"{"server":"files","tools":{"a":1}}"#] {
        std::fs::write(state.path().join("pins/files.json"), text).unwrap();
        assert!(Pins::under(state.path()).load("files").is_err(), "{text}");
    }
}
