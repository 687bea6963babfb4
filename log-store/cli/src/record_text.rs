//! Keys, values and headers as text, and back.

use std::{borrow::Cow, fmt::Write as _};

use anyhow::{Context, bail};
use bytes::Bytes;
use log_store::Header;
use serde_json::{Value, json};

/// How to show bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// As UTF-8.
    Text,
    /// As two digits a byte.
    Hex,
}

impl Format {
    /// The bytes to print.
    pub(crate) fn show(self, bytes: &[u8]) -> Cow<'_, [u8]> {
        match self {
            Format::Text => Cow::Borrowed(bytes),
            Format::Hex => Cow::Owned(hex(bytes).into_bytes()),
        }
    }

    /// As a JSON string, or null. Bytes that are no text become `{"hex": "…"}`, which `produce` understands.
    pub(crate) fn json(self, bytes: Option<&[u8]>) -> Value {
        let Some(bytes) = bytes else { return Value::Null };
        match std::str::from_utf8(bytes) {
            Ok(text) if self == Format::Text => Value::from(text),
            _ => json!({ "hex": hex(bytes) }),
        }
    }
}

/// A header as JSON.
pub(crate) fn header_json(header: &Header, format: Format) -> Value {
    json!({"key": header.key, "value": format.json(header.value.as_deref())})
}

/// What can be shown of bytes on a line of text.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Undoes [`Format::json`].
pub(crate) fn bytes_of(value: &Value) -> anyhow::Result<Option<Bytes>> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(Bytes::copy_from_slice(text.as_bytes()))),
        Value::Object(object) if object.len() == 1 && object.contains_key("hex") => {
            let digits = object["hex"].as_str().context("\"hex\" needs a text of digits")?;
            Ok(Some(unhex(digits)?.into()))
        }
        // Any other JSON is its own text, so that values may be written as objects.
        other => Ok(Some(other.to_string().into())),
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut digits = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(digits, "{byte:02x}");
    }
    digits
}

fn unhex(digits: &str) -> anyhow::Result<Vec<u8>> {
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        bail!("{} digits are no whole bytes", digits.len());
    }
    let digit =
        |byte: u8| char::from(byte).to_digit(16).with_context(|| format!("{:?} is no hex digit", char::from(byte)));
    pairs.iter().map(|[high, low]| Ok((digit(*high)? * 16 + digit(*low)?) as u8)).collect()
}
