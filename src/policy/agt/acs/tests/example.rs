//! The example that people copy: it loads without a problem and does what it says.

use super::*;

fn policy() -> Policy {
    let files = folder(&[
        ("policy/egress.rego", include_str!("../../../../../examples/policies/acs/policy/egress.rego")),
        ("policy/limits/data.json", include_str!("../../../../../examples/policies/acs/policy/limits/data.json")),
    ]);
    let loaded = load(include_str!("../../../../../examples/policies/acs/manifest.yaml"), &files, &[]);
    assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
    loaded.policy.unwrap()
}

#[test]
fn the_example_decides_requests() {
    let policy = policy();
    let of = |host: &'static str, method: &'static str, path: &'static str| {
        told(&policy, &Subject { host: Host::Name(host), method, ..request(path) })
    };
    assert_eq!(of("api.github.com", "GET", "/repos/acme/app"), "allow egress -");
    assert_eq!(of("eu.releases.example.com", "HEAD", "/"), "allow egress -");
    let elsewhere = of("a.eu.releases.example.com", "GET", "/");
    assert_eq!(elsewhere, "deny egress host_not_listed: a.eu.releases.example.com is not among the hosts of the tool.");
    assert_eq!(
        of("api.github.com", "DELETE", "/repos/acme/app"),
        "deny egress escalate: deletion: A deletion needs a person."
    );
    assert_eq!(
        of("api.github.com", "POST", "/repos/acme/app"),
        "allow egress warning: writes: The release bot writes seldom."
    );
    assert!(of("api.github.com", "POST", "/user").starts_with("deny egress not_listed"));
}

#[test]
fn the_example_decides_calls() {
    let policy = policy();
    assert_eq!(told(&policy, &call("search", with(r#"{"q": "x"}"#))), "allow egress -");
    assert_eq!(told(&policy, &call("create_release", with(r#"{"draft": true, "notes": "n"}"#))), "allow egress -");
    let published = told(&policy, &call("create_release", with(r#"{"draft": false, "notes": "n"}"#)));
    assert!(published.starts_with("deny egress not_listed"), "{published}");
    assert_eq!(told(&policy, &call("delete_release", Look::Absent)), "deny egress runtime_error:tool_unknown");
}
