//! The node's configuration: Kafka's key names in a `.properties` file, `SEEDLOG_*` variables and `--override` flags.
//!
//! ```text
//! properties.rs --+
//! environment ----+--> settings.rs (who wins, types, unknown keys) --> node.rs (rules between keys) --> NodeConfig
//! --override -----+         |                                             |
//!                     registry.rs: used, accepted           listeners.rs, cluster.rs
//! ```
//!
//! Nothing is ignored in silence: an unknown key is an error, a key of Kafka's without effect is a warning, and a value that
//! asks for a protection which is not there is an error. It knows nothing of the core's own configuration type.

mod accepted;
mod cleaner;
mod cluster;
mod error;
mod groups;
mod listeners;
mod node;
pub mod properties;
mod refusal;
pub mod registry;
mod settings;
pub mod suggest;
mod used;

pub use cleaner::CleanerSettings;
pub use cluster::{ClusterConfig, Internals};
pub use error::{ConfigError, ConfigErrors, Warning};
pub use listeners::{Endpoint, Listener};
pub use node::{DirectIo, Flush, MemoryBudget, NodeConfig, TimestampType};
pub use settings::{ENV_PREFIX, ENV_RESERVED, Origin, Setting, Settings, Sources, variable_of};

/// A configuration that can be started.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The values.
    pub node: NodeConfig,
    /// Every setting with its origin.
    pub settings: Settings,
    /// What is worth a line in the log, in no particular order of weight.
    pub warnings: Vec<Warning>,
}

impl Loaded {
    /// The text of `--show-config`: the used keys as `key=value  # origin`, in order.
    pub fn show(&self) -> String {
        self.settings.show()
    }
}

/// Reads the sources, or says everything that is wrong with them.
pub fn load(sources: &Sources) -> Result<Loaded, ConfigErrors> {
    let (mut settings, mut warnings) = Settings::resolve(sources)?;
    let (node, more) = node::build(&mut settings, &sources.hostname)?;
    warnings.extend(more);
    Ok(Loaded { node, settings, warnings })
}
