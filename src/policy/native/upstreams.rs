//! `upstreams:` – where a host is dialled instead of what DNS says.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use super::super::address::is_metadata;
use super::super::host::{self, HostError, HostKey};
use super::super::model::{Upstream, UpstreamAddress, UpstreamKey};
use super::super::problem::{Place, Problems};
use super::super::yaml::{Entry, Node, Value};
use super::{hosts, map, refuse_unknown, values};

pub(super) const KEYS: [&str; 3] = ["address", "trust", "client_cert"];

pub(super) fn read(node: &Node, problems: &mut Problems) -> Vec<(UpstreamKey, Upstream)> {
    let mut upstreams: Vec<(UpstreamKey, Upstream)> = Vec::new();
    let mut known = HashSet::new();
    for entry in map(node, "`upstreams`", problems) {
        let Some((key, upstream)) = key(entry, problems).zip(upstream(&entry.node, problems)) else { continue };
        if !known.insert(key.clone()) {
            problems.error(entry.place, format!("`{}` stands here twice", entry.key), "remove one of them");
        }
        upstreams.push((key, upstream));
    }
    upstreams.sort_by(|(one, _), (other, _)| one.cmp(other));
    upstreams
}

fn key(entry: &Entry, problems: &mut Problems) -> Option<UpstreamKey> {
    let (host, port) = authority(&entry.key, entry.place, problems)?;
    match host {
        HostKey::Name(name) if host::is_metadata_name(&name) => {
            problems.error(
                entry.place,
                format!("`{name}` serves instance metadata, which is never dialled"),
                "remove it",
            );
            None
        }
        host => Some(UpstreamKey { host, port }),
    }
}

/// A host, and a port if the text ends in one.
pub(super) fn authority(text: &str, place: Place, problems: &mut Problems) -> Option<(HostKey, Option<u16>)> {
    let (host, port) = match host::read_host(text) {
        Ok(host) => return Some((host, None)),
        Err(HostError::Port { host }) => {
            let port = text.rsplit(':').next().and_then(|digits| digits.parse::<u16>().ok());
            (host, port.filter(|port| *port != 0))
        }
        Err(error) => {
            let (message, remedy) = hosts::explain(text, error);
            problems.error(place, format!("`{text}` {message}"), remedy);
            return None;
        }
    };
    if port.is_none() {
        problems.error(place, format!("`{text}` has no valid port"), "a port is a number from 1 to 65535");
        return None;
    }
    match host::read_host(&host) {
        Ok(host) => Some((host, port)),
        Err(error) => {
            let (message, remedy) = hosts::explain(&host, error);
            problems.error(place, format!("`{host}` {message}"), remedy);
            None
        }
    }
}

fn upstream(node: &Node, problems: &mut Problems) -> Option<Upstream> {
    if let Value::Text(text) = &node.value {
        problems.error(node.place, "an upstream is a map", format!("write `{{ address: \"{text}\" }}`"));
        return None;
    }
    let entries = map(node, "an upstream", problems);
    for entry in entries {
        refuse_unknown(entry, &KEYS, &[], "an upstream", problems);
    }
    let find = |key: &str| entries.iter().find(|entry| entry.key == key);
    let Some(entry) = find("address") else {
        problems.error(node.place, "the upstream has no address", "add `address: \"HOST:PORT\"`");
        return None;
    };
    let text = values::text(&entry.node, "address", problems)?;
    let address = match authority(text, entry.node.place, problems)? {
        (_, None) => {
            problems.error(entry.node.place, format!("`{text}` has no port"), format!("write `{text}:443`"));
            return None;
        }
        (HostKey::Address(ip), Some(port)) => UpstreamAddress::Socket(SocketAddr::new(ip, port)),
        (HostKey::Name(name), Some(port)) => UpstreamAddress::Name(name, port),
    };
    refuse_metadata(&address, entry.node.place, problems);
    let mut file = |key: &str| find(key).and_then(|entry| values::text(&entry.node, key, problems)).map(PathBuf::from);
    let (trust, client_cert) = (file("trust"), file("client_cert"));
    Some(Upstream { address, trust, client_cert })
}

fn refuse_metadata(address: &UpstreamAddress, place: Place, problems: &mut Problems) {
    let metadata = match address {
        UpstreamAddress::Socket(socket) => is_metadata(socket.ip()),
        UpstreamAddress::Name(name, _) => host::is_metadata_name(name),
    };
    let unspecified = matches!(address, UpstreamAddress::Socket(socket) if IpAddr::is_unspecified(&socket.ip()));
    if metadata {
        problems.error(place, "instance metadata is never dialled", "remove the upstream");
    } else if unspecified {
        problems.error(place, "the unspecified address cannot be dialled", "write 127.0.0.1 or ::1");
    }
}
