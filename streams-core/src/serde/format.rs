//! Serdes for types that derive `serde`'s traits: JSON, postcard, bincode.

use serde::{Serialize, de::DeserializeOwned};

use super::{Encoded, Serde, SerdeError};

/// JSON: readable, and understood by every other program.
#[derive(Clone, Copy, Debug, Default)]
pub struct Json;

/// [Postcard](https://postcard.jamesmunns.com): compact, with a documented format. The choice for state of your own.
#[derive(Clone, Copy, Debug, Default)]
pub struct Postcard;

/// bincode 1.3: fixed-width, fast. The crate is finished and no longer maintained (RUSTSEC-2025-0141, informational);
/// its bytes stay readable by bincode 2's `legacy()` configuration and by wincode.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bincode;

fn not_null(bytes: Option<&[u8]>) -> Result<&[u8], SerdeError> {
    bytes.ok_or_else(|| SerdeError::new("null where the type has none (use Option for values that may be null)"))
}

impl<T: Serialize + DeserializeOwned> Serde<T> for Json {
    fn serialize(&self, value: &T, out: &mut Vec<u8>) -> Result<Encoded, SerdeError> {
        serde_json::to_writer(out, value).map_err(SerdeError::new)?;
        Ok(Encoded::Bytes)
    }

    fn deserialize(&self, bytes: Option<&[u8]>) -> Result<T, SerdeError> {
        serde_json::from_slice(not_null(bytes)?).map_err(SerdeError::new)
    }
}

impl<T: Serialize + DeserializeOwned> Serde<T> for Postcard {
    fn serialize(&self, value: &T, out: &mut Vec<u8>) -> Result<Encoded, SerdeError> {
        postcard::to_io(value, out).map_err(SerdeError::new)?;
        Ok(Encoded::Bytes)
    }

    fn deserialize(&self, bytes: Option<&[u8]>) -> Result<T, SerdeError> {
        postcard::from_bytes(not_null(bytes)?).map_err(SerdeError::new)
    }
}

impl<T: Serialize + DeserializeOwned> Serde<T> for Bincode {
    fn serialize(&self, value: &T, out: &mut Vec<u8>) -> Result<Encoded, SerdeError> {
        bincode::serialize_into(out, value).map_err(SerdeError::new)?;
        Ok(Encoded::Bytes)
    }

    fn deserialize(&self, bytes: Option<&[u8]>) -> Result<T, SerdeError> {
        // Lengths come from outside: without a limit a few bytes could ask for gigabytes.
        use bincode::Options;
        let bytes = not_null(bytes)?;
        bincode::DefaultOptions::new()
            .with_fixint_encoding()
            .with_limit(bytes.len() as u64)
            .deserialize(bytes)
            .map_err(SerdeError::new)
    }
}
