//! Idle: why the worker sends nothing, and what other work it does in this state.

/// Why the worker sends nothing. In `webhook_delivery.status` the state is `waiting`, unless
/// another is given here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Idle {
    NoExtension,
    /// The library is newer than the extension's objects.
    UpdateNeeded,
    NoEndpoint,
    /// The transactions are read-only: deliveries that cannot be recorded would be sent again and
    /// again.
    ReadOnly,
    /// An operator has called `webhook_delivery.pause()`. The state is `paused`.
    Paused,
    /// The rows come from another installation: a restored dump, a copy of a database. The state is
    /// `fenced`.
    Fenced,
}

impl Idle {
    /// From the column `state` of the view `webhook_delivery.send_state`; `None` if the worker may
    /// send.
    pub fn of_send_state(state: Option<&str>) -> Option<Self> {
        match state {
            Some("sending") => None,
            Some("waiting") => Some(Self::NoEndpoint),
            Some("paused") => Some(Self::Paused),
            _ => Some(Self::Fenced),
        }
    }

    pub fn reason(self) -> &'static str {
        match self {
            Self::NoExtension => "waiting for CREATE EXTENSION webhook_delivery",
            Self::UpdateNeeded => "waiting for ALTER EXTENSION webhook_delivery UPDATE",
            Self::NoEndpoint => "waiting for the first endpoint",
            Self::ReadOnly => "waiting until default_transaction_read_only is off",
            Self::Paused => "paused by webhook_delivery.pause()",
            Self::Fenced => "fenced, because this is a copy of another database",
        }
    }
}

/// The work that a worker may do, from nothing to everything.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Duty {
    Nothing,
    /// Partitions and recapture, because rows still arrive in a copy, from the application or by
    /// logical replication. The queue is not changed: replication must find every row in the
    /// partition where the original has it.
    Fenced,
    /// Everything but sending.
    Housekeeping,
    Everything,
}

impl Duty {
    pub fn while_idle(idle: Option<Idle>) -> Self {
        match idle {
            None => Self::Everything,
            Some(Idle::Paused) => Self::Housekeeping,
            Some(Idle::Fenced) => Self::Fenced,
            Some(Idle::NoExtension | Idle::UpdateNeeded | Idle::NoEndpoint | Idle::ReadOnly) => Self::Nothing,
        }
    }
}
