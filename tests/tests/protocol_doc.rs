//! `docs/protocol.md` is written from the table of APIs: `UPDATE_DOCS=1` writes it, without that it must be as it would be
//! written.

use std::fs;
use std::path::Path;

use seedlog_core::wire::{APIS, ApiKey};
use seedlog_tests::protocol::{ABSENT, about, page};

const PAGE: &str = "docs/protocol.md";

#[test]
fn the_page_about_the_protocol_says_what_the_code_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    for (key, name) in ABSENT.iter().flat_map(|(apis, _)| *apis) {
        assert_eq!(ApiKey::from_i16(*key), None, "{name} is served");
    }
    for api in APIS {
        let (_, tests) = about(api.api_key);
        assert!(!tests.is_empty(), "{} is shown by nothing", api.api_key.name());
        for path in tests {
            assert!(root.join(path).is_file(), "{}: {path} is not there", api.api_key.name());
        }
    }
    let (path, text) = (root.join(PAGE), page());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == text, "{PAGE} is not what UPDATE_DOCS=1 would write");
}
