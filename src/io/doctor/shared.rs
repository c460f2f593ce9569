//! The sidecar form: are the rules in force in this namespace, and does anybody hold what leads around them?

use std::fs;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};

use nix::unistd::geteuid;

use super::{Finding, processes};
use crate::config::{Exempt, Settings};
use crate::io::redirect::{self, Redirect};
use crate::limits::DOCTOR_NETWORK_WAIT;

pub(super) fn look(settings: &Settings) -> Vec<Finding> {
    let redirect = match Redirect::from_settings(settings) {
        Ok(redirect) => redirect,
        Err(error) => return vec![Finding::miss("redirect rules", error.to_string())],
    };
    let mut findings = vec![rules(&redirect), sockets("packet sockets", "/proc/net/packet", &["/proc/net/packet"])];
    findings.push(sockets("raw sockets", "/proc/net/raw", &["/proc/net/raw", "/proc/net/raw6"]));
    findings.extend(processes::look(redirect.exempt()));
    findings
}

fn rules(redirect: &Redirect) -> Finding {
    let subject = "redirect rules";
    match redirect::in_force(redirect) {
        Ok(None) => Finding::ok(subject, "in force, each as it should be"),
        Ok(Some(why)) => {
            Finding::miss(subject, format!("{why}: run `ringfence redirect apply` in this network namespace"))
        }
        Err(error) if error.is_denied() => knock(redirect.exempt(), subject),
        Err(error) => Finding::miss(subject, error.to_string()),
    }
}

/// Without CAP_NET_ADMIN the rules cannot be read, but felt. A datagram to port 443 is refused as if nobody listened, and one to another port is
/// not sent at all, which no network but only a rule in here can do.
fn knock(exempt: &Exempt, subject: &'static str) -> Finding {
    if *exempt == Exempt::Uid(geteuid().as_raw()) {
        let text = "this user is exempt, so they cannot be felt, and without CAP_NET_ADMIN not be read";
        return Finding::note(subject, text);
    }
    let felt =
        refusal(443) == Some(io::ErrorKind::ConnectionRefused) && refusal(444) == Some(io::ErrorKind::PermissionDenied);
    if felt {
        Finding::ok(subject, "in force, as two datagrams felt; with CAP_NET_ADMIN each could be compared")
    } else {
        Finding::miss(subject, "not in force: run `ringfence redirect apply` in this network namespace")
    }
}

/// How a datagram to TEST-NET-3 (RFC 5737) is refused: if the rules are not there, nobody is disturbed.
fn refusal(port: u16) -> Option<io::ErrorKind> {
    let knock = || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.set_read_timeout(Some(DOCTOR_NETWORK_WAIT))?;
        socket.connect((Ipv4Addr::new(203, 0, 113, 1), port))?;
        socket.send(b"ringfence doctor")?;
        socket.recv(&mut [0; 1])
    };
    knock().err().map(|error| error.kind())
}

/// Who holds such a socket has CAP_NET_RAW, or had it.
fn sockets(subject: &'static str, shown: &str, files: &[&str]) -> Finding {
    let mut open = 0;
    for file in files {
        match fs::read_to_string(file) {
            Ok(text) => open += text.lines().skip(1).filter(|line| !line.trim().is_empty()).count(),
            // A kernel without IPv6 has no raw6.
            Err(_) if file.ends_with('6') => (),
            Err(error) => return Finding::note(subject, format!("{file}: {error}")),
        }
    }
    match open {
        0 => Finding::ok(subject, "none is open in this network namespace"),
        open => Finding::miss(
            subject,
            format!(
                "{open} open in this network namespace ({shown}): stop their owner, and take CAP_NET_RAW from it (cap_drop: [ALL])"
            ),
        ),
    }
}
