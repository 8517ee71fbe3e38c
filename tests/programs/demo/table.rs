//! The result of a statement as a table of text.

use postgres::{Client, SimpleQueryMessage, SimpleQueryRow};

/// The rows of a result, with their values as psql shows them.
#[derive(Default)]
pub struct Table {
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table that is not the result of a statement.
    pub fn new(columns: &[&str], rows: Vec<Vec<String>>) -> Self {
        Self { columns: columns.iter().map(|&name| name.to_owned()).collect(), rows }
    }

    /// Executes statements and returns the rows of all of them.
    ///
    /// # Panics
    /// If a statement fails. The message contains the server's error.
    pub fn query(client: &mut Client, sql: &str) -> Self {
        let messages = client.simple_query(sql).unwrap_or_else(|e| panic!("{sql}\nfailed: {e}: {:?}", e.as_db_error()));
        let mut table = Self::default();
        for message in messages {
            match message {
                SimpleQueryMessage::RowDescription(columns) => {
                    table.columns = columns.iter().map(|column| column.name().to_owned()).collect();
                }
                SimpleQueryMessage::Row(row) => table.rows.push(cells(&row)),
                _ => {}
            }
        }
        table
    }

    /// A value as text. Null is an empty string.
    ///
    /// # Panics
    /// If there is no such row or column.
    pub fn cell(&self, row: usize, column: &str) -> &str {
        let index = self.columns.iter().position(|name| name == column);
        &self.rows[row][index.unwrap_or_else(|| panic!("no column {column} in {:?}", self.columns))]
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// If there is only one row, its values with their names on one line.
    pub fn only_row(&self) -> Option<String> {
        let [row] = self.rows.as_slice() else { return None };
        let named = self.columns.iter().zip(row).map(|(column, cell)| format!("{column}: {cell}"));
        Some(named.collect::<Vec<_>>().join("   "))
    }

    /// The column names, a rule, and a line for each row. Numbers are aligned to the right.
    pub fn lines(&self) -> Vec<String> {
        let in_column = |column: usize| self.rows.iter().map(move |row: &Vec<String>| row[column].as_str());
        let width = |column: usize| {
            let cells = in_column(column).chain([self.columns[column].as_str()]);
            cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let is_number = |column: usize| {
            in_column(column).all(|cell| cell.chars().all(|c| c.is_ascii_digit() || c == '.' || c == '…'))
        };
        let to_right: Vec<bool> = (0..self.columns.len()).map(is_number).collect();
        let line = |cells: &Vec<String>| {
            let padded = cells.iter().zip(&widths).zip(&to_right).map(|((cell, &width), &to_right)| {
                if to_right { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
            });
            padded.collect::<Vec<_>>().join(" | ").trim_end().to_owned()
        };
        let rule = widths.iter().map(|&width| "-".repeat(width)).collect::<Vec<_>>().join("-+-");
        [line(&self.columns), rule].into_iter().chain(self.rows.iter().map(line)).collect()
    }
}

fn cells(row: &SimpleQueryRow) -> Vec<String> {
    (0..row.len()).map(|column| row.get(column).unwrap_or_default().to_owned()).collect()
}
