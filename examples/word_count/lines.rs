//! The lines of one source, in bounded memory.

use std::io::{BufRead, BufReader, Read};

use anyhow::{Context, bail};

/// What comes after a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// More is here already.
    IsHere,
    /// Reading on may wait: for a disk, or for somebody who types.
    MayWait,
}

/// Calls `each` with every line of the source `name` and its number, until it answers false: then the number of that line.
///
/// # Errors
///
/// If the source cannot be read, or a line is longer than `bytes_max`.
pub(crate) fn for_each_line(
    from: &mut BufReader<impl Read>,
    name: &str,
    bytes_max: usize,
    mut each: impl FnMut(&[u8], u64, Next) -> anyhow::Result<bool>,
) -> anyhow::Result<Option<u64>> {
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        // One byte more for the end of the line.
        let mut limited = from.take(bytes_max as u64 + 1);
        limited.read_until(b'\n', &mut line).with_context(|| format!("cannot read {name}, line {number}"))?;
        if line.is_empty() {
            break;
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        if line.len() > bytes_max {
            bail!("{name}, line {number} is longer than {bytes_max} bytes: break it");
        }
        let next = if from.buffer().is_empty() { Next::MayWait } else { Next::IsHere };
        if !each(&line, number, next)? {
            return Ok(Some(number));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines with their numbers, or what was said instead.
    fn lines(text: &str, bytes_max: usize) -> Result<Vec<String>, String> {
        let mut lines = Vec::new();
        let mut from = BufReader::with_capacity(4, text.as_bytes());
        let read = for_each_line(&mut from, "text", bytes_max, |line, number, _| {
            lines.push(format!("{number}:{}", String::from_utf8_lossy(line)));
            Ok(true)
        });
        read.map(|_| lines).map_err(|error| error.to_string())
    }

    #[test]
    fn a_line_at_the_limit_is_read_and_one_byte_more_is_refused_by_its_number() {
        let refused = |line| Err(format!("text, line {line} is longer than 8 bytes: break it"));
        assert_eq!(lines("12345678\n12345678", 8), Ok(vec!["1:12345678".to_owned(), "2:12345678".to_owned()]));
        assert_eq!(lines("12345678\n\n", 8), Ok(vec!["1:12345678".to_owned(), "2:".to_owned()]));
        assert_eq!(lines("123456789", 8), refused(1));
        assert_eq!(lines("123456789\n", 8), refused(1));
        assert_eq!(lines("short\n\n1234567890123456789\n", 8), refused(3));
    }

    #[test]
    fn who_wants_no_more_is_told_after_which_line() {
        let mut from = BufReader::new(&b"one\ntwo\nthree"[..]);
        let stopped = for_each_line(&mut from, "text", 8, |line, _, _| Ok(line != b"two"));
        assert_eq!(stopped.unwrap(), Some(2));
    }

    #[test]
    fn what_follows_at_once_is_known() {
        let mut nexts = Vec::new();
        let mut from = BufReader::with_capacity(64, &b"one\ntwo\n"[..]);
        let read = for_each_line(&mut from, "text", 8, |_, _, next| {
            nexts.push(next);
            Ok(true)
        });
        assert_eq!(read.unwrap(), None);
        assert_eq!(nexts, [Next::IsHere, Next::MayWait]);
    }
}
