//! The closed catalogue of user functions that programs can name.
//!
//! A function is `name` or `name:argument`, the argument being all after the first colon. Keys and values may be null;
//! lengths count code points. An unknown name or a malformed argument panics: the case cannot be run.

use std::{cmp::Ordering, sync::Arc};

/// A key or a value: text or null.
pub(crate) type Text = Option<String>;

/// A function of two texts, with what it gives.
pub(crate) type Fn2<R> = Arc<dyn Fn(Option<&str>, Option<&str>) -> R + Send + Sync>;
/// A function of three texts.
pub(crate) type Fn3 = Arc<dyn Fn(Option<&str>, Option<&str>, Option<&str>) -> Text + Send + Sync>;

/// `name` and `argument` of a function.
struct Call<'a> {
    name: &'a str,
    arg: &'a str,
}

impl<'a> Call<'a> {
    fn parse(text: &'a str) -> Self {
        let (name, arg) = text.split_once(':').unwrap_or((text, ""));
        Call { name, arg }
    }

    fn number(&self) -> usize {
        self.arg.parse().unwrap_or_else(|_| panic!("{}: {:?} is no number", self.name, self.arg))
    }

    /// `M:R`
    fn modulus_and_rest(&self) -> (u64, u64) {
        let numbers = self.arg.split_once(':').and_then(|(m, r)| Some((m.parse().ok()?, r.parse().ok()?)));
        numbers.unwrap_or_else(|| panic!("{}: {:?} is not two numbers", self.name, self.arg))
    }

    fn unknown(&self, kind: &str) -> ! {
        panic!("unknown {kind} {:?}", self.name)
    }
}

/// Sum of the bytes of the text in UTF-8, 0 for null.
pub(crate) fn hash(text: Option<&str>) -> u64 {
    text.map_or(0, |text| text.bytes().map(u64::from).sum())
}

/// The text, or the four letters `null`.
pub(crate) fn or_null(text: Option<&str>) -> &str {
    text.unwrap_or("null")
}

/// The text as a decimal 64-bit integer; 0 for null and for what is none.
pub(crate) fn number(text: Option<&str>) -> i64 {
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn length(text: &str) -> usize {
    text.chars().count()
}

fn first(text: &str, n: usize) -> String {
    text.chars().take(n).collect()
}

fn last(text: &str, n: usize) -> String {
    text.chars().skip(length(text).saturating_sub(n)).collect()
}

fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(' ').filter(|word| !word.is_empty()).map(str::to_owned)
}

fn owned(text: Option<&str>) -> Text {
    text.map(str::to_owned)
}

/// `list` split at commas, without the first piece equal to `value`.
fn list_remove(list: Option<&str>, value: Option<&str>) -> Text {
    let mut pieces: Vec<&str> = list?.split(',').collect();
    if let Some(at) = pieces.iter().position(|piece| *piece == or_null(value)) {
        pieces.remove(at);
    }
    Some(pieces.join(","))
}

fn append_comma(aggregate: Option<&str>, value: Option<&str>) -> String {
    match aggregate {
        None | Some("") => or_null(value).to_owned(),
        Some(aggregate) => format!("{aggregate},{}", or_null(value)),
    }
}

/// A predicate of key and value.
pub(crate) fn predicate(text: &str) -> Fn2<bool> {
    let call = Call::parse(text);
    let arg = call.arg.to_owned();
    match call.name {
        "true" => Arc::new(|_, _| true),
        "false" => Arc::new(|_, _| false),
        "value_not_null" => Arc::new(|_, v| v.is_some()),
        "key_not_null" => Arc::new(|k, _| k.is_some()),
        "value_len_gt" => {
            let n = call.number();
            Arc::new(move |_, v| v.is_some_and(|v| length(v) > n))
        }
        "key_eq" => Arc::new(move |k, _| k == Some(&arg)),
        "value_starts" => Arc::new(move |_, v| v.is_some_and(|v| v.starts_with(&arg))),
        "hash_mod" => {
            let (modulus, rest) = call.modulus_and_rest();
            Arc::new(move |_, v| hash(v) % modulus == rest)
        }
        "key_hash_mod" => {
            let (modulus, rest) = call.modulus_and_rest();
            Arc::new(move |k, _| hash(k) % modulus == rest)
        }
        "throw_if_value" => Arc::new(move |_, v| {
            assert!(v != Some(&arg), "refused value {arg}");
            true
        }),
        _ => call.unknown("predicate"),
    }
}

/// A new value from key and value.
pub(crate) fn value(text: &str) -> Fn2<Text> {
    let call = Call::parse(text);
    let arg = call.arg.to_owned();
    match call.name {
        "identity" => Arc::new(|_, v| owned(v)),
        "upper" => Arc::new(|_, v| v.map(str::to_ascii_uppercase)),
        "append" => Arc::new(move |_, v| Some(format!("{}{arg}", v?))),
        "prepend" => Arc::new(move |_, v| Some(format!("{arg}{}", v?))),
        "first" => {
            let n = call.number();
            Arc::new(move |_, v| Some(first(v?, n)))
        }
        "null_if_len_lt" => {
            let n = call.number();
            Arc::new(move |_, v| owned(v.filter(|v| length(v) >= n)))
        }
        "key_value" => Arc::new(|k, v| Some(format!("{}={}", or_null(k), or_null(v)))),
        "value_from_key" => Arc::new(|k, _| owned(k)),
        "len" => Arc::new(|_, v| Some(length(v?).to_string())),
        "const" => Arc::new(move |_, _| Some(arg.clone())),
        "default_if_null" => Arc::new(move |_, v| Some(v.unwrap_or(&arg).to_owned())),
        _ => call.unknown("value function"),
    }
}

/// A new key from key and value.
pub(crate) fn key(text: &str) -> Fn2<Text> {
    let call = Call::parse(text);
    let arg = call.arg.to_owned();
    match call.name {
        "identity" => Arc::new(|k, _| owned(k)),
        "key_from_value_prefix" => {
            let n = call.number();
            Arc::new(move |_, v| Some(first(v?, n)))
        }
        "value_as_key" => Arc::new(|_, v| owned(v)),
        "key_append" => Arc::new(move |k, _| Some(format!("{}{arg}", k?))),
        "key_prefix" => {
            let n = call.number();
            Arc::new(move |k, _| Some(first(k?, n)))
        }
        "const_key" => Arc::new(move |_, _| Some(arg.clone())),
        "null_key" => Arc::new(|_, _| None),
        "key_hash_bucket" => {
            let n = call.number() as u64;
            Arc::new(move |k, _| Some(format!("b{}", hash(k) % n)))
        }
        "value_hash_bucket" => {
            let n = call.number() as u64;
            Arc::new(move |_, v| Some(format!("b{}", hash(v) % n)))
        }
        _ => call.unknown("key function"),
    }
}

/// Any number of records from one.
pub(crate) fn flat_map(text: &str) -> Fn2<Vec<(Text, Text)>> {
    let call = Call::parse(text);
    match call.name {
        "split_words" => Arc::new(|k, v| {
            let key = or_null(k);
            v.into_iter().flat_map(words).map(|word| (Some(word), Some(key.to_owned()))).collect()
        }),
        "twice" => Arc::new(|k, v| vec![(owned(k), owned(v)), (owned(k), v.map(|v| format!("{v}'")))]),
        "swap" => Arc::new(|k, v| vec![(owned(v), owned(k))]),
        "drop" => Arc::new(|_, _| Vec::new()),
        _ => call.unknown("flat map"),
    }
}

/// Any number of values from one.
pub(crate) fn flat_map_values(text: &str) -> Fn2<Vec<Text>> {
    let call = Call::parse(text);
    match call.name {
        "split_words" => Arc::new(|_, v| v.into_iter().flat_map(words).map(Some).collect()),
        "twice" => Arc::new(|_, v| vec![owned(v), v.map(|v| format!("{v}'"))]),
        "chars" => Arc::new(|_, v| v.into_iter().flat_map(str::chars).map(|c| Some(c.to_string())).collect()),
        "drop" => Arc::new(|_, _| Vec::new()),
        _ => call.unknown("flat map of values"),
    }
}

/// A value from key, left and right.
pub(crate) fn joiner(text: &str) -> Fn3 {
    let call = Call::parse(text);
    let arg = call.arg.to_owned();
    match call.name {
        "concat" => Arc::new(move |_, l, r| Some(format!("{}{arg}{}", or_null(l), or_null(r)))),
        "key_concat" => Arc::new(move |k, l, r| Some(format!("{}:{}{arg}{}", or_null(k), or_null(l), or_null(r)))),
        "left" => Arc::new(|_, l, _| owned(l)),
        "right" => Arc::new(|_, _, r| owned(r)),
        "null_if_equal" => {
            Arc::new(|_, l, r| (or_null(l) != or_null(r)).then(|| format!("{}/{}", or_null(l), or_null(r))))
        }
        _ => call.unknown("joiner"),
    }
}

/// The first value of an aggregate.
pub(crate) fn initializer(text: &str) -> Text {
    let call = Call::parse(text);
    match call.name {
        "empty" => Some(String::new()),
        "zero" => Some("0".to_owned()),
        "null" => None,
        "const" => Some(call.arg.to_owned()),
        _ => call.unknown("initializer"),
    }
}

/// A new aggregate from key, value and aggregate.
pub(crate) fn aggregator(text: &str) -> Fn3 {
    let call = Call::parse(text);
    let arg = call.arg.to_owned();
    let counted = |n: i64| Some(n.to_string());
    match call.name {
        "append_comma" => Arc::new(|_, v, a| Some(append_comma(a, v))),
        "append_tail" => {
            let n = call.number();
            Arc::new(move |_, v, a| Some(last(&format!("{}{}", or_null(a), or_null(v)), n)))
        }
        "count" => Arc::new(move |_, _, a| counted(number(a).wrapping_add(1))),
        "minus_count" => Arc::new(move |_, _, a| counted(number(a).wrapping_sub(1))),
        "max_len" => Arc::new(move |_, v, a| counted(number(a).max(v.map_or(0, length) as i64))),
        "sum_hash" => Arc::new(move |_, v, a| counted(number(a).wrapping_add(hash(v) as i64))),
        "sub_hash" => Arc::new(move |_, v, a| counted(number(a).wrapping_sub(hash(v) as i64))),
        "last" => Arc::new(|_, v, _| owned(v)),
        "list_remove" => Arc::new(|_, v, a| list_remove(a, v)),
        "null_on" => Arc::new(move |_, v, a| (v != Some(&arg)).then(|| append_comma(a, v))),
        _ => call.unknown("aggregator"),
    }
}

/// A new value from the old and the next.
pub(crate) fn reducer(text: &str) -> Fn2<Text> {
    let call = Call::parse(text);
    let arg = call.arg.to_owned();
    let compare = |l: Option<&str>, r: Option<&str>| or_null(l).as_bytes().cmp(or_null(r).as_bytes());
    match call.name {
        "concat" => Arc::new(move |l, r| Some(format!("{}{arg}{}", or_null(l), or_null(r)))),
        "concat_tail" => {
            let n = call.number();
            Arc::new(move |l, r| Some(last(&format!("{}{}", or_null(l), or_null(r)), n)))
        }
        "max" => Arc::new(move |l, r| owned(if compare(l, r) == Ordering::Less { r } else { l })),
        "min" => Arc::new(move |l, r| owned(if compare(l, r) == Ordering::Greater { r } else { l })),
        "first" => Arc::new(|l, _| owned(l)),
        "last" => Arc::new(|_, r| owned(r)),
        "list_remove" => Arc::new(list_remove),
        "null_if_equal" => {
            Arc::new(|l, r| (or_null(l) != or_null(r)).then(|| format!("{},{}", or_null(l), or_null(r))))
        }
        _ => call.unknown("reducer"),
    }
}

/// One aggregate from two, when sessions merge.
pub(crate) fn merger(text: &str) -> Fn2<Text> {
    let call = Call::parse(text);
    let arg = call.arg.to_owned();
    match call.name {
        "concat" => Arc::new(move |l, r| Some(format!("{}{arg}{}", or_null(l), or_null(r)))),
        "sum" => Arc::new(|l, r| Some(number(l).wrapping_add(number(r)).to_string())),
        "max" => Arc::new(|l, r| Some(number(l).max(number(r)).to_string())),
        _ => call.unknown("merger"),
    }
}

/// The key of the other table, from key and value of a row.
pub(crate) fn foreign_key(text: &str) -> Fn2<Text> {
    let call = Call::parse(text);
    match call.name {
        "value_prefix" => {
            let n = call.number();
            Arc::new(move |_, v| v.filter(|v| !v.is_empty()).map(|v| first(v, n)))
        }
        "after_dash" => Arc::new(|_, v| Some(v?.split_once('-')?.1.to_owned())),
        "whole_value" => Arc::new(|_, v| owned(v)),
        "key_and_value" => Arc::new(|k, v| Some(first(or_null(k), 1) + &first(v.filter(|v| !v.is_empty())?, 1))),
        _ => call.unknown("foreign key"),
    }
}

/// The topic of `hash_mod:M:P`: P followed by hash(value) mod M.
pub(crate) fn topic(text: &str) -> impl Fn(Option<&str>) -> String + Send + Sync + 'static {
    let parts = text.strip_prefix("hash_mod:").and_then(|rest| rest.split_once(':'));
    let (modulus, prefix) = parts.unwrap_or_else(|| panic!("unknown topic function {text:?}"));
    let modulus: u64 = modulus.parse().expect("a modulus");
    let prefix = prefix.to_owned();
    move |value| format!("{prefix}{}", hash(value) % modulus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_count_code_points_and_pass_nulls_on() {
        assert_eq!(value("first:2")(None, Some("äöü")), Some("äö".into()));
        assert_eq!(value("append:x:y")(None, Some("a")), Some("ax:y".into()));
        assert_eq!(value("append:x")(None, None), None);
        assert_eq!(value("len")(None, Some("äb")), Some("2".into()));
        assert_eq!(key("key_hash_bucket:4")(None, None), Some("b0".into()));
        assert_eq!(aggregator("append_tail:3")(None, Some("cd"), Some("ab")), Some("bcd".into()));
        assert_eq!(reducer("max")(Some("a"), None), None, "the four letters are greater than a");
        assert_eq!(reducer("list_remove")(Some("a,b,,b"), Some("b")), Some("a,,b".into()));
        assert_eq!(foreign_key("after_dash")(None, Some("a-b-c")), Some("b-c".into()));
        assert_eq!(foreign_key("key_and_value")(None, Some("xy")), Some("nx".into()));
        assert_eq!(topic("hash_mod:3:out-")(Some("a")), "out-1");
    }
}
