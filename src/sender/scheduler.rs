//! The scheduler: which job a thread takes next, so that a slow or failing endpoint does not affect
//! others.
//!
//! Threads are shared fairly (`fair_share.rs`). An endpoint whose last attempt came near its time
//! limit is *slow* until it answers. Slow endpoints together have at most a quarter of the threads.
//! Events about one row are sent to an endpoint one at a time (`row_order.rs`).

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::backlog::Backlog;
use crate::fair_share::FairShare;
use crate::row_order::RowOrder;
use crate::{DeliveryKey, Job};

/// The queue in which a job waited before it was taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    Prompt,
    Slow,
}

/// The jobs that wait.
pub struct Scheduler {
    prompt: FairShare,
    slow: FairShare,
    /// Jobs that may not start before other jobs of their rows have ended.
    rows: RowOrder,
    /// Shared with readers of the backlog, and copied if it changes while a reader has it, which is
    /// rare.
    slow_endpoints: Arc<HashSet<Uuid>>,
    threads: usize,
    /// Maximum number of threads for slow endpoints.
    threads_for_slow: usize,
    /// Jobs that will not start, for their submitter to take back.
    given_back: Vec<DeliveryKey>,
}

impl Scheduler {
    pub fn new(threads: usize, slow_endpoints: HashSet<Uuid>) -> Self {
        let threads_for_slow = (threads / 4).max(1);
        Self {
            prompt: FairShare::new(threads),
            slow: FairShare::new(threads_for_slow),
            rows: RowOrder::default(),
            slow_endpoints: Arc::new(slow_endpoints),
            threads,
            threads_for_slow,
            given_back: Vec::new(),
        }
    }

    /// Puts the job at the end of its endpoint's queue.
    pub fn push(&mut self, job: Job) {
        if let Some(job) = self.rows.admit(job) {
            self.let_start(job);
        }
    }

    fn let_start(&mut self, job: Job) {
        let is_slow = self.slow_endpoints.contains(&job.key.endpoint_id);
        if is_slow { &mut self.slow } else { &mut self.prompt }.push(job);
    }

    fn idle_threads(&self) -> usize {
        self.threads - self.in_flight()
    }

    fn idle_threads_for_slow(&self) -> usize {
        self.idle_threads().min(self.threads_for_slow - self.slow.in_flight())
    }

    /// Whether a job may start and a thread is idle.
    pub fn may_start(&self) -> bool {
        self.prompt.may_start(self.idle_threads()) || self.slow.may_start(self.idle_threads_for_slow())
    }

    /// The next job that may start, for a thread that was idle until now.
    pub fn take(&mut self) -> Option<(Job, Class)> {
        let prompt = self.prompt.take(self.idle_threads()).map(|job| (job, Class::Prompt));
        prompt.or_else(|| self.slow.take(self.idle_threads_for_slow()).map(|job| (job, Class::Slow)))
    }

    /// Call when the request has ended and its thread is idle. `was_slow`: it came near its time
    /// limit.
    pub fn ended(&mut self, key: &DeliveryKey, class: Class, was_slow: bool) {
        match class {
            Class::Prompt => self.prompt.ended(key),
            Class::Slow => self.slow.ended(key),
        }
        self.note(key, was_slow);
        if let Some(next) = self.rows.ended(key) {
            self.let_start(next);
        }
    }

    fn note(&mut self, key: &DeliveryKey, was_slow: bool) {
        if was_slow == self.slow_endpoints.contains(&key.endpoint_id) {
            return;
        }
        let endpoints = Arc::make_mut(&mut self.slow_endpoints);
        if was_slow {
            endpoints.insert(key.endpoint_id);
            // The endpoint has a smaller share now. The submitter submits as many of its jobs again
            // as that share allows.
            self.give_back_waiting_of(&key.auction_id, &key.endpoint_id);
        } else {
            endpoints.remove(&key.endpoint_id);
            let jobs = self.slow.take_waiting_of(&key.auction_id, &key.endpoint_id);
            jobs.into_iter().for_each(|job| self.prompt.push(job));
        }
    }

    /// Jobs that were given back since the last call and will not start.
    pub fn given_back(&mut self) -> Vec<DeliveryKey> {
        std::mem::take(&mut self.given_back)
    }

    /// Gives back the jobs of an endpoint that have not started.
    pub fn give_back_waiting_of(&mut self, auction_id: &Uuid, endpoint_id: &Uuid) {
        self.given_back.extend(self.rows.take_behind_of(endpoint_id));
        for waiting in [&mut self.prompt, &mut self.slow] {
            for job in waiting.take_waiting_of(auction_id, endpoint_id) {
                self.rows.will_not_start(&job.key);
                self.given_back.push(job.key);
            }
        }
    }

    /// Gives back the jobs of an auction that have not started.
    pub fn give_back_waiting_of_auction(&mut self, auction_id: &Uuid) {
        for endpoint_id in [self.prompt.endpoints_of(auction_id), self.slow.endpoints_of(auction_id)].concat() {
            self.give_back_waiting_of(auction_id, &endpoint_id);
        }
    }

    /// Gives back all jobs that have not started.
    pub fn give_back_waiting(&mut self) {
        self.given_back.extend(self.rows.take_behind());
        let jobs = [self.prompt.take_waiting(), self.slow.take_waiting()];
        jobs.into_iter().flatten().for_each(|job| self.give_back(job.key));
    }

    fn give_back(&mut self, key: DeliveryKey) {
        self.rows.will_not_start(&key);
        self.given_back.push(key);
    }

    pub fn slow_endpoints(&self) -> Arc<HashSet<Uuid>> {
        Arc::clone(&self.slow_endpoints)
    }

    pub fn waiting(&self) -> Backlog {
        let mut waiting = Backlog {
            prompt: self.prompt.waiting().clone(),
            slow: self.slow.waiting().clone(),
            slow_endpoints: Arc::clone(&self.slow_endpoints),
        };
        self.rows.behind().for_each(|job| waiting.add(job));
        waiting
    }

    pub fn waiting_total(&self) -> usize {
        self.prompt.waiting().all.jobs + self.slow.waiting().all.jobs + self.rows.behind_total()
    }

    pub fn in_flight(&self) -> usize {
        self.prompt.in_flight() + self.slow.in_flight()
    }
}

/// Whether an attempt came near its time limit, that is, took half of it. An endpoint that answers
/// just in time occupies a thread nearly as long as one that does not answer.
pub fn is_slow(took: Duration, timeout: Duration) -> bool {
    took >= timeout / 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::job_of;

    fn id(number: u128) -> Uuid {
        Uuid::from_u128(number)
    }

    /// A job of an endpoint that is alone in its auction.
    fn job(endpoint: u128, delivery: u128) -> Job {
        let mut job = job_of(endpoint, "");
        (job.key.auction_id, job.key.delivery_id) = (id(endpoint), id(delivery));
        job
    }

    fn with_jobs(threads: usize, jobs: impl IntoIterator<Item = (u128, u128)>) -> Scheduler {
        let mut scheduler = Scheduler::new(threads, HashSet::new());
        jobs.into_iter().for_each(|(endpoint, delivery)| scheduler.push(job(endpoint, delivery)));
        scheduler
    }

    fn started(scheduler: &mut Scheduler) -> Vec<(Job, Class)> {
        std::iter::from_fn(|| scheduler.take()).collect()
    }

    fn end_all(scheduler: &mut Scheduler, started: Vec<(Job, Class)>, was_slow: bool) {
        started.into_iter().for_each(|(job, class)| scheduler.ended(&job.key, class, was_slow));
    }

    /// The first request of each of these endpoints has come near its time limit.
    fn with_slow(threads: usize, endpoints: std::ops::Range<u128>) -> Scheduler {
        let mut scheduler = Scheduler::new(threads, HashSet::new());
        for endpoint in endpoints {
            scheduler.push(job(endpoint, 0));
            let requests = started(&mut scheduler);
            end_all(&mut scheduler, requests, true);
        }
        scheduler
    }

    #[test]
    fn slow_endpoints_have_a_quarter_of_the_threads() {
        let mut scheduler = with_slow(64, 0..200);
        (0..2000).for_each(|n| scheduler.push(job(n % 200, n)));
        let requests = started(&mut scheduler);
        assert!(requests.len() == 16 && requests.iter().all(|(_, class)| *class == Class::Slow));
        (0..100).for_each(|n| scheduler.push(job(999, n)));
        assert_eq!(started(&mut scheduler).len(), 16, "of the 48 that are idle a good endpoint gets a third");
    }

    #[test]
    fn endpoints_that_were_slow_before_are_slow_from_the_start() {
        let mut scheduler = Scheduler::new(64, (0..200).map(id).collect());
        (0..200).for_each(|endpoint| scheduler.push(job(endpoint, 1)));
        assert_eq!(started(&mut scheduler).len(), 16);
    }

    #[test]
    fn slow_endpoints_leave_a_thread_to_other_auctions() {
        let mut scheduler = with_slow(64, 0..2);
        let of_auction_0 = |n| {
            let mut job = job(0, n);
            job.key.auction_id = id(0);
            job
        };
        (0..100).for_each(|n| scheduler.push(of_auction_0(n)));
        assert!(started(&mut scheduler).len() < 16);
        scheduler.push(job(1, 1));
        assert_eq!(started(&mut scheduler).len(), 1);
    }

    #[test]
    fn endpoint_that_becomes_slow_gives_back_its_jobs() {
        let mut scheduler = with_jobs(2, [(1, 1), (1, 2), (1, 3), (2, 4)]);
        let (first, class) = scheduler.take().unwrap();
        scheduler.ended(&first.key, class, true);
        let back: Vec<_> = scheduler.given_back().iter().map(|key| key.delivery_id.as_u128()).collect();
        assert_eq!((back, scheduler.given_back().len(), scheduler.waiting_total()), (vec![2, 3], 0, 1));
        assert!(scheduler.waiting().is_slow(&id(1)) && !scheduler.waiting().is_slow(&id(2)));
    }

    #[test]
    fn endpoint_that_answers_is_not_slow_and_keeps_its_jobs() {
        let mut scheduler = with_slow(64, 1..2);
        (0..20).for_each(|n| scheduler.push(job(1, n)));
        let mut requests = started(&mut scheduler);
        assert_eq!(requests.len(), 6, "of sixteen threads as one alone");
        let (first, class) = requests.remove(0);
        scheduler.ended(&first.key, class, false);
        assert!(!scheduler.waiting().is_slow(&id(1)));
        assert_eq!((scheduler.given_back().len(), scheduler.waiting_total()), (0, 14));
        let more = started(&mut scheduler);
        assert!(more.len() == 14 && more.iter().all(|(_, class)| *class == Class::Prompt));
        end_all(&mut scheduler, requests, false);
        end_all(&mut scheduler, more, false);
        assert_eq!((scheduler.in_flight(), scheduler.idle_threads_for_slow()), (0, 16));
    }

    #[test]
    fn one_thread_serves_slow_endpoints_too() {
        let mut scheduler = with_slow(1, 1..2);
        scheduler.push(job(1, 1));
        assert_eq!(started(&mut scheduler).len(), 1);
    }

    #[test]
    fn giving_back_waiting_jobs_keeps_the_in_flight_count() {
        let mut scheduler = with_jobs(2, [(1, 1), (1, 2), (2, 3)]);
        let (first, class) = scheduler.take().unwrap();
        scheduler.give_back_waiting();
        assert_eq!((scheduler.given_back().len(), scheduler.in_flight(), scheduler.waiting_total()), (2, 1, 0));
        scheduler.ended(&first.key, class, false);
        scheduler.push(job(1, 4));
        assert_eq!(started(&mut scheduler).len(), 1);
    }

    #[test]
    fn giving_back_an_auctions_jobs_leaves_those_of_others() {
        let mut scheduler = Scheduler::new(2, HashSet::from([id(3)]));
        for (auction, endpoint, delivery) in [(1, 1, 1), (1, 2, 2), (2, 4, 4), (1, 3, 3), (1, 1, 5)] {
            let mut job = job(endpoint, delivery);
            job.key.auction_id = id(auction);
            scheduler.push(job);
        }
        scheduler.take().unwrap();
        scheduler.give_back_waiting_of_auction(&id(1));
        assert_eq!((scheduler.given_back().len(), scheduler.in_flight(), scheduler.waiting_total()), (3, 1, 1));
        scheduler.give_back_waiting_of_auction(&id(9));
        assert_eq!(scheduler.waiting_total(), 1);
    }

    /// A job about this row.
    fn job_of_row(endpoint: u128, row: u128, delivery: u128) -> Job {
        let mut job = job(endpoint, delivery);
        job.key.row_id = Some(id(row));
        job
    }

    fn deliveries(started: &[(Job, Class)]) -> Vec<u128> {
        started.iter().map(|(job, _)| job.key.delivery_id.as_u128()).collect()
    }

    #[test]
    fn events_of_one_row_are_sent_in_order_and_delay_no_others() {
        let mut scheduler = with_jobs(64, []);
        for (endpoint, row, delivery) in [(1, 7, 1), (1, 7, 2), (1, 8, 3), (1, 7, 4), (2, 7, 5)] {
            scheduler.push(job_of_row(endpoint, row, delivery));
        }
        scheduler.push(job(1, 6));
        let first = started(&mut scheduler);
        let mut begun = deliveries(&first);
        begun.sort();
        assert_eq!((begun, scheduler.waiting_total()), (vec![1, 3, 5, 6], 2));
        end_all(&mut scheduler, first, false);
        let second = started(&mut scheduler);
        assert_eq!(deliveries(&second), [2]);
        scheduler.push(job_of_row(1, 7, 9));
        assert_eq!(started(&mut scheduler).len(), 0);
        end_all(&mut scheduler, second, false);
        let third = started(&mut scheduler);
        assert_eq!(deliveries(&third), [4]);
        end_all(&mut scheduler, third, false);
        assert_eq!(deliveries(&started(&mut scheduler)), [9]);
    }

    #[test]
    fn jobs_behind_a_row_count_as_waiting_and_keep_their_order() {
        let mut scheduler = with_jobs(2, []);
        (1..=4).for_each(|delivery| scheduler.push(job_of_row(1, 7, delivery)));
        scheduler.push(job(2, 5));
        let (first, class) = scheduler.take().unwrap();
        assert_eq!((scheduler.waiting_total(), scheduler.waiting().beside(&id(1)).of_endpoint(&id(1)).jobs), (4, 3));
        scheduler.ended(&first.key, class, true);
        let back: Vec<_> = scheduler.given_back().iter().map(|key| key.delivery_id.as_u128()).collect();
        assert_eq!((back, scheduler.waiting_total()), (vec![2, 3, 4], 1));
        // The scheduler no longer has the row, so the job may be submitted again.
        scheduler.push(job_of_row(1, 7, 2));
        scheduler.push(job_of_row(1, 7, 3));
        scheduler.give_back_waiting();
        assert_eq!((scheduler.given_back().len(), scheduler.waiting_total()), (3, 0));
        scheduler.push(job_of_row(1, 7, 2));
        assert_eq!(deliveries(&started(&mut scheduler)), [2]);
    }

    #[test]
    fn half_of_the_time_limit_counts_as_slow() {
        let limit = Duration::from_secs(30);
        assert!(is_slow(limit, limit) && is_slow(limit / 2, limit) && !is_slow(limit / 3, limit));
    }
}
