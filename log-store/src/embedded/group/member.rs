//! A consumer's place in its group.

use std::{sync::Arc, time::Duration};

use super::{Inner, Joining, Step};
use crate::{
    Result, TopicPartition,
    client::{ConsumerConfig, GroupMetadata, Subscription},
    embedded::consumer_watch::{Mailbox, Watch},
};

/// The mailbox slot of news from the group; partitions have smaller numbers.
pub(crate) const GROUP_SLOT: u64 = u64::MAX;

/// Longest time between two signs of life, so that members that are silent are noticed.
const HEARTBEAT_MAX: Duration = Duration::from_secs(3);

/// Membership of one consumer. Leaves the group when it is dropped.
pub(crate) struct Membership {
    log: Arc<Inner>,
    group: String,
    joining: Joining,
    watch: Arc<Watch>,
    member: String,
    generation: i32,
    heartbeat: Duration,
    due: Duration,
}

impl Membership {
    /// Joins the group of the settings. What is assigned is told by [`Membership::poll`].
    pub(crate) fn join(
        log: &Arc<Inner>,
        config: &ConsumerConfig,
        subscription: &Subscription,
        mailbox: &Arc<Mailbox>,
    ) -> Result<Self> {
        let joining = Joining {
            client_id: config.client_id.clone(),
            groups: subscription.groups.clone(),
            preferred: subscription.preferred.clone(),
            assignor: config.assignor,
            session_ms: u64::try_from(config.max_poll_interval.as_millis()).unwrap_or(u64::MAX),
        };
        let watch = Watch::new(mailbox, GROUP_SLOT);
        let member = log.join_group(&config.group_id, joining.clone(), &watch)?;
        Ok(Membership {
            log: Arc::clone(log),
            group: config.group_id.clone(),
            joining,
            watch,
            member,
            generation: 0,
            heartbeat: (config.max_poll_interval / 3).min(HEARTBEAT_MAX),
            due: log.shared.clock.monotonic(),
        })
    }

    /// Wants other topics from now on.
    pub(crate) fn change(&mut self, subscription: &Subscription) {
        self.joining.groups.clone_from(&subscription.groups);
        self.joining.preferred.clone_from(&subscription.preferred);
        self.log.rejoin_group(&self.group, &self.member, self.joining.clone());
    }

    /// When the next sign of life is due, by the log's clock.
    pub(crate) fn due(&self) -> Duration {
        self.due
    }

    /// A sign of life; answers with what is to be done. A member that was expelled has joined again, as a new one.
    pub(crate) fn poll(&mut self, now: Duration) -> Result<Step> {
        self.due = now + self.heartbeat;
        let (step, generation) = self.log.poll_group(&self.group, &self.member);
        self.generation = generation;
        match step {
            Step::Nothing => {}
            Step::Expelled => self.member = self.log.join_group(&self.group, self.joining.clone(), &self.watch)?,
            // There may be more.
            Step::Assigned(_) | Step::Revoked(_) => self.watch.notify(),
        }
        Ok(step)
    }

    /// Lets go of partitions that were revoked.
    pub(crate) fn acknowledge(&self, revoked: &[TopicPartition]) {
        self.log.acknowledge_in_group(&self.group, &self.member, revoked);
    }

    /// Who this is, for commits.
    pub(crate) fn metadata(&self) -> GroupMetadata {
        GroupMetadata { group_id: self.group.clone(), generation: self.generation, member_id: self.member.clone() }
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.log.leave_group(&self.group, &self.member);
    }
}
