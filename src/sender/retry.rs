//! The retry schedule: when a failed delivery is tried again.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

/// The waiting times between the attempts of a delivery. There is one attempt more than times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetrySchedule(Vec<Duration>);

/// The operator's settings for retries.
#[derive(Clone, Debug)]
pub struct RetryPolicy {
    /// The schedule of endpoints that have none of their own.
    pub schedule: RetrySchedule,
    /// The longest wait that a receiver's `Retry-After` can cause.
    pub retry_after_limit: Duration,
}

/// Jitter adds at most this share of a waiting time, so that deliveries that failed together are
/// not retried together.
const MAX_JITTER: f64 = 0.1;

/// Maximum number of waiting times, because attempts are counted in a small integer.
const MAX_ENTRIES: usize = 100;

/// Maximum waiting time.
const MAX_DELAY: Duration = Duration::from_secs(30 * 24 * 3600);

impl RetrySchedule {
    /// The number of attempts of a delivery.
    pub fn max_attempts(&self) -> u16 {
        self.0.len() as u16 + 1
    }

    /// A customer's schedule, which the database has checked.
    pub fn of_waits(waits: impl IntoIterator<Item = Duration>) -> Self {
        Self(waits.into_iter().take(MAX_ENTRIES).collect())
    }
}

impl RetryPolicy {
    /// The time from the failure of this attempt (1 for the first) until the next one is due;
    /// `None` after the last. The endpoint may have its `own` schedule, and its receiver may have
    /// `asked` for a longer wait. `jitter` in 0..1 makes the time up to 10 % longer, never shorter.
    pub fn delay_after(
        &self,
        attempt: u16,
        own: Option<&RetrySchedule>,
        asked: Option<Duration>,
        jitter: f64,
    ) -> Option<Duration> {
        let scheduled = own.unwrap_or(&self.schedule).0.get(usize::from(attempt).checked_sub(1)?)?;
        let with_jitter = |delay: Duration| delay.mul_f64(1.0 + MAX_JITTER * jitter.clamp(0.0, 1.0));
        let limit = self.retry_after_limit;
        let asked = with_jitter(asked.unwrap_or_default().min(limit)).min(limit);
        Some(with_jitter(*scheduled).max(asked))
    }
}

/// The wait from now on that a `Retry-After` header asks for: seconds, or a date (RFC 9110,
/// 10.2.3). `None` if it is neither, or if the date has passed.
pub fn retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit()) {
        // A number that is too long to parse is longer than any limit.
        return Some(Duration::from_secs(text.parse().unwrap_or(u32::MAX).into()));
    }
    httpdate::parse_http_date(text).ok()?.duration_since(now).ok()
}

impl Default for RetrySchedule {
    /// 1 min, 5 min, 30 min, 2 h, 12 h: six attempts in about 15 hours.
    fn default() -> Self {
        Self([60, 300, 1_800, 7_200, 43_200].map(Duration::from_secs).to_vec())
    }
}

/// The text is not a retry schedule. The message has the wrong part and a correct example.
#[derive(Debug, PartialEq, Eq)]
pub struct InvalidSchedule(String);

impl fmt::Display for InvalidSchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}. Write waiting times such as \"1m, 5m, 30m, 2h, 12h\" (ms, s, m, h, d).", self.0)
    }
}

impl std::error::Error for InvalidSchedule {}

impl FromStr for RetrySchedule {
    type Err = InvalidSchedule;

    /// Reads "1m, 5m, 30m, 2h, 12h". An empty text is the schedule of one attempt.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.trim().is_empty() {
            return Ok(Self(Vec::new()));
        }
        let delays: Vec<Duration> = text.split(',').map(parse_delay).collect::<Result<_, _>>()?;
        if delays.len() > MAX_ENTRIES {
            return Err(InvalidSchedule(format!(
                "There must be at most {MAX_ENTRIES} waiting times, not {}",
                delays.len()
            )));
        }
        Ok(Self(delays))
    }
}

fn parse_delay(text: &str) -> Result<Duration, InvalidSchedule> {
    let text = text.trim();
    let delay = humantime::parse_duration(text)
        .map_err(|problem| InvalidSchedule(format!("\"{text}\" is not a waiting time: {problem}")))?;
    if delay > MAX_DELAY {
        return Err(InvalidSchedule(format!("\"{text}\" is longer than 30 days")));
    }
    Ok(delay)
}

/// Exponential backoff: the pause after this number of failures in a row, which doubles with each
/// failure up to the longest. None without a failure.
pub fn backoff(first: Duration, longest: Duration, failures: u32) -> Duration {
    match failures {
        0 => Duration::ZERO,
        _ => first.saturating_mul(2_u32.saturating_pow(failures - 1)).min(longest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn policy(schedule: &RetrySchedule) -> RetryPolicy {
        RetryPolicy { schedule: schedule.clone(), retry_after_limit: HOUR }
    }

    fn delay(schedule: &RetrySchedule, attempt: u16, jitter: f64) -> Option<Duration> {
        policy(schedule).delay_after(attempt, None, None, jitter)
    }

    #[test]
    fn default_schedule_has_six_attempts() {
        let schedule = RetrySchedule::default();
        assert_eq!(schedule, "1m, 5m, 30m, 2h, 12h".parse().unwrap());
        assert_eq!(schedule.max_attempts(), 6);
        let minutes: Vec<_> = (1..=6).map(|attempt| delay(&schedule, attempt, 0.0).map(|d| d.as_secs() / 60)).collect();
        assert_eq!(minutes, [Some(1), Some(5), Some(30), Some(120), Some(720), None]);
    }

    #[test]
    fn jitter_adds_up_to_ten_percent_and_never_shortens() {
        let schedule: RetrySchedule = "100s".parse().unwrap();
        assert_eq!(delay(&schedule, 1, 0.0), Some(Duration::from_secs(100)));
        assert_eq!(delay(&schedule, 1, 1.0), Some(Duration::from_secs(110)));
        assert_eq!(delay(&schedule, 1, -5.0), Some(Duration::from_secs(100)));
    }

    #[test]
    fn jitter_from_a_seeded_source_spreads_over_the_ten_percent() {
        let schedule: RetrySchedule = "100s".parse().unwrap();
        let mut source = fastrand::Rng::with_seed(17);
        let mut waits: Vec<f64> = (0..1000).map(|_| delay(&schedule, 1, source.f64()).unwrap().as_secs_f64()).collect();
        waits.sort_by(f64::total_cmp);
        assert!(waits[0] >= 100.0 && waits[0] < 100.1 && waits[999] > 109.9 && waits[999] <= 110.0);
        assert!((104.0..106.0).contains(&waits[500]), "{}", waits[500]);
    }

    #[test]
    fn retry_after_lengthens_the_wait_up_to_the_limit() {
        let policy = policy(&"100s".parse().unwrap());
        let wait =
            |asked, jitter| policy.delay_after(1, None, Some(Duration::from_secs(asked)), jitter).unwrap().as_secs();
        assert_eq!(
            [wait(0, 0.0), wait(99, 0.0), wait(101, 0.0), wait(3600, 0.0), wait(1 << 40, 0.0)],
            [100, 100, 101, 3600, 3600]
        );
        assert_eq!([wait(200, 1.0), wait(3599, 1.0)], [220, 3600], "jitter adds, and not beyond the limit");
        assert_eq!(policy.delay_after(2, None, Some(HOUR), 0.0), None, "the last attempt stays the last");
    }

    #[test]
    fn own_schedule_of_an_endpoint_comes_first() {
        let own = RetrySchedule::of_waits([HOUR, HOUR]);
        let delays =
            [1, 2, 3].map(|attempt| policy(&RetrySchedule::default()).delay_after(attempt, Some(&own), None, 0.0));
        assert_eq!(delays, [Some(HOUR), Some(HOUR), None]);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_000);
        for (text, seconds) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("99999999999999999999", Some(u64::from(u32::MAX))),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(777)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(777)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", None),
            ("-5", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(retry_after(text, now), seconds.map(Duration::from_secs), "{text}");
        }
    }

    #[test]
    fn empty_schedule_is_one_attempt() {
        let schedule: RetrySchedule = " ".parse().unwrap();
        assert_eq!((schedule.max_attempts(), delay(&schedule, 1, 0.5)), (1, None));
    }

    #[test]
    fn milliseconds_are_read() {
        assert_eq!(delay(&"20ms".parse().unwrap(), 1, 0.0), Some(Duration::from_millis(20)));
    }

    #[test]
    fn invalid_schedule_error_names_the_wrong_part() {
        let problem = "1m, soon".parse::<RetrySchedule>().unwrap_err().to_string();
        assert!(problem.contains("\"soon\"") && problem.contains("1m, 5m"), "{problem}");
        assert!("31d".parse::<RetrySchedule>().is_err());
        assert!("1m,,2m".parse::<RetrySchedule>().is_err());
    }
}
