//! `docs/json.md`, made from the schema and from lines that were printed.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::Examples;
use super::schema::Lines;

/// What the page begins with.
const HEAD: &str = "# What `--json` prints

With `--json` every command prints one JSON object in each line of standard output, and nothing else.
Each line has a member `type`. Long work ends with a line of type `summary`. What people read goes to
standard error, as without `--json`; exit codes stay the same.

`pagekeep json-schema` prints all of this as one JSON Schema, of the dialect 2020-12. This page is
made from it. A member is always there, and null where there is nothing to say, unless its table says
that it may be missing. Times are in UTC, as RFC 3339. A program has to pass over types and members
that it does not know: later versions may add some.

";

/// The page. Some texts that name the machine of the tests are replaced.
pub fn of(lines: &Lines, met: &Examples, private: &[&str]) -> String {
    let mut page = HEAD.to_owned();
    page.push_str("## Commands\n\nBetween the lines of any command may stand:\n\n");
    let common = Lines::listed(&lines.schema["common"]);
    for name in &common {
        let example = met.iter().find(|((_, of), _)| of == name);
        item(&mut page, lines, name);
        if let Some(((command, _), line)) = example {
            let _ = write!(page, "  Such as of `{command}`:\n\n{}", code(line, private, "  "));
        }
    }
    for command in lines.commands() {
        let own = lines.own(command);
        let _ = write!(page, "\n### `{command}`\n\n");
        if own.is_empty() {
            page.push_str("Prints no JSON of its own, but errors.\n");
        }
        let mut examples = String::new();
        for name in own {
            item(&mut page, lines, name);
            if let Some(line) = met.get(&(command.clone(), name.to_owned())) {
                examples.push_str(line);
                examples.push('\n');
            }
        }
        if !examples.is_empty() {
            page.push('\n');
            page.push_str(&code(&examples, private, ""));
        }
    }
    page.push_str("\n## Lines\n");
    for name in lines.types() {
        let def = &lines.defs()[name];
        let example = met.iter().find(|((_, of), _)| of == name).map(|(_, line)| line.as_str());
        let _ =
            write!(page, "\n### {name}\n\nType `{}`. ", text(&def["properties"]["type"]["const"]));
        described(&mut page, lines, def, example.unwrap_or_default());
    }
    page.push_str("\n## Parts of lines\n");
    for (name, def) in lines.defs() {
        if def["properties"].is_object() && !name.ends_with("Line") {
            let _ = write!(page, "\n### {name}\n\n");
            described(&mut page, lines, def, "");
        }
    }
    page
}

/// A line type in a list.
fn item(page: &mut String, lines: &Lines, name: &str) {
    let def = &lines.defs()[name];
    let first = text(&def["description"]).split("\n\n").next().unwrap();
    let kind = text(&def["properties"]["type"]["const"]);
    let _ = writeln!(page, "- [`{kind}`](#{}): {first}", name.to_lowercase());
}

/// What a definition is for, and its members in the order of an example.
fn described(page: &mut String, lines: &Lines, def: &Value, example: &str) {
    let _ = write!(
        page,
        "{}\n\n| member | value | meaning |\n|---|---|---|\n",
        text(&def["description"])
    );
    let properties = def["properties"].as_object().unwrap();
    let at = |name: &str| example.find(&format!("\"{name}\":")).unwrap_or(usize::MAX);
    let mut names: Vec<&String> = properties.keys().filter(|name| *name != "type").collect();
    names.sort_by_key(|name| at(name));
    for name in names {
        let property = &properties[name];
        let required = def["required"].as_array().unwrap().iter().any(|of| of == name.as_str());
        let missing = if required { "" } else { "; may be missing" };
        let (value, meaning) = (value(lines.defs(), property), text(&property["description"]));
        let _ = writeln!(page, "| `{name}` | {value}{missing} | {} |", meaning.replace('|', "\\|"));
    }
}

/// What a member's value is, in words.
fn value(defs: &Map<String, Value>, of: &Value) -> String {
    if let Some(name) = of["$ref"].as_str() {
        let name = name.trim_start_matches("#/$defs/");
        let def = &defs[name];
        return match (&def["enum"], &def["properties"]) {
            (Value::Array(words), _) => {
                let words: Vec<String> =
                    words.iter().map(|word| format!("`{}`", text(word))).collect();
                words.join(", ")
            }
            (_, Value::Object(_)) => format!("[{name}](#{})", name.to_lowercase()),
            _ if name == "Timestamp" => "a time".to_owned(),
            _ => value(defs, def),
        };
    }
    if let Some(all) = of["oneOf"].as_array() {
        return all.iter().map(|one| value(defs, one)).collect::<Vec<_>>().join(", or ");
    }
    if let Some(all) = of["prefixItems"].as_array() {
        let all: Vec<String> = all.iter().map(|one| value(defs, one)).collect();
        return format!("a list of {}", all.join(" and "));
    }
    let kinds = match &of["type"] {
        Value::Null => return "any value".to_owned(),
        Value::Array(kinds) => kinds.iter().map(text).collect(),
        kind => vec![text(kind)],
    };
    let words: Vec<String> = kinds
        .into_iter()
        .map(|kind| match kind {
            "integer" => "a whole number".to_owned(),
            "number" => "a number".to_owned(),
            "string" => "text".to_owned(),
            "boolean" => "true or false".to_owned(),
            "array" => format!("a list of {}", value(defs, &of["items"])),
            "object" if !of["additionalProperties"].is_object() => "an object".to_owned(),
            "object" => format!("by name, {}", value(defs, &of["additionalProperties"])),
            other => other.to_owned(),
        })
        .collect();
    words.join(", or ")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

/// Lines as a block of code.
fn code(lines: &str, private: &[&str], indent: &str) -> String {
    let mut shown = format!("{indent}```json\n");
    for line in lines.lines() {
        let mut line = line.to_owned();
        for (private, public) in private.iter().zip(["/srv/", "\"server\""]) {
            line = line.replace(private, public);
        }
        let _ = writeln!(shown, "{indent}{line}");
    }
    let _ = writeln!(shown, "{indent}```\n");
    shown
}

/// The examples of a page, each with its command.
pub fn examples(page: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut command = "";
    page.lines().filter_map(move |line| {
        let line = line.trim_start();
        for begin in ["### `", "Such as of `"] {
            if let Some(rest) = line.strip_prefix(begin) {
                command = rest.split('`').next().unwrap();
            }
        }
        line.starts_with('{').then_some((command, line))
    })
}

/// The page with the types of its examples alone.
pub fn without_examples(page: &str) -> String {
    let kind = |line: &str| {
        let value: Value = serde_json::from_str(line).unwrap();
        text(&value["type"]).to_owned()
    };
    let lines = page.lines().map(|line| match line.trim_start().starts_with('{') {
        true => kind(line),
        false => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}
