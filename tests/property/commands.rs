//! Random commands on collections, views, indexes and databases.

use crate::{content, operations::Operation, random::Random};
use bson::{Bson, Document, doc};

/// What the source knows.
#[derive(Clone, Copy)]
pub struct Knows {
    pub major: u32,
    /// Clustered collections, and no conversion to capped ones: the server makes a clustered capped collection of one, and
    /// refuses to create such a thing for any client (6127800).
    pub clustered: bool,
}

/// One command or a few that belong together.
pub fn commands(random: &mut Random, source: Knows) -> Vec<Operation> {
    let command = command(random, source);
    let (Ok(name), true) = (command.command.get_str("create"), random.below(3) > 0) else { return vec![command] };
    // Most names are taken.
    let drop = Operation::new("drop", command.db.clone(), &doc! { "drop": name });
    vec![drop, command]
}

fn command(random: &mut Random, source: Knows) -> Operation {
    let major = source.major;
    let (db, coll) = (content::database(random), content::collection(random, major));
    let number = i32::try_from(random.below(20)).unwrap();
    match random.below(60) {
        0..=11 => Operation::new("create", db, &create(random, &coll, source)),
        12..=15 => Operation::new("drop", db, &doc! { "drop": coll }),
        16..=24 => {
            let to_db = if random.below(3) == 0 { content::database(random) } else { db.clone() };
            let to = format!("{to_db}.{}", content::collection(random, major));
            let command =
                doc! { "renameCollection": format!("{db}.{coll}"), "to": to, "dropTarget": random.below(2) == 0 };
            let kind = if to_db == db { "rename" } else { "rename across" };
            Operation::new(kind, "admin", &command)
        }
        25 if number < 6 => Operation::new("dropDatabase", db, &doc! { "dropDatabase": 1 }),
        25..=36 => {
            let specs: Vec<Document> = (0..1 + random.below(2)).map(|_| index(random, major)).collect();
            let coll = if random.below(8) == 0 { content::series(random) } else { coll };
            Operation::new("createIndexes", db, &doc! { "createIndexes": coll, "indexes": specs })
        }
        37..=40 => {
            let name = if random.below(5) == 0 { "*" } else { index_name(random) };
            Operation::new("dropIndexes", db, &doc! { "dropIndexes": coll, "index": name })
        }
        41..=50 => Operation::new("collMod", db, &modify(random, major)),
        51 if !source.clustered => {
            Operation::new("convertToCapped", db, &doc! { "convertToCapped": coll, "size": 4_096 * (1 + number) })
        }
        52 if !source.clustered => {
            let command = doc! { "cloneCollectionAsCapped": coll, "toCollection": content::collection(random, major), "size": 4_096 * (1 + number) };
            Operation::new("cloneCollectionAsCapped", db, &command)
        }
        53 | 54 => {
            let out = doc! { "db": content::database(random), "coll": content::collection(random, major) };
            let pipeline = [doc! { "$match": { "n": { "$lt": number } } }, doc! { "$out": out }];
            Operation::new("$out", db, &doc! { "aggregate": coll, "pipeline": pipeline, "cursor": {} })
        }
        55 | 56 => {
            let into = doc! { "db": content::database(random), "coll": content::collection(random, major) };
            let matched = random.one(&["replace", "merge", "keepExisting"]);
            let pipeline = [doc! { "$limit": number + 1 }, doc! { "$merge": { "into": into, "whenMatched": matched } }];
            Operation::new("$merge", db, &doc! { "aggregate": coll, "pipeline": pipeline, "cursor": {} })
        }
        _ if major >= 5 => {
            let documents: Vec<Document> = (0..1 + random.below(30)).map(|_| content::measurement(random)).collect();
            let series = content::series(random);
            Operation::new("measurements", db, &doc! { "insert": series, "documents": documents, "ordered": false })
        }
        _ => Operation::new("drop", db, &doc! { "drop": coll }),
    }
}

fn validator(random: &mut Random) -> Document {
    match random.below(4) {
        0 => doc! {},
        1 => doc! { "n": { "$exists": true } },
        2 => doc! { "$jsonSchema": { "required": ["n"], "properties": { "n": { "bsonType": "int" } } } },
        _ => doc! { "$or": [{ "n": { "$gte": 0 } }, { "t": "x" }] },
    }
}

fn view(random: &mut Random, major: u32) -> (String, Vec<Document>) {
    let pipeline = match random.below(3) {
        0 => vec![],
        1 => vec![doc! { "$match": { "n": { "$gt": 3 } } }],
        _ => vec![doc! { "$project": { "n": 1, "x": { "$literal": "$y" } } }],
    };
    (content::collection(random, major), pipeline)
}

fn create(random: &mut Random, coll: &str, source: Knows) -> Document {
    let major = source.major;
    let mut create = doc! { "create": coll };
    match random.below(12) {
        0 | 1 => {
            create.extend(doc! { "capped": true, "size": 4_096 * i32::try_from(1 + random.below(12)).unwrap() });
            if random.below(2) == 0 {
                create.insert("max", i32::try_from(1 + random.below(30)).unwrap());
            }
        }
        2 | 3 => {
            let (on, pipeline) = view(random, major);
            create = doc! { "create": content::view(random) };
            create.extend(doc! { "viewOn": on, "pipeline": pipeline });
            match random.below(4) {
                0 => drop(create.insert("collation", doc! { "locale": "de", "strength": 2 })),
                // Without a collation: under one the server would make half a time series, buckets without a view.
                1 => drop(create.insert("viewOn", content::series(random))),
                _ => {}
            }
        }
        4 => {
            let locale = random.one(&["de", "sv", "simple"]);
            create.insert("collation", doc! { "locale": locale });
            if locale != "simple" {
                create.insert(
                    "collation",
                    doc! { "locale": locale, "strength": i32::try_from(1 + random.below(3)).unwrap() },
                );
            }
        }
        5 => {
            create.insert("validator", validator(random));
            create.insert("validationLevel", random.one(&["off", "moderate", "strict"]));
            create.insert("validationAction", random.one(&["warn", "error"]));
        }
        6 | 7 if major >= 5 => {
            let granularity = random.one(&["seconds", "minutes", "hours"]);
            let mut series = doc! { "timeField": "at", "granularity": granularity };
            if random.below(3) > 0 {
                series.insert("metaField", "m");
            }
            create = doc! { "create": content::series(random), "timeseries": series };
            if random.below(2) == 0 {
                create.insert("expireAfterSeconds", 900_000_000_i64);
            }
        }
        8 if source.clustered => {
            create.insert("clusteredIndex", doc! { "key": { "_id": 1 }, "unique": true, "name": "by id" });
            if random.below(2) == 0 {
                create.insert("expireAfterSeconds", 900_000_000_i64);
            }
        }
        9 if major >= 6 => drop(create.insert("changeStreamPreAndPostImages", doc! { "enabled": true })),
        9 => drop(create.insert("recordPreImages", true)),
        10 => {
            let engine = doc! { "wiredTiger": { "configString": "block_compressor=zlib" } };
            create.insert("storageEngine", engine);
        }
        _ => {}
    }
    create
}

const INDEX_NAMES: [&str; 6] = ["n", "l", "other", "a name with spaces", "text", "last"];

fn index_name(random: &mut Random) -> &'static str {
    INDEX_NAMES[random.below(INDEX_NAMES.len())]
}

fn index(random: &mut Random, major: u32) -> Document {
    let key = match random.below(14) {
        0..=2 => doc! { "n": 1 },
        3 => doc! { "l": 1, "n": -1 },
        4 => doc! { "l": 1, "rows": 1 },
        5 => doc! { "a": 1 },
        6 => doc! { "n": "hashed" },
        7 => doc! { "t": "text", "x.t": "text" },
        8 => doc! { "$**": 1 },
        9 => doc! { "place": "2d" },
        10 => doc! { "place": "2dsphere" },
        11 => doc! { "at": 1 },
        12 => doc! { "rows.v": 1, "a": 1 },
        _ => doc! { "t": -1, "_id": 1 },
    };
    // A `collMod` that gives a wildcard index a TTL ends a 6.0 server (fatal assertion 28782); its own name keeps it away.
    let name = if key.contains_key("$**") { "all fields" } else { index_name(random) };
    let mut index = doc! { "key": key, "name": name };
    match random.below(16) {
        0 | 1 => drop(index.insert("unique", true)),
        2 => index.extend(doc! { "unique": true, "sparse": true }),
        3 => index.extend(doc! { "unique": true, "partialFilterExpression": { "n": { "$gt": 5 } } }),
        4 => drop(index.insert("sparse", true)),
        5 => drop(index.insert("partialFilterExpression", doc! { "n": { "$exists": true } })),
        6 => drop(index.insert("hidden", true)),
        7 | 8 => drop(index.insert(
            "expireAfterSeconds",
            [Bson::Int32(0), Bson::Int32(60), Bson::Int64(9_000)][random.below(3)].clone(),
        )),
        9 => drop(index.insert("collation", doc! { "locale": "fr", "strength": 2 })),
        10 if major >= 6 => drop(index.insert("prepareUnique", true)),
        _ => {}
    }
    index
}

fn modify(random: &mut Random, major: u32) -> Document {
    // Options of collections end a 6.0.5 server when they meet a view (a segmentation fault in parseCollModRequest).
    let mut modify = doc! { "collMod": content::not_view(random) };
    let name = index_name(random);
    match random.below(13) {
        0 | 1 => drop(modify.insert("index", doc! { "name": name, "hidden": random.below(2) == 0 })),
        2 | 3 => drop(
            modify
                .insert("index", doc! { "name": name, "expireAfterSeconds": i32::try_from(random.below(99)).unwrap() }),
        ),
        4 => {
            modify.insert("validator", validator(random));
            modify.insert("validationLevel", random.one(&["off", "moderate", "strict"]));
        }
        5 => drop(modify.insert("validationAction", random.one(&["warn", "error"]))),
        6 => {
            let (on, pipeline) = view(random, major);
            modify = doc! { "collMod": content::view(random) };
            modify.extend(doc! { "viewOn": on, "pipeline": pipeline });
        }
        7 if major >= 6 => drop(modify.insert("index", doc! { "name": name, "prepareUnique": random.below(3) > 0 })),
        8 if major >= 6 => drop(modify.insert("index", doc! { "name": name, "unique": true })),
        9 if major >= 6 => {
            modify.insert("cappedSize", 4_096 * i64::try_from(1 + random.below(20)).unwrap());
            modify.insert("cappedMax", i64::try_from(1 + random.below(30)).unwrap());
        }
        10 if major >= 5 => {
            modify = doc! { "collMod": content::series(random) };
            let value = if random.below(3) == 0 { Bson::String("off".into()) } else { Bson::Int64(800_000_000) };
            modify.insert("expireAfterSeconds", value);
        }
        11 if major >= 5 => {
            drop(modify.insert("timeseries", doc! { "granularity": random.one(&["minutes", "hours"]) }))
        }
        12 if major >= 6 => {
            drop(modify.insert("changeStreamPreAndPostImages", doc! { "enabled": random.below(2) == 0 }))
        }
        12 => drop(modify.insert("recordPreImages", random.below(2) == 0)),
        _ => {}
    }
    modify
}
