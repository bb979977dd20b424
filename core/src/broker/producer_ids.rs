//! Producer ids: brokers give them out from blocks that the controller assigns.

use super::Broker;
use crate::errors::ErrorCode;
use crate::ids::{BrokerEpoch, ConnId, NodeId, ProducerId, RequestNumber};
use crate::output::Outputs;
use crate::peer::PeerBody;
use crate::wire::{InitProducerIdRequest, InitProducerIdResponse, Response};

impl Broker {
    pub(super) fn on_init_producer_id(
        &mut self,
        conn: ConnId,
        number: RequestNumber,
        request: &InitProducerIdRequest,
        out: &mut Outputs,
    ) {
        let refuse = |code: ErrorCode| {
            Response::InitProducerId(InitProducerIdResponse {
                error_code: code.code(),
                ..InitProducerIdResponse::default()
            })
        };
        if request.transactional_id.is_some() {
            // Transactions are not served: FindCoordinator, which precedes this call, says so.
            self.reply(conn, number, refuse(ErrorCode::InvalidRequest), out);
        } else if let Some((code, _)) = self.metadata_refusal() {
            let code =
                if code == ErrorCode::NotController { ErrorCode::CoordinatorNotAvailable } else { code };
            self.reply(conn, number, refuse(code), out);
        } else {
            self.producer_ids.waiting.push_back((conn, number));
            self.give_producer_ids(out);
        }
    }

    /// Gives ids to those who wait, and asks for a block when there are none left.
    fn give_producer_ids(&mut self, out: &mut Outputs) {
        while self.producer_ids.next < self.producer_ids.end
            && let Some((conn, number)) = self.producer_ids.waiting.pop_front()
        {
            let producer_id = self.producer_ids.next;
            self.producer_ids.next = ProducerId(producer_id.0 + 1);
            let response = InitProducerIdResponse {
                error_code: ErrorCode::None.code(),
                producer_id: producer_id.0,
                producer_epoch: 0,
                ..InitProducerIdResponse::default()
            };
            self.reply(conn, number, Response::InitProducerId(response), out);
        }
        if !self.producer_ids.waiting.is_empty() && !self.producer_ids.asked && self.is_serving() {
            self.producer_ids.asked = true;
            self.want_producer_ids(out);
            self.arm_resend();
        }
    }

    /// Asks the controller for a block; again, as long as none has come.
    pub(super) fn want_producer_ids(&mut self, out: &mut Outputs) {
        if let Some(broker_epoch) = self.membership.broker_epoch {
            self.send_to_controller(PeerBody::WantProducerIds { broker_epoch }, out);
        }
    }

    /// A block is committed. Only the run that asked uses it, and only one block at a time: another one is left unused.
    pub(super) fn on_producer_ids(
        &mut self,
        node: NodeId,
        broker_epoch: BrokerEpoch,
        (first, next): (ProducerId, ProducerId),
        out: &mut Outputs,
    ) {
        let is_own = node == self.config.node_id && self.membership.broker_epoch == Some(broker_epoch);
        if is_own && self.producer_ids.asked {
            self.producer_ids.asked = false;
            self.producer_ids.next = first;
            self.producer_ids.end = next;
            self.give_producer_ids(out);
        }
    }
}
