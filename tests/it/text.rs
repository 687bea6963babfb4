//! Corner cases of text, each counted in a folder of its own and compared with a plain map.

use std::{io::Write, process::Stdio};

use streams_tests::count_words;
use tempfile::TempDir;

use crate::word_count::{fail, file, run, shown, text_of, word_count};

/// Counts `text` as `--input FILE`, and compares with the plain count. What was said.
#[track_caller]
fn check(name: &str, text: impl AsRef<[u8]>) -> String {
    let folder = TempDir::new().unwrap();
    let input = file(&folder, "input.txt", &text);
    let run = run(&folder.path().join("data"), &["--input", text_of(&input)]);
    let text = String::from_utf8_lossy(text.as_ref());
    let expected = count_words(&text);
    assert!(run.counts == expected, "{name}: counts differ");
    assert_eq!(run.summary["lines"], text.lines().count(), "{name}");
    assert_eq!(run.summary["words"], expected.values().sum::<u64>(), "{name}");
    assert_eq!(run.summary["distinct"], expected.len(), "{name}");
    run.said
}

#[test]
fn corner_cases_of_lines_are_counted() {
    let long = "lorem ipsum ".repeat((1 << 20) / 12 + 1);
    let one_word = "x".repeat(1 << 20);
    let rows: [(&str, &str); 12] = [
        ("nothing", ""),
        ("one line end", "\n"),
        ("empty lines", "\n\n\none\n\n"),
        ("no line end", "no line end"),
        ("an end without line end", "one two\ntwo"),
        ("ends as Windows has them", "ends of lines\r\n\r\nend\r\n"),
        ("carriage returns only", "one\rtwo\rone"),
        ("no words", "... --- !!!\n??\n"),
        ("zero bytes", "one\0two\0one\n"),
        ("capitals that become several letters", "STRASSE straße ǅ İstanbul ΟΔΟΣ\n"),
        ("digits and marks", "2nd ½ x² naïve na\u{308}ive Ⅷ\n"),
        ("byte order mark", "\u{feff}one one\n"),
    ];
    for (name, text) in rows {
        check(name, text);
    }
    check("lines of a megabyte", format!("short\n{long}\n{one_word}\nshort\n"));
}

#[test]
fn a_line_that_is_too_long_is_refused_by_its_number_and_one_at_the_limit_is_counted() {
    const LIMIT: usize = 4 << 20;
    let at_the_limit = "one word ".repeat(LIMIT / 9) + "abcdefghi".get(..LIMIT % 9).unwrap_or_default();
    assert_eq!(at_the_limit.len(), LIMIT);
    check("a line at the limit", format!("short\n{at_the_limit}\nshort\n"));
    let folder = TempDir::new().unwrap();
    let input = file(&folder, "input.txt", format!("short\n{at_the_limit}x\nshort\n"));
    let said = fail(&folder.path().join("data"), &["--input", text_of(&input)]);
    assert!(said.contains("input.txt, line 2 is longer than 4194304 bytes"), "{said}");
}

#[test]
fn random_unicode_is_counted() {
    let mut random = 0x2545_F491_4F6C_DD1D_u64;
    let mut text = String::new();
    for _ in 0..60_000 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        // Letters of many scripts, digits, marks, spaces and line ends.
        let ranges = [
            (0x20, 0x7f),
            (0xa0, 0x250),
            (0x370, 0x590),
            (0x600, 0x700),
            (0x900, 0xa00),
            (0x4e00, 0x4e80),
            (0x1f600, 0x1f620),
        ];
        let (from, to) = ranges[(random >> 8) as usize % ranges.len()];
        match random % 11 {
            0 => text.push('\n'),
            1 | 2 => text.push(' '),
            _ => text.extend(char::from_u32(from + (random >> 16) as u32 % (to - from))),
        }
    }
    check("random Unicode", text);
}

#[test]
fn invalid_utf_8_is_named_with_its_file_and_line() {
    let rows: [(&str, &[u8], u32); 5] = [
        ("Latin-1", b"good line\nna\xefve caf\xe9\nlast line\n", 2),
        ("on the first line", b"\xff one\ntwo\n", 1),
        ("on a last line without end", b"one\ntwo \xc3", 2),
        ("a surrogate", b"one\n\ntwo \xed\xa0\x80 three\n", 3),
        ("too long a form", b"one \xc0\xaf two\n", 1),
    ];
    for (name, text, line) in rows {
        let said = check(name, text);
        assert!(said.contains(&format!("input.txt, line {line}: not UTF-8")), "{name}: {said}");
        assert_eq!(said.matches("not UTF-8").count(), 1, "{name}: {said}");
    }
}

#[test]
fn many_lines_that_are_not_utf_8_are_named_at_first_and_then_counted() {
    let said = check("much Latin-1", b"na\xefve\n".repeat(500));
    assert_eq!(said.matches(": not UTF-8").count(), 10, "{said}");
    assert!(said.contains("input.txt, line 10: not UTF-8"), "{said}");
    assert!(said.contains("… and 490 more lines that are not UTF-8"), "{said}");
}

#[test]
fn invalid_utf_8_of_standard_input_is_named_with_its_line() {
    let folder = TempDir::new().unwrap();
    let mut child = word_count(folder.path(), &["--input", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"one\r\n\ntwo\xfftwo\n").unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("standard input, line 3: not UTF-8"), "{said}");
    assert_eq!(shown(&String::from_utf8_lossy(&output.stdout)), count_words("one two two"));
}
