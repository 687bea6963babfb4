//! Groups: the rows of one key.

/// Stands for "not in the list".
pub(crate) const NONE: u32 = u32::MAX;

/// One deserialised row, present or known to be absent.
#[derive(Debug)]
pub(crate) struct Row<V> {
    pub(crate) value: Option<V>,
    /// Place in the list of uncommitted writes, or [`NONE`].
    pub(crate) dirty: u32,
    /// What the value occupies beside itself, in units of 16 bytes: the length of its bytes when last seen.
    heap_units: u16,
    /// Committed, but the backend has an older state of the row.
    pub(crate) is_unflushed: bool,
}

impl<V> Default for Row<V> {
    fn default() -> Self {
        Row { value: None, dirty: NONE, heap_units: 0, is_unflushed: false }
    }
}

impl<V> Row<V> {
    const UNIT: usize = 16;

    /// A row as the backend has it, `length` bytes long there.
    pub(crate) fn clean(value: Option<V>, length: usize) -> Self {
        let mut row = Row { value, ..Row::default() };
        row.set_length(length);
        row
    }

    /// True if the backend does not have this state of the row.
    #[inline]
    pub(crate) fn is_pending(&self) -> bool {
        self.is_unflushed || self.dirty != NONE
    }

    /// Notes how long the serialised value is. Returns by how much the estimate of [`Self::heap_bytes`] changed.
    #[inline]
    pub(crate) fn set_length(&mut self, length: usize) -> isize {
        if !std::mem::needs_drop::<V>() {
            return 0;
        }
        let before = self.heap_bytes();
        self.heap_units = u16::try_from(length.div_ceil(Self::UNIT)).unwrap_or(u16::MAX);
        self.heap_bytes().cast_signed() - before.cast_signed()
    }

    /// Estimate of what the value occupies beside itself.
    #[inline]
    pub(crate) fn heap_bytes(&self) -> usize {
        // One unit for what the allocator adds.
        if self.heap_units == 0 { 0 } else { (usize::from(self.heap_units) + 1) * Self::UNIT }
    }
}

/// All rows of one key. `Sub` says which.
pub(crate) trait Group: Default {
    type Sub: Copy + Ord;
    type Value;

    /// The row, if it is known.
    fn row(&self, sub: Self::Sub) -> Option<&Row<Self::Value>>;

    /// The row, if it is known.
    fn row_mut(&mut self, sub: Self::Sub) -> Option<&mut Row<Self::Value>>;

    /// The row, made absent and clean if it is not known.
    fn row_or_default(&mut self, sub: Self::Sub) -> &mut Row<Self::Value>;

    /// True if the backend does not have this state of some row.
    fn is_pending(&self) -> bool;

    /// The row is clean now: a deleted one may be forgotten.
    fn forget_if_absent(&mut self, sub: Self::Sub);

    /// What the group occupies beside itself.
    fn heap_bytes(&self) -> usize;

    /// The row that is most likely wanted next.
    fn likely(&self) -> Option<&Row<Self::Value>>;

    /// True if that row is there and has a value.
    #[inline]
    fn is_likely_present(&self) -> bool {
        self.likely().is_some_and(|row| row.value.is_some())
    }

    /// The part of [`Self::heap_bytes`] that grows with the number of rows.
    fn table_bytes(&self) -> usize {
        0
    }
}

/// The group of a key-value store: one row.
#[derive(Debug)]
pub(crate) struct Single<V>(pub(crate) Row<V>);

impl<V> Default for Single<V> {
    fn default() -> Self {
        Single(Row::default())
    }
}

impl<V> Group for Single<V> {
    type Sub = ();
    type Value = V;

    #[inline]
    fn row(&self, (): ()) -> Option<&Row<V>> {
        Some(&self.0)
    }

    #[inline]
    fn row_mut(&mut self, (): ()) -> Option<&mut Row<V>> {
        Some(&mut self.0)
    }

    #[inline]
    fn row_or_default(&mut self, (): ()) -> &mut Row<V> {
        &mut self.0
    }

    #[inline]
    fn is_pending(&self) -> bool {
        self.0.is_pending()
    }

    fn forget_if_absent(&mut self, (): ()) {}

    #[inline]
    fn heap_bytes(&self) -> usize {
        self.0.heap_bytes()
    }

    #[inline]
    fn likely(&self) -> Option<&Row<V>> {
        Some(&self.0)
    }
}

/// The group of a windowed or versioned store: rows ordered by `S`. Few, and mostly touched at the end.
#[derive(Debug)]
pub(crate) struct Many<S, V> {
    pub(crate) rows: Vec<(S, Row<V>)>,
}

impl<S, V> Default for Many<S, V> {
    fn default() -> Self {
        Many { rows: Vec::new() }
    }
}

impl<S: Copy + Ord, V> Many<S, V> {
    /// Where `sub` is, or where it would be.
    #[inline]
    pub(crate) fn position(&self, sub: S) -> Result<usize, usize> {
        match self.rows.last() {
            None => Err(0),
            Some((last, _)) if *last == sub => Ok(self.rows.len() - 1),
            Some((last, _)) if *last < sub => Err(self.rows.len()),
            Some(_) => self.rows.binary_search_by(|(other, _)| other.cmp(&sub)),
        }
    }

    /// The index of the first row that is not before `sub`.
    #[inline]
    pub(crate) fn lower_bound(&self, sub: S) -> usize {
        self.rows.partition_point(|(other, _)| *other < sub)
    }
}

impl<S: Copy + Ord, V> Group for Many<S, V> {
    type Sub = S;
    type Value = V;

    #[inline]
    fn row(&self, sub: S) -> Option<&Row<V>> {
        self.position(sub).ok().map(|at| &self.rows[at].1)
    }

    #[inline]
    fn row_mut(&mut self, sub: S) -> Option<&mut Row<V>> {
        self.position(sub).ok().map(|at| &mut self.rows[at].1)
    }

    #[inline]
    fn row_or_default(&mut self, sub: S) -> &mut Row<V> {
        let at = match self.position(sub) {
            Ok(at) => at,
            Err(at) => {
                self.rows.insert(at, (sub, Row::default()));
                at
            }
        };
        &mut self.rows[at].1
    }

    fn is_pending(&self) -> bool {
        self.rows.iter().any(|(_, row)| row.is_pending())
    }

    fn forget_if_absent(&mut self, sub: S) {
        if let Ok(at) = self.position(sub)
            && self.rows[at].1.value.is_none()
            && !self.rows[at].1.is_pending()
        {
            self.rows.remove(at);
        }
    }

    fn heap_bytes(&self) -> usize {
        let rows: usize = self.rows.iter().map(|(_, row)| row.heap_bytes()).sum();
        rows + self.table_bytes()
    }

    #[inline]
    fn likely(&self) -> Option<&Row<V>> {
        self.rows.last().map(|(_, row)| row)
    }

    #[inline]
    fn table_bytes(&self) -> usize {
        self.rows.capacity() * size_of::<(S, Row<V>)>()
    }
}
