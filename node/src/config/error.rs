//! What can be wrong with a configuration, as sentences that name the key, the value, where it came from and what to do.

use super::properties::PropertiesError;
use super::settings::Origin;
use crate::advice;
use std::fmt;
use std::io;
use std::path::PathBuf;

/// One thing that is wrong.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: cannot be read: {source}{}", path.display(), advice::of_io(source))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The file is too large to be a configuration.
    #[error("{}: is larger than {bytes_max} bytes, which no server.properties is; name the right file", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit.
        bytes_max: u64,
    },
    /// The file is not UTF-8.
    #[error("{}: line {line} is not UTF-8; save the file as UTF-8 or write the character as \\uXXXX", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// The file is not in `.properties` format.
    #[error("{}: {source}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What is wrong, with its line.
        source: PropertiesError,
    },
    /// A `--override` without `=`.
    #[error("--override {text}: must be KEY=VALUE, such as --override node.id=2")]
    Override {
        /// What stood there.
        text: String,
    },
    /// An environment variable that is not UTF-8.
    #[error("environment variable {name}: the value is not UTF-8; set it to plain text or unset it")]
    NotTextVariable {
        /// The variable.
        name: String,
    },
    /// Nobody knows the key.
    #[error("{name} ({origin}): there is no such setting; {advice}")]
    Unknown {
        /// The key, or the variable's name.
        name: String,
        /// Where it was set.
        origin: Origin,
        /// The nearest key, or what else to do.
        advice: String,
    },
    /// Kafka dropped the key before 4.0.
    #[error("{key} ({origin}): this setting was removed with Kafka 4.0; delete it")]
    Removed {
        /// The key.
        key: String,
        /// Where it was set.
        origin: Origin,
    },
    /// A value of the wrong type or out of its range.
    #[error("{key}={value} ({origin}): the value must be {allowed}")]
    Invalid {
        /// The key.
        key: String,
        /// The value, or `[hidden]`.
        value: String,
        /// Where it was set.
        origin: Origin,
        /// The allowed values.
        allowed: String,
    },
    /// A setting asks for a protection that this release does not give.
    #[error("{key}={value} ({origin}): {why}")]
    Refused {
        /// The key.
        key: String,
        /// The value, or `[hidden]`.
        value: String,
        /// Where it was set.
        origin: Origin,
        /// What is missing, and what to do.
        why: String,
    },
    /// Two settings contradict each other.
    #[error("{key}={value} ({origin}): {rule}")]
    Conflict {
        /// The key that is named first.
        key: String,
        /// Its value.
        value: String,
        /// Where it was set.
        origin: Origin,
        /// The rule that is broken, and what to do.
        rule: String,
    },
}

/// Everything that is wrong, one line each.
#[derive(Debug, thiserror::Error)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, error) in self.0.iter().enumerate() {
            if at > 0 {
                writeln!(f)?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl From<ConfigError> for ConfigErrors {
    fn from(error: ConfigError) -> Self {
        Self(vec![error])
    }
}

/// Something that is worth a line in the log, and no more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Warning {
    /// A key of Kafka's that Seedlog does not use.
    #[error("{key} ({origin}): known from Kafka and not used by Seedlog")]
    Unused {
        /// The key.
        key: String,
        /// Where it was set.
        origin: Origin,
    },
    /// A key that is set twice in one place.
    #[error("{key}: set twice; {last} wins over {first}")]
    Duplicate {
        /// The key.
        key: String,
        /// The place that lost.
        first: Origin,
        /// The place that won.
        last: Origin,
    },
    /// A used key whose value has no effect because of another one.
    #[error("{key} ({origin}): has no effect because {because}")]
    Ineffective {
        /// The key.
        key: String,
        /// Where it was set.
        origin: Origin,
        /// The other setting.
        because: String,
    },
    /// A controllers' listener of a node that is a cluster of its own.
    #[error(
        "listener {name} ({origin}): is for other nodes and is not opened, because controller.quorum.voters names none"
    )]
    ControllerListener {
        /// The listener.
        name: String,
        /// Where `listeners` was set.
        origin: Origin,
    },
    /// A number of voters of which one is of no use.
    #[error(
        "controller.quorum.voters ({origin}): {voters} voters bear the loss of {losses}, no more than one voter fewer would"
    )]
    EvenVoters {
        /// How many there are.
        voters: usize,
        /// Where they were set.
        origin: Origin,
        /// How many may be lost.
        losses: usize,
    },
    /// A listener that other machines reach.
    #[error(
        "listener {name} ({origin}): other machines can connect, and this release asks for no password and encrypts \
         nothing"
    )]
    OpenListener {
        /// The listener.
        name: String,
        /// Where `listeners` was set.
        origin: Origin,
    },
    /// The machine's name is told to clients for want of a better one.
    #[error(
        "listener {name} ({origin}): clients are told to connect to {host}; set advertised.listeners to choose"
    )]
    AdvertisedHostname {
        /// The listener.
        name: String,
        /// Where `listeners` was set.
        origin: Origin,
        /// This machine's name.
        host: String,
    },
}
