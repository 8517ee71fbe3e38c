//! Columns of the results and arguments of statements.

/// A column that is never null.
pub fn required<T>(value: Option<T>) -> T {
    value.expect("the queue's columns are not null")
}

/// One of several arrays of equal length.
pub fn column<'a, R, T>(rows: &'a [R], of: impl Fn(&'a R) -> T) -> Vec<T> {
    rows.iter().map(of).collect()
}
