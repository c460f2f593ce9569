use proptest::prelude::*;

use super::properties::{host_properties, path_properties, target_properties};
use super::*;
use crate::parse::{head, path};

/// A connection on which a request arrives.
#[derive(Clone, Copy)]
struct On {
    scheme: Scheme,
    form: Form,
    port: u16,
    sni: Option<&'static str>,
    connect: Option<(&'static str, u16)>,
}

const PLAIN: On = On { scheme: Scheme::Http, form: Form::Origin, port: 80, sni: None, connect: None };
const TLS: On = On { scheme: Scheme::Https, form: Form::Origin, port: 443, sni: Some("a.example"), connect: None };
const PROXY: On = On { scheme: Scheme::Http, form: Form::Proxy, port: 3128, sni: None, connect: None };

impl On {
    /// Scheme, authority and path, or the fault.
    fn get(self, target: &str, host_value: &str) -> Result<String, TargetError> {
        self.ask(&format!("GET {target} HTTP/1.1\r\nHost: {host_value}\r\n\r\n"))
    }

    fn ask(self, text: &str) -> Result<String, TargetError> {
        let head = head::request(text.as_bytes()).expect("the head is sound");
        let connect = self.connect.map(|(name, port)| (host(name).expect("a sound host"), port));
        let connect_authority = connect.as_ref().map(|(host, port)| (host, *port));
        let On { scheme, form, port: default_port, sni, .. } = self;
        let found = canonical(&Asked { scheme, head: &head, sni, default_port, form, connect_authority })?;
        let query = found.query.map(|query| format!(" ?{query}")).unwrap_or_default();
        Ok(format!("{} {}:{} {} {}{query}", found.scheme.as_str(), found.host, found.port, found.path, found.wire))
    }
}

fn mismatch(kind: Mismatch) -> Result<String, TargetError> {
    Err(TargetError::Mismatch(kind))
}

fn same(text: &str) -> Result<String, TargetError> {
    Ok(text.to_owned())
}

#[test]
fn names_what_is_asked_for() {
    assert_eq!(PLAIN.get("/x/y?z=/../%zz", "A.Example."), same("http a.example:80 /x/y /x/y?z=/../%zz ?z=/../%zz"));
    assert_eq!(TLS.get("/%61?", "a.example:443"), same("https a.example:443 /a /%61? ?"));
    assert_eq!(PLAIN.get("/", "[::1]"), same("http [::1]:80 / /"));
    assert_eq!(PLAIN.ask("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"), same("http a:80 * *"));
    assert_eq!(PROXY.get("http://a.example", "a.example"), same("http a.example:80 / /"));
    assert_eq!(PROXY.get("HTTP://A.example:8080/x", "a.example:8080"), same("http a.example:8080 /x /x"));
    assert_eq!(PROXY.get("http://a.example?q", "a.example"), same("http a.example:80 / /?q ?q"));
    assert_eq!(PROXY.ask("OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n"), same("http a:80 * *"));
    assert_eq!(PROXY.ask("CONNECT a.example:443 HTTP/1.1\r\nHost: a.example\r\n\r\n"), same("https a.example:443  "));
    assert_eq!(PROXY.ask("GET http://a/ HTTP/1.0\r\n\r\n"), same("http a:80 / /"));
}

#[test]
fn wants_host_and_absolute_form_to_agree() {
    for (target, host_value) in [
        ("http://a.example/", "b.example"),
        ("http://a.example/", "a.example:81"),
        ("http://a.example:81/", "a.example"),
        ("http://a.example:81/", "a.example:82"),
        ("http://127.0.0.1/", "localhost"),
    ] {
        assert_eq!(PROXY.get(target, host_value), mismatch(Mismatch::HostAndTarget), "{target} {host_value}");
    }
    for (target, host_value) in [("http://a.example:80/", "a.example"), ("http://a.example/", "A.EXAMPLE.:80")] {
        assert_eq!(PROXY.get(target, host_value), same("http a.example:80 / /"));
    }
    assert_eq!(TLS.get("https://a.example/", "a.example"), same("https a.example:443 / /"));
    assert_eq!(TLS.get("https://b.example/", "a.example"), mismatch(Mismatch::HostAndTarget));
    assert_eq!(TLS.get("http://a.example/", "a.example"), mismatch(Mismatch::Scheme));
    assert_eq!(PLAIN.get("https://a.example/", "a.example"), mismatch(Mismatch::Scheme));
    assert_eq!(PROXY.ask("CONNECT a:443 HTTP/1.1\r\nHost: b:443\r\n\r\n"), mismatch(Mismatch::HostAndTarget));
    assert_eq!(PROXY.ask("CONNECT a:443 HTTP/1.1\r\nHost: a:80\r\n\r\n"), mismatch(Mismatch::HostAndTarget));
}

#[test]
fn wants_sni_and_host_to_agree() {
    assert_eq!(TLS.get("/", "b.example"), mismatch(Mismatch::HostAndSni));
    assert_eq!(TLS.get("/", "127.0.0.1"), mismatch(Mismatch::HostAndSni));
    assert_eq!(TLS.get("/", "x.a.example"), mismatch(Mismatch::HostAndSni));
    assert_eq!(TLS.get("/", "A.EXAMPLE."), same("https a.example:443 / /"));
    let without = On { sni: None, ..TLS };
    assert_eq!(without.get("/", "a.example"), mismatch(Mismatch::HostAndSni));
    assert_eq!(without.get("/", "127.0.0.1"), same("https 127.0.0.1:443 / /"));
    let fault = TLS.get("/", "b.example").unwrap_err();
    assert_eq!((fault.status(), fault.code()), (421, "mismatch"));
}

#[test]
fn wants_connect_and_host_to_agree() {
    let inside = On { connect: Some(("a.example", 8443)), port: 8443, ..TLS };
    assert_eq!(inside.get("/", "a.example:8443"), same("https a.example:8443 / /"));
    assert_eq!(inside.get("/", "a.example"), same("https a.example:8443 / /"));
    assert_eq!(inside.get("/", "a.example:443"), mismatch(Mismatch::Port));
    let other = On { connect: Some(("b.example", 8443)), ..inside };
    assert_eq!(other.get("/", "a.example:8443"), mismatch(Mismatch::HostAndConnect));
    let without_sni = On { sni: None, ..inside };
    assert_eq!(without_sni.get("/", "a.example:8443"), same("https a.example:8443 / /"));
}

#[test]
fn wants_the_ports_of_host_and_connection_to_agree() {
    assert_eq!(PLAIN.get("/", "a.example:8080"), mismatch(Mismatch::Port));
    assert_eq!(On { port: 8080, ..PLAIN }.get("/", "a.example:8080"), same("http a.example:8080 / /"));
    assert_eq!(On { port: 8080, ..PLAIN }.get("/", "a.example"), same("http a.example:8080 / /"));
}

#[test]
fn rejects_targets_without_a_known_form() {
    for target in ["admin", "a.example:80", "@evil/", "*x", "http:/a/", "http:a", "://a/", "?x", "127.0.0.1"] {
        assert!(matches!(PLAIN.get(target, "a.example"), Err(TargetError::Form | TargetError::Scheme)), "{target}");
        assert!(PROXY.get(target, "a.example").is_err(), "{target}");
    }
    assert_eq!(PLAIN.get("*", "a"), Err(TargetError::Form));
    assert_eq!(PLAIN.ask("OPTIONS *?x HTTP/1.1\r\nHost: a\r\n\r\n"), Err(TargetError::Form));
    assert_eq!(PROXY.get("/", "a"), Err(TargetError::NotAbsolute));
    for target in ["https://a/", "ftp://a/", "file:///etc/passwd", "ws://a/"] {
        assert_eq!(PROXY.get(target, "a"), Err(TargetError::Scheme), "{target}");
    }
    for target in ["/", "a", "http://a", "a:443/x", "*", "a:443:443", "u@a:443"] {
        assert!(PROXY.ask(&format!("CONNECT {target} HTTP/1.1\r\nHost: a\r\n\r\n")).is_err(), "{target}");
    }
    assert_eq!(TLS.ask("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n"), Err(TargetError::ConnectMisplaced));
    assert_eq!(PLAIN.ask("GET / HTTP/1.0\r\n\r\n"), Err(TargetError::HostMissing));
}

#[test]
fn rejects_what_is_no_host_in_every_place() {
    for text in ODD_HOSTS {
        host_properties(text);
        assert!(authority(text).is_err(), "{text:?}");
        if text.is_ascii() && !text.contains(['\0', '\n', '\r']) {
            assert!(PLAIN.get("/", text).is_err(), "{text:?}");
        }
        if text.bytes().all(|byte| byte.is_ascii_graphic() && !b"#\\/?".contains(&byte)) {
            assert!(PROXY.get(&format!("http://{text}/"), "a").is_err(), "{text:?}");
        }
    }
}

const ODD_HOSTS: [&str; 66] = [
    "",
    ".",
    "..",
    "a..b",
    "a.b..",
    ".a",
    "a b",
    "a\tb",
    "a,b",
    "a, b",
    "a/b",
    "a?b",
    "a#b",
    "a\\b",
    "a@b",
    "u:p@b",
    "a%40b",
    "a%2eb",
    "b:80@a",
    "-a.b",
    "a-.b",
    "a\0b",
    "a\u{e9}",
    "\u{ff41}",
    "a\u{3002}b",
    "*.b",
    "a;b",
    "a=b",
    "(a)",
    "a'b",
    "a\"b",
    "a|b",
    "$a",
    "127.1",
    "0x7f.1",
    "0177.0.0.1",
    "2130706433",
    "0x7f000001",
    "127.0.0.1.",
    "127.0.0.256",
    "127.0.0.01",
    "1.2.3.4.5",
    "1.2.3",
    "a.1",
    "a.0x",
    "a.0X1f",
    "0",
    "\u{2460}\u{2461}",
    "%30%78",
    "::1",
    "[::1",
    "::1]",
    "[127.0.0.1]",
    "[fe80::1%25eth0]",
    "[fe80::1%eth0]",
    "[v1.x]",
    "[]",
    "[::1]x",
    "[::g]",
    "[[::1]]",
    "a]",
    "xn--example-.org",
    "xn--a",
    "example.org.xn--",
    "xn--\u{e9}",
    "xn--zz-999999",
];

#[test]
fn reads_hosts_in_one_form() {
    for (text, canonical) in [
        ("EXAMPLE.com", "example.com"),
        ("example.com.", "example.com"),
        ("a_b.c-d.e", "a_b.c-d.e"),
        ("r3---sn-x.example", "r3---sn-x.example"),
        ("1.example", "1.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
        ("127.0.0.1", "127.0.0.1"),
        ("[::FFFF:169.254.169.254]", "[::ffff:169.254.169.254]"),
        ("[0:0:0:0:0:0:0:1]", "[::1]"),
        ("localhost", "localhost"),
        ("0x7f.example", "0x7f.example"),
    ] {
        host_properties(text);
        assert_eq!(host(text).map(|host| host.to_string()).as_deref(), Ok(canonical), "{text}");
    }
    assert!(matches!(host("example.com"), Ok(Host::Name(Cow::Borrowed(_)))));
}

#[test]
fn bounds_names_and_labels() {
    let label = "a".repeat(63);
    let longest = format!("{label}.{label}.{label}.{}", "a".repeat(61));
    for (text, sound) in [
        (longest.clone(), true),
        (longest.clone() + ".", true),
        (longest + "a", false),
        (label.clone(), true),
        (label + "a", false),
    ] {
        host_properties(&text);
        assert_eq!(host(&text).is_ok(), sound);
    }
}

fn readings(text: &str) -> Result<Vec<String>, PathError> {
    path_properties(text);
    path::read(text)
        .map(|path| std::iter::once(&*path.canonical).chain(path.readings.iter()).map(str::to_owned).collect())
}

#[test]
fn gives_every_reading_of_a_path() {
    for (text, all) in [
        ("/a/b", &["/a/b"][..]),
        ("/a%62%7E%40", &["/ab~@"]),
        ("/a%c3%a9%20b", &["/a%C3%A9%20b"]),
        ("/a%2fb", &["/a%2Fb", "/a/b"]),
        ("/a//b", &["/a//b", "/a/b"]),
        ("/a;x=1/b", &["/a;x=1/b", "/a/b"]),
        ("/a%3bx/b", &["/a%3Bx/b", "/a;x/b", "/a/b"]),
        ("/a%252fb", &["/a%252fb", "/a%2Fb", "/a/b"]),
        ("/%2561dmin", &["/%2561dmin", "/admin"]),
        ("/100%25", &["/100%25"]),
        ("//evil/x", &["//evil/x", "/evil/x"]),
        ("/a;x%2Fy", &["/a;x%2Fy", "/a;x/y", "/a", "/a/y"]),
        ("/@scope%2fpkg", &["/@scope%2Fpkg", "/@scope/pkg"]),
        ("*", &["*"]),
        ("/.well-known/..x/.y./...", &["/.well-known/..x/.y./..."]),
    ] {
        assert_eq!(
            readings(text).as_deref(),
            Ok(all.iter().map(|&text| text.to_owned()).collect::<Vec<_>>().as_slice()),
            "{text}"
        );
    }
}

#[test]
fn rejects_dot_segments_in_every_reading() {
    for text in [
        "/a/../b",
        "/./",
        "/.",
        "/..",
        "/a/.",
        "/a/..",
        "/../",
        "/..;/",
        "/a/..;x=y/b",
        "/a/..%2f",
        "/%2e%2e/",
        "/.%2e/",
        "/%2e",
        "/%2E%2e",
        "/%252e",
        "/%252e%252e/",
        "/a%2f..%2fb",
        "/a%2f%2e%2e",
        "/..%3b/",
        "/..%253b/",
        "/a;/../b",
        "/x%252f..%252f",
        "//..//",
        "/a/.;/b",
        "..",
        ".",
    ] {
        assert_eq!(readings(text), Err(PathError::DotSegment), "{text}");
    }
    for text in ["/..%5c", "/%5c", "/a%5Cb", "/%255c"] {
        assert_eq!(readings(text), Err(PathError::Backslash), "{text}");
    }
}

#[test]
fn rejects_broken_and_dangerous_escapes() {
    for text in ["/%", "/%a", "/%zz", "/%u002f", "/a%2", "/%%32e", "/%+1", "/% 1", "/%2\u{e9}"] {
        if text.is_ascii() {
            assert_eq!(readings(text), Err(PathError::Escape), "{text}");
        }
        assert_eq!(path::read(text), Err(PathError::Escape), "{text}");
    }
    for text in ["/%00", "/a%00.txt", "/%2500"] {
        assert_eq!(readings(text), Err(PathError::Nul), "{text}");
    }
    for text in ["/%c0%af", "/%C1%9c", "/%e0%80%af", "/%f0%80%80%af", "/%25c0%25af"] {
        assert_eq!(readings(text), Err(PathError::Overlong), "{text}");
    }
    assert_eq!(readings("/%e0%a4%b9"), Ok(vec!["/%E0%A4%B9".to_owned()]));
}

#[test]
fn bounds_the_readings() {
    assert_eq!(readings(&format!("/a%{}2f", "25".repeat(40))), Err(PathError::Readings));
    assert_eq!(readings("//a%252f%252fb;c%253bd%252f/e;f%2fg"), Err(PathError::Readings));
    assert!(readings("/a//b;c/d%2Fe").is_ok());
}

proptest! {
    #[test]
    fn holds_for_any_target(target in "[!-~]{0,30}", host_text in "[ -~]{0,30}") {
        target_properties(&target, &host_text);
    }

    #[test]
    fn holds_for_what_is_nearly_a_target(
        target in "(/|http://a\\.example(:80)?|https://A\\.EXAMPLE|\\*|a:443|//)(a|/|\\.|%2[fFeE5]|%252[fe]|;|\\?|%61){0,8}",
        host_text in "(a\\.example|A\\.Example\\.|127\\.0\\.0\\.1|\\[::1\\]|a)(:[0-9]{1,3})?",
    ) {
        target_properties(&target, &host_text);
    }

    #[test]
    fn holds_for_any_host(text in "(xn--|[a-c0-2xX_-]{1,3})?[a-c0-2xX.-]{0,12}") {
        host_properties(&text);
    }

    #[test]
    fn holds_for_any_path(text in "(/|//|\\.|%2[fFeE5]|%252[fe]|%3[bB]|;|a|%41|%){0,10}") {
        path_properties(&text);
    }
}
