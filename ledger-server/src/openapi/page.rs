//! The document as a page: one file, no script, nothing from elsewhere.

use std::fmt::Write;

use serde_json::Value;

use super::endpoints::{Endpoint, GROUPS, INTRODUCTION};
use crate::error::Code;
use crate::route::Route;

const STYLE: &str = include_str!("page.css");

/// Renders the endpoints, the objects that they speak of, and the codes.
pub(super) fn render(served: &[(Route, Endpoint)], schemas: &Value) -> String {
    let mut page = Page { html: String::with_capacity(64 << 10) };
    page.raw(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Ledger: the HTTP contract</title>",
    );
    page.raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><style>");
    page.raw(STYLE);
    page.raw("</style></head><body>");
    page.contents(served, schemas);
    page.raw("<main><h1>Ledger</h1><p class=\"version\">Version ");
    page.text(env!("CARGO_PKG_VERSION"));
    page.raw(" · <a href=\"/openapi.json\">openapi.json</a></p><p>");
    page.marked(INTRODUCTION);
    page.raw("</p>");
    for (group, description) in GROUPS {
        page.section(group, description);
        for (route, endpoint) in served.iter().filter(|(_, endpoint)| endpoint.group == group) {
            page.endpoint(*route, endpoint, schemas);
        }
    }
    page.section("Objects", "What bodies and answers are made of. Fields may be added to an answer.");
    for (name, schema) in schemas.as_object().into_iter().flatten() {
        page.schema(name, schema);
    }
    page.codes();
    page.raw("</main></body></html>\n");
    page.html
}

struct Page {
    html: String,
}

// Writing into a string cannot fail, so what `write!` returns is left aside.
impl Page {
    fn raw(&mut self, html: &str) {
        self.html.push_str(html);
    }

    fn text(&mut self, text: &str) {
        for character in text.chars() {
            match character {
                '&' => self.raw("&amp;"),
                '<' => self.raw("&lt;"),
                '>' => self.raw("&gt;"),
                '"' => self.raw("&quot;"),
                other => self.html.push(other),
            }
        }
    }

    /// Text in which what stands between backticks is code.
    fn marked(&mut self, text: &str) {
        for (index, part) in text.split('`').enumerate() {
            if index % 2 == 1 {
                self.code(part);
            } else {
                self.text(part);
            }
        }
    }

    fn code(&mut self, text: &str) {
        self.raw("<code>");
        self.text(text);
        self.raw("</code>");
    }

    fn paragraph(&mut self, text: &str) {
        if !text.is_empty() {
            self.raw("<p>");
            self.marked(text);
            self.raw("</p>");
        }
    }

    fn section(&mut self, title: &str, description: &str) {
        let _ = write!(self.html, "<h2 id=\"{title}\">{title}</h2>");
        self.paragraph(description);
    }

    fn contents(&mut self, served: &[(Route, Endpoint)], schemas: &Value) {
        self.raw("<nav>");
        for (group, _) in GROUPS {
            let _ = write!(self.html, "<h2><a href=\"#{group}\">{group}</a></h2><ul>");
            for (route, endpoint) in served.iter().filter(|(_, endpoint)| endpoint.group == group) {
                let (method, path) = (endpoint.method, route.as_str());
                let _ = write!(self.html, "<li><a href=\"#{path}\"><b class=\"{method}\">{method}</b> {path}</a></li>");
            }
            self.raw("</ul>");
        }
        self.raw("<h2><a href=\"#Objects\">Objects</a></h2><ul class=\"objects\">");
        for (name, _) in schemas.as_object().into_iter().flatten() {
            let _ = write!(self.html, "<li><a href=\"#{name}\">{name}</a></li>");
        }
        self.raw("</ul><h2><a href=\"#Errors\">Errors</a></h2></nav>");
    }

    fn endpoint(&mut self, route: Route, endpoint: &Endpoint, schemas: &Value) {
        let (method, path) = (endpoint.method, route.as_str());
        let _ =
            write!(self.html, "<section id=\"{path}\"><h3><b class=\"{method}\">{method}</b> <code>{path}</code></h3>");
        self.raw("<p class=\"summary\">");
        self.text(endpoint.summary);
        self.raw("</p>");
        self.paragraph(endpoint.description);
        if endpoint.is_signed {
            self.paragraph("Header `Ledger-Signature: t=<unix seconds>,v1=<hex HMAC-SHA256 of \"t.body\">`.");
        }
        if !endpoint.parameters.is_empty() {
            self.raw("<table><tr><th>parameter</th><th>in</th><th></th></tr>");
            for parameter in &endpoint.parameters {
                let place = parameter.document()["in"].as_str().unwrap_or_default().to_owned();
                self.raw("<tr><td>");
                self.code(parameter.name);
                let _ = write!(self.html, "</td><td>{place}</td><td>");
                self.marked(parameter.description);
                self.required(parameter.is_required);
                self.raw("</td></tr>");
            }
            self.raw("</table>");
        }
        for body in &endpoint.bodies {
            let _ = write!(self.html, "<p>Body: <code>{}</code> ", body.media);
            self.link(body.schema);
            self.raw("</p>");
            let example = body.schema.and_then(|name| schemas[name]["examples"].get(0));
            if let Some(example) = example {
                self.raw("<pre>");
                self.text(&example.to_string());
                self.raw("</pre>");
            }
        }
        self.answers(endpoint);
        self.raw("</section>");
    }

    fn answers(&mut self, endpoint: &Endpoint) {
        self.raw("<table class=\"answers\"><tr><th>status</th><th>answer</th></tr>");
        for answer in &endpoint.answers {
            let _ = write!(self.html, "<tr><td>{}</td><td><code>{}</code> ", answer.status, answer.media);
            self.link(answer.schema);
            self.raw(" ");
            self.marked(answer.description);
            self.raw("</td></tr>");
        }
        let mut codes = endpoint.codes.clone();
        codes.sort_by_key(|code| code.status());
        for of_status in codes.chunk_by(|one, other| one.status() == other.status()) {
            let _ = write!(self.html, "<tr><td>{}</td><td>", of_status[0].status());
            for code in of_status {
                let word = code.as_str();
                let _ = write!(self.html, "<a href=\"#{word}\"><code>{word}</code></a> ");
            }
            self.raw("</td></tr>");
        }
        self.raw("</table>");
    }

    fn link(&mut self, schema: Option<&str>) {
        if let Some(name) = schema {
            let _ = write!(self.html, "<a href=\"#{name}\">{name}</a>");
        }
    }

    fn required(&mut self, is_required: bool) {
        if is_required {
            self.raw(" <i>required</i>");
        }
    }

    fn schema(&mut self, name: &str, schema: &Value) {
        let _ = write!(self.html, "<section id=\"{name}\"><h3>{name}</h3>");
        self.paragraph(schema["description"].as_str().unwrap_or_default());
        match schema["properties"].as_object() {
            Some(properties) => {
                self.raw("<table><tr><th>field</th><th>type</th><th></th></tr>");
                let required: Vec<_> = schema["required"].as_array().into_iter().flatten().collect();
                for (field, property) in properties {
                    self.raw("<tr><td>");
                    self.code(field);
                    self.raw("</td><td>");
                    self.kind(property);
                    self.raw("</td><td>");
                    self.marked(property["description"].as_str().unwrap_or_default());
                    if !required.iter().any(|name| *name == field) {
                        self.raw(" <i>optional</i>");
                    }
                    self.raw("</td></tr>");
                }
                self.raw("</table>");
            }
            None => {
                self.raw("<p>");
                self.kind(schema);
                self.raw("</p>");
            }
        }
        self.raw("</section>");
    }

    /// What values a schema admits, in a few words.
    fn kind(&mut self, schema: &Value) {
        let alternatives = ["anyOf", "oneOf"].into_iter().find_map(|name| schema[name].as_array());
        if let Some(target) = schema["$ref"].as_str() {
            self.link(target.rsplit('/').next());
        } else if let Some(words) = schema["enum"].as_array() {
            self.list(words, |page, word| page.code(word.as_str().unwrap_or_default()));
        } else if let Some(alternatives) = alternatives {
            self.list(alternatives, Page::kind);
        } else if schema["type"] == "array" {
            self.raw("array of ");
            self.kind(&schema["items"]);
        } else if schema["type"] == "object" && schema["properties"].is_object() {
            self.raw("{ ");
            let names: Vec<_> = schema["properties"].as_object().into_iter().flatten().collect();
            for (index, (name, property)) in names.into_iter().enumerate() {
                self.raw(if index > 0 { ", " } else { "" });
                self.code(name);
                self.raw(": ");
                self.kind(property);
            }
            self.raw(" }");
        } else if !schema["const"].is_null() {
            self.code(&schema["const"].to_string());
        } else {
            self.text(schema["type"].as_str().unwrap_or("any"));
            self.range(schema);
        }
    }

    fn range(&mut self, schema: &Value) {
        if let (Some(least), Some(most)) = (schema["minimum"].as_u64(), schema["maximum"].as_u64()) {
            let _ = write!(self.html, ", {least} to {most}");
        }
    }

    fn list<'v>(&mut self, items: &'v [Value], mut item: impl FnMut(&mut Page, &'v Value)) {
        for (index, value) in items.iter().enumerate() {
            self.raw(if index > 0 { " or " } else { "" });
            item(self, value);
        }
    }

    fn codes(&mut self) {
        self.section(
            "Errors",
            "Each code has one status. After a 500 the outcome is unknown; after any other nothing was recorded.",
        );
        self.raw("<table><tr><th>status</th><th>code</th><th></th></tr>");
        for code in Code::ALL {
            let (word, status) = (code.as_str(), code.status());
            let _ = write!(self.html, "<tr id=\"{word}\"><td>{status}</td><td><code>{word}</code></td><td>");
            self.text(code.title());
            self.raw("</td></tr>");
        }
        self.raw("</table>");
    }
}
