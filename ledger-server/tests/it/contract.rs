//! The document of the contract, and every answer of these tests held against it.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use axum::body::Body;
use axum::http::Request;
use ledger_server::error::Code;
use ledger_server::route::Route;
use serde_json::Value;
use tower::ServiceExt;

use crate::support::{Reply, Server};

/// The document as the server gives it.
static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    // On a thread of its own, since this one may be inside a runtime.
    let read = std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let request = Request::get("/openapi.json").body(Body::empty()).unwrap();
            let response = Server::new().http.clone().oneshot(request).await.unwrap();
            let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
            serde_json::from_slice(&body).unwrap()
        })
    });
    read.join().unwrap()
});

/// Panics unless the document says that `method` of `path` can be answered like this.
pub(crate) fn check(method: &str, path: &str, reply: &Reply) {
    let route = Route::of(path);
    let operation = &DOCUMENT["paths"][route.as_str()][method.to_lowercase()];
    if operation.is_null() {
        let code = reply.code();
        if code == "method_not_allowed" {
            let known = DOCUMENT["paths"][route.as_str()].as_object().and_then(|methods| methods.values().next());
            assert!(
                known.is_some_and(|known| !known["responses"]["405"].is_null()),
                "{path} has no 405 in the document"
            );
        }
        // A server that has halted or stops says so wherever it is asked, and refuses other servers' pages.
        assert!(
            ["not_found", "method_not_allowed", "forbidden", "halted", "shutting_down"].contains(&code.as_str()),
            "{method} {path} is not in the document, and is answered {code}"
        );
        return;
    }
    let kind = reply.header("content-type").split(';').next().unwrap().to_owned();
    let content = &operation["responses"][reply.status.to_string()]["content"][&kind];
    let told = || format!("{method} {path} is answered {} {kind}: {}", reply.status, reply.text);
    assert!(!content.is_null(), "the document does not say that {}", told());
    let values: Vec<Value> = match kind.as_str() {
        "application/json" | "application/problem+json" => vec![reply.json()],
        "application/x-ndjson" => reply.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect(),
        _ => vec![reply.text.clone().into()],
    };
    for value in values {
        if let Err(fault) = conform(&value, &content["schema"], "") {
            panic!("{fault}: the document says otherwise of what {}", told());
        }
    }
}

/// The codes that the document gives `route`.
pub(crate) fn codes(route: Route) -> BTreeSet<String> {
    let operations = DOCUMENT["paths"][route.as_str()].as_object().unwrap().values();
    let responses = operations.flat_map(|operation| operation["responses"].as_object().unwrap().values());
    responses
        .filter_map(|response| {
            response["content"]["application/problem+json"]["schema"]["allOf"][1]["properties"]["code"]["enum"]
                .as_array()
        })
        .flatten()
        .map(|code| code.as_str().unwrap().to_owned())
        .collect()
}

/// Whether `value` is what `schema` says. Only the words of JSON Schema that the document uses are known, and any other
/// is an error, so that nothing is passed over. An object may have no member that the document does not name.
fn conform(value: &Value, schema: &Value, at: &str) -> Result<(), String> {
    let fault = |why: String| Err(format!("{at}: {value} {why}"));
    for (word, rule) in schema.as_object().expect("a schema is an object") {
        match word.as_str() {
            "description" | "examples" | "format" | "pattern" | "default" => {}
            "$ref" => conform(
                value,
                &DOCUMENT["components"]["schemas"][rule.as_str().unwrap().rsplit('/').next().unwrap()],
                at,
            )?,
            "type" => {
                let fits = match rule.as_str().unwrap() {
                    "string" => value.is_string(),
                    "integer" => value.is_number() && !value.to_string().contains(['.', 'e']),
                    "boolean" => value.is_boolean(),
                    "array" => value.is_array(),
                    "object" => value.is_object(),
                    "null" => value.is_null(),
                    other => return fault(format!("has a type {other} that this check does not know")),
                };
                if !fits {
                    return fault(format!("is no {rule}"));
                }
            }
            "enum" => {
                if !rule.as_array().unwrap().contains(value) {
                    return fault(format!("is none of {rule}"));
                }
            }
            "const" => {
                if value != rule {
                    return fault(format!("is not {rule}"));
                }
            }
            "minimum" if value.as_u64() < rule.as_u64() => return fault(format!("is less than {rule}")),
            "maximum" if value.as_u64() > rule.as_u64() => return fault(format!("is more than {rule}")),
            "minLength" if value.as_str().map(str::len) < rule.as_u64().map(|n| n as usize) => {
                return fault(format!("is shorter than {rule}"));
            }
            "maxLength" if value.as_str().map(str::len) > rule.as_u64().map(|n| n as usize) => {
                return fault(format!("is longer than {rule}"));
            }
            "minimum" | "maximum" | "minLength" | "maxLength" | "maxProperties" => {}
            "required" => {
                let missing = rule.as_array().unwrap().iter().find(|name| value.get(name.as_str().unwrap()).is_none());
                if let Some(missing) = missing {
                    return fault(format!("lacks {missing}"));
                }
            }
            "properties" => properties(value, schema, at)?,
            "additionalProperties" => {
                if rule.is_object() {
                    value.as_object().into_iter().flatten().try_for_each(|(name, value)| conform(value, rule, name))?;
                }
            }
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    conform(item, rule, &format!("{at}/{index}"))?;
                }
            }
            "allOf" => rule.as_array().unwrap().iter().try_for_each(|schema| conform(value, schema, at))?,
            "anyOf" => {
                let faults: Vec<_> = rule.as_array().unwrap().iter().map(|schema| conform(value, schema, at)).collect();
                if faults.iter().all(Result::is_err) {
                    return fault(format!("fits none of {faults:?}"));
                }
            }
            other => return fault(format!("has a rule {other} that this check does not know")),
        }
    }
    Ok(())
}

fn properties(value: &Value, schema: &Value, at: &str) -> Result<(), String> {
    let named = &schema["properties"];
    // Part of a whole: what it does not name is named elsewhere.
    let is_part = schema.get("type").is_none();
    for (name, member) in value.as_object().into_iter().flatten() {
        match named.get(name) {
            Some(rule) => conform(member, rule, &format!("{at}/{name}"))?,
            None if is_part => {}
            None => return Err(format!("{at}: {name} is not in the document")),
        }
    }
    Ok(())
}

#[tokio::test]
async fn the_document_has_every_path_and_method_of_the_router() {
    let server = Server::new();
    assert_eq!(DOCUMENT["openapi"], "3.1.0");
    for route in Route::ALL {
        let paths = DOCUMENT["paths"][route.as_str()].as_object();
        let path = route.as_str().replace("{id}", "1");
        // No path has this method, so the answer names those that it has.
        let request = Request::builder().method("TRACE").uri(&path).body(Body::empty());
        let Ok(request) = request else { continue };
        let reply = server.call(request).await;
        match paths {
            None => assert_eq!((route, reply.code().as_str()), (Route::Other, "not_found")),
            Some(methods) => {
                assert_eq!(reply.code(), "method_not_allowed", "{path}");
                let methods: Vec<_> = methods.keys().map(|method| method.to_uppercase()).collect();
                let allowed: Vec<_> = reply.header("allow").split(',').filter(|method| *method != "HEAD").collect();
                assert_eq!(methods, allowed, "{path}");
            }
        }
    }
    let documented = DOCUMENT["paths"].as_object().unwrap().len();
    assert_eq!(documented, Route::ALL.len() - 1, "every path is a route");
}

#[test]
fn the_document_has_every_code_under_its_status() {
    let listed = &DOCUMENT["components"]["schemas"]["Problem"]["properties"]["code"]["enum"];
    for code in Code::ALL {
        assert!(listed.as_array().unwrap().contains(&code.as_str().into()), "{}", code.as_str());
    }
    for (path, methods) in DOCUMENT["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            for (status, response) in operation["responses"].as_object().unwrap() {
                let codes =
                    &response["content"]["application/problem+json"]["schema"]["allOf"][1]["properties"]["code"];
                for word in codes["enum"].as_array().into_iter().flatten() {
                    let code = Code::ALL.into_iter().find(|code| code.as_str() == word).unwrap();
                    assert_eq!(code.status().to_string(), *status, "{method} {path} {word}");
                }
            }
        }
    }
}

#[tokio::test]
async fn the_page_comes_from_the_binary_and_may_load_nothing() {
    let server = Server::new();
    let page = server.get("/docs").await;
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(page.header("content-security-policy").starts_with("default-src 'none'"));
    let document = server.get("/openapi.json").await;
    assert_eq!((document.status, document.header("content-type")), (200, "application/json"));
    for path in ["/docs", "/openapi.json"] {
        assert_eq!(server.get(&format!("{path}?x=1")).await.code(), "invalid_request");
    }
}

#[test]
fn the_check_notices_what_does_not_conform() {
    let schema = |name: &str| serde_json::json!({"$ref": format!("#/components/schemas/{name}")});
    let noticed =
        serde_json::json!({"bank_reference": "r", "status": "failed", "substatus": "failed", "change": "repeat"});
    assert_eq!(conform(&noticed, &schema("Noticed"), ""), Ok(()));
    let with = |name: &str, value: Value| {
        let mut changed = noticed.clone();
        changed[name] = value;
        changed
    };
    for wrong in [
        with("change", "no word".into()),
        with("status", 5.into()),
        with("bank_reference", Value::Null),
        with("another", 1.into()),
        serde_json::json!({"bank_reference": "r", "status": "failed", "substatus": "failed"}),
        serde_json::json!([]),
    ] {
        assert!(conform(&wrong, &schema("Noticed"), "").is_err(), "{wrong}");
    }
    for wrong in [serde_json::json!(0), serde_json::json!(1.5), serde_json::json!("1")] {
        assert!(conform(&wrong, &schema("Amount"), "").is_err(), "{wrong}");
    }
}
