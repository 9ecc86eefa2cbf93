//! Tests of the raw `_id` order.

use super::*;
use bson::{Binary, Bson, Decimal128, Timestamp, doc, oid::ObjectId, rawdoc, spec::BinarySubtype};
use proptest::prelude::*;

fn key(value: impl Into<Bson>) -> Vec<u8> {
    let document = RawDocumentBuf::try_from(&doc! { "a": "before", "_id": value.into() }).expect("document");
    Id::of(document.as_bytes()).expect("id").key()
}

fn order(a: &[u8], b: &[u8]) -> Ordering {
    Id::from_key(a).expect("id").compare(Id::from_key(b).expect("id"))
}

/// As a 6.0.5 server sorts them; `tests/verify_live.rs` asks a real one.
fn sorted() -> Vec<Bson> {
    vec![
        Bson::MinKey,
        Bson::Null,
        Bson::Double(f64::NAN),
        Bson::Double(f64::NEG_INFINITY),
        Bson::Int64(i64::MIN),
        Bson::Int32(-1),
        Bson::Double(-0.5),
        Bson::Int32(0),
        Bson::Decimal128("0.25".parse::<Decimal128>().expect("decimal")),
        Bson::Double(0.5),
        Bson::Int64(9_007_199_254_740_992),
        Bson::Int64(9_007_199_254_740_993),
        Bson::Double(9_007_199_254_740_994.0),
        Bson::Int64(i64::MAX),
        Bson::Double(9_223_372_036_854_775_808.0),
        Bson::Double(f64::INFINITY),
        Bson::String(String::new()),
        Bson::String("B".into()),
        Bson::String("a".into()),
        Bson::String("a\u{0}".into()),
        Bson::String("ä".into()),
        Bson::Document(doc! {}),
        Bson::Document(doc! { "a": 1 }),
        Bson::Document(doc! { "a": 1, "b": 1 }),
        Bson::Document(doc! { "a": 2.5 }),
        Bson::Document(doc! { "b": 0 }),
        Bson::Document(doc! { "a": "x" }),
        Bson::Binary(Binary { subtype: BinarySubtype::Uuid, bytes: vec![9] }),
        Bson::Binary(Binary { subtype: BinarySubtype::Generic, bytes: vec![1, 2] }),
        Bson::Binary(Binary { subtype: BinarySubtype::Generic, bytes: vec![1, 3] }),
        Bson::Binary(Binary { subtype: BinarySubtype::Uuid, bytes: vec![0, 0] }),
        Bson::ObjectId(ObjectId::from_bytes([1; 12])),
        Bson::ObjectId(ObjectId::from_bytes([2; 12])),
        Bson::Boolean(false),
        Bson::Boolean(true),
        Bson::DateTime(bson::DateTime::from_millis(-5)),
        Bson::DateTime(bson::DateTime::from_millis(5)),
        Bson::Timestamp(Timestamp { time: 1, increment: 9 }),
        Bson::Timestamp(Timestamp { time: 0x8000_0000, increment: 1 }),
        Bson::MaxKey,
    ]
}

#[test]
fn the_servers_order_holds_for_every_pair() {
    let keys: Vec<_> = sorted().into_iter().map(key).collect();
    for (i, a) in keys.iter().enumerate() {
        for (j, b) in keys.iter().enumerate() {
            assert_eq!(order(a, b), i.cmp(&j), "{} against {}", i, j);
        }
    }
}

#[test]
fn numbers_of_other_types_are_one_key() {
    for (a, b) in [
        (Bson::Int32(1), Bson::Int64(1)),
        (Bson::Int32(1), Bson::Double(1.0)),
        (Bson::Int64(5), Bson::Decimal128("5".parse().expect("decimal"))),
        (Bson::Double(0.0), Bson::Double(-0.0)),
    ] {
        let (a, b) = (key(a), key(b));
        assert_eq!(order(&a, &b), Ordering::Equal);
        assert_ne!(a, b, "the bytes still differ");
    }
}

#[test]
fn identifiers_are_found_behind_every_type() {
    let mut document = RawDocumentBuf::new();
    for (index, value) in sorted().into_iter().enumerate() {
        let name = bson::raw::CString::try_from(format!("f{index}")).expect("name");
        document.append(name, bson::RawBson::try_from(value).expect("value"));
    }
    document.append(
        bson::raw::cstr!("re"),
        bson::Regex { pattern: bson::raw::cstr!("x").into(), options: bson::raw::cstr!("i").into() },
    );
    document.append(bson::raw::cstr!("_id"), 7_i32);
    let id = Id::of(document.as_bytes()).expect("id");
    assert_eq!((id.kind(), id.value()), (0x10, &7_i32.to_le_bytes()[..]));
    assert_eq!(Id::of(rawdoc! { "a": 1 }.as_bytes()), None);
    assert_eq!(Id::of(b"rubbish"), None);
}

#[test]
fn identifiers_are_shown_as_extended_json() {
    let show = |value: Bson| Id::from_key(&key(value)).expect("id").show();
    assert_eq!(show(Bson::Int32(7)), "7");
    assert_eq!(show(Bson::String("a\"b".into())), r#""a\"b""#);
    assert_eq!(show(Bson::ObjectId(ObjectId::from_bytes([1; 12]))), r#"{"$oid":"010101010101010101010101"}"#);
    assert_eq!(show(Bson::Document(doc! { "b": 1, "a": ["x"] })), r#"{"b":1,"a":["x"]}"#, "in stored order");
    assert_eq!(show(Bson::Double(f64::NAN)), r#"{"$numberDouble":"NaN"}"#);
    assert_eq!(show(Bson::Double(f64::NEG_INFINITY)), r#"{"$numberDouble":"-Infinity"}"#);
    assert_eq!(show(Bson::Null), "null");
    assert!(show(Bson::String("x".repeat(1000))).len() < 310);
}

#[test]
fn documents_and_arrays_are_rebuilt_byte_for_byte() {
    for value in sorted() {
        let key = key(value.clone());
        let id = Id::from_key(&key).expect("id");
        let rebuilt = id.document();
        assert_eq!(Id::of(rebuilt.as_bytes()), Some(id));
        let filter = in_filter([id, id].into_iter());
        let inside = filter.get_document("_id").and_then(|operator| operator.get_array("$in")).expect("filter");
        let inside: Vec<_> = elements(inside.as_bytes()).map(|element| element.value).collect();
        assert_eq!(inside, [id, id]);
    }
}

fn any_id() -> impl Strategy<Value = Bson> {
    prop_oneof![
        any::<i32>().prop_map(Bson::Int32),
        any::<i64>().prop_map(Bson::Int64),
        any::<f64>().prop_map(Bson::Double),
        (-20_i64..20).prop_map(|n| Bson::Double(n as f64 / 2.0)),
        (-20_i32..20).prop_map(Bson::Int32),
        "[a-c]{0,3}".prop_map(Bson::String),
        proptest::collection::vec(any::<u8>(), 0..4)
            .prop_map(|bytes| Bson::Binary(Binary { subtype: BinarySubtype::Generic, bytes })),
        any::<bool>().prop_map(Bson::Boolean),
        ("[ab]", -2_i32..2, "[ab]", -2_i32..2).prop_map(|(a, x, b, y)| Bson::Document(doc! { a: x, b: y })),
        Just(Bson::Null),
    ]
}

proptest! {
    #[test]
    fn the_order_is_total(a in any_id(), b in any_id(), c in any_id()) {
        let (a, b, c) = (key(a), key(b), key(c));
        prop_assert_eq!(order(&a, &b), order(&b, &a).reverse());
        if order(&a, &b) != Ordering::Greater && order(&b, &c) != Ordering::Greater {
            prop_assert_ne!(order(&a, &c), Ordering::Greater);
        }
        if a == b {
            prop_assert_eq!(order(&a, &b), Ordering::Equal);
        }
    }

    #[test]
    fn rubbish_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let _ = elements(&bytes).count();
        let _ = Id::of(&bytes);
        if let Some(id) = Id::from_key(&bytes) {
            let _ = (id.show(), id.compare(id));
        }
    }
}
