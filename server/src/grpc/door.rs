//! What a call passes before its message is read: who makes it, whether he may, and how much a message may
//! hold.

use std::sync::Arc;

use holdfast_chunkstore::ErrorKind;
use http::Request;
use http::request::Parts;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::aside::{AsideCall, AsideCalls};
use super::bounds::Bounds;
use super::budget::{Budget, Share};
use super::clear_text::ClearTextTokens;
use super::failed_tokens::FailedTokens;
use super::identity;
use super::intake::{Intake, Messages};
use super::status::status;
use super::waiting::Awaited;
use super::{MAX_REQUEST, MAX_SMALL_MESSAGE};
use crate::forge::access::{Action, Principal};
use crate::forge::{Caller, Forge};
use crate::origin::BaseUrl;
use crate::peer::Peer;
use crate::telemetry::request::Known;
use crate::transport::{Arrival, ClientWait};

/// What the paths of the calls that deal with repositories begin with.
pub const CHUNK_STORE: &str = "/dolt.services.remotesapi.v1alpha1.ChunkStoreService/";

/// What the paths of the one call of another service end with that takes more than one message.
const REFLECTION: &str = ".ServerReflection/ServerReflectionInfo";

/// The most hashes that one HasChunks may ask for; dolt asks for 16,384.
const MAX_PRESENCE: usize = 1 << 18;
/// The most hashes that one message may ask the places of; dolt asks for 512.
pub const MAX_LOCATIONS: usize = 1 << 16;
/// The most files that one message may name; dolt names as many as one push uploads.
pub const MAX_FILES: usize = 10_000;
/// What asks for the health of this server once.
const CHECK: &str = "/grpc.health.v1.Health/Check";
/// Room for the messages of calls that deal with no repository, in KiB.
const ASIDE_KIB: u32 = 4 << 10;
/// The field of the messages that say what a client can do.
const CAPABILITIES: u64 = 5;

/// Lets calls in.
#[derive(Debug)]
pub struct Door {
    forge: Arc<Forge>,
    budget: Budget,
    /// For calls that deal with no repository, so that probes are answered when all else is full.
    aside: Budget,
    aside_calls: Arc<AsideCalls>,
    failed: FailedTokens,
    clear_text: ClearTextTokens,
    /// Set when the port closes.
    closing: CancellationToken,
}

/// A call that was let in.
#[derive(Debug)]
pub struct Admitted<B> {
    /// Its handler finds the caller among the extensions, and reads its messages through the bounds of the call.
    pub request: Request<Intake<Awaited<B>>>,
    /// What its messages take in memory; it is among the extensions too.
    pub share: Share,
    /// Held until the end of the answer.
    pub aside: Option<AsideCall>,
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
    /// Takes the domain, which knows who may do what. When `closing` is set, calls that deal with no repository end.
    pub fn new(forge: Arc<Forge>, closing: CancellationToken) -> Self {
        let clock = forge.clock();
        Self {
            budget: Budget::default(),
            aside: Budget::new(ASIDE_KIB, 16 * ASIDE_KIB),
            aside_calls: Arc::default(),
            failed: FailedTokens::new(Arc::clone(clock)),
            clear_text: ClearTextTokens::new(Arc::clone(clock)),
            closing,
            forge,
        }
    }

    /// Lets a call in, which tells `wait` when it waits for its client.
    pub async fn admit<B>(
        &self,
        base_url: BaseUrl,
        request: Request<B>,
        wait: &ClientWait,
    ) -> Result<Admitted<B>, Status> {
        let (mut head, body) = request.into_parts();
        let rule = rule(head.uri.path());
        let arrival = head.extensions.get::<Arrival>();
        let mut aside = None;
        if rule.action.is_none() {
            wait.is_aside();
            let lasts = arrival.filter(|_| head.uri.path() != CHECK);
            let peer = lasts.map(|arrival| Peer::of(arrival.peer.ip()));
            aside = peer.map(|peer| self.aside_calls.begin(peer)).transpose()?;
        }
        let budget = match rule.action {
            Some(_) => &self.budget,
            None => &self.aside,
        };
        let share = budget.share(arrival.map(|arrival| Peer::of(arrival.peer.ip())));
        head.extensions.insert(share.clone());
        if let Some(action) = rule.action {
            let caller = self.caller(&head, base_url, action).await?;
            head.extensions.insert(caller);
        }
        let body = Awaited::new(body, wait.clone());
        let body = Intake::new(body, rule.messages, rule.bounds, share.clone());
        let body = match rule.action {
            Some(_) => body,
            None => body.giving_back().until(&self.closing),
        };
        Ok(Admitted {
            request: Request::from_parts(head, body),
            share,
            aside,
        })
    }

    /// Finds out who makes a call, and whether the call is allowed. What a wrong token is answered may wait.
    async fn caller(
        &self,
        head: &Parts,
        base_url: BaseUrl,
        action: Action,
    ) -> Result<Caller, Status> {
        let arrival = head.extensions.get::<Arrival>().copied();
        let shows_token = identity::shows_token(&head.headers);
        let peer = arrival
            .filter(|_| shows_token)
            .map(|arrival| arrival.peer.ip());
        // Before the token is compared: else a peer that does not wait for its refusals could try as many as it likes.
        if let Some(peer) = peer
            && self.failed.is_crowded(peer)
        {
            return Err(Status::unavailable(
                "too many wrong tokens came from this address: try again in some seconds",
            ));
        }
        let caller = identity::caller(&self.forge, &head.headers, base_url);
        let allowed = caller.and_then(|caller| {
            let allowed = self.forge.check(caller.principal, action);
            allowed.map(|()| caller)
        });
        match allowed {
            Ok(caller) => {
                let is_known = caller.principal == Principal::Administrator;
                // What everybody may read is read with a wrong token as well, and might tell it from the right one.
                if let Some(peer) = peer
                    && !is_known
                    && self.forge.asks_for_token()
                    && !identity::shows_login(&head.headers)
                {
                    self.failed.slow(peer).await;
                }
                Known::note(&head.extensions);
                if let Some(arrival) = arrival.filter(|_| is_known)
                    && self.clear_text.is_to_be_said(arrival, &head.headers)
                {
                    tracing::warn!(
                        peer = %arrival.peer.ip(),
                        "a token came over the network in clear text: set tls.cert, tls.key and require_tls, or \
                         put a proxy with TLS before this server"
                    );
                }
                Ok(caller)
            }
            Err(error) => {
                if let Some(peer) = peer
                    && error.kind() == ErrorKind::Unauthenticated
                {
                    self.failed.slow(peer).await;
                }
                Err(status(&error))
            }
        }
    }
}

fn rule(path: &str) -> Rule {
    let Some(method) = path.strip_prefix(CHUNK_STORE) else {
        return Rule {
            action: None,
            messages: match path.ends_with(REFLECTION) {
                true => Messages::Stream,
                false => Messages::One,
            },
            bounds: Bounds {
                len: MAX_SMALL_MESSAGE,
                ..bounds(0, None)
            },
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
    Bounds {
        len: MAX_REQUEST,
        listed,
        packed,
    }
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

    #[test]
    fn only_reflection_streams_beside_the_chunk_store() {
        for (path, messages) in [
            ("/grpc.health.v1.Health/Check", Messages::One),
            ("/grpc.health.v1.Health/Watch", Messages::One),
            ("/no.such.Service/Call", Messages::One),
            (
                "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
                Messages::Stream,
            ),
            (
                "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
                Messages::Stream,
            ),
        ] {
            assert_eq!(rule(path).messages, messages, "{path}");
        }
    }
}
