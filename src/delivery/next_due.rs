//! How long is there nothing to read, as far as the worker knows?

/// When the next delivery will be due that is not due yet, in Postgres microseconds.
#[derive(Clone, Copy)]
pub enum NextDue {
    /// It has to be looked up.
    Unknown,
    /// Never, or then.
    Known(Option<i64>),
}

impl NextDue {
    /// One more will be due then.
    pub fn include(&mut self, due_at: Option<i64>) {
        if let Self::Known(known) = self {
            *known = known.iter().copied().chain(due_at).min();
        }
    }

    /// Whether it lies ahead of this moment for certain.
    pub fn is_ahead_of(self, now: i64) -> bool {
        matches!(self, Self::Known(at) if at.is_none_or(|at| at > now))
    }
}
