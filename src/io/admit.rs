//! Admits a TLS client: reads its hello, decides whether its name can be served at all, and only then mints and shakes hands.
//!
//! A hello that is not admitted gets the matching alert (RFC 8446 §6.2) and a record; it never reaches the office.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use rustls::{AlertDescription, ServerConfig};

use crate::audit::{Mode, Protocol};
use crate::io::door::Arrival;
use crate::io::engine::{self, Buf, Stream};
use crate::io::passthrough;
use crate::io::quota::Granted;
use crate::io::refuse::refuse;
use crate::io::synthetic::Synthetic;
use crate::io::tls;
use crate::io::transport::Transport;
use crate::io::worker::Worker;
use crate::parse::Progress;
use crate::parse::client_hello::{self, ClientHello, Sni};
use crate::parse::target;
use crate::policy::{Host, Scheme};

/// An alert to the client, and the word for the record.
struct Inadmissible {
    alert: AlertDescription,
    code: &'static str,
}

/// Takes a TLS client to the end of its handshake; `None` when it was refused, or passed through to its end; either is then on record.
pub(crate) async fn tls(
    stream: Stream,
    first: Buf,
    mut arrival: Arrival,
    worker: &Rc<Worker>,
) -> Option<(Arrival, Transport)> {
    arrival.scheme = Scheme::Https;
    let admitted = engine::timeout(worker.bounds.handshake, async {
        let (received, hello) = hello(&stream, first).await?;
        if let Sni::Name(name) = &hello.sni
            && passthrough::is_wanted(worker, name)
        {
            arrival.sni = Some(name.clone());
            return Ok((received, None));
        }
        let host = host(hello, &mut arrival)?;
        let subject = match host.parse() {
            Ok(address) => Host::Address(address),
            Err(_) => Host::Name(&host),
        };
        if !worker.policy().may_admit(subject) {
            return Err(refused(AlertDescription::AccessDenied, "not_admitted"));
        }
        Ok((received, Some(leaf(worker, &arrival.agent, &host).await?)))
    })
    .await
    .unwrap_or(Err(refused(AlertDescription::UserCanceled, "handshake_timeout")));
    let (received, config) = match admitted {
        Ok((received, Some(config))) => (received, config),
        Ok((received, None)) => {
            // Boxed, so that connections that are opened do not carry its size.
            Box::pin(passthrough::pass(stream, received, &arrival, worker)).await;
            return None;
        }
        Err(Inadmissible { alert, code }) => {
            let _ = engine::timeout(worker.bounds.handshake, stream.send_vec(fatal(alert))).await;
            refuse(worker, &arrival, Protocol::Tls, code);
            return None;
        }
    };
    let code = match shake(stream, &received, config, worker).await {
        Ok(transport) => return Some((arrival, transport)),
        Err(code) => code,
    };
    refuse(worker, &arrival, Protocol::Tls, code);
    None
}

/// Reads until the hello is whole.
async fn hello(stream: &Stream, first: Buf) -> Result<(Vec<u8>, ClientHello), Inadmissible> {
    let mut received = first.to_vec();
    drop(first);
    let mut scan = client_hello::Scan::default();
    loop {
        match scan.read(&received) {
            Ok(Progress::Done(hello)) => return Ok((received, hello)),
            // The parser bounds what it waits for.
            Ok(Progress::More) => {}
            Err(error) => {
                let alert = error.alert().map_or(AlertDescription::DecodeError, AlertDescription::from);
                return Err(refused(alert, error.code()));
            }
        }
        match stream.recv().await {
            Ok(more) if !more.is_empty() => received.extend_from_slice(&more),
            _ => return Err(refused(AlertDescription::UserCanceled, "hello_unfinished")),
        }
    }
}

/// The host that the client means, and whether we can speak to it at all.
fn host(hello: ClientHello, arrival: &mut Arrival) -> Result<Box<str>, Inadmissible> {
    if !hello.alpn.is_absent() && !hello.alpn.offers(tls::ALPN) {
        if let Sni::Name(name) = hello.sni {
            arrival.sni = Some(name);
        }
        return Err(refused(AlertDescription::NoApplicationProtocol, "alpn_unsupported"));
    }
    if let Sni::Name(name) = hello.sni {
        arrival.sni = Some(name.clone());
        return Ok(name);
    }
    match (&arrival.tunnel, arrival.destination) {
        // RFC 6066 §3 knows no SNI for addresses: the CONNECT has said which, or with what name the client will call us.
        (Some((host, _)), _) => Ok(written(host)),
        // Without a name only a literal address is left. A synthetic one is none, and a gateway's own is none: each stands for a name
        // that was not sent.
        (None, Some(address)) if arrival.mode != Mode::Gateway && !Synthetic::contains(address.ip()) => {
            Ok(address.ip().to_canonical().to_string().into())
        }
        _ => Err(refused(AlertDescription::UnrecognisedName, "sni_absent")),
    }
}

/// A host as certificates and policy write it: an IPv6 literal without brackets.
fn written(host: &target::Host<'_>) -> Box<str> {
    match host.address() {
        Some(address) => address.to_string().into(),
        None => host.name().unwrap_or_default().into(),
    }
}

/// The configuration with the host's leaf, from the cache or from the office.
async fn leaf(worker: &Worker, agent: &str, host: &str) -> Result<Arc<ServerConfig>, Inadmissible> {
    if let Some(config) = worker.leaves.borrow_mut().get(host) {
        return Ok(config);
    }
    // The office works for all: who asks for ever new names waits for none of the others' turns.
    if worker.quotas.borrow_mut().leaf(agent, Instant::now()) != Granted::Yes {
        return Err(refused(AlertDescription::InternalError, "leaf_rate"));
    }
    match worker.office.mint(host).await {
        Ok(Some(config)) => {
            worker.leaves.borrow_mut().put(host, Arc::clone(&config));
            Ok(config)
        }
        Ok(None) => Err(refused(AlertDescription::InternalError, "leaf_unavailable")),
        Err(_) => Err(refused(AlertDescription::InternalError, "overloaded")),
    }
}

async fn shake(
    stream: Stream,
    received: &[u8],
    config: Arc<ServerConfig>,
    worker: &Worker,
) -> Result<Transport, &'static str> {
    let session = rustls::ServerConnection::new(config).map_err(|_| "tls_handshake")?;
    let transport = Transport::tls(stream, rustls::Connection::Server(session));
    match engine::timeout(worker.bounds.handshake, transport.handshake(received)).await {
        Ok(Ok(())) => Ok(transport),
        Ok(Err(error)) => Err(match tls::cause(&error) {
            // What clients say whose trust store does not know us, or which pin their origin's key.
            Some(rustls::Error::AlertReceived(
                AlertDescription::UnknownCA
                | AlertDescription::BadCertificate
                | AlertDescription::CertificateUnknown
                | AlertDescription::DecryptError,
            )) => "client_rejected_ca",
            _ => "tls_handshake",
        }),
        Err(_) => Err("handshake_timeout"),
    }
}

fn refused(alert: AlertDescription, code: &'static str) -> Inadmissible {
    Inadmissible { alert, code }
}

/// A fatal alert in the clear: nothing has been negotiated yet.
pub(crate) fn fatal(alert: AlertDescription) -> Vec<u8> {
    vec![21, 3, 3, 0, 2, 2, u8::from(alert)]
}
