//! The data that is migrated. The same numbers always give the same data.

use crate::wishes::Wishes;
use bson::{Binary, Document, RawArrayBuf, RawDocumentBuf, doc, raw::cstr, rawdoc, spec::BinarySubtype};
use mongodb::Client;

/// Database of a shape.
pub const DATABASE: &str = "bench";
const BATCH: u64 = 2_000;

/// Kinds of data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Documents of 950 bytes, rising integer ids, two indexes.
    Rising,
    /// The same with random ids.
    Random,
    /// Documents of 128 KiB.
    Large,
    /// Two thousand collections of ten documents, one index each.
    ManySmall,
    /// Sixty fields and eight indexes.
    Wide,
    /// Documents of 40 bytes.
    Small,
}

impl Shape {
    pub const ALL: [Shape; 5] = [Shape::Rising, Shape::Random, Shape::Large, Shape::ManySmall, Shape::Wide];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Shape::Rising => "rising",
            Shape::Random => "random",
            Shape::Large => "large",
            Shape::ManySmall => "many",
            Shape::Wide => "wide",
            Shape::Small => "small",
        }
    }

    pub fn label(self) -> &'static str {
        match self {
            Shape::Rising => "950 B, rising ids, 2 indexes",
            Shape::Random => "950 B, random ids, 2 indexes",
            Shape::Large => "128 KiB, no index",
            Shape::ManySmall => "collections of 10 documents, 1 index each",
            Shape::Wide => "60 fields, 8 indexes",
            Shape::Small => "40 B, no index",
        }
    }

    /// Documents at this scale.
    pub fn documents(self, wishes: &Wishes) -> u64 {
        match self {
            Shape::Rising | Shape::Random => wishes.scaled(300_000, 1_000),
            Shape::Large => wishes.scaled(2_200, 16),
            Shape::ManySmall => wishes.scaled(2_000, 20) * 10,
            Shape::Wide => wishes.scaled(80_000, 1_000),
            Shape::Small => wishes.scaled(1_000_000, 1_000),
        }
    }

    /// Collections and how many documents each holds.
    pub fn collections(self, documents: u64) -> Vec<(String, u64)> {
        match self {
            Shape::ManySmall => (0..documents / 10).map(|n| (format!("c{n:05}"), 10)).collect(),
            _ => vec![("c".into(), documents)],
        }
    }

    /// Specs of the secondary indexes of each collection.
    pub fn indexes(self) -> Vec<Document> {
        let index = |field: &str| doc! { "key": { field: 1 }, "name": format!("{field}_1") };
        match self {
            Shape::Rising | Shape::Random => vec![index("a"), index("b")],
            Shape::Large | Shape::Small => Vec::new(),
            Shape::ManySmall => vec![index("a")],
            Shape::Wide => (0..8).map(|n| index(&format!("f{n}"))).collect(),
        }
    }

    /// Document `n`.
    pub fn document(self, n: u64) -> RawDocumentBuf {
        let noise = mixed(n);
        let number = i64::try_from(n).unwrap_or(0);
        let mut document = match self {
            Shape::Random => {
                let bytes = [noise.to_be_bytes(), mixed(noise).to_be_bytes()].concat();
                rawdoc! { "_id": Binary { subtype: BinarySubtype::Generic, bytes } }
            }
            _ => rawdoc! { "_id": number },
        };
        match self {
            Shape::Large => document.append(cstr!("body"), text(noise, 128 << 10)),
            Shape::Wide => {
                for field in 0..60_u64 {
                    let name = bson::raw::CString::try_from(format!("f{field}")).unwrap();
                    if field % 3 == 0 {
                        document.append(name, text(mixed(noise + field), 12));
                    } else {
                        document.append(name, (mixed(noise + field) % 100_000) as i64);
                    }
                }
            }
            Shape::ManySmall | Shape::Small => document.append(cstr!("a"), (noise % 1_000) as i64),
            Shape::Rising | Shape::Random => {
                document.append(cstr!("a"), (noise % 100_000) as i64);
                document.append(cstr!("b"), text(noise, 24));
                document.append(cstr!("n"), rawdoc! { "x": 1, "y": "nested", "z": [1, 2, 3] });
                document.append(cstr!("pad"), text(mixed(noise), 760));
            }
        }
        document
    }

    /// Fills the source; returns the bytes of all documents.
    pub async fn load(self, client: &Client, documents: u64) -> u64 {
        let mut bytes = 0;
        for (name, count) in self.collections(documents) {
            let mut next = 0;
            while next < count {
                let (mut batch, mut size, until) = (RawArrayBuf::new(), 0, (next + BATCH).min(count));
                while next < until && size < 8 << 20 {
                    let document = self.document(next);
                    size += document.as_bytes().len();
                    batch.push(document);
                    next += 1;
                }
                bytes += size as u64;
                insert(client, DATABASE, &name, batch).await;
            }
            let indexes = self.indexes();
            if !indexes.is_empty() {
                let command = doc! { "createIndexes": &name, "indexes": indexes };
                client.database(DATABASE).run_command(command).await.unwrap();
            }
        }
        bytes
    }
}

/// One raw insert.
pub async fn insert(client: &Client, database: &str, collection: &str, documents: RawArrayBuf) {
    let mut command = RawDocumentBuf::new();
    command.append(cstr!("insert"), collection);
    command.append(cstr!("documents"), documents);
    command.append(cstr!("ordered"), false);
    command.append(cstr!("writeConcern"), rawdoc! { "w": 1 });
    let reply = client.database(database).run_raw_command(command).await.unwrap();
    assert!(!reply.contains_key("writeErrors"), "{reply}");
}

/// A well mixed number (splitmix64).
pub fn mixed(n: u64) -> u64 {
    let mut z = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn text(seed: u64, length: usize) -> String {
    let mut out = String::with_capacity(length + 16);
    let mut n = seed;
    while out.len() < length {
        n = mixed(n);
        out.push_str(&format!("{n:016x}"));
    }
    out.truncate(length);
    out
}
