use super::*;

fn matches(pattern: &str, path: &str) -> bool {
    PathPattern::read(pattern).unwrap().matches(path)
}

#[test]
fn a_star_stays_within_its_segment() {
    assert!(matches("/repos/*/pulls", "/repos/acme/pulls"));
    assert!(matches("/a*c", "/abbc") && matches("/a*c", "/ac"));
    assert!(!matches("/repos/*/pulls", "/repos/acme/site/pulls"));
    assert!(!matches("/a/*", "/a") && !matches("/a/*", "/a/b/"));
}

#[test]
fn two_stars_cross_segments_and_match_what_they_hang_from() {
    for path in ["/a", "/a/", "/a/b", "/a/b/c"] {
        assert!(matches("/a/**", path), "{path}");
    }
    assert!(!matches("/a/**", "/ab") && !matches("/a/**", "/b/a"));
    assert!(matches("/**", "/") && matches("/**/x", "/x") && matches("/**/x", "/a/b/x"));
    assert!(!matches("/**/x", "/ax") && matches("/a/**/b/**/c", "/a/b/b/c"));
    assert!(matches("/a**z", "/a/b/z") && matches("/files/**.exe", "/files/a/b.exe"));
}

#[test]
fn patterns_are_case_sensitive_and_canonical() {
    assert!(!matches("/a", "/A"));
    assert_eq!(PathPattern::read("/%61%2f%7e/%40").unwrap().as_str(), "/a%2F~/@");
    assert_eq!(PathPattern::read("/a/**/**/***").unwrap().as_str(), "/a/**");
}

#[test]
fn refuses_what_no_decided_path_can_be() {
    use PathError::*;
    let cases = [
        ("", NoSlash),
        ("a", NoSlash),
        ("/a?b", Query),
        ("/a#b", Query),
        ("/a b", Character(' ')),
        ("/ä", Character('ä')),
        ("/a\\b", Character('\\')),
        ("/%", Percent),
        ("/%4", Percent),
        ("/%zz", Percent),
        ("/%00", Refused),
        ("/%5c", Refused),
        ("/%2A", Star),
        ("/a/../b", DotSegment),
        ("/.", DotSegment),
        ("/%2e%2E/x", DotSegment),
    ];
    for (text, error) in cases {
        assert_eq!(PathPattern::read(text), Err(error), "{text}");
    }
    assert_eq!(PathPattern::read(&"/a".repeat(65)), Err(Segments));
    assert_eq!(PathPattern::read(&format!("/{}", "a".repeat(8192))), Err(Long));
}

#[test]
fn a_hostile_path_costs_no_more_than_its_length_squared() {
    let pattern = PathPattern::read("/**a*a*a*a*a*a*a**b").unwrap();
    assert!(!pattern.matches(&format!("/{}", "a".repeat(4_000))));
}
