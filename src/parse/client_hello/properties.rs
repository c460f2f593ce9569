//! What holds for every input of the ClientHello reader. Unit tests, property tests and the fuzz target call the same functions.

use super::*;

/// Everything that holds for any bytes taken as the beginning of a connection.
pub fn holds(bytes: &[u8]) {
    let whole = read(bytes);
    let mut scan = Scan::default();
    let bytewise = (0..=bytes.len()).map(|end| scan.read(&bytes[..end])).find(|found| *found != Ok(Progress::More));
    assert_eq!(bytewise.unwrap_or(Ok(Progress::More)), whole);
    let Ok(Progress::Done(hello)) = &whole else { return };
    if let Sni::Name(name) = &hello.sni {
        assert!(matches!(host(name), Ok(Host::Name(Cow::Borrowed(canonical))) if canonical == &**name));
    }
    assert!(hello.alpn.iter().all(|protocol| !protocol.is_empty() && hello.alpn.offers(protocol)));
    assert!(!hello.alpn.is_absent() || !hello.alpn.offers(b"http/1.1"));
    equals_rustls(bytes, hello);
    let message = message(bytes);
    for size in [1, 5, 1000] {
        let again = records(&message, size);
        if again.len() <= CLIENT_HELLO_BYTES_MAX {
            assert_eq!(read(&again).as_ref(), Ok(&Progress::Done(hello.clone())), "in records of {size}");
            let step = again.len() / 64 + 1;
            for end in (0..again.len()).step_by(step) {
                assert_eq!(read(&again[..end]), Ok(Progress::More), "{end} bytes of {}", again.len());
            }
        }
    }
}

/// Where rustls reads a ClientHello too, it reads the same. It is the one that answers the client, from the same bytes.
fn equals_rustls(bytes: &[u8], hello: &ClientHello) {
    let mut acceptor = rustls::server::Acceptor::default();
    let mut rest = bytes;
    while !rest.is_empty() && acceptor.read_tls(&mut rest).is_ok() {
        match acceptor.accept() {
            Ok(None) => {}
            Err(_) => return,
            Ok(Some(accepted)) => {
                let theirs = accepted.client_hello();
                assert_eq!(theirs.server_name().map(str::to_ascii_lowercase).as_deref(), hello.sni.name());
                let protocols: Vec<&[u8]> = theirs.alpn().into_iter().flatten().collect();
                assert!(hello.alpn.iter().eq(protocols));
                return;
            }
        }
    }
}

/// The handshake message in the records of a whole hello.
pub fn message(bytes: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    let mut rest = bytes;
    while let [HANDSHAKE, _, _, high, low, after @ ..] = rest {
        let length = usize::from(*high) << 8 | usize::from(*low);
        message.extend_from_slice(&after[..length.min(after.len())]);
        rest = &after[length.min(after.len())..];
        let [_, a, b, c, ..] = message[..] else { continue };
        if message.len() >= 4 + (usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c)) {
            break;
        }
    }
    message
}

/// A message in records of `size` octets.
pub fn records(message: &[u8], size: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for fragment in message.chunks(size) {
        let [.., high, low] = fragment.len().to_be_bytes();
        bytes.extend_from_slice(&[HANDSHAKE, 3, 1, high, low]);
        bytes.extend_from_slice(fragment);
    }
    bytes
}
