//! Sets of ASCII characters, and those that have a name in RE2's syntax.
//!
//! Names of topics are ASCII: of what a pattern says of other characters nothing is kept.

use alloc::string::String;
use core::fmt::Write;

/// Characters that ASCII has, a bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ascii(u128);

const UPPER: u128 = bits(b'A', b'Z');
const LOWER: u128 = bits(b'a', b'z');
/// Two characters beyond ASCII are letters of ASCII in another case: the long s, and the sign of Kelvin.
const FOLDED: [(u32, Ascii); 2] = [(0x17f, Ascii::of(b"SSss")), (0x212a, Ascii::of(b"KKkk"))];

/// `\s`, `\d` and `\w`.
const SPACE: Ascii = Ascii::of(b"\t\n\x0c\r  ");
const DIGIT: Ascii = Ascii::of(b"09");
const WORD: Ascii = Ascii::of(b"09AZ__az");

/// What may stand in `[[:here:]]`.
const POSIX: [(&str, Ascii); 14] = [
    ("alnum", Ascii::of(b"09AZaz")),
    ("alpha", Ascii::of(b"AZaz")),
    ("ascii", Ascii::of(b"\0\x7f")),
    ("blank", Ascii::of(b"\t\t  ")),
    ("cntrl", Ascii::of(b"\0\x1f\x7f\x7f")),
    ("digit", DIGIT),
    ("graph", Ascii::of(b"!~")),
    ("lower", Ascii(LOWER)),
    ("print", Ascii::of(b" ~")),
    ("punct", Ascii::of(b"!/:@[`{~")),
    ("space", Ascii::of(b"\t\r  ")),
    ("upper", Ascii(UPPER)),
    ("word", WORD),
    ("xdigit", Ascii::of(b"09AFaf")),
];

/// Categories and scripts that have characters of ASCII.
const UNICODE: [(&str, Ascii); 22] = [
    ("Any", Ascii::of(b"\0\x7f")),
    ("C", Ascii::of(b"\0\x1f\x7f\x7f")),
    ("Cc", Ascii::of(b"\0\x1f\x7f\x7f")),
    ("Common", Ascii::of(b"\0@[`{\x7f")),
    ("L", Ascii::of(b"AZaz")),
    ("Latin", Ascii::of(b"AZaz")),
    ("Ll", Ascii(LOWER)),
    ("Lu", Ascii(UPPER)),
    ("N", DIGIT),
    ("Nd", DIGIT),
    ("P", Ascii::of(b"!#%*,/:;?@[]__{{}}")),
    ("Pc", Ascii::of(b"__")),
    ("Pd", Ascii::of(b"--")),
    ("Pe", Ascii::of(b"))]]}}")),
    ("Po", Ascii::of(b"!#%'**,,./:;?@\\\\")),
    ("Ps", Ascii::of(b"(([[{{")),
    ("S", Ascii::of(b"$$++<>^^``||~~")),
    ("Sc", Ascii::of(b"$$")),
    ("Sk", Ascii::of(b"^^``")),
    ("Sm", Ascii::of(b"++<>||~~")),
    ("Z", Ascii::of(b"  ")),
    ("Zs", Ascii::of(b"  ")),
];

/// Those that RE2/J knows besides; an alphabet that Unicode took in later it refuses.
const FOREIGN: &str = "Arabic Armenian Avestan Balinese Bamum Batak Bengali Bopomofo Brahmi Braille Buginese Buhid \
    Canadian_Aboriginal Carian Cf Cham Cherokee Co Coptic Cs Cuneiform Cypriot Cyrillic Deseret \
    Devanagari Egyptian_Hieroglyphs Ethiopic Georgian Glagolitic Gothic Greek Gujarati Gurmukhi Han \
    Hangul Hanunoo Hebrew Hiragana Imperial_Aramaic Inherited Inscriptional_Pahlavi \
    Inscriptional_Parthian Javanese Kaithi Kannada Katakana Kayah_Li Kharoshthi Khmer Lao Lepcha Limbu \
    Linear_B Lisu Lm Lo Lt Lycian Lydian M Malayalam Mandaic Mc Me Meetei_Mayek Mn Mongolian Myanmar \
    New_Tai_Lue Nko Nl No Ogham Ol_Chiki Old_Italic Old_Persian Old_South_Arabian Old_Turkic Oriya \
    Osmanya Pf Phags_Pa Phoenician Pi Rejang Runic Samaritan Saurashtra Shavian Sinhala So Sundanese \
    Syloti_Nagri Syriac Tagalog Tagbanwa Tai_Le Tai_Tham Tai_Viet Tamil Telugu Thaana Thai Tibetan \
    Tifinagh Ugaritic Unknown Vai Yi Zl Zp";

/// Bits of the characters from one to another.
const fn bits(from: u8, to: u8) -> u128 {
    assert!(from <= to);
    assert!(to < 128);
    (u128::MAX >> (127 - (to - from))) << from
}

impl Ascii {
    pub(super) const NONE: Self = Self(0);
    /// All that `.` stands for, where it does not stand for a line feed.
    pub(super) const NO_LINE_FEED: Self = Self::of(b"\n\n").other();

    /// The first and the last character of each range, one after the other.
    const fn of(ends: &[u8]) -> Self {
        let mut set = 0;
        let mut at = 0;
        while at < ends.len() {
            set |= bits(ends[at], ends[at + 1]);
            at += 2;
        }
        Self(set)
    }

    /// Characters between two, and with `folds` what they are in another case.
    pub(super) fn range(from: u32, to: u32, folds: bool) -> Self {
        assert!(from <= to, "a range begins before it ends");
        let ends = u8::try_from(from).ok().filter(u8::is_ascii).map(|from| (from, to.min(127) as u8));
        let set = ends.map_or(Self::NONE, |(from, to)| Self(bits(from, to)));
        if !folds {
            return set;
        }
        let beyond = FOLDED.into_iter().filter(|(code, _)| (from..=to).contains(code));
        beyond.fold(set.folded(), |set, (_, letters)| set.or(letters))
    }

    /// `\d`, `\s`, `\w` and what is none of these, by their letters.
    pub(super) fn perl(letter: char) -> Option<Self> {
        let set = match letter.to_ascii_lowercase() {
            'd' => DIGIT,
            's' => SPACE,
            'w' => WORD,
            _ => return None,
        };
        Some(if letter.is_ascii_uppercase() { set.other() } else { set })
    }

    /// What `[:name:]` stands for.
    pub(super) fn posix(name: &str, folds: bool) -> Option<Self> {
        let (name, is_negated) = name.strip_prefix('^').map_or((name, false), |name| (name, true));
        let (_, set) = POSIX.into_iter().find(|(known, _)| *known == name)?;
        let set = if folds { set.folded() } else { set };
        Some(if is_negated { set.other() } else { set })
    }

    /// What `\p{name}` stands for.
    pub(super) fn unicode(name: &str, folds: bool) -> Option<Self> {
        let (name, is_negated) = name.strip_prefix('^').map_or((name, false), |name| (name, true));
        let set = match UNICODE.into_iter().find(|(known, _)| *known == name) {
            // RE2/J's table of small letters in another case has only those two that something beyond ASCII folds to.
            Some(("Ll", set)) if folds => set.or(Self::of(b"KKSS")),
            Some((_, set)) if folds => set.folded(),
            Some((_, set)) => set,
            None if FOREIGN.split(' ').any(|known| known == name) => Self::NONE,
            None => return None,
        };
        Some(if is_negated { set.other() } else { set })
    }

    pub(super) const fn other(self) -> Self {
        Self(!self.0)
    }

    pub(super) const fn or(self, more: Self) -> Self {
        Self(self.0 | more.0)
    }

    /// With the same letters in the other case.
    const fn folded(self) -> Self {
        Self(self.0 | (self.0 & UPPER) << 32 | (self.0 & LOWER) >> 32)
    }

    /// Writes the class that the crate `regex` reads as this set.
    pub(super) fn write(self, out: &mut String) {
        if self.0.is_power_of_two() {
            return write_one(self.0.trailing_zeros(), out);
        }
        if self == Self::NONE {
            // No name has such a byte.
            out.push_str("[\\x80-\\xFF]");
            return;
        }
        out.push('[');
        let mut left = self.0;
        while left != 0 {
            let from = left.trailing_zeros();
            let length = (left >> from).trailing_ones();
            write_one(from, out);
            if length > 1 {
                out.push('-');
                write_one(from + length - 1, out);
            }
            left &= u128::MAX.checked_shl(from + length).unwrap_or(0);
        }
        out.push(']');
    }
}

fn write_one(code: u32, out: &mut String) {
    assert!(code < 128);
    match char::from_u32(code).filter(char::is_ascii_alphanumeric) {
        Some(letter) => out.push(letter),
        None => write!(out, "\\x{code:02X}").expect("a string takes what is written"),
    }
}
