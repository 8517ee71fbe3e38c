//! Subscriptions: a cache of the session, so that an event without an interested endpoint costs no
//! statement.
//!
//! The cache is invalidated when an endpoint changes (`postgres/invalidation.rs`). A subscription
//! whose commit had returned before the transaction began is never missed. One that is committed
//! while the transaction runs counts from the invalidation on.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use pgrx::pg_sys::BuiltinOid::UUIDARRAYOID;
use pgrx::prelude::*;
use pgrx::spi::{SpiClient, SpiError, SpiResult};
use uuid::Uuid;

use super::filter::Filter;
use super::placement::has_citus;
use crate::ids::{id, id_datum};
use crate::postgres::cached_plan::CachedPlan;
use crate::postgres::errors::refuse;
use crate::postgres::invalidation::{LatestSnapshot, Topic};
use crate::postgres::security_context::{self, PinnedSettings};
use crate::postgres::settings;

/// Maximum number of auctions in the cache, and of endpoints of one auction. Auctions with more
/// endpoints are read each time, so that many endpoints do not fill the memory of every session.
const MAX_AUCTIONS: usize = 4096;
const MAX_ENDPOINTS: usize = 100;

struct Subscription {
    endpoint: Interested,
    /// Exact types, families (`submission.*`), `*`.
    events: Vec<String>,
}

/// An endpoint that wants events of a type.
#[derive(Clone)]
pub struct Interested {
    pub endpoint_id: Uuid,
    /// It wants only those whose data matches.
    pub filter: Option<Rc<Filter>>,
}

/// An event that is written, with the endpoints that are interested in it: none if all events are
/// recorded.
pub struct Wanted {
    pub event_id: Uuid,
    pub auction_id: Uuid,
    pub endpoints: Vec<Interested>,
}

#[derive(Default)]
struct Cache {
    by_auction: HashMap<Uuid, Vec<Subscription>>,
    /// The value of `Topic::changes` when the subscriptions were read.
    changes: u64,
}

thread_local! {
    static CACHE: RefCell<Cache> = RefCell::default();
    static READ: RefCell<CachedPlan> = const { RefCell::new(CachedPlan::new()) };
}

impl Subscription {
    /// `*` stands for all events of the application. Events about webhooks are sent only to
    /// endpoints that name them.
    fn wants(&self, event_type: &str) -> bool {
        let family = event_type.split('.').next();
        let is_for_all = family != Some("webhook");
        self.events
            .iter()
            .any(|wanted| wanted == event_type || wanted == "*" && is_for_all || wanted.strip_suffix(".*") == family)
    }
}

/// The endpoints of an auction that want events of this type; `None` if that is not cached.
pub fn cached(auction_id: &Uuid, event_type: &str) -> Option<Vec<Interested>> {
    CACHE.with_borrow(|cache| {
        let subscriptions = cache.by_auction.get(auction_id).filter(|_| cache.is_fresh())?;
        let wanting = subscriptions.iter().filter(|subscription| subscription.wants(event_type));
        Some(wanting.map(|subscription| subscription.endpoint.clone()).collect())
    })
}

/// Whether an event that these endpoints want is written.
pub fn is_recorded(endpoints: &[Interested]) -> bool {
    !endpoints.is_empty() || settings::record_all_events()
}

/// For each of these auctions the endpoints that want events of this type. Reads the auctions that
/// are not cached. Call it with the rights of the extension's owner.
pub fn wanting(
    client: &SpiClient<'_>,
    event_type: &str,
    auction_ids: impl Iterator<Item = Uuid>,
) -> SpiResult<HashMap<Uuid, Vec<Interested>>> {
    let mut wanting = HashMap::new();
    let mut unknown = Vec::new();
    for auction_id in auction_ids {
        if let std::collections::hash_map::Entry::Vacant(place) = wanting.entry(auction_id) {
            match cached(&auction_id, event_type) {
                Some(endpoints) => drop(place.insert(endpoints)),
                None => {
                    unknown.push(auction_id);
                    place.insert(Vec::new());
                }
            }
        }
    }
    if !unknown.is_empty() {
        for (auction_id, subscriptions) in read(client, &unknown)? {
            let wanted = subscriptions.iter().filter(|subscription| subscription.wants(event_type));
            wanting.insert(auction_id, wanted.map(|subscription| subscription.endpoint.clone()).collect());
            if subscriptions.len() <= MAX_ENDPOINTS {
                CACHE.with_borrow_mut(|cache| cache.by_auction.insert(auction_id, subscriptions));
            }
        }
    }
    Ok(wanting)
}

impl Cache {
    fn is_fresh(&self) -> bool {
        self.changes == Topic::Subscriptions.changes()
    }

    /// Removes entries that may be outdated, and makes space.
    fn prepare(&mut self, changes: u64) {
        if self.changes != changes || self.by_auction.len() >= MAX_AUCTIONS {
            self.by_auction.clear();
            self.changes = changes;
        }
    }
}

fn read(client: &SpiClient<'_>, auction_ids: &[Uuid]) -> SpiResult<HashMap<Uuid, Vec<Subscription>>> {
    let _settings = PinnedSettings::begin();
    Topic::Subscriptions.watch([security_context::relation(c"public", c"webhook_endpoints"), None]);
    // Before the snapshot: a later change causes a later invalidation, and an earlier one is read.
    let changes = Topic::Subscriptions.changes();
    CACHE.with_borrow_mut(|cache| cache.prepare(changes));
    let mut found: HashMap<Uuid, Vec<Subscription>> = auction_ids.iter().map(|id| (*id, Vec::new())).collect();
    let ids: Vec<pgrx::Uuid> = auction_ids.iter().map(id_datum).collect();
    READ.with_borrow_mut(|statement| {
        let sql = include_str!("../../sql/statements/capture/subscriptions.sql");
        let statement = statement.for_reading(client, sql, &[UUIDARRAYOID])?;
        let _latest = LatestSnapshot::take();
        let mut rows = client.select(statement, None, &[ids.into()])?;
        while let Some(row) = rows.next() {
            let ids = row.get::<pgrx::Uuid>(1)?.zip(row.get::<pgrx::Uuid>(2)?);
            let Some(((auction_id, endpoint_id), events)) = ids.zip(row.get::<Vec<String>>(3)?) else { continue };
            // SAFETY: a jsonpath.
            let filter = rows.get_datum_by_ordinal(4)?.map(|path| Rc::new(unsafe { Filter::of(path) }));
            let endpoint = Interested { endpoint_id: id(endpoint_id), filter };
            let subscription = Subscription { endpoint, events };
            found.entry(id(auction_id)).or_default().push(subscription);
        }
        Ok::<_, SpiError>(())
    })?;
    if found.values().any(Vec::is_empty) {
        check_configuration(client)?;
    }
    Ok(found)
}

/// Raises an error on a node of Citus that has not received any endpoints: that an auction has none
/// there says nothing.
fn check_configuration(client: &SpiClient<'_>) -> SpiResult<()> {
    if has_citus() {
        let lacks = client.select("select webhook_delivery.citus_lacks_configuration()", Some(1), &[])?;
        if lacks.first().get_one::<bool>()? == Some(true) {
            refuse(
                PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                "this node has not received the endpoints of the coordinator",
                "Subscribe to the coordinator's publication, as docs/citus.md shows; then webhook_delivery.recapture(id) sends the events.",
            );
        }
    }
    Ok(())
}
