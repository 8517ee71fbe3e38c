//! CPU time and memory of a process, as Linux counts them.

/// The kernel's unit of CPU time in /proc: 100 per second on every Linux that PostgreSQL supports.
const TICKS_PER_S: f64 = 100.0;

/// User and system CPU time of all threads of the process, in microseconds.
pub fn cpu_micros(pid: i32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    // The second field is the name in parentheses, which may contain spaces. utime and stime are
    // the 14th and 15th field.
    let after_name = stat.rsplit_once(')').expect("a name in parentheses").1;
    let ticks: f64 =
        after_name.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<f64>().expect("a number")).sum();
    ticks / TICKS_PER_S * 1_000_000.0
}

/// Peak of the process's memory in MiB, including the shared buffers that it has accessed.
pub fn peak_rss_mb(pid: i32) -> f64 {
    status_mb(pid, "VmHWM:")
}

/// Peak of the process's private memory in MiB, without the shared buffers that it has accessed.
pub fn peak_own_mb(pid: i32) -> f64 {
    status_mb(pid, "VmHWM:") - status_mb(pid, "RssShmem:")
}

fn status_mb(pid: i32, name: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a field that Linux reports");
    let kib: f64 = line.trim().trim_end_matches(" kB").trim().parse().expect("a number");
    kib / 1024.0
}
