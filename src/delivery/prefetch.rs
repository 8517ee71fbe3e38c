//! Prefetch limits: how many deliveries may wait in memory, by tenant and endpoint.
//!
//! The rule is the fair share of the threads (`sender/fair_share.rs`): an auction may have as much
//! in memory as there is capacity left, apart from a part that is reserved for auctions with
//! nothing in memory. Slow endpoints have a capacity of their own.

use uuid::Uuid;
use webhook_sender::{Backlog, Count, Share, Tally};

/// Maximum number of deliveries in memory, and of bytes of their data; one read may exceed the
/// latter by its own rows.
const CAPACITY: Count = Count { jobs: 8192, bytes: 16 << 20 };

/// The same for slow endpoints, all of them together.
const CAPACITY_FOR_SLOW: Count = Count { jobs: 1024, bytes: 4 << 20 };

/// A quarter of the capacity is reserved for auctions that have nothing in memory. Without it a
/// dozen auctions that hang, one after the other, would take half, a quarter, an eighth until
/// nothing is left.
const fn share(capacity: usize) -> Share {
    Share { factor: 1, reserved: capacity / 4 }
}

/// How many more deliveries may be fetched, of all endpoints.
pub fn remaining(waiting: &Backlog) -> usize {
    remaining_of(CAPACITY, waiting.prompt()) + remaining_of(CAPACITY_FOR_SLOW, waiting.slow())
}

fn remaining_of(capacity: Count, tally: &Tally) -> usize {
    if tally.all.bytes >= capacity.bytes { 0 } else { capacity.jobs.saturating_sub(tally.all.jobs) }
}

/// How many more deliveries of this endpoint may be fetched; at least one if its auction has none
/// in memory and there is capacity left.
pub fn limit(waiting: &Backlog, auction_id: &Uuid, endpoint_id: &Uuid) -> usize {
    let capacity = if waiting.is_slow(endpoint_id) { CAPACITY_FOR_SLOW } else { CAPACITY };
    let tally = waiting.beside(endpoint_id);
    let (of_auction, of_endpoint) = (tally.of_auction(auction_id), tally.of_endpoint(endpoint_id));
    let free = remaining_of(capacity, tally);
    // Each fetched delivery leaves less for the next: half of the difference satisfies the rule.
    let for_auction = share(capacity.jobs).of_endpoint(free, of_auction.jobs).div_ceil(2);
    let for_endpoint = for_auction.saturating_sub(of_endpoint.jobs).div_ceil(2);
    if of_auction.jobs == 0 {
        return for_endpoint.max(free.min(1));
    }
    let free_bytes = capacity.bytes.saturating_sub(tally.all.bytes);
    let has_bytes_left = of_endpoint.bytes < share(capacity.bytes).of_endpoint(free_bytes, of_auction.bytes);
    if has_bytes_left { for_endpoint } else { 0 }
}

/// Whether a backlogged endpoint has sent most of what it may have in memory.
pub fn wants_more(waiting: &Backlog, auction_id: &Uuid, endpoint_id: &Uuid) -> bool {
    limit(waiting, auction_id, endpoint_id) > waiting.beside(endpoint_id).of_endpoint(endpoint_id).jobs / 2
}
