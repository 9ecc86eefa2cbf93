//! Random names, ids, documents and values.

use crate::random::Random;
use bson::{Binary, Bson, DateTime, Decimal128, Document, doc, oid::ObjectId, spec::BinarySubtype};

/// Few, so that objects meet again and again under the same names.
const DATABASES: [&str; 3] = ["p0", "p1", "P-2"];
const COLLECTIONS: [&str; 6] = ["a", "b", "c.d", "0", "ü ß", "system_not"];
/// Names of views, or of collections.
const VIEWS: [&str; 2] = ["v", "w.x"];

/// A database.
pub fn database(random: &mut Random) -> String {
    random.one(&DATABASES).to_string()
}

/// A name of a collection, a time series or a view.
pub fn collection(random: &mut Random) -> String {
    if random.below(6) == 0 { view(random) } else { not_view(random) }
}

/// A name that no view ever has.
pub fn not_view(random: &mut Random) -> String {
    random.one(&COLLECTIONS).to_string()
}

/// A name that a view may have.
pub fn view(random: &mut Random) -> String {
    random.one(&VIEWS).to_string()
}

/// An `_id` out of some sixty of all types, some of which are equal to each other.
pub fn id(random: &mut Random) -> Bson {
    let n = i32::try_from(random.below(6)).unwrap();
    let decimal = |text: &str| Bson::Decimal128(text.parse::<Decimal128>().unwrap());
    match random.below(20) {
        0..=4 => Bson::Int32(n + 5 * i32::try_from(random.below(8)).unwrap()),
        5 => Bson::Int64(n.into()),
        6 => Bson::Double(n.into()),
        7 => decimal(["1.0", "NaN", "0.1", "2"][random.below(4)]),
        8 => Bson::Double([f64::NAN, -0.0, 0.1, f64::INFINITY][random.below(4)]),
        9 | 10 => Bson::String(["", "a", "A", "ä", "x.y", "$x"][random.below(6)].into()),
        11 => Bson::Document(doc! { "a": n }),
        12 => Bson::Document(doc! { "a": Bson::Double(n.into()), "b": 1 }),
        13 => Bson::Document(doc! { "b": 1, "a": n }),
        14 => Bson::DateTime(DateTime::from_millis(n.into())),
        15 => Bson::ObjectId(ObjectId::from_bytes([u8::try_from(n).unwrap(); 12])),
        16 => Bson::Binary(Binary { subtype: BinarySubtype::Generic, bytes: vec![7; random.below(3)] }),
        17 => Bson::Null,
        18 => Bson::Boolean(n > 2),
        _ => [Bson::MinKey, Bson::MaxKey][random.below(2)].clone(),
    }
}

/// What 4.4 takes holds no dollars at the top.
fn allowed(document: Document, has_dollars: bool) -> Document {
    if has_dollars { document } else { document.into_iter().filter(|(name, _)| !name.starts_with('$')).collect() }
}

/// A document without an `_id`: odd names, or names and types that indexes and operators like.
pub fn fields(random: &mut Random, has_dollars: bool) -> Document {
    let mut fields = Document::new();
    if random.below(3) > 0 {
        let number = |random: &mut Random| i32::try_from(random.below(30)).unwrap();
        fields.insert("n", number(random));
        let list: Vec<i32> = (0..random.below(9)).map(|_| number(random)).collect();
        fields.insert("l", list);
        let rows: Vec<Document> = (0..random.below(5)).map(|n| doc! { "v": n as i64, "in": [1, { "k": 2 }] }).collect();
        fields.insert("rows", rows);
        fields.insert("t", random.one(&["", "one two", "zwei Äpfel", "x"]));
        fields.insert("at", DateTime::from_millis(1_700_000_000_000 + random.below(9_000) as i64));
        match random.below(4) {
            0 => drop(fields.insert("place", vec![number(random), number(random)])),
            1 => {
                let point = vec![f64::from(number(random)), f64::from(number(random))];
                fields.insert("place", doc! { "type": "Point", "coordinates": point });
            }
            _ => {}
        }
    }
    if random.below(3) > 0 {
        fields.extend(allowed(random.document(3), has_dollars));
    }
    if random.below(40) == 0 {
        fields.insert("pad", "p".repeat(1 + random.below(60_000)));
    }
    fields
}

/// A whole document.
pub fn document(random: &mut Random, has_dollars: bool) -> Document {
    let mut document = doc! { "_id": id(random) };
    document.extend(fields(random, has_dollars));
    document
}

/// A measurement of a time series.
pub fn measurement(random: &mut Random) -> Document {
    let at = DateTime::from_millis(1_700_000_000_000 + random.below(20_000_000) as i64);
    let mut measurement = doc! { "at": at };
    if random.below(5) > 0 {
        measurement.insert("m", doc! { "sensor": i32::try_from(random.below(3)).unwrap() });
    }
    measurement.insert("v", f64::from(i32::try_from(random.below(100)).unwrap()));
    if random.below(4) == 0 {
        measurement.insert(random.one(&["w", "x", "n"]), random.scalar());
    }
    measurement
}
