//! The HTTP contract as a document: OpenAPI 3.1, and a page of it for people.
//!
//! It is put together from the lists that the server itself answers from: a route without an endpoint does not compile,
//! statuses are those of [`Code`], so neither can drift. What a body looks like is written down by hand in [`schemas`],
//! and the tests hold every answer that they get against it.

mod endpoints;
mod page;
mod schemas;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use crate::error::Code;
use crate::route::Route;
use endpoints::Endpoint;

/// The document as JSON.
pub(crate) fn json() -> &'static str {
    static JSON: LazyLock<String> = LazyLock::new(|| document().to_string());
    &JSON
}

/// The document as a page.
pub(crate) fn page() -> &'static str {
    static PAGE: LazyLock<String> = LazyLock::new(|| page::render(&served(), &schemas::all()));
    &PAGE
}

/// Every route that is served, with what it takes and answers.
fn served() -> Vec<(Route, Endpoint)> {
    Route::ALL.into_iter().filter_map(|route| Some((route, endpoints::of(route)?))).collect()
}

fn document() -> Value {
    let mut paths = Map::new();
    for (route, endpoint) in served() {
        paths.insert(route.as_str().to_owned(), json!({ endpoint.method: operation(route, &endpoint) }));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Ledger",
            "version": env!("CARGO_PKG_VERSION"),
            "description": endpoints::INTRODUCTION,
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": endpoints::GROUPS.map(|(name, description)| json!({"name": name, "description": description})),
        "paths": paths,
        "components": {
            "schemas": schemas::all(),
            "securitySchemes": {
                "signature": {
                    "type": "apiKey", "in": "header", "name": "Ledger-Signature",
                    "description": "t=<unix seconds>,v1=<hex HMAC-SHA256 of \"t.body\" under the secret of \
                        --bank-webhook-secret-file>",
                },
            },
        },
    })
}

fn operation(route: Route, endpoint: &Endpoint) -> Value {
    let mut operation = json!({
        "operationId": operation_id(route),
        "tags": [endpoint.group],
        "summary": endpoint.summary,
        "description": endpoint.description,
        "responses": responses(endpoint),
    });
    if !endpoint.parameters.is_empty() {
        operation["parameters"] = endpoint.parameters.iter().map(endpoints::Parameter::document).collect();
    }
    if !endpoint.bodies.is_empty() {
        let content: Map<_, _> =
            endpoint.bodies.iter().map(|body| (body.media.to_owned(), content(body.schema))).collect();
        operation["requestBody"] = json!({"required": true, "content": content});
    }
    if endpoint.is_signed {
        operation["security"] = json!([{"signature": []}]);
    }
    operation
}

/// `/withdrawals/{id}/cancel` is `withdrawals_id_cancel`.
fn operation_id(route: Route) -> String {
    let words = route.as_str().split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("_")
}

fn responses(endpoint: &Endpoint) -> Value {
    let mut responses = Map::new();
    for answer in &endpoint.answers {
        let entry = responses.entry(answer.status.to_string()).or_insert_with(|| {
            let mut response = json!({"description": answer.description, "content": {}});
            if let Some((name, description)) = answer.header {
                response["headers"] = json!({ name: {"description": description, "schema": {"type": "string"}} });
            }
            response
        });
        entry["content"][answer.media] = content(answer.schema);
    }
    let mut by_status = BTreeMap::<u16, Vec<Code>>::new();
    for code in &endpoint.codes {
        by_status.entry(code.status()).or_default().push(*code);
    }
    for (status, codes) in by_status {
        let titles: Vec<_> = codes.iter().map(|code| format!("`{}`: {}.", code.as_str(), code.title())).collect();
        let entry = responses.entry(status.to_string()).or_insert_with(|| json!({"description": "", "content": {}}));
        let said = entry["description"].as_str().unwrap_or_default();
        entry["description"] = [said, &titles.join(" ")].join(" ").trim().into();
        entry["content"]["application/problem+json"] = json!({"schema": problem(&codes)});
        if codes.iter().any(|code| code.retry_after_seconds().is_some()) {
            let seconds =
                json!({"description": "Seconds after which a repeat has a chance.", "schema": {"type": "integer"}});
            entry["headers"]["Retry-After"] = seconds;
        }
        if codes.contains(&Code::MethodNotAllowed) {
            entry["headers"]["Allow"] =
                json!({"description": "The methods that are allowed here.", "schema": {"type": "string"}});
        }
    }
    responses.into()
}

fn problem(codes: &[Code]) -> Value {
    let words: Vec<_> = codes.iter().map(|code| code.as_str()).collect();
    json!({"allOf": [reference("Problem"), {"required": ["title"], "properties": {"code": {"enum": words}}}]})
}

/// What a body of this schema looks like; without one, it is text.
fn content(schema: Option<&'static str>) -> Value {
    json!({"schema": schema.map_or_else(|| json!({"type": "string"}), reference)})
}

fn reference(schema: &'static str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Every text under `value` that stands for one under the key `name`.
    fn texts(value: &Value, name: &str, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(members) => {
                for (key, value) in members {
                    match value {
                        Value::String(text) if key == name => drop(found.insert(text.clone())),
                        _ => texts(value, name, found),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| texts(item, name, found)),
            _ => {}
        }
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_object_is_used() {
        let document = document();
        let mut referenced = BTreeSet::new();
        texts(&document, "$ref", &mut referenced);
        let defined: BTreeSet<_> = document["components"]["schemas"]
            .as_object()
            .unwrap()
            .keys()
            .map(|name| format!("#/components/schemas/{name}"))
            .collect();
        assert_eq!(referenced, defined);
    }

    #[test]
    fn every_code_is_some_endpoints() {
        let used: BTreeSet<_> =
            served().iter().flat_map(|(_, endpoint)| &endpoint.codes).map(|code| code.as_str()).collect();
        let all: BTreeSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(used, all);
        let document = document();
        let listed = &document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"];
        assert_eq!(listed.as_array().unwrap().len(), Code::ALL.len());
    }

    #[test]
    fn the_page_names_everything_and_nothing_outside() {
        let page = page();
        for (route, _) in served() {
            assert!(page.contains(route.as_str()), "{}", route.as_str());
        }
        assert!(Code::ALL.iter().all(|code| page.contains(code.as_str())));
        for outside in ["http://", "https://", "//", "<script", "src=", "@import", "url("] {
            assert!(!page.contains(outside), "{outside} is in the page");
        }
    }
}
