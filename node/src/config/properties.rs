//! Reads Java's `.properties` format: comments, three kinds of separators, continuation lines and escapes. It knows
//! nothing of keys: `registry.rs` does.
//!
//! Two differences from Java, both louder than the original: a file is UTF-8 rather than Latin-1, and a `\u` escape that
//! is not four hexadecimal digits of a valid character is an error with its line.

use std::iter::Peekable;
use std::str::Chars;

/// Some editors put it in front of a file; there it means nothing.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// One `key = value` of a file, with the line on which it starts (from 1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Property {
    /// The key, unescaped; never empty.
    pub key: String,
    /// The value, unescaped, with the blanks behind it as they stand in the file.
    pub value: String,
    /// The line on which the entry starts, from 1.
    pub line: usize,
}

/// Why a text is not a properties file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PropertiesError {
    /// A line starts with its separator.
    #[error("line {line}: there is no key before the separator; write `key=value` or delete the line")]
    NoKey {
        /// The line, from 1.
        line: usize,
    },
    /// A `\u` escape does not name a character.
    #[error(
        "line {line}: `\\u{digits}` is not a character; write \\u and four hexadecimal digits (a pair of them \
         above U+FFFF), or double the backslash to mean a backslash"
    )]
    Escape {
        /// The line on which the entry starts, from 1.
        line: usize,
        /// What follows `\u`.
        digits: String,
    },
}

/// Reads a whole file, in its order; a key that stands there twice is returned twice.
pub fn parse(text: &str) -> Result<Vec<Property>, PropertiesError> {
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    let mut properties = Vec::new();
    for (line, logical) in logical_lines(text) {
        properties.push(parse_entry(&logical, line)?);
    }
    Ok(properties)
}

/// Renders one entry so that [`parse`] gives it back.
pub fn render(key: &str, value: &str) -> String {
    let mut out = String::with_capacity(key.len() + value.len() + 1);
    for c in key.chars() {
        render_char(c, matches!(c, '=' | ':' | '#' | '!' | ' '), &mut out);
    }
    out.push('=');
    for (at, c) in value.chars().enumerate() {
        render_char(c, at == 0 && c == ' ', &mut out);
    }
    out
}

fn render_char(c: char, special: bool, out: &mut String) {
    match c {
        '\\' => out.push_str("\\\\"),
        '\t' => out.push_str("\\t"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\u{c}' => out.push_str("\\f"),
        c if c.is_control() || c == BYTE_ORDER_MARK => out.push_str(&format!("\\u{:04X}", u32::from(c))),
        c => {
            if special {
                out.push('\\');
            }
            out.push(c);
        }
    }
}

/// Joins continuation lines and drops comments and blank lines. A comment never continues.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (index, natural) in natural_lines(text).into_iter().enumerate() {
        let content = natural.trim_start_matches(is_blank);
        let (start, mut joined) = match open.take() {
            Some(started) => started,
            None if content.is_empty() || content.starts_with(['#', '!']) => continue,
            None => (index + 1, String::new()),
        };
        let backslashes = content.chars().rev().take_while(|&c| c == '\\').count();
        if backslashes % 2 == 1 {
            joined.push_str(content.strip_suffix('\\').unwrap_or(content));
            open = Some((start, joined));
        } else {
            joined.push_str(content);
            lines.push((start, joined));
        }
    }
    lines.extend(open);
    lines.retain(|(_, line)| !line.is_empty());
    lines
}

/// Lines end with `\n`, `\r` or `\r\n`.
fn natural_lines(text: &str) -> Vec<&str> {
    text.split('\n').flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r')).collect()
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\u{c}')
}

fn parse_entry(logical: &str, line: usize) -> Result<Property, PropertiesError> {
    let mut chars = logical.chars().peekable();
    let mut key = String::new();
    while let Some(&c) = chars.peek() {
        if is_blank(c) || c == '=' || c == ':' {
            break;
        }
        chars.next();
        push_unescaped(c, &mut chars, &mut key, line)?;
    }
    skip_blanks(&mut chars);
    if chars.next_if(|&c| c == '=' || c == ':').is_some() {
        skip_blanks(&mut chars);
    }
    let mut value = String::new();
    while let Some(c) = chars.next() {
        push_unescaped(c, &mut chars, &mut value, line)?;
    }
    if key.is_empty() {
        return Err(PropertiesError::NoKey { line });
    }
    Ok(Property { key, value, line })
}

fn skip_blanks(chars: &mut Peekable<Chars<'_>>) {
    while chars.next_if(|&c| is_blank(c)).is_some() {}
}

fn push_unescaped(
    c: char,
    chars: &mut Peekable<Chars<'_>>,
    out: &mut String,
    line: usize,
) -> Result<(), PropertiesError> {
    if c != '\\' {
        out.push(c);
        return Ok(());
    }
    match chars.next() {
        Some('t') => out.push('\t'),
        Some('n') => out.push('\n'),
        Some('r') => out.push('\r'),
        Some('f') => out.push('\u{c}'),
        Some('u') => out.push(unicode_escape(chars, line)?),
        Some(other) => out.push(other),
        // A file that ends in the middle of a continuation: Java drops the backslash too.
        None => {}
    }
    Ok(())
}

/// The character of `\uXXXX`, or of two such escapes that form a UTF-16 surrogate pair.
fn unicode_escape(chars: &mut Peekable<Chars<'_>>, line: usize) -> Result<char, PropertiesError> {
    let (high, mut digits) = hex_unit(chars, line)?;
    if let Some(c) = char::from_u32(u32::from(high)) {
        return Ok(c);
    }
    let mut rest = chars.clone();
    if rest.next() == Some('\\') && rest.next() == Some('u') {
        let (low, low_digits) = hex_unit(&mut rest, line)?;
        if let Some(Ok(c)) = char::decode_utf16([high, low]).next() {
            *chars = rest;
            return Ok(c);
        }
        digits.push_str("\\u");
        digits.push_str(&low_digits);
    }
    Err(PropertiesError::Escape { line, digits })
}

fn hex_unit(chars: &mut Peekable<Chars<'_>>, line: usize) -> Result<(u16, String), PropertiesError> {
    let digits: String = chars.by_ref().take(4).collect();
    let whole = digits.len() == 4 && digits.bytes().all(|b| b.is_ascii_hexdigit());
    match u16::from_str_radix(&digits, 16) {
        Ok(unit) if whole => Ok((unit, digits)),
        Ok(_) | Err(_) => Err(PropertiesError::Escape { line, digits }),
    }
}
