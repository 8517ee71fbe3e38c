//! Time-ordered identifiers: version 7 uuids (RFC 9562) that follow the clock, even when it is set
//! back.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use uuid::{ContextV7, Timestamp, Uuid};

/// Identifiers still ascend if the clock is set back by up to this time: time synchronization often
/// makes such steps.
const SMALL_STEP: Duration = Duration::from_secs(1);

/// A new identifier. Within a process each is greater than the one before, unless the clock was set
/// back by more than a second.
pub fn uuid_v7() -> Uuid {
    static GENERATOR: Mutex<Generator> = Mutex::new(Generator::new());
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    GENERATOR.lock().unwrap_or_else(PoisonError::into_inner).next(since_1970)
}

struct Generator {
    /// Counts within a millisecond, and continues from the latest time while the clock is behind
    /// it.
    context: ContextV7,
    /// The latest time that `context` has seen.
    latest: Duration,
}

impl Generator {
    const fn new() -> Self {
        Self { context: ContextV7::new(), latest: Duration::ZERO }
    }

    fn next(&mut self, since_1970: Duration) -> Uuid {
        if self.latest.saturating_sub(since_1970) > SMALL_STEP {
            // A context never goes back. Without a new one, identifiers would have the wrong time
            // for the life of the process.
            *self = Self::new();
        }
        self.latest = self.latest.max(since_1970);
        Uuid::new_v7(Timestamp::from_unix(&self.context, since_1970.as_secs(), since_1970.subsec_nanos()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use uuid::{Variant, Version};

    use super::*;

    const NOW: Duration = Duration::from_millis(1_700_000_000_123);
    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn time_of(id: &Uuid) -> Duration {
        let (seconds, nanos) = id.get_timestamp().expect("a version 7 uuid has a time").to_unix();
        Duration::new(seconds, nanos)
    }

    fn made_at(generator: &mut Generator, time: Duration, number: usize) -> Vec<Uuid> {
        (0..number).map(|_| generator.next(time)).collect()
    }

    #[test]
    fn ids_of_one_millisecond_ascend() {
        let ids = made_at(&mut Generator::new(), NOW, 10_000);
        assert!(ids.is_sorted_by(|one, next| one < next));
        assert_eq!(time_of(&ids[0]), NOW);
    }

    #[test]
    fn ids_ascend_while_the_clock_steps_back_by_up_to_a_second() {
        let mut generator = Generator::new();
        let times = [0, 500, 1_000, 1, 999, 0].map(|back| NOW - Duration::from_millis(back));
        let ids: Vec<_> = times.into_iter().flat_map(|time| made_at(&mut generator, time, 100)).collect();
        assert!(ids.is_sorted_by(|one, next| one < next));
        assert_eq!(time_of(ids.last().unwrap()), NOW);
    }

    #[test]
    fn ids_follow_the_clock_back_by_more_than_a_second() {
        for back in [Duration::from_millis(1_001), 40 * DAY] {
            let mut generator = Generator::new();
            generator.next(NOW);
            let ids = made_at(&mut generator, NOW - back, 100);
            assert_eq!(time_of(&ids[0]), NOW - back);
            assert!(ids.is_sorted_by(|one, next| one < next));
        }
    }

    #[test]
    fn small_steps_back_add_up() {
        let mut generator = Generator::new();
        let times = [0, 600, 1_200].map(|back| NOW - Duration::from_millis(back));
        assert_eq!(times.map(|time| time_of(&generator.next(time))), [NOW, NOW, times[2]]);
    }

    #[test]
    fn ids_are_unique_for_any_clock() {
        let mut generator = Generator::new();
        let half_a_second = Duration::from_millis(500);
        let times =
            [NOW, NOW - half_a_second, NOW, NOW - 40 * DAY, NOW - 40 * DAY - half_a_second, NOW, NOW - 40 * DAY];
        let ids: HashSet<_> = times.into_iter().flat_map(|time| made_at(&mut generator, time, 10_000)).collect();
        assert_eq!(ids.len(), times.len() * 10_000);
    }

    #[test]
    fn ids_have_version_7_and_the_variant_of_the_rfc() {
        for id in made_at(&mut Generator::new(), NOW, 1_000) {
            assert_eq!((id.get_version(), id.get_variant()), (Some(Version::SortRand), Variant::RFC4122));
        }
    }
}
