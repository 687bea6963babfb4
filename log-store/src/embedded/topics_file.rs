//! `topics`: the table of topics. A topic exists if and only if it is in here.
//!
//! ```text
//! 0                                                       version
//! 1                                                       number of topics
//! clicks mwGUsFtDT_OuZvZW1dGRtg 4 retention.ms=60000      name, id, partitions, settings that differ from the defaults
//! crc32c 9be3a7c1                                         of all bytes before this line
//! ```
//!
//! Replaced as a whole, so creating a topic of many partitions is one event. Directories of partitions follow when they
//! are first written to. Kafka has no such file (there it is in the metadata log) and does not mind it.

use std::{collections::BTreeMap, fmt::Write as _};

use super::storage::{Directory, read_small, write_atomically};
use crate::{
    Error, Result, TopicName,
    client::TopicDescription,
    topic::{decode_id, encode_id},
};

/// Name of the file.
pub(crate) const TOPICS: &str = "topics";

/// Reads the table; `None` if there is none yet.
pub(crate) fn read(directory: &dyn Directory) -> Result<Option<Vec<TopicDescription>>> {
    let Some(bytes) = read_small(directory, TOPICS)? else { return Ok(None) };
    parse(&bytes).map(Some).map_err(|reason| Error::Corrupt {
        file: directory.locate(TOPICS),
        position: 0,
        // Guessing would give topics other settings, and retention could then delete what must be kept.
        reason: format!("{reason}; restore the file from a backup"),
    })
}

/// Replaces the table.
pub(crate) fn write(directory: &dyn Directory, topics: &[TopicDescription]) -> Result<()> {
    let mut text = format!("0\n{}\n", topics.len());
    for topic in topics {
        let _ = write!(text, "{} {} {}", topic.name, encode_id(topic.topic_id), topic.partitions);
        for (name, value) in &topic.config {
            let _ = write!(text, " {}={}", escape(name), escape(value));
        }
        text.push('\n');
    }
    let checksum = crc32c::crc32c(text.as_bytes());
    let _ = writeln!(text, "crc32c {checksum:08x}");
    write_atomically(directory, TOPICS, text.as_bytes())
}

fn parse(bytes: &[u8]) -> Result<Vec<TopicDescription>, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    let (body, checksum) = text.trim_end().rsplit_once('\n').ok_or("too short")?;
    let stored = checksum.strip_prefix("crc32c ").and_then(|hex| u32::from_str_radix(hex, 16).ok());
    if stored != Some(crc32c::crc32c(format!("{body}\n").as_bytes())) {
        return Err("the checksum does not match".to_owned());
    }
    let mut lines = body.lines();
    if lines.next() != Some("0") {
        return Err("unknown version".to_owned());
    }
    let count: usize = lines.next().and_then(|line| line.parse().ok()).ok_or("no count of topics")?;
    let topics: Vec<_> = lines.map(parse_topic).collect::<Result<_, _>>()?;
    if topics.len() == count { Ok(topics) } else { Err(format!("{} topics, expected {count}", topics.len())) }
}

fn parse_topic(line: &str) -> Result<TopicDescription, String> {
    let malformed = || format!("malformed line {line:?}");
    let mut words = line.split(' ');
    let mut word = || words.next().ok_or_else(malformed);
    let name = TopicName::new(word()?).map_err(|error| error.to_string())?;
    let topic_id = decode_id(word()?).ok_or_else(malformed)?;
    let partitions = word()?.parse().map_err(|_| malformed())?;
    let mut config = BTreeMap::new();
    for setting in words {
        let (name, value) = setting.split_once('=').ok_or_else(malformed)?;
        config.insert(unescape(name).ok_or_else(malformed)?, unescape(value).ok_or_else(malformed)?);
    }
    Ok(TopicDescription { name, topic_id, partitions, config })
}

/// Leaves no blank, line end or `=` in a word.
fn escape(word: &str) -> String {
    let mut escaped = String::with_capacity(word.len());
    for character in word.chars() {
        if character.is_whitespace() || character.is_control() || matches!(character, '%' | '=') {
            let mut buffer = [0; 4];
            for byte in character.encode_utf8(&mut buffer).bytes() {
                let _ = write!(escaped, "%{byte:02x}");
            }
        } else {
            escaped.push(character);
        }
    }
    escaped
}

fn unescape(word: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first == b'%' {
            let (hex, tail) = tail.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()?);
            rest = tail;
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::embedded::storage::{MemoryDirectory, OpenMode};

    fn topic(name: &str) -> TopicDescription {
        let config =
            BTreeMap::from([("a b".to_owned(), "c=d%\n".to_owned()), ("retention.ms".to_owned(), "1".to_owned())]);
        TopicDescription { name: TopicName::new(name).unwrap(), topic_id: [7; 16], partitions: 3, config }
    }

    proptest! {
        #[test]
        fn a_word_reads_back(word: String) {
            let escaped = escape(&word);
            prop_assert!(!escaped.contains([' ', '\n', '=']));
            prop_assert_eq!(unescape(&escaped), Some(word));
        }
    }

    #[test]
    fn the_table_reads_back_and_a_changed_byte_is_found() {
        let directory = MemoryDirectory::new();
        assert_eq!(read(&directory).unwrap(), None);
        let topics = vec![topic("a"), topic("b-1")];
        write(&directory, &topics).unwrap();
        assert_eq!(read(&directory).unwrap(), Some(topics));
        directory.open(TOPICS, OpenMode::Existing).unwrap().write_at(5, b"x").unwrap();
        let error = read(&directory).unwrap_err().to_string();
        assert!(error.contains("checksum") && error.contains("topics"), "{error}");
    }
}
