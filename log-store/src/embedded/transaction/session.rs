//! What one producer may write now, and under which numbers.

use std::sync::Arc;

use super::Identity;
use crate::{
    Error, Result, TopicPartition,
    batch::MarkerKind,
    client::{CommittedOffset, GroupMetadata, ProducerConfig},
    embedded::log::Inner,
};

/// Where a producer is with its transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It has a transactional id, and nothing may be sent.
    Outside,
    /// It has one, and a transaction is open.
    Inside,
    /// It has one, and a send of the open transaction failed: the transaction can only be aborted.
    Failed,
    /// It has none.
    Plain,
}

/// The identity of a producer, and its transaction if one is open.
pub(crate) struct Session {
    log: Arc<Inner>,
    transactional_id: Option<Arc<str>>,
    timeout_ms: u64,
    is_idempotent: bool,
    identity: Option<Identity>,
    phase: Phase,
}

impl Session {
    pub(crate) fn new(log: Arc<Inner>, config: &ProducerConfig) -> Self {
        let transactional_id: Option<Arc<str>> = config.transactional_id.as_deref().map(Arc::from);
        Session {
            log,
            phase: if transactional_id.is_some() { Phase::Outside } else { Phase::Plain },
            is_idempotent: config.idempotence || transactional_id.is_some(),
            transactional_id,
            timeout_ms: u64::try_from(config.transaction_timeout.as_millis()).unwrap_or(u64::MAX),
            identity: None,
        }
    }

    /// True if records may be sent now.
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Plain | Phase::Inside)
    }

    /// True in a transaction.
    pub(crate) fn is_inside(&self) -> bool {
        matches!(self.phase, Phase::Inside | Phase::Failed)
    }

    /// Why nothing may be sent.
    #[cold]
    pub(crate) fn refusal(&self) -> Error {
        Error::Invalid(match self.phase {
            Phase::Failed => "a send of this transaction failed: abort it".to_owned(),
            _ => format!("producer {:?} has no transaction open: begin one", self.transactional_id),
        })
    }

    /// Whose batches come next; `None` without idempotence.
    pub(crate) fn identity(&mut self) -> Result<Option<Identity>> {
        if self.needs_id() {
            self.identity = Some(Identity { producer_id: self.log.transactions.fresh_id()?, epoch: 0 });
        }
        Ok(self.identity)
    }

    /// True if [`Session::identity`] takes a new producer id.
    pub(crate) fn needs_id(&self) -> bool {
        self.identity.is_none() && self.is_idempotent && self.phase == Phase::Plain
    }

    /// Makes `partition` part of the open transaction.
    pub(crate) fn add(&self, partition: &TopicPartition) -> Result<()> {
        match (&self.transactional_id, self.identity) {
            (Some(id), Some(identity)) => self.log.add_to_transaction(id, identity, partition),
            _ => Ok(()),
        }
    }

    /// A send failed: a transaction without it must not be committed.
    pub(crate) fn fail(&mut self) {
        if self.phase == Phase::Inside {
            self.phase = Phase::Failed;
        }
    }

    pub(crate) fn init(&mut self) -> Result<()> {
        let Some(id) = &self.transactional_id else { return Err(no_id()) };
        self.identity = Some(self.log.init_transactions(id, self.timeout_ms)?);
        self.phase = Phase::Outside;
        Ok(())
    }

    pub(crate) fn begin(&mut self) -> Result<()> {
        self.log.shared.check()?;
        match (self.phase, self.identity) {
            (Phase::Plain, _) => Err(no_id()),
            (_, None) => Err(Error::Invalid("call init_transactions before the first begin".to_owned())),
            (Phase::Outside, Some(_)) => {
                self.phase = Phase::Inside;
                Ok(())
            }
            (Phase::Inside | Phase::Failed, _) => Err(Error::Invalid("a transaction is open already".to_owned())),
        }
    }

    pub(crate) fn send_offsets(
        &mut self,
        offsets: &[(TopicPartition, CommittedOffset)],
        group: &GroupMetadata,
    ) -> Result<()> {
        match (&self.transactional_id, self.identity, self.phase) {
            (Some(id), Some(identity), Phase::Inside) => {
                let sent = self.log.commit_offsets_in_transaction(id, identity, group, offsets);
                sent.inspect_err(|_| self.phase = Phase::Failed)
            }
            (None, ..) => Err(no_id()),
            _ => Err(self.refusal()),
        }
    }

    /// Ends the open transaction; what is to be committed is appended. The sequence numbers begin again afterwards.
    pub(crate) fn end(&mut self, kind: MarkerKind) -> Result<()> {
        match (&self.transactional_id, self.identity, self.phase) {
            (None, ..) => Err(no_id()),
            (Some(_), _, Phase::Failed) if kind == MarkerKind::Commit => Err(self.refusal()),
            (Some(id), Some(identity), Phase::Inside | Phase::Failed) => {
                match self.log.end_transaction(id, identity, kind) {
                    Ok(next) => {
                        self.identity = Some(next.unwrap_or(identity));
                        self.phase = Phase::Outside;
                        Ok(())
                    }
                    Err(error) => {
                        self.phase = Phase::Failed;
                        Err(error)
                    }
                }
            }
            _ => Err(self.refusal()),
        }
    }
}

fn no_id() -> Error {
    Error::Invalid("the producer has no transactional id: set transactional_id".to_owned())
}
