//! The output of the demonstration.

use std::io::IsTerminal;

use crate::table::Table;

/// Longer text is broken into several lines.
pub const WIDTH: usize = 124;

/// Prints the output and counts the expectations that were not met.
pub struct Screen {
    colour: bool,
    /// Statements, requests and results are printed too.
    is_verbose: bool,
    headings: usize,
    /// Number of expectations that were not met.
    failures: usize,
}

impl Screen {
    /// Writes to the standard output, in colour only if it is a terminal and `NO_COLOR` is not set;
    /// with all details if `VERBOSE` is set.
    pub fn new() -> Self {
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let is_verbose = std::env::var_os("VERBOSE").is_some_and(|value| !value.is_empty());
        Self { colour, is_verbose, headings: 0, failures: 0 }
    }

    /// Prints a numbered heading.
    pub fn heading(&mut self, text: &str) {
        self.headings += 1;
        let space = if self.is_verbose { "\n" } else { "" };
        println!("{space}{}", self.styled("1", &format!("{}. {text}", self.headings)));
    }

    /// Prints a remark on a detail.
    pub fn say(&self, text: &str) {
        self.detail(text);
    }

    /// Prints a remark that everyone should see.
    pub fn note(&self, text: &str) {
        println!("  {text}");
    }

    fn detail(&self, line: &str) {
        if self.is_verbose {
            println!("  {line}");
        }
    }

    /// Prints statements as they look when typed into psql.
    pub fn typed(&self, sql: &str) {
        let mut prompt = "=#";
        for line in sql.lines() {
            self.detail(&format!("{} {line}", self.styled("2", prompt)));
            prompt = if line.ends_with(';') { "=#" } else { "-#" };
        }
    }

    /// Prints text that was received.
    pub fn quote(&self, text: &str) {
        for line in text.lines() {
            self.detail(&format!("  {line}"));
        }
    }

    /// Prints the result of a query.
    pub fn table(&self, table: &Table) {
        if let Some(row) = table.only_row() {
            return self.quote(&row);
        }
        for line in table.lines() {
            self.detail(&line);
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
