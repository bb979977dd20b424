//! Patterns: members may subscribe to all topics that a regular expression matches (KIP-848). The coordinator looks for them, a
//! bounded number of topics at a time, and writes what it found, so that all members of a group and every later coordinator go
//! by the same list.
//!
//! The syntax is RE2's, as in Kafka. A pattern stands for a whole name.

use super::decision::Decision;
use super::{Refusal, Watch};
use crate::errors::ErrorCode;
use crate::group::consumer::Consumer;
use crate::group::records::consumer::RegularExpressionValue;
use crate::group::settings::ConsumerSettings;
use crate::group::topics::Topics;
use crate::group::{Deadline, Effects, Groups};
use crate::time::{Now, WallMs};
use crate::wire::Str;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use regex::bytes::{Regex, RegexBuilder};

/// The longest pattern, in bytes.
const PATTERN_BYTES_MAX: usize = 16 << 10;
/// What a pattern may take once it is compiled, in bytes. To match a name takes about as many steps as it has characters, times
/// this: names that are looked at in one go are counted by it.
const COMPILED_BYTES_MAX: usize = 256 << 10;
/// What a common pattern takes.
const COMMON_BYTES_MAX: usize = 16 << 10;
/// Names that are held against a common pattern in one step.
const SCANNED_MAX: usize = 200;
/// The same for any other one.
const SCANNED_MAX_LARGE: usize = 10;
/// How long after a look-up the next one may begin, in ms.
const LOOKUP_PAUSE_MS: i64 = 10_000;

/// Topics of patterns are being looked for, one pattern after the other.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::group) struct Lookup {
    /// Patterns that are still to be looked at; the last one is the next.
    left: Vec<Str>,
    /// The last name that was held against that one, and those that it stands for.
    after: Option<Str>,
    matched: Vec<Str>,
    found: BTreeMap<Str, RegularExpressionValue>,
    /// The version of the topics when it began.
    version: i64,
    since: WallMs,
}

/// A pattern can be used.
///
/// # Errors
/// INVALID_REGULAR_EXPRESSION.
pub(super) fn check(pattern: &str) -> Result<(), Refusal> {
    compile(pattern).map(|_| ()).map_err(|why| {
        let shown: String = pattern.chars().take(256).collect();
        let why = format!("SubscribedTopicRegex `{shown}` is not a valid regular expression: {why}.");
        Refusal::new(ErrorCode::InvalidRegularExpression, why)
    })
}

fn compile(pattern: &str) -> Result<Regex, String> {
    if pattern.len() > PATTERN_BYTES_MAX {
        return Err(format!("it is longer than {PATTERN_BYTES_MAX} bytes"));
    }
    let pattern = unquoted(pattern);
    // The pattern alone must be one: `a)(b` is none.
    build(&pattern, COMPILED_BYTES_MAX).map_err(|error| brief(&error))?;
    build(&format!("^(?:{pattern})$"), COMPILED_BYTES_MAX).map_err(|error| brief(&error))
}

fn build(pattern: &str, bytes_max: usize) -> Result<Regex, regex::Error> {
    // RE2's classes are those of ASCII, and names of topics are ASCII; what asks for Unicode by name gets it.
    let asks_unicode = pattern.contains("\\p") || pattern.contains("\\P");
    RegexBuilder::new(pattern).unicode(asks_unicode).size_limit(bytes_max).dfa_size_limit(bytes_max).build()
}

/// What is wrong, in one line.
fn brief(error: &regex::Error) -> String {
    if let regex::Error::CompiledTooBig(_) = error {
        return "it is too large".into();
    }
    let text = format!("{error}");
    let last = text.lines().last().unwrap_or_default();
    last.trim_start_matches("error: ").into()
}

/// RE2 takes what stands between `\Q` and `\E` as it is; this says it with escapes.
fn unquoted(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut rest = pattern;
    while let Some(at) = quote_of(rest) {
        out.push_str(&rest[..at]);
        let quoted = &rest[at + 2..];
        let (literal, behind) = quoted.split_once("\\E").unwrap_or((quoted, ""));
        out.push_str(&regex::escape(literal));
        rest = behind;
    }
    out.push_str(rest);
    out
}

/// Where a quotation begins: `\\Q` is a backslash and a letter.
fn quote_of(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at + 1 < bytes.len() {
        match (bytes[at], bytes[at + 1]) {
            (b'\\', b'Q') => return Some(at),
            (b'\\', _) => at += 2,
            _ => at += 1,
        }
    }
    None
}

impl Lookup {
    fn new(patterns: impl Iterator<Item = Str>, topics: &dyn Topics, now: WallMs) -> Self {
        Self {
            left: patterns.collect(),
            after: None,
            matched: Vec::new(),
            found: BTreeMap::new(),
            version: topics.version(),
            since: now,
        }
    }

    /// Looks at some more names. `true`: that was all.
    fn scan(&mut self, topics: &dyn Topics) -> bool {
        let Some(pattern) = self.left.last() else { return true };
        let whole = format!("^(?:{})$", unquoted(pattern));
        let (regex, scanned_max) = match build(&whole, COMMON_BYTES_MAX) {
            Ok(regex) => (Some(regex), SCANNED_MAX),
            // What members may say was checked; another release may have let more pass, and this one makes nothing of it.
            Err(_) => (build(&whole, COMPILED_BYTES_MAX).ok(), SCANNED_MAX_LARGE),
        };
        let names: Vec<&str> = topics.names_after(self.after.as_deref()).take(scanned_max).collect();
        let matches = |name: &&&str| regex.as_ref().is_some_and(|regex| regex.is_match(name.as_bytes()));
        self.matched.extend(names.iter().filter(matches).map(|name| Str::from(*name)));
        if names.len() == scanned_max {
            self.after = names.last().map(|name| Str::from(*name));
            return false;
        }
        self.after = None;
        let topics = core::mem::take(&mut self.matched);
        let value = RegularExpressionValue { topics, version: self.version, timestamp: self.since.0 };
        self.found.extend(self.left.pop().map(|pattern| (pattern, value)));
        self.left.is_empty()
    }
}

/// A look-up, if something about the patterns of a group is not known, or may have changed.
pub(super) fn lookup(
    decision: &Decision<'_>,
    watch: &Watch,
    settings: &ConsumerSettings,
    has_unknown_pattern: bool,
) -> Option<Lookup> {
    let base = decision.base;
    if watch.lookup.is_some() || !(has_unknown_pattern || base.has_subscribed_patterns()) {
        return None;
    }
    let now = decision.now.0;
    let last = base.patterns.values().map(|found| found.timestamp).max();
    // A clock that was set back is no reason to wait.
    if last.is_some_and(|last| (last..=last.saturating_add(LOOKUP_PAUSE_MS)).contains(&now)) {
        return None;
    }
    let wanted: BTreeSet<&Str> = decision.members().filter_map(|(_, said)| said.pattern()).collect();
    let is_unknown = wanted.iter().any(|pattern| !base.patterns.contains_key(*pattern));
    let seen = base.patterns.values().map(|found| found.version).min();
    let has_new_topics = seen.is_some_and(|seen| seen < decision.topics.version());
    let is_old = last.is_some_and(|last| now > last.saturating_add(settings.regex_refresh_ms));
    let is_due = !wanted.is_empty() && (is_unknown || has_new_topics || is_old);
    is_due.then(|| Lookup::new(wanted.into_iter().cloned(), decision.topics, decision.now))
}

impl Groups {
    /// Timer: the next names are looked at; after the last, what was found is written.
    pub(in crate::group) fn on_lookup_due(&mut self, id: &Str, now: Now, topics: &dyn Topics) -> Effects {
        let mut effects = Effects { group: id.clone(), ..Effects::default() };
        let Some(group) = self.groups.get_mut(id) else { return effects };
        let Some(mut lookup) = group.watch.lookup.take() else { return effects };
        if !lookup.scan(topics) {
            group.watch.lookup = Some(lookup);
            self.deadlines.arm(now.mono + 1, Deadline::Lookup(id.clone()));
            return effects;
        }
        let records = decide_found(id, &group.consumer, lookup.found, topics, now.wall);
        if records.iter().all(|record| record.bytes() <= self.settings.record_bytes_max) {
            effects.records = records;
        } else {
            tracing::warn!("group {id}: a pattern stands for more topics than a record has room for");
        }
        effects
    }
}

/// What is written of the topics that were found.
fn decide_found(
    id: &Str,
    base: &Consumer,
    found: BTreeMap<Str, RegularExpressionValue>,
    topics: &dyn Topics,
    now: WallMs,
) -> Vec<crate::group::records::GroupRecord> {
    let mut decision = Decision::new(id, base, topics, now);
    let mut is_new = false;
    for (pattern, found) in found {
        // Whoever asked for it may be gone.
        if base.subscribers(&pattern) == 0 {
            continue;
        }
        is_new |= base.patterns.get(&pattern).is_none_or(|old| old.topics != found.topics);
        decision.put_pattern(&pattern, found);
    }
    if !decision.records.is_empty() {
        decision.update_epoch(is_new);
    }
    decision.records
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        compile(pattern).expect("a pattern").is_match(name.as_bytes())
    }

    #[test]
    fn a_pattern_stands_for_a_whole_name() {
        assert!(matches("orders-.*", "orders-1"));
        assert!(!matches("orders", "orders-1"));
        assert!(!matches("rders", "orders"));
        assert!(matches("a|b", "b") && !matches("a|b", "ab"));
        assert!(matches("(?i)ORDERS", "orders"));
        assert!(matches(r"\d+\w\pL", "12_a"));
        assert!(matches("[[:alpha:]]+", "abc"));
    }

    #[test]
    fn quotations_are_taken_as_they_are() {
        assert!(matches(r"\Qa.b\E.*", "a.bcd") && !matches(r"\Qa.b\E.*", "axb"));
        assert!(matches(r"\Qa.b", "a.b"));
        assert!(compile(r"\\Q(").is_err());
    }

    #[test]
    fn what_is_no_pattern_says_why() {
        for pattern in ["(", "a)(b", "[", "*", r"(?=a)", r"(a)\1", "a{1000}{1000}", "\u{0}\\"] {
            assert!(compile(pattern).is_err(), "{pattern}");
        }
        let why = compile("(").expect_err("it is open");
        assert_eq!(why, "unclosed group");
        assert_eq!(compile("(a{1000}){1000}").expect_err("it is huge"), "it is too large");
        let long = "a".repeat(PATTERN_BYTES_MAX + 1);
        assert!(compile(&long).is_err());
    }
}
