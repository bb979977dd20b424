//! What is asked of ACLs, quotas and SCRAM credentials. There are none: nobody is authenticated, and nobody is held to a quota.

use super::Broker;
use crate::errors::ErrorCode;
use crate::ids::{ConnId, RequestNumber};
use crate::output::Outputs;
use crate::wire::describe_client_quotas::ComponentData;
use crate::wire::describe_user_scram_credentials::DescribeUserScramCredentialsResult;
use crate::wire::{
    DescribeAclsResponse, DescribeClientQuotasRequest, DescribeClientQuotasResponse,
    DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse, Response, Str,
};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// What quotas are set for.
const USER: &str = "user";
const CLIENT_ID: &str = "client-id";
const IP: &str = "ip";

/// How a part of a filter is meant.
mod matching {
    /// One name.
    pub(super) const EXACT: i8 = 0;
    /// The default.
    pub(super) const DEFAULT: i8 = 1;
    /// Any name.
    pub(super) const SPECIFIED: i8 = 2;
}

impl Broker {
    pub(super) fn on_describe_acls(&mut self, conn: ConnId, number: RequestNumber, out: &mut Outputs) {
        let response = DescribeAclsResponse {
            error_code: ErrorCode::SecurityDisabled.code(),
            error_message: Some(Str::from_static("No Authorizer is configured on the broker")),
            ..DescribeAclsResponse::default()
        };
        self.reply(conn, number, Response::DescribeAcls(response), out);
    }

    pub(super) fn on_describe_client_quotas(
        &mut self,
        conn: ConnId,
        number: RequestNumber,
        request: &DescribeClientQuotasRequest,
        out: &mut Outputs,
    ) {
        let response = match check_filter(&request.components) {
            Ok(()) => DescribeClientQuotasResponse {
                entries: Some(Vec::new()),
                ..DescribeClientQuotasResponse::default()
            },
            Err((code, why)) => DescribeClientQuotasResponse {
                error_code: code.code(),
                error_message: Some(why.into()),
                ..DescribeClientQuotasResponse::default()
            },
        };
        self.reply(conn, number, Response::DescribeClientQuotas(response), out);
    }

    pub(super) fn on_describe_user_scram_credentials(
        &mut self,
        conn: ConnId,
        number: RequestNumber,
        request: &DescribeUserScramCredentialsRequest,
        out: &mut Outputs,
    ) {
        let mut mentions: BTreeMap<&Str, usize> = BTreeMap::new();
        for user in request.users.iter().flatten() {
            *mentions.entry(&user.name).or_default() += 1;
        }
        let results = mentions.into_iter().map(|(name, count)| {
            let (code, why) = if count > 1 {
                (ErrorCode::DuplicateResource, "The user is named more than once.")
            } else {
                (ErrorCode::ResourceNotFound, "The user has no SCRAM credentials: nobody is authenticated.")
            };
            DescribeUserScramCredentialsResult {
                user: name.detached(),
                error_code: code.code(),
                error_message: Some(Str::from_static(why)),
                ..DescribeUserScramCredentialsResult::default()
            }
        });
        let response = DescribeUserScramCredentialsResponse {
            results: results.collect(),
            ..DescribeUserScramCredentialsResponse::default()
        };
        self.reply(conn, number, Response::DescribeUserScramCredentials(response), out);
    }
}

/// A filter that makes no sense is refused, whether there is anything to find or not.
fn check_filter(components: &[ComponentData]) -> Result<(), (ErrorCode, String)> {
    let invalid = |why: String| Err((ErrorCode::InvalidRequest, why));
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    for component in components {
        let kind = &*component.entity_type;
        if kind.is_empty() {
            return invalid("A part of the filter has no entity type.".to_string());
        }
        if !seen.insert(kind) {
            return invalid(format!("The entity type {kind} is in the filter more than once."));
        }
        if ![USER, CLIENT_ID, IP].contains(&kind) {
            let why = format!("There are no quotas for {kind}: only for {USER}, {CLIENT_ID} and {IP}.");
            return Err((ErrorCode::UnsupportedVersion, why));
        }
        match (component.match_type, &component.name) {
            (matching::EXACT, None) => {
                return invalid(format!("The filter wants one {kind} and does not name it."));
            }
            (matching::DEFAULT | matching::SPECIFIED, Some(_)) => {
                return invalid(format!("The filter names a {kind} and wants the default or any."));
            }
            (matching::EXACT | matching::DEFAULT | matching::SPECIFIED, _) => {}
            (other, _) => return invalid(format!("There is no match type {other}.")),
        }
    }
    if seen.contains(IP) && seen.len() > 1 {
        return invalid(format!("Quotas for {IP} are not combined with others."));
    }
    Ok(())
}
