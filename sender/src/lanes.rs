//! Whose turn is it, so that one bad endpoint harms nobody else?
//!
//! Each endpoint has a lane. The rule is one, known from switches that share their memory as the dynamic threshold: an
//! endpoint may start another request only while it has fewer under way than there are idle threads. One endpoint alone
//! gets half the threads, k that hang get one part in k + 1 each, and for a newcomer there is always a thread.

use std::collections::{HashMap, VecDeque};

use uuid::Uuid;

use crate::Job;

#[derive(Default)]
struct Lane {
    waiting: VecDeque<Job>,
    in_flight: usize,
}

/// The jobs that wait and the counts that the rule needs.
pub struct Lanes {
    lanes: HashMap<Uuid, Lane>,
    /// Lanes with a job waiting, in the order of their turns.
    turns: VecDeque<Uuid>,
    idle_threads: usize,
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
        let may_start = |lane: &Lane| lane.in_flight < self.idle_threads;
        self.turns.iter().any(|endpoint_id| self.lanes.get(endpoint_id).is_some_and(may_start))
    }

    /// The next job that may start, for a thread that was idle until now.
    pub fn take(&mut self) -> Option<Job> {
        for _ in 0..self.turns.len() {
            let endpoint_id = self.turns.pop_front()?;
            let Some(lane) = self.lanes.get_mut(&endpoint_id) else { continue };
            if lane.in_flight >= self.idle_threads {
                self.turns.push_back(endpoint_id);
                continue;
            }
            let Some(job) = lane.waiting.pop_front() else { continue };
            if !lane.waiting.is_empty() {
                self.turns.push_back(endpoint_id);
            }
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
            lane.in_flight > 0
        });
        self.waiting_bytes = 0;
        std::mem::take(&mut self.waiting)
    }

    pub fn waiting(&self, endpoint_id: &Uuid) -> usize {
        self.lanes.get(endpoint_id).map_or(0, |lane| lane.waiting.len())
    }

    pub fn waiting_total(&self) -> usize {
        self.waiting
    }

    pub fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
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
    fn one_endpoint_alone_gets_half_the_threads() {
        let mut lanes = lanes(64, (0..100).map(|n| (1, n)));
        assert_eq!(started(&mut lanes).len(), 32);
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
        let mut lanes = lanes(6, [(1, 1), (1, 2), (1, 3), (2, 4), (2, 5), (2, 6)]);
        assert_eq!(started(&mut lanes), [1, 2, 1, 2]);
        lanes.ended(&Uuid::from_u128(2));
        assert_eq!(started(&mut lanes), [1, 2]);
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
        assert_eq!((lanes.waiting_total(), lanes.waiting_bytes(), lanes.in_flight(), lanes.idle_threads), (0, 0, 0, 4));
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
