//! The type of the records on an edge: compared by id, shown by name.

use std::{any::TypeId, fmt};

/// Type of key and value of a record.
#[derive(Clone, Copy)]
pub(crate) struct RecordType {
    id: TypeId,
    key: &'static str,
    value: &'static str,
}

impl RecordType {
    /// The type of `Record<K, V>`.
    pub(crate) fn of<K: 'static, V: 'static>() -> Self {
        RecordType { id: TypeId::of::<(K, V)>(), key: std::any::type_name::<K>(), value: std::any::type_name::<V>() }
    }

    /// Names with their modules, for two types that look alike without.
    pub(crate) fn full_name(&self) -> String {
        format!("({}, {})", self.key, self.value)
    }
}

impl PartialEq for RecordType {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl fmt::Display for RecordType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({}, {})", short_name(self.key), short_name(self.value))
    }
}

impl fmt::Debug for RecordType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A type's name without the modules it is in: `Option<String>`, not `core::option::Option<alloc::string::String>`.
pub(crate) fn short_name(full: &str) -> String {
    let mut short = String::with_capacity(full.len());
    let mut word = 0;
    for part in full.split_inclusive(|c: char| !c.is_alphanumeric() && c != '_') {
        short.push_str(part);
        if short.ends_with("::") {
            short.truncate(word);
        } else if !part.ends_with(':') {
            word = short.len();
        }
    }
    short
}

#[cfg(test)]
mod tests {
    use super::{RecordType, short_name};

    #[test]
    fn modules_are_left_out_of_names() {
        for (full, short) in [
            ("i64", "i64"),
            ("()", "()"),
            ("alloc::string::String", "String"),
            ("core::option::Option<alloc::string::String>", "Option<String>"),
            ("(a::B, c_1::D<e::F, [u8; 4]>)", "(B, D<F, [u8; 4]>)"),
            ("&dyn a::b::C<x::Y>", "&dyn C<Y>"),
        ] {
            assert_eq!(short_name(full), short);
        }
    }

    #[test]
    fn types_are_equal_by_identity() {
        assert_eq!(RecordType::of::<String, i64>(), RecordType::of::<String, i64>());
        assert!(RecordType::of::<String, i64>() != RecordType::of::<String, u64>());
        assert_eq!(RecordType::of::<String, Option<i64>>().to_string(), "(String, Option<i64>)");
    }
}
