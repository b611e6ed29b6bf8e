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
        // `dolt login` asks again for ever on any other code, and here no key will ever be known.
        Err(Status::unavailable(
            "this server has no accounts, so that nobody can log in: give --user and the server's token in \
             DOLT_REMOTE_PASSWORD to each command instead",
        ))
    }
}
