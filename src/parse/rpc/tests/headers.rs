//! Header fields against bodies.

use super::super::header::{self, Fields, HeaderError};
use super::super::*;
use super::{body, request};

const META: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}"#;

fn fields<'h>(list: &[(&'h str, &'h str)]) -> Result<Fields<'h>, HeaderError> {
    header::read(list.iter().map(|&(name, value)| (name, value.as_bytes())))
}

fn check(list: &[(&str, &str)], text: &str) -> Result<Version, HeaderError> {
    fields(list)?.check(&body(text).unwrap())
}

#[test]
fn fields_agree_with_the_body() {
    let tool = request("tools/call", &format!(r#"{{"name":"Hello, 世界",{META}}}"#));
    let version = ("MCP-Protocol-Version", "2026-07-28");
    let method = ("mcp-method", "tools/call");
    let name = ("Mcp-Name", "=?base64?SGVsbG8sIOS4lueVjA==?=");
    assert_eq!(check(&[version, method, name], &tool), Ok(Version::V2026_07_28));
    assert_eq!(check(&[version, method], &tool), Err(HeaderError::NameMissing));
    assert_eq!(check(&[version, name], &tool), Err(HeaderError::MethodMissing));
    assert_eq!(check(&[method, name], &tool), Err(HeaderError::VersionMissing));
    assert_eq!(
        check(&[("MCP-Protocol-Version", "2025-11-25"), method, name], &tool),
        Err(HeaderError::VersionMismatch)
    );
    assert_eq!(check(&[("MCP-Protocol-Version", "2026-07-29"), method, name], &tool), Err(HeaderError::VersionUnknown));
    for wrong in ["tools/list", "Tools/Call", "=?base64?dG9vbHMvY2FsbA==?=", ""] {
        assert_eq!(check(&[version, ("Mcp-Method", wrong), name], &tool), Err(HeaderError::MethodMismatch), "{wrong}");
    }
    for wrong in ["Hello", "=?BASE64?SGVsbG8sIOS4lueVjA==?=", "=?base64?SGVsbG8=?=", ""] {
        assert_eq!(check(&[version, method, ("Mcp-Name", wrong)], &tool), Err(HeaderError::NameMismatch), "{wrong}");
    }
    for wrong in [
        "=?base64?SGVsbG8sIOS4lueVjA?=",
        "=?base64?SGVsbG8s IOS4?=",
        "=?base64?/w==?=",
        "=?base64?_w==?=",
        "=?base64?SGVsbG8=SA==?=",
    ] {
        assert_eq!(fields(&[("Mcp-Name", wrong)]), Err(HeaderError::Encoding), "{wrong}");
    }
}

#[test]
fn mirrors_count_in_every_version() {
    let tool = request("tools/call", r#"{"name":"a"}"#);
    assert_eq!(check(&[], &tool), Ok(Version::V2025_03_26));
    assert_eq!(check(&[("MCP-Protocol-Version", "2025-06-18")], &tool), Ok(Version::V2025_06_18));
    assert_eq!(check(&[("Mcp-Method", "tools/list")], &tool), Err(HeaderError::MethodMismatch));
    assert_eq!(check(&[("Mcp-Name", "b")], &tool), Err(HeaderError::NameMismatch));
    assert_eq!(check(&[("Mcp-Name", "b")], &request("tools/list", "{}")), Err(HeaderError::NameMismatch));
    let resource = request("resources/read", &format!(r#"{{"uri":"FILE:///a",{META}}}"#));
    let base = [("MCP-Protocol-Version", "2026-07-28"), ("Mcp-Method", "resources/read")];
    assert_eq!(check(&[base[0], base[1], ("Mcp-Name", "FILE:///a")], &resource), Ok(Version::V2026_07_28));
    assert_eq!(check(&[base[0], base[1], ("Mcp-Name", "file:///a")], &resource), Err(HeaderError::NameMismatch));
    let task = request("tasks/get", &format!(r#"{{"taskId":"t",{META}}}"#));
    let base = [("MCP-Protocol-Version", "2026-07-28"), ("Mcp-Method", "tasks/get")];
    assert_eq!(check(&base, &task), Ok(Version::V2026_07_28));
    assert_eq!(check(&[base[0], base[1], ("Mcp-Name", "u")], &task), Err(HeaderError::NameMismatch));
}

#[test]
fn the_stateless_version_has_neither_batches_nor_client_responses() {
    let version = [("MCP-Protocol-Version", "2026-07-28"), ("Mcp-Method", "tools/list")];
    assert_eq!(check(&version, &request("tools/list", "{}")), Err(HeaderError::MetaMissing));
    let response = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
    assert_eq!(check(&version[..1], response), Err(HeaderError::Response));
    assert_eq!(check(&[("MCP-Protocol-Version", "2025-11-25")], response), Ok(Version::V2025_11_25));
    let batch = r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#;
    for version in Version::ALL {
        let verdict = check(&[("MCP-Protocol-Version", version.name())], batch);
        assert_eq!(verdict.is_ok(), version == Version::V2025_03_26, "{version:?}: {verdict:?}");
        assert_eq!(Version::read(version.name()), Some(version));
    }
    assert_eq!(check(&[], batch), Ok(Version::V2025_03_26));
    let notification = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
    assert_eq!(check(&version[..1], notification), Ok(Version::V2026_07_28));
}

#[test]
fn fields_stand_once_and_have_plain_characters() {
    for name in ["Mcp-Session-Id", "MCP-Protocol-Version", "Mcp-Method", "mcp-NAME"] {
        assert_eq!(fields(&[(name, "a"), (name, "a")]), Err(HeaderError::Twice), "{name}");
        assert_eq!(fields(&[(name, "\u{e9}")]), Err(HeaderError::Character), "{name}");
        assert!(fields(&[(name, "a")]).unwrap().any());
    }
    assert!(fields(&[("Mcp-Param-Region", "us")]).unwrap().any());
    assert!(!fields(&[("Accept", "*/*"), ("Mcp-Other", "x")]).unwrap().any());
    for session in ["", "a b", "a\tb"] {
        assert_eq!(fields(&[("Mcp-Session-Id", session)]), Err(HeaderError::Session), "{session:?}");
    }
    let long = "s".repeat(crate::limits::MCP_SESSION_BYTES_MAX);
    assert_eq!(header::session(long.as_bytes()), Ok(long.as_str()));
    assert_eq!(header::session(format!("{long}s").as_bytes()), Err(HeaderError::Session));
    assert_eq!(header::decode(b"=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?=").as_deref(), Ok("=?base64?literal?="));
    assert_eq!(header::decode(b"us-west1").as_deref(), Ok("us-west1"));
}
