//! The table of what was measured: the median of each side, and of the ratios of runs that followed each other.

use crate::broker::Kind;
use comfy_table::{ContentArrangement, Table, presets};

/// One number of one run.
#[derive(Debug, Clone)]
pub struct Cell {
    /// The row.
    pub row: String,
    /// What of it, with its unit.
    pub what: &'static str,
    /// Which run; those of the two sides with the same number followed each other.
    pub pair: usize,
    /// Whose.
    pub whose: Kind,
    /// The number.
    pub value: f64,
}

/// A table of the numbers, in the order in which rows and numbers first occur.
#[must_use]
pub fn table(cells: &[Cell]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(["row", "", "Seedlog", "Kafka", "ratio", "spread of the ratios"]);
    let mut lines: Vec<(&str, &str)> = Vec::new();
    for cell in cells {
        let line = (cell.row.as_str(), cell.what);
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    // A row's numbers stand together even if some runs have fewer of them.
    let first_of = |row: &str| lines.iter().position(|(other, _)| *other == row);
    let mut ordered = lines.clone();
    ordered.sort_by_key(|(row, _)| first_of(row));
    let mut above = "";
    for (row, what) in ordered {
        let of = |whose| {
            let of =
                cells.iter().filter(move |it| (it.row.as_str(), it.what, it.whose) == (row, what, whose));
            of.map(|cell| (cell.pair, cell.value))
        };
        let ratios = of(Kind::Seedlog).filter_map(|(pair, ours)| {
            let (_, theirs) = of(Kind::Kafka).find(|(other, _)| *other == pair)?;
            (theirs > 0.0).then(|| ours / theirs)
        });
        let ratio = Spread::of(ratios.collect());
        let median = |whose| {
            let spread = Spread::of(of(whose).map(|(_, value)| value).collect());
            spread.map_or_else(String::new, |spread| short(spread.median))
        };
        table.add_row([
            if row == above { String::new() } else { row.to_owned() },
            what.to_owned(),
            median(Kind::Seedlog),
            median(Kind::Kafka),
            ratio.as_ref().map_or_else(String::new, |it| short(it.median)),
            ratio.map_or_else(String::new, |it| format!("{} to {}", short(it.least), short(it.most))),
        ]);
        above = row;
    }
    table
}

/// The median and the extremes.
struct Spread {
    median: f64,
    least: f64,
    most: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Some(Self { median, least, most })
    }
}

/// Three digits that count.
fn short(value: f64) -> String {
    match value {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        1.0.. => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_of_runs_that_followed_each_other_and_the_median_is_of_the_ratios() {
        let cell = |pair, whose, value| Cell { row: "produce".into(), what: "records/s", pair, whose, value };
        let runs = [(0, 10.0, 5.0), (1, 30.0, 10.0), (2, 40.0, 40.0)];
        let mut cells = Vec::new();
        for (pair, ours, theirs) in runs {
            cells.push(cell(pair, Kind::Seedlog, ours));
            cells.push(cell(pair, Kind::Kafka, theirs));
        }
        cells.push(cell(3, Kind::Seedlog, 1000.0));
        let text = table(&cells).to_string();
        let line = text.lines().nth(2).unwrap_or_default();
        let columns: Vec<&str> = line.split('|').map(str::trim).collect();
        assert_eq!(columns[1..7], ["produce", "records/s", "35.0", "10.0", "2.00", "1.00 to 3.00"]);
    }
}
