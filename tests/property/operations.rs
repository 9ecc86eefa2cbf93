//! Random writes: inserts, updates of every operator, findAndModify, deletes, several statements at once.

use crate::{content, random::Random};
use bson::{Bson, Document, RawArrayBuf, RawDocumentBuf, doc, raw::cstr, rawdoc};

/// A command, and what it is for the summary.
pub struct Operation {
    pub kind: &'static str,
    pub db: String,
    pub command: RawDocumentBuf,
}

impl Operation {
    pub fn new(kind: &'static str, db: impl Into<String>, command: &Document) -> Self {
        let command = RawDocumentBuf::try_from(command).unwrap();
        Self { kind, db: db.into(), command }
    }
}

/// A write to `db.coll`, of which `current` is some document.
pub fn write(random: &mut Random, (db, coll): (&str, &str), current: &Document, has_5: bool) -> Operation {
    match random.below(20) {
        0..=4 => insert(random, (db, coll), has_5),
        5..=11 => {
            let updates = vec![update(random, current, has_5)];
            Operation::new("update", db, &doc! { "update": coll, "updates": updates, "bypassDocumentValidation": true })
        }
        12 => {
            let updates: Vec<Document> = (0..2 + random.below(6)).map(|_| update(random, current, has_5)).collect();
            Operation::new("bulk", db, &doc! { "update": coll, "updates": updates, "ordered": random.below(2) == 0 })
        }
        13 => {
            let change = doc! { "$inc": { "n": 1 }, "$set": { "many": i32::try_from(random.below(50)).unwrap() } };
            let statement =
                doc! { "q": { "n": { "$lt": i32::try_from(random.below(30)).unwrap() } }, "u": change, "multi": true };
            Operation::new("many", db, &doc! { "update": coll, "updates": [statement] })
        }
        14 | 15 => find_and_modify(random, (db, coll), current, has_5),
        16 => {
            let statement = doc! { "q": { "n": i32::try_from(random.below(30)).unwrap() }, "limit": 0 };
            Operation::new("delete", db, &doc! { "delete": coll, "deletes": [statement] })
        }
        _ => {
            let statements: Vec<Document> = (0..1 + random.below(3))
                .map(|_| doc! { "q": { "_id": { "$eq": content::id(random) } }, "limit": 1 })
                .collect();
            Operation::new("delete", db, &doc! { "delete": coll, "deletes": statements, "ordered": false })
        }
    }
}

fn insert(random: &mut Random, (db, coll): (&str, &str), has_5: bool) -> Operation {
    let mut documents = RawArrayBuf::new();
    for _ in 0..1 + random.below(6) {
        documents.push(RawDocumentBuf::try_from(&content::document(random, has_5)).unwrap());
    }
    let command =
        rawdoc! { "insert": coll, "documents": documents, "ordered": false, "bypassDocumentValidation": true };
    Operation { kind: "insert", db: db.into(), command }
}

/// On documents that hold a name twice: only classic updates, for a diff of one ends the server (6.0.5: "Invariant failure
/// result.second, document_diff_serialization.cpp").
pub fn repeated(random: &mut Random) -> Operation {
    let id = i32::try_from(random.below(20)).unwrap();
    if random.below(2) == 0 {
        let mut document = rawdoc! { "_id": id, "n": 1, "l": [1, 2] };
        document.append(cstr!("n"), "again");
        let mut documents = RawArrayBuf::new();
        documents.push(document);
        let command = rawdoc! { "insert": "repeated", "documents": documents };
        return Operation { kind: "repeated", db: "ballast".into(), command };
    }
    let number = i32::try_from(random.below(30)).unwrap();
    let change = [doc! { "$set": { "x": number } }, doc! { "$push": { "l": number } }, doc! { "$unset": { "x": "" } }];
    let statement = doc! { "q": { "_id": id }, "u": change[random.below(3)].clone() };
    Operation::new("repeated", "ballast", &doc! { "update": "repeated", "updates": [statement] })
}

fn update(random: &mut Random, current: &Document, has_5: bool) -> Document {
    let id = current.get("_id").cloned().unwrap_or_else(|| content::id(random));
    let query = doc! { "_id": { "$eq": id.clone() } };
    let number = i32::try_from(random.below(30)).unwrap();
    match random.below(12) {
        // Anywhere in the document, however its names look; pipelines on odd names came with 5.0.
        0..=4 => {
            let mut document = current.clone();
            document.insert("_id", id);
            let update = random.update(&document);
            doc! { "q": query, "u": update, "upsert": random.below(12) == 0 }
        }
        5 => {
            let replacement = content::fields(random, false);
            doc! { "q": { "_id": { "$eq": content::id(random) } }, "u": replacement, "upsert": random.below(2) == 0 }
        }
        6 => {
            doc! { "q": { "_id": query.get("_id").unwrap().clone(), "rows.v": { "$gte": 1 } }, "u": { "$set": { "rows.$.hit": number } } }
        }
        7 => {
            let filters = [doc! { "e.v": { "$gte": i32::try_from(random.below(3)).unwrap() } }];
            doc! { "q": query, "u": { "$set": { "rows.$[e].in.1.k": number }, "$inc": { "rows.$[].all": 1 } }, "arrayFilters": filters }
        }
        8 => doc! { "q": query, "u": pipeline(random, has_5) },
        _ => doc! { "q": query, "u": operators(random, number), "upsert": random.below(6) == 0 },
    }
}

fn operators(random: &mut Random, n: i32) -> Document {
    match random.below(24) {
        0 => doc! { "$inc": { "n": n, "x.cnt": 1 } },
        1 => doc! { "$mul": { "n": 1.5 } },
        2 => doc! { "$min": { "n": -n }, "$max": { "m": n } },
        3 => doc! { "$bit": { "n": { "xor": 5 } } },
        4 => doc! { "$currentDate": { "at": true, "stamp": { "$type": "timestamp" } } },
        5 => doc! { "$rename": { "n": "m", "x.w": "moved" } },
        6 => doc! { "$rename": { "l": "x.l" } },
        7 => doc! { "$push": { "l": n } },
        8 => doc! { "$push": { "l": { "$each": [n, n + 1], "$position": 1, "$slice": -8, "$sort": 1 } } },
        9 => doc! { "$push": { "rows": { "$each": [{ "v": n }], "$sort": { "v": -1 }, "$slice": 7 } } },
        10 => doc! { "$addToSet": { "l": { "$each": [n % 3, 100] } } },
        11 => doc! { "$pop": { "l": -1, "rows": 1 } },
        12 => doc! { "$pull": { "l": { "$gt": n }, "rows": { "v": 2 } } },
        13 => doc! { "$pullAll": { "l": [1, 5, n] } },
        14 => doc! { "$set": { "l.1": n, "l.9": "past the end" } },
        15 => doc! { "$set": { "rows.1.v": n, "rows.0.in.1.k": n } },
        16 => doc! { "$unset": { "l.0": "", "rows.2.in": "", "n": "" } },
        17 => doc! { "$set": { "x.y.z": n, "x.w": [n] } },
        18 => doc! { "$set": { "ref": { "$ref": "c", "$id": n } } },
        19 => doc! { "$set": { "ref.$id": n } },
        20 => doc! { "$set": { "l": random.value(2), "x": random.value(2) } },
        21 => doc! { "$setOnInsert": { "born": n }, "$set": { "0": n, "x.0": n } },
        22 => {
            let mut set = Document::new();
            set.extend((0..300).map(|at| (format!("f{at}"), Bson::Int32(n + at % 7))));
            doc! { "$set": set }
        }
        // Deeper than a pipeline can say.
        _ => doc! { "$set": { format!("{}n{}", "deep.".repeat(45), n % 3): n } },
    }
}

fn pipeline(random: &mut Random, has_5: bool) -> Vec<Document> {
    let n = i32::try_from(1 + random.below(4)).unwrap();
    let list = doc! { "$cond": [{ "$isArray": ["$l"] }, "$l", []] };
    match random.below(if has_5 { 7 } else { 6 }) {
        0 => vec![doc! { "$set": { "l": { "$slice": [list, n] } } }],
        1 => vec![doc! { "$set": { "l": { "$concatArrays": [list, { "$range": [0, n * 100] }] } } }],
        2 => vec![doc! { "$set": { "total": { "$sum": "$l" } } }, doc! { "$unset": "n" }],
        3 => vec![doc! { "$replaceWith": { "$mergeObjects": [{ "first": n }, "$$ROOT"] } }],
        4 => vec![doc! { "$replaceWith": { "_id": "$_id", "rows": "$rows", "n": n } }],
        5 => {
            let changed = doc! { "$map": { "input": { "$slice": [list, 200] }, "as": "v", "in": { "$cond": [{ "$eq": ["$$v", n] }, "hit", "$$v"] } } };
            vec![doc! { "$set": { "l": changed } }]
        }
        _ => {
            let field = random.one(&["a.b", "$x", "", "0", "n"]);
            vec![
                doc! { "$replaceWith": { "$setField": { "field": { "$literal": field }, "input": "$$ROOT", "value": n } } },
            ]
        }
    }
}

fn find_and_modify(random: &mut Random, (db, coll): (&str, &str), current: &Document, has_5: bool) -> Operation {
    let id = current.get("_id").cloned().unwrap_or_else(|| content::id(random));
    let mut command = doc! { "findAndModify": coll, "query": { "_id": { "$eq": id } } };
    match random.below(4) {
        0 => drop(command.insert("remove", true)),
        1 => drop(command.insert("update", content::fields(random, false))),
        2 => drop(command.insert("update", pipeline(random, has_5))),
        _ => {
            let number = i32::try_from(random.below(30)).unwrap();
            command.insert("update", operators(random, number));
            command.insert("upsert", random.below(3) == 0);
            command.insert("new", random.below(2) == 0);
        }
    }
    Operation::new("findAndModify", db, &command)
}
