//! The runtimes found on PATH: which trust store each reads, and which variable moves it to the bundle.

use std::path::Path;

use super::{Finding, program};

/// What a runtime says of its store, if it answers.
type Ask = fn(&Path) -> Option<String>;

pub(super) fn look() -> Vec<Finding> {
    let runtimes: [(&'static str, &str, Ask); 5] = [
        ("trust of python3", "python3", python),
        ("trust of node", "node", node),
        ("trust of git", "git", git),
        ("trust of curl", "curl", curl),
        ("trust of java", "java", java),
    ];
    let found = runtimes.into_iter().filter_map(|(subject, name, ask)| Some((subject, ask, program::find(name)?)));
    let mut findings: Vec<Finding> = found
        .map(|(subject, ask, program)| match ask(&program) {
            Some(text) => Finding::ok(subject, text),
            None => Finding::note(subject, format!("{} does not answer", program.display())),
        })
        .collect();
    if findings.is_empty() {
        findings.push(Finding::ok("trust stores", "no python3, node, git, curl or java on PATH here"));
    }
    findings
}

fn python(program: &Path) -> Option<String> {
    let script = "import ssl\nd = ssl.get_default_verify_paths()\nprint(d.cafile or d.capath or d.openssl_cafile)\n\
        try:\n  import certifi; print(certifi.where())\nexcept ImportError: pass";
    let said = program::ask(program, &["-c", script])?;
    let mut lines = said.lines();
    let store = format!("{} (SSL_CERT_FILE moves it)", lines.next()?);
    Some(match lines.next() {
        Some(certifi) => format!("{store}; requests and pip: {certifi} (REQUESTS_CA_BUNDLE, PIP_CERT)"),
        None => store,
    })
}

fn node(program: &Path) -> Option<String> {
    let version = program::ask(program, &["--version"])?;
    Some(format!("{}: the roots built into it (NODE_EXTRA_CA_CERTS adds to them)", version.trim()))
}

fn git(program: &Path) -> Option<String> {
    program::ask(program, &["--version"])?;
    // Exits with 1 where nothing is configured.
    let configured = program::ask(program, &["config", "--get", "http.sslCAInfo"]);
    let store = configured.map_or_else(|| "the store of its TLS library".to_owned(), |file| file.trim().to_owned());
    Some(format!("{store} (GIT_SSL_CAINFO moves it)"))
}

fn curl(program: &Path) -> Option<String> {
    let said = program::ask(program, &["--version"])?;
    let library = said.lines().next()?.split(' ').find(|word| {
        ["OpenSSL", "GnuTLS", "wolfSSL", "mbedTLS", "BoringSSL", "LibreSSL", "rustls"]
            .iter()
            .any(|known| word.starts_with(known))
    });
    Some(format!("the store of {} (CURL_CA_BUNDLE moves it)", library.unwrap_or("its TLS library")))
}

fn java(program: &Path) -> Option<String> {
    let said = program::ask(program, &["-XshowSettings:properties", "-version"])?;
    let home = said.lines().find_map(|line| line.trim().strip_prefix("java.home = "))?;
    Some(format!(
        "{home}/lib/security/cacerts (no variable of its own: JAVA_TOOL_OPTIONS=-Djavax.net.ssl.trustStore=FILE -Djavax.net.ssl.trustStoreType=PEM)"
    ))
}
