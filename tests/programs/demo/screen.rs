//! The output of the demonstration.

use std::io::IsTerminal;

use crate::table::Table;

/// Longer text is broken into several lines.
pub const WIDTH: usize = 124;

/// Prints the output and counts the expectations that were not met.
pub struct Screen {
    colour: bool,
    headings: usize,
    /// Number of expectations that were not met.
    failures: usize,
}

impl Screen {
    /// Writes to the standard output, in colour only if it is a terminal and `NO_COLOR` is not set.
    pub fn new() -> Self {
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { colour, headings: 0, failures: 0 }
    }

    /// Prints a numbered heading.
    pub fn heading(&mut self, text: &str) {
        self.headings += 1;
        println!("\n{}", self.styled("1", &format!("{}. {text}", self.headings)));
    }

    /// Prints a remark.
    pub fn say(&self, text: &str) {
        println!("  {text}");
    }

    /// Prints statements as they look when typed into psql.
    pub fn typed(&self, sql: &str) {
        let mut prompt = "=#";
        for line in sql.lines() {
            println!("  {} {line}", self.styled("2", prompt));
            prompt = if line.ends_with(';') { "=#" } else { "-#" };
        }
    }

    /// Prints text that was received.
    pub fn quote(&self, text: &str) {
        for line in text.lines() {
            println!("    {line}");
        }
    }

    /// Prints the result of a query.
    pub fn table(&self, table: &Table) {
        if let Some(row) = table.only_row() {
            return self.quote(&row);
        }
        for line in table.lines() {
            println!("  {line}");
        }
    }

    /// Prints whether an expectation is met. `what` is a sentence that is true if it is.
    pub fn expect(&mut self, is_met: bool, what: &str) {
        if is_met {
            println!("  {} {what}", self.styled("32", "ok:"));
        } else {
            self.failures += 1;
            println!("  {} {what}", self.styled("31", "FAILED:"));
        }
    }

    /// Whether every expectation was met.
    pub fn all_passed(&self) -> bool {
        self.failures == 0
    }

    fn styled(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
