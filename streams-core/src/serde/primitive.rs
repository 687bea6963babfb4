//! Serdes of standard types, byte-compatible with Kafka's (`org.apache.kafka.common.serialization`).

use bytes::Bytes;

use super::{Data, Encoded, Serde, SerdeError};

fn null_error(type_name: &str) -> SerdeError {
    SerdeError(format!("null where a {type_name} is expected (use Option<{type_name}> for values that may be null)"))
}

/// UTF-8 text (`StringSerializer`). Bytes that are no UTF-8 are refused, where Java would replace them.
#[derive(Clone, Copy, Debug, Default)]
pub struct StringSerde;

impl Serde<String> for StringSerde {
    #[inline]
    fn serialize(&self, value: &String, out: &mut Vec<u8>) -> Result<Encoded, SerdeError> {
        out.extend_from_slice(value.as_bytes());
        Ok(Encoded::Bytes)
    }

    #[inline]
    fn deserialize(&self, bytes: Option<&[u8]>) -> Result<String, SerdeError> {
        let bytes = bytes.ok_or_else(|| null_error("String"))?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(error) => Err(SerdeError::new(error)),
        }
    }
}

impl Data for String {
    type Serde = StringSerde;
}

/// Bytes as they are (`ByteArraySerializer`).
#[derive(Clone, Copy, Debug, Default)]
pub struct BytesSerde;

impl Serde<Vec<u8>> for BytesSerde {
    fn serialize(&self, value: &Vec<u8>, out: &mut Vec<u8>) -> Result<Encoded, SerdeError> {
        out.extend_from_slice(value);
        Ok(Encoded::Bytes)
    }

    fn deserialize(&self, bytes: Option<&[u8]>) -> Result<Vec<u8>, SerdeError> {
        bytes.map(<[u8]>::to_vec).ok_or_else(|| null_error("Vec<u8>"))
    }
}

impl Serde<Bytes> for BytesSerde {
    fn serialize(&self, value: &Bytes, out: &mut Vec<u8>) -> Result<Encoded, SerdeError> {
        out.extend_from_slice(value);
        Ok(Encoded::Bytes)
    }

    fn deserialize(&self, bytes: Option<&[u8]>) -> Result<Bytes, SerdeError> {
        bytes.map(Bytes::copy_from_slice).ok_or_else(|| null_error("Bytes"))
    }
}

impl Data for Vec<u8> {
    type Serde = BytesSerde;
}

impl Data for Bytes {
    type Serde = BytesSerde;
}

/// Numbers and booleans: big-endian, fixed width (`LongSerializer`, `IntegerSerializer`, `DoubleSerializer`, …).
#[derive(Clone, Copy, Debug, Default)]
pub struct NumberSerde;

macro_rules! numbers {
    ($($number:ident)*) => {$(
        impl Serde<$number> for NumberSerde {
            #[inline]
            fn serialize(&self, value: &$number, out: &mut Vec<u8>) -> Result<Encoded, SerdeError> {
                out.extend_from_slice(&value.to_be_bytes());
                Ok(Encoded::Bytes)
            }

            #[inline]
            fn deserialize(&self, bytes: Option<&[u8]>) -> Result<$number, SerdeError> {
                let bytes = bytes.ok_or_else(|| null_error(stringify!($number)))?;
                bytes.try_into().map($number::from_be_bytes).map_err(|_| {
                    SerdeError(format!(
                        "{} bytes where a {} has {}", bytes.len(), stringify!($number), size_of::<$number>()
                    ))
                })
            }
        }

        impl Data for $number {
            type Serde = NumberSerde;
        }
    )*};
}

numbers! { i16 i32 i64 u8 u16 u32 u64 f32 f64 }

impl Serde<bool> for NumberSerde {
    fn serialize(&self, value: &bool, out: &mut Vec<u8>) -> Result<Encoded, SerdeError> {
        out.push(u8::from(*value));
        Ok(Encoded::Bytes)
    }

    fn deserialize(&self, bytes: Option<&[u8]>) -> Result<bool, SerdeError> {
        match bytes.ok_or_else(|| null_error("bool"))? {
            [0] => Ok(false),
            [1] => Ok(true),
            other => Err(SerdeError(format!("{other:?} is no boolean"))),
        }
    }
}

impl Data for bool {
    type Serde = NumberSerde;
}

/// A UUID as text, as Kafka's `UUIDSerializer` writes it; the value is the 128-bit number.
#[derive(Clone, Copy, Debug, Default)]
pub struct UuidSerde;

impl Serde<u128> for UuidSerde {
    fn serialize(&self, value: &u128, out: &mut Vec<u8>) -> Result<Encoded, SerdeError> {
        for (index, digit) in format!("{value:032x}").bytes().enumerate() {
            if matches!(index, 8 | 12 | 16 | 20) {
                out.push(b'-');
            }
            out.push(digit);
        }
        Ok(Encoded::Bytes)
    }

    fn deserialize(&self, bytes: Option<&[u8]>) -> Result<u128, SerdeError> {
        let bytes = bytes.ok_or_else(|| null_error("UUID"))?;
        let text = std::str::from_utf8(bytes).map_err(SerdeError::new)?;
        let digits: String = text.chars().filter(|c| *c != '-').collect();
        match digits.len() {
            32 => u128::from_str_radix(&digits, 16).map_err(SerdeError::new),
            _ => Err(SerdeError(format!("{text:?} is no UUID"))),
        }
    }
}

/// `Option<T>`: null is `None`, anything else is `T`'s.
#[derive(Clone, Copy, Debug, Default)]
pub struct OptionSerde<S>(pub S);

impl<T, S: Serde<T>> Serde<Option<T>> for OptionSerde<S> {
    #[inline]
    fn serialize(&self, value: &Option<T>, out: &mut Vec<u8>) -> Result<Encoded, SerdeError> {
        match value {
            Some(value) => self.0.serialize(value, out),
            None => Ok(Encoded::Null),
        }
    }

    fn partition_bytes<'a>(&self, serialized: &'a [u8]) -> &'a [u8] {
        self.0.partition_bytes(serialized)
    }

    #[inline]
    fn deserialize(&self, bytes: Option<&[u8]>) -> Result<Option<T>, SerdeError> {
        match bytes {
            Some(bytes) => self.0.deserialize(Some(bytes)).map(Some),
            None => Ok(None),
        }
    }
}

impl<T: Data> Data for Option<T> {
    type Serde = OptionSerde<T::Serde>;

    #[inline]
    fn is_null(&self) -> bool {
        self.as_ref().is_none_or(Data::is_null)
    }
}

/// `()`: written as null, and whatever is read is ignored (`VoidSerializer`, but lenient). The key type of topics whose
/// keys do not matter.
#[derive(Clone, Copy, Debug, Default)]
pub struct UnitSerde;

impl Serde<()> for UnitSerde {
    #[inline]
    fn serialize(&self, (): &(), _out: &mut Vec<u8>) -> Result<Encoded, SerdeError> {
        Ok(Encoded::Null)
    }

    #[inline]
    fn deserialize(&self, _bytes: Option<&[u8]>) -> Result<(), SerdeError> {
        Ok(())
    }
}

impl Data for () {
    type Serde = UnitSerde;

    #[inline]
    fn is_null(&self) -> bool {
        true
    }
}
