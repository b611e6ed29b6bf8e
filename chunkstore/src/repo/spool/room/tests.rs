//! Which upload gets room, which waits, and which gives up.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt as _;
use tempfile::TempDir;
use tokio::sync::watch;

use super::*;
use crate::clock::Timestamp;
use crate::error::ErrorKind;
use crate::pool::BlockingPool;
use crate::repo::spool::{SpoolDir, SpoolFile, SpoolOptions};
use crate::sort::Sorter;

const MIB: u64 = 1 << 20;

/// A clock that stands until a test lets time pass.
#[derive(Debug)]
struct Standing(watch::Sender<Duration>);

#[async_trait]
impl Clock for Standing {
    fn now(&self) -> Timestamp {
        Timestamp(0)
    }

    fn monotonic(&self) -> Duration {
        *self.0.borrow()
    }

    async fn sleep(&self, duration: Duration) {
        let end = self.monotonic() + duration;
        let mut now = self.0.subscribe();
        now.wait_for(|now| *now >= end).await.ok();
    }
}

/// A spool of 32 MiB, of which a sender has 16 and received files together 30.
struct Place {
    directory: TempDir,
    spool: SpoolDir,
    clock: Arc<Standing>,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = SpoolOptions {
            max_total_bytes: 32 * MIB,
            free_floor_bytes: 0,
        };
        let spool = SpoolDir::open(directory.path(), options, BlockingPool::new(2));
        Self {
            spool: spool.unwrap(),
            directory,
            clock: Arc::new(Standing(watch::channel(Duration::ZERO).0)),
        }
    }

    async fn receive(&self, sender: u128, declared_mib: u64) -> SpoolFile {
        let clock: Arc<dyn Clock> = Arc::<Standing>::clone(&self.clock);
        let file = self
            .spool
            .receive(Sender(sender), declared_mib * MIB, &clock);
        file.await.unwrap()
    }

    fn room(&self) -> &Room {
        &self.spool.shared.room
    }

    /// How many MiB are taken.
    fn taken(&self) -> u64 {
        self.room().state.lock().reserved / MIB
    }

    fn pass(&self, time: Duration) {
        self.clock.0.send_modify(|now| *now += time);
    }

    fn is_empty(&self) -> bool {
        let path: &Path = self.directory.path();
        std::fs::read_dir(path).unwrap().count() == 0
    }
}

/// Takes so many MiB more, or what hinders it; nothing while that is waited for.
fn take(file: &mut SpoolFile, mib: u64) -> Option<Result<(), SpoolError>> {
    let append = async {
        for _ in 0..mib {
            file.room_for(MIB).await?;
            file.len += MIB;
        }
        Ok(())
    };
    append.now_or_never()
}

fn takes(file: &mut SpoolFile, mib: u64) -> bool {
    take(file, mib).is_some_and(|taken| taken.is_ok())
}

#[tokio::test]
async fn a_declared_length_takes_no_room_until_its_bytes_come() {
    let place = Place::new();
    let mut waiting = Vec::new();
    for sender in 0..100 {
        waiting.push(place.receive(sender, 16).await);
    }
    assert_eq!(place.taken(), 0);
    assert!(takes(&mut waiting[3], 5));
    assert_eq!(place.taken(), 5);
    waiting[3]
        .append(Bytes::from_static(b"x"))
        .await
        .unwrap_err();
    drop(waiting);
    assert_eq!(place.taken(), 0);
    assert!(place.is_empty() && place.room().state.lock().senders.is_empty());
}

#[tokio::test]
async fn a_file_longer_than_the_share_of_its_sender_is_refused_before_it_comes() {
    let place = Place::new();
    place.spool.judge(16 * MIB).await.unwrap();
    let refused = place.spool.judge(16 * MIB + 1).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Refused);
    let told =
        "16777217 bytes are more than the 16777216 bytes that uploads of one sender may take";
    assert_eq!(refused.to_string(), told);
    let clock: Arc<dyn Clock> = Arc::<Standing>::clone(&place.clock);
    let refused = place.spool.receive(Sender(1), 17 * MIB, &clock).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Refused);
    // What others take now is waited for later.
    let mut others = [place.receive(1, 16).await, place.receive(2, 16).await];
    assert!(takes(&mut others[0], 16) && takes(&mut others[1], 14));
    place.spool.judge(16 * MIB).await.unwrap();
    // Of a larger share there is still room left for checks.
    let all = place.spool.clone().with_share(100);
    all.judge(30 * MIB).await.unwrap();
    all.judge(30 * MIB + 1).await.unwrap_err();
}

#[tokio::test]
async fn a_sender_has_its_share_and_another_is_served_all_the_same() {
    let place = Place::new();
    let mut first = place.receive(1, 16).await;
    let mut second = place.receive(1, 16).await;
    let mut other = place.receive(2, 16).await;
    assert!(takes(&mut first, 12) && takes(&mut second, 4));
    let mut waiting = Box::pin(first.room_for(MIB));
    assert!((&mut waiting).now_or_never().is_none());
    assert!(takes(&mut other, 10));
    drop(second);
    waiting.await.unwrap();
    assert_eq!(place.taken(), 23);
}

#[tokio::test]
async fn room_that_comes_free_goes_to_the_oldest() {
    let place = Place::new();
    let (mut filler, mut late) = (place.receive(1, 16).await, place.receive(2, 16).await);
    let mut files = Vec::new();
    for sender in 3..6 {
        files.push(place.receive(sender, 16).await);
    }
    assert!(takes(&mut filler, 16) && takes(&mut late, 14));
    let mut waiting: Vec<_> = files
        .iter_mut()
        .rev()
        .map(|file| Box::pin(file.room_for(7 * MIB)))
        .collect();
    for one in &mut waiting {
        assert!(one.now_or_never().is_none());
    }
    // One that goes away while it waits holds up none.
    drop(waiting.remove(1));
    drop(filler);
    let done: Vec<bool> = waiting
        .iter_mut()
        .map(|one| one.now_or_never().is_some())
        .collect();
    assert_eq!(done, [true, true]);
    drop(waiting);
    let [mut old, mut young] = [place.receive(7, 16).await, place.receive(8, 16).await];
    let mut of_young = Box::pin(young.room_for(3 * MIB));
    let mut of_old = Box::pin(old.room_for(3 * MIB));
    assert!((&mut of_young).now_or_never().is_none());
    assert!((&mut of_old).now_or_never().is_none());
    drop(late);
    assert!(of_old.now_or_never().is_some());
    of_young.await.unwrap();
}

#[tokio::test]
async fn what_waits_for_more_than_there_is_holds_up_what_is_younger_and_needs_the_same() {
    let place = Place::new();
    let mut files = Vec::new();
    for sender in 1..5 {
        files.push(place.receive(sender, 16).await);
    }
    assert!(takes(&mut files[0], 16) && takes(&mut files[1], 12));
    let (older, younger) = files.split_at_mut(3);
    let mut of_older = Box::pin(older[2].room_for(3 * MIB));
    assert!((&mut of_older).now_or_never().is_none());
    let mut of_younger = Box::pin(younger[0].room_for(MIB));
    assert!((&mut of_younger).now_or_never().is_none());
    drop(of_older);
    of_younger.await.unwrap();
}

/// Two files of one sender that each have half of what they need of its share.
async fn two_that_wait_for_each_other(place: &Place) -> [SpoolFile; 2] {
    let mut files = [place.receive(1, 12).await, place.receive(1, 12).await];
    assert!(files.iter_mut().all(|file| takes(file, 8)));
    files
}

#[tokio::test]
async fn of_files_that_wait_for_each_other_the_youngest_gives_up() {
    let place = Place::new();
    let [mut old, mut young] = two_that_wait_for_each_other(&place).await;
    let mut of_old = Box::pin(old.room_for(MIB));
    let mut of_young = Box::pin(young.room_for(MIB));
    assert!((&mut of_old).now_or_never().is_none());
    // That others move is of no use to them.
    let mut other = place.receive(2, 16).await;
    assert!(takes(&mut other, 3));
    let refused = (&mut of_young).now_or_never().unwrap().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Exhausted);
    assert!((&mut of_old).now_or_never().is_none());
    drop(of_young);
    drop(young);
    of_old.await.unwrap();
    assert!(takes(&mut old, 4));
}

#[tokio::test]
async fn none_gives_up_while_one_of_them_receives() {
    let place = Place::new();
    let [mut old, mut young] = two_that_wait_for_each_other(&place).await;
    let mut of_old = Box::pin(old.room_for(MIB));
    assert!((&mut of_old).now_or_never().is_none());
    place.pass(STUCK - Duration::from_millis(1));
    assert!((&mut of_old).now_or_never().is_none());
    // It was received whole, or its client went away.
    drop(std::mem::replace(&mut young, place.receive(1, 12).await));
    of_old.await.unwrap();
    assert!(takes(&mut old, 3) && takes(&mut young, 4));
}

#[tokio::test]
async fn files_that_share_all_room_give_up_one_by_one_until_the_oldest_ends() {
    let place = Place::new();
    let mut files = Vec::new();
    for sender in 0..5 {
        files.push(place.receive(sender, 16).await);
    }
    assert!(files.iter_mut().all(|file| takes(file, 6)));
    let mut waiting: Vec<_> = files
        .into_iter()
        .map(|mut file| Box::pin(async move { file.room_for(10 * MIB).await.map(|()| file) }))
        .collect();
    let mut refused = Vec::new();
    let mut whole = Vec::new();
    while !waiting.is_empty() {
        let mut still = Vec::new();
        for (number, mut one) in std::mem::take(&mut waiting).into_iter().enumerate() {
            match (&mut one).now_or_never() {
                Some(Ok(file)) => whole.push(file.slot.number),
                Some(Err(_)) => refused.push(number),
                None => still.push(one),
            }
        }
        waiting = still;
    }
    assert_eq!(whole.len() + refused.len(), 5);
    assert_eq!((whole[0], place.taken()), (1, 0), "the oldest ends first");
    assert!(whole.len() > 1, "{refused:?}");
}

#[tokio::test]
async fn one_without_room_does_not_give_up_for_others() {
    let place = Place::new();
    let [mut old, mut young] = two_that_wait_for_each_other(&place).await;
    let mut fresh = place.receive(1, 12).await;
    let mut of_old = Box::pin(old.room_for(MIB));
    let mut of_young = Box::pin(young.room_for(MIB));
    let mut of_fresh = Box::pin(fresh.room_for(MIB));
    assert!((&mut of_fresh).now_or_never().is_none());
    assert!((&mut of_old).now_or_never().is_none());
    assert!((&mut of_young).now_or_never().unwrap().is_err());
    assert!((&mut of_fresh).now_or_never().is_none());
    assert!((&mut of_old).now_or_never().is_none());
    drop(of_young);
    drop(young);
    of_old.await.unwrap();
    of_fresh.await.unwrap();
}

#[tokio::test]
async fn what_waits_for_a_file_that_never_ends_is_refused_in_the_end() {
    let place = Place::new();
    let mut slow = place.receive(1, 16).await;
    assert!(takes(&mut slow, 16));
    let mut file = place.receive(1, 4).await;
    let mut waiting = Box::pin(file.room_for(MIB));
    assert!((&mut waiting).now_or_never().is_none());
    place.pass(STUCK - Duration::from_millis(1));
    assert!((&mut waiting).now_or_never().is_none());
    place.pass(Duration::from_millis(1));
    let refused = waiting.now_or_never().unwrap().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Exhausted);
    drop(slow);
    assert!(takes(&mut file, 4), "a later try is as good as any");
}

#[tokio::test]
async fn uploads_leave_room_for_what_ends_them() {
    let place = Place::new();
    let mut files = [place.receive(1, 16).await, place.receive(2, 16).await];
    assert!(takes(&mut files[0], 16) && takes(&mut files[1], 14));
    assert!(take(&mut files[1], 1).is_none());
    let spool = place.spool.clone().with_sort_memory(1 << 10);
    let mut sorter = Sorter::<8>::new(spool.sort_options());
    for record in 0..100_000_u64 {
        sorter.push(record.to_be_bytes()).unwrap();
    }
    sorter.finish().unwrap();
}
