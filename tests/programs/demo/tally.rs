//! The deliveries that were committed, that arrived, and that were correctly signed.

use std::collections::HashSet;

use uuid::Uuid;
use webhook_harness::{Receiver, Request};

use crate::verifiers::Verifiers;

/// An endpoint that answers 200, with the number of deliveries that the demonstration has committed
/// for it. The demonstration counts them itself and does not ask the database.
pub struct HealthyEndpoint {
    /// Path of its URL, which distinguishes the endpoints of the receiver.
    pub path: String,
    /// The secret as the database returned it at creation.
    pub secret: String,
    /// Number of deliveries that must arrive.
    pub committed: usize,
}

/// The counts in the last line of the output.
#[derive(Default)]
pub struct Tally {
    /// Number of different deliveries that arrived.
    pub delivered: usize,
    /// Number of these for which every verifier accepts every request.
    pub valid: usize,
    /// Number of deliveries that were committed but did not arrive.
    pub lost: usize,
    /// Number of deliveries that arrived but were not committed.
    pub unexpected: usize,
    /// Ids of the deliveries that arrived.
    pub ids: HashSet<Uuid>,
}

impl Tally {
    /// Counts the deliveries that the receiver has received for these endpoints.
    pub fn count(endpoints: &[HealthyEndpoint], receiver: &Receiver, verifiers: &Verifiers) -> Self {
        let mut tally = Self::default();
        for endpoint in endpoints {
            let requests = receiver.requests_to(&endpoint.path);
            let arrived = ids(requests.iter());
            let verdicts = verifiers.verdicts(&endpoint.secret, &requests);
            let refused = requests.iter().zip(&verdicts).filter(|(_, verdict)| verdict.is_err());
            let refused = ids(refused.map(|(request, _)| request));
            tally.delivered += arrived.len();
            tally.valid += arrived.difference(&refused).count();
            tally.lost += endpoint.committed.saturating_sub(arrived.len());
            tally.unexpected += arrived.len().saturating_sub(endpoint.committed);
            tally.ids.extend(arrived);
        }
        tally
    }

    /// Whether exactly the committed deliveries arrived, all of them correctly signed.
    pub fn is_complete(&self) -> bool {
        self.lost == 0 && self.unexpected == 0 && self.delivered == self.valid && self.delivered == self.ids.len()
    }
}

fn ids<'a>(requests: impl Iterator<Item = &'a Request>) -> HashSet<Uuid> {
    requests.filter_map(Request::webhook_id).collect()
}
