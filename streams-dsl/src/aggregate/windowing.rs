//! `windowed_by`: groups cut into windows.

use streams_core::serde::Data;

use super::{
    CogroupedKStream, KGroupedStream, SessionWindowedCogroupedKStream, SessionWindowedKStream,
    TimeWindowedCogroupedKStream, TimeWindowedKStream, time_windowed::TimeWindowing,
};
use crate::window::{SessionWindows, SlidingWindows, TimeWindows, UnlimitedWindows};

/// Windows that a grouped stream can be cut into: [`TimeWindows`], [`UnlimitedWindows`], [`SlidingWindows`] and
/// [`SessionWindows`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot cut groups into windows",
    note = "`TimeWindows`, `SlidingWindows`, `SessionWindows` and `UnlimitedWindows` can; `JoinWindows` bound joins of streams"
)]
pub trait Windows: sealed::Sealed {
    /// A grouped stream in these windows.
    type Windowed<K: Data, V: Data>;
    /// Cogrouped streams in these windows.
    type WindowedCogroup<K: Data, A: Data>;

    #[doc(hidden)]
    fn cut<K: Data, V: Data>(self, grouped: KGroupedStream<K, V>) -> Self::Windowed<K, V>;

    #[doc(hidden)]
    fn cut_cogroup<K: Data, A: Data>(self, cogrouped: CogroupedKStream<K, A>) -> Self::WindowedCogroup<K, A>;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! time_windows {
    ($($windows:ident => $kind:ident),*) => {$(
        impl sealed::Sealed for $windows {}

        impl Windows for $windows {
            type Windowed<K: Data, V: Data> = TimeWindowedKStream<K, V>;
            type WindowedCogroup<K: Data, A: Data> = TimeWindowedCogroupedKStream<K, A>;

            fn cut<K: Data, V: Data>(self, grouped: KGroupedStream<K, V>) -> TimeWindowedKStream<K, V> {
                TimeWindowedKStream::new(grouped, TimeWindowing::$kind(self))
            }

            fn cut_cogroup<K: Data, A: Data>(
                self,
                cogrouped: CogroupedKStream<K, A>,
            ) -> TimeWindowedCogroupedKStream<K, A> {
                TimeWindowedCogroupedKStream::new(cogrouped, TimeWindowing::$kind(self))
            }
        }
    )*};
}

time_windows! { TimeWindows => Fixed, UnlimitedWindows => Unlimited, SlidingWindows => Sliding }

impl sealed::Sealed for SessionWindows {}

impl Windows for SessionWindows {
    type Windowed<K: Data, V: Data> = SessionWindowedKStream<K, V>;
    type WindowedCogroup<K: Data, A: Data> = SessionWindowedCogroupedKStream<K, A>;

    fn cut<K: Data, V: Data>(self, grouped: KGroupedStream<K, V>) -> SessionWindowedKStream<K, V> {
        SessionWindowedKStream::new(grouped, self)
    }

    fn cut_cogroup<K: Data, A: Data>(self, cogrouped: CogroupedKStream<K, A>) -> SessionWindowedCogroupedKStream<K, A> {
        SessionWindowedCogroupedKStream::new(cogrouped, self)
    }
}

impl<K: Data, V: Data> KGroupedStream<K, V> {
    /// Cuts the groups into windows: [`TimeWindows`] (tumbling, hopping), [`UnlimitedWindows`] and [`SlidingWindows`]
    /// give a [`TimeWindowedKStream`], [`SessionWindows`] a [`SessionWindowedKStream`].
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use streams_dsl::prelude::*;
    /// let builder = StreamsBuilder::new();
    /// let clicks = builder.stream::<String, String>("clicks").group_by_key();
    /// let visits = clicks
    ///     .windowed_by(SessionWindows::of_inactivity_gap_with_no_grace(Duration::from_secs(1800)))
    ///     .count();
    /// visits.to_stream().to("visits");
    /// ```
    pub fn windowed_by<W: Windows>(&self, windows: W) -> W::Windowed<K, V> {
        windows.cut(self.clone())
    }
}
