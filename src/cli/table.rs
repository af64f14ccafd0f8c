//! Tables of text with aligned columns.

/// Blanks between two columns.
const GAP: usize = 2;

/// The alignment of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Align {
    Left,
    Right,
}

/// A column of a table, as wide as its widest cell.
#[derive(Debug)]
pub(in crate::cli) struct Column {
    pub(in crate::cli) title: &'static str,
    align: Align,
    cells: Vec<String>,
    width: usize,
}

impl Column {
    pub(in crate::cli) fn new(title: &'static str, align: Align, cells: impl Iterator<Item = String>) -> Self {
        let cells: Vec<_> = cells.collect();
        let widths = cells.iter().map(String::as_str).chain([title]).map(|cell| cell.chars().count());
        let width = widths.max().unwrap_or_default();
        Self { title, align, cells, width }
    }

    fn padded(&self, text: &str) -> String {
        let width = self.width;
        match self.align {
            Align::Left => format!("{text:<width$}"),
            Align::Right => format!("{text:>width$}"),
        }
    }
}

/// Returns the width of a table.
#[cfg(feature = "client")]
pub(in crate::cli) fn width(columns: &[Column]) -> usize {
    columns.iter().map(|column| column.width + GAP).sum::<usize>().saturating_sub(GAP)
}

/// Returns the lines of a table: its titles, then its rows.
pub(in crate::cli) fn lines(columns: &[Column]) -> Vec<String> {
    let rows = columns.first().map_or(0, |column| column.cells.len());
    let line = |cell: &dyn Fn(&Column) -> String| {
        let cells: Vec<_> = columns.iter().map(cell).collect();
        cells.join(&" ".repeat(GAP)).trim_end().to_owned()
    };
    let titles = line(&|column| column.padded(column.title));
    let rows = (0..rows).map(|row| line(&|column| column.padded(&column.cells[row])));
    std::iter::once(titles).chain(rows).collect()
}

/// Returns the lines of a table of rows.
#[cfg(feature = "server")]
pub(in crate::cli) fn table<const N: usize>(head: [(&'static str, Align); N], rows: &[[String; N]]) -> Vec<String> {
    let column = |(index, (title, align)): (usize, (_, _))| {
        Column::new(title, align, rows.iter().map(move |row| row[index].clone()))
    };
    lines(&head.into_iter().enumerate().map(column).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let column = |title, align, cells: &[&str]| Column::new(title, align, cells.iter().map(ToString::to_string));
        let columns = [column("NAME", Align::Left, &["a", "löng"]), column("N", Align::Right, &["1", "12345"])];
        assert_eq!(lines(&columns), ["NAME      N", "a         1", "löng  12345"]);
        assert_eq!(lines(&[column("NAME", Align::Left, &[]), column("N", Align::Right, &[])]), ["NAME  N"]);
    }
}
