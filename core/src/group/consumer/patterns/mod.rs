//! Patterns: members may subscribe to all topics that a regular expression matches (KIP-848). The coordinator looks for them, a
//! bounded number of topics at a time, and writes what it found, so that all members of a group and every later coordinator go
//! by the same list.
//!
//! The syntax is RE2/J's, as in Kafka (`re2`). A pattern stands for a whole name.

mod classes;
mod re2;
#[cfg(test)]
mod tests;

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
/// How deep groups, branches, operators and classes may lie in each other: four of these for each pair of parentheses at most. RE2/J
/// takes thousands, until its stack is full.
const NESTED_MAX: u32 = 250;
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
    compile(pattern, COMPILED_BYTES_MAX).map(|_| ()).map_err(|why| {
        let shown: String = pattern.chars().take(256).collect();
        let why = format!("SubscribedTopicRegex `{shown}` is not a valid regular expression: {why}.");
        Refusal::new(ErrorCode::InvalidRegularExpression, why)
    })
}

/// What finds the names that a pattern stands for, or what is wrong with it, in one line.
fn compile(pattern: &str, bytes_max: usize) -> Result<Regex, String> {
    if pattern.len() > PATTERN_BYTES_MAX {
        return Err(format!("it is longer than {PATTERN_BYTES_MAX} bytes"));
    }
    let whole = re2::translate(pattern).map_err(|why| format!("{why}"))?;
    let mut builder = RegexBuilder::new(&whole);
    // What a pattern says of Unicode, `re2` has said in ASCII.
    builder.unicode(false).nest_limit(NESTED_MAX).size_limit(bytes_max).dfa_size_limit(bytes_max);
    builder.build().map_err(|error| {
        let is_large = matches!(error, regex::Error::CompiledTooBig(_));
        // There is nothing else to say against a translation.
        if is_large { "it is too large".into() } else { "its groups are nested too deeply".into() }
    })
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
        let (regex, scanned_max) = match compile(pattern, COMMON_BYTES_MAX) {
            Ok(regex) => (Some(regex), SCANNED_MAX),
            // What members may say was checked; another release may have let more pass, and this one makes nothing of it.
            Err(_) => (compile(pattern, COMPILED_BYTES_MAX).ok(), SCANNED_MAX_LARGE),
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
