//! The stub and the names behind it: what is answered, what is not, and what an agent may ask for in a time.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};

use super::harness::{HOST, Proxy, response};
use super::on_both;
use crate::io::engine::Choice;
use crate::limits::{DNS_CONNECTIONS_PER_AGENT_MAX, DNS_QUERIES_BURST, LEAVES_BURST, SYNTHETIC_TTL_SECONDS};

const RULES: &str = "  - allow: here\n    host: [origin.test, \"*.wild.test\"]\n";

on_both! {
    the_stub_gives_an_address_and_no_hints
    the_stub_answers_over_tcp
    a_flood_of_queries_is_refused_with_one_record
    a_stream_of_random_names_below_a_wildcard_is_refused
    a_stream_of_random_hosts_is_not_looked_up
    a_flood_of_new_tls_names_is_refused
    one_agents_dns_connections_are_a_share_of_all
}

fn the_stub_gives_an_address_and_no_hints(choice: Choice) {
    let (proxy, _listener) = start(choice);
    let answer = udp(&proxy, HOST, RecordType::A);
    assert_eq!((answer.metadata.response_code, answer.answers.len()), (ResponseCode::NoError, 1));
    assert_eq!(answer.answers[0].ttl, SYNTHETIC_TTL_SECONDS);
    // No ech, no h3, no addresses beside ours: the name exists and has nothing of the kind.
    for kind in [RecordType::HTTPS, RecordType::SVCB, RecordType::AAAA, RecordType::TXT, RecordType::ANY] {
        let answer = udp(&proxy, HOST, kind);
        assert_eq!((answer.metadata.response_code, answer.answers.len()), (ResponseCode::NoError, 0), "{kind}");
    }
    for name in ["elsewhere.test", "wild.test", "metadata.google.internal"] {
        assert_eq!(udp(&proxy, name, RecordType::HTTPS).metadata.response_code, ResponseCode::NXDomain, "{name}");
    }
    assert_eq!(codes(proxy), ["name_not_admitted"; 3]);
}

fn the_stub_answers_over_tcp(choice: Choice) {
    let (proxy, _listener) = start(choice);
    let mut stream = TcpStream::connect(proxy.stub()).unwrap();
    for (name, code) in [(HOST, ResponseCode::NoError), ("elsewhere.test", ResponseCode::NXDomain)] {
        let query = query(name, RecordType::A);
        let length = u16::try_from(query.len()).unwrap().to_be_bytes();
        stream.write_all(&[&length[..], &query].concat()).unwrap();
        let mut length = [0; 2];
        stream.read_exact(&mut length).unwrap();
        let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(Message::from_vec(&answer).unwrap().metadata.response_code, code);
    }
}

fn a_flood_of_queries_is_refused_with_one_record(choice: Choice) {
    let (proxy, _listener) = start(choice);
    let mut refused = 0;
    // More than the burst and what leaks out meanwhile; ends as soon as it is refused.
    for _ in 0..20 * DNS_QUERIES_BURST {
        refused += u32::from(udp(&proxy, HOST, RecordType::A).metadata.response_code == ResponseCode::Refused);
        if refused == 3 {
            break;
        }
    }
    assert_eq!(refused, 3);
    let codes = codes(proxy);
    assert!((1..=3).contains(&codes.len()) && codes.iter().all(|code| code == "dns_rate"), "{codes:?}");
}

fn a_stream_of_random_names_below_a_wildcard_is_refused(choice: Choice) {
    let (proxy, _listener) = start(choice);
    let found =
        (0..900).position(|n| udp(&proxy, &random(n), RecordType::A).metadata.response_code == ResponseCode::Refused);
    assert!(found.is_some_and(|n| n > 50), "{found:?}");
    // What is no news passes.
    assert_eq!(udp(&proxy, &random(0), RecordType::A).metadata.response_code, ResponseCode::NoError);
    assert_eq!(codes(proxy), ["name_entropy"]);
}

fn a_stream_of_random_hosts_is_not_looked_up(choice: Choice) {
    let (proxy, _listener) = start(choice);
    let mut client = proxy.client();
    // The stub has taken the quota; the head of a request has the same.
    while udp(&proxy, &random(fresh()), RecordType::A).metadata.response_code == ResponseCode::NoError {}
    write!(client, "GET / HTTP/1.1\r\nHost: {}\r\n\r\n", random(fresh())).unwrap();
    let answer = response(&mut client).unwrap();
    assert!(answer.starts_with("HTTP/1.1 502 ") && answer.contains(r#""code":"name_entropy""#), "{answer}");
}

fn a_flood_of_new_tls_names_is_refused(choice: Choice) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::start(choice, listener.local_addr().unwrap(), 443, RULES);
    let mut refused = false;
    for n in 0..20 * LEAVES_BURST {
        let mut client = proxy.tls_client(&format!("h{n}.wild.test"));
        // As far as the server's first flight: a name that is refused gets an alert instead.
        let answered = client.conn.complete_io(&mut client.sock);
        if answered.is_err_and(|error| error.to_string().contains("InternalError")) {
            refused = true;
            break;
        }
    }
    assert!(refused);
    assert_eq!(codes(proxy).into_iter().filter(|code| code == "leaf_rate").count(), 1);
}

fn one_agents_dns_connections_are_a_share_of_all(choice: Choice) {
    let (proxy, _listener) = start(choice);
    let held: Vec<TcpStream> =
        (0..DNS_CONNECTIONS_PER_AGENT_MAX).map(|_| TcpStream::connect(proxy.stub()).unwrap()).collect();
    let ask = |mut stream: &TcpStream| {
        let query = query(HOST, RecordType::A);
        let length = u16::try_from(query.len()).unwrap().to_be_bytes();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.write_all(&[&length[..], &query].concat()).is_ok() && stream.read(&mut [0; 512]).unwrap_or(0) > 2
    };
    assert!(held.iter().all(ask), "what it holds is served");
    assert!(!ask(&TcpStream::connect(proxy.stub()).unwrap()), "one more than its share");
    drop(held);
    // The ends are seen one after the other.
    assert!((0..1000).any(|_| ask(&TcpStream::connect(proxy.stub()).unwrap())));
}

fn start(choice: Choice) -> (Proxy, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    (Proxy::start(choice, listener.local_addr().unwrap(), 80, RULES), listener)
}

/// A name of 24 octets that look like chance, below the wildcard.
fn random(n: u32) -> String {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let part = |salt: u32| {
        let mut hasher = DefaultHasher::new();
        (n, salt).hash(&mut hasher);
        format!("{:016x}", hasher.finish())
    };
    format!("{}{}{}.wild.test", part(1), part(2), part(3))
}

/// A number that was not given before.
fn fresh() -> u32 {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(100_000);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

fn query(name: &str, kind: RecordType) -> Vec<u8> {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii(format!("{name}.")).unwrap(), kind));
    message.to_vec().unwrap()
}

fn udp(proxy: &Proxy, name: &str, kind: RecordType) -> Message {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket.send_to(&query(name, kind), proxy.stub()).unwrap();
    let mut answer = [0; 4096];
    let (length, _) = socket.recv_from(&mut answer).unwrap();
    Message::from_vec(&answer[..length]).unwrap()
}

fn codes(proxy: Proxy) -> Vec<String> {
    proxy.stop().iter().map(|record| record.code().to_owned()).collect()
}
