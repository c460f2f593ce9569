//! Composes the other floors: sockets, threads, clocks and files live here.
//!
//! Read [`flow`] first: it is one connection from top to bottom. Around it: [`worker`] accepts, [`admit`] opens TLS, [`judge`] decides and
//! records, [`vet`] finds the way there, [`refuse`] says no, [`forward`], [`exchange`] and [`relay`] move bytes, [`upstream`] dials. [`engine`] is what all of them wait on, [`netns`] is the fence around the
//! program, [`resolver`] answers its DNS queries, and the [`office`] does what would block a worker.
//! [`approval`] asks for somebody's leave, [`metrics`] counts, [`status`] says how the proxy is, and [`admin`] answers who asks for either.

pub mod admin;
pub mod doctor;
pub mod engine;
#[allow(dead_code, unused_imports, reason = "the transport over HTTP uses the rest")]
pub mod mcp;
pub mod metrics;
pub mod mint;
pub mod netns;
pub mod proxy;
pub mod redirect;
pub mod run;
pub mod status;
pub mod stdio;

mod admit;
mod anchor;
mod approval;
mod canary;
mod census;
mod clock;
pub(crate) mod companions;
mod container;
mod door;
mod endpoint;
mod exchange;
pub(crate) mod facts;
mod fault;
mod flow;
mod forward;
mod held;
mod here;
mod judge;
mod leaves;
mod listen;
mod media;
mod names;
mod netlink;
mod nftables;
mod office;
mod passthrough;
mod quota;
mod recall;
mod refusal;
mod refuse;
mod relay;
mod reload;
mod resolver;
mod synthetic;
pub(crate) mod tls;
mod transport;
mod upstream;
mod vet;
mod via;
mod wire;
mod worker;

/// An authority's certificate as PEM and a server configuration for `host` that it signed: what the demo's origin needs.
///
/// # Errors
/// If no certificate can be made.
pub(crate) fn demo_certificate(
    host: &str,
) -> Result<(String, std::sync::Arc<rustls::ServerConfig>), Box<dyn std::error::Error + Send + Sync>> {
    let authority = mint::Authority::new()?;
    Ok((authority.pem().to_owned(), authority.mint(host)?))
}

#[cfg(test)]
mod tests;
