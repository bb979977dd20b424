//! Times and durations as people write them in arguments.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Span, SpanRelativeTo, Timestamp};

/// Milliseconds since 1970: a number of them, RFC 3339, or without a zone, which is UTC as for Kafka's tools.
pub(super) fn parse_time(text: &str) -> Result<i64, String> {
    if let Ok(millis @ 0..) = text.parse::<i64>() {
        return Ok(millis);
    }
    let in_utc = || Some(text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp());
    match text.parse::<Timestamp>().ok().or_else(in_utc).map(|time| time.as_millisecond()) {
        Some(millis @ 0..) => Ok(millis),
        Some(_) | None => {
            Err("write a time such as 2026-11-21T12:00:00Z, or milliseconds since 1970".to_owned())
        }
    }
}

/// Milliseconds of a duration in the form of ISO 8601, such as P1D or PT2H30M.
pub(super) fn parse_duration(text: &str) -> Result<i64, String> {
    let span = text.strip_prefix('P').and_then(|_| text.parse::<Span>().ok());
    let millis = span
        .and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()).ok())
        .and_then(|duration| i64::try_from(duration.as_millis()).ok());
    match millis {
        Some(millis @ 0..) => Ok(millis),
        Some(_) | None => Err("write a duration such as PT30M, PT12H or P7D".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        assert_eq!(parse_time("1700000000000"), Ok(1_700_000_000_000));
        assert_eq!(parse_time("2023-11-14T22:13:20Z"), Ok(1_700_000_000_000));
        assert_eq!(parse_time("2023-11-14T23:13:20.5+01:00"), Ok(1_700_000_000_500));
        assert_eq!(parse_time("2023-11-14T22:13:20.500"), Ok(1_700_000_000_500));
        assert!(parse_time("yesterday").is_err());
        assert!(parse_time("-1").is_err());
        assert!(parse_time("1969-12-31T23:59:59Z").is_err());
    }

    #[test]
    fn durations() {
        assert_eq!(parse_duration("PT1H30M"), Ok(5_400_000));
        assert_eq!(parse_duration("P1DT0.5S"), Ok(86_400_500));
        assert_eq!(parse_duration("P2W"), Ok(1_209_600_000));
        for wrong in ["1h", "P", "-P1D", "P1Y", "PT9223372036854775807H", ""] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }
}
