//! How the demonstration looks to the person who reads it.

use std::io::IsTerminal;

use crate::table::Table;

/// What does not fit is broken into several lines.
pub const WIDTH: usize = 124;

/// Prints, and remembers whether everything shown was as it should be.
pub struct Screen {
    colour: bool,
    headings: usize,
    /// How often something was not as expected.
    faults: usize,
}

impl Screen {
    /// Writes to the standard output; in colour only for a person at a terminal who has not refused it.
    pub fn new() -> Self {
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { colour, headings: 0, faults: 0 }
    }

    /// What comes next.
    pub fn heading(&mut self, text: &str) {
        self.headings += 1;
        println!("\n{}", self.styled("1", &format!("{}. {text}", self.headings)));
    }

    /// A remark.
    pub fn say(&self, text: &str) {
        println!("  {text}");
    }

    /// What somebody typed into a session.
    pub fn typed(&self, sql: &str) {
        let mut prompt = "=#";
        for line in sql.lines() {
            println!("  {} {line}", self.styled("2", prompt));
            prompt = if line.ends_with(';') { "=#" } else { "-#" };
        }
    }

    /// What was received.
    pub fn quote(&self, text: &str) {
        for line in text.lines() {
            println!("    {line}");
        }
    }

    /// What a query gave.
    pub fn table(&self, table: &Table) {
        if let Some(row) = table.only_row() {
            return self.quote(&row);
        }
        for line in table.lines() {
            println!("  {line}");
        }
    }

    /// Says whether something is as it should be; `what` is a sentence that is true then.
    pub fn expect(&mut self, is_so: bool, what: &str) {
        if is_so {
            println!("  {} {what}", self.styled("32", "ok:"));
        } else {
            self.faults += 1;
            println!("  {} {what}", self.styled("31", "NOT SO:"));
        }
    }

    /// Whether every expectation was met.
    pub fn is_all_well(&self) -> bool {
        self.faults == 0
    }

    fn styled(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
