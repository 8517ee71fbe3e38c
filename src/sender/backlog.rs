//! The backlog: how many jobs wait in memory, by auction and endpoint.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use uuid::Uuid;

use crate::Job;

/// A number of jobs and of bytes of data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Number of jobs.
    pub jobs: usize,
    /// Bytes of their data.
    pub bytes: usize,
}

impl Count {
    fn add(&mut self, job: &Job) {
        self.jobs += 1;
        self.bytes += job.data.len();
    }

    fn remove(&mut self, job: &Job) {
        self.jobs -= 1;
        self.bytes -= job.data.len();
    }
}

/// Jobs that have not started, counted by auction and by endpoint.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// All jobs.
    pub all: Count,
    by_auction: HashMap<Uuid, Count>,
    by_endpoint: HashMap<Uuid, Count>,
}

impl Tally {
    /// The jobs of an auction.
    pub fn of_auction(&self, auction_id: &Uuid) -> Count {
        self.by_auction.get(auction_id).copied().unwrap_or_default()
    }

    /// The jobs of an endpoint.
    pub fn of_endpoint(&self, endpoint_id: &Uuid) -> Count {
        self.by_endpoint.get(endpoint_id).copied().unwrap_or_default()
    }

    pub(crate) fn add(&mut self, job: &Job) {
        self.all.add(job);
        self.by_auction.entry(job.key.auction_id).or_default().add(job);
        self.by_endpoint.entry(job.key.endpoint_id).or_default().add(job);
    }

    pub(crate) fn remove(&mut self, job: &Job) {
        fn remove(counts: &mut HashMap<Uuid, Count>, id: Uuid, job: &Job) {
            if let Some(count) = counts.get_mut(&id) {
                count.remove(job);
                if count.jobs == 0 {
                    counts.remove(&id);
                }
            }
        }
        self.all.remove(job);
        remove(&mut self.by_auction, job.key.auction_id, job);
        remove(&mut self.by_endpoint, job.key.endpoint_id, job);
    }
}

/// Jobs that have not started. Those of slow endpoints are counted separately, because they wait
/// separately.
#[derive(Clone, Debug, Default)]
pub struct Backlog {
    pub(crate) prompt: Tally,
    pub(crate) slow: Tally,
    pub(crate) slow_endpoints: Arc<HashSet<Uuid>>,
}

impl Backlog {
    /// Whether the endpoint's last attempt came near its time limit, so that it shares a part of
    /// the pool with other slow endpoints.
    pub fn is_slow(&self, endpoint_id: &Uuid) -> bool {
        self.slow_endpoints.contains(endpoint_id)
    }

    /// The jobs that wait together with those of this endpoint.
    pub fn beside(&self, endpoint_id: &Uuid) -> &Tally {
        if self.is_slow(endpoint_id) { &self.slow } else { &self.prompt }
    }

    /// The jobs of endpoints that are not slow.
    pub fn prompt(&self) -> &Tally {
        &self.prompt
    }

    /// The jobs of slow endpoints.
    pub fn slow(&self) -> &Tally {
        &self.slow
    }

    /// Endpoints that have jobs waiting.
    pub fn endpoints(&self) -> impl Iterator<Item = &Uuid> {
        self.prompt.by_endpoint.keys().chain(self.slow.by_endpoint.keys())
    }

    /// Counts a job that is about to be submitted.
    pub fn add(&mut self, job: &Job) {
        if self.is_slow(&job.key.endpoint_id) { self.slow.add(job) } else { self.prompt.add(job) }
    }
}
