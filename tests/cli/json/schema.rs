//! What `pagekeep json-schema` says.

use jsonschema::Validator;
use serde_json::{Map, Value, json};

/// The lines that the schema knows.
pub struct Lines {
    pub schema: Value,
}

impl Lines {
    pub fn of(schema: &str) -> Self {
        let schema: Value = serde_json::from_str(schema).unwrap();
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
        jsonschema::meta::validate(&schema).unwrap();
        Self { schema }
    }

    /// The definitions.
    pub fn defs(&self) -> &Map<String, Value> {
        self.schema["$defs"].as_object().unwrap()
    }

    /// The names of the commands.
    pub fn commands(&self) -> impl Iterator<Item = &String> {
        self.schema["commands"].as_object().unwrap().keys()
    }

    /// The names of the line types.
    pub fn types(&self) -> impl Iterator<Item = &String> {
        self.defs().keys().filter(|name| name.ends_with("Line"))
    }

    /// The command that some arguments begin with.
    pub fn command_of(&self, args: &[&str]) -> String {
        let named = |n: usize| args.get(..n).map(|words| words.join(" "));
        let known = |name: &String| self.commands().any(|command| command == name);
        [named(2), named(1)]
            .into_iter()
            .flatten()
            .find(known)
            .unwrap_or_else(|| panic!("no lines of {args:?}"))
    }

    /// The names of the line types that may stand in a place of the schema, in order.
    pub fn listed(of: &Value) -> Vec<&str> {
        let all = of["anyOf"].as_array().unwrap().iter();
        all.map(|one| one["$ref"].as_str().unwrap().trim_start_matches("#/$defs/")).collect()
    }

    /// The line types that a command prints of its own.
    pub fn own(&self, command: &str) -> Vec<&str> {
        let common = Self::listed(&self.schema["common"]);
        let mut all = Self::listed(&self.schema["commands"][command]);
        all.retain(|name| !common.contains(name));
        all
    }

    /// The one line type of a command that a line fits.
    pub fn fitting(&self, command: &str, line: &Value) -> String {
        let all = Self::listed(&self.schema["commands"][command]);
        let of_type =
            |name: &&&str| self.defs()[**name]["properties"]["type"]["const"] == line["type"];
        let tried: Vec<&str> = all.iter().filter(of_type).copied().collect();
        assert!(!tried.is_empty(), "`{command}` should not print {line}");
        let fits = |name: &&str| self.validator(name).is_valid(line);
        let fitting: Vec<&str> = tried.iter().filter(|name| fits(name)).copied().collect();
        let [one] = fitting[..] else {
            let errors: Vec<String> = tried
                .iter()
                .flat_map(|name| {
                    let validator = self.validator(name);
                    let errors: Vec<_> = validator.iter_errors(line).collect();
                    errors.iter().map(|e| format!("{name}: {e}")).collect::<Vec<_>>()
                })
                .collect();
            panic!("`{command}` printed what fits {fitting:?}: {line}\n{}", errors.join("\n"));
        };
        one.to_owned()
    }

    fn validator(&self, name: &str) -> Validator {
        let one = json!({"$ref": format!("#/$defs/{name}"), "$defs": self.schema["$defs"]});
        jsonschema::options().should_validate_formats(true).build(&one).unwrap()
    }
}
