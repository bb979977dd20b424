//! The two sides of a comparison, and what all comparisons are told on the command line.

use crate::broker::{Kind, Plan, Programs, free_ports};
use clap::Args;
use serde::Serialize;
use std::error::Error;
use std::fs;
use std::io;
use std::path::PathBuf;

/// What is compared, where, and how often.
#[derive(Debug, Args)]
pub struct Sides {
    /// The `seedlog` program
    #[arg(long, value_name = "FILE", default_value = "target/release/seedlog")]
    seedlog: PathBuf,
    /// A folder with Kafka's jars in `libs`; without it Seedlog is measured alone
    #[arg(long, value_name = "FOLDER")]
    kafka: Option<PathBuf>,
    /// Where data go: a folder on the disk that is measured
    #[arg(long, value_name = "FOLDER", default_value = "target/bench")]
    folder: PathBuf,
    /// Nodes of each cluster; topics have a replica on each, of three at most
    #[arg(long, value_delimiter = ',', default_values_t = [1, 3])]
    pub nodes: Vec<u16>,
    /// How often each of the two runs each row
    #[arg(long, default_value_t = 5)]
    pub pairs: usize,
    /// Where all that was measured is written as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl Sides {
    /// Kafka first, where it is measured.
    #[must_use]
    pub fn kinds(&self) -> Vec<Kind> {
        let kafka = self.kafka.as_ref().map(|_| Kind::Kafka);
        kafka.into_iter().chain([Kind::Seedlog]).collect()
    }

    /// Where the programs are.
    #[must_use]
    pub fn programs(&self) -> Programs {
        Programs { seedlog: self.seedlog.clone(), kafka: self.kafka.clone() }
    }

    /// A cluster on free ports, in a folder of its own, with settings besides those that it cannot do without.
    ///
    /// # Errors
    /// As the system says.
    pub fn plan(&self, kind: Kind, nodes: u16, settings: &[(&str, &str)]) -> io::Result<Plan> {
        fs::create_dir_all(&self.folder)?;
        let folder = fs::canonicalize(&self.folder)?.join(format!("{kind}-{nodes}").to_lowercase());
        let settings = settings.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
        Ok(Plan { kind, folder, ports: free_ports(nodes)?, settings })
    }

    /// Writes all that was measured, where that is wanted.
    ///
    /// # Errors
    /// As the system says.
    pub fn write_json(&self, measured: &impl Serialize) -> Result<(), Box<dyn Error>> {
        if let Some(path) = &self.json {
            fs::write(path, serde_json::to_vec_pretty(measured)?)?;
        }
        Ok(())
    }
}
