//! Lines of standard input or a file, read by a thread of its own, and how a line becomes a record.
//!
//! A read of a terminal can neither be cancelled nor made asynchronous: the thread is left behind when the command ends.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use bytes::Bytes;
use indicatif::ProgressBar;
use tokio::sync::mpsc;

use super::output::{CliError, CliResult};

/// A longer line is refused: 16 MiB, more than topics take by default.
const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Lines that wait to be sent.
const LINES_AHEAD: usize = 256;

/// Reads the lines of `file`, whose length `bar` gets and whose bytes it counts, or of standard input. Line ends are taken off.
pub(super) fn lines(file: Option<&Path>, bar: &ProgressBar) -> CliResult<mpsc::Receiver<CliResult<Bytes>>> {
    let (name, input): (String, Box<dyn Read + Send>) = match file {
        None => ("standard input".to_owned(), Box::new(io::stdin())),
        Some(path) => {
            let name = path.display().to_string();
            let file =
                File::open(path).map_err(|error| CliError::io(format!("cannot open {name}"), error))?;
            let bytes =
                file.metadata().map_err(|error| CliError::io(format!("cannot read {name}"), error))?.len();
            bar.set_length(bytes);
            (name, Box::new(bar.wrap_read(file)))
        }
    };
    let (sender, receiver) = mpsc::channel(LINES_AHEAD);
    std::thread::spawn(move || {
        let mut input = BufReader::with_capacity(64 * 1024, input);
        loop {
            let line = match read_line(&mut input) {
                Ok(Some(line)) => Ok(line),
                Ok(None) => return,
                Err(error) => Err(CliError::io(format!("cannot read {name}"), error)),
            };
            let last = line.is_err();
            if sender.blocking_send(line).is_err() || last {
                return;
            }
        }
    });
    Ok(receiver)
}

fn read_line(input: &mut impl BufRead) -> io::Result<Option<Bytes>> {
    let mut line = Vec::new();
    let read = input.take(LINE_BYTES_MAX as u64 + 2).read_until(b'\n', &mut line)?;
    if read == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
    }
    if line.len() > LINE_BYTES_MAX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a line is over {LINE_BYTES_MAX} bytes"),
        ));
    }
    Ok(Some(Bytes::from(line)))
}

/// How a line is cut into key and value.
#[derive(Debug, Clone, Default)]
pub(super) struct LineFormat {
    /// Stands between key and value; without it the line is the value.
    pub(super) key_separator: Option<String>,
    /// Stands for null.
    pub(super) null_marker: Option<String>,
}

impl LineFormat {
    /// Key and value of a line; `None` if it lacks the separator.
    pub(super) fn split(&self, line: &Bytes) -> Option<(Option<Bytes>, Option<Bytes>)> {
        let Some(separator) = &self.key_separator else { return Some((None, self.or_null(line.clone()))) };
        let separator = separator.as_bytes();
        let at = line.windows(separator.len()).position(|window| window == separator)?;
        let (key, value) = (line.slice(..at), line.slice(at + separator.len()..));
        Some((self.or_null(key), self.or_null(value)))
    }

    /// The bytes, unless they are the marker of null.
    pub(super) fn or_null(&self, bytes: Bytes) -> Option<Bytes> {
        let null = self.null_marker.as_ref().is_some_and(|marker| *marker.as_bytes() == *bytes);
        (!null).then_some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_lose_their_ends_and_nothing_else() {
        let mut input = &b"one\r\n\ntwo \nlast"[..];
        let mut lines = Vec::new();
        while let Some(line) = read_line(&mut input).unwrap() {
            lines.push(line);
        }
        assert_eq!(lines, [&b"one"[..], b"", b"two ", b"last"]);
    }

    #[test]
    fn an_endless_line_is_refused() {
        let mut input = BufReader::new(io::repeat(b'a'));
        assert_eq!(read_line(&mut input).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_line_is_split_at_the_first_separator() {
        let format =
            LineFormat { key_separator: Some("=>".to_owned()), null_marker: Some("NULL".to_owned()) };
        let split = |line: &'static str| format.split(&Bytes::from_static(line.as_bytes()));
        let some = |text: &'static str| Some(Bytes::from_static(text.as_bytes()));
        assert_eq!(split("k=>v=>w"), Some((some("k"), some("v=>w"))));
        assert_eq!(split("NULL=>NULL"), Some((None, None)));
        assert_eq!(split("=>"), Some((some(""), some(""))));
        assert_eq!(split("k=v"), None);
        let plain = LineFormat::default();
        assert_eq!(plain.split(&Bytes::from_static(b"a\tb")), Some((None, some("a\tb"))));
    }
}
