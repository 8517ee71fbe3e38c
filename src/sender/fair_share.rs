//! The fair share: by auction first and by endpoint second.
//!
//! The rule is the dynamic threshold of switches with shared memory: the more of a resource an
//! auction has, the more of it must be free before the auction gets another unit. A part is
//! reserved for auctions that have none. Each of several auctions that hang gets less than the one
//! before, in any order of arrival, and a new auction still finds free units. The rule applies to
//! threads and to the memory for fetched deliveries.

use std::collections::{HashMap, VecDeque};

use uuid::Uuid;

use crate::backlog::Tally;
use crate::{DeliveryKey, Job};

/// The rule for one shared resource.
#[derive(Clone, Copy, Default, Debug)]
pub struct Share {
    /// An auction may have this many times the free units that are not reserved.
    pub factor: usize,
    /// The units that are reserved for auctions that have none.
    pub reserved: usize,
}

impl Share {
    /// How many units an auction may have while `free` units are free.
    pub fn of_auction(self, free: usize) -> usize {
        self.factor * free.saturating_sub(self.reserved)
    }

    /// How many units each endpoint may have if its auction has `of_auction` units: as many as the
    /// auction may still get.
    pub fn of_endpoint(self, free: usize, of_auction: usize) -> usize {
        self.of_auction(free).saturating_sub(of_auction)
    }
}

#[derive(Default)]
struct EndpointJobs {
    waiting: VecDeque<Job>,
    in_flight: usize,
}

#[derive(Default)]
struct Auction {
    endpoints: HashMap<Uuid, EndpointJobs>,
    /// Endpoints with a job waiting, in the order of their turns.
    turns: VecDeque<Uuid>,
    in_flight: usize,
}

/// The jobs that wait for a group of threads, and the counts that the rule needs.
#[derive(Default)]
pub struct FairShare {
    auctions: HashMap<Uuid, Auction>,
    /// Auctions with a job waiting, in the order of their turns.
    turns: VecDeque<Uuid>,
    waiting: Tally,
    in_flight: usize,
    share: Share,
}

impl FairShare {
    pub fn new(threads: usize) -> Self {
        // A single endpoint gets three eighths of the threads, a single auction half of them.
        Self { share: Share { factor: 2, reserved: threads / 4 }, ..Self::default() }
    }

    /// Puts the job at the end of its endpoint's queue.
    pub fn push(&mut self, job: Job) {
        let DeliveryKey { auction_id, endpoint_id, .. } = job.key;
        self.waiting.add(&job);
        let auction = self.auctions.entry(auction_id).or_default();
        let endpoint = auction.endpoints.entry(endpoint_id).or_default();
        if endpoint.waiting.is_empty() {
            if auction.turns.is_empty() {
                self.turns.push_back(auction_id);
            }
            auction.turns.push_back(endpoint_id);
        }
        endpoint.waiting.push_back(job);
    }

    /// Whether there is a job that may start while this number of threads is idle.
    ///
    /// This is fast even with thousands of endpoints: an auction or an endpoint that may not start
    /// has a request in flight, so there are no more of these than threads.
    pub fn may_start(&self, idle_threads: usize) -> bool {
        // Without an idle thread no job may start. The check avoids a scan of thousands of
        // endpoints for each request that starts.
        idle_threads > 0 && self.turns.iter().any(|auction_id| self.next_of(auction_id, idle_threads).is_some())
    }

    /// The place, among the auction's turns, of its next endpoint that may start a request. At
    /// least one thread must be idle.
    fn next_of(&self, auction_id: &Uuid, idle_threads: usize) -> Option<usize> {
        let auction = self.auctions.get(auction_id)?;
        let may_start = |in_flight, limit| in_flight == 0 || in_flight < limit;
        if !may_start(auction.in_flight, self.share.of_auction(idle_threads)) {
            return None;
        }
        let limit = self.share.of_endpoint(idle_threads, auction.in_flight);
        auction.turns.iter().position(|endpoint_id| {
            auction.endpoints.get(endpoint_id).is_some_and(|endpoint| may_start(endpoint.in_flight, limit))
        })
    }

    /// Removes and returns the next job that may start while this number of threads is idle.
    pub fn take(&mut self, idle_threads: usize) -> Option<Job> {
        if idle_threads == 0 {
            return None;
        }
        let (turn, place) = (0..)
            .zip(&self.turns)
            .find_map(|(turn, auction_id)| self.next_of(auction_id, idle_threads).map(|place| (turn, place)))?;
        // Auctions that were passed over keep their turn.
        let auction_id = self.turns.remove(turn)?;
        let auction = self.auctions.get_mut(&auction_id)?;
        let endpoint_id = auction.turns.remove(place)?;
        let endpoint = auction.endpoints.get_mut(&endpoint_id)?;
        let job = endpoint.waiting.pop_front()?;
        if !endpoint.waiting.is_empty() {
            auction.turns.push_back(endpoint_id);
        }
        if !auction.turns.is_empty() {
            self.turns.push_back(auction_id);
        }
        endpoint.in_flight += 1;
        auction.in_flight += 1;
        self.in_flight += 1;
        self.waiting.remove(&job);
        Some(job)
    }

    /// Call when the request of a job that was taken from here has ended.
    pub fn ended(&mut self, key: &DeliveryKey) {
        let Some(auction) = self.auctions.get_mut(&key.auction_id) else { return };
        let Some(endpoint) = auction.endpoints.get_mut(&key.endpoint_id) else { return };
        endpoint.in_flight -= 1;
        auction.in_flight -= 1;
        self.in_flight -= 1;
        self.forget_if_done(&key.auction_id, &key.endpoint_id);
    }

    /// The auction's endpoints that have jobs waiting or in flight.
    pub fn endpoints_of(&self, auction_id: &Uuid) -> Vec<Uuid> {
        self.auctions.get(auction_id).into_iter().flat_map(|auction| auction.endpoints.keys()).copied().collect()
    }

    /// Removes and returns the jobs of an endpoint that have not started, in their order.
    pub fn take_waiting_of(&mut self, auction_id: &Uuid, endpoint_id: &Uuid) -> VecDeque<Job> {
        let Some(auction) = self.auctions.get_mut(auction_id) else { return VecDeque::new() };
        let Some(endpoint) = auction.endpoints.get_mut(endpoint_id) else { return VecDeque::new() };
        let jobs = std::mem::take(&mut endpoint.waiting);
        jobs.iter().for_each(|job| self.waiting.remove(job));
        auction.turns.retain(|waiting| waiting != endpoint_id);
        if auction.turns.is_empty() {
            self.turns.retain(|waiting| waiting != auction_id);
        }
        self.forget_if_done(auction_id, endpoint_id);
        jobs
    }

    fn forget_if_done(&mut self, auction_id: &Uuid, endpoint_id: &Uuid) {
        let Some(auction) = self.auctions.get_mut(auction_id) else { return };
        if auction
            .endpoints
            .get(endpoint_id)
            .is_some_and(|endpoint| endpoint.in_flight == 0 && endpoint.waiting.is_empty())
        {
            auction.endpoints.remove(endpoint_id);
        }
        if auction.endpoints.is_empty() {
            self.auctions.remove(auction_id);
        }
    }

    /// Removes and returns all jobs that have not started.
    pub fn take_waiting(&mut self) -> Vec<Job> {
        self.turns.clear();
        self.waiting = Tally::default();
        let mut jobs = Vec::new();
        self.auctions.retain(|_, auction| {
            auction.turns.clear();
            auction.endpoints.retain(|_, endpoint| {
                jobs.extend(endpoint.waiting.drain(..));
                endpoint.in_flight > 0
            });
            !auction.endpoints.is_empty()
        });
        jobs
    }

    pub fn waiting(&self) -> &Tally {
        &self.waiting
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight
    }
}

#[cfg(test)]
#[path = "fair_share_tests.rs"]
mod tests;
