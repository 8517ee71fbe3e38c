//! When is a failed delivery tried again, and when no more?

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Waiting times between the attempts of a delivery; one attempt more than there are times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetrySchedule(Vec<Duration>);

/// Jitter adds at most this share of a waiting time, so that what failed together does not come back together.
const MAX_JITTER: f64 = 0.1;

/// Entries beyond this are refused: attempts are counted in a small number.
const MAX_ENTRIES: usize = 100;

/// One waiting time beyond this is refused.
const MAX_DELAY: Duration = Duration::from_secs(30 * 24 * 3600);

impl RetrySchedule {
    /// How many attempts a delivery has.
    pub fn max_attempts(&self) -> u16 {
        self.0.len() as u16 + 1
    }

    /// How long after the failure of this attempt (1 for the first) the next one is due; `None` after the last.
    /// `jitter` in 0..1 makes the wait up to 10 % longer, never shorter.
    pub fn delay_after(&self, attempt: u16, jitter: f64) -> Option<Duration> {
        let delay = self.0.get(usize::from(attempt).checked_sub(1)?)?;
        Some(delay.mul_f64(1.0 + MAX_JITTER * jitter.clamp(0.0, 1.0)))
    }
}

impl Default for RetrySchedule {
    /// 1 min, 5 min, 30 min, 2 h, 12 h: six attempts in about 15 hours.
    fn default() -> Self {
        Self([60, 300, 1_800, 7_200, 43_200].map(Duration::from_secs).to_vec())
    }
}

/// A text is no retry schedule; says which part of it, and what would be.
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
            return Err(InvalidSchedule(format!("{} waiting times are more than {MAX_ENTRIES}", delays.len())));
        }
        Ok(Self(delays))
    }
}

fn parse_delay(text: &str) -> Result<Duration, InvalidSchedule> {
    let text = text.trim();
    let delay = humantime::parse_duration(text)
        .map_err(|problem| InvalidSchedule(format!("\"{text}\" is no waiting time: {problem}")))?;
    if delay > MAX_DELAY {
        return Err(InvalidSchedule(format!("\"{text}\" is longer than 30 days")));
    }
    Ok(delay)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_six_attempts_after_1_min_5_min_30_min_2_h_and_12_h() {
        let schedule = RetrySchedule::default();
        assert_eq!(schedule, "1m, 5m, 30m, 2h, 12h".parse().unwrap());
        assert_eq!(schedule.max_attempts(), 6);
        let minutes: Vec<_> =
            (1..=6).map(|attempt| schedule.delay_after(attempt, 0.0).map(|d| d.as_secs() / 60)).collect();
        assert_eq!(minutes, [Some(1), Some(5), Some(30), Some(120), Some(720), None]);
    }

    #[test]
    fn jitter_adds_up_to_ten_percent_and_never_takes_away() {
        let schedule: RetrySchedule = "100s".parse().unwrap();
        assert_eq!(schedule.delay_after(1, 0.0), Some(Duration::from_secs(100)));
        assert_eq!(schedule.delay_after(1, 1.0), Some(Duration::from_secs(110)));
        assert_eq!(schedule.delay_after(1, -5.0), Some(Duration::from_secs(100)));
    }

    #[test]
    fn an_empty_schedule_is_one_attempt() {
        let schedule: RetrySchedule = " ".parse().unwrap();
        assert_eq!((schedule.max_attempts(), schedule.delay_after(1, 0.5)), (1, None));
    }

    #[test]
    fn milliseconds_are_read() {
        assert_eq!("20ms".parse::<RetrySchedule>().unwrap().delay_after(1, 0.0), Some(Duration::from_millis(20)));
    }

    #[test]
    fn what_is_no_schedule_is_refused_with_the_part_that_is_wrong() {
        let problem = "1m, soon".parse::<RetrySchedule>().unwrap_err().to_string();
        assert!(problem.contains("\"soon\"") && problem.contains("1m, 5m"), "{problem}");
        assert!("31d".parse::<RetrySchedule>().is_err());
        assert!("1m,,2m".parse::<RetrySchedule>().is_err());
    }
}
