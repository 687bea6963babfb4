//! A `Sink` of records.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures::Sink;

use super::{Delivery, ProducerRecord, RecordProducer, producer::Pending};
use crate::Error;

/// Sends records with a [`RecordProducer`]. It is ready while the producer has memory; flushed, everything is delivered.
/// The first failed delivery is the error of a later call.
pub struct RecordSink {
    producer: Arc<RecordProducer>,
    pending: Pending,
}

impl RecordSink {
    pub(super) fn new(producer: Arc<RecordProducer>) -> Self {
        RecordSink { producer, pending: Pending::new() }
    }

    /// Takes deliveries from the front as long as they are there; pending if some are not.
    fn poll_deliveries(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Arc<Error>>> {
        while let Some(delivery) = self.pending.front_mut() {
            match Pin::new(delivery).poll(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(delivered) => {
                    self.pending.pop_front();
                    delivered?;
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Sink<ProducerRecord> for RecordSink {
    type Error = Arc<Error>;

    fn poll_ready(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), Arc<Error>>> {
        if let Poll::Ready(Err(error)) = self.poll_deliveries(context) {
            return Poll::Ready(Err(error));
        }
        if self.producer.has_space(context.waker()) { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn start_send(mut self: Pin<&mut Self>, record: ProducerRecord) -> Result<(), Arc<Error>> {
        let (delivery, completer) = Delivery::pair();
        self.producer.enqueue(record, completer, false).map_err(Arc::new)?;
        self.pending.push_back(delivery);
        Ok(())
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), Arc<Error>>> {
        self.producer.hurry();
        self.poll_deliveries(context)
    }

    fn poll_close(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), Arc<Error>>> {
        self.poll_flush(context)
    }
}

impl fmt::Debug for RecordSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecordSink({} deliveries to come)", self.pending.len())
    }
}
