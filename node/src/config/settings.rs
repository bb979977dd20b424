//! From places to values: flags win over the environment, the environment over the file, the file over the defaults, and
//! every value remembers where it came from. Types and ranges are checked here; what settings mean together is checked
//! in `node.rs`.

use super::error::{ConfigError, ConfigErrors, Warning};
use super::properties::{self, Property};
use super::refusal::refuse;
use super::registry::{self, Entry, Kind, Lookup, Status};
use super::suggest::closest;
use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Every environment variable that begins so is a setting.
pub const ENV_PREFIX: &str = "SEEDLOG_";
/// The variables that begin with [`ENV_PREFIX`] and are not settings.
pub const ENV_RESERVED: &[&str] = &["SEEDLOG_LOG"];
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// Nobody set it, and it follows from another setting.
    Derived(&'static str),
    /// A line of the file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// An environment variable.
    Environment(String),
    /// A `--override` flag.
    Override,
}

impl Origin {
    /// The higher wins.
    pub(super) fn rank(&self) -> u8 {
        match self {
            Self::Default | Self::Derived(_) => 0,
            Self::File { .. } => 1,
            Self::Environment(_) => 2,
            Self::Override => 3,
        }
    }

    /// Whether somebody set the value.
    pub fn is_explicit(&self) -> bool {
        self.rank() > 0
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Derived(key) => write!(f, "default, from {key}"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Override => f.write_str("--override"),
        }
    }
}

/// Everything that a configuration is read from. Nothing else is looked at, so tests need no process environment.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The `.properties` file: its name and text.
    pub file: Option<(PathBuf, String)>,
    /// Environment variables, of which those with [`ENV_PREFIX`] count.
    pub environment: Vec<(String, String)>,
    /// The arguments of `--override`, as `key=value`.
    pub overrides: Vec<String>,
    /// This machine's name, told to clients where a listener has no host of its own.
    pub hostname: String,
}

impl Sources {
    /// Reads the file, this process's environment and the machine's name.
    pub fn of_process(file: Option<&Path>, overrides: &[String]) -> Result<Self, ConfigError> {
        let file = file.map(|path| Ok((path.to_owned(), read_text(path)?))).transpose()?;
        let mut environment = Vec::new();
        for (name, value) in std::env::vars_os() {
            let Some(name) = name.to_str().filter(|name| name.starts_with(ENV_PREFIX)) else { continue };
            let Ok(value) = value.into_string() else {
                return Err(ConfigError::NotTextVariable { name: name.to_owned() });
            };
            environment.push((name.to_owned(), value));
        }
        environment.sort_unstable();
        let hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Ok(Self { file, environment, overrides: overrides.to_vec(), hostname })
    }
}

fn read_text(path: &Path) -> Result<String, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(ConfigError::TooLarge { path: path.to_owned(), bytes_max: FILE_BYTES_MAX });
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let line = 1 + error.as_bytes().iter().take(good).filter(|&&b| b == b'\n').count();
        ConfigError::NotText { path: path.to_owned(), line }
    })
}

/// A value and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The value, without blanks around it; `None` when nobody set it and it has no default.
    pub value: Option<String>,
    /// Where it came from.
    pub origin: Origin,
}

/// Every key of the table with its value. Secrets are not kept: nothing uses one.
#[derive(Debug, Clone)]
pub struct Settings {
    known: BTreeMap<&'static str, Setting>,
}

impl Settings {
    /// Reads the sources, lowest first. Wrong values that a higher source replaces are not looked at.
    pub(super) fn resolve(sources: &Sources) -> Result<(Self, Vec<Warning>), ConfigErrors> {
        let mut resolver = Resolver::default();
        resolver.read_file(sources);
        for (name, value) in &sources.environment {
            resolver.set_variable(name, value);
        }
        for text in &sources.overrides {
            match text.split_once('=') {
                Some((key, value)) if !key.trim().is_empty() => {
                    resolver.set(key.trim(), value, Origin::Override, key.trim());
                }
                Some(_) | None => resolver.errors.push(ConfigError::Override { text: text.clone() }),
            }
        }
        resolver.check_values();
        resolver.forget_secrets();
        if resolver.errors.is_empty() {
            Ok((resolver.settings, resolver.warnings))
        } else {
            Err(ConfigErrors(resolver.errors))
        }
    }

    /// The setting of a key of the table.
    pub fn get(&self, key: &str) -> Option<&Setting> {
        self.known.get(key)
    }

    /// The value of a key, when it has one that is not empty.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.get(key)?.value.as_deref().filter(|value| !value.is_empty())
    }

    /// Where a key's value came from.
    pub fn origin(&self, key: &str) -> Origin {
        self.get(key).map_or(Origin::Default, |setting| setting.origin.clone())
    }

    /// Records a value that follows from another setting.
    pub(super) fn derive(&mut self, key: &'static str, value: String, from: &'static str) {
        self.known.insert(key, Setting { value: Some(value), origin: Origin::Derived(from) });
    }

    /// The keys that are used, as `key=value  # origin`, in order; a comment stands for one that is not set.
    pub fn show(&self) -> String {
        let mut out = String::new();
        for (key, setting) in &self.known {
            let Some(entry) = registry::find(key).filter(|entry| entry.status == Status::Used) else {
                continue;
            };
            match &setting.value {
                Some(value) => {
                    let line = properties::render(key, &printable(entry.kind, value));
                    out.push_str(&format!("{line}  # {}\n", setting.origin));
                }
                None => out.push_str(&format!("# {key} is not set\n")),
            }
        }
        out
    }
}

/// The value as it may be printed.
fn printable(kind: Kind, value: &str) -> String {
    if kind.is_secret() { "[hidden]".to_owned() } else { value.to_owned() }
}

struct Resolver {
    settings: Settings,
    /// What is set for plug-ins or for one listener: checked, named in a warning, forgotten.
    prefixed: BTreeMap<String, Setting>,
    warnings: Vec<Warning>,
    errors: Vec<ConfigError>,
}

impl Default for Resolver {
    fn default() -> Self {
        let default =
            |entry: &Entry| Setting { value: entry.default.map(str::to_owned), origin: Origin::Default };
        let known = registry::entries().map(|entry| (entry.key, default(entry))).collect();
        Self {
            settings: Settings { known },
            prefixed: BTreeMap::new(),
            warnings: Vec::new(),
            errors: Vec::new(),
        }
    }
}

impl Resolver {
    fn read_file(&mut self, sources: &Sources) {
        let Some((path, text)) = &sources.file else { return };
        match properties::parse(text) {
            Ok(entries) => {
                for Property { key, value, line } in entries {
                    self.set(&key, &value, Origin::File { path: path.clone(), line }, &key);
                }
            }
            Err(source) => self.errors.push(ConfigError::Syntax { path: path.clone(), source }),
        }
    }

    fn set_variable(&mut self, name: &str, value: &str) {
        let Some(rest) = name.strip_prefix(ENV_PREFIX).filter(|_| !ENV_RESERVED.contains(&name)) else {
            return;
        };
        let origin = Origin::Environment(name.to_owned());
        let key = rest.to_ascii_lowercase().replace('_', ".");
        if variable_of(&key) == name {
            self.set(&key, value, origin, name);
        } else {
            let advice = format!("did you mean {}?", variable_of(&key));
            self.errors.push(ConfigError::Unknown { name: name.to_owned(), origin, advice });
        }
    }

    /// `name` is what the user wrote: the key itself, or the variable that stands for it.
    fn set(&mut self, key: &str, value: &str, origin: Origin, name: &str) {
        let setting = Setting { value: Some(value.trim().to_owned()), origin: origin.clone() };
        let before = match registry::lookup(key) {
            Lookup::Known(entry) => self.settings.known.insert(entry.key, setting),
            Lookup::Prefixed if suggestion(key).is_none() => self.prefixed.insert(key.to_owned(), setting),
            Lookup::Removed => return self.errors.push(ConfigError::Removed { key: key.to_owned(), origin }),
            Lookup::Prefixed | Lookup::Unknown => {
                let advice = advice(key, &origin);
                return self.errors.push(ConfigError::Unknown { name: name.to_owned(), origin, advice });
            }
        };
        if let Some(first) =
            before.map(|setting| setting.origin).filter(|first| first.rank() == origin.rank())
        {
            self.warnings.push(Warning::Duplicate { key: key.to_owned(), first, last: origin });
        }
    }

    fn forget_secrets(&mut self) {
        for (key, setting) in &mut self.settings.known {
            if registry::find(key).is_some_and(|entry| entry.kind.is_secret()) {
                setting.value = None;
            }
        }
    }

    fn check_values(&mut self) {
        let Self { settings, prefixed, warnings, errors } = self;
        let known = settings.known.iter().map(|(key, setting)| (*key, setting));
        let prefixed = prefixed.iter().map(|(key, setting)| (key.as_str(), setting));
        for (key, setting) in known.chain(prefixed) {
            let Some(value) = setting.value.as_deref().filter(|_| setting.origin.is_explicit()) else {
                continue;
            };
            let (key, origin) = (key.to_owned(), setting.origin.clone());
            let entry = registry::find(&key);
            let kind = entry.map_or(Kind::Secret, |entry| entry.kind);
            let unset = value.is_empty() && entry.is_none_or(|entry| entry.default.is_none());
            if let Some(why) = refuse(&key, value) {
                errors.push(ConfigError::Refused { key, value: printable(kind, value), origin, why });
            } else if let Err(allowed) = if unset { Ok(()) } else { kind.check(value) } {
                errors.push(ConfigError::Invalid { key, value: printable(kind, value), origin, allowed });
            } else if entry.is_none_or(|entry| entry.status == Status::Accepted) {
                warnings.push(Warning::Unused { key, origin });
            }
        }
    }
}

/// The environment variable of a key.
pub fn variable_of(key: &str) -> String {
    format!("{ENV_PREFIX}{}", key.to_ascii_uppercase().replace('.', "_"))
}

fn suggestion(key: &str) -> Option<&'static str> {
    closest(key, registry::entries().map(|entry| entry.key))
}

fn advice(key: &str, origin: &Origin) -> String {
    match suggestion(key) {
        Some(near) if matches!(origin, Origin::Environment(_)) => {
            format!("did you mean {}?", variable_of(near))
        }
        Some(near) => format!("did you mean {near}?"),
        None => "remove it, or see `seedlog node --show-config` for the settings that exist".to_owned(),
    }
}
