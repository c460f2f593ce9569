use super::*;

fn python(pattern: &str) -> Pattern {
    Pattern::new(pattern, Flavour::Python).unwrap_or_else(|error| panic!("{pattern}: {error}"))
}

#[test]
fn a_python_pattern_finds_what_re_search_finds() {
    // Pattern, texts in which Python finds it, texts in which it does not.
    let cases: [(&str, &[&str], &[&str]); 36] = [
        (r"(?i)secret=\S{8,}", &["my SECRET=abcdefgh"], &["secret=abc"]),
        (r"end$", &["end", "end\n"], &["end\n\n", "end ", "end\nx"]),
        (r"(a|b$)c?$", &["b", "ac\n", "a"], &["bc\nx"]),
        (r"(?m)^b$", &["a\nb\nc"], &["ab"]),
        (r"a$\n", &["a\n"], &["a", "a\nb"]),
        (r"\Aab\Z", &["ab"], &["ab\n", "cab"]),
        (r"a.c", &["abc", "a\rc"], &["a\nc"]),
        (r"(?s)a.c", &["a\nc"], &["ac"]),
        (r"\d+", &["x7", "\u{0663}"], &["\u{b2}"]),
        (r"^\w$", &["\u{b2}", "\u{e9}", "_"], &["\u{301}", "\u{203f}"]),
        (r"\bkey\b", &["a key.", "key\u{301}"], &["keys", "key\u{b2}"]),
        (r"a\sb", &["a b", "a\u{1c}b", "a\u{a0}b"], &["a_b", "a\u{200b}b"]),
        (r"a\Sb", &["a_b"], &["a\u{1f}b"]),
        (r"[\s]x", &["\u{1e}x"], &["ax"]),
        (r"[^\W\d]+", &["abc"], &["123", "!"]),
        (r"(?i)ignore", &["IGNORE", "\u{131}gnore", "\u{130}GNORE"], &["gnore"]),
        (r"(?i)[a-z]ask", &["\u{212a}ask", "\u{17f}ask", "\u{131}ask"], &["9ask"]),
        (r"a{,2}b", &["b", "aab"], &["a"]),
        (r"a{x}", &["a{x}"], &["a"]),
        (r"{x", &["{x"], &["x"]),
        (r"[[:alpha:]]", &["a]", ":]", "[]"], &["b]", "a"]),
        (r"[a&&b]", &["&", "a"], &["c"]),
        (r"[]a]", &["]", "a"], &["b"]),
        (r"[^]a]", &["b"], &["]", "a"]),
        (r"[a\-z]", &["-"], &["b"]),
        (r"\<x\>", &["<x>"], &["x"]),
        (r"(?P<q>['\x22])x(?P=q)", &["'x'"], &["'x\""]),
        (r"(a)\1", &["aa"], &["ab"]),
        (r"foo(?!bar)", &["foobaz", "foo"], &["foobar"]),
        (r"(?<!un)safe", &["safe"], &["unsafe"]),
        (r"(?>a+)b", &["aab"], &["aa"]),
        (r"a++a", &[], &["aaa"]),
        (r"x(?#note)y", &["xy"], &["x"]),
        (r"\x41\u0042\103", &["ABC"], &["AB"]),
        (r"(?i:a)b", &["Ab"], &["AB"]),
        (r"\bgr\u00fc\u00df\b", &["gr\u{fc}\u{df}\u{301}"], &["gr\u{fc}\u{df}\u{b2}"]),
    ];
    for (pattern, yes, no) in cases {
        let compiled = python(pattern);
        let set = Set::new(vec![python("unrelated"), python(pattern)]).unwrap();
        for (text, found) in yes.iter().map(|text| (text, true)).chain(no.iter().map(|text| (text, false))) {
            assert_eq!(compiled.is_match(text), Ok(found), "{pattern} in {text:?}");
            assert_eq!(set.is_match(1, &set.prepare((*text).into())), Ok(found), "{pattern} in {text:?}, sifted");
        }
    }
}

#[test]
fn what_python_refuses_or_we_cannot_say_is_refused_with_its_place() {
    for (pattern, word) in [
        ("a**", "again, at character 3"),
        ("a{2}{3}", "again"),
        ("*a", "nothing here"),
        ("^*", "nothing here"),
        ("(a", "does not end"),
        ("a)", "closes nothing, at character 2"),
        ("[a", "this class does not end, at character 1"),
        ("[z-a]", "backwards"),
        (r"[a-\d]", "end with a set"),
        (r"\q", "no escape"),
        (r"\p{L}", "no escape"),
        ("a(?i)b", "at its beginning"),
        ("(?x)a b", "the flag `x`"),
        ("(?a)x", "the flag `a`"),
        ("(?<name>x)", "the flag `<`"),
        ("(a)?(?(1)b|c)", "conditional"),
        (r"\2(a)", "no closed group"),
        (r"(?i)(a|i)\1", "without regard to case"),
        (r"(?P<a>x)(?P<a>y)", "name of a group"),
        (r"(?<=a+)b", "a fixed width"),
        ("(?:a{1000}){1000}", "too large"),
        ("\\", "lone backslash"),
        ("a(?#c)*", "right behind it"),
    ] {
        let refused = Pattern::new(pattern, Flavour::Python).err().unwrap_or_else(|| panic!("{pattern} is taken"));
        assert!(refused.contains(word), "{pattern}: {refused}");
    }
}

#[test]
fn a_javascript_pattern_finds_what_its_test_finds() {
    let cases: [(&str, &[&str], &[&str]); 7] = [
        ("end$", &["end"], &["end\n"]),
        (r"^\d$", &["7"], &["\u{0663}"]),
        (r"\bkey\b", &["key\u{e9}", "a key"], &["keys"]),
        ("a.c", &["abc"], &["a\u{2028}c", "a\rc"]),
        (r"\/etc\/", &["/etc/"], &["etc"]),
        (r"^\w+$", &["a_1"], &["\u{e9}"]),
        (r"a\sb", &["a\u{feff}b"], &["a\u{1c}b"]),
    ];
    for (pattern, yes, no) in cases {
        let compiled = Pattern::new(pattern, Flavour::JavaScript).unwrap();
        yes.iter().for_each(|text| assert_eq!(compiled.is_match(text), Ok(true), "{pattern} in {text:?}"));
        no.iter().for_each(|text| assert_eq!(compiled.is_match(text), Ok(false), "{pattern} in {text:?}"));
    }
    assert!(Pattern::new("(?i)x", Flavour::JavaScript).is_err());
}

#[test]
fn a_pattern_that_takes_too_many_steps_is_a_flaw_and_no_answer() {
    let pattern = python(r"(?=((a+)+)+\1b)a");
    assert!(pattern.is_stepped());
    assert_eq!(pattern.is_match(&"a".repeat(4_000)), Err(Flaw));
}

#[test]
fn where_versions_of_python_disagree_there_is_no_answer() {
    let pattern = python(r"\B");
    assert_eq!((pattern.is_match(""), pattern.is_match("ab"), pattern.is_match("a")), (Err(Flaw), Ok(true), Ok(false)));
}
