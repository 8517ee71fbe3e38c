//! How many deliveries of whom may wait in memory?
//!
//! The rule is that of the threads (`sender/share.rs`): by auction first and by endpoint second, as many as leave more room
//! than they then take, not counting what is kept for auctions of which nothing waits. Without the latter a dozen that hang,
//! coming one after the other, would take half, a quarter, an eighth ... until nothing is left. Slow endpoints have a room for
//! themselves.

use uuid::Uuid;
use webhook_sender::{Backlog, Count, Tally};

/// Deliveries in the room at most, and bytes of their data; one read may go beyond the latter by its own rows.
const CAPACITY: Count = Count { jobs: 8192, bytes: 16 << 20 };

/// The same for slow endpoints, all of them together.
const CAPACITY_FOR_SLOW: Count = Count { jobs: 1024, bytes: 4 << 20 };

/// One part in so many is kept for auctions of which nothing waits.
const SHARE_FOR_NEWCOMERS: usize = 4;

/// How many more deliveries may wait, whoever's they are.
pub fn left(waiting: &Backlog) -> usize {
    left_of(CAPACITY, waiting.prompt()) + left_of(CAPACITY_FOR_SLOW, waiting.slow())
}

fn left_of(capacity: Count, tally: &Tally) -> usize {
    if tally.all.bytes >= capacity.bytes { 0 } else { capacity.jobs.saturating_sub(tally.all.jobs) }
}

/// How many more of this endpoint may wait; one at least where none of its auction does and there is any room.
pub fn share(waiting: &Backlog, auction_id: &Uuid, endpoint_id: &Uuid) -> usize {
    let capacity = if waiting.is_slow(endpoint_id) { CAPACITY_FOR_SLOW } else { CAPACITY };
    let tally = waiting.beside(endpoint_id);
    let (of_auction, of_endpoint) = (tally.of_auction(auction_id), tally.of_endpoint(endpoint_id));
    let left = left_of(capacity, tally);
    if of_auction.jobs == 0 {
        return left.min(1).max(half(half(left.saturating_sub(capacity.jobs / SHARE_FOR_NEWCOMERS))));
    }
    let bytes_left = capacity.bytes.saturating_sub(tally.all.bytes);
    let for_auction = bytes_left.saturating_sub(capacity.bytes / SHARE_FOR_NEWCOMERS).saturating_sub(of_auction.bytes);
    if of_endpoint.bytes >= for_auction {
        return 0;
    }
    let for_auction = half(left.saturating_sub(capacity.jobs / SHARE_FOR_NEWCOMERS).saturating_sub(of_auction.jobs));
    half(for_auction.saturating_sub(of_endpoint.jobs))
}

fn half(number: usize) -> usize {
    number.div_ceil(2)
}

/// Whether an endpoint of which more is to be read has sent most of what it may have waiting.
pub fn wants_more(waiting: &Backlog, auction_id: &Uuid, endpoint_id: &Uuid) -> bool {
    share(waiting, auction_id, endpoint_id) > waiting.beside(endpoint_id).of_endpoint(endpoint_id).jobs / 2
}
