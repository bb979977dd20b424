//! RE2's syntax, as RE2/J 1.8 reads it, told to the crate `regex` in words that mean one thing there: groups, `|`, operators, and
//! classes of ASCII. What RE2/J refuses is refused here, for its reason and in its words.
//!
//! One pass from left to right, with no recursion: what is open is on a heap. The answer is about whole names only, so that which of
//! several matches comes first, what a group captures, and where lines end make no difference.

use super::classes::Ascii;
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// The most often that an operator may repeat something.
const REPEAT_MAX: u32 = 1000;
/// The last code point.
const RUNE_MAX: u32 = 0x10_ffff;

/// Why RE2/J refuses a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Error {
    ClassRange,
    DuplicateName,
    Escape,
    MissingArgument,
    MissingBracket,
    MissingParenthesis,
    Name,
    NestedRepetition,
    PerlSyntax,
    RepeatCount,
    TrailingBackslash,
    UnexpectedParenthesis,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ClassRange => "invalid character class range",
            Self::DuplicateName => "duplicate capture group name",
            Self::Escape => "invalid escape sequence",
            Self::MissingArgument => "missing argument to repetition operator",
            Self::MissingBracket => "missing closing ]",
            Self::MissingParenthesis => "missing closing )",
            Self::Name => "invalid named capture",
            Self::NestedRepetition => "invalid nested repetition operator",
            Self::PerlSyntax => "invalid or unsupported Perl syntax",
            Self::RepeatCount => "invalid repeat count",
            Self::TrailingBackslash => "trailing backslash at end of expression",
            // RE2/J calls this one an internal error, which sends people looking in the wrong place.
            Self::UnexpectedParenthesis => "unexpected )",
        })
    }
}

/// What the crate `regex` is to be asked, without Unicode, of a name that is ASCII.
///
/// # Errors
/// Whatever RE2/J refuses.
pub(super) fn translate(pattern: &str) -> Result<String, Error> {
    let mut translator = Translator {
        rest: pattern,
        out: String::with_capacity(pattern.len() + 16),
        folds: false,
        open: Vec::new(),
        names: BTreeSet::new(),
        has_argument: false,
        is_after_operator: false,
    };
    translator.out.push_str("^(?:");
    translator.read()?;
    translator.out.push_str(")$");
    Ok(translator.out)
}

struct Translator<'a> {
    rest: &'a str,
    out: String,
    /// `(?i)`: both cases of a letter are the same.
    folds: bool,
    /// Groups that are open, each with what `folds` was before.
    open: Vec<bool>,
    names: BTreeSet<&'a str>,
    /// There is something that an operator would repeat.
    has_argument: bool,
    /// What was read last repeats something.
    is_after_operator: bool,
}

impl<'a> Translator<'a> {
    fn read(&mut self) -> Result<(), Error> {
        while let Some(next) = self.next() {
            let mut is_operator = false;
            match next {
                '(' => self.begin_group()?,
                ')' => self.end_group()?,
                '|' => {
                    self.out.push('|');
                    self.has_argument = false;
                }
                '[' => {
                    let set = self.class()?;
                    self.put_set(set);
                }
                '.' => self.put_set(Ascii::NO_LINE_FEED),
                '^' => self.put("^"),
                '$' => self.put("$"),
                '*' | '+' | '?' => {
                    is_operator = true;
                    self.repeat(next.encode_utf8(&mut [0; 4]))?;
                }
                '{' => {
                    is_operator = true;
                    self.brace()?;
                }
                '\\' => self.backslash()?,
                literal => self.put_rune(literal.into()),
            }
            self.is_after_operator = is_operator;
        }
        if self.open.is_empty() { Ok(()) } else { Err(Error::MissingParenthesis) }
    }

    fn begin_group(&mut self) -> Result<(), Error> {
        let before = self.folds;
        if self.eat("?P<") || self.eat("?<") {
            self.name()?;
        } else if self.eat("?") && !self.flags()? {
            return Ok(());
        }
        self.open.push(before);
        self.out.push_str("(?:");
        self.has_argument = false;
        Ok(())
    }

    fn end_group(&mut self) -> Result<(), Error> {
        self.folds = self.open.pop().ok_or(Error::UnexpectedParenthesis)?;
        self.put(")");
        Ok(())
    }

    /// A group's name, up to `>`.
    fn name(&mut self) -> Result<(), Error> {
        let (name, rest) = self.rest.split_once('>').ok_or(Error::Name)?;
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if name.is_empty() || !name.bytes().all(is_word) {
            return Err(Error::Name);
        }
        self.rest = rest;
        if self.names.insert(name) { Ok(()) } else { Err(Error::DuplicateName) }
    }

    /// Flags, after `(?`. `true`: they are a group's; otherwise they hold for what is left of the one around them.
    fn flags(&mut self) -> Result<bool, Error> {
        let mut folds = self.folds;
        let mut is_negated = false;
        let mut has_flag = false;
        loop {
            match self.next() {
                Some('i') => (folds, has_flag) = (!is_negated, true),
                // Lines, and which match comes first.
                Some('m' | 's' | 'U') => has_flag = true,
                Some('-') if !is_negated => (is_negated, has_flag) = (true, false),
                Some(end @ (':' | ')')) if has_flag || !is_negated => {
                    self.folds = folds;
                    return Ok(end == ':');
                }
                _ => return Err(Error::PerlSyntax),
            }
        }
    }

    /// `{` and what may follow it. It is a letter like others where no count does.
    fn brace(&mut self) -> Result<(), Error> {
        let Some((min, max, rest)) = counts(self.rest) else {
            self.put_rune('{'.into());
            return Ok(());
        };
        self.rest = rest;
        if min.max(max.unwrap_or(min)) > REPEAT_MAX || max.is_some_and(|max| max < min) {
            return Err(Error::RepeatCount);
        }
        match max {
            Some(max) => self.repeat(&format!("{{{min},{max}}}")),
            None => self.repeat(&format!("{{{min},}}")),
        }
    }

    fn repeat(&mut self, operator: &str) -> Result<(), Error> {
        self.eat("?");
        // RE2/J takes a `{` that is a letter for an operator here, and so `{*` is none either.
        if self.is_after_operator {
            return Err(Error::NestedRepetition);
        }
        if !self.has_argument {
            return Err(Error::MissingArgument);
        }
        self.out.push_str(operator);
        // As few as possible, always: an operator that comes next, as in `a+(?i)?`, is then one of its own.
        self.out.push('?');
        Ok(())
    }

    fn backslash(&mut self) -> Result<(), Error> {
        let Some(next) = self.rest.chars().next() else { return Err(Error::TrailingBackslash) };
        if let Some(set) = self.named_set()? {
            self.put_set(set);
            return Ok(());
        }
        match next {
            'A' => self.put("^"),
            'z' => self.put("$"),
            'b' => self.put("\\b"),
            'B' => self.put("\\B"),
            'Q' => {
                self.quotation();
                return Ok(());
            }
            _ => {
                let code = self.escape()?;
                self.put_rune(code);
                return Ok(());
            }
        }
        self.next();
        Ok(())
    }

    /// What stands between `\Q` and `\E`, or the end, is taken as it is.
    fn quotation(&mut self) {
        let quoted = &self.rest[1..];
        let (literal, rest) = quoted.split_once("\\E").unwrap_or((quoted, ""));
        self.rest = rest;
        for literal in literal.chars() {
            self.put_rune(literal.into());
        }
    }

    /// A class, after its `[`.
    fn class(&mut self) -> Result<Ascii, Error> {
        let is_negated = self.eat("^");
        let mut set = Ascii::NONE;
        let mut is_first = true;
        while is_first || !self.eat("]") {
            is_first = false;
            set = set.or(self.class_part()?);
        }
        Ok(if is_negated { set.other() } else { set })
    }

    fn class_part(&mut self) -> Result<Ascii, Error> {
        if self.rest.starts_with("[:")
            && let Some(end) = self.rest.find(":]")
        {
            // `[:]` ends where it begins, and is no name.
            let name = self.rest.get(2..end).ok_or(Error::ClassRange)?;
            self.rest = &self.rest[end + 2..];
            return Ascii::posix(name, self.folds).ok_or(Error::ClassRange);
        }
        let before = self.rest;
        if self.eat("\\")
            && let Some(set) = self.named_set()?
        {
            return Ok(set);
        }
        self.rest = before;
        let from = self.class_rune()?;
        let mut to = from;
        // A `-` at the end stands for itself.
        if !self.rest.starts_with("-]") && self.eat("-") {
            to = self.class_rune()?;
        }
        if to < from { Err(Error::ClassRange) } else { Ok(Ascii::range(from, to, self.folds)) }
    }

    fn class_rune(&mut self) -> Result<u32, Error> {
        match self.next() {
            None => Err(Error::MissingBracket),
            Some('\\') => self.escape(),
            Some(rune) => Ok(rune.into()),
        }
    }

    /// The set that a letter after a backslash stands for, if it does.
    fn named_set(&mut self) -> Result<Option<Ascii>, Error> {
        let Some(letter) = self.rest.chars().next() else { return Ok(None) };
        let (is_property, set) = (matches!(letter, 'p' | 'P'), Ascii::perl(letter));
        if is_property || set.is_some() {
            self.next();
        }
        if !is_property {
            return Ok(set);
        }
        let (name, rest) = match self.rest.strip_prefix('{') {
            Some(named) => named.split_once('}').ok_or(Error::ClassRange)?,
            None => {
                let letter = self.rest.chars().next().ok_or(Error::ClassRange)?;
                self.rest.split_at(letter.len_utf8())
            }
        };
        self.rest = rest;
        let set = Ascii::unicode(name, self.folds).ok_or(Error::ClassRange)?;
        Ok(Some(if letter == 'P' { set.other() } else { set }))
    }

    /// What follows a backslash, as one character.
    fn escape(&mut self) -> Result<u32, Error> {
        let next = self.next().ok_or(Error::TrailingBackslash)?;
        let code = match next {
            '0' => self.octal(0),
            // One digit alone would be a reference to a group.
            '1'..='7' if self.rest.starts_with(|next| matches!(next, '0'..='7')) => {
                self.octal(u32::from(next) - u32::from('0'))
            }
            'x' => self.hexadecimal()?,
            'a' => 7,
            'f' => 12,
            'n' => 10,
            'r' => 13,
            't' => 9,
            'v' => 11,
            _ if next.is_ascii_alphanumeric() => return Err(Error::Escape),
            _ => next.into(),
        };
        Ok(code)
    }

    /// Two digits more at most.
    fn octal(&mut self, first: u32) -> u32 {
        let mut code = first;
        for _ in 0..2 {
            let Some(digit) = self.rest.chars().next().and_then(|next| next.to_digit(8)) else { break };
            self.next();
            code = code * 8 + digit;
        }
        code
    }

    /// `41` or `{41}`, after `\x`.
    fn hexadecimal(&mut self) -> Result<u32, Error> {
        if !self.eat("{") {
            let (high, low) = (self.hex_digit()?, self.hex_digit()?);
            return Ok(high * 16 + low);
        }
        let mut code = self.hex_digit()?;
        while !self.eat("}") {
            code = code * 16 + self.hex_digit()?;
            if code > RUNE_MAX {
                return Err(Error::Escape);
            }
        }
        Ok(code)
    }

    fn hex_digit(&mut self) -> Result<u32, Error> {
        self.next().and_then(|next| next.to_digit(16)).ok_or(Error::Escape)
    }

    fn put_rune(&mut self, code: u32) {
        self.put_set(Ascii::range(code, code, self.folds));
    }

    fn put_set(&mut self, set: Ascii) {
        set.write(&mut self.out);
        self.has_argument = true;
    }

    fn put(&mut self, text: &str) {
        self.out.push_str(text);
        self.has_argument = true;
    }

    fn next(&mut self) -> Option<char> {
        let next = self.rest.chars().next()?;
        self.rest = &self.rest[next.len_utf8()..];
        Some(next)
    }

    fn eat(&mut self, text: &str) -> bool {
        let rest = self.rest.strip_prefix(text);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }
}

/// `1}`, `1,}` or `1,2}`, after `{`: the least, the most if there is one, and what is left behind it.
fn counts(text: &str) -> Option<(u32, Option<u32>, &str)> {
    let (min, rest) = count(text)?;
    if let Some(rest) = rest.strip_prefix('}') {
        return Some((min, Some(min), rest));
    }
    let rest = rest.strip_prefix(',')?;
    if let Some(rest) = rest.strip_prefix('}') {
        return Some((min, None, rest));
    }
    let (max, rest) = count(rest)?;
    Some((min, Some(max), rest.strip_prefix('}')?))
}

/// A number without zeros in front. One that has no room is beyond every limit.
fn count(text: &str) -> Option<(u32, &str)> {
    let end = text.find(|next: char| !next.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    if digits.is_empty() || digits.len() > 1 && digits.starts_with('0') {
        return None;
    }
    Some((digits.parse().unwrap_or(u32::MAX), rest))
}
