//! What happens when a trigger fires, whatever kind of trigger it is.

use pgrx::prelude::*;

use super::firing::{Firing, arguments, wrongly_attached};
use super::partition_moves::{self, FiringKind};
use super::placement::placement_of;
use super::toggle::is_switched_off;

/// Runs `handle` for this firing of a trigger, unless the table's owner has switched capture off, or
/// another node makes the events of the table.
///
/// The server reports a row that moves to another partition as deleted and inserted; it is handled
/// as an update.
pub fn fire(trigger: &PgTrigger, handle: fn(&Firing)) {
    let data = trigger.trigger_data();
    if data.tg_event & pg_sys::TRIGGER_EVENT_ROW == 0 {
        return wrongly_attached("triggers of webhook_delivery must be FOR EACH ROW");
    }
    let (old, new) = match data.tg_event & pg_sys::TRIGGER_EVENT_OPMASK {
        pg_sys::TRIGGER_EVENT_INSERT => (std::ptr::null_mut(), data.tg_trigtuple),
        pg_sys::TRIGGER_EVENT_UPDATE => (data.tg_trigtuple, data.tg_newtuple),
        _ => (data.tg_trigtuple, std::ptr::null_mut()),
    };
    // SAFETY: the server keeps the relation, the tuples and the trigger while it runs.
    let firing = unsafe { Firing { relation: &*data.tg_relation, old, new, arguments: arguments(&*data.tg_trigger) } };
    // SAFETY: the tuples are those of the trigger's relation.
    let kind = unsafe { partition_moves::classify(&firing) };
    if is_switched_off(firing.relation) || !placement_of(&firing).makes_events {
        return;
    }
    match kind {
        FiringKind::Change => handle(&firing),
        FiringKind::Departure => partition_moves::note_departure(&firing, handle),
        // SAFETY: as above.
        FiringKind::Arrival(Some(departed)) => unsafe { partition_moves::fire_for_update(&firing, departed) },
        FiringKind::Arrival(None) => {}
    }
}
