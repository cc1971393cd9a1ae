//! The answers as one JSON Schema, in the dialect 2020-12.
//!
//! `utoipa` describes each struct on its own, with references into an OpenAPI document. Here they
//! become one document: a definition for each line, with its `type`, and one for each struct or
//! word within them.
//!
//! Invariants: an object has the members that its definition lists and no others. All of them are
//! required but those that say they may be missing.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{ALL, Described};
use crate::error::{Error, ErrorKind, Result};

/// Where OpenAPI has its structs.
const COMPONENTS: &str = "#/components/schemas/";
/// Where JSON Schema has them.
const DEFS: &str = "#/$defs/";

/// The name of the definition of a line.
pub(crate) fn line(answer: &Described) -> String {
    format!("{}Line", (answer.name)())
}

/// A reference to the definition of a line.
pub(crate) fn reference(answer: &Described) -> Value {
    json!({"$ref": format!("{DEFS}{}", line(answer))})
}

/// The definitions of all lines, and of what is in them, by name.
///
/// # Errors
/// [`ErrorKind::Failure`] when a struct can't be described, which is a mistake in it.
pub(crate) fn definitions() -> Result<Map<String, Value>> {
    let mut defs = Map::new();
    for answer in ALL {
        let mut parts = Vec::new();
        (answer.parts)(&mut parts);
        for (name, schema) in parts {
            let def = of(&schema)?;
            if defs.get(&name).is_some_and(|other| *other != def) {
                let what = format!("two answers have parts of one name that differ: {name}");
                return Err(Error::new(ErrorKind::Failure, what));
            }
            defs.insert(name, def);
        }
    }
    let whole = defs.clone();
    defs.values_mut().try_for_each(|def| settle(def, &whole))?;
    let mut lines = Vec::new();
    for answer in ALL {
        let mut def = of(&(answer.schema)())?;
        settle(&mut def, &whole)?;
        typed(&mut def, answer.r#type);
        lines.push((line(answer), def));
    }
    defs.extend(lines);
    // Those that were merged into others are not referred to any more.
    let used = references(defs.values());
    defs.retain(|name, _| name.ends_with("Line") || used.contains(name));
    Ok(defs)
}

/// A schema as a value, with references that hold here.
fn of(schema: &impl serde::Serialize) -> Result<Value> {
    let mut value = serde_json::to_value(schema)
        .map_err(|e| Error::new(ErrorKind::Failure, "an answer has no schema").with_source(e))?;
    relocate(&mut value);
    Ok(value)
}

fn relocate(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Some(name) = text.strip_prefix(COMPONENTS) {
                *text = format!("{DEFS}{name}");
            }
        }
        Value::Array(values) => values.iter_mut().for_each(relocate),
        Value::Object(members) => {
            // The sizes of a machine's numbers, which JSON does not have.
            let is_size = |format: &Value| ["int32", "int64", "double"].iter().any(|f| format == f);
            if members.get("format").is_some_and(is_size) {
                members.remove("format");
            }
            if let Some(Value::String(text)) = members.get_mut("description") {
                *text = unwrapped(text);
            }
            members.values_mut().for_each(relocate);
        }
        _ => {}
    }
}

/// A comment with one line for each paragraph.
fn unwrapped(comment: &str) -> String {
    let paragraphs = comment.split("\n\n").map(|text| text.replace('\n', " "));
    paragraphs.collect::<Vec<_>>().join("\n\n")
}

/// Makes of a schema what the invariants ask for.
fn settle(schema: &mut Value, defs: &Map<String, Value>) -> Result<()> {
    if let Some(parts) = schema.get_mut("allOf").map(Value::take) {
        let mut whole = flattened(&parts, defs)?;
        if let (Some(whole), Some(text)) = (whole.as_object_mut(), schema.get("description")) {
            whole.insert("description".to_owned(), text.clone());
        }
        *schema = whole;
    }
    let required: BTreeSet<String> = strings(schema.get("required"));
    let Some(Value::Object(properties)) = schema.get_mut("properties") else { return Ok(()) };
    let mut always = Vec::new();
    for (name, property) in properties.iter_mut() {
        describe_null(property);
        if required.contains(name) || takes_null(property) {
            always.push(json!(name));
        }
    }
    if let Some(members) = schema.as_object_mut() {
        members.insert("required".to_owned(), Value::Array(always));
        members.insert("additionalProperties".to_owned(), json!(false));
    }
    Ok(())
}

/// One object with the members of several.
fn flattened(parts: &Value, defs: &Map<String, Value>) -> Result<Value> {
    let (mut properties, mut required) = (Map::new(), BTreeSet::new());
    for part in parts.as_array().into_iter().flatten() {
        let named = part.get("$ref").and_then(Value::as_str);
        let part = match named.and_then(|name| name.strip_prefix(DEFS)) {
            Some(name) => defs.get(name).ok_or_else(|| {
                Error::new(ErrorKind::Failure, "an answer consists of what has no schema")
                    .with_object(name)
            })?,
            None => part,
        };
        if let Some(Value::Object(members)) = part.get("properties") {
            properties.extend(members.clone());
        }
        required.extend(strings(part.get("required")));
    }
    Ok(json!({"type": "object", "properties": properties, "required": required}))
}

/// Puts the description of what may be null where that of others is.
fn describe_null(property: &mut Value) {
    let first = property.get_mut("oneOf").and_then(|of| of.get_mut(0));
    let text = first.and_then(Value::as_object_mut).and_then(|one| one.remove("description"));
    if let (Some(text), Some(members)) = (text, property.as_object_mut()) {
        members.insert("description".to_owned(), text);
    }
}

fn takes_null(property: &Value) -> bool {
    let null = |of: &Value| of.as_array().is_some_and(|of| of.contains(&json!("null")));
    let one_of = property.get("oneOf").and_then(Value::as_array);
    property.get("type").is_some_and(null)
        || one_of.is_some_and(|of| of.contains(&json!({"type": "null"})))
}

/// Adds the member `type`, as the first one.
fn typed(def: &mut Value, r#type: &str) {
    let Some(def) = def.as_object_mut() else { return };
    if let Some(Value::Object(properties)) = def.get_mut("properties") {
        properties.insert(
            "type".to_owned(),
            json!({"const": r#type, "description": "What the line is."}),
        );
    }
    if let Some(Value::Array(required)) = def.get_mut("required") {
        required.insert(0, json!("type"));
    }
}

fn strings(values: Option<&Value>) -> BTreeSet<String> {
    let values = values.and_then(Value::as_array).into_iter().flatten();
    values.filter_map(|value| value.as_str().map(str::to_owned)).collect()
}

/// The names of the definitions that some schemas refer to.
fn references<'v>(schemas: impl Iterator<Item = &'v Value>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut left: Vec<&Value> = schemas.collect();
    while let Some(value) = left.pop() {
        match value {
            Value::String(text) => found.extend(text.strip_prefix(DEFS).map(str::to_owned)),
            Value::Array(values) => left.extend(values),
            Value::Object(members) => left.extend(members.values()),
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_and_member_is_described() {
        for (name, def) in definitions().unwrap() {
            let told = |of: &Value| of["description"].as_str().is_some_and(|text| !text.is_empty());
            assert!(told(&def), "{name}");
            for (member, property) in def["properties"].as_object().into_iter().flatten() {
                assert!(told(property), "{name}.{member}: {property}");
            }
        }
    }

    #[test]
    fn each_line_has_a_name_of_its_own_and_takes_no_other_members() {
        let defs = definitions().unwrap();
        let names: BTreeSet<String> = ALL.iter().map(line).collect();
        assert_eq!(names.len(), ALL.len());
        for name in names {
            assert_eq!(defs[&name]["additionalProperties"], false, "{name}");
            assert_eq!(defs[&name]["required"][0], "type", "{name}");
        }
    }

    #[test]
    fn what_is_flattened_is_one_object_and_what_may_be_missing_is_not_required() {
        let defs = definitions().unwrap();
        let details = strings(defs["CommitDetailsLine"].get("required"));
        assert!(details.contains("seq") && details.contains("segment"), "{details:?}");
        let finding = strings(defs["FindingLine"].get("required"));
        assert!(finding.contains("hint") && !finding.contains("late"), "{finding:?}");
    }
}
