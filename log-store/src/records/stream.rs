//! A `Stream` of records.

use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures::Stream;
use parking_lot::{Condvar, Mutex};

use super::{ConsumerRecord, RecordConsumer};
use crate::{Error, Result, client};

/// Longest wait of one poll, so that a stream that is dropped ends soon even where no waker reaches the consumer.
const POLL_MAX: Duration = Duration::from_millis(100);

/// The records of a [`RecordConsumer`], one by one, on any executor. It never ends by itself.
///
/// A thread of its own polls, and only when all records of the last poll were taken: so nothing piles up, and what is
/// committed automatically was taken from the stream. A stream that nobody polls for `max_poll_interval` loses its
/// partitions, as every consumer does.
pub struct RecordStream {
    shared: Arc<Shared>,
    waker: Arc<dyn client::Waker>,
    taken: VecDeque<ConsumerRecord>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    is_wanted: bool,
    polled: Option<Result<Vec<ConsumerRecord>>>,
    waker: Option<Waker>,
    /// The stream is gone; these were not taken from it.
    dropped: Option<VecDeque<ConsumerRecord>>,
}

impl RecordStream {
    pub(super) fn new(consumer: RecordConsumer) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let waker = consumer.waker();
        let ours = Arc::clone(&shared);
        let run = move || serve(&ours, consumer);
        let spawned = std::thread::Builder::new().name("record-stream".to_owned()).spawn(run);
        spawned.map_err(|error| Error::io("start the thread of", "a stream of records", error))?;
        Ok(RecordStream { shared, waker, taken: VecDeque::new() })
    }
}

/// Polls when it is asked to, until the stream is dropped.
fn serve(shared: &Shared, mut consumer: RecordConsumer) {
    loop {
        {
            let mut state = shared.state.lock();
            while !state.is_wanted && state.dropped.is_none() {
                shared.changed.wait(&mut state);
            }
            if let Some(mut untaken) = state.dropped.take() {
                if let Some(Ok(polled)) = state.polled.take() {
                    untaken.extend(polled);
                }
                // It commits, if it does so automatically, when it goes: what was taken, and no more.
                consumer.give_back(&untaken);
                return;
            }
        }
        let polled = consumer.poll(POLL_MAX);
        if matches!(&polled, Ok(records) if records.is_empty()) {
            continue;
        }
        let mut state = shared.state.lock();
        (state.polled, state.is_wanted) = (Some(polled), false);
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }
}

impl Stream for RecordStream {
    type Item = Result<ConsumerRecord>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(record) = self.taken.pop_front() {
            return Poll::Ready(Some(Ok(record)));
        }
        let polled = {
            let mut state = self.shared.state.lock();
            let polled = state.polled.take();
            if polled.is_none() {
                (state.is_wanted, state.waker) = (true, Some(context.waker().clone()));
                self.shared.changed.notify_one();
            }
            polled
        };
        match polled {
            None => Poll::Pending,
            Some(Err(error)) => Poll::Ready(Some(Err(error))),
            Some(Ok(records)) => {
                self.taken = records.into();
                Poll::Ready(self.taken.pop_front().map(Ok))
            }
        }
    }
}

impl Drop for RecordStream {
    fn drop(&mut self) {
        self.shared.state.lock().dropped = Some(std::mem::take(&mut self.taken));
        self.shared.changed.notify_one();
        self.waker.wake();
    }
}

impl fmt::Debug for RecordStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecordStream({} records at hand)", self.taken.len())
    }
}
