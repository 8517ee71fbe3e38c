//! When the next delivery is due, as far as the worker knows.

/// When the next delivery that is not due yet will be, in PostgreSQL microseconds.
#[derive(Clone, Copy)]
pub enum NextDue {
    /// It has to be looked up.
    Unknown,
    /// Then, or never.
    Known(Option<i64>),
}

impl NextDue {
    /// Another delivery will be due then.
    pub fn include(&mut self, due_at: Option<i64>) {
        if let Self::Known(known) = self {
            *known = known.iter().copied().chain(due_at).min();
        }
    }

    /// Whether it is certain to lie after this moment.
    pub fn is_ahead_of(self, now: i64) -> bool {
        matches!(self, Self::Known(at) if at.is_none_or(|at| at > now))
    }
}
