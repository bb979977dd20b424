//! The museum's exhibits as the simulator hunts them: by the judges that MUSEUM.md and SAFETY.md name.

use crate::judges::Judge;

/// One exhibit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Its name.
    pub name: &'static str,
    /// Who must find it.
    pub judges: &'static [Judge],
}

const ROWS: [Row; 29] = [
    row_of("A1", &[Judge::S1, Judge::S3]),
    row_of("A3", &[Judge::S2]),
    row_of("A11", &[Judge::S5]),
    row_of("A12", &[Judge::S1, Judge::S7]),
    row_of("B2", &[Judge::S3]),
    row_of("C1", &[Judge::S8]),
    row_of("C2", &[Judge::S8]),
    row_of("C5", &[Judge::S1]),
    row_of("C7", &[Judge::S12]),
    row_of("D1", &[Judge::S1, Judge::S4]),
    row_of("D3", &[Judge::S16]),
    row_of("D4", &[Judge::S1, Judge::S3]),
    row_of("F5", &[Judge::S21]),
    row_of("F6", &[Judge::S20]),
    row_of("F8", &[Judge::S1, Judge::S6, Judge::S20]),
    row_of("G1", &[Judge::S19, Judge::S22]),
    row_of("G2", &[Judge::S22]),
    row_of("G3", &[Judge::S22]),
    row_of("G4", &[Judge::L7, Judge::S15]),
    row_of("G6", &[Judge::S22, Judge::S23]),
    row_of("G7", &[Judge::L7]),
    row_of("H3", &[Judge::S18]),
    row_of("H4", &[Judge::S1, Judge::S24]),
    row_of("H5", &[Judge::S1]),
    row_of("N1", &[Judge::S2, Judge::S31]),
    row_of("N2", &[Judge::Q1]),
    row_of("N3", &[Judge::S1]),
    row_of("N4", &[Judge::S5, Judge::S8]),
    row_of("N5", &[Judge::S18, Judge::S1]),
];

const fn row_of(name: &'static str, judges: &'static [Judge]) -> Row {
    Row { name, judges }
}

/// The row of an exhibit.
#[must_use]
pub fn row(name: &str) -> Option<Row> {
    ROWS.into_iter().find(|row| row.name.eq_ignore_ascii_case(name))
}

/// Switches an exhibit on for this process.
///
/// # Errors
/// This build does not have it.
#[cfg(feature = "museum")]
pub fn switch(name: &str) -> Result<Row, String> {
    use seedlog_core::museum::{self, Exhibit};
    let found = Exhibit::ALL.iter().copied().find(|exhibit| exhibit.name().eq_ignore_ascii_case(name));
    let exhibit = found.ok_or_else(|| {
        let names: Vec<&str> = Exhibit::ALL.iter().map(|exhibit| exhibit.name()).collect();
        format!("there is no exhibit {name}: this build has {}", names.join(", "))
    })?;
    museum::switch(Some(exhibit));
    Ok(row(exhibit.name()).unwrap_or(Row { name: exhibit.name(), judges: Judge::ALL }))
}

/// Switches nothing: the exhibits are not in this build.
///
/// # Errors
/// Always.
#[cfg(not(feature = "museum"))]
pub fn switch(name: &str) -> Result<Row, String> {
    Err(format!(
        "exhibit {name}: this build has no exhibits; use `cargo sim`, which has the feature `museum`"
    ))
}
