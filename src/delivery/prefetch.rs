//! Prefetch limits: how many deliveries may wait in memory, by tenant and endpoint.
//!
//! The rule is that of the threads (`sender/fair_share.rs`): an auction may have another delivery in memory while it has fewer than there
//! is capacity left, not counting a part that is kept for auctions that have none; an endpoint, while it has fewer than its auction has
//! left. Without the part that is kept, a dozen auctions that hang, one after the other, would take half, a quarter, an eighth ... until
//! nothing is left. Slow endpoints have a capacity of their own.

use uuid::Uuid;
use webhook_sender::{Backlog, Count, Tally};

/// Maximum number of deliveries in memory, and of bytes of their data; one read may exceed the latter by its own rows.
const CAPACITY: Count = Count { jobs: 8192, bytes: 16 << 20 };

/// The same for slow endpoints, all of them together.
const CAPACITY_FOR_SLOW: Count = Count { jobs: 1024, bytes: 4 << 20 };

/// This fraction of the capacity (1 in 4) is kept for auctions that have nothing in memory.
const RESERVED_SHARE: usize = 4;

/// How many more deliveries may be fetched, of all endpoints.
pub fn remaining(waiting: &Backlog) -> usize {
    remaining_of(CAPACITY, waiting.prompt()) + remaining_of(CAPACITY_FOR_SLOW, waiting.slow())
}

fn remaining_of(capacity: Count, tally: &Tally) -> usize {
    if tally.all.bytes >= capacity.bytes { 0 } else { capacity.jobs.saturating_sub(tally.all.jobs) }
}

/// How many more deliveries of this endpoint may be fetched; at least one if its auction has none in memory and there is capacity left.
pub fn limit(waiting: &Backlog, auction_id: &Uuid, endpoint_id: &Uuid) -> usize {
    let capacity = if waiting.is_slow(endpoint_id) { CAPACITY_FOR_SLOW } else { CAPACITY };
    let tally = waiting.beside(endpoint_id);
    let (of_auction, of_endpoint) = (tally.of_auction(auction_id), tally.of_endpoint(endpoint_id));
    let left = remaining_of(capacity, tally);
    if of_auction.jobs == 0 {
        return left.min(1).max(half(half(left.saturating_sub(capacity.jobs / RESERVED_SHARE))));
    }
    let bytes_left = capacity.bytes.saturating_sub(tally.all.bytes);
    let for_auction = bytes_left.saturating_sub(capacity.bytes / RESERVED_SHARE).saturating_sub(of_auction.bytes);
    if of_endpoint.bytes >= for_auction {
        return 0;
    }
    let for_auction = half(left.saturating_sub(capacity.jobs / RESERVED_SHARE).saturating_sub(of_auction.jobs));
    half(for_auction.saturating_sub(of_endpoint.jobs))
}

fn half(number: usize) -> usize {
    number.div_ceil(2)
}

/// Whether a backlogged endpoint has sent most of what it may have in memory.
pub fn wants_more(waiting: &Backlog, auction_id: &Uuid, endpoint_id: &Uuid) -> bool {
    limit(waiting, auction_id, endpoint_id) > waiting.beside(endpoint_id).of_endpoint(endpoint_id).jobs / 2
}
