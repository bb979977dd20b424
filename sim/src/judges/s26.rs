//! S26 authorisation (INVARIANTS.md 3a), as far as it goes where nobody is authenticated: who comes through the clients' door is a
//! client. What only nodes may ask for is not answered there, and a fetch in a node's name is refused before it does anything
//! (CVE-2018-1288): it gets no records and no session.

use crate::clients::hostile::OF_NODES;
use seedlog_core::errors::ErrorCode;
use seedlog_core::wire::Response;
use seedlog_core::wire::fetch::PartitionData;

/// The door lets a frame in, which is without its length prefix.
///
/// # Errors
/// It is of an API that nodes use among each other.
pub fn check_admitted(frame: &[u8]) -> Result<(), String> {
    let key = frame.first_chunk().map_or(-1, |key| i16::from_be_bytes(*key));
    if OF_NODES.contains(&key) {
        return Err(format!("a client is let in with a request of API {key}, which is for nodes alone"));
    }
    Ok(())
}

/// Answers to Fetch have an error of their own from this version on; before, each partition bears it.
const OWN_ERROR_FROM: i16 = 7;

/// A fetch in the name of a node is answered.
///
/// # Errors
/// It is not refused, or it gets something.
#[expect(clippy::wildcard_enum_match_arm, reason = "nothing but a fetch can claim to be a node's here")]
pub fn check_forged(version: i16, response: &Response) -> Result<(), String> {
    let refusal = ErrorCode::ClusterAuthorizationFailed.code();
    match response {
        Response::Fetch(fetched) if fetched.error_code == refusal && fetched.responses.is_empty() => {
            match fetched.session_id {
                0 => Ok(()),
                id => Err(format!("a fetch in the name of a node is refused, and has the session {id}")),
            }
        }
        Response::Fetch(fetched) if version < OWN_ERROR_FROM => {
            let mut parts = fetched.responses.iter().flat_map(|topic| &topic.partitions);
            let gets_records = |data: &PartitionData| data.records.as_ref().is_some_and(|it| !it.is_empty());
            match parts.find(|data| data.error_code != refusal || gets_records(data)) {
                Some(data) => Err(format!(
                    "a fetch in the name of a node is answered with error {} for a partition",
                    data.error_code
                )),
                None => Ok(()),
            }
        }
        Response::Fetch(fetched) => Err(format!(
            "a fetch in the name of a node is answered with error {}, session {} and {} topics",
            fetched.error_code,
            fetched.session_id,
            fetched.responses.len()
        )),
        _ => Err("a fetch is answered with something else".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seedlog_core::wire::FetchResponse;
    use seedlog_core::wire::fetch::FetchableTopicResponse;

    #[test]
    fn what_is_for_nodes_is_found() {
        assert_eq!(check_admitted(&[0, 1, 0, 0]), Ok(()));
        assert!(check_admitted(&[0, 56, 0, 0]).unwrap_err().contains("API 56"));
        let refused = |error_code, session_id, topics| {
            let responses = vec![FetchableTopicResponse::default(); topics];
            Response::Fetch(FetchResponse { error_code, session_id, responses, ..FetchResponse::default() })
        };
        assert_eq!(check_forged(12, &refused(31, 0, 0)), Ok(()));
        for wrong in [refused(0, 0, 0), refused(31, 5, 0), refused(31, 0, 1)] {
            assert!(check_forged(12, &wrong).unwrap_err().contains("in the name of a node"));
        }
        let old = |error_code| {
            let partitions = vec![PartitionData { error_code, ..PartitionData::default() }];
            let responses = vec![FetchableTopicResponse { partitions, ..FetchableTopicResponse::default() }];
            Response::Fetch(FetchResponse { responses, ..FetchResponse::default() })
        };
        assert_eq!(check_forged(4, &old(31)), Ok(()));
        assert!(check_forged(4, &old(0)).unwrap_err().contains("error 0 for a partition"));
    }
}
