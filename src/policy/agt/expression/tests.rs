use super::super::super::problem::Problems;
use super::super::super::subject::{Host, Subject};
use super::super::super::{NoFiles, Terms};
use super::*;

/// A condition, with what is warned of it.
fn expression(text: &str) -> (Expression, String) {
    let unsupplied = ["x".to_owned(), "a.b".to_owned()];
    let terms = Terms { unsupplied: &unsupplied, files: &NoFiles };
    let mut problems = Problems::new("p");
    let mut reading = Reading::new(text, &terms, &mut problems);
    let expression = read(text, Place::default(), &mut reading).unwrap();
    let warnings = problems.into_sorted().iter().map(ToString::to_string).collect();
    (expression, warnings)
}

const SUBJECT: Subject<'_> = Subject {
    agent: "coder",
    host: Host::Name("api.example.com"),
    port: 443,
    method: "GET",
    paths: &["/v1"],
    ..Subject::EMPTY
};

#[test]
fn a_condition_means_what_agt_makes_of_it() {
    assert!(PATTERNS.is_some());
    for (text, holds) in [
        ("method == 'GET'", true),
        ("method == \"GET'", true),
        ("method != 'GET'", false),
        ("method != 'PUT'", true),
        ("x != 'PUT'", true),
        ("x == 'PUT'", false),
        ("method in ['PUT', 'GET']", true),
        ("method in [PUT,GET]", true),
        ("method not in ['PUT']", false),
        ("port in [443]", false),
        ("port > 442", true),
        ("port >= 444", false),
        ("x < 1", true),
        ("x > 0", false),
        ("method > 0", false),
        ("port == '443'", false),
        ("port == 443", false),
        ("method == ''", false),
        ("host", true),
        ("x", false),
        ("a.b", false),
        ("not x", false),
        ("(method == 'GET')", false),
        (" method == 'GET'", false),
        ("method == 'GET' ", true),
        ("method == 'GET' && x == 'y'", true),
        ("x == 'y' or method == 'GET'", true),
        ("method == 'GET' and x == 'y' or host == 'api.example.com'", true),
        ("method == 'a or b'", false),
        ("method == 'GET' and method == 'a and b'", false),
    ] {
        let (expression, _) = expression(text);
        assert_eq!(expression.holds(&Facts::of(&SUBJECT)), Ok(Truth::from(holds)), "{text}");
    }
}

#[test]
fn what_agt_does_against_all_appearance_is_warned_of() {
    for (text, word) in [
        ("method == 'GET' && x == 'y'", "AGT ignores `&& x == 'y'`"),
        ("method == 'a or b'", "inside of quotes"),
        ("(method == 'GET')", "for false"),
        ("not x", "for false"),
        ("port == 443", "for false"),
        ("x != 'y'", "also holds where `x` is missing"),
        ("port > 5", "is decided with 0"),
    ] {
        assert!(expression(text).1.contains(word), "{text}: {}", expression(text).1);
    }
    assert_eq!(expression("method == 'GET' and host in ['a', 'b']").1, "");
    assert!(expression(&"x".repeat(2_001)).1.contains("more than 2000"));
}
