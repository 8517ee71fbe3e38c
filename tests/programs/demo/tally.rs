//! What was committed, what of it arrived, and how much of that was signed as it should be.

use std::collections::HashSet;

use uuid::Uuid;
use webhook_harness::{Receiver, Request};

use crate::judges::Judges;

/// An endpoint that answers 200, and what the demonstration itself has committed for it: the database is not asked what it owes.
pub struct GoodEndpoint {
    /// Of its URL; tells the endpoints of the one receiver apart.
    pub path: String,
    /// As the database gave it at the creation.
    pub secret: String,
    /// Deliveries that must arrive.
    pub committed: usize,
}

/// The last line.
#[derive(Default)]
pub struct Tally {
    /// Different deliveries that arrived.
    pub delivered: usize,
    /// Those of them of which every request was found valid by every judge.
    pub valid: usize,
    /// Committed, but never arrived.
    pub lost: usize,
    /// Arrived, but never committed.
    pub uncalled_for: usize,
    /// The ids of what arrived.
    pub ids: HashSet<Uuid>,
}

impl Tally {
    /// Counts what the receiver has got for these endpoints.
    pub fn count(endpoints: &[GoodEndpoint], receiver: &Receiver, judges: &Judges) -> Self {
        let mut tally = Self::default();
        for endpoint in endpoints {
            let requests = receiver.requests_to(&endpoint.path);
            let arrived = ids(requests.iter());
            let verdicts = judges.verdicts(&endpoint.secret, &requests);
            let refused = requests.iter().zip(&verdicts).filter(|(_, verdict)| verdict.is_err());
            let refused = ids(refused.map(|(request, _)| request));
            tally.delivered += arrived.len();
            tally.valid += arrived.difference(&refused).count();
            tally.lost += endpoint.committed.saturating_sub(arrived.len());
            tally.uncalled_for += arrived.len().saturating_sub(endpoint.committed);
            tally.ids.extend(arrived);
        }
        tally
    }

    /// Whether all that was committed arrived, nothing else did, and all of it is signed.
    pub fn is_complete(&self) -> bool {
        self.lost == 0 && self.uncalled_for == 0 && self.delivered == self.valid && self.delivered == self.ids.len()
    }
}

fn ids<'a>(requests: impl Iterator<Item = &'a Request>) -> HashSet<Uuid> {
    requests.filter_map(Request::webhook_id).collect()
}
