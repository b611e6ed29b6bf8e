use std::collections::HashSet;

use holdfast_chunkstore::ChunkAddress;
use holdfast_chunkstore::pool::BlockingPool;
use holdfast_doltdb::model::Commit;
use holdfast_doltdb::testing::TinyDb;
use holdfast_doltdb::{Message, MessageKind, RefName};

use super::{NAMED, Need, Needs, Place, needs};
use crate::transfer::{Forgiving, Silent};

async fn found(database: &TinyDb, damaged: &[ChunkAddress]) -> Needs {
    let source = Forgiving::new(database, &Silent);
    let (ghosts, pool) = (HashSet::new(), BlockingPool::new(2));
    needs(&source, database.root(), &ghosts, damaged, &pool)
        .await
        .unwrap()
}

/// Of so many chunks it is told for each what needs it.
const EACH: usize = 100;

/// Loses one chunk, and returns what needs it.
async fn lost(database: &TinyDb, address: ChunkAddress) -> Need {
    let mut database = database.clone();
    database.lose(address).unwrap();
    let found = found(&database, &[address]).await;
    assert!(!found.lacks_refs && found.others.is_none());
    let [(of, need)] = &found.each[..] else {
        panic!("{found:?}");
    };
    assert_eq!(*of, address);
    need.clone()
}

fn kind(database: &TinyDb, address: ChunkAddress) -> Option<MessageKind> {
    let message = Message::decode(&database.chunks()[&address]);
    message.ok().map(|message| message.kind())
}

/// The table that holds a text.
fn table(database: &TinyDb, text: &str) -> ChunkAddress {
    let text = text.as_bytes();
    let holds = |address: &ChunkAddress| {
        let chunk = &database.chunks()[address];
        kind(database, *address) == Some(MessageKind::Blob)
            && chunk.windows(text.len()).any(|window| window == text)
    };
    database.chunks().keys().copied().find(holds).unwrap()
}

fn names(need: &Need) -> Vec<String> {
    need.refs.iter().map(RefName::to_string).collect()
}

fn commits(need: &Need) -> Vec<ChunkAddress> {
    need.commits.iter().map(|commit| commit.address).collect()
}

/// Three commits on `main`, each with a table that all have and with one of its own; `v1` tags the second, and `side`
/// comes from the first.
struct Scene {
    database: TinyDb,
    commits: [ChunkAddress; 3],
}

fn scene() -> Scene {
    let mut database = TinyDb::new();
    database.commit_with("main", "first", &[("a", b"of all"), ("b", b"of the first")]);
    let first = database.head("main").unwrap();
    database.commit_on("side", "aside", &[("a", b"of all")], &[first]);
    database.commit_with(
        "main",
        "second",
        &[("a", b"of all"), ("b", b"of the second")],
    );
    let middle = database.head("main").unwrap();
    database.tag("v1", "main");
    database.commit_with("main", "third", &[("a", b"of all")]);
    let last = database.head("main").unwrap();
    Scene {
        commits: [first, middle, last],
        database,
    }
}

#[tokio::test]
async fn a_part_of_a_table_names_the_commits_that_hold_it_and_the_refs_behind_them() {
    let scene = scene();
    let [first, middle, last] = scene.commits;
    let need = lost(&scene.database, table(&scene.database, "of the second")).await;
    assert_eq!(need.place, Place::Tables);
    assert_eq!(names(&need), ["refs/heads/main", "refs/tags/v1"]);
    assert_eq!(commits(&need), [middle], "the third commit has it not");
    let told = need.to_string();
    assert_eq!(
        told,
        format!(
            "under the root value of commits, reached by refs/heads/main, refs/tags/v1; commits: {middle}"
        )
    );

    let need = lost(&scene.database, table(&scene.database, "of all")).await;
    let all = ["refs/heads/main", "refs/heads/side", "refs/tags/v1"];
    assert_eq!(names(&need), all);
    let side = scene.database.head("side").unwrap();
    assert_eq!(commits(&need), [last, middle, side, first], "newest first");

    let root = Commit::decode(&scene.database.chunks()[&middle])
        .unwrap()
        .root;
    let need = lost(&scene.database, root).await;
    assert_eq!((need.place, commits(&need)), (Place::Tables, vec![middle]));
}

#[tokio::test]
async fn a_commit_a_tag_and_a_list_of_ancestors_are_told_as_such() {
    let scene = scene();
    let [first, middle, last] = scene.commits;
    for (commit, refs) in [
        (
            first,
            vec!["refs/heads/main", "refs/heads/side", "refs/tags/v1"],
        ),
        (middle, vec!["refs/heads/main", "refs/tags/v1"]),
        (last, vec!["refs/heads/main"]),
    ] {
        let need = lost(&scene.database, commit).await;
        assert_eq!(need.place, Place::Commit, "{commit}");
        assert_eq!(names(&need), refs);
        assert!(need.commits.is_empty());
    }
    let tag = scene.database.refs()["refs/tags/v1"];
    let need = lost(&scene.database, tag).await;
    assert_eq!(
        (need.place, names(&need)),
        (Place::Ref, vec!["refs/tags/v1".to_owned()])
    );
    let closure = Commit::decode(&scene.database.chunks()[&last])
        .unwrap()
        .closure;
    let need = lost(&scene.database, closure.unwrap()).await;
    assert_eq!((need.place, commits(&need)), (Place::Ancestors, vec![last]));
    assert_eq!(names(&need), ["refs/heads/main"]);
}

#[tokio::test]
async fn what_lies_behind_a_damaged_commit_is_reached_by_what_reaches_that() {
    let Scene {
        mut database,
        commits: [first, middle, last],
    } = scene();
    database.set(&[("refs/tags/v1", None), ("refs/heads/side", None)]);
    let of_first = table(&database, "of the first");
    database.lose(middle).unwrap();
    database.lose(of_first).unwrap();
    // Only the list of the ancestors of the third commit leads to the first.
    let seen = found(&database, &[middle, of_first]).await;
    let need = &seen.each[1].1;
    assert_eq!((need.place, commits(need)), (Place::Tables, vec![first]));
    assert_eq!(names(need), ["refs/heads/main"]);
    // Nothing is seen behind the head.
    database.lose(last).unwrap();
    let seen = found(&database, &[last, of_first]).await;
    assert_eq!(seen.each[0].1.place, Place::Commit);
    let need = &seen.each[1].1;
    assert_eq!(need.place, Place::Unreached);
    assert_eq!(need.to_string(), "no ref that can be read reaches it");
}

#[tokio::test]
async fn of_many_only_some_are_named_and_the_others_are_told_together() {
    let mut database = TinyDb::new();
    let contents: Vec<_> = (0..NAMED + 3)
        .map(|number| format!("content {number}"))
        .collect();
    let mut expected = Vec::new();
    for content in &contents {
        database.commit_with(
            "main",
            content,
            &[("all", b"the same"), ("own", content.as_bytes())],
        );
        expected.push(database.head("main").unwrap());
        for number in 0..2 {
            let name = format!("refs/heads/{content}-{number}").replace(' ', "-");
            database.set(&[(&name, database.head("main"))]);
        }
    }
    let same = table(&database, "the same");
    let need = lost(&database, same).await;
    expected.reverse();
    assert_eq!(commits(&need), expected[..NAMED]);
    assert_eq!(need.more_commits, 3);
    assert_eq!((need.refs.len(), need.more_refs), (NAMED, 2 * 8 + 1 - 5));

    // Chunks that nothing reaches, and one that something does.
    let mut many: Vec<_> = (0..=EACH)
        .map(|number| ChunkAddress::new([u8::try_from(number).unwrap(); 20]))
        .collect();
    many.push(same);
    let found = found(&database, &many).await;
    assert_eq!(found.each.len(), EACH);
    assert!(
        found
            .each
            .iter()
            .all(|(_, need)| need.place == Place::Unreached)
    );
    let (count, others) = found.others.unwrap();
    assert_eq!((count, others.place), (2, Place::Tables));
}

#[tokio::test]
async fn refs_that_cannot_be_read_are_said_to_lack() {
    let mut scene = scene();
    let root = scene.database.root().chunk().unwrap();
    scene.database.lose(root).unwrap();
    let found = found(&scene.database, &[table(&scene.database, "of all")]).await;
    assert!(found.lacks_refs);
    assert_eq!(found.each[0].1.place, Place::Unreached);
}
