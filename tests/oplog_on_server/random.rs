//! Random documents and updates from a seed: odd names, arrays of arrays, every type whose bytes are easily changed.

use bson::{
    Binary, Bson, DateTime, Decimal128, Document, JavaScriptCodeWithScope, Regex, Timestamp, doc, oid::ObjectId,
    raw::CString, spec::BinarySubtype,
};

/// Names that a path cannot address, or that look like parts of a diff.
const NAMES: [&str; 22] = [
    "a",
    "b",
    "c",
    "x",
    "y",
    "long_name",
    "s",
    "u",
    "i",
    "d",
    "l",
    "0",
    "00",
    "-1",
    "12",
    "",
    "a.b",
    "$x",
    "$set",
    "$$ROOT",
    "é",
    "diff",
];

pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
    }

    pub fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap()
    }

    pub fn one<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }

    pub fn scalar(&mut self) -> Bson {
        let decimal = |text: &str| Bson::Decimal128(text.parse::<Decimal128>().unwrap());
        match self.below(27) {
            0..=3 => Bson::Int32(i32::try_from(self.below(5)).unwrap()),
            4 => Bson::Int64(self.below(5) as i64),
            5 => Bson::Double(self.below(5) as f64),
            6 => Bson::Double(-0.0),
            7 => Bson::Double(f64::NAN),
            8 => Bson::Double(f64::NEG_INFINITY),
            9 => decimal(["1.10", "1.1", "-0E+3", "NaN", "1E+6000"][self.below(5)]),
            10..=12 => Bson::String(self.one(&["", "v", "$x", "$$ROOT", "a.b", "ü"]).into()),
            13 => Bson::Null,
            14 => Bson::Boolean(self.below(2) == 0),
            15 => Bson::DateTime(DateTime::from_millis(self.below(1_000) as i64 - 500)),
            16 => Bson::ObjectId(ObjectId::from_bytes([7; 12])),
            17 => Bson::Binary(Binary { subtype: BinarySubtype::BinaryOld, bytes: vec![1, 2, 3] }),
            18 => Bson::Binary(Binary { subtype: BinarySubtype::UserDefined(0x80), bytes: Vec::new() }),
            19 => Bson::RegularExpression(Regex {
                pattern: CString::try_from("^a$").unwrap(),
                options: CString::try_from("im").unwrap(),
            }),
            20 => Bson::JavaScriptCode("f()".into()),
            21 => {
                Bson::JavaScriptCodeWithScope(JavaScriptCodeWithScope { code: "f()".into(), scope: doc! { "$k": 1 } })
            }
            22 => Bson::Timestamp(Timestamp { time: 0, increment: 0 }),
            23 => Bson::MinKey,
            24 => Bson::MaxKey,
            25 => Bson::Undefined,
            _ => Bson::Symbol("sym".into()),
        }
    }

    pub fn value(&mut self, depth: usize) -> Bson {
        match self.below(10) {
            0..=2 if depth > 0 => Bson::Document(self.document(depth - 1)),
            3..=5 if depth > 0 => Bson::Array((0..self.below(5)).map(|_| self.value(depth - 1)).collect()),
            _ => self.scalar(),
        }
    }

    pub fn document(&mut self, depth: usize) -> Document {
        (0..self.below(7)).map(|_| (self.one(&NAMES).to_string(), self.value(depth))).collect()
    }

    /// The `u` of an update command against `document`, which may fail or change nothing.
    pub fn update(&mut self, document: &Document) -> Bson {
        match self.below(20) {
            0 => Bson::Document({
                let mut replacement = doc! { "_id": document.get("_id").unwrap().clone() };
                replacement.extend(self.document(3).into_iter().filter(|(name, _)| !name.starts_with('$')));
                replacement
            }),
            1..=10 => Bson::Document(self.classic(document)),
            _ => Bson::Array((0..1 + self.below(3)).map(|_| Bson::Document(self.stage(document))).collect()),
        }
    }

    /// A path into the document: existing names, sometimes a new last one.
    fn path(&mut self, document: &Document) -> Vec<String> {
        let mut path = Vec::new();
        let mut at = Bson::Document(document.clone());
        loop {
            let next = match &at {
                Bson::Document(inner) if !inner.is_empty() && self.below(6) > 0 => {
                    let names: Vec<&String> = inner.keys().filter(|name| *name != "_id").collect();
                    if names.is_empty() {
                        return self.ended(path);
                    }
                    let name = names[self.below(names.len())].clone();
                    (name.clone(), inner.get(&name).unwrap().clone())
                }
                Bson::Array(inner) if self.below(6) > 0 => {
                    let index = self.below(inner.len() + 3);
                    (index.to_string(), inner.get(index).cloned().unwrap_or(Bson::Null))
                }
                Bson::Document(_) => return self.ended(path),
                _ => return path,
            };
            path.push(next.0);
            at = next.1;
            if self.below(4) == 0 {
                return path;
            }
        }
    }

    fn ended(&mut self, mut path: Vec<String>) -> Vec<String> {
        path.push(self.one(&NAMES).to_string());
        path
    }

    fn classic(&mut self, document: &Document) -> Document {
        let mut out = Document::new();
        for _ in 0..1 + self.below(3) {
            let path = self.path(document).join(".");
            let value = self.value(2);
            let (operator, value) = match self.below(9) {
                0..=3 => ("$set", value),
                4 => ("$unset", Bson::Int32(1)),
                5 => ("$push", value),
                6 => {
                    let position = i32::try_from(self.below(3)).unwrap();
                    ("$push", Bson::Document(doc! { "$each": [value], "$position": position, "$slice": -4 }))
                }
                7 => ("$pop", Bson::Int32(1)),
                _ => ("$inc", Bson::Int32(2)),
            };
            let section = out.entry(operator.to_string()).or_insert(Bson::Document(Document::new()));
            section.as_document_mut().unwrap().insert(path, value);
        }
        out
    }

    /// A pipeline stage that sets, removes or truncates at any path of documents, however its names look.
    fn stage(&mut self, document: &Document) -> Document {
        let mut names: Vec<String> = Vec::new();
        let mut at = document.clone();
        loop {
            let inner: Vec<String> = at.keys().filter(|name| *name != "_id").cloned().collect();
            if inner.is_empty() || self.below(5) == 0 {
                names.push(self.one(&NAMES).to_string());
                break;
            }
            let name = inner[self.below(inner.len())].clone();
            names.push(name.clone());
            match at.get_document(&name) {
                Ok(next) if self.below(3) > 0 => at = next.clone(),
                _ => break,
            }
        }
        let last = at.get(names.last().unwrap()).cloned();
        let change = match (last, self.below(4)) {
            (_, 0) => None,
            (Some(Bson::Array(array)), 1 | 2) if !array.is_empty() => {
                // Truncated, and perhaps an element changed.
                let length = i32::try_from(1 + self.below(array.len())).unwrap();
                let mut kept: Vec<Bson> = array[..usize::try_from(length).unwrap()].to_vec();
                if self.below(2) == 0 {
                    let index = self.below(kept.len());
                    kept[index] = self.value(1);
                }
                Some(Bson::Array(kept))
            }
            (Some(Bson::Array(mut array)), _) => {
                // An element deep inside changed.
                if !array.is_empty() {
                    let index = self.below(array.len());
                    match &mut array[index] {
                        Bson::Array(inner) => inner.push(self.scalar()),
                        Bson::Document(inner) => drop(inner.insert("a", self.scalar())),
                        other => *other = self.scalar(),
                    }
                }
                Some(Bson::Array(array))
            }
            _ => Some(self.value(2)),
        };
        doc! { "$replaceWith": assigned(Bson::String("$$ROOT".into()), &names, change.as_ref()) }
    }
}

fn assigned(input: Bson, names: &[String], change: Option<&Bson>) -> Bson {
    let field = doc! { "$literal": names[0].as_str() };
    let value = match (names, change) {
        ([_], None) => return Bson::Document(doc! { "$unsetField": { "field": field, "input": input } }),
        ([_], Some(value)) => Bson::Document(doc! { "$literal": value.clone() }),
        _ => {
            let inner = doc! { "$getField": { "field": field.clone(), "input": input.clone() } };
            assigned(Bson::Document(inner), &names[1..], change)
        }
    };
    Bson::Document(doc! { "$setField": { "field": field, "input": input, "value": value } })
}
