//! What a process has used, as Linux counts it.

/// The kernel's unit of CPU time in /proc: 100 a second on every Linux that PostgreSQL runs on.
const TICKS_PER_S: f64 = 100.0;

/// CPU time of all its threads, user and system, in microseconds.
pub fn cpu_micros(pid: i32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    // The second field is the name in parentheses, which may contain spaces; utime and stime are the 14th and 15th.
    let after_name = stat.rsplit_once(')').expect("a name in parentheses").1;
    let ticks: f64 =
        after_name.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<f64>().expect("a number")).sum();
    ticks / TICKS_PER_S * 1_000_000.0
}

/// The most memory it has had at once, in MiB, the shared buffers that it touched included.
pub fn peak_rss_mb(pid: i32) -> f64 {
    status_mb(pid, "VmHWM:")
}

/// The most memory of its own it has had at once, in MiB: without the shared buffers that it touched.
pub fn peak_own_mb(pid: i32) -> f64 {
    status_mb(pid, "VmHWM:") - status_mb(pid, "RssShmem:")
}

fn status_mb(pid: i32, name: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("Linux tells it");
    let kib: f64 = line.trim().trim_end_matches(" kB").trim().parse().expect("a number");
    kib / 1024.0
}
