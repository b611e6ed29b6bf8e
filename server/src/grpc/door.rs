//! What a call passes before its message is read: who makes it, whether he may, and how much a message may
//! hold.

use std::sync::Arc;

use http::Request;
use tonic::Status;

use super::identity::caller;
use super::intake::{Intake, Messages, Room};
use super::status::status;
use super::walk::Bounds;
use crate::forge::Forge;
use crate::forge::access::Action;
use crate::origin::BaseUrl;

/// What the paths of the calls that deal with repositories begin with.
pub const CHUNK_STORE: &str = "/dolt.services.remotesapi.v1alpha1.ChunkStoreService/";

/// The most hashes that one HasChunks may ask for; dolt asks for 16,384.
const MAX_PRESENCE: usize = 1 << 18;
/// The most hashes that one message may ask the places of; dolt asks for 512.
pub const MAX_LOCATIONS: usize = 1 << 16;
/// The most files that one message may name; dolt names as many as one push uploads.
pub const MAX_FILES: usize = 10_000;
/// The field of the messages that say what a client can do.
const CAPABILITIES: u64 = 5;

/// Lets calls in.
#[derive(Debug)]
pub struct Door {
    forge: Arc<Forge>,
    room: Room,
}

/// What the door knows of a call by its path.
#[derive(Debug, Clone, Copy)]
struct Rule {
    /// What the caller must be allowed to; nothing where nobody is asked.
    action: Option<Action>,
    messages: Messages,
    bounds: Bounds,
}

impl Door {
    /// Takes the domain, which knows who may do what.
    pub fn new(forge: Arc<Forge>) -> Self {
        Self {
            forge,
            room: Room::default(),
        }
    }

    /// Lets a call in: its handler finds the caller among the extensions, and reads its messages through the
    /// bounds of the call.
    pub fn admit<B>(
        &self,
        base_url: BaseUrl,
        request: Request<B>,
    ) -> Result<Request<Intake<B>>, Status> {
        let (mut head, body) = request.into_parts();
        let rule = rule(head.uri.path());
        if let Some(action) = rule.action {
            let caller = caller(&self.forge, &head.headers, base_url);
            let caller = caller.map_err(|error| status(&error))?;
            let allowed = self.forge.check(caller.principal, action);
            allowed.map_err(|error| status(&error))?;
            head.extensions.insert(caller);
        }
        let body = Intake::new(body, rule.messages, rule.bounds, &self.room);
        Ok(Request::from_parts(head, body))
    }
}

fn rule(path: &str) -> Rule {
    let Some(method) = path.strip_prefix(CHUNK_STORE) else {
        // Reflection streams; health and the rest have one message.
        return Rule {
            action: None,
            messages: Messages::Stream,
            bounds: bounds(0, None),
        };
    };
    let (action, messages, bounds) = match method {
        "HasChunks" => (Action::Read, Messages::One, bounds(MAX_PRESENCE, None)),
        "GetDownloadLocations" => (
            Action::Read,
            Messages::One,
            bounds(MAX_LOCATIONS, Some(CAPABILITIES)),
        ),
        "StreamDownloadLocations" => (
            Action::Read,
            Messages::Stream,
            bounds(MAX_LOCATIONS, Some(CAPABILITIES)),
        ),
        "StreamChunkLocations" => (
            Action::Read,
            Messages::Stream,
            bounds(0, Some(CAPABILITIES)),
        ),
        "GetUploadLocations" | "AddTableFiles" | "Commit" => {
            (Action::Write, Messages::One, bounds(MAX_FILES, None))
        }
        "ListTableFiles" | "RefreshTableFileUrl" => {
            (Action::Read, Messages::One, bounds(0, Some(CAPABILITIES)))
        }
        _ => (Action::Read, Messages::One, bounds(0, None)),
    };
    Rule {
        action: Some(action),
        messages,
        bounds,
    }
}

fn bounds(listed: usize, packed: Option<u64>) -> Bounds {
    Bounds { listed, packed }
}

#[cfg(test)]
mod tests {
    use prost_types::FileDescriptorSet;
    use prost_types::field_descriptor_proto::{Label, Type};
    use tonic_prost::prost::Message as _;

    use super::*;

    #[test]
    fn every_list_of_a_request_is_bounded() {
        let set = FileDescriptorSet::decode(holdfast_proto::FILE_DESCRIPTOR_SET).unwrap();
        let file = set
            .file
            .iter()
            .find(|file| file.name().ends_with("/chunkstore.proto"));
        let file = file.unwrap();
        let methods = &file.service[0].method;
        assert_eq!(methods.len(), 12);
        for method in methods {
            let rule = rule(&format!("{CHUNK_STORE}{}", method.name()));
            let input = method.input_type().rsplit('.').next().unwrap();
            let message = file
                .message_type
                .iter()
                .find(|message| message.name() == input);
            let (mut listed, mut packed) = (false, None);
            for field in &message.unwrap().field {
                match (field.label(), field.r#type()) {
                    (Label::Repeated, Type::Bytes | Type::String | Type::Message) => listed = true,
                    (Label::Repeated, _) => packed = u64::try_from(field.number()).ok(),
                    (Label::Optional | Label::Required, _) => {}
                }
            }
            let name = method.name();
            assert_eq!(rule.bounds.packed, packed, "{name}");
            assert_eq!(rule.bounds.listed > 0, listed, "{name}");
            assert_eq!(
                rule.messages == Messages::Stream,
                method.client_streaming(),
                "{name}"
            );
            assert!(rule.action.is_some(), "{name}");
        }
    }

    #[test]
    fn nobody_is_asked_who_he_is_by_the_health_service() {
        assert!(rule("/grpc.health.v1.Health/Check").action.is_none());
    }
}
