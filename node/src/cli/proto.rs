//! `seedlog proto`: frames of Kafka's protocol as named fields.

mod walk;

use std::fmt::Write;
use std::io::{self, Read};

use bytes::Bytes;
use clap::{Args, Subcommand};
use seedlog_core::wire::{
    APIS, ApiKey, LENGTH_PREFIX_BYTES, Message, RequestHeader, ResponseHeader, VersionRange, decode_request,
    decode_response,
};
use serde::Serialize;

use super::output::{CliError, CliResult, Output};
use crate::config::suggest::closest;
use walk::{Stop, Value, Walk};

/// Longer frames are not taken from a command line.
const FRAME_BYTES_MAX: usize = 16 << 20;

#[derive(Debug, Subcommand)]
pub(super) enum ProtoCommand {
    /// Print the fields of a request, or of a response, from its bytes in hexadecimal.
    Decode(DecodeArgs),
}

#[derive(Debug, Args)]
pub(super) struct DecodeArgs {
    /// The frame, with or without the four bytes of its length; whitespace is skipped; - reads standard input
    #[arg(value_name = "HEX|-", default_value = "-")]
    hex: String,
    /// The frame is the response to this request, such as Metadata:12 or 3:12
    #[arg(long, value_name = "API:VERSION", value_parser = parse_api)]
    response: Option<(ApiKey, i16)>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A frame, as far as it could be read.
#[derive(Debug, Serialize)]
struct Frame {
    /// `request` or `response`.
    message: &'static str,
    /// `null` for an API that is not known here.
    api: Option<&'static str>,
    version: i16,
    /// `null` where not even that is there.
    header: Option<Value>,
    /// `null` where the header says nothing that is known here.
    body: Option<Value>,
    /// Bytes behind the message, which brokers skip in requests.
    bytes_behind: usize,
    error: Option<Failure>,
}

/// Where reading stopped, and why.
#[derive(Debug, Serialize)]
struct Failure {
    /// Bytes from the start of the frame, its length not counted.
    at: usize,
    /// The field, from the outside in.
    field: String,
    what: String,
}

/// Does what `seedlog proto ...` says.
pub(super) fn run(command: &ProtoCommand, output: &mut Output) -> CliResult {
    let ProtoCommand::Decode(args) = command;
    let text = match args.hex.as_str() {
        "-" => read_stdin()?,
        hex => hex.to_owned(),
    };
    let bytes = parse_hex(&text)?;
    let frame = match args.response {
        None => read_request(&bytes)?,
        Some((api_key, version)) => read_response(api_key, version, &bytes)?,
    };
    if args.json {
        output.json(&frame)?;
    } else {
        output.bytes(frame.text().as_bytes())?;
        output.flush()?;
    }
    match frame.error {
        None => Ok(()),
        Some(Failure { at, field, what }) => {
            let field = if field.is_empty() { String::new() } else { format!(", in {field}") };
            let advice = match frame.message {
                "request" => {
                    "check that the bytes are one whole request; for a response add --response API:VERSION"
                }
                _ => {
                    "check that the bytes are one whole response, and that --response names its API and version"
                }
            };
            Err(CliError::Failed(format!("stopped at byte {at}{field}: {what}; {advice}")))
        }
    }
}

fn read_stdin() -> CliResult<String> {
    let mut text = String::new();
    // Two digits a byte, and as much again for whitespace.
    let limit = (FRAME_BYTES_MAX as u64) * 4;
    let read = io::stdin().lock().take(limit).read_to_string(&mut text);
    read.map_err(|error| CliError::io("cannot read standard input as text", error))?;
    Ok(text)
}

fn parse_hex(text: &str) -> CliResult<Vec<u8>> {
    let text = text.trim();
    let text = text.strip_prefix("0x").unwrap_or(text);
    let mut bytes = Vec::with_capacity((text.len() / 2).min(FRAME_BYTES_MAX));
    let mut high = None;
    for (at, character) in text.chars().enumerate().filter(|(_, character)| !character.is_whitespace()) {
        let Some(digit) = character.to_digit(16) else {
            return Err(CliError::Usage(format!(
                "character {} is {character:?}, which is no hexadecimal digit: write the frame as 0012000300000001...",
                at + 1
            )));
        };
        match high.take() {
            None => high = Some(digit),
            Some(high) => bytes.push((high * 16 + digit) as u8),
        }
        if bytes.len() > FRAME_BYTES_MAX {
            return Err(CliError::Usage(format!("the frame is longer than {FRAME_BYTES_MAX} bytes")));
        }
    }
    match (high, bytes.is_empty()) {
        (Some(_), _) => {
            Err(CliError::Usage("the number of hexadecimal digits is odd: a byte is two".to_owned()))
        }
        (None, true) => Err(CliError::Usage("there is no frame: give it as hexadecimal digits".to_owned())),
        (None, false) => Ok(bytes),
    }
}

fn parse_api(text: &str) -> Result<(ApiKey, i16), String> {
    let (api, version) = text.split_once(':').ok_or("write it as API:VERSION, such as Metadata:12")?;
    let known = APIS.iter().map(|api| api.api_key);
    let by_number = api.parse().ok().and_then(ApiKey::from_i16);
    let found = by_number.or_else(|| known.clone().find(|known| known.name().eq_ignore_ascii_case(api)));
    let Some(api_key) = found else {
        // Suggestions go by small letters.
        let names: Vec<(String, ApiKey)> = known.map(|key| (key.name().to_ascii_lowercase(), key)).collect();
        let near = closest(&api.to_ascii_lowercase(), names.iter().map(|(name, _)| name.as_str()));
        let near = names.iter().find(|(name, _)| Some(name.as_str()) == near).map(|(_, key)| key.name());
        let advice = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
        return Err(format!("there is no API {api} here{advice}"));
    };
    let versions = api_key.support().response.versions;
    match version.parse() {
        Ok(version) if versions.contains(version) => Ok((api_key, version)),
        Ok(_) | Err(_) => Err(format!("{} has the versions {versions}", api_key.name())),
    }
}

/// The frame without its length, if that is what the first bytes are.
fn without_length(bytes: &[u8]) -> Option<Bytes> {
    let (length, frame) = bytes.split_first_chunk::<LENGTH_PREFIX_BYTES>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    (length == frame.len() && length > 0).then(|| Bytes::copy_from_slice(frame))
}

/// Reads the frame without its length, if it begins with one; as it is, if that says more.
fn either(bytes: &[u8], read: impl Fn(Bytes) -> CliResult<Frame>) -> CliResult<Frame> {
    let whole = Bytes::copy_from_slice(bytes);
    let Some(frame) = without_length(bytes) else { return read(whole) };
    let frame = read(frame)?;
    if frame.error.is_none() {
        return Ok(frame);
    }
    // The first field may be what happens to be the number of bytes that follow.
    let whole = read(whole)?;
    Ok(if whole.error.is_none() { whole } else { frame })
}

fn read_request(bytes: &[u8]) -> CliResult<Frame> {
    either(bytes, request)
}

fn read_response(api_key: ApiKey, version: i16, bytes: &[u8]) -> CliResult<Frame> {
    either(bytes, |frame| response(api_key, version, frame))
}

fn request(frame: Bytes) -> CliResult<Frame> {
    let key = frame.get(..2).map_or(-1, |key| i16::from_be_bytes([key[0], key[1]]));
    let version = frame.get(2..4).map_or(-1, |version| i16::from_be_bytes([version[0], version[1]]));
    let api_key = ApiKey::from_i16(key);
    let known = api_key.map(ApiKey::support).filter(|support| support.request.versions.contains(version));
    let flexible = known.is_some_and(|support| support.request.flexible.contains(version));
    // KIP-482: a flexible body has a flexible header.
    let header_version = if flexible { 2 } else { 1 };
    let schema = <RequestHeader as seedlog_core::wire::Wire>::SCHEMA;
    let mut walk = Walk::new(frame.clone(), header_version, is_in(RequestHeader::FLEXIBLE, header_version));
    let (header, mut stop) = walk.message(schema);
    let mut body = None;
    if stop.is_none() {
        match (api_key, known) {
            (_, Some(support)) => {
                walk.go_on(version, flexible);
                let (read, stopped) = walk.message(support.request.schema);
                (body, stop) = (read, stopped);
            }
            (Some(api_key), None) => {
                let versions = api_key.support().request.versions;
                let what = format!("{} has the versions {versions} here, not {version}", api_key.name());
                stop = Some(Stop::new(walk.position(), String::new(), what));
            }
            (None, None) => {
                let what = format!("there is no API {key} here, so that its fields are not known");
                stop = Some(Stop::new(walk.position(), String::new(), what));
            }
        }
    }
    let served = known.is_some_and(|support| support.served.contains(version));
    if stop.is_none() && served {
        // The broker's own reading has the last word.
        stop = decode_request(frame).err().map(|error| walk.refused(&error));
    }
    let bytes_behind = if stop.is_none() { walk.remaining() } else { 0 };
    let api = api_key.map(ApiKey::name);
    let error = stop.map(Failure::from);
    Ok(Frame { message: "request", api, version, header, body, bytes_behind, error })
}

fn response(api_key: ApiKey, version: i16, frame: Bytes) -> CliResult<Frame> {
    let support = api_key.support();
    let flexible = support.response.flexible.contains(version);
    // KIP-511: who reads it does not yet know what the broker speaks.
    let header_version = i16::from(flexible && api_key != ApiKey::ApiVersions);
    let schema = <ResponseHeader as seedlog_core::wire::Wire>::SCHEMA;
    let mut walk = Walk::new(frame.clone(), header_version, is_in(ResponseHeader::FLEXIBLE, header_version));
    let (header, mut stop) = walk.message(schema);
    let mut body = None;
    if stop.is_none() {
        walk.go_on(version, flexible);
        let (read, stopped) = walk.message(support.response.schema);
        (body, stop) = (read, stopped);
    }
    if stop.is_none() {
        stop = decode_response(api_key, version, frame).err().map(|error| walk.refused(&error));
    }
    let (api, error) = (Some(api_key.name()), stop.map(Failure::from));
    Ok(Frame { message: "response", api, version, header, body, bytes_behind: 0, error })
}

fn is_in(versions: VersionRange, version: i16) -> bool {
    versions.contains(version)
}

impl From<Stop> for Failure {
    fn from(Stop { at, field, what }: Stop) -> Self {
        Self { at, field, what }
    }
}

impl Frame {
    fn text(&self) -> String {
        let api = self.api.unwrap_or("unknown API");
        let mut text = format!("{} {api} version {}\n", self.message, self.version);
        for (name, part) in [("header", &self.header), ("body", &self.body)] {
            if let Some(part) = part {
                writeln!(text, "{name}").expect("writing to a string cannot fail");
                part.print(1, &mut text);
            }
        }
        if self.bytes_behind > 0 {
            writeln!(text, "{} bytes behind the message", self.bytes_behind)
                .expect("writing to a string cannot fail");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use seedlog_core::wire::{
        MetadataRequest, ProduceRequest, RequestBody, Response, Str, encode_request, encode_response,
    };

    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn hexadecimal_is_read_with_whitespace_and_refused_otherwise() {
        assert_eq!(parse_hex(" 0x00 1 2\nfF ").unwrap(), [0x00, 0x12, 0xff]);
        for wrong in ["", "  ", "012", "0g", "00 x1", "é0"] {
            assert!(matches!(parse_hex(wrong), Err(CliError::Usage(_))), "{wrong:?}");
        }
    }

    #[test]
    fn an_api_is_named_or_numbered() {
        assert_eq!(parse_api("metadata:12"), Ok((ApiKey::Metadata, 12)));
        assert_eq!(parse_api("3:0"), Ok((ApiKey::Metadata, 0)));
        assert_eq!(
            parse_api("Metadat:1").unwrap_err(),
            "there is no API Metadat here; did you mean Metadata?"
        );
        for wrong in ["Metadata", "Metadata:", "Metadata:99", "99:0", ":"] {
            parse_api(wrong).unwrap_err();
        }
    }

    #[test]
    fn a_length_in_front_is_skipped() {
        let request = MetadataRequest { topics: None, ..Default::default() };
        let chain = encode_request(12, 7, Some(&Str::from("me")), &request.into()).unwrap().to_bytes();
        let [with, without] = [&chain[..], &chain[LENGTH_PREFIX_BYTES..]].map(|bytes| {
            let frame = read_request(bytes).unwrap();
            assert!(frame.error.is_none(), "{:?}", frame.error);
            serde_json::to_string(&frame).unwrap()
        });
        assert_eq!(with, without);
        // A correlation id that says how many bytes follow is no length.
        let response = Response::Metadata(Default::default());
        let frame = encode_response(12, 0, &response).unwrap().to_bytes();
        let mut body = frame[LENGTH_PREFIX_BYTES..].to_vec();
        let id = i32::try_from(body.len()).unwrap() - 4;
        body[..4].copy_from_slice(&id.to_be_bytes());
        let read = read_response(ApiKey::Metadata, 12, &body).unwrap();
        assert!(read.error.is_none(), "{:?}", read.error);
        assert_eq!(serde_json::to_value(&read).unwrap()["header"]["correlation_id"], id);
    }

    #[test]
    fn every_api_reads_back_in_every_version() {
        for support in APIS {
            let served = support.served;
            for version in served.min..=served.max {
                let empty = |key: i16| {
                    let mut frame = vec![0; 64];
                    frame[..2].copy_from_slice(&key.to_be_bytes());
                    frame[2..4].copy_from_slice(&version.to_be_bytes());
                    frame
                };
                // Zeros are a value of every type, or null where a length is compact.
                let frame = Bytes::from(empty(support.api_key.as_i16()));
                let real = decode_request(frame.clone());
                let walked = request(frame).unwrap();
                assert_eq!(real.is_ok(), walked.error.is_none(), "{} {version}", support.api_key.name());
                if let Ok(RequestBody::Known(request)) = real.map(|real| real.body) {
                    assert_eq!(request.api_key(), support.api_key);
                    let again = encode_request(version, 0, None, &request).unwrap().to_bytes();
                    assert!(read_request(&again).unwrap().error.is_none());
                }
            }
        }
    }

    #[test]
    fn a_frame_that_is_cut_says_where() {
        let request = ProduceRequest { timeout_ms: 9, ..Default::default() };
        let frame = encode_request(9, 7, None, &request.into()).unwrap().to_bytes();
        for length in 1..frame.len() - LENGTH_PREFIX_BYTES {
            let cut = &frame[LENGTH_PREFIX_BYTES..LENGTH_PREFIX_BYTES + length];
            let error = read_request(cut).unwrap().error.expect("it is cut");
            assert!(error.at <= length, "{error:?}");
        }
    }

    proptest! {
        #[test]
        fn random_bytes_do_no_harm(
            bytes in proptest::collection::vec(any::<u8>(), 1..300),
            api in 0..APIS.len(),
            version in 0_i16..20,
        ) {
            let support = &APIS[api];
            let mut request_bytes = bytes.clone();
            request_bytes.splice(..0, version.to_be_bytes());
            request_bytes.splice(..0, support.api_key.as_i16().to_be_bytes());
            for bytes in [&bytes, &request_bytes] {
                let frame = Bytes::copy_from_slice(bytes);
                let walked = request(frame.clone()).unwrap();
                let known = matches!(decode_request(frame), Ok(real) if matches!(real.body, RequestBody::Known(_)));
                prop_assert_eq!(known, walked.error.is_none(), "{}: {:?}", hex(bytes), walked.error);
                prop_assert!(walked.error.is_none_or(|error| error.at <= bytes.len()));
                prop_assert!(walked.header.is_some());
            }
            let versions = support.response.versions;
            let version = versions.min + version % (versions.max - versions.min + 1);
            let frame = Bytes::from(bytes.clone());
            let walked = response(support.api_key, version, frame.clone()).unwrap();
            let real = decode_response(support.api_key, version, frame);
            prop_assert_eq!(real.is_ok(), walked.error.is_none(), "{}: {:?} {:?}", hex(&bytes), real, walked.error);
        }
    }
}
