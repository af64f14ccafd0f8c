//! The handler of `ecrbroker.v1.OperatorService`.

use tokio::time::timeout_at;
use tonic::{Request, Response, Status};

use super::admitted::AdmittedCall;
use crate::error::BrokerError;
use crate::limits::Limits;
use crate::pb;
use crate::pb::operator_service_server::OperatorService;
use crate::status::{StatusReporter, query};

/// Keys of a page that cost about as much as one request for a credential.
const KEYS_PER_REQUEST: usize = 10;

/// The service over a [`StatusReporter`].
#[derive(Debug)]
pub(super) struct Operator {
    pub(super) limits: Limits,
    pub(super) reporter: StatusReporter,
}

impl Operator {
    /// Gathers the status, once the caller is known to be an operator. Others do not learn whether their request is valid.
    async fn status(
        &self,
        request: &pb::GetStatusRequest,
        admitted: &AdmittedCall,
    ) -> Result<pb::GetStatusResponse, BrokerError> {
        self.reporter.authorize(&admitted.context).await?;
        let status = self.reporter.status(query(request)?).await;
        Ok((&status).into())
    }
}

#[tonic::async_trait]
impl OperatorService for Operator {
    async fn get_status(
        &self,
        mut request: Request<pb::GetStatusRequest>,
    ) -> Result<Response<pb::GetStatusResponse>, Status> {
        let count = query(request.get_ref()).map_or(1, |query| query.limit.div_ceil(KEYS_PER_REQUEST));
        let admitted = AdmittedCall::take(&self.limits, &mut request, count)?;
        let status = timeout_at(admitted.part_deadline(), self.status(request.get_ref(), &admitted)).await;
        let status = status.unwrap_or(Err(BrokerError::Deadline));
        status.map(|status| admitted.respond(status)).map_err(|error| admitted.fail(&error))
    }
}
