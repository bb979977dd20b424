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

const ROWS: [Row; 5] = [
    Row { name: "H3", judges: &[Judge::S18] },
    Row { name: "H4", judges: &[Judge::S1, Judge::S24] },
    Row { name: "H5", judges: &[Judge::S1] },
    Row { name: "N3", judges: &[Judge::S1] },
    Row { name: "N5", judges: &[Judge::S18, Judge::S1] },
];

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
    let found = Exhibit::ALL.into_iter().find(|exhibit| exhibit.name().eq_ignore_ascii_case(name));
    let exhibit = found.ok_or_else(|| {
        let names: Vec<&str> = Exhibit::ALL.into_iter().map(Exhibit::name).collect();
        format!("there is no exhibit {name}: this build has {}", names.join(", "))
    })?;
    museum::switch(Some(exhibit));
    Ok(row(exhibit.name()).unwrap_or(Row { name: exhibit.name(), judges: &Judge::ALL }))
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
