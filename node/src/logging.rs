//! Log lines: for people on a terminal, JSON otherwise, always on stderr, each with the node's id. What is logged at
//! which level is up to the callers; where lines go after stderr is up to whoever started the process.

use std::fmt;
use std::io::{self, IsTerminal};
use tracing::{Dispatch, Event, Subscriber};
use tracing_subscriber::fmt::format::{Format, JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Registry};

/// The environment variable that sets levels, such as `info` or `seedlog::store=debug,info`.
pub const LEVEL_VARIABLE: &str = "SEEDLOG_LOG";
const LEVEL_DEFAULT: &str = "info";

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    /// [`LogFormat::Human`] when stderr is a terminal.
    pub fn of_stderr() -> Self {
        if io::stderr().is_terminal() { Self::Human } else { Self::Json }
    }
}

/// What `--log-format` takes.
impl std::str::FromStr for LogFormat {
    type Err = LoggingError;

    fn from_str(text: &str) -> Result<Self, LoggingError> {
        match text {
            "human" => Ok(Self::Human),
            "json" => Ok(Self::Json),
            _ => Err(LoggingError::Format { text: text.to_owned() }),
        }
    }
}

/// What the logs are set up with.
#[derive(Debug, Clone)]
pub struct LogOptions {
    /// `node.id`, on every line.
    pub node_id: i32,
    /// `--log-format`; `None` for [`LogFormat::of_stderr`].
    pub format: Option<LogFormat>,
    /// `--log-level`, which wins over the variable [`LEVEL_VARIABLE`].
    pub level: Option<String>,
}

/// Why the logs cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The level is not one.
    #[error(
        "log level `{text}` ({origin}): {source}; write a level such as info, or targets such as \
         seedlog::store=debug,info"
    )]
    Level {
        /// What was asked for.
        text: String,
        /// The flag or the variable.
        origin: &'static str,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// The variable is not text.
    #[error("environment variable SEEDLOG_LOG: the value is not UTF-8; set it to a level such as info")]
    NotText,
    /// The format is not one.
    #[error("log format `{text}`: must be human or json")]
    Format {
        /// What was asked for.
        text: String,
    },
    /// Somebody else has set the logs up in this process.
    #[error("the logs are set up already")]
    AlreadySet,
}

/// Sets up the logs of this process, on stderr.
pub fn init(options: &LogOptions) -> Result<(), LoggingError> {
    let variable = match std::env::var(LEVEL_VARIABLE) {
        Ok(text) => Some(text),
        Err(std::env::VarError::NotPresent) => None,
        Err(std::env::VarError::NotUnicode(_)) => return Err(LoggingError::NotText),
    };
    let colours =
        io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let dispatch = dispatch(options, variable.as_deref(), colours, io::stderr)?;
    tracing::dispatcher::set_global_default(dispatch).map_err(|_| LoggingError::AlreadySet)
}

/// The subscriber behind [`init`], writing to `writer`; `variable` is the value of [`LEVEL_VARIABLE`].
pub fn dispatch<W>(
    options: &LogOptions,
    variable: Option<&str>,
    colours: bool,
    writer: W,
) -> Result<Dispatch, LoggingError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = filter(options.level.as_deref(), variable)?;
    let node_id = options.node_id;
    let layer = tracing_subscriber::fmt::layer().with_writer(writer);
    let subscriber = Registry::default().with(filter);
    Ok(match options.format.unwrap_or_else(LogFormat::of_stderr) {
        LogFormat::Human => {
            let inner = Format::default().with_ansi(colours);
            let layer = layer.with_ansi(colours);
            Dispatch::new(subscriber.with(layer.event_format(HumanLine { node_id, inner })))
        }
        LogFormat::Json => {
            let inner = Format::default().json().with_current_span(false);
            let layer = layer.with_ansi(false).fmt_fields(JsonFields::new());
            Dispatch::new(subscriber.with(layer.event_format(JsonLine { node_id, inner })))
        }
    })
}

fn filter(flag: Option<&str>, variable: Option<&str>) -> Result<EnvFilter, LoggingError> {
    let variable = variable.filter(|text| !text.is_empty());
    let (text, origin) = match (flag, variable) {
        (Some(text), _) => (text, "--log-level"),
        (None, Some(text)) => (text, LEVEL_VARIABLE),
        (None, None) => (LEVEL_DEFAULT, "default"),
    };
    EnvFilter::try_new(text).map_err(|source| LoggingError::Level { text: text.to_owned(), origin, source })
}

/// `node=1 ` in front of each line.
struct HumanLine {
    node_id: i32,
    inner: Format,
}

impl<S, N> FormatEvent<S, N> for HumanLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        write!(out, "node={} ", self.node_id)?;
        self.inner.format_event(context, out, event)
    }
}

/// `"node":1` as the first member of each object.
struct JsonLine {
    node_id: i32,
    inner: Format<tracing_subscriber::fmt::format::Json>,
}

impl<S, N> FormatEvent<S, N> for JsonLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = String::new();
        self.inner.format_event(context, Writer::new(&mut line), event)?;
        match line.strip_prefix('{') {
            Some(members) => write!(out, "{{\"node\":{},{members}", self.node_id),
            None => out.write_str(&line),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, level: Option<&str>, variable: Option<&str>) -> String {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let options = LogOptions { node_id: 7, format: Some(format), level: level.map(str::to_owned) };
        let dispatch = dispatch(&options, variable, false, move || writer.clone()).unwrap();
        tracing::dispatcher::with_default(&dispatch, || {
            let _span = tracing::info_span!("produce", topic = "a").entered();
            tracing::info!(records = 3, "appended {{}}");
            tracing::debug!("a detail");
        });
        let bytes = buffer.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn every_line_has_the_node() {
        let human = logged(LogFormat::Human, None, None);
        assert!(human.starts_with("node=7 ") && human.contains("appended"), "{human}");
        let json = logged(LogFormat::Json, None, None);
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["node"], 7);
        assert_eq!(value["level"], "INFO");
        assert_eq!(value["fields"]["records"], 3);
        assert_eq!(value["spans"][0]["topic"], "a");
    }

    #[test]
    fn the_flag_wins_over_the_variable_over_info() {
        assert_eq!(logged(LogFormat::Json, None, None).lines().count(), 1);
        assert_eq!(logged(LogFormat::Json, None, Some("debug")).lines().count(), 2);
        assert_eq!(logged(LogFormat::Json, Some("warn"), Some("debug")).lines().count(), 0);
        let said = filter(None, Some("seedlog=loud")).unwrap_err().to_string();
        assert!(said.starts_with("log level `seedlog=loud` (SEEDLOG_LOG): "), "{said}");
        assert!("xml".parse::<LogFormat>().is_err());
    }
}
