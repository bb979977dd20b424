//! A command as words: `reader: fetch orders-0 from=0 wait=500`.

use seedlog_core::wire::Str;
use std::collections::{BTreeMap, VecDeque};
use std::str::FromStr;

/// One command.
pub(super) struct Line {
    /// Who sends the request.
    pub(super) client: String,
    /// What is to be done.
    pub(super) verb: String,
    words: VecDeque<Word>,
    options: BTreeMap<String, String>,
}

/// One word of a command.
enum Word {
    Plain(String),
    /// A record's value: `'a'`, or `'x'*2000`.
    Value(Vec<u8>),
}

impl Line {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut parts = text.split_whitespace().peekable();
        let sender = parts.next_if(|first| first.ends_with(':'));
        let client = sender.map_or("client", |name| name.trim_end_matches(':')).to_owned();
        let verb = parts.next().ok_or("an empty command")?.to_owned();
        let mut line = Self { client, verb, words: VecDeque::new(), options: BTreeMap::new() };
        for part in parts {
            if part.starts_with('\'') {
                line.words.push_back(Word::Value(value(part)?));
            } else if let Some((name, value)) = part.split_once('=') {
                line.options.insert(name.to_owned(), value.to_owned());
            } else {
                line.words.push_back(Word::Plain(part.to_owned()));
            }
        }
        Ok(line)
    }

    /// The next word, if it is not a value.
    pub(super) fn next_plain(&mut self) -> Option<String> {
        match self.words.pop_front()? {
            Word::Plain(word) => Some(word),
            value @ Word::Value(_) => {
                self.words.push_front(value);
                None
            }
        }
    }

    /// The next word, if it is a value.
    pub(super) fn next_value(&mut self) -> Option<Vec<u8>> {
        match self.words.pop_front()? {
            Word::Value(value) => Some(value),
            word @ Word::Plain(_) => {
                self.words.push_front(word);
                None
            }
        }
    }

    /// The next word as a partition: `orders-0`.
    pub(super) fn next_partition(&mut self) -> Result<Option<(String, i32)>, String> {
        let Some(word) = self.next_plain() else { return Ok(None) };
        let (topic, index) = word.rsplit_once('-').ok_or_else(|| format!("{word}: not a partition"))?;
        Ok(Some((topic.to_owned(), number(index)?)))
    }

    /// The partitions of the rest of the line, by topic.
    pub(super) fn rest_by_topic(&mut self) -> Result<Vec<(Str, Vec<i32>)>, String> {
        let mut topics: Vec<(Str, Vec<i32>)> = Vec::new();
        while let Some((topic, index)) = self.next_partition()? {
            match topics.iter_mut().find(|(known, _)| **known == *topic) {
                Some((_, partitions)) => partitions.push(index),
                None => topics.push((Str::from(topic), vec![index])),
            }
        }
        Ok(topics)
    }

    /// Takes an option.
    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        self.options.remove(name)
    }

    /// Takes an option that is a number.
    pub(super) fn take_number<T: FromStr>(&mut self, name: &str, otherwise: T) -> Result<T, String> {
        self.take(name).map_or(Ok(otherwise), |text| number(&text))
    }

    /// Takes all options with a dot in their name: a topic's settings.
    pub(super) fn take_settings(&mut self) -> BTreeMap<String, String> {
        let (settings, others) =
            std::mem::take(&mut self.options).into_iter().partition(|(name, _)| name.contains('.'));
        self.options = others;
        settings
    }

    /// Everything must have been asked for.
    pub(super) fn finish(&self) -> Result<(), String> {
        match (self.words.front(), self.options.keys().next()) {
            (Some(Word::Plain(word)), _) | (None, Some(word)) => Err(format!("{word}: not understood")),
            (Some(Word::Value(_)), _) => Err("a value too many".to_owned()),
            (None, None) => Ok(()),
        }
    }
}

pub(super) fn number<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text}: not a number"))
}

fn value(word: &str) -> Result<Vec<u8>, String> {
    let (text, rest) =
        word[1..].split_once('\'').ok_or_else(|| format!("{word}: the quote is not closed"))?;
    let times = match rest.strip_prefix('*') {
        Some(times) => number(times)?,
        None if rest.is_empty() => 1,
        None => return Err(format!("{word}: what follows the value?")),
    };
    Ok(text.as_bytes().repeat(times))
}
