//! JSON Schema as far as `assets/report.schema.json` uses it. A keyword that is not known here is a mistake, never
//! passed over.

use serde_json::{Map, Value};

/// Everything that is wrong with `value`, as `place: what`.
pub fn errors(schema: &Value, value: &Value) -> Vec<String> {
    let mut errors = Vec::new();
    check(schema, schema, value, "", &mut errors);
    errors
}

fn check(root: &Value, schema: &Value, value: &Value, place: &str, errors: &mut Vec<String>) {
    for (keyword, wanted) in schema.as_object().expect("a schema") {
        let mut wrong = |what: String| errors.push(format!("{place}: {what}"));
        match keyword.as_str() {
            "$schema" | "title" | "description" | "$defs" | "then" => {}
            "$ref" => {
                let pointer = wanted.as_str().and_then(|text| text.strip_prefix('#')).expect("a place in this file");
                check(root, root.pointer(pointer).unwrap_or_else(|| panic!("no {pointer}")), value, place, errors);
            }
            "type" => {
                let types = wanted.as_array().map_or_else(|| vec![wanted], |types| types.iter().collect());
                if !types.iter().any(|name| is(value, name.as_str().expect("a type"))) {
                    wrong(format!("{value} is not {wanted}"));
                }
            }
            "enum" if !list(wanted).contains(value) => wrong(format!("{value} is none of {wanted}")),
            "const" if wanted != value => wrong(format!("{value} is not {wanted}")),
            "minimum" if value.as_f64() < wanted.as_f64() => wrong(format!("{value} is below {wanted}")),
            "minLength" if value.as_str() == Some("") => wrong("it is empty".into()),
            "maxItems" if list(value).len() as u64 > wanted.as_u64().expect("a number") => wrong("too many".into()),
            "enum" | "const" | "minimum" | "minLength" | "maxItems" => {}
            "format" => {
                assert_eq!(wanted, "date-time");
                if value.as_str().is_none_or(|text| !text.ends_with('Z') || text.parse::<jiff::Timestamp>().is_err()) {
                    wrong(format!("{value} is no time in UTC"));
                }
            }
            "required" => {
                for name in list(wanted).iter().filter_map(Value::as_str).filter(|name| value.get(name).is_none()) {
                    wrong(format!("{name} is missing"));
                }
            }
            "properties" => {
                for (name, schema) in fields(wanted) {
                    if let Some(value) = value.get(name) {
                        check(root, schema, value, &format!("{place}/{name}"), errors);
                    }
                }
            }
            "additionalProperties" => {
                assert_eq!(wanted, false);
                let known = fields(&schema["properties"]);
                for name in value.as_object().into_iter().flat_map(Map::keys).filter(|name| !known.contains_key(*name))
                {
                    wrong(format!("{name} is not known"));
                }
            }
            "items" => {
                for (index, value) in value.as_array().into_iter().flatten().enumerate() {
                    check(root, wanted, value, &format!("{place}/{index}"), errors);
                }
            }
            "allOf" => list(wanted).iter().for_each(|schema| check(root, schema, value, place, errors)),
            "anyOf" => {
                let tried: Vec<_> = list(wanted).iter().map(|schema| failures(root, schema, value, place)).collect();
                if tried.iter().all(|errors| !errors.is_empty()) {
                    errors.extend(tried.into_iter().flatten());
                }
            }
            "if" if failures(root, wanted, value, place).is_empty() => {
                check(root, &schema["then"], value, place, errors);
            }
            "if" => {}
            other => panic!("the keyword {other} is not known here"),
        }
    }
}

fn failures(root: &Value, schema: &Value, value: &Value, place: &str) -> Vec<String> {
    let mut errors = Vec::new();
    check(root, schema, value, place, &mut errors);
    errors
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn fields(value: &Value) -> &Map<String, Value> {
    value.as_object().expect("an object")
}

fn is(value: &Value, name: &str) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "null" => value.is_null(),
        other => panic!("no type {other}"),
    }
}
