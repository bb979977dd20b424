//! The `.properties` parser: Java's rules by example, and whatever is rendered is read back.

use proptest::prelude::*;
use seedlog::config::properties::{PropertiesError, parse, render};

fn pairs(text: &str) -> Vec<(String, String)> {
    let entries = parse(text).expect("the text is a properties file");
    entries.into_iter().map(|entry| (entry.key, entry.value)).collect()
}

fn one(text: &str) -> (String, String) {
    let mut all = pairs(text);
    assert_eq!(all.len(), 1, "{text:?} gave {all:?}");
    all.remove(0)
}

fn pair(key: &str, value: &str) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

#[test]
fn separators_are_equals_colon_and_blank() {
    for text in ["a=b", "a:b", "a b", "a = b", "a\t:\u{c}b", "  a   b", "a=b\r\n", "a=b\r"] {
        assert_eq!(one(text), pair("a", "b"), "{text:?}");
    }
    assert_eq!(one("a == b"), pair("a", "= b"));
    assert_eq!(one("listeners=PLAINTEXT://:9092"), pair("listeners", "PLAINTEXT://:9092"));
    assert_eq!(one("a"), pair("a", ""));
    assert_eq!(one("a\\=b\\ c=d"), pair("a=b c", "d"));
}

#[test]
fn comments_and_blank_lines_are_dropped() {
    assert_eq!(pairs("# a=b\n ! c=d\n\n \t\n#x\\\ne=f\n"), [pair("e", "f")]);
    assert_eq!(one("a=b # c"), pair("a", "b # c"));
}

#[test]
fn lines_continue_after_an_odd_number_of_backslashes() {
    assert_eq!(one("a=b,\\\n    c,\\\r\n  d"), pair("a", "b,c,d"));
    assert_eq!(pairs("a=b\\\\\nc=d"), [pair("a", "b\\"), pair("c", "d")]);
    assert_eq!(one("a=b\\\n# not a comment"), pair("a", "b# not a comment"));
    assert_eq!(one("a=b\\"), pair("a", "b"));
}

#[test]
fn escapes_are_javas() {
    assert_eq!(one(r"a=\t\n\r\f\\\:\q"), pair("a", "\t\n\r\u{c}\\:q"));
    assert_eq!(one(r"a=\u00e9\uD83D\uDE00"), pair("a", "\u{e9}\u{1f600}"));
    for (text, digits) in
        [(r"a=\u12", "12"), (r"a=\u+123", "+123"), (r"a=\uD83D", "D83D"), (r"a=\uDE00", "DE00")]
    {
        let error = parse(&format!("\n{text}")).expect_err(text);
        assert_eq!(error, PropertiesError::Escape { line: 2, digits: digits.to_owned() });
    }
}

#[test]
fn lines_are_counted_from_the_start_of_an_entry() {
    let entries = parse("\u{feff}a=1\n# x\nb=2,\\\n3\nc=4").expect("valid");
    assert_eq!(entries.iter().map(|entry| entry.line).collect::<Vec<_>>(), [1, 3, 5]);
    assert_eq!(one(&render("\u{feff}", "")), pair("\u{feff}", ""));
    assert_eq!(parse("a=1\n=2"), Err(PropertiesError::NoKey { line: 2 }));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_rendered_is_read_back(entries in prop::collection::vec((".{1,12}", ".{0,24}"), 0..8)) {
        let text: String = entries.iter().map(|(key, value)| render(key, value) + "\n").collect();
        prop_assert_eq!(pairs(&text), entries);
    }

    #[test]
    fn control_characters_are_rendered_too(key in "[\\x00-\\x7f]{1,8}", value in "[\\x00-\\x7f]{0,8}") {
        prop_assert_eq!(pairs(&render(&key, &value)), [(key, value)]);
    }

    #[test]
    fn any_text_is_read_or_refused_with_a_line_of_it(text in "[a-c=: #!\\\\u0d8\\n\\r\\t]{0,60}") {
        let lines = text.split(['\n', '\r']).count();
        match parse(&text) {
            Ok(entries) => {
                prop_assert!(entries.iter().all(|entry| !entry.key.is_empty() && entry.line <= lines));
            }
            Err(PropertiesError::NoKey { line } | PropertiesError::Escape { line, .. }) => {
                prop_assert!(line <= lines);
            }
        }
    }
}
