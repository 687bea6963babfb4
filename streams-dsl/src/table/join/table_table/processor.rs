//! Joins an update of one table with the value of the other, and puts the results of both sides together.

use streams_core::{
    Change, Record,
    processor::{ProcessResult, Processor, ProcessorContext},
    serde::Data,
};

use super::Kind;
use crate::table::{materialize::Kept, not_null, value_getter::ValueGetter};

/// What one side of a join does with an update.
#[derive(Clone, Copy)]
pub(super) struct Rules {
    /// Without a value in the other table there is no result.
    needs_other: bool,
    /// Without a value in this table there is no result.
    needs_this: bool,
    sends_old_values: bool,
    /// Below a versioned table, only the newest value of a key counts.
    versioned: bool,
}

impl Rules {
    /// Of the left table's updates.
    pub(super) fn of_this(kind: Kind, sends_old_values: bool, versioned: bool) -> Self {
        let (needs_other, needs_this) = match kind {
            Kind::Inner => (true, true),
            Kind::Left => (false, true),
            Kind::Outer => (false, false),
        };
        Rules { needs_other, needs_this, sends_old_values, versioned }
    }

    /// Of the right table's updates.
    pub(super) fn of_other(kind: Kind, sends_old_values: bool, versioned: bool) -> Self {
        let (needs_other, needs_this) = match kind {
            Kind::Inner => (true, true),
            Kind::Left => (true, false),
            Kind::Outer => (false, false),
        };
        Rules { needs_other, needs_this, sends_old_values, versioned }
    }
}

/// One side of a join: `VT` are its values, `VO` those of the other.
pub(super) struct JoinTable<K, VO, J> {
    getter: Box<dyn ValueGetter<K, VO>>,
    joiner: J,
    rules: Rules,
}

impl<K, VO, J> JoinTable<K, VO, J> {
    pub(super) fn new(getter: Box<dyn ValueGetter<K, VO>>, joiner: J, rules: Rules) -> Self {
        JoinTable { getter, joiner, rules }
    }

    fn result<VT, W: Data>(&self, key: &K, this: Option<&VT>, other: Option<&VO>) -> Option<W>
    where
        J: Fn(&K, Option<&VT>, Option<&VO>) -> W,
    {
        let has_result = this.is_some() || (!self.rules.needs_this && other.is_some());
        if has_result { not_null((self.joiner)(key, this, other)) } else { None }
    }
}

impl<K, VT, VO, W, J> Processor<K, Change<VT>, K, Change<W>> for JoinTable<K, VO, J>
where
    K: Data,
    VT: Data,
    VO: Data,
    W: Data,
    J: Fn(&K, Option<&VT>, Option<&VO>) -> W + Send + Sync,
{
    fn init(&mut self, ctx: &mut ProcessorContext<'_, K, Change<W>>) -> ProcessResult {
        self.getter.init(&mut ctx.lookup())
    }

    fn process(
        &mut self,
        record: Record<K, Change<VT>>,
        ctx: &mut ProcessorContext<'_, K, Change<W>>,
    ) -> ProcessResult {
        let Record { key, value: change, timestamp, headers } = record;
        if key.is_null() {
            ctx.drop_record("null key");
            return Ok(());
        }
        if self.rules.versioned && !change.is_latest {
            ctx.drop_record("out-of-order update of a versioned table");
            return Ok(());
        }
        let row = self.getter.get(&mut ctx.lookup(), &key)?;
        let other = row.as_ref().map(|row| &row.value);
        if other.is_none() && (self.rules.needs_other || (change.new.is_none() && change.old.is_none())) {
            return Ok(());
        }
        let timestamp = row.as_ref().map_or(timestamp, |row| timestamp.max(row.timestamp));
        let new = self.result(&key, change.new.as_ref(), other);
        let old = if self.rules.sends_old_values { self.result(&key, change.old.as_ref(), other) } else { None };
        let value = Change { new, old, is_latest: change.is_latest };
        ctx.forward(Record { key, value, timestamp, headers })
    }
}

/// Puts the results of both sides into one table.
pub(super) struct Merge<K, W> {
    kept: Option<Kept<K, W>>,
    sends_old_values: bool,
}

impl<K: Data, W: Data> Merge<K, W> {
    pub(super) fn new(store: Option<&str>, sends_old_values: bool) -> Self {
        Merge { kept: store.map(|name| Kept::new(name, sends_old_values)), sends_old_values }
    }
}

impl<K: Data, W: Data> Processor<K, Change<W>, K, Change<W>> for Merge<K, W> {
    fn init(&mut self, ctx: &mut ProcessorContext<'_, K, Change<W>>) -> ProcessResult {
        self.kept.as_mut().map_or(Ok(()), |kept| kept.init(ctx))
    }

    fn process(
        &mut self,
        mut record: Record<K, Change<W>>,
        ctx: &mut ProcessorContext<'_, K, Change<W>>,
    ) -> ProcessResult {
        if let Some(kept) = &self.kept {
            return kept.put(ctx, record);
        }
        if !self.sends_old_values {
            record.value.old = None;
        }
        ctx.forward(record)
    }

    fn flush(&mut self, ctx: &mut ProcessorContext<'_, K, Change<W>>) -> ProcessResult {
        self.kept.as_ref().map_or(Ok(()), |kept| kept.flush(ctx))
    }
}
