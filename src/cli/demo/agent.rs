//! The demo's agent: a plain HTTP client that reads `SSL_CERT_FILE` as any program does, and has never heard of ringfence.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs, UdpSocket};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::HOST;

const PATIENCE: Duration = Duration::from_secs(5);

/// Makes the calls, prints what came of each, and fails if one of them went differently than the policy says.
pub(super) fn work() -> ExitCode {
    let mut as_expected = true;
    let calls = [
        ("GET", "https://api.demo.test/v1/models", Expect::Status(200)),
        ("POST", "https://api.demo.test/v1/chat", Expect::Status(200)),
        ("DELETE", "https://api.demo.test/v1/files/42", Expect::Status(403)),
        ("GET", "https://api.demo.test/admin", Expect::Status(403)),
        ("GET", "http://169.254.169.254/latest/meta-data/", Expect::Status(403)),
        ("GET", "https://exfiltrate.example/", Expect::Failure),
    ];
    for (method, url, expect) in calls {
        as_expected &= report(&format!("{method} {url}"), &call(method, url), expect);
    }
    as_expected &= report("TCP 203.0.113.9:22", &talk_ssh(), Expect::Failure);
    as_expected &= report("UDP 203.0.113.9:4433", &talk_udp(), Expect::Failure);
    if as_expected { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[derive(Clone, Copy)]
enum Expect {
    Status(u16),
    Failure,
}

fn report(what: &str, result: &io::Result<(u16, String)>, expect: Expect) -> bool {
    let line = match result {
        Ok((status, body)) => {
            let told = serde_json::from_str::<serde_json::Value>(body).unwrap_or_default();
            let word = |key: &str| told.get(key).and_then(serde_json::Value::as_str).map(str::to_owned);
            match word("reason").or_else(|| word("code").map(|code| format!("blocked: {code}"))) {
                Some(why) => format!("{status}  {why}"),
                None => format!("{status}"),
            }
        }
        Err(error) => format!("refused  {error}"),
    };
    println!("    {what:<50} {line}");
    match (result, expect) {
        (Ok((status, _)), Expect::Status(expected)) => *status == expected,
        (Err(_), Expect::Failure) => true,
        _ => false,
    }
}

fn call(method: &str, url: &str) -> io::Result<(u16, String)> {
    let (scheme, rest) = url.split_once("://").ok_or(io::ErrorKind::InvalidInput)?;
    let (host, path) = rest.split_once('/').ok_or(io::ErrorKind::InvalidInput)?;
    let port = if scheme == "https" { 443 } else { 80 };
    let address = (host, port).to_socket_addrs()?.next().ok_or(io::ErrorKind::NotFound)?;
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let body = if method == "POST" { r#"{"prompt":"hello"}"# } else { "" };
    let request = format!(
        "{method} /{path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    if scheme == "http" {
        return exchange(stream, &request);
    }
    let name = ServerName::try_from(HOST.to_owned()).map_err(io::Error::other)?;
    let session = ClientConnection::new(trust()?, name).map_err(io::Error::other)?;
    exchange(StreamOwned::new(session, stream), &request)
}

fn exchange(mut stream: impl Read + Write, request: &str) -> io::Result<(u16, String)> {
    stream.write_all(request.as_bytes())?;
    stream.flush()?;
    let mut response = Vec::new();
    match stream.read_to_end(&mut response) {
        Err(error) if response.is_empty() => return Err(error),
        _ => {}
    }
    let response = String::from_utf8_lossy(&response);
    let (head, body) = response.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
    Ok((status, body.to_owned()))
}

/// The trust store that the environment names.
fn trust() -> io::Result<Arc<ClientConfig>> {
    let file = std::env::var_os("SSL_CERT_FILE").ok_or(io::ErrorKind::NotFound)?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(io::Error::other)? {
        roots.add(certificate.map_err(io::Error::other)?).map_err(io::Error::other)?;
    }
    Ok(Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()))
}

fn talk_ssh() -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&([203, 0, 113, 9], 22).into(), PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"SSH-2.0-demo\r\n")?;
    match stream.read(&mut [0; 64])? {
        0 => Err(io::ErrorKind::ConnectionReset.into()),
        _ => Ok((0, String::new())),
    }
}

fn talk_udp() -> io::Result<(u16, String)> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect("203.0.113.9:4433")?;
    socket.send(b"hello")?;
    socket.recv(&mut [0; 64]).map(|_| (0, String::new()))
}
