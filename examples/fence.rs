//! Runs a command in the fence, without policy or proxy, and tells each of its connections where it wanted to go:
//!
//! ```sh
//! cargo run --example fence -- curl -s --http0.9 http://192.0.2.1/
//! cargo run --example fence -- --hide-dir ~/.ssh --expose /run/docker.sock -- sh
//! ```
//!
//! The tests of the fence run it, for it is the fence and nothing else. DNS questions over UDP come back unanswered, as they were asked.

use std::{
    error::Error,
    ffi::OsString,
    io::Write,
    net::{TcpListener, UdpSocket},
    os::fd::AsFd,
    path::PathBuf,
    process::ExitCode,
    thread,
};

use ringfence::io::netns::{FenceError, Plan, original_destination, raise};

fn main() -> ExitCode {
    match run(&plan(std::env::args_os().skip(1))) {
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)),
        Err(error) => {
            eprintln!("fence: {error}");
            ExitCode::from(125)
        }
    }
}

fn plan(mut arguments: impl Iterator<Item = OsString>) -> Plan {
    let mut plan = Plan::default();
    while let Some(argument) = arguments.next() {
        let list = match argument.to_str() {
            Some("--hide-dir") => &mut plan.hide_dirs,
            Some("--hide-file") => &mut plan.hide_files,
            Some("--expose") => &mut plan.expose,
            Some("--") => continue,
            _ => {
                plan.command = std::iter::once(argument).chain(arguments).collect();
                break;
            }
        };
        list.extend(arguments.next().map(PathBuf::from));
    }
    plan
}

fn run(plan: &Plan) -> Result<i32, Box<dyn Error>> {
    let mut fence = raise(plan, || Ok::<_, FenceError>(b"no certificate\n".to_vec()))?;
    for listener in fence.listeners.drain(..).chain(fence.dns_tcp.drain(..)) {
        thread::spawn(move || tell(&listener));
    }
    for dns in fence.dns_udp.drain(..) {
        thread::spawn(move || echo(&dns));
    }
    fence.start()?;
    Ok(fence.wait()?)
}

fn tell(listener: &TcpListener) {
    for mut stream in listener.incoming().flatten() {
        let answer = match original_destination(stream.as_fd()) {
            Ok(address) => format!("to {address}\n"),
            Err(error) => format!("refused: {error}\n"),
        };
        // The peer may be gone already, which concerns nobody else.
        let _ = stream.write_all(answer.as_bytes());
    }
}

fn echo(dns: &UdpSocket) {
    let mut question = [0; 512];
    while let Ok((length, peer)) = dns.recv_from(&mut question) {
        let _ = dns.send_to(&question[..length], peer);
    }
}
