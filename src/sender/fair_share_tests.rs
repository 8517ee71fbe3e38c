//! Tests of the fair share: which jobs start while others hang, how many, and in which order.

use super::*;
use crate::testing::job_of;

fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn job(auction: u128, endpoint: u128, delivery: u128) -> Job {
    let mut job = job_of(endpoint, "");
    (job.key.auction_id, job.key.delivery_id) = (id(auction), id(delivery));
    job
}

/// A fair share and its threads.
struct Stand {
    share: FairShare,
    idle: usize,
}

impl Stand {
    /// Jobs as (auction, endpoint, delivery).
    fn new(threads: usize, jobs: impl IntoIterator<Item = (u128, u128, u128)>) -> Self {
        let mut stand = Self { share: FairShare::new(threads), idle: threads };
        jobs.into_iter().for_each(|(auction, endpoint, delivery)| stand.push(auction, endpoint, delivery));
        stand
    }

    fn push(&mut self, auction: u128, endpoint: u128, delivery: u128) {
        self.share.push(job(auction, endpoint, delivery));
    }

    fn take(&mut self) -> Option<DeliveryKey> {
        let may_start = self.share.may_start(self.idle);
        let job = self.share.take(self.idle);
        assert_eq!(may_start, job.is_some());
        self.idle -= usize::from(job.is_some());
        job.map(|job| job.key)
    }

    /// Starts all jobs that may start; returns their endpoints.
    fn start(&mut self) -> Vec<u128> {
        std::iter::from_fn(|| self.take()).map(|key| key.endpoint_id.as_u128()).collect()
    }

    fn end(&mut self, auction: u128, endpoint: u128) {
        self.share.ended(&job(auction, endpoint, 0).key);
        self.idle += 1;
    }
}

#[test]
fn one_endpoint_alone_gets_three_eighths_of_the_threads() {
    assert_eq!(Stand::new(64, (0..100).map(|n| (1, 1, n))).start().len(), 24);
}

#[test]
fn one_auction_alone_gets_half_of_the_threads() {
    let mut stand = Stand::new(64, (0..2000).map(|n| (1, n % 200, n)));
    assert_eq!(stand.start().len(), 32);
    stand.push(2, 999, 5000);
    assert_eq!(stand.start(), [999], "another auction is not in its way");
}

#[test]
fn hanging_endpoint_leaves_threads_to_its_auction() {
    let mut stand = Stand::new(64, (0..100).map(|n| (1, 1, n)));
    stand.start();
    (2..9).for_each(|endpoint| stand.push(1, endpoint, 0));
    assert_eq!(stand.start(), [2, 3, 4, 5, 6, 7, 8]);
}

#[test]
fn hanging_auctions_leave_a_thread_for_a_newcomer() {
    let mut stand = Stand::new(64, (0..1000).map(|n| (n % 10, n % 10, n)));
    stand.start();
    stand.push(99, 99, 5000);
    assert_eq!(stand.start(), [99]);
}

#[test]
fn auctions_that_hang_in_turn_leave_a_thread_for_a_newcomer() {
    let mut stand = Stand::new(64, []);
    for auction in 0..15 {
        (0..100).for_each(|delivery| stand.push(auction, auction, delivery));
        stand.start();
    }
    stand.push(99, 99, 5000);
    assert_eq!(stand.start(), [99]);
}

#[test]
fn end_of_a_request_can_start_two_others() {
    let mut stand = Stand::new(8, (0..8).map(|n| (n % 2, n % 2, n)));
    assert_eq!(stand.start(), [0, 1, 0, 1]);
    stand.end(1, 1);
    assert_eq!(stand.start(), [0, 1]);
}

#[test]
fn single_thread_is_used() {
    let mut stand = Stand::new(1, [(1, 1, 1), (1, 1, 2)]);
    assert_eq!(stand.start(), [1]);
    stand.end(1, 1);
    assert_eq!(stand.start(), [1]);
}

#[test]
fn auctions_and_their_endpoints_take_turns() {
    let jobs = [(1, 11, 1), (1, 11, 2), (1, 12, 3), (2, 21, 4), (2, 21, 5), (2, 21, 6)];
    assert_eq!(Stand::new(64, jobs).start(), [11, 21, 12, 21, 11, 21]);
}

#[test]
fn jobs_of_one_endpoint_start_in_their_order() {
    let mut stand = Stand::new(8, [(1, 1, 7), (1, 1, 5), (1, 1, 6)]);
    let order: Vec<_> = std::iter::from_fn(|| stand.take()).map(|key| key.delivery_id.as_u128()).collect();
    assert_eq!(order, [7, 5, 6]);
}

#[test]
fn finished_endpoint_leaves_no_state() {
    let mut stand = Stand::new(4, [(1, 1, 1)]);
    stand.start();
    stand.end(1, 1);
    assert!(stand.share.auctions.is_empty() && stand.share.turns.is_empty());
    assert_eq!((stand.share.in_flight(), stand.share.waiting().all.jobs, stand.idle), (0, 0, 4));
}

#[test]
fn waiting_jobs_are_counted_by_auction_and_endpoint() {
    let mut stand = Stand::new(1, [(1, 1, 1), (1, 1, 2), (1, 2, 3), (2, 3, 4)]);
    stand.start();
    let waiting = stand.share.waiting();
    assert_eq!([1, 2, 3].map(|endpoint| waiting.of_endpoint(&id(endpoint)).jobs), [1, 1, 1]);
    assert_eq!([1, 2].map(|auction| waiting.of_auction(&id(auction)).jobs), [2, 1]);
    assert_eq!(waiting.all.bytes, 3 * job(1, 1, 1).data.len());
}

#[test]
fn removing_an_endpoints_jobs_keeps_the_turns_of_others() {
    let mut stand = Stand::new(2, [(1, 1, 1), (1, 2, 2), (2, 3, 3), (1, 1, 4)]);
    let taken = stand.share.take_waiting_of(&id(1), &id(1));
    assert_eq!(taken.iter().map(|job| job.key.delivery_id.as_u128()).collect::<Vec<_>>(), [1, 4]);
    assert_eq!(stand.share.waiting().all.jobs, 2);
    assert_eq!(stand.start(), [2, 3]);
    stand.end(1, 2);
    stand.end(2, 3);
    assert!(stand.share.auctions.is_empty());
}
