//! `Printed`: where `print` writes.

use std::{
    fs::File,
    io::{self, Write},
    path::Path,
    sync::{Arc, Mutex},
};

pub(crate) type Format<K, V> = Arc<dyn Fn(&K, &V) -> String + Send + Sync>;

/// Where and how records are printed.
pub struct Printed<K, V> {
    pub(crate) out: Arc<Mutex<dyn Write + Send>>,
    pub(crate) label: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) format: Option<Format<K, V>>,
}

impl<K, V> Printed<K, V> {
    /// Prints to standard output.
    #[must_use]
    pub fn to_sys_out() -> Self {
        Printed::to_writer(io::stdout())
    }

    /// Prints to a file, which is emptied first.
    ///
    /// # Errors
    ///
    /// If the file cannot be created.
    pub fn to_file(path: impl AsRef<Path>) -> io::Result<Self> {
        Ok(Printed::to_writer(File::create(path)?))
    }

    /// Prints to anything that can be written to.
    pub fn to_writer(out: impl Write + Send + 'static) -> Self {
        Printed { out: Arc::new(Mutex::new(out)), label: None, name: None, format: None }
    }

    /// Begins each line with `[label]: `. Default: the name of the operator above.
    #[must_use]
    pub fn with_label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Names the node.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Writes records in a form of your own. Default: `key, value` in `Debug` form.
    #[must_use]
    pub fn with_key_value_mapper(mut self, format: impl Fn(&K, &V) -> String + Send + Sync + 'static) -> Self {
        self.format = Some(Arc::new(format));
        self
    }
}
