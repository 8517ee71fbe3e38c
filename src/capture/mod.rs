//! Which rows did this transaction change, and when are their events built?
//!
//! A trigger only notes the key of the changed row. Right before the commit, after every deferred trigger of the user has
//! run, the events of all noted rows are built set-wise: they show the rows as they are committed, entries included that
//! came after their submission, and a transaction that changed a thousand rows pays once what can be paid once.

use std::cell::RefCell;
use std::collections::HashSet;
use std::ffi::{CStr, c_void};

use pgrx::prelude::*;
use pgrx::spi::OwnedPreparedStatement;

/// A row whose event the transaction owes.
struct Change {
    event_type: String,
    /// The event that makes this one needless for the same row in the same transaction: who creates, does not also update.
    unless_event: String,
    key: uuid::Uuid,
    /// Known where the changed table itself carries it; then a transaction nobody listens to costs one index probe.
    auction_id: Option<uuid::Uuid>,
    /// Rolling back to a savepoint takes back what was noted since (only after SET CONSTRAINTS … IMMEDIATE is it noted so early).
    subtransaction: u32,
}

#[derive(Default)]
struct Changes {
    /// In the order in which they happened.
    noted: Vec<Change>,
    seen: HashSet<(String, uuid::Uuid)>,
}

impl Changes {
    fn note(&mut self, change: Change) {
        if self.seen.insert((change.event_type.clone(), change.key)) {
            self.noted.push(change);
        }
    }

    fn forget_since(&mut self, subtransaction: u32) {
        self.noted.retain(|change| change.subtransaction < subtransaction);
        self.seen = self.noted.iter().map(|change| (change.event_type.clone(), change.key)).collect();
    }

    /// The rows of each event, in the order in which the first of each was noted.
    fn by_event(self) -> Vec<EventRows> {
        let mut events: Vec<EventRows> = Vec::new();
        for change in self.noted {
            if self.seen.contains(&(change.unless_event, change.key)) {
                continue;
            }
            let rows = match events.iter().position(|rows| rows.event_type == change.event_type) {
                Some(known) => &mut events[known],
                None => {
                    events.push(EventRows {
                        event_type: change.event_type,
                        keys: Vec::new(),
                        auction_ids: Some(HashSet::new()),
                    });
                    events.last_mut().expect("an element was just pushed")
                }
            };
            rows.keys.push(change.key);
            match (change.auction_id, &mut rows.auction_ids) {
                (Some(auction_id), Some(known)) => _ = known.insert(auction_id),
                _ => rows.auction_ids = None,
            }
        }
        events
    }
}

/// All rows of which one event tells.
struct EventRows {
    event_type: String,
    keys: Vec<uuid::Uuid>,
    /// `None` as soon as one row's auction is not known.
    auction_ids: Option<HashSet<uuid::Uuid>>,
}

impl EventRows {
    fn patterns(&self) -> Vec<String> {
        let family = self.event_type.split('.').next().unwrap_or_default();
        vec![self.event_type.clone(), format!("{family}.*"), "*".to_owned()]
    }
}

thread_local! {
    static CHANGES: RefCell<Changes> = RefCell::default();
    static STATEMENTS: RefCell<Option<Statements>> = const { RefCell::new(None) };
}

/// Hooks into the end of transactions; called while the server loads the library.
pub fn init() {
    // SAFETY: the callbacks live as long as the library, and the library is never unloaded.
    unsafe {
        pg_sys::RegisterXactCallback(Some(at_end_of_transaction), std::ptr::null_mut());
        pg_sys::RegisterSubXactCallback(Some(at_end_of_subtransaction), std::ptr::null_mut());
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn at_end_of_transaction(event: pg_sys::XactEvent::Type, _arg: *mut c_void) {
    use pg_sys::XactEvent::*;
    match event {
        XACT_EVENT_PRE_COMMIT | XACT_EVENT_PRE_PREPARE => {
            let changes = CHANGES.take();
            if !changes.noted.is_empty() {
                build_events(changes);
            }
        }
        XACT_EVENT_ABORT => drop(CHANGES.take()),
        _ => {}
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn at_end_of_subtransaction(
    event: pg_sys::SubXactEvent::Type,
    subtransaction: pg_sys::SubTransactionId,
    _parent: pg_sys::SubTransactionId,
    _arg: *mut c_void,
) {
    if event == pg_sys::SubXactEvent::SUBXACT_EVENT_ABORT_SUB {
        CHANGES.with_borrow_mut(|changes| {
            if !changes.noted.is_empty() {
                changes.forget_since(subtransaction);
            }
        });
    }
}

/// Saved plans of what every capturing transaction asks; planned once per session.
struct Statements {
    any_interest: OwnedPreparedStatement,
    capture: OwnedPreparedStatement,
}

impl Statements {
    fn prepare(client: &mut pgrx::spi::SpiClient<'_>) -> pgrx::spi::SpiResult<Self> {
        use pg_sys::BuiltinOid::*;
        Ok(Self {
            any_interest: client
                .prepare(
                    include_str!("../../sql/capture/any_interest.sql"),
                    &[UUIDARRAYOID.into(), TEXTARRAYOID.into()],
                )?
                .keep(),
            capture: client
                .prepare_mut(include_str!("../../sql/capture/capture.sql"), &[TEXTOID.into(), UUIDARRAYOID.into()])?
                .keep(),
        })
    }
}

fn build_events(changes: Changes) {
    let Some(_owner) = AsOwner::switch() else {
        // The extension was dropped in this very transaction: nobody is left to deliver to.
        return;
    };
    let result = Spi::connect_mut(|client| {
        STATEMENTS.with_borrow_mut(|statements| {
            if statements.is_none() {
                *statements = Some(Statements::prepare(client)?);
            }
            let statements = statements.as_ref().expect("prepared above");
            for rows in changes.by_event() {
                if is_wanted(client, statements, &rows)? {
                    let keys: Vec<pgrx::Uuid> = rows.keys.iter().map(to_datum).collect();
                    client.update(&statements.capture, None, &[rows.event_type.into(), keys.into()])?;
                }
            }
            Ok::<_, pgrx::spi::SpiError>(())
        })
    });
    if let Err(problem) = result {
        pgrx::error!("webhook events could not be built: {problem}");
    }
}

/// One index probe, so that a transaction whose auctions have no endpoint for it builds nothing.
fn is_wanted(
    client: &mut pgrx::spi::SpiClient<'_>,
    statements: &Statements,
    rows: &EventRows,
) -> pgrx::spi::SpiResult<bool> {
    let Some(auction_ids) = &rows.auction_ids else { return Ok(true) };
    let auction_ids: Vec<pgrx::Uuid> = auction_ids.iter().map(to_datum).collect();
    let found = client.select(&statements.any_interest, Some(1), &[auction_ids.into(), rows.patterns().into()])?;
    Ok(!found.is_empty())
}

fn to_datum(id: &uuid::Uuid) -> pgrx::Uuid {
    pgrx::Uuid::from_bytes(*id.as_bytes())
}

/// While it lives, this session acts as the extension's owner with a search path nobody can put anything into: the
/// user who changed a row has no rights on the queue. An error ends the transaction, and that resets both as well.
struct AsOwner {
    user: pg_sys::Oid,
    security_context: i32,
    settings_level: i32,
}

impl AsOwner {
    fn switch() -> Option<Self> {
        let owner = schema_owner()?;
        // SAFETY: the values saved here are put back in `drop`; all pointers are to NUL-terminated literals.
        unsafe {
            let (mut user, mut security_context) = (pg_sys::InvalidOid, 0);
            pg_sys::GetUserIdAndSecContext(&mut user, &mut security_context);
            pg_sys::SetUserIdAndSecContext(owner, security_context | pg_sys::SECURITY_LOCAL_USERID_CHANGE as i32);
            // Between the last statement and the commit there is no snapshot, and SQL needs one.
            pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
            let settings_level = pg_sys::NewGUCNestLevel();
            set_locally(c"search_path", c"pg_catalog, pg_temp");
            // Planning a payload anew for each transaction would cost several times what running it does.
            set_locally(c"plan_cache_mode", c"force_generic_plan");
            Some(Self { user, security_context, settings_level })
        }
    }
}

impl Drop for AsOwner {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // An SQL error is on its way out: the abort resets user, settings and snapshots, in its own order.
            return;
        }
        // SAFETY: the level and the user are those that `switch` left.
        unsafe {
            pg_sys::AtEOXact_GUC(false, self.settings_level);
            pg_sys::PopActiveSnapshot();
            pg_sys::SetUserIdAndSecContext(self.user, self.security_context);
        }
    }
}

/// Sets until the settings' level ends, as the SET clause of a function does.
///
/// # Safety
/// A level of settings must be open.
unsafe fn set_locally(name: &CStr, value: &CStr) {
    // SAFETY: NUL-terminated texts that guc.c copies.
    unsafe {
        pg_sys::set_config_option(
            name.as_ptr(),
            value.as_ptr(),
            pg_sys::GucContext::PGC_USERSET,
            pg_sys::GucSource::PGC_S_SESSION,
            pg_sys::GucAction::GUC_ACTION_SAVE,
            true,
            0,
            false,
        );
    }
}

/// Who ran CREATE EXTENSION, as the owner of its schema; `None` where the schema is gone.
fn schema_owner() -> Option<pg_sys::Oid> {
    // SAFETY: runs inside a transaction; the tuple is released after its one attribute, which is never null, was copied.
    unsafe {
        let schema = pg_sys::get_namespace_oid(c"webhook_delivery".as_ptr(), true);
        let tuple = pg_sys::SearchSysCache1(pg_sys::SysCacheIdentifier::NAMESPACEOID as i32, schema.into());
        if tuple.is_null() {
            return None;
        }
        let mut is_null = false;
        let owner = pg_sys::SysCacheGetAttr(
            pg_sys::SysCacheIdentifier::NAMESPACEOID as i32,
            tuple,
            pg_sys::Anum_pg_namespace_nspowner as i16,
            &mut is_null,
        );
        pg_sys::ReleaseSysCache(tuple);
        Some(pg_sys::Oid::from(owner.value() as u32))
    }
}

#[pg_schema]
mod webhook_delivery {
    use pgrx::prelude::*;

    /// Notes that the row's event is to be built when the transaction is complete. Arguments: event type, key column,
    /// and the event that makes this one needless for the same row in the same transaction (or '').
    /// Attached by `install_triggers()`.
    #[pg_trigger]
    fn note_change<'a>(
        trigger: &'a PgTrigger<'a>,
    ) -> Result<Option<PgHeapTuple<'a, AllocatedByPostgres>>, Box<dyn std::error::Error>> {
        let arguments = trigger.extra_args()?;
        let [event_type, key_column, unless_event] = arguments.as_slice() else {
            return Err("note_change needs three arguments: event type, key column, needless after event".into());
        };
        // SAFETY: a plain counter of the running transaction.
        let subtransaction = unsafe { pg_sys::GetCurrentSubTransactionId() };
        // An entry that moves from one submission to another edits both.
        for row in [trigger.old(), trigger.new()].into_iter().flatten() {
            let Some(key) = row.get_by_name::<pgrx::Uuid>(key_column)? else { continue };
            let auction_id = row.get_by_name::<pgrx::Uuid>("auction_id").ok().flatten();
            super::CHANGES.with_borrow_mut(|changes| {
                changes.note(super::Change {
                    event_type: event_type.clone(),
                    unless_event: unless_event.clone(),
                    key: uuid::Uuid::from_bytes(*key.as_bytes()),
                    auction_id: auction_id.map(|id| uuid::Uuid::from_bytes(*id.as_bytes())),
                    subtransaction,
                });
            });
        }
        Ok(None)
    }
}
