//! Joins.

use streams_core::Error;

use super::{Op, Program};

pub(super) fn apply(_program: &mut Program, op: Op<'_>) -> Result<(), Error> {
    panic!("unknown operation {:?}", op.need("op"))
}
