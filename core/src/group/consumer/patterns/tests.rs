//! What patterns stand for, and what is none, held against the answers of RE2/J.

use super::*;
use alloc::string::ToString;
use alloc::vec;
use proptest::prelude::*;

fn compiled(pattern: &str) -> Result<Regex, String> {
    compile(pattern, COMPILED_BYTES_MAX)
}

fn matches(pattern: &str, name: &str) -> bool {
    compiled(pattern).expect("a pattern").is_match(name.as_bytes())
}

/// What `re2.txt` says of a pattern: names that it matches, or why it is none.
fn answer(pattern: &str, names: &[&str]) -> String {
    match compiled(pattern) {
        Ok(regex) => {
            let found = names.iter().filter(|name| regex.is_match(name.as_bytes()));
            let found: Vec<&str> = ["="].into_iter().chain(found.copied()).collect();
            found.join(" ")
        }
        Err(why) => format!("! {}", why.replace("unexpected )", "regexp/syntax: internal error")),
    }
}

/// A pattern as it is written in `re2.txt`.
fn unescaped(written: &str) -> String {
    let mut parts = written.split("%{");
    let mut pattern = parts.next().unwrap().to_string();
    for part in parts {
        let (code, rest) = part.split_once('}').unwrap();
        pattern.push(char::from_u32(u32::from_str_radix(code, 16).unwrap()).unwrap());
        pattern.push_str(rest);
    }
    pattern
}

#[test]
fn patterns_are_read_as_re2j_reads_them() {
    let lines = include_str!("re2.txt").lines().filter(|line| !line.is_empty() && !line.starts_with("# "));
    let mut names = Vec::new();
    let mut wrong = Vec::new();
    let mut count = 0;
    for line in lines {
        if let Some(list) = line.strip_prefix("names: ") {
            names = list.split(' ').collect();
            continue;
        }
        let (written, expected) = line.split_once('\t').unwrap();
        let found = answer(&unescaped(written), &names);
        count += 1;
        if found != expected {
            wrong.push(format!("{written}: {found}, RE2/J: {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!((names.len(), count), (22, 560));
}

#[test]
fn a_pattern_stands_for_a_whole_name() {
    assert!(matches("orders-.*", "orders-1"));
    assert!(!matches("orders", "orders-1"));
    assert!(!matches("rders", "orders"));
    assert!(matches("a|b", "b") && !matches("a|b", "ab"));
}

#[test]
fn what_is_no_pattern_is_refused_in_kafkas_words() {
    let refusal = check("[a").expect_err("it is open");
    assert_eq!(refusal.code, ErrorCode::InvalidRegularExpression);
    let why = "SubscribedTopicRegex `[a` is not a valid regular expression: missing closing ].";
    assert_eq!(refusal.why, why);
    assert_eq!(compiled("a)").expect_err("nothing is open"), "unexpected )");
}

/// RE2/J takes these; a broker has better uses for its memory.
#[test]
fn what_takes_too_much_is_refused() {
    for large in ["(a{1000}){1000}", "(a{100}){100}", r"((\pL{0,30}){0,30}){0,30}"] {
        assert_eq!(compiled(large).expect_err(large), "it is too large");
    }
    for part in [r"\W", "a?", "|", "()*", "^", r"\P{Po}"] {
        let long = part.repeat(PATTERN_BYTES_MAX / part.len());
        assert_eq!(compiled(&long).expect_err(part), "it is too large");
    }
    let long = "a".repeat(PATTERN_BYTES_MAX + 1);
    assert_eq!(compiled(&long).expect_err("it is long"), "it is longer than 16384 bytes");
    let nested = |depth: usize| compiled(&format!("{}b{}", "(a|b".repeat(depth), ")*".repeat(depth)));
    assert!(nested(50).is_ok());
    for depth in [250, 2_700] {
        assert_eq!(nested(depth).expect_err("it is deep"), "its groups are nested too deeply");
    }
}

/// RE2/J does not come to an end with the first three, and takes the letter at the head of both branches for one letter in the last.
#[test]
fn where_re2j_errs_nobody_follows() {
    assert!(matches("(?i)[a-\u{212a}]", "S"));
    assert!(!matches("(?i)\u{1c80}", "a"));
    assert!(!matches(r"(?i)[\x{1c80}-\x{1c88}]", "a"));
    assert!(matches("(?i:k)s|K", "ks") && matches("(?i:k)s|K", "K") && !matches("(?i:k)s|K", "k"));
}

/// Patterns, more or less, of pieces that mean something.
fn pieces() -> impl Strategy<Value = String> {
    let pieces = vec![
        "a",
        "K",
        "0",
        ".",
        "-",
        "(",
        ")",
        "(?:",
        "(?i)",
        "(?-i:",
        "(?P<n>",
        "(?<m>",
        "|",
        "*",
        "+",
        "?",
        "{2}",
        "{0,3}",
        "{1,}",
        "{",
        "}",
        "{1001}",
        ",",
        "[",
        "[^",
        "]",
        "[a-c]",
        "[[:alpha:]]",
        ":]",
        "^",
        "$",
        r"\b",
        r"\Q",
        r"\E",
        r"\d",
        r"\pL",
        r"\P{Lu}",
        r"\p{^Greek}",
        r"\x{41}",
        r"\x",
        r"\07",
        r"\",
        "&&",
        "~~",
        "--",
        "é",
        "\u{17f}",
        "😀",
        "\n",
    ];
    prop::collection::vec(prop::sample::select(pieces), 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever a translation says, the crate takes; so few groups are never too deep.
    #[test]
    fn any_text_has_an_answer(pattern in prop_oneof![pieces(), any::<String>(), r"[\x20-\x7e]{0,16}"]) {
        match (re2::translate(&pattern), compiled(&pattern)) {
            (Err(why), Err(told)) => prop_assert_eq!(why.to_string(), told),
            (Ok(_), Ok(regex)) => {
                regex.is_match(b"a-0.K");
            }
            (Ok(whole), Err(told)) => prop_assert_eq!(told, "it is too large", "{}", whole),
            (Err(why), Ok(_)) => prop_assert!(false, "{}", why),
        }
    }

    #[test]
    fn what_is_quoted_stands_for_itself(name in "[a-zA-Z0-9._-]{1,12}", other in "[a-zA-Z0-9._-]{1,12}") {
        let quoted = format!(r"\Q{name}\E");
        prop_assert!(matches(&quoted, &name));
        prop_assert_eq!(matches(&quoted, &other), name == other);
    }

    /// A set matches what its class in the crate's words matches.
    #[test]
    fn sets_are_written_as_they_are(ends in prop::collection::vec((0..128_u32, 0..128_u32), 0..6)) {
        let ranges = ends.iter().map(|(one, other)| classes::Ascii::range(*one.min(other), *one.max(other), false));
        let mut class = String::new();
        ranges.fold(classes::Ascii::NONE, classes::Ascii::or).write(&mut class);
        let regex = RegexBuilder::new(&format!("^{class}$")).unicode(false).build().unwrap();
        for code in 0..128_u8 {
            let is_in = ends.iter().any(|(one, other)| (*one.min(other)..=*one.max(other)).contains(&code.into()));
            prop_assert_eq!(regex.is_match(&[code]), is_in, "{} {}", code, class);
        }
    }
}
