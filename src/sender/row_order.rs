//! Row order: an endpoint's requests about one row are sent one after the other. Strict order of a
//! whole endpoint is in the extension's `delivery/throttle.rs`.
//!
//! They are sent in the order in which they were submitted: if a customer received that a problem
//! was closed and then that it was opened, the customer would assume that it is open. The next
//! request waits for the end of an attempt, not for its success, so that a receiver that rejects
//! one event does not delay the others.

use std::collections::{HashMap, VecDeque};

use uuid::Uuid;

use crate::{DeliveryKey, Job};

/// The rows with a job that has started or may start, by endpoint.
#[derive(Default)]
pub struct RowOrder {
    /// An entry for each row with a job that may start or is in flight: the jobs that wait behind
    /// it.
    behind: HashMap<Uuid, HashMap<Uuid, VecDeque<Job>>>,
    behind_total: usize,
}

impl RowOrder {
    /// Returns the job if it may start; keeps it if another job of its row must end first.
    pub fn admit(&mut self, job: Job) -> Option<Job> {
        let Some(row_id) = job.key.row_id else { return Some(job) };
        let rows = self.behind.entry(job.key.endpoint_id).or_default();
        match rows.get_mut(&row_id) {
            Some(behind) => {
                behind.push_back(job);
                self.behind_total += 1;
                None
            }
            None => {
                rows.insert(row_id, VecDeque::new());
                Some(job)
            }
        }
    }

    /// Call when an admitted job has ended. Returns the next job of its row, which may start now.
    pub fn ended(&mut self, key: &DeliveryKey) -> Option<Job> {
        let row_id = key.row_id?;
        let next = self.behind.get_mut(&key.endpoint_id)?.get_mut(&row_id)?.pop_front();
        match next {
            Some(_) => self.behind_total -= 1,
            None => self.forget(&key.endpoint_id, &row_id),
        }
        next
    }

    /// Call when an admitted job will not start and the jobs behind it have been removed.
    pub fn will_not_start(&mut self, key: &DeliveryKey) {
        if let Some(row_id) = key.row_id {
            self.forget(&key.endpoint_id, &row_id);
        }
    }

    fn forget(&mut self, endpoint_id: &Uuid, row_id: &Uuid) {
        if let Some(rows) = self.behind.get_mut(endpoint_id) {
            rows.remove(row_id);
            if rows.is_empty() {
                self.behind.remove(endpoint_id);
            }
        }
    }

    /// Removes the jobs of an endpoint that wait for others.
    pub fn take_behind_of(&mut self, endpoint_id: &Uuid) -> Vec<DeliveryKey> {
        let rows = self.behind.get_mut(endpoint_id).into_iter().flat_map(HashMap::values_mut);
        let taken: Vec<_> = rows.flat_map(|behind| behind.drain(..)).map(|job| job.key).collect();
        self.behind_total -= taken.len();
        taken
    }

    /// Removes all jobs that wait for others.
    pub fn take_behind(&mut self) -> Vec<DeliveryKey> {
        self.behind_total = 0;
        let rows = self.behind.values_mut().flat_map(HashMap::values_mut);
        rows.flat_map(|behind| behind.drain(..)).map(|job| job.key).collect()
    }

    /// The jobs that wait for others.
    pub fn behind(&self) -> impl Iterator<Item = &Job> {
        let is_any = self.behind_total > 0;
        self.behind.values().filter(move |_| is_any).flat_map(HashMap::values).flatten()
    }

    pub fn behind_total(&self) -> usize {
        self.behind_total
    }
}
