//! Tables of text with aligned columns.

/// The alignment of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Align {
    Left,
    Right,
}

/// Returns the lines of a table. The columns are as wide as their widest cells, and two blanks apart.
pub(in crate::cli) fn table<const N: usize>(head: [(&str, Align); N], rows: &[[String; N]]) -> Vec<String> {
    let cells = |column: usize| rows.iter().map(move |row| row[column].chars().count());
    let widths: [usize; N] =
        std::array::from_fn(|column| cells(column).max().unwrap_or(0).max(head[column].0.chars().count()));
    let line = |texts: [&str; N]| {
        let padded = (0..N).map(|column| pad(texts[column], widths[column], head[column].1));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let rows = rows.iter().map(|row| line(row.each_ref().map(String::as_str)));
    std::iter::once(line(head.map(|(title, _)| title))).chain(rows).collect()
}

fn pad(text: &str, width: usize, align: Align) -> String {
    match align {
        Align::Left => format!("{text:<width$}"),
        Align::Right => format!("{text:>width$}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["a".to_owned(), "1".to_owned()], ["löng".to_owned(), "12345".to_owned()]];
        let lines = table([("NAME", Align::Left), ("N", Align::Right)], &rows);
        assert_eq!(lines, ["NAME      N", "a         1", "löng  12345"]);
        assert_eq!(table([("NAME", Align::Left), ("N", Align::Right)], &[]), ["NAME  N"]);
    }
}
