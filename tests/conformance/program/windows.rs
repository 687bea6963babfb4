//! Windows, as programs give them.

use streams_core::Error;
use streams_dsl::prelude::*;

use super::Op;

/// Windows of any kind.
pub(super) enum AnyWindows {
    Time(TimeWindows),
    Sliding(SlidingWindows),
    Session(SessionWindows),
    Unlimited(UnlimitedWindows),
}

pub(super) fn windows(op: Op<'_>) -> Result<AnyWindows, Error> {
    let grace = match op.has("grace_ms") {
        true => Some(op.duration("grace_ms")?),
        false => None,
    };
    let time = |size| match grace {
        Some(grace) => TimeWindows::of_size_and_grace(size, grace),
        None => TimeWindows::of_size_with_no_grace(size),
    };
    Ok(match op.need("kind") {
        "tumbling" => AnyWindows::Time(time(op.duration("size_ms")?)),
        "hopping" => AnyWindows::Time(time(op.duration("size_ms")?).advance_by(op.duration("advance_ms")?)),
        "sliding" => {
            let difference = op.duration("diff_ms")?;
            AnyWindows::Sliding(match grace {
                Some(grace) => SlidingWindows::of_time_difference_and_grace(difference, grace),
                None => SlidingWindows::of_time_difference_with_no_grace(difference),
            })
        }
        "session" => {
            let gap = op.duration("gap_ms")?;
            AnyWindows::Session(match grace {
                Some(grace) => SessionWindows::of_inactivity_gap_and_grace(gap, grace),
                None => SessionWindows::of_inactivity_gap_with_no_grace(gap),
            })
        }
        "unlimited" => AnyWindows::Unlimited(UnlimitedWindows::of().start_on(op.number("start_ms"))),
        other => panic!("unknown windows {other:?}"),
    })
}

pub(super) fn emit_strategy(op: Op<'_>) -> Option<EmitStrategy> {
    op.text("emit").map(|emit| match emit {
        "on_close" => EmitStrategy::OnWindowClose,
        "on_update" => EmitStrategy::OnWindowUpdate,
        other => panic!("unknown emit strategy {other:?}"),
    })
}
