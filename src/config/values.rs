//! Reading single values: addresses, blocks, paths, waits, counts. Each problem names its key and shows what would be right.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;

use crate::limits::CONFIG_LIST_MAX;
use crate::policy::document::{Entry, Node, Problems, Value, text};

/// The value of a key.
pub(super) fn find<'n>(entries: &'n [Entry], key: &str) -> Option<&'n Node> {
    entries.iter().find(|entry| entry.key == key).map(|entry| &entry.node)
}

/// The value of a key that has to be there; `remedy` shows how it is written.
pub(super) fn need<'n>(
    at: &Node,
    entries: &'n [Entry],
    (section, key): (&str, &str),
    remedy: &str,
    problems: &mut Problems,
) -> Option<&'n Node> {
    let found = find(entries, key);
    if found.is_none() {
        problems.error(at.place, format!("`{section}.{key}` is missing"), remedy);
    }
    found
}

/// The items of a list, which has at least one unless it may be empty.
pub(super) fn items<'n>(node: &'n Node, key: &str, least: usize, problems: &mut Problems) -> Option<&'n [Node]> {
    let Value::List(items) = &node.value else {
        problems.error(
            node.place,
            format!("`{key}` is a list, found {}", node.value.describe()),
            "put its entries in `[` and `]`",
        );
        return None;
    };
    if items.len() < least {
        problems.error(node.place, format!("`{key}` is empty"), "name at least one, or remove the key");
        return None;
    }
    if items.len() > CONFIG_LIST_MAX {
        problems.error(node.place, format!("`{key}` has more than {CONFIG_LIST_MAX} entries"), "name fewer");
        return None;
    }
    Some(items)
}

/// An IP address without a port.
pub(super) fn address(node: &Node, key: &str, problems: &mut Problems) -> Option<IpAddr> {
    let text = text(node, key, problems)?;
    if let Ok(address) = text.parse::<IpAddr>() {
        return plain(address, node, key, problems);
    }
    let remedy = match text.parse::<SocketAddr>() {
        Ok(with) => format!("write `address: \"{}\"` and `ports: [{}]`", with.ip(), with.port()),
        Err(_) => "write it like `0.0.0.0` or `192.0.2.1`".to_owned(),
    };
    problems.error(node.place, format!("`{key}` is an IP address without a port, found `{text}`"), remedy);
    None
}

/// An IP address and a port. Port 0 lets the kernel choose.
pub(super) fn socket_address(node: &Node, key: &str, problems: &mut Problems) -> Option<SocketAddr> {
    let text = text(node, key, problems)?;
    if let Ok(address) = text.parse::<SocketAddr>() {
        return plain(address.ip(), node, key, problems).map(|_| address);
    }
    let bare = text.trim_matches(['[', ']']).parse::<IpAddr>();
    let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
    let remedy = match bare {
        Ok(bare) => format!("add the port: `{}`", SocketAddr::new(bare, 3128)),
        Err(_) if host.is_empty() => format!("write `127.0.0.1:{port}`, or `0.0.0.0:{port}` for every interface"),
        Err(_) if host == "localhost" => format!("names are not looked up: write `127.0.0.1:{port}`"),
        Err(_) => "write it like `127.0.0.1:3128` or `[::1]:3128`; names are not looked up".to_owned(),
    };
    problems.error(node.place, format!("`{key}` is an IP address and a port, found `{text}`"), remedy);
    None
}

/// An IPv4 address in an IPv6 dress would be compared with blocks that it never falls into.
fn plain(address: IpAddr, node: &Node, key: &str, problems: &mut Problems) -> Option<IpAddr> {
    if address == address.to_canonical() {
        return Some(address);
    }
    let message = format!("`{key}` is an IPv4 address written as IPv6: `{address}`");
    problems.error(node.place, message, format!("write `{}`", address.to_canonical()));
    None
}

/// An address block or a single address.
pub(super) fn block(node: &Node, key: &str, problems: &mut Problems) -> Option<IpNet> {
    let text = text(node, key, problems)?;
    let parsed = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    let Some(block) = parsed else {
        let message = format!("`{key}` is an address or a network, found `{text}`");
        problems.error(node.place, message, "write it like `172.28.0.3` or `172.28.0.0/16`");
        return None;
    };
    if block.addr() != block.network() {
        let message = format!("`{key}` has bits beyond its prefix: `{text}`");
        problems.error(node.place, message, format!("did you mean `{}`?", block.trunc()));
        return None;
    }
    plain(block.addr(), node, key, problems).map(|_| block)
}

/// A port that can be dialled.
pub(super) fn port(node: &Node, key: &str, problems: &mut Problems) -> Option<u16> {
    whole(node, key, 1, u16::MAX.into(), problems).and_then(|port| u16::try_from(port).ok())
}

/// A whole number within bounds.
pub(super) fn whole(node: &Node, key: &str, least: u64, most: u64, problems: &mut Problems) -> Option<u64> {
    let number = match &node.value {
        Value::Integer(number) => u64::try_from(*number).ok().filter(|number| (least..=most).contains(number)),
        _ => None,
    };
    if number.is_none() {
        let found = node.value.describe();
        problems.error(node.place, format!("`{key}` is a number from {least} to {most}, found {found}"), "");
    }
    number
}

/// A path, made absolute from the folder of the configuration file.
pub(super) fn path(node: &Node, key: &str, folder: &Path, problems: &mut Problems) -> Option<PathBuf> {
    let text = text(node, key, problems)?;
    if text == "~" || text.starts_with("~/") {
        problems.error(
            node.place,
            format!("`{key}` begins with `~`, which only shells expand"),
            "write the path in full",
        );
        return None;
    }
    let joined = folder.join(text);
    Some(std::path::absolute(&joined).unwrap_or(joined))
}

/// A wait: a number of seconds, or a number with `ms`, `s`, `m` or `h`.
pub(super) fn wait(
    node: &Node,
    key: &str,
    default: Duration,
    most: Duration,
    problems: &mut Problems,
) -> Option<Duration> {
    let read = match &node.value {
        Value::Integer(seconds) => u64::try_from(*seconds).ok().map(Duration::from_secs),
        Value::Text(text) => with_unit(text.trim()),
        _ => None,
    };
    let Some(wait) = read else {
        let message = format!("`{key}` is a time, found {}", node.value.describe());
        problems.error(node.place, message, "write it like `30s`, `500ms`, `10m` or `1h`");
        return None;
    };
    if wait.is_zero() || wait > most {
        let message = format!("`{key}` is more than nothing and at most {}", spoken(most));
        problems.error(node.place, message, format!("the default is {}", spoken(default)));
        return None;
    }
    Some(wait)
}

fn with_unit(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    match unit.trim_start() {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => number.checked_mul(60).map(Duration::from_secs),
        "h" => number.checked_mul(3600).map(Duration::from_secs),
        "d" => number.checked_mul(24 * 3600).map(Duration::from_secs),
        _ => None,
    }
}

fn spoken(wait: Duration) -> String {
    match wait.as_secs() {
        seconds if seconds.is_multiple_of(3600) => format!("{}h", seconds / 3600),
        seconds if seconds.is_multiple_of(60) => format!("{}m", seconds / 60),
        seconds => format!("{seconds}s"),
    }
}
