//! Values that only their maker reads.

use super::*;
use crate::limits::RPC_OPAQUE_BYTES_MAX;

fn fault_of(text: &str) -> RpcError {
    match read(text.as_bytes(), Layout::Free, none()) {
        Err(fault) => fault,
        Ok(_) => panic!("{} octets are accepted", text.len()),
    }
}

#[test]
fn what_only_its_maker_reads_is_bounded() {
    let places = [
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"cursor":"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","requestState":"#,
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{"nextCursor":"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{"requestState":"#,
    ];
    for place in places {
        let close = "}".repeat(place.matches('{').count());
        let text = |len: usize| format!("{place}\"{}\"{close}", "x".repeat(len));
        // With its quotes.
        let fits = text(RPC_OPAQUE_BYTES_MAX - 2);
        assert!(read(fits.as_bytes(), Layout::Free, none()).is_ok(), "{place}");
        assert_eq!(fault_of(&text(RPC_OPAQUE_BYTES_MAX - 1)), RpcError::Opaque, "{place}");
        let nested = format!("{place}[\"{}\"]{close}", "x".repeat(RPC_OPAQUE_BYTES_MAX - 3));
        assert_eq!(fault_of(&nested), RpcError::Opaque, "{place}");
    }
}

#[test]
fn what_goes_beside_a_request_is_bounded_as_a_whole() {
    let text = |len: usize| {
        let half = "x".repeat(len / 2);
        let meta = format!(r#"{{"a/b":"{half}","c/de":["{half}"]}}"#);
        (
            meta.len(),
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"a","_meta":{meta}}}}}"#),
        )
    };
    let frame = text(0).0;
    assert_eq!(text(RPC_OPAQUE_BYTES_MAX - frame).0, RPC_OPAQUE_BYTES_MAX);
    assert!(read(text(RPC_OPAQUE_BYTES_MAX - frame).1.as_bytes(), Layout::Free, none()).is_ok());
    assert_eq!(fault_of(&text(RPC_OPAQUE_BYTES_MAX - frame + 2).1), RpcError::Opaque);
}
