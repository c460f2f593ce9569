//! The addresses of a configuration: free, or held by the proxy that runs already.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};

use super::{Finding, NotReady, ready};
use crate::config::{Listen, Settings};

pub(super) fn look(settings: &Settings) -> Vec<Finding> {
    let runs = settings.admin.as_ref().map(ready);
    let mut findings = Vec::new();
    match &runs {
        Some(Ok(())) => findings.push(Finding::ok("proxy", "it runs, and is ready")),
        Some(Err(error @ NotReady::Says(_))) => findings.push(Finding::miss("proxy", error.to_string())),
        Some(Err(NotReady::Silent(socket, error))) if error.kind() == io::ErrorKind::PermissionDenied => {
            findings.push(Finding::note("proxy", format!("{}: {error}; ask as its user", socket.display())));
        }
        Some(Err(NotReady::Silent(..))) => findings.push(Finding::note("proxy", "it does not run")),
        None => findings
            .push(Finding::note("proxy", "without `admin` in the configuration nobody can tell whether it is ready")),
    }
    // Who runs holds its addresses; whether another holds them can only be told where it does not.
    let held = matches!(runs, Some(Ok(()) | Err(NotReady::Says(_))));
    for (key, address, datagrams) in addresses(settings) {
        findings.push(judge(key, address, try_bind(address, datagrams), held));
    }
    findings
}

fn addresses(settings: &Settings) -> Vec<(&'static str, SocketAddr, bool)> {
    let tcp = settings.listeners.iter().flat_map(|listen| match listen {
        Listen::Redirect { address } | Listen::Proxy { address, .. } => vec![("listen", *address, false)],
        Listen::Gateway { address, ports, .. } => {
            ports.iter().map(|port| ("listen", SocketAddr::new(*address, *port), false)).collect()
        }
    });
    let dns =
        settings.dns.into_iter().flat_map(|address| [("dns (TCP)", address, false), ("dns (UDP)", address, true)]);
    tcp.chain(dns).collect()
}

fn try_bind(address: SocketAddr, datagrams: bool) -> io::Result<()> {
    if datagrams { UdpSocket::bind(address).map(|_| ()) } else { TcpListener::bind(address).map(|_| ()) }
}

fn judge(key: &'static str, address: SocketAddr, bound: io::Result<()>, held: bool) -> Finding {
    match bound {
        Ok(()) => Finding::ok(key, format!("{address} is free")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && held => {
            Finding::ok(key, format!("{address} is held by the proxy"))
        }
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Finding::miss(
            key,
            format!("{address} is held by another program: stop it (ss -ltnup shows it), or choose another port"),
        ),
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
            Finding::miss(key, format!("{address} is no address of this machine or container"))
        }
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Finding::miss(
            key,
            format!(
                "{address}: {error}; ports below {} need CAP_NET_BIND_SERVICE, or sysctl net.ipv4.ip_unprivileged_port_start=0",
                lowest_port()
            ),
        ),
        Err(error) => Finding::miss(key, format!("{address}: {error}")),
    }
}

fn lowest_port() -> u64 {
    super::kernel::number("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap_or(1024)
}
