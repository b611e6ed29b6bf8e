//! Whether the refs that a new root brings are ones that Dolt can use.
//!
//! Only what comes to be or moves is looked at, and what moves by its kind alone: what is there already may stay and go.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use holdfast_chunkstore::ChunkAddress;
use holdfast_chunkstore::repo::{ReadChunks, RefMove, RepositoryError};
use holdfast_doltdb::{MessageKind, RefFault, RefName};

use super::ACCEPTING;

/// How many chunks are asked for at once.
const BATCH: usize = 4096;
/// How many refs an answer names.
const TOLD: usize = 3;

/// Refs that are refused.
#[derive(Debug, Default)]
pub(super) struct Refused {
    told: Vec<String>,
    untold: usize,
}

impl Refused {
    fn add(&mut self, name: &RefName, fault: &RefFault) -> ControlFlow<()> {
        if self.told.len() == TOLD {
            self.untold += 1;
            return ControlFlow::Break(());
        }
        let mut text = fault.to_string();
        if let RefFault::Place { .. } = fault {
            text.push_str(&format!("; {ACCEPTING}"));
        }
        if let Some(command) = name.dolt_removal() {
            text.push_str(&format!(
                "; if it is in your database, this removes it: {command}"
            ));
        }
        self.told.push(text);
        ControlFlow::Continue(())
    }

    /// Says it in one line; nothing where no ref is refused.
    pub(super) fn reason(self) -> Option<String> {
        let more = match self.untold {
            0 => "",
            _ => "; and more",
        };
        match self.told.is_empty() {
            true => None,
            false => Some(self.told.join("; ") + more),
        }
    }
}

/// Finds the refs among some moves that Dolt could not use. Where chunks of unknown kinds are taken, a ref may stand
/// for one, and in an unknown place.
pub(super) async fn check(
    chunks: &dyn ReadChunks,
    moves: &[RefMove],
    accept_unknown: bool,
) -> Result<Refused, RepositoryError> {
    let mut refused = Refused::default();
    // Each chunk is read once, however many refs stand for it.
    let mut named: BTreeMap<ChunkAddress, Vec<RefName>> = BTreeMap::new();
    for (moved, new) in moves.iter().filter_map(|moved| Some((moved, moved.new?))) {
        let name = RefName::parse(&moved.name);
        // What is there under a name that nothing new may have goes on: only what comes to be is judged by its name.
        let placed = match moved.old {
            None => name.check_placed().map_err(RefFault::from),
            Some(_) => Ok(()),
        };
        // A repository that takes what a newer Dolt writes has its places too.
        let placed = placed.and_then(|()| match accept_unknown || moved.old.is_some() {
            true => Ok(()),
            false => name.check_place(),
        });
        match placed {
            Err(fault) => {
                if refused.add(&name, &fault).is_break() {
                    return Ok(refused);
                }
            }
            Ok(()) if name.kind().is_some() => named.entry(new).or_default().push(name),
            Ok(()) => {}
        }
    }
    let named: Vec<_> = named.into_iter().collect();
    for batch in named.chunks(BATCH) {
        let addresses: Vec<_> = batch.iter().map(|(address, _)| *address).collect();
        let heads = chunks.read_heads(&addresses, MessageKind::HEAD_LEN).await?;
        for ((_, names), head) in batch.iter().zip(heads) {
            let head = head.unwrap_or_default();
            for name in names {
                let Err(fault) = name.check_kind(&head) else {
                    continue;
                };
                let is_unknown = matches!(
                    fault,
                    RefFault::Kind {
                        found: Some(MessageKind::Unknown(_)),
                        ..
                    }
                );
                if !(is_unknown && accept_unknown) && refused.add(name, &fault).is_break() {
                    return Ok(refused);
                }
            }
        }
    }
    Ok(refused)
}
