//! The spool written, read, torn, resumed and filled.

use super::*;
use bson::rawdoc;

const LIMIT: u64 = 1 << 40;

fn piece(n: u32, pad: &str) -> Piece {
    let entry = rawdoc! { "n": i32::try_from(n).unwrap(), "pad": pad };
    let mark =
        Mark { ts: Optime::new(n, 1), term: 1, wall_ms: i64::from(n) * 1_000, ops: u64::from(n), ..Mark::default() };
    Piece { entries: entry.as_bytes().to_vec(), first: mark.ts, mark }
}

/// Text that does not compress to nothing.
fn noise(bytes: usize) -> String {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        char::from(b' ' + u8::try_from(state >> 58).unwrap())
    };
    (0..bytes).map(|_| next()).collect()
}

async fn next(reader: &mut SpoolReader) -> Option<i32> {
    let n = reader.peek().await.unwrap()?.get_i32("n").unwrap();
    reader.consume();
    Some(n)
}

fn files(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}

#[tokio::test]
async fn the_reader_follows_the_writer_across_segments_and_what_is_applied_is_removed() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("spool");
    let Spool { mut writer, mut reader, keeper, .. } = create(&folder, 8 << 20).unwrap();
    let big = noise(600_000);
    let writing = tokio::task::spawn_blocking(move || {
        for n in 1..=40 {
            writer.append(&[piece(n, if n % 2 == 0 { &big } else { "" })]).unwrap();
        }
        writer
    });
    for n in 1..=40 {
        assert_eq!(next(&mut reader).await, Some(n));
    }
    let writer = writing.await.unwrap();
    assert_eq!(keeper.waiting_bytes(), 0);
    let all = files(&folder);
    assert!(all >= 5, "{all} segments");
    keeper.release(Optime::new(20, 0)).unwrap();
    let left = files(&folder);
    assert!(left < all && left >= all / 2, "{left} of {all} segments");
    keeper.release(Optime::new(41, 0)).unwrap();
    assert_eq!(files(&folder), 1, "the one that is written");
    drop(writer);
    assert_eq!(next(&mut reader).await, None);
}

#[tokio::test]
async fn the_entry_of_the_largest_document_passes() {
    let folder = tempfile::tempdir().unwrap();
    let Spool { mut writer, mut reader, keeper, .. } = create(folder.path(), LIMIT).unwrap();
    let large = "x".repeat(16 << 20);
    writer.append(&[piece(1, ""), piece(2, &large), piece(3, "")]).unwrap();
    assert_eq!(next(&mut reader).await, Some(1));
    assert_eq!(reader.peek().await.unwrap().unwrap().get_str("pad").unwrap(), large);
    assert_eq!(next(&mut reader).await, Some(2));
    assert_eq!(keeper.waiting_bytes(), piece(3, "").entries.len() as u64);
    assert_eq!(next(&mut reader).await, Some(3));
}

#[tokio::test]
async fn a_reader_waits_and_a_cancelled_wait_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let Spool { mut writer, mut reader, .. } = create(folder.path(), LIMIT).unwrap();
    let wait = std::time::Duration::from_millis(20);
    assert!(tokio::time::timeout(wait, reader.peek()).await.is_err());
    writer.append(&[piece(7, "")]).unwrap();
    assert_eq!(reader.peek().await.unwrap().unwrap().get_i32("n").unwrap(), 7);
    assert_eq!(next(&mut reader).await, Some(7), "peek does not consume");
    assert!(tokio::time::timeout(wait, reader.peek()).await.is_err());
}

#[tokio::test]
async fn a_restart_reads_from_where_it_was_and_knows_what_was_counted() {
    let folder = tempfile::tempdir().unwrap();
    let Spool { mut writer, .. } = create(folder.path(), LIMIT).unwrap();
    writer.append(&[piece(1, ""), piece(2, "")]).unwrap();
    let mut together = piece(3, "");
    together.entries.extend(piece(5, "").entries);
    together.mark = piece(5, "").mark;
    writer.append(&[together, piece(6, "")]).unwrap();
    drop(writer);
    let resume = Resume { read_from: Optime::new(4, 0), applied: Optime::new(4, 0) };
    let Spool { mut writer, mut reader, mark, counted, .. } = open(folder.path(), LIMIT, resume).unwrap();
    assert_eq!(mark.unwrap(), piece(6, "").mark);
    assert_eq!((counted.0, counted.1.len()), (2, piece(3, "").entries.len() + piece(5, "").entries.len()));
    writer.append(&[piece(7, "")]).unwrap();
    drop(writer);
    let mut read = Vec::new();
    while let Some(n) = next(&mut reader).await {
        read.push(n);
    }
    assert_eq!(read, [3, 5, 6, 7]);
}

#[tokio::test]
async fn what_was_torn_by_a_crash_is_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let Spool { mut writer, .. } = create(folder.path(), LIMIT).unwrap();
    writer.append(&[piece(1, ""), piece(2, &noise(20_000))]).unwrap();
    drop(writer);
    let path = segment_path(folder.path(), 0);
    let whole = fs::read(&path).unwrap();
    for cut in [1, 100, 4_000] {
        fs::write(&path, &whole[..whole.len() - cut]).unwrap();
        let spool = open(folder.path(), LIMIT, Resume::default()).unwrap();
        assert_eq!(spool.mark.unwrap(), piece(1, "").mark);
    }
    let mut zeros = whole.clone();
    let tail = zeros.len() - 1_000;
    zeros[tail..].fill(0);
    fs::write(&path, &zeros).unwrap();
    let Spool { mut writer, mut reader, mark, .. } = open(folder.path(), LIMIT, Resume::default()).unwrap();
    assert_eq!(mark.unwrap(), piece(1, "").mark);
    writer.append(&[piece(9, "")]).unwrap();
    assert_eq!((next(&mut reader).await, next(&mut reader).await), (Some(1), Some(9)));
}

#[tokio::test]
async fn only_the_owner_may_read_it_and_a_new_one_replaces_an_old_one() {
    use std::os::unix::fs::PermissionsExt;
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("spool");
    create(&folder, LIMIT).unwrap().writer.append(&[piece(1, "")]).unwrap();
    let Spool { mut writer, mut reader, mark, .. } = create(&folder, LIMIT).unwrap();
    assert_eq!(mark, None);
    writer.append(&[piece(2, "")]).unwrap();
    assert_eq!(next(&mut reader).await, Some(2));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&folder), mode(&segment_path(&folder, 0))), (0o700, 0o600));
}

#[tokio::test]
async fn a_full_spool_waits_until_something_is_applied() {
    let folder = tempfile::tempdir().unwrap();
    let Spool { mut writer, mut reader, keeper, .. } = create(folder.path(), 1 << 20).unwrap();
    let pad = noise(200_000);
    let mut n = 0;
    while !keeper.is_full() {
        n += 1;
        writer.append(&[piece(n, &pad)]).unwrap();
    }
    let wait = std::time::Duration::from_millis(50);
    assert!(tokio::time::timeout(wait, keeper.room()).await.is_err());
    for _ in 0..n {
        next(&mut reader).await;
    }
    keeper.release(Optime::new(n, 0)).unwrap();
    keeper.room().await;
    assert!(keeper.disk_bytes() < keeper.limit());
}
