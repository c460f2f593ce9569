use super::super::{Host, Policy, Scheme, Source, Subject, load};
use super::*;

fn policy(text: &str) -> Policy {
    let loaded = load(Source { name: "p", text });
    loaded.policy.unwrap_or_else(|| panic!("{:?}", loaded.problems))
}

fn permit(policy: &Policy, address: Option<&str>) -> Permit {
    let subject = Subject {
        agent: "",
        scheme: Scheme::Https,
        host: Host::Name("x.example"),
        port: 443,
        address: address.map(|text| text.parse().unwrap()),
        method: "GET",
        paths: &["/"],
        ..Subject::EMPTY
    };
    policy.decide(&subject).admit().unwrap()
}

fn vet(policy: &Policy, decided: Option<&str>, dialled: &str, via: Via) -> Result<SocketAddr, AddressRefusal> {
    let address = SocketAddr::new(dialled.parse().unwrap(), 443);
    permit(policy, decided).vet(policy, address, via, &[]).map(Vetted::address)
}

/// The first and the last address of every block that is not public, and such blocks inside IPv6 addresses.
const SPECIAL: [&str; 54] = [
    "0.0.0.0",
    "0.255.255.255",
    "10.0.0.0",
    "10.255.255.255",
    "100.64.0.0",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.255",
    "169.254.0.1",
    "169.254.255.255",
    "172.16.0.0",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.0.255",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.0",
    "192.168.255.255",
    "198.18.0.0",
    "198.19.255.255",
    "198.51.100.7",
    "203.0.113.7",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:10.0.0.1",
    "::ffff:0:10.0.0.1",
    "64:ff9b::10.0.0.1",
    "64:ff9b::93.184.216.34",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:2::1",
    "2001:10::1",
    "2001:20::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:5db8:d822::1",
    "3fff::1",
    "fc00::1",
    "fd12:3456::1",
    "fdff:ffff::1",
    "fe80::1",
    "febf::1",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
    "2600::200:5efe:a00:1",
    "4000::1",
];

const METADATA: [&str; 14] = [
    "169.254.169.254",
    "169.254.170.2",
    "169.254.170.23",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "fd00:ec2::254",
    "fd00:ec2::23",
    "::ffff:169.254.169.254",
    "::a9fe:a9fe",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::a9fe:a9fe",
    "2002:a9fe:a9fe::",
    "2001:0:0:0:0:0:5601:5601",
];

const PUBLIC: [&str; 12] = [
    "1.1.1.1",
    "9.255.255.255",
    "11.0.0.0",
    "93.184.216.34",
    "100.63.255.255",
    "100.128.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "198.17.255.255",
    "223.255.255.255",
    "2606:4700::1111",
    "2a00:1450:4001:80b::200e",
];

#[test]
fn dials_public_addresses_and_no_special_one() {
    let observe = Policy::observe();
    for address in PUBLIC {
        assert!(vet(&observe, None, address, Via::Resolved).is_ok(), "{address}");
    }
    for address in SPECIAL {
        assert_eq!(vet(&observe, None, address, Via::Resolved), Err(AddressRefusal::Special), "{address}");
    }
}

#[test]
fn dials_a_special_address_as_an_upstream() {
    let observe = Policy::observe();
    for address in SPECIAL {
        assert!(vet(&observe, None, address, Via::Upstream).is_ok(), "{address}");
    }
}

#[test]
fn never_dials_metadata_whatever_the_policy_says() {
    let everything =
        policy("ringfence: v1\nmode: monitor\ndefault: allow\nrules:\n  - allow: a\n    cidr: [0.0.0.0/0, \"::/0\"]\n");
    for address in METADATA {
        for via in [Via::Resolved, Via::Upstream] {
            assert_eq!(vet(&everything, Some(address), address, via), Err(AddressRefusal::Metadata), "{address}");
        }
    }
}

#[test]
fn dials_a_private_address_only_when_the_winning_allow_has_a_block_that_contains_it() {
    let inside = policy("ringfence: v1\nrules:\n  - allow: any\n  - allow: lan\n    cidr: 10.0.0.0/8\n");
    assert_eq!(
        vet(&inside, Some("10.1.2.3"), "10.1.2.3", Via::Resolved).map(|a| a.ip().to_string()),
        Ok("10.1.2.3".into())
    );
    assert_eq!(vet(&inside, Some("192.168.0.1"), "192.168.0.1", Via::Resolved), Err(AddressRefusal::Special));
    assert!(vet(&inside, Some("1.1.1.1"), "1.1.1.1", Via::Resolved).is_ok());
    // A deny's block admits nothing.
    let denied =
        policy("ringfence: v1\nrules:\n  - allow: any\n  - deny: lan\n    cidr: 10.0.0.0/8\n    monitor: true\n");
    assert_eq!(vet(&denied, Some("10.1.2.3"), "10.1.2.3", Via::Resolved), Err(AddressRefusal::Special));
}

#[test]
fn a_permit_is_good_only_for_the_address_it_was_decided_for_once_some_rule_has_a_block() {
    let with_block = policy("ringfence: v1\nrules:\n  - allow: any\n  - deny: lan\n    cidr: 192.0.2.0/24\n");
    assert_eq!(vet(&with_block, None, "1.1.1.1", Via::Resolved), Err(AddressRefusal::Undecided));
    assert_eq!(vet(&with_block, Some("1.1.1.2"), "1.1.1.1", Via::Resolved), Err(AddressRefusal::Undecided));
    assert!(vet(&with_block, Some("::ffff:1.1.1.1"), "1.1.1.1", Via::Resolved).is_ok());
}

#[test]
fn a_permit_of_another_policy_is_stale() {
    let (one, other) = (Policy::observe(), policy("ringfence: v1\ndefault: allow\n"));
    let address = SocketAddr::new("1.1.1.1".parse().unwrap(), 443);
    assert_eq!(permit(&one, None).vet(&other, address, Via::Resolved, &[]).err(), Some(AddressRefusal::Stale));
}

#[test]
fn never_dials_our_own_listeners() {
    let observe = Policy::observe();
    let own: Vec<SocketAddr> =
        ["127.0.0.1:3128", "0.0.0.0:8080", "[::1]:3128", "93.184.216.34:443"].map(|a| a.parse().unwrap()).into();
    let ask = |address: &str| permit(&observe, None).vet(&observe, address.parse().unwrap(), Via::Upstream, &own).err();
    for listener in [
        "127.0.0.1:3128",
        "[::ffff:127.0.0.1]:3128",
        "127.0.0.9:8080",
        "0.0.0.0:8080",
        "[::1]:8080",
        "93.184.216.34:443",
    ] {
        assert_eq!(ask(listener), Some(AddressRefusal::OwnListener), "{listener}");
    }
    assert_eq!(ask("127.0.0.1:3129"), None);
}

#[test]
fn dials_the_canonical_form_of_an_address() {
    let observe = Policy::observe();
    let vetted = vet(&observe, None, "::ffff:93.184.216.34", Via::Resolved).unwrap();
    assert_eq!(vetted.to_string(), "93.184.216.34:443");
}

#[test]
fn an_address_of_this_machine_needs_a_name_like_a_private_one() {
    let anything = policy("ringfence: v1\ndefault: allow\nrules: []\n");
    assert_eq!(vet(&anything, None, "93.184.215.14", Via::Here), Err(AddressRefusal::Special));
    let named = policy("ringfence: v1\nrules:\n  - allow: here\n    host: x.example\n    cidr: 93.184.215.14\n");
    assert!(vet(&named, Some("93.184.215.14"), "93.184.215.14", Via::Here).is_ok());
    assert!(vet(&anything, None, "93.184.215.14", Via::Upstream).is_ok());
}
