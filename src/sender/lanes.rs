//! Whose turn is it, so that one bad endpoint harms nobody else?
//!
//! Each endpoint has a lane. The rule is known from switches that share their memory as the dynamic threshold: an endpoint
//! may start another request only while it has fewer under way than there are idle threads, not counting a quarter that
//! is kept for endpoints with nothing under way. One endpoint alone gets three eighths of the threads; several that hang get
//! ever less each, in whatever order they come; a newcomer finds a thread.

use std::collections::{HashMap, VecDeque};

use uuid::Uuid;

use crate::Job;

#[derive(Default)]
struct Lane {
    waiting: VecDeque<Job>,
    waiting_bytes: usize,
    in_flight: usize,
}

/// How many jobs wait, not started yet: for a submitter who decides what to submit next.
#[derive(Clone, Debug, Default)]
pub struct Waiting {
    pub total: usize,
    /// Bytes of their data.
    pub bytes: usize,
    by_endpoint: HashMap<Uuid, (usize, usize)>,
}

impl Waiting {
    /// Jobs of one endpoint.
    pub fn of(&self, endpoint_id: &Uuid) -> usize {
        self.by_endpoint.get(endpoint_id).map_or(0, |(jobs, _)| *jobs)
    }

    /// Bytes of the data of these.
    pub fn bytes_of(&self, endpoint_id: &Uuid) -> usize {
        self.by_endpoint.get(endpoint_id).map_or(0, |(_, bytes)| *bytes)
    }

    /// Counts a job that is about to be submitted.
    pub fn add(&mut self, job: &Job) {
        self.total += 1;
        self.bytes += job.data.len();
        let (jobs, bytes) = self.by_endpoint.entry(job.key.endpoint_id).or_default();
        *jobs += 1;
        *bytes += job.data.len();
    }
}

/// The jobs that wait and the counts that the rule needs.
pub struct Lanes {
    lanes: HashMap<Uuid, Lane>,
    /// Lanes with a job waiting, in the order of their turns.
    turns: VecDeque<Uuid>,
    idle_threads: usize,
    /// Idle threads that only an endpoint with nothing under way may use.
    for_newcomers: usize,
    waiting: usize,
    waiting_bytes: usize,
    in_flight: usize,
}

impl Lanes {
    pub fn new(threads: usize) -> Self {
        Self {
            lanes: HashMap::new(),
            turns: VecDeque::new(),
            idle_threads: threads,
            for_newcomers: threads / 4,
            waiting: 0,
            waiting_bytes: 0,
            in_flight: 0,
        }
    }

    /// Puts the job at the end of its endpoint's lane.
    pub fn push(&mut self, job: Job) {
        let endpoint_id = job.key.endpoint_id;
        self.waiting += 1;
        self.waiting_bytes += job.data.len();
        let lane = self.lanes.entry(endpoint_id).or_default();
        lane.waiting_bytes += job.data.len();
        if lane.waiting.is_empty() {
            self.turns.push_back(endpoint_id);
        }
        lane.waiting.push_back(job);
    }

    /// Is there a job that may start, and a thread for it?
    ///
    /// Quick with thousands of lanes too: one that may not start has a request under way, so there are no more of these
    /// than threads.
    pub fn may_start(&self) -> bool {
        self.turns.iter().any(|endpoint_id| self.lane_may_start(endpoint_id))
    }

    fn lane_may_start(&self, endpoint_id: &Uuid) -> bool {
        self.lanes.get(endpoint_id).is_some_and(|lane| match lane.in_flight {
            0 => self.idle_threads > 0,
            in_flight => in_flight < self.idle_threads.saturating_sub(self.for_newcomers),
        })
    }

    /// The next job that may start, for a thread that was idle until now.
    pub fn take(&mut self) -> Option<Job> {
        for _ in 0..self.turns.len() {
            let endpoint_id = self.turns.pop_front()?;
            if !self.lane_may_start(&endpoint_id) {
                self.turns.push_back(endpoint_id);
                continue;
            }
            let Some(lane) = self.lanes.get_mut(&endpoint_id) else { continue };
            let Some(job) = lane.waiting.pop_front() else { continue };
            if !lane.waiting.is_empty() {
                self.turns.push_back(endpoint_id);
            }
            lane.waiting_bytes -= job.data.len();
            lane.in_flight += 1;
            self.in_flight += 1;
            self.idle_threads -= 1;
            self.waiting -= 1;
            self.waiting_bytes -= job.data.len();
            return Some(job);
        }
        None
    }

    /// The request is over, its thread idle again.
    pub fn ended(&mut self, endpoint_id: &Uuid) {
        self.in_flight -= 1;
        self.idle_threads += 1;
        if let Some(lane) = self.lanes.get_mut(endpoint_id) {
            lane.in_flight -= 1;
            if lane.in_flight == 0 && lane.waiting.is_empty() {
                self.lanes.remove(endpoint_id);
            }
        }
    }

    /// Forgets what has not started; gives back how many.
    pub fn clear_waiting(&mut self) -> usize {
        self.turns.clear();
        self.lanes.retain(|_, lane| {
            lane.waiting.clear();
            lane.waiting_bytes = 0;
            lane.in_flight > 0
        });
        self.waiting_bytes = 0;
        std::mem::take(&mut self.waiting)
    }

    pub fn waiting(&self) -> Waiting {
        let by_endpoint = self
            .lanes
            .iter()
            .map(|(endpoint_id, lane)| (*endpoint_id, (lane.waiting.len(), lane.waiting_bytes)))
            .collect();
        Waiting { total: self.waiting, bytes: self.waiting_bytes, by_endpoint }
    }

    pub fn waiting_total(&self) -> usize {
        self.waiting
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::job_of;

    fn job(endpoint: u128, delivery: u128) -> Job {
        let mut job = job_of(endpoint, "");
        job.key.delivery_id = Uuid::from_u128(delivery);
        job
    }

    fn lanes(threads: usize, jobs: impl IntoIterator<Item = (u128, u128)>) -> Lanes {
        let mut lanes = Lanes::new(threads);
        jobs.into_iter().for_each(|(endpoint, delivery)| lanes.push(job(endpoint, delivery)));
        lanes
    }

    fn started(lanes: &mut Lanes) -> Vec<u128> {
        std::iter::from_fn(|| lanes.take()).map(|job| job.key.endpoint_id.as_u128()).collect()
    }

    #[test]
    fn one_endpoint_alone_gets_three_eighths_of_the_threads() {
        let mut lanes = lanes(64, (0..100).map(|n| (1, n)));
        assert_eq!(started(&mut lanes).len(), 24);
        assert!(!lanes.may_start());
    }

    #[test]
    fn hanging_endpoints_leave_a_thread_for_a_newcomer() {
        let mut lanes = lanes(64, (0..1000).map(|n| (n % 10, n)));
        started(&mut lanes);
        assert!(!lanes.may_start());
        lanes.push(job(99, 5000));
        assert!(lanes.may_start());
        assert_eq!(started(&mut lanes), [99]);
    }

    #[test]
    fn a_request_that_ends_may_let_two_others_start() {
        let mut lanes = lanes(7, [(1, 1), (1, 2), (1, 3), (2, 4), (2, 5), (2, 6)]);
        assert_eq!(started(&mut lanes), [1, 2, 1, 2]);
        lanes.ended(&Uuid::from_u128(2));
        assert_eq!(started(&mut lanes), [1, 2]);
    }

    #[test]
    fn hanging_endpoints_that_come_one_after_the_other_leave_a_thread_for_a_newcomer() {
        let mut lanes = lanes(64, []);
        for endpoint in 0..15 {
            (0..100).for_each(|delivery| lanes.push(job(endpoint, delivery)));
            started(&mut lanes);
        }
        lanes.push(job(99, 5000));
        assert_eq!(started(&mut lanes), [99]);
    }

    #[test]
    fn a_pool_of_one_thread_works() {
        let mut lanes = lanes(1, [(1, 1), (1, 2)]);
        assert_eq!(started(&mut lanes), [1]);
        lanes.ended(&Uuid::from_u128(1));
        assert_eq!(started(&mut lanes), [1]);
    }

    #[test]
    fn endpoints_take_turns() {
        assert_eq!(started(&mut lanes(64, [(1, 1), (1, 2), (1, 3), (2, 4), (3, 5)])), [1, 2, 3, 1, 1]);
    }

    #[test]
    fn jobs_of_one_endpoint_start_in_their_order() {
        let mut lanes = lanes(8, [(1, 7), (1, 5), (1, 6)]);
        let order: Vec<_> = std::iter::from_fn(|| lanes.take()).map(|job| job.key.delivery_id.as_u128()).collect();
        assert_eq!(order, [7, 5, 6]);
    }

    #[test]
    fn nothing_is_left_of_an_endpoint_that_is_done() {
        let mut lanes = lanes(4, [(1, 1)]);
        lanes.take().unwrap();
        lanes.ended(&Uuid::from_u128(1));
        assert!(lanes.lanes.is_empty() && lanes.turns.is_empty());
        assert_eq!((lanes.waiting_total(), lanes.waiting_bytes, lanes.in_flight(), lanes.idle_threads), (0, 0, 0, 4));
    }

    #[test]
    fn what_waits_is_counted_by_endpoint_and_with_what_is_about_to_come() {
        let mut lanes = lanes(2, [(1, 1), (1, 2), (2, 3)]);
        lanes.take().unwrap();
        let mut waiting = lanes.waiting();
        waiting.add(&job(1, 4));
        assert_eq!([1, 2, 3].map(|endpoint| waiting.of(&Uuid::from_u128(endpoint))), [2, 1, 0]);
        assert_eq!((waiting.total, waiting.bytes), (3, 3 * job(1, 4).data.len()));
        assert_eq!(waiting.bytes_of(&Uuid::from_u128(1)), 2 * job(1, 4).data.len());
    }

    #[test]
    fn clearing_forgets_what_waits_and_keeps_count_of_what_is_under_way() {
        let mut lanes = lanes(2, [(1, 1), (1, 2), (2, 3)]);
        lanes.take().unwrap();
        assert_eq!(lanes.clear_waiting(), 2);
        assert_eq!((lanes.in_flight(), lanes.waiting_total()), (1, 0));
        lanes.ended(&Uuid::from_u128(1));
        lanes.push(job(1, 4));
        assert_eq!(started(&mut lanes), [1]);
    }
}
