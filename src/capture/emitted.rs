//! Emitted events: the events of `emit()` that wait for the commit.

use super::subscriptions::Wanted;

/// Maximum number of events, and of bytes of data, that wait for the commit; beyond it they are
/// written at once.
const MAX_EVENTS: usize = 1000;
const MAX_BYTES: usize = 1 << 20;

/// An event to be written at the commit.
pub struct Emitted {
    pub event_type: String,
    pub wanted: Wanted,
    /// JSON.
    pub data: String,
    /// The subtransaction that emitted it: a rollback to a savepoint removes it.
    pub subtransaction: u32,
}

/// Events that the transaction has emitted and not written yet.
#[derive(Default)]
pub struct EmittedEvents {
    events: Vec<Emitted>,
    bytes: usize,
}

impl EmittedEvents {
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    pub fn into_events(self) -> Vec<Emitted> {
        self.events
    }

    /// Removes the events of this subtransaction and those within it, which are the end of the
    /// list.
    pub fn forget_since(&mut self, subtransaction: u32) {
        while let Some(undone) = self.events.pop_if(|last| last.subtransaction >= subtransaction) {
            self.bytes -= undone.data.len();
        }
    }

    pub fn push(&mut self, emitted: Emitted) {
        self.bytes += emitted.data.len();
        self.events.push(emitted);
    }

    /// The events of this subtransaction and those within it, if too many events wait. The events
    /// of outer subtransactions stay: a rollback of this one must not undo them.
    pub fn take_if_many(&mut self, subtransaction: u32) -> Vec<Emitted> {
        if self.events.len() < MAX_EVENTS && self.bytes < MAX_BYTES {
            return Vec::new();
        }
        let own = self.events.iter().rev().take_while(|event| event.subtransaction >= subtransaction).count();
        let taken = self.events.split_off(self.events.len() - own);
        self.bytes -= taken.iter().map(|event| event.data.len()).sum::<usize>();
        taken
    }
}
