//! Who am I? Until there are accounts, nobody.

use holdfast_proto::remotesapi as wire;
use holdfast_proto::remotesapi::credentials_service_server::CredentialsService;
use tonic::{Request, Response, Status};

/// Serves `CredentialsService`.
#[derive(Debug, Clone, Copy)]
pub struct Nobody;

#[tonic::async_trait]
impl CredentialsService for Nobody {
    async fn who_am_i(
        &self,
        _request: Request<wire::WhoAmIRequest>,
    ) -> Result<Response<wire::WhoAmIResponse>, Status> {
        // Never Unavailable, on which `dolt login` gives up, nor Unimplemented, on which it asks forever.
        Err(Status::unauthenticated(
            "this forge knows no such key: it has no accounts yet",
        ))
    }
}
