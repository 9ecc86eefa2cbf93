//! Tests of the metadata comparison.

use super::*;
use bson::doc;

fn listed(kind: &str, options: Document) -> Listed {
    Listed { kind: kind.into(), options, uuid: None }
}

fn options(left: Document, right: Document) -> Vec<String> {
    option_differences(&Namespace::new("shop", "c"), &listed("collection", left), &listed("collection", right), false)
}

fn specs(list: Vec<Document>) -> BTreeMap<String, Document> {
    list.into_iter().map(|spec| (spec.get_str("name").expect("name").to_string(), spec)).collect()
}

fn index(left: Vec<Document>, right: Vec<Document>) -> Vec<String> {
    index_differences(&Namespace::new("shop", "c"), &specs(left), &specs(right))
}

#[test]
fn options_are_compared_by_meaning_and_named() {
    let same = options(
        doc! { "capped": true, "size": 5120, "collation": { "locale": "de", "version": "57.1" }, "uuid": 1 },
        doc! { "size": 5120_i64, "capped": true, "collation": { "version": "62.1", "locale": "de" } },
    );
    assert_eq!(same, Vec::<String>::new());
    assert_eq!(
        options(doc! { "capped": true, "size": 5120 }, doc! { "capped": true, "size": 9000 }),
        ["shop.c: option size is 5120 on the source, 9000 on the destination"]
    );
    assert_eq!(
        options(doc! { "validator": { "a": 1, "b": 2 } }, doc! { "validator": { "b": 2, "a": 1 } }).len(),
        1,
        "the order inside a validator counts"
    );
    assert_eq!(
        options(doc! { "validationLevel": "strict" }, doc! {}),
        [r#"shop.c: option validationLevel is "strict" on the source, absent on the destination"#]
    );
}

#[test]
fn bucket_validators_may_differ_between_versions_only() {
    let buckets = Namespace::new("shop", "system.buckets.readings");
    let (old, new) = (listed("collection", doc! { "validator": 1 }), listed("collection", doc! { "validator": 2 }));
    assert_eq!(option_differences(&buckets, &old, &new, true), Vec::<String>::new());
    assert_eq!(option_differences(&buckets, &old, &new, false).len(), 1);
}

#[test]
fn views_are_compared() {
    let name = Namespace::new("shop", "v");
    let view = |on: &str| listed("view", doc! { "viewOn": on, "pipeline": [] });
    assert_eq!(option_differences(&name, &view("a"), &view("a"), false), Vec::<String>::new());
    assert_eq!(
        option_differences(&name, &view("a"), &view("b"), false),
        [r#"shop.v: view viewOn is "a" on the source, "b" on the destination"#]
    );
    assert_eq!(
        option_differences(&name, &view("a"), &listed("collection", doc! {}), false),
        ["shop.v: a view on the source, a collection on the destination"]
    );
}

#[test]
fn index_specs_are_compared_by_name_without_noise() {
    let left = doc! { "v": 1, "key": { "a": 1.0, "b": -1 }, "name": "a_1", "ns": "shop.c", "background": true,
    "expireAfterSeconds": 60_i64, "weights": { "x": 1, "y": 2 } };
    let right = doc! { "v": 2, "key": { "a": 1, "b": -1 }, "name": "a_1", "weights": { "y": 2, "x": 1 },
    "expireAfterSeconds": 60 };
    assert_eq!(index(vec![left.clone()], vec![right]), Vec::<String>::new());
    assert_eq!(index(vec![left.clone()], vec![]), ["shop.c: index a_1 is missing on the destination"]);
    assert_eq!(index(vec![], vec![left.clone()]), ["shop.c: index a_1 is on the destination only"]);
    let mut ttl = left.clone();
    ttl.insert("expireAfterSeconds", i32::MAX);
    assert_eq!(
        index(vec![left.clone()], vec![ttl]),
        ["shop.c: index a_1: expireAfterSeconds is 60 on the source, 2147483647 on the destination"]
    );
    let mut reversed = left.clone();
    reversed.insert("key", doc! { "b": -1, "a": 1 });
    assert_eq!(index(vec![left.clone()], vec![reversed]).len(), 1, "the order of the key is the index");
    let mut unique = left.clone();
    unique.insert("unique", true);
    assert_eq!(
        index(vec![unique], vec![left]),
        ["shop.c: index a_1: unique is true on the source, absent on the destination"]
    );
}

#[test]
fn names_on_one_side_are_named() {
    let a: BTreeMap<_, _> = [(Namespace::new("d", "a"), listed("collection", doc! {}))].into();
    let b: BTreeMap<_, _> = [(Namespace::new("d", "b"), listed("view", doc! {}))].into();
    assert_eq!(
        name_differences(&a, &b),
        ["d.a: this collection is missing on the destination", "d.b: this view is on the destination only"]
    );
}
