//! Ids of members, as scenarios show them: `ann-1` is the first id that was given to `ann`, whatever was drawn for it.

use std::collections::BTreeMap;

/// Characters of a UUID with its hyphens.
const UUID_CHARS: usize = 36;

/// Ids that were given out so far.
#[derive(Default)]
pub(super) struct MemberIds {
    /// The short one by the whole one.
    short: BTreeMap<String, String>,
    /// How many ids each name has.
    counts: BTreeMap<String, u32>,
}

impl MemberIds {
    /// A line that was said, with short ids.
    pub(super) fn shortened(&mut self, said: &str) -> String {
        let mut line = String::new();
        let mut rest = said;
        while let Some((before, name, id)) = next_id(rest) {
            line.push_str(before);
            line.push_str(self.short_of(name, id));
            rest = &rest[before.len() + id.len()..];
        }
        line + rest
    }

    /// A command, with ids as they were given out.
    pub(super) fn whole(&self, command: &str) -> String {
        let word = |word: &str| {
            let (option, id) = word.rsplit_once('=').map_or(("", word), |(option, id)| (option, id));
            let known = self.short.iter().find(|(_, short)| *short == id);
            match (known, option) {
                (None, _) => word.to_owned(),
                (Some((whole, _)), "") => whole.clone(),
                (Some((whole, _)), option) => format!("{option}={whole}"),
            }
        };
        command.split(' ').map(word).collect::<Vec<_>>().join(" ")
    }

    fn short_of(&mut self, name: &str, id: &str) -> &str {
        self.short.entry(id.to_owned()).or_insert_with(|| {
            let count = self.counts.entry(name.to_owned()).or_default();
            *count += 1;
            format!("{name}-{count}")
        })
    }
}

/// The first id of a line: what is before it, whom it was given to, and the whole id.
fn next_id(line: &str) -> Option<(&str, &str, &str)> {
    let (end, uuid) = line.match_indices('-').find_map(|(at, _)| {
        let uuid = line.get(at + 1..at + 1 + UUID_CHARS)?;
        is_uuid(uuid).then_some((at, uuid))
    })?;
    let start = line[..end].rfind([' ', '(']).map_or(0, |at| at + 1);
    Some((&line[..start], &line[start..end], &line[start..=end + uuid.len()]))
}

fn is_uuid(text: &str) -> bool {
    let is_right = |(at, char): (usize, char)| match at {
        8 | 13 | 18 | 23 => char == '-',
        _ => char.is_ascii_hexdigit(),
    };
    text.char_indices().all(is_right)
}
