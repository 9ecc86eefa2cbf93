//! What is remembered, lent and found again.

use super::*;
use bson::rawdoc;

fn key(n: i32) -> Vec<u8> {
    Id::of(rawdoc! { "_id": n }.as_bytes()).expect("id").key()
}

fn ids(taken: &mut Taken) -> Vec<(Uuid, Vec<u8>)> {
    let mut all: Vec<(Uuid, Vec<u8>)> = Vec::new();
    loop {
        let chunk = taken.ids.next_chunk(7, 1 << 20).expect("read");
        if chunk.is_empty() {
            all.sort_by_key(|(uuid, key)| (uuid.bytes(), key.clone()));
            return all;
        }
        all.extend(chunk);
    }
}

fn taken(set: &DirtySet) -> Vec<Vec<u8>> {
    let mut taken = set.take();
    let all = ids(&mut taken).into_iter().map(|(_, key)| key).collect();
    set.settle(&taken).expect("settled");
    all
}

#[test]
fn what_was_never_tracked_is_not_compared() {
    let set = DirtySet::default();
    let collection = Uuid::new();
    set.touch(collection, &key(1));
    assert_eq!((set.compared(collection), set.count()), (Compared::Nothing, 0));
    set.start(collection);
    assert_eq!(set.compared(collection), Compared::Nothing);
    set.reached(collection, key(5), false, 17);
    assert_eq!(set.compared(collection), Compared::Until(key(5), 17));
    set.finish(collection, 20);
    assert_eq!(set.compared(collection), Compared::Everything(20));
    set.touch_all(collection);
    assert_eq!(set.compared(collection), Compared::Nothing);
}

#[test]
fn what_is_taken_stays_dirty_until_it_is_settled() {
    let set = DirtySet::default();
    let (a, b) = (Uuid::from_bytes([1; 16]), Uuid::from_bytes([2; 16]));
    set.start(a);
    set.start(b);
    for n in [1, 2, 1] {
        set.touch(a, &key(n));
    }
    set.touch(b, &key(9));
    assert_eq!(set.count(), 3, "a touch is kept once");
    let mut first = set.take();
    assert_eq!(ids(&mut first), [(a, key(1)), (a, key(2)), (b, key(9))]);
    set.touch(a, &key(1));
    let mut second = set.take();
    assert_eq!(ids(&mut second).len(), 4, "the first was not settled");
    set.touch(a, &key(7));
    set.settle(&second).expect("settled");
    assert_eq!(taken(&set), [key(7)]);
    assert_eq!((taken(&set).len(), set.count()), (0, 0));
}

#[test]
fn memory_is_bounded_and_nothing_is_lost() {
    let set = DirtySet::bounded(10, 1 << 20);
    let collection = Uuid::new();
    set.start(collection);
    for n in 0..1_000 {
        set.touch(collection, &key(n));
    }
    let mut all = taken(&set);
    all.sort();
    let mut wanted: Vec<_> = (0..1_000).map(key).collect();
    wanted.sort();
    assert_eq!(all, wanted);
}

#[test]
fn a_full_disk_falls_back_to_ranges_and_without_ranges_to_the_whole() {
    let set = DirtySet::bounded(10, 60);
    let (ranged, plain) = (Uuid::from_bytes([1; 16]), Uuid::from_bytes([2; 16]));
    set.start(ranged);
    set.start(plain);
    for boundary in [10, 20, 30] {
        set.reached(ranged, key(boundary), false, 0);
    }
    set.finish(ranged, 9);
    set.finish(plain, 9);
    for n in [1, 2, 3, 15, 20, 99] {
        set.touch(ranged, &key(n));
    }
    set.touch(plain, &key(1));
    assert_eq!(set.compared(plain), Compared::Nothing);
    let mut lent = set.take();
    assert_eq!(ids(&mut lent).len(), 3, "what fitted");
    let range = |from: Option<i32>, to: Option<i32>| (ranged, Range { from: from.map(key), to: to.map(key) });
    let wanted = [range(Some(10), Some(20)), range(Some(20), Some(30)), range(Some(30), None)];
    assert_eq!(lent.ranges, wanted);
    assert_eq!(set.take().ranges, wanted, "not settled yet");
    set.settle(&lent).expect("settled");
    assert!(set.take().ranges.is_empty());
    // An order that is not exactly the server's cannot choose a range.
    for n in 0..5 {
        set.touch(ranged, &key(n));
    }
    let decimal = rawdoc! { "_id": "1.5".parse::<bson::Decimal128>().expect("decimal") };
    let decimal = Id::of(decimal.as_bytes()).map(Id::key).expect("id");
    assert_eq!(set.compared(ranged), Compared::Everything(9));
    set.touch(ranged, &decimal);
    assert_eq!(set.compared(ranged), Compared::Nothing);
}

#[test]
fn a_touch_of_the_open_range_stays_when_the_range_ends() {
    let set = DirtySet::bounded(10, 0);
    let collection = Uuid::new();
    set.start(collection);
    set.reached(collection, key(10), false, 0);
    set.touch(collection, &key(500));
    set.reached(collection, key(20), false, 0);
    let ranges: Vec<_> = set.take().ranges.into_iter().map(|(_, range)| range.to).collect();
    assert_eq!(ranges, [Some(key(20)), None]);
}

#[test]
fn what_was_persisted_is_found_again_and_what_was_lent_is_dirty_again() {
    let home = tempfile::tempdir().expect("folder");
    let folder = home.path().join("verify");
    let (a, b) = (Uuid::from_bytes([1; 16]), Uuid::from_bytes([2; 16]));
    let set = DirtySet::open(&folder).expect("opened");
    set.start(a);
    set.reached(a, key(100), false, 3);
    set.touch(a, &key(1));
    set.start(b);
    set.finish(b, 4);
    let lent = set.take();
    set.touch(a, &key(2));
    set.persist().expect("persisted");
    set.touch(a, &key(3));
    // As after kill -9: the record that was only in memory is lost, and its change is applied again.
    drop((lent, set));
    let set = DirtySet::open(&folder).expect("opened");
    assert_eq!(set.count(), 2);
    assert_eq!(set.compared(a), Compared::Until(key(100), 3));
    assert_eq!(set.compared(b), Compared::Everything(4));
    assert_eq!(taken(&set), [key(1), key(2)]);
    set.persist().expect("persisted");
    drop(set);
    assert_eq!(DirtySet::open(&folder).expect("opened").count(), 0);
}

#[test]
fn a_record_that_was_cut_off_is_the_end() {
    let home = tempfile::tempdir().expect("folder");
    let set = DirtySet::open(home.path()).expect("opened");
    let collection = Uuid::new();
    set.start(collection);
    set.touch(collection, &key(1));
    set.touch(collection, &key(2));
    set.persist().expect("persisted");
    drop(set);
    let file = home.path().join("touched-0.ids");
    let bytes = std::fs::read(&file).expect("read");
    std::fs::write(&file, &bytes[..bytes.len() - 2]).expect("cut");
    assert_eq!(taken(&DirtySet::open(home.path()).expect("opened")), [key(1)]);
}

#[test]
fn files_that_cannot_be_written_mark_ranges_instead() {
    let home = tempfile::tempdir().expect("folder");
    let folder = home.path().join("gone");
    let set = DirtySet::open(&folder).expect("opened");
    let collection = Uuid::new();
    set.start(collection);
    set.reached(collection, key(10), false, 1);
    set.finish(collection, 1);
    std::fs::remove_dir_all(&folder).expect("removed");
    set.touch(collection, &key(3));
    assert!(set.persist().is_err(), "and no position is written");
    let wanted = [(collection, Range { from: None, to: Some(key(10)) })];
    let lent = set.take();
    assert_eq!(lent.ranges, wanted);
    set.touch(collection, &key(11));
    // The folder is back: what is lent stays dirty on disk, too.
    std::fs::create_dir(&folder).expect("created");
    set.persist().expect("persisted");
    let again = DirtySet::open(&folder).expect("opened").take().ranges;
    assert_eq!(again.len(), 2, "{again:?}");
    set.settle(&lent).expect("settled");
    set.touch(collection, &key(4));
    assert_eq!(taken(&set), [key(4)], "one by one again");
}

#[test]
fn of_damaged_files_nothing_is_believed() {
    let home = tempfile::tempdir().expect("folder");
    let set = DirtySet::open(home.path()).expect("opened");
    let collection = Uuid::new();
    set.start(collection);
    set.touch(collection, &key(1));
    set.finish(collection, 1);
    set.persist().expect("persisted");
    drop(set);
    std::fs::write(home.path().join("compared.json"), b"[{").expect("damaged");
    let set = DirtySet::open(home.path()).expect("opened");
    assert_eq!((set.compared(collection), set.count()), (Compared::Nothing, 0));
}

#[test]
fn what_is_cleared_or_ended_is_gone_from_the_disk() {
    let home = tempfile::tempdir().expect("folder");
    let folder = home.path().join("verified");
    let set = DirtySet::open(&folder).expect("opened");
    let collection = Uuid::new();
    let fill = || {
        set.start(collection);
        set.finish(collection, 1);
        set.touch(collection, &key(1));
        set.persist().expect("persisted");
    };
    fill();
    set.clear().expect("cleared");
    set.persist().expect("persisted");
    let found = DirtySet::open(&folder).expect("opened");
    assert_eq!((found.compared(collection), found.count()), (Compared::Nothing, 0));
    fill();
    set.end().expect("ended");
    assert!(!folder.exists());
    set.persist().expect("nothing is written any more");
    assert!(!folder.exists());
}

#[test]
fn an_order_that_only_the_server_knows_is_gone_on_with_and_never_placed_into() {
    let folder = tempfile::tempdir().unwrap();
    let collection = Uuid::new();
    {
        let set = DirtySet::open(folder.path()).unwrap();
        set.start(collection);
        set.reached(collection, key(10), true, 3);
        set.reached(collection, key(5), true, 6);
        assert_eq!(set.compared(collection), Compared::Until(key(5), 6));
        set.persist().unwrap();
    }
    let set = DirtySet::open(folder.path()).unwrap();
    assert_eq!(set.compared(collection), Compared::Until(key(5), 6));
    // Without room for identifiers nobody can say on which side of the place it lies.
    let set = DirtySet::bounded(0, 0);
    set.start(collection);
    set.reached(collection, key(10), true, 3);
    set.touch(collection, &key(1));
    assert_eq!(set.compared(collection), Compared::Nothing);
    assert!(set.is_whole(collection));
}
