//! Requests that only the controller decides: any broker takes them and passes them on (SAFETY K2).

use super::timers::Timer;
use super::{Broker, Requester};
use crate::door::ClientRequest;
use crate::errors::ErrorCode;
use crate::ids::{ConnId, LeaderEpoch, NodeId, RequestNumber};
use crate::output::Outputs;
use crate::peer::{Forward, ForwardReply, PeerBody};
use crate::replica::progress::PeerRun;
use crate::wire::{
    ApiKey, CreateTopicsRequest, Request, RequestBody, Response, decode_request, decode_response,
    encode_request, encode_response,
};
use alloc::boxed::Box;
use alloc::vec::Vec;
use bytes::Bytes;

/// A request on its way to the controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Forwarded {
    conn: ConnId,
    number: RequestNumber,
    version: i16,
    request: Request,
    /// What is done with the answer.
    then: Then,
    /// Who has it: it is sent again only after a definite "not the controller".
    sent_to: Option<(NodeId, LeaderEpoch)>,
}

/// What is done with the controller's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Then {
    /// It is the client's.
    Reply,
    /// The client's Metadata request is answered, whatever came of creating its topics.
    Describe(Box<ClientRequest>),
}

impl Broker {
    /// Passes a client's request on.
    pub(super) fn forward(
        &mut self,
        conn: ConnId,
        number: RequestNumber,
        version: i16,
        request: Request,
        out: &mut Outputs,
    ) {
        self.forward_then(
            Forwarded { conn, number, version, request, then: Then::Reply, sent_to: None },
            out,
        );
    }

    /// Asks the controller for topics that a Metadata request names.
    pub(super) fn forward_creation(
        &mut self,
        conn: ConnId,
        number: RequestNumber,
        create: CreateTopicsRequest,
        metadata: ClientRequest,
        out: &mut Outputs,
    ) {
        let forwarded = Forwarded {
            conn,
            number,
            version: ApiKey::CreateTopics.support().served.max,
            request: Request::CreateTopics(create),
            then: Then::Describe(Box::new(metadata)),
            sent_to: None,
        };
        self.forward_then(forwarded, out);
    }

    fn forward_then(&mut self, forwarded: Forwarded, out: &mut Outputs) {
        let id = self.next_number();
        self.forwards.insert(id, forwarded);
        self.timers.arm(self.now.mono + self.config.timings.forward_ms, Timer::Forward(id));
        self.send_forward(id, out);
    }

    fn send_forward(&mut self, id: u64, out: &mut Outputs) {
        let Some((controller, epoch)) = self.quorum.leader() else { return };
        let Some(forwarded) = self.forwards.get_mut(&id) else { return };
        let Some(conn) = self.conns.get(&forwarded.conn) else { return };
        let listener = conn.listener.0;
        let timeout_ms = u32::try_from(self.config.timings.forward_ms).unwrap_or(u32::MAX);
        let Ok(chain) = encode_request(forwarded.version, 0, None, &forwarded.request) else { return };
        forwarded.sent_to = Some((controller, epoch));
        let forward = Forward { number: id, listener, timeout_ms, frame: body_of(&chain.to_bytes()) };
        self.send_to_controller(PeerBody::Forward(forward), out);
    }

    /// The controller is known or another one: what waits is sent; what the one before had, may have been done or not.
    pub(super) fn forward_waiting(&mut self, out: &mut Outputs) {
        let leader = self.quorum.leader();
        let ids: Vec<u64> = self.forwards.keys().copied().collect();
        for id in ids {
            match self.forwards.get(&id).map(|forwarded| forwarded.sent_to) {
                Some(None) => self.send_forward(id, out),
                Some(sent) if sent != leader => self.give_up_forward(id, out),
                Some(_) | None => {}
            }
        }
    }

    /// The outcome is unknown.
    pub(super) fn give_up_forward(&mut self, id: u64, out: &mut Outputs) {
        let Some(forwarded) = self.forwards.remove(&id) else { return };
        self.timers.disarm(Timer::Forward(id));
        match forwarded.then {
            Then::Reply => {
                let was_sent = forwarded.sent_to.is_some();
                let code = if was_sent { ErrorCode::RequestTimedOut } else { ErrorCode::NotController };
                let why = if was_sent {
                    "The controller did not answer; the request may have been carried out."
                } else {
                    "No controller is known: a majority of the quorum's voters must be alive."
                };
                if let Some(response) = super::admin::refuse_request(&forwarded.request, code, why) {
                    self.reply(forwarded.conn, forwarded.number, response, out);
                }
            }
            Then::Describe(request) => self.describe_for(forwarded.conn, forwarded.number, &request, out),
        }
    }

    /// The controller's side.
    pub(super) fn on_forward(&mut self, from: NodeId, peer: PeerRun, forward: Forward, out: &mut Outputs) {
        let number = forward.number;
        if self.controller.is_none() {
            let reply = ForwardReply { number, frame: None };
            self.answer_peer(from, peer, PeerBody::ForwardReply(reply), out);
            return;
        }
        let Ok(decoded) = decode_request(Bytes::from(forward.frame)) else { return };
        let version = decoded.header.api_version;
        let to = Requester::Peer { node: from, peer, number, version };
        match decoded.body {
            RequestBody::Known(Request::CreateTopics(request)) => self.create_topics(to, &request, out),
            RequestBody::Known(Request::DeleteTopics(request)) => self.delete_topics(to, &request, out),
            RequestBody::Known(Request::AlterConfigs(request)) => self.alter_configs(to, &request, out),
            RequestBody::Known(Request::IncrementalAlterConfigs(request)) => {
                self.incremental_alter_configs(to, &request, out);
            }
            RequestBody::Known(Request::DescribeQuorum(request)) => {
                self.describe_quorum(to, version, &request, out);
            }
            RequestBody::Known(_)
            | RequestBody::UnknownApiVersions
            | RequestBody::UnknownVersion(_)
            | RequestBody::UnknownApi => {}
        }
    }

    pub(super) fn on_forward_reply(&mut self, reply: ForwardReply, out: &mut Outputs) {
        let Some(forwarded) = self.forwards.get_mut(&reply.number) else { return };
        let Some(frame) = reply.frame else {
            // Not the controller, and nothing was done: tried again when somebody is.
            forwarded.sent_to = None;
            self.arm_resend();
            return;
        };
        let api_key = forwarded.request.api_key();
        let Ok((_, response)) = decode_response(api_key, forwarded.version, Bytes::from(frame)) else {
            return;
        };
        let Some(forwarded) = self.forwards.remove(&reply.number) else { return };
        self.timers.disarm(Timer::Forward(reply.number));
        match forwarded.then {
            Then::Reply => self.reply(forwarded.conn, forwarded.number, response, out),
            Then::Describe(request) => self.describe_for(forwarded.conn, forwarded.number, &request, out),
        }
    }

    /// Its connection is gone.
    pub(super) fn forget_forwards(&mut self, conn: ConnId) {
        let gone: Vec<u64> =
            self.forwards.iter().filter(|(_, held)| held.conn == conn).map(|(&id, _)| id).collect();
        for id in gone {
            self.forwards.remove(&id);
            self.timers.disarm(Timer::Forward(id));
        }
    }
}

/// The controller's answer as it travels.
pub(super) fn encode_reply(number: u64, version: i16, response: &Response) -> ForwardReply {
    let frame = encode_response(version, 0, response).ok().map(|chain| body_of(&chain.to_bytes()));
    ForwardReply { number, frame }
}

/// A frame without its length.
fn body_of(frame: &[u8]) -> Vec<u8> {
    frame.get(4..).unwrap_or_default().to_vec()
}
