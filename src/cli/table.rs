//! Rows in aligned columns.

use std::fmt;

/// A table with a header. Its last column is not padded.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub fn new(header: &[&str]) -> Self {
        let header = header.iter().map(|&title| title.to_owned()).collect();
        Self { rows: vec![header] }
    }

    /// Adds a row. What is empty shows as `-`, and control characters as a `?`: a terminal must not obey them.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        let cells = cells.into_iter().map(|cell| {
            if cell.is_empty() {
                return "-".to_owned();
            }
            cell.replace(|c: char| c.is_control(), "?")
        });
        self.rows.push(cells.collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.first().map_or(0, Vec::len);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.rows {
            for (index, (cell, &width)) in row.iter().zip(&widths).enumerate() {
                if index + 1 == columns {
                    writeln!(f, "{cell}")?;
                } else {
                    write!(f, "{cell:width$}   ")?;
                }
            }
        }
        Ok(())
    }
}

/// How much of ids a table shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ids {
    /// What [`short`] leaves.
    Short,
    /// All.
    Whole,
}

impl From<bool> for Ids {
    /// Of `--no-trunc`.
    fn from(given: bool) -> Self {
        if given { Self::Whole } else { Self::Short }
    }
}

impl Ids {
    /// A cell with an id.
    pub fn show(self, id: &str) -> String {
        match self {
            Self::Short => short(id).to_owned(),
            Self::Whole => id.to_owned(),
        }
    }
}

/// As much of an id as tells it from others in practice: 13 characters, as crictl prints.
pub fn short(id: &str) -> &str {
    let start = id.strip_prefix("sha256:").unwrap_or(id);
    start.get(..13).unwrap_or(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["ID", "NAME"]);
        table.row(["a".into(), "bü".into()]);
        table.row(["long one".into(), String::new()]);
        let expected = "ID         NAME\na          bü\nlong one   -\n";
        assert_eq!(table.to_string(), expected);
    }

    #[test]
    fn a_cell_cannot_drive_the_terminal() {
        let mut table = Table::new(&["NAME"]);
        table.row(["\u{1b}[2Jx\ny".into()]);
        assert_eq!(table.to_string(), "NAME\n?[2Jx?y\n");
    }

    #[test]
    fn ids_are_cut_and_shorter_ones_are_not() {
        assert_eq!(short("0123456789abcdef"), "0123456789abc");
        assert_eq!(short("sha256:0123456789abcdef"), "0123456789abc");
        assert_eq!(short("abc"), "abc");
        assert_eq!(Ids::from(false).show("0123456789abcdef"), "0123456789abc");
        assert_eq!(Ids::from(true).show("sha256:0123"), "sha256:0123");
    }
}
