//! Every message of the API, changed as bytes and changed in what it says; the streams message by message.

use std::collections::BTreeMap;

use futures::StreamExt as _;
use holdfast_proto::remotesapi as wire;
use rand::RngExt as _;
use rand::rngs::StdRng;
use tonic::{Code, Status};
use tonic_prost::prost::Message;

use super::inputs::{generator, input, one_of};
use super::protobuf::changed;
use super::samples;
use super::wire::Said;
use super::world::World;
use super::{AT_ONCE, INPUTS, Wire, framed};

/// The path of a method of the chunk store service.
pub(super) fn path_of(method: &str) -> String {
    format!("/dolt.services.remotesapi.v1alpha1.ChunkStoreService/{method}")
}

/// Refusals that a client does not ask about again, and the one that a lack of room is told by.
const REFUSALS: [Code; 8] = [
    Code::InvalidArgument,
    Code::NotFound,
    Code::FailedPrecondition,
    Code::OutOfRange,
    Code::ResourceExhausted,
    Code::Unauthenticated,
    Code::PermissionDenied,
    Code::Unimplemented,
];

/// How tonic says that a body is not made of messages.
const UNDECODABLE: [&str; 4] = [
    "failed to decode Protobuf message: ",
    "protocol error: received message with ",
    "Unexpected EOF decoding stream.",
    "Missing request message.",
];

/// How a body is refused that holds more than it may, before it, or what came with it, is decoded.
const TOO_MUCH: [&str; 3] = [
    "a message of this call ",
    "the list of ",
    "this call takes one message",
];

/// Whether a call was refused for how much its body holds, before it was decoded.
pub(super) fn holds_too_much(status: &Status) -> bool {
    let text = status.message();
    status.code() == Code::InvalidArgument && TOO_MUCH.iter().any(|begin| text.starts_with(begin))
}

/// Panics if a status is neither Ok nor a refusal that fits. Internal is what tonic makes of a body that it
/// cannot decode, and of nothing else.
pub(super) fn assert_fits(status: &Status, is_decodable: bool) {
    let text = status.message();
    let says_undecodable = UNDECODABLE.iter().any(|begin| text.starts_with(begin));
    let fits = match (status.code(), is_decodable) {
        (Code::Ok, _) => is_decodable,
        (Code::Internal, _) => !is_decodable && says_undecodable,
        (Code::Unavailable, true) => text.starts_with("this server has no accounts"),
        (code, true) => REFUSALS.contains(&code),
        (code, false) => code == Code::OutOfRange || holds_too_much(status),
    };
    assert!(fits, "decodable: {is_decodable}, yet {status:?}");
    assert!(text.len() < 1000 && !text.contains('\n'), "{status:?}");
}

/// One method and what it is sent.
pub(super) struct Target {
    pub(super) path: String,
    /// Messages that are right.
    pub(super) samples: Vec<Vec<u8>>,
    /// Whether bytes are such a message.
    pub(super) decodes: fn(&[u8]) -> bool,
}

fn target<M: Message + Default>(method: &str, samples: Vec<M>) -> Target {
    Target {
        path: path_of(method),
        samples: samples.iter().map(Message::encode_to_vec).collect(),
        decodes: |bytes| M::decode(bytes).is_ok(),
    }
}

impl Target {
    /// A message that is almost right; half of the time it is at least well formed.
    fn input(&self, random: &mut StdRng) -> Vec<u8> {
        match random.random_range(0..2) {
            0 => input(&self.samples, random),
            _ => changed(&one_of(&self.samples, random).clone(), random),
        }
    }
}

/// How often each code came.
pub(super) type Tally = BTreeMap<String, usize>;

/// Sends 10,000 messages that are almost right to a method that takes one.
async fn unary(world: &World, target: &Target, salt: u64) -> Tally {
    let mut random = generator(salt);
    let inputs: Vec<_> = (0..INPUTS).map(|_| target.input(&mut random)).collect();
    let mut said = futures::stream::iter(inputs)
        .map(async |input| {
            let said = world.wire.call(&target.path, framed(&input)).await;
            (input, said)
        })
        .buffer_unordered(AT_ONCE);
    let mut tally = Tally::new();
    while let Some((input, Said { status, messages })) = said.next().await {
        assert_fits(&status, (target.decodes)(&input));
        assert_eq!(messages.len(), usize::from(status.code() == Code::Ok));
        *tally.entry(format!("{:?}", status.code())).or_default() += 1;
    }
    eprintln!("{}: {tally:?}", target.path);
    tally
}

/// Asserts that inputs came through to what they are for, and were not all turned away at the door.
fn assert_reached(tally: &Tally, codes: &[Code]) {
    for code in codes {
        let count = tally.get(&format!("{code:?}")).copied();
        assert!(count.unwrap_or(0) >= 20, "{code:?} in {tally:?}");
    }
}

#[tokio::test]
async fn messages_that_read_take_anything() {
    let world = World::start(&[]).await;
    let names = world.names().await;
    let metadata = target("GetRepoMetadata", samples::metadata());
    let tally = unary(&world, &metadata, 1).await;
    assert_reached(&tally, &[Code::Ok, Code::InvalidArgument, Code::NotFound]);
    let root = target("Root", samples::root());
    let tally = unary(&world, &root, 2).await;
    assert_reached(&tally, &[Code::Ok, Code::InvalidArgument, Code::NotFound]);
    let rebase = target("Rebase", samples::rebase());
    let tally = unary(&world, &rebase, 3).await;
    assert_reached(&tally, &[Code::Ok, Code::InvalidArgument, Code::NotFound]);
    let list = target("ListTableFiles", samples::list());
    let tally = unary(&world, &list, 4).await;
    assert_reached(&tally, &[Code::Ok, Code::InvalidArgument, Code::NotFound]);
    let refresh = target("RefreshTableFileUrl", samples::refresh(&world));
    let tally = unary(&world, &refresh, 5).await;
    assert_reached(&tally, &[Code::Ok, Code::InvalidArgument, Code::NotFound]);
    assert_eq!(world.names().await, names, "reading names nothing");
    world.assert_unchanged().await;
}

#[tokio::test]
async fn messages_that_ask_for_chunks_take_anything() {
    let world = World::start(&[]).await;
    let names = world.names().await;
    let has = target("HasChunks", samples::has(&world));
    let tally = unary(&world, &has, 6).await;
    assert_reached(&tally, &[Code::Ok, Code::InvalidArgument, Code::NotFound]);
    let locations = target("GetDownloadLocations", samples::location(&world));
    let tally = unary(&world, &locations, 7).await;
    assert_reached(&tally, &[Code::Ok, Code::InvalidArgument, Code::NotFound]);
    assert_eq!(world.names().await, names, "reading names nothing");
    world.assert_unchanged().await;
}

#[tokio::test]
async fn messages_that_write_take_anything() {
    let world = World::start(&[]).await;
    let refusals = [Code::Ok, Code::InvalidArgument, Code::FailedPrecondition];
    let commit = target("Commit", samples::commit(&world));
    assert_reached(&unary(&world, &commit, 8).await, &refusals);
    let add = target("AddTableFiles", samples::add(&world));
    assert_reached(&unary(&world, &add, 9).await, &refusals);
    let uploads = target("GetUploadLocations", samples::upload(&world));
    assert_reached(&unary(&world, &uploads, 10).await, &refusals);
    world.assert_unchanged().await;
}

#[tokio::test]
async fn who_am_i_takes_anything() {
    let world = World::start(&[]).await;
    let who = Target {
        path: "/dolt.services.remotesapi.v1alpha1.CredentialsService/WhoAmI".to_owned(),
        ..target("", vec![wire::WhoAmIRequest {}])
    };
    let tally = unary(&world, &who, 11).await;
    assert_reached(&tally, &[Code::Unavailable]);
    assert!(!tally.contains_key("Ok"), "{tally:?}");
    world.assert_unchanged().await;
}

#[tokio::test]
async fn the_health_service_takes_anything() {
    let world = World::start(&[]).await;
    let check = Target {
        path: "/grpc.health.v1.Health/Check".to_owned(),
        ..target("", samples::health())
    };
    let tally = unary(&world, &check, 14).await;
    assert_reached(&tally, &[Code::Ok, Code::NotFound]);
    world.assert_unchanged().await;
}

/// Sends 10,000 messages that are almost right to a service of reflection, each in a stream between others that
/// are right. One that it cannot decode, or that holds too much, ends the stream as if it were not there.
async fn reflected(world: &World, target: &Target, salt: u64) {
    let mut random = generator(salt);
    let streams: Vec<_> = (0..INPUTS)
        .map(|_| (random.random_range(0..3), target.input(&mut random)))
        .collect();
    let mut said = futures::stream::iter(streams)
        .map(async |(before, input)| {
            let right = framed(&target.samples[0]);
            let body = [right.repeat(before), framed(&input), right].concat();
            (before, world.wire.call(&target.path, body).await, input)
        })
        .buffer_unordered(AT_ONCE);
    let mut tally = BTreeMap::<_, usize>::new();
    while let Some((before, Said { status, messages }, input)) = said.next().await {
        let is_decodable = (target.decodes)(&input);
        let count = messages.len();
        let shown = || format!("{status:?}, {count} answers to {:?}", input.escape_ascii());
        let all = before + 2;
        let ended = match status.code() {
            Code::Ok if count == all => {
                assert!(is_decodable, "{}", shown());
                "all"
            }
            Code::Ok => "silently",
            Code::InvalidArgument => "invalid",
            Code::NotFound => "not found",
            _ => panic!("{}", shown()),
        };
        // What is refused for how much it holds takes with it what came just before.
        let fits = count == before || (ended == "silently" && count < before);
        assert!(ended == "all" || fits, "{}", shown());
        for (_, message) in messages.iter().enumerate().filter(|(i, _)| *i != before) {
            assert!(samples::lists_services(message), "{message:?}");
        }
        *tally.entry(ended).or_default() += 1;
    }
    eprintln!("{}: {tally:?}", target.path);
    for ended in ["all", "silently", "invalid", "not found"] {
        assert!(tally[ended] >= 20, "{tally:?}");
    }
}

#[tokio::test]
async fn reflection_takes_anything_between_its_messages() {
    let world = World::start(&[]).await;
    for (version, salt) in [("v1", 15), ("v1alpha", 16)] {
        let path = format!("/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo");
        let reflection = Target {
            path,
            ..target("", samples::reflection())
        };
        reflected(&world, &reflection, salt).await;
    }
    world.assert_unchanged().await;
}

/// The number of chunks that one answer of a stream tells places of.
type Places = fn(&[u8]) -> usize;

/// Sends 10,000 messages that are almost right, each in a stream between others that are right: those before it
/// are answered, and those behind it as well unless it ended the stream.
async fn streamed(world: &World, target: &Target, places: Places, salt: u64) {
    let mut random = generator(salt);
    let expected = answered(&world.wire, target, places).await;
    let streams: Vec<_> = (0..INPUTS)
        .map(|_| {
            let before = random.random_range(0..3);
            (before, target.input(&mut random))
        })
        .collect();
    let mut said = futures::stream::iter(streams)
        .map(async |(before, input)| {
            let right = framed(&target.samples[0]);
            let body = [right.repeat(before), framed(&input), right].concat();
            (before, world.wire.call(&target.path, body).await, input)
        })
        .buffer_unordered(AT_ONCE);
    let mut tally = Tally::new();
    while let Some((before, Said { status, messages }, input)) = said.next().await {
        assert_fits(&status, (target.decodes)(&input));
        let all = before + 2;
        match status.code() {
            Code::Ok => assert_eq!(messages.len(), all, "{input:?}"),
            _ if holds_too_much(&status) => assert!(messages.len() <= before, "{status:?}"),
            _ => assert_eq!(messages.len(), before, "{status:?} to {input:?}"),
        }
        for (i, message) in messages.iter().enumerate().filter(|(i, _)| *i != before) {
            assert_eq!(places(message), expected, "answer {i} of {all}");
        }
        *tally.entry(format!("{:?}", status.code())).or_default() += 1;
    }
    eprintln!("{}: {tally:?}", target.path);
    assert_reached(&tally, &[Code::Ok, Code::InvalidArgument, Code::NotFound]);
}

/// How many places the first sample is answered with.
async fn answered(wire: &Wire, target: &Target, places: Places) -> usize {
    let said = wire.call(&target.path, framed(&target.samples[0])).await;
    let count = places(&said.messages[0]);
    assert!(count > 0, "{said:?}");
    count
}

#[tokio::test]
async fn the_stream_of_chunk_locations_takes_anything_between_its_messages() {
    let world = World::start(&[]).await;
    let target = target("StreamChunkLocations", samples::stream(&world));
    let places = |answer: &[u8]| {
        let answer = wire::StreamChunkLocationsResponse::decode(answer).unwrap();
        answer.locations.len()
    };
    streamed(&world, &target, places, 12).await;
    world.assert_unchanged().await;
}

#[tokio::test]
async fn the_older_stream_takes_anything_between_its_messages() {
    let world = World::start(&[]).await;
    let target = target("StreamDownloadLocations", samples::location(&world));
    let places = |answer: &[u8]| {
        let answer = wire::GetDownloadLocsResponse::decode(answer).unwrap();
        let ranges = |loc: &wire::DownloadLoc| match &loc.location {
            Some(wire::download_loc::Location::HttpGetRange(range)) => range.ranges.len(),
            Some(wire::download_loc::Location::HttpGet(_)) | None => 0,
        };
        answer.locs.iter().map(ranges).sum()
    };
    streamed(&world, &target, places, 13).await;
    world.assert_unchanged().await;
}
