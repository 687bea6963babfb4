//! `print`: records as lines of text.

use std::{
    fmt::Debug,
    io::Write,
    sync::{Arc, Mutex, PoisonError},
};

use streams_core::{
    Record,
    processor::{ProcessResult, Processor, ProcessorContext},
};

use super::{Field, KStream};
use crate::{
    graph::naming::Given,
    options::{Format, Printed},
};

const PRINTER: &str = "KSTREAM-PRINTER-";

impl<K: Field + Debug, V: Field + Debug> KStream<K, V> {
    /// Ends the stream: prints each record as a line `[label]: key, value`. For development and small tools.
    ///
    /// ```
    /// # use streams_dsl::prelude::*;
    /// let builder = StreamsBuilder::new();
    /// builder.stream::<String, i64>("counts").print(Printed::to_sys_out().with_label("counts"));
    /// ```
    pub fn print(&self, printed: Printed<K, V>) {
        let label: Arc<str> = printed.label.unwrap_or_else(|| self.place.name.to_string()).into();
        let (out, format) = (printed.out, printed.format);
        self.add::<(), (), _>(
            &Given(printed.name),
            PRINTER,
            |node| node,
            move || Print { out: Arc::clone(&out), label: Arc::clone(&label), format: format.clone() },
        );
    }
}

struct Print<K, V> {
    out: Arc<Mutex<dyn Write + Send>>,
    label: Arc<str>,
    format: Option<Format<K, V>>,
}

impl<K: Field + Debug, V: Field + Debug> Processor<K, V, (), ()> for Print<K, V> {
    fn process(&mut self, record: Record<K, V>, _ctx: &mut ProcessorContext<'_, (), ()>) -> ProcessResult {
        let text = match &self.format {
            Some(format) => format(&record.key, &record.value),
            None => format!("{:?}, {:?}", record.key, record.value),
        };
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(out, "[{}]: {text}", self.label)?;
        Ok(())
    }

    fn close(&mut self) {
        // Nobody is left to tell when the last lines cannot be written.
        let _ = self.out.lock().unwrap_or_else(PoisonError::into_inner).flush();
    }
}
