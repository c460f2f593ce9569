//! A peer that is slow, silent, gone or many costs what its bound says and no more.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use super::harness::{HOST, Proxy, Recorded, origin, request, response};
use super::on_both;
use crate::config::Bounds;
use crate::io::door::Agents;
use crate::io::engine::Choice;
use crate::limits::{INTERIM_RESPONSES_MAX, RECEIVE_BUFFERS_OVERFLOW_MAX, REQUEST_BODY_BYTES_MIN};

const ALLOW: &str = "  - allow: all\n    host: origin.test\n    scheme: http\n    port: 80\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
/// Short enough for a test, long enough for a busy machine to do what is to come before it.
const SHORT: Duration = Duration::from_millis(400);

on_both! {
    clients_that_stop_within_a_head_do_not_starve_the_others
    a_client_that_never_reads_is_given_up
    an_origin_that_never_reads_is_given_up
    a_slow_upload_is_not_the_origins_silence
    a_response_head_that_trickles_has_one_bound
    more_interim_responses_than_the_bound_are_refused
    an_origins_connection_is_not_used_again_after_a_get_with_a_body
    bytes_after_a_response_are_never_the_next_ones
    resets_and_ends_at_every_stage_are_on_record
    a_body_that_is_cut_reaches_the_origin_as_a_reset
    a_head_that_is_never_finished_is_given_up
    a_request_body_that_drips_is_given_up
    a_long_upload_that_goes_on_is_not_given_up
    one_agents_flood_of_connections_leaves_the_others_room
}

fn clients_that_stop_within_a_head_do_not_starve_the_others(choice: Choice) {
    let (address, _seen) = origin(answer);
    let proxy =
        Proxy::start_bounded(choice, address, ALLOW, Bounds { connections_per_agent: 4096, ..Bounds::default() });
    for part in [&b"G"[..], b"GET / HTTP/1.1\r\nHost: ", b"\x16\x03\x01\x02"] {
        // More than there are buffers.
        let slow: Vec<TcpStream> = (0..RECEIVE_BUFFERS_OVERFLOW_MAX + 64)
            .map(|_| {
                let mut client = proxy.client();
                client.write_all(part).unwrap();
                client
            })
            .collect();
        let mut good = proxy.client();
        good.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
        good.write_all(b"GET / HTTP/1.1\r\nHost: origin.test\r\n\r\n").unwrap();
        assert!(response(&mut good).is_some_and(|answer| answer.ends_with("ok")), "the slow ones hold all buffers");
        drop(slow);
    }
}

fn a_client_that_never_reads_is_given_up(choice: Choice) {
    let (address, _seen) = origin(|mut stream| {
        request(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
        while stream.write_all(&[b'x'; 65536]).is_ok() {}
    });
    let proxy = Proxy::start_bounded(choice, address, ALLOW, Bounds { body: SHORT, ..Bounds::default() });
    let mut client = proxy.client();
    client.write_all(b"GET / HTTP/1.1\r\nHost: origin.test\r\n\r\n").unwrap();
    wait_for_outcome(proxy, client, "client_stalled");
}

fn an_origin_that_never_reads_is_given_up(choice: Choice) {
    let (done, wait) = channel::<()>();
    let (address, _seen) = origin(move |stream| {
        let _ = wait.recv();
        drop(stream);
    });
    let proxy = Proxy::start_bounded(choice, address, ALLOW, Bounds { body: SHORT, ..Bounds::default() });
    let mut client = proxy.client();
    let mut reader = client.try_clone().unwrap();
    client.write_all(b"POST / HTTP/1.1\r\nHost: origin.test\r\nContent-Length: 1000000000\r\n\r\n").unwrap();
    let upload = std::thread::spawn(move || while client.write_all(&[b'x'; 65536]).is_ok() {});
    assert!(response(&mut reader).unwrap().starts_with("HTTP/1.1 504 "));
    drop(reader);
    upload.join().unwrap();
    drop(done);
    assert!(proxy.stop().iter().any(|record| record.code() == "upstream_timeout"));
}

fn a_slow_upload_is_not_the_origins_silence(choice: Choice) {
    let (address, _seen) = origin(answer);
    let proxy = Proxy::start_bounded(choice, address, ALLOW, Bounds { response_head: SHORT, ..Bounds::default() });
    let mut client = proxy.client();
    client.write_all(b"POST / HTTP/1.1\r\nHost: origin.test\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
    let (_pace, tick) = channel::<()>();
    let started = Instant::now();
    while started.elapsed() < 3 * SHORT {
        client.write_all(b"1\r\nx\r\n").unwrap();
        assert_eq!(tick.recv_timeout(SHORT / 8), Err(RecvTimeoutError::Timeout));
    }
    client.write_all(b"0\r\n\r\n").unwrap();
    assert!(response(&mut client).unwrap().ends_with("ok"));
}

fn a_response_head_that_trickles_has_one_bound(choice: Choice) {
    let (address, _seen) = origin(|mut stream| {
        request(&mut stream);
        let (_pace, tick) = channel::<()>();
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nX: ");
        while stream.write_all(b"x").is_ok() {
            let _ = tick.recv_timeout(SHORT / 8);
        }
    });
    let proxy = Proxy::start_bounded(choice, address, ALLOW, Bounds { response_head: SHORT, ..Bounds::default() });
    let answer = proxy.ask(b"GET / HTTP/1.1\r\nHost: origin.test\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
}

fn more_interim_responses_than_the_bound_are_refused(choice: Choice) {
    let (address, _seen) = origin(|mut stream| {
        request(&mut stream);
        for _ in 0..=INTERIM_RESPONSES_MAX {
            let _ = stream.write_all(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
        }
        let _ = stream.write_all(OK);
    });
    let proxy = Proxy::start(choice, address, 80, ALLOW);
    let mut client = proxy.client();
    client.write_all(b"GET / HTTP/1.1\r\nHost: origin.test\r\n\r\n").unwrap();
    let mut all = String::new();
    client.read_to_string(&mut all).unwrap();
    assert_eq!(all.matches("HTTP/1.1 103 ").count(), INTERIM_RESPONSES_MAX as usize, "{all}");
    assert!(all.contains("HTTP/1.1 502 ") && all.contains("response_interim"), "{all}");
}

fn an_origins_connection_is_not_used_again_after_a_get_with_a_body(choice: Choice) {
    let (address, seen) = origin(|mut stream| {
        let mut requests = 0;
        while request(&mut stream).is_some() && stream.write_all(OK).is_ok() {
            requests += 1;
        }
        requests
    });
    let proxy = Proxy::start(choice, address, 80, ALLOW);
    let mut client = proxy.client();
    for head in [
        "GET / HTTP/1.1\r\nHost: origin.test\r\nContent-Length: 5\r\n\r\nhello",
        "GET / HTTP/1.1\r\nHost: origin.test\r\n\r\n",
    ] {
        client.write_all(head.as_bytes()).unwrap();
        assert!(response(&mut client).unwrap().ends_with("ok"));
    }
    drop(client);
    proxy.stop();
    assert_eq!((seen.recv().unwrap(), seen.recv().unwrap()), (1, 1), "one request on each connection");
}

fn bytes_after_a_response_are_never_the_next_ones(choice: Choice) {
    let (address, _seen) = origin(|mut stream| {
        while let Some(asked) = request(&mut stream) {
            let path = asked.split(' ').nth(1).unwrap().to_owned();
            let poison = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
            if write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{path}{poison}", path.len()).is_err() {
                return;
            }
        }
    });
    let proxy = Proxy::start(choice, address, 80, ALLOW);
    let mut client = proxy.client();
    for path in ["/1", "/2", "/3"] {
        write!(client, "GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n").unwrap();
        assert!(response(&mut client).unwrap().ends_with(path));
    }
}

fn resets_and_ends_at_every_stage_are_on_record(choice: Choice) {
    let exchange: [&[u8]; 5] =
        [b"POST / HTTP/1.1\r\n", b"Host: origin.test\r\n", b"Content-Length: 4\r\n\r\n", b"ab", b"cd"];
    for stage in 1..=exchange.len() {
        for reset in [true, false] {
            let (address, _seen) =
                origin(|mut stream| request(&mut stream).is_some() && stream.read(&mut [0; 1]).is_ok());
            let proxy = Proxy::start(choice, address, 80, ALLOW);
            let mut client = proxy.client();
            client.write_all(&exchange[..stage].concat()).unwrap();
            if reset {
                let linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
                nix::sys::socket::setsockopt(&client, nix::sys::socket::sockopt::Linger, &linger).unwrap();
            } else {
                client.shutdown(Shutdown::Write).unwrap();
            }
            drop(client);
            // When this is answered, what came before it has been read.
            proxy.canary().unwrap();
            let mut records = proxy.stop();
            records.retain(|record| record.code() != "metadata");
            // Before its head is whole there was no request; from then on there is a decision, and its outcome is never a success.
            // A reset may overtake what was sent before it.
            let whole = matches!(&records[..], [Recorded::Decision { .. }, Recorded::Outcome { status: 0 | 400, .. }]);
            assert!(
                if stage < 3 { records.is_empty() } else { whole || reset && records.is_empty() },
                "{stage} {reset} {records:?}"
            );
        }
    }
}

fn a_body_that_is_cut_reaches_the_origin_as_a_reset(choice: Choice) {
    for tail in ["5\r\nhello\r\n5\r\nhelloX", "5\r\nhello\r\n0\r\nbad\r\n\r\n", "5\r\nhello\r\n"] {
        let (address, seen) = origin(|mut stream| {
            let mut all = Vec::new();
            let ended = stream.read_to_end(&mut all);
            (ended.map_err(|error| error.kind()), all)
        });
        let proxy = Proxy::start(choice, address, 80, ALLOW);
        let mut client = proxy.client();
        write!(client, "POST / HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n{tail}").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert!(response(&mut client).unwrap().starts_with("HTTP/1.1 400 "));
        let (ended, all) = seen.recv().unwrap();
        assert_eq!(ended, Err(ErrorKind::ConnectionReset), "{tail:?} ended as {}", all.escape_ascii());
        assert!(!all.ends_with(b"0\r\n\r\n"));
    }
}

fn a_head_that_is_never_finished_is_given_up(choice: Choice) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let bounds = Bounds { head: SHORT, idle: SHORT, ..Bounds::default() };
    let proxy = Proxy::start_bounded(choice, listener.local_addr().unwrap(), ALLOW, bounds);
    for part in ["", "GET / HT", "GET / HTTP/1.1\r\nHost: origin"] {
        let mut client = proxy.client();
        client.write_all(part.as_bytes()).unwrap();
        assert_eq!(client.read(&mut [0; 1]).unwrap_or(0), 0, "{part}");
    }
    let codes: Vec<String> = proxy.stop().iter().map(|record| record.code().to_owned()).collect();
    assert_eq!(codes, ["no_request", "no_request", "head_timeout"]);
}

fn a_request_body_that_drips_is_given_up(choice: Choice) {
    for (framing, drop) in [("Content-Length: 1000000", "x"), ("Transfer-Encoding: chunked", "1\r\nx\r\n")] {
        let (address, _seen) = origin(|mut stream| {
            let _ = stream.read_to_end(&mut Vec::new());
        });
        let proxy = Proxy::start_bounded(choice, address, ALLOW, Bounds { request_body: SHORT, ..Bounds::default() });
        let mut client = proxy.client();
        write!(client, "POST / HTTP/1.1\r\nHost: {HOST}\r\n{framing}\r\n\r\n").unwrap();
        let mut answers = client.try_clone().unwrap();
        let (answered, stop) = channel::<()>();
        // Never silent for long, and for ever.
        let drip = std::thread::spawn(move || {
            while client.write_all(drop.as_bytes()).is_ok() {
                if stop.recv_timeout(SHORT / 8) == Err(RecvTimeoutError::Disconnected) {
                    break;
                }
            }
        });
        let answer = response(&mut answers).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("body_timeout"), "{answer}");
        std::mem::drop(answered);
        drip.join().unwrap();
        assert!(proxy.stop().iter().any(|record| record.code() == "body_timeout"));
    }
}

fn a_long_upload_that_goes_on_is_not_given_up(choice: Choice) {
    let (address, _seen) = origin(answer);
    let proxy = Proxy::start_bounded(choice, address, ALLOW, Bounds { request_body: SHORT, ..Bounds::default() });
    let mut client = proxy.client();
    client.write_all(b"POST / HTTP/1.1\r\nHost: origin.test\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
    let (_pace, tick) = channel::<()>();
    let started = Instant::now();
    let portion = format!("{REQUEST_BODY_BYTES_MIN:x}\r\n{}\r\n", "x".repeat(REQUEST_BODY_BYTES_MIN));
    while started.elapsed() < 4 * SHORT {
        client.write_all(portion.as_bytes()).unwrap();
        assert_eq!(tick.recv_timeout(SHORT / 4), Err(RecvTimeoutError::Timeout));
    }
    client.write_all(b"0\r\n\r\n").unwrap();
    assert!(response(&mut client).unwrap().ends_with("ok"));
}

fn one_agents_flood_of_connections_leaves_the_others_room(choice: Choice) {
    let (address, _seen) = origin(answer);
    let source = |last: u8| IpAddr::from([127, 0, 0, last]);
    let agents = [(2, "flood"), (3, "other")].map(|(last, name)| (source(last).into(), name.to_owned()));
    let bounds = Bounds { connections: 12, connections_per_agent: 8, ..Bounds::default() };
    let proxy = Proxy::start_shared(choice, Agents::BySource(agents.to_vec()), address, ALLOW, bounds);
    let held: Vec<TcpStream> = (0..8).map(|_| proxy.client_from(source(2))).collect();
    for _ in 0..3 {
        let mut refused = proxy.client_from(source(2));
        assert_eq!(refused.read(&mut [0; 1]).unwrap_or(0), 0, "one more than its share");
    }
    let ask = |mut client: TcpStream| {
        client.write_all(b"GET / HTTP/1.1\r\nHost: origin.test\r\nConnection: close\r\n\r\n").unwrap();
        response(&mut client).is_some_and(|answer| answer.ends_with("ok"))
    };
    assert!(ask(proxy.client_from(source(3))), "the other agent is kept out");
    drop(held);
    // The ends are seen one after the other.
    assert!((0..1000).any(|_| ask(proxy.client_from(source(2)))), "what was given back is not to be had again");
    let refusals: Vec<Recorded> =
        proxy.stop().into_iter().filter(|record| record.code() == "agent_connections").collect();
    assert!(
        matches!(&refusals[..], [Recorded::Decision { agent, verdict, .. }, ..] if agent == "flood" && verdict == "deny"),
        "{refusals:?}"
    );
}

fn answer(mut stream: TcpStream) {
    if request(&mut stream).is_some() {
        let _ = stream.write_all(OK);
    }
}

/// Waits until the exchange has ended, while the client stays and does not read.
fn wait_for_outcome(proxy: Proxy, client: TcpStream, code: &str) {
    // Nothing else tells from outside: a connection that is cut reports an error.
    let started = Instant::now();
    while client.take_error().unwrap().is_none() && started.elapsed() < Duration::from_secs(10) {
        std::thread::yield_now();
    }
    drop(client);
    let records = proxy.stop();
    assert!(records.iter().any(|record| record.code() == code), "{records:?}");
}
